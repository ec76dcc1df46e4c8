"""The process that records a batch of programs: reads jobs from a folder, forks for each, and writes the packed traces.

Run as `python -P -s _batch_child.py FOLDER`, inside a sandbox. `FOLDER/jobs` has a job a line, each result is appended
to `FOLDER/results` as a JSON line `{"job", "bytes", "reason"}` followed by that many bytes of packed trace; so what was
finished is kept, whatever becomes of this process. A fork costs two milliseconds, a fresh interpreter fifty.

Notable choices: every program starts from the same state (hash seed 0, `random` seeded with 0, an empty folder of its
own), so that whatever can be repeated is repeated exactly. Standard library and our recorder only.
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
import sys
from pathlib import Path
from time import monotonic
from typing import Any

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record
from opencwm.trace.store import pack

_GRACE_SECONDS = 1.5
_FILE_BYTES = 16 << 20
_PROCESSES = 64
# What programs import most: loaded once here, not in every fork.
_COMMON = (
    "abc", "bisect", "collections.abc", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "heapq", "inspect", "io", "itertools", "json", "math", "operator", "re", "string", "textwrap", "types",
    "typing", "unicodedata", "warnings", "weakref",
)  # fmt: skip


class _Job:
    """A job as the recorder wants it: `context`, `entry`, `entry_line`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.context: str = job["context"]
        self.entry: str = job["entry"]
        self.entry_line: int = job["entry_line"]
        self.limits = Limits(**job["limits"])
        self.paths: list[str] = job["paths"]


def main(folder: Path) -> None:
    """Record every job of the folder, in order."""
    jobs = [_Job(json.loads(line)) for line in (folder / "jobs").read_text(encoding="utf-8").splitlines()]
    work = folder / "work"
    with (folder / "results").open("ab", buffering=0) as results:
        for name in _COMMON:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        for number, job in enumerate(jobs):
            work.mkdir(exist_ok=True)
            data, reason = _run(job, work, results.fileno())
            head = json.dumps({"job": number, "bytes": len(data), "reason": reason}).encode() + b"\n"
            results.write(head + data)
            shutil.rmtree(work, ignore_errors=True)


def _run(job: _Job, work: Path, keep_out: int) -> tuple[bytes, str | None]:
    """The packed trace of a job, or why there is none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.close(keep_out)
        _child(job, work, writer)
    os.close(writer)
    received, late = _receive(reader, child, monotonic() + job.limits.seconds + _GRACE_SECONDS)
    os.close(reader)
    try:
        os.killpg(child, signal.SIGKILL)  # what the program started and left behind
    except (ProcessLookupError, PermissionError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if received[:1] == b"T" and received[-1:] == b".":
        return received[1:-1], None
    if received[:1] == b"E" and received[-1:] == b".":
        return b"", received[1:-1].decode("utf-8", "replace")
    if late:
        return b"", "seconds"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return b"", "seconds" if number == signal.SIGXCPU else f"killed by signal {number}"
    return b"", "exit"


def _receive(reader: int, child: int, deadline: float) -> tuple[bytes, bool]:
    """What the child sends until it is done, and whether it took too long. Others may hold its end of the pipe open."""
    parts: list[bytes] = []
    while True:
        left = deadline - monotonic()
        if left <= 0:
            return b"".join(parts), True
        ready, _, _ = select.select([reader], [], [], min(left, 0.2))
        if ready:
            data = os.read(reader, 1 << 20)
            if not data:
                return b"".join(parts), False
            parts.append(data)
            if data.endswith(b".") and parts[0][:1] in (b"T", b"E"):
                ready, _, _ = select.select([reader], [], [], 0)
                if not ready:
                    return b"".join(parts), False
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return b"".join(parts), False


def _child(job: _Job, work: Path, writer: int) -> None:
    """Record the program and send `T` packed-trace `.` or `E` reason `.`; never returns."""
    message = b"Ememory."
    try:
        os.setsid()
        os.set_inheritable(writer, False)
        os.register_at_fork(after_in_child=lambda: os.close(writer))
        os.chdir(work)
        os.environ["HOME"] = str(work)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        _set_limits(job.limits)
        sys.path[:0] = job.paths
        sys.argv[:] = ["<context>"]
        random.seed(0)
        try:
            trace = record(job, limits=job.limits)
            if trace.outcome.kind == "exception" and (trace.result or "").startswith("MemoryError("):
                message = b"Ememory."
            else:
                message = b"T" + pack(trace) + b"."
        except RecordError as error:
            message = b"E" + str(error).encode("utf-8", "replace") + b"."
    except MemoryError:
        pass
    except BaseException as error:
        message = f"Ethe recorder failed: {type(error).__name__}.".encode()
    try:
        while message:
            message = message[os.write(writer, message) :]
    finally:
        os._exit(0)


def _set_limits(limits: Limits) -> None:
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, int(limits.seconds) + 2)
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
    main(Path(sys.argv[1]))
