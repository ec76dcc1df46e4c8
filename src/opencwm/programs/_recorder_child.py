"""The recording process: takes groups of jobs, forks for each group, and answers with packed traces, inside a sandbox.

Run as `python -P -s _recorder_child.py`. The first line of standard input says, in JSON, where programs may write; each
further line is a group, a list of jobs. Each job's answer, in order, is a JSON line `{"bytes", "reason", "cpu"}` on
standard output, followed by that many bytes; so what was finished has been handed over, whatever becomes of this
process. What a job wants is in its `do`:

    record      the packed trace of a program; where its context has a null character, it gets the arguments before it
    rerun       the same, one variable changed on the way (`counterfactual.py`)
    arguments   the text of arguments, from a generator that comes with a function (`generators.py`)

Notable choices:
- A fork costs a millisecond or two and its page faults as much again: ten short runs; a fresh interpreter costs fifty.
- Every group starts from the same state (hash seed 0, an empty folder, nobody else's files or processes) and every job
  with `random` seeded with 0. So what a group gives does not depend on the groups before it. A job that takes its fork
  with it costs itself: the rest of its group goes on in a new one.
- Standard library and our recorder only.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, process_time
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from opencwm.programs.counterfactual import Change, rerun
from opencwm.programs.generators import keywords
from opencwm.sandbox._confine import adopt_orphans, hide_memory
from opencwm.sandbox._warden import end_children
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record
from opencwm.trace.store import pack

PLACE = "\0"
_HEAD = struct.Struct("=cI")  # of what a fork sends: T (result) or E (reason), and how long it is
_GRACE_SECONDS = 1.5
_FILE_BYTES = 16 << 20
_PROCESSES = 64
# What programs import most: loaded once here, not in every fork.
_COMMON = (
    "abc", "bisect", "collections.abc", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "heapq", "inspect", "io", "itertools", "json", "math", "operator", "re", "statistics", "string",
    "textwrap", "types", "typing", "unicodedata", "warnings", "weakref",
)  # fmt: skip
_WARM = {
    "do": "record", "context": "def f():\n    return [1]\n", "entry": "f", "entry_line": 1, "limits": {}, "steps": True,
}  # fmt: skip


class _Job:
    """A job; one with a program is what the recorder wants: `context`, `entry`, `entry_line`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.does: str = job["do"]
        self.limits = Limits(**job["limits"])
        self.details = job
        self.context: str = job.get("context", "")
        self.entry: str = job.get("entry", "")
        self.entry_line: int = job.get("entry_line", 0)

    def result(self, arguments: str | None) -> bytes:
        """What the job asks for; `arguments` are those of the job before. Raises RecordError where there is none."""
        if self.does == "arguments":
            text = keywords(self.details["generator"], self.details["seed"])
            if text is None:
                raise RecordError("no arguments")
            return text.encode("utf-8", "surrogatepass")
        if PLACE in self.context:
            if arguments is None:
                raise RecordError("no arguments")
            self.context = self.context.replace(PLACE, arguments)
        steps: bool = self.details["steps"]
        if self.does == "rerun":
            change = Change(**self.details["change"])
            trace = rerun(self, change, limits=self.limits, steps=steps)
        else:
            trace = record(self, limits=self.limits, steps=steps)
        if trace.outcome.kind == "exception" and (trace.result or "").startswith("MemoryError("):
            raise RecordError("memory")
        return pack(trace)


def main() -> None:
    """Do every job that comes, in order."""
    jobs, answers = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)
    hide_memory()  # programs can neither look into this process nor leave orphans elsewhere
    adopt_orphans()
    writable: list[str] = json.loads(jobs.readline())["writable"]
    for name in _COMMON:
        importlib.import_module(name)
    _Job(_WARM).result(None)
    gc.collect()
    gc.freeze()
    gc.disable()
    _send(answers, b"", None)
    while line := jobs.readline():
        left = [_Job(job) for job in json.loads(line)]
        while left:
            for data, reason in _run(left, answers):
                _send(answers, data, reason)
                del left[0]
        for folder in writable:
            _empty(folder)


def _send(answers: int, data: bytes, reason: str | None) -> None:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = process_time() + used.ru_utime + used.ru_stime
    message = json.dumps({"bytes": len(data), "reason": reason, "cpu": seconds}).encode() + b"\n" + data
    while message:
        message = message[os.write(answers, message) :]


def _empty(folder: str) -> None:
    """Remove what a program has left. Raises OSError if that cannot be done: then this process must not go on."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _run(jobs: list[_Job], answers: int) -> Iterator[tuple[bytes, str | None]]:
    """What the jobs of a group give, or why one gives nothing: that one is the last, if others are left."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.close(answers)
        _child(jobs, writer)
    os.close(writer)
    received, late = bytearray(), False
    for job in list(jobs):
        late = _receive(reader, child, monotonic() + job.limits.seconds + _GRACE_SECONDS, received)
        if not _whole(received):
            break
        kind, size = _HEAD.unpack_from(received)
        data = bytes(received[_HEAD.size : _HEAD.size + size])
        del received[: _HEAD.size + size]
        yield (data, None) if kind == b"T" else (b"", data.decode("utf-8", "replace"))
    os.close(reader)
    status = _end(child)
    if not jobs:
        return
    if late:
        yield b"", "seconds"
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        yield b"", "seconds" if number == signal.SIGXCPU else f"killed by signal {number}"
    else:
        yield b"", "exit"


def _end(child: int) -> int:
    """Kill what is left of a fork and of all that it started; its status."""
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    end_children()
    return status


def _receive(reader: int, child: int, deadline: float, received: bytearray) -> bool:
    """Take what the child sends until there is a whole message or no more comes; whether that took too long.

    Others may hold its end of the pipe open.
    """
    while not _whole(received):
        left = deadline - monotonic()
        if left <= 0:
            return True
        ready, _, _ = select.select([reader], [], [], min(left, 0.2))
        if ready:
            data = os.read(reader, 1 << 20)
            if not data:
                return False
            received += data
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
    return False


def _whole(received: bytearray) -> bool:
    return len(received) >= _HEAD.size and len(received) >= _HEAD.size + _HEAD.unpack_from(received)[1]


def _child(jobs: list[_Job], writer: int) -> None:
    """Do the jobs and send each one's result, or the reason why there is none; never returns."""
    try:
        os.setpgid(0, 0)  # a session of its own would cost more
        os.set_inheritable(writer, False)
        os.register_at_fork(after_in_child=lambda: os.close(writer))
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        _set_limits(jobs[0].limits, len(jobs))
        sys.argv[:] = ["<context>"]
        sys.path[:0] = jobs[0].details.get("paths", ())
        arguments: str | None = None
        for job in jobs:
            random.seed(0)
            kind, data = _done(job, arguments)
            arguments = data.decode("utf-8", "surrogatepass") if (kind, job.does) == (b"T", "arguments") else None
            message = _HEAD.pack(kind, len(data)) + data
            while message:
                message = message[os.write(writer, message) :]
    finally:
        os._exit(0)


def _done(job: _Job, arguments: str | None) -> tuple[bytes, bytes]:
    try:
        return b"T", job.result(arguments)
    except RecordError as error:
        return b"E", str(error).encode("utf-8", "replace")
    except MemoryError:
        return b"E", b"memory"
    except BaseException as error:
        return b"E", f"the recorder failed: {type(error).__name__}".encode()


def _set_limits(limits: Limits, jobs: int) -> None:
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, jobs * (int(limits.seconds) + 2))
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    try:  # this limit counts all processes and threads of the user, so those that exist are added
        tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        _lower(resource.RLIMIT_NPROC, tasks + _PROCESSES)
    except (OSError, ValueError, IndexError):
        pass


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
