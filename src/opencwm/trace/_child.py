"""The child process of `isolate.py`: records one program and streams its frames to the parent as JSON lines.

Run as a script with the number of the stream's file descriptor; the job comes as JSON on standard input. It always ends
with `os._exit`, so nothing that the program has registered or left behind runs afterwards.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from opencwm.trace.frames import Frame, Outcome, frame_record, header_record, outcome_record
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import PYTHON, RecordError, record

_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class _Program:
    context: str
    entry: str
    entry_line: int


class _Stream:
    """Writes whole JSON lines to the parent, unbuffered. (The thread that watches the time may write the last one.)"""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()
        os.set_inheritable(descriptor, False)
        os.register_at_fork(after_in_child=lambda: os.close(descriptor))

    def send(self, record: dict[str, object]) -> None:
        data = json.dumps(record).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


def main() -> None:
    """Record the program that standard input describes."""
    stream = _Stream(int(sys.argv[1]))
    job: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    sys.argv[:] = ["<context>"]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = sys.stdout
    limits = Limits(**job["limits"])
    program = _Program(job["context"], job["entry"], job["entry_line"])
    _set_limits(limits)

    def finish(record: dict[str, object]) -> None:
        stream.send(record)
        os._exit(0)

    def on_frame(frame: Frame) -> None:
        stream.send(frame_record(frame))

    def on_stop(reason: str) -> None:
        finish(outcome_record(Outcome("truncated", reason)))

    stream.send(header_record(program.context, program.entry_line, PYTHON))
    try:
        trace = record(
            program,
            limits=limits,
            steps=job["steps"],
            identity=job["identity"],
            output=output if job["output"] else None,
            on_frame=on_frame,
            on_stop=on_stop,
            core=job["core"],
        )
    except RecordError as error:
        finish({"error": str(error)})
    except MemoryError:
        on_stop("memory")
    if trace.outcome.kind == "exception" and (trace.result or "").startswith("MemoryError("):
        on_stop("memory")
    finish(outcome_record(trace.outcome))


def _set_limits(limits: Limits) -> None:
    seconds = math.ceil(limits.seconds) + 1
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    try:  # this limit counts all processes and threads of the user, so those that exist are added
        tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        _lower(resource.RLIMIT_NPROC, tasks + limits.processes)
    except (OSError, ValueError, IndexError):
        pass


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, hard))


if __name__ == "__main__":
    main()
