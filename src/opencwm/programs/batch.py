"""Recording programs that nobody has read, hundreds a second, each in the sandbox and from the same fresh state.

    runs = record_batch(programs)
    with Recorder() as recorder:                   # one that stays, for whoever records again and again
        results = recorder.run(groups, limits)

A `Recorder` is one process in a sandbox that forks for every group of programs (`_recorder_child.py`). If a program
takes that process with it, the next one starts in a new sandbox; nothing that was finished is lost.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from opencwm.programs import _recorder_child
from opencwm.programs.counterfactual import Change
from opencwm.sandbox import InfraError, Mount, Process, Sandbox, open_sandbox
from opencwm.sandbox import Limits as SandboxLimits
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import Recordable, RecordError
from opencwm.trace.store import unpack

LIMITS = Limits(frames=10_000, value_bytes=1_000, total_bytes=1_000_000, seconds=3.0, memory_bytes=1 << 30)
_PACKAGE = Path(__file__).parents[1]
_FOREVER = 10**9
_BOUNDS = SandboxLimits(
    cpu_seconds=_FOREVER,  # each program has limits of its own
    wall_seconds=_FOREVER,
    lifetime_seconds=_FOREVER,
    output_bytes=_FOREVER,
    memory_bytes=4 << 30,
    processes=256,
)
_START_SECONDS = 60.0
_PER_JOB_SECONDS = 4.5  # what a job may take beyond its own limit
_GONE = "the recording process died"
SLOW = "seconds"
"""The reason where time ran out."""
Job = dict[str, Any]
"""What `_recorder_child.py` reads, without limits and paths."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A packed trace, or the reason why there is none (`seconds`, `exit`, `killed by signal N`, ...)."""

    packed: bytes
    reason: str | None

    def trace(self) -> Trace:
        """The trace. Raises ValueError if there is none."""
        if self.reason is not None:
            raise ValueError(f"there is no trace: {self.reason}")
        return unpack(self.packed)


class Recorder:
    """A recording process in a sandbox, started when first needed; a context manager. One thread at a time may use it.

    `paths` are folders to put on the import path of programs.
    """

    def __init__(self, *, paths: Sequence[str] = ()) -> None:
        self._paths = list(paths)
        self._running: _Running | None = None
        self._seconds = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the recording processes and of all that they ran, as of the last answer."""
        return self._seconds + (self._running.seconds if self._running else 0.0)

    def start(self) -> None:
        """Start the process now. Raises InfraError, with the remedy, if there is no sandbox."""
        if self._running is None:
            self._running = _Running(self._paths)

    def rerun(self, program: Recordable, change: Change, *, limits: Limits = LIMITS, steps: bool = False) -> Trace:
        """The trace of a run with a change on the way, as `counterfactual.rerun`. Raises RecordError, InfraError."""
        job = {"do": "rerun", **described(program), "steps": steps, "change": dataclasses.asdict(change)}
        ((ran,),) = self.run([[job]], limits)
        if ran.reason is not None:
            raise RecordError(ran.reason)
        return ran.trace()

    def run(self, groups: Sequence[Sequence[Job]], limits: Limits) -> list[list[Ran]]:
        """One result per job, in order, group by group. Raises InfraError.

        A group's jobs share a fork, so they are fast, and one may change what the next ones in it see. A job during
        which the whole process died is tried once more.
        """
        bounds = dataclasses.asdict(limits)
        left = [[{**job, "limits": bounds, "paths": self._paths} for job in group] for group in groups]
        found: list[Ran] = []
        total = sum(map(len, groups))
        deaths = 0
        while len(found) < total:
            self.start()
            assert self._running is not None
            try:
                self._running.send(b"".join(json.dumps(group).encode() + b"\n" for group in left if group))
                while len(found) < total:
                    found.append(self._running.answer(limits.seconds + _PER_JOB_SECONDS))
                    deaths = 0
                    _drop(left)
            except _Died as death:  # during the first job that has no answer
                self.close()
                deaths += 1
                if deaths > 1 or death.reason == SLOW:
                    found.append(Ran(b"", death.reason))
                    deaths = 0
                    _drop(left)
            except BaseException:  # what it would answer next belongs to nobody
                self.close()
                raise
        ran = iter(found)
        return [[next(ran) for _ in group] for group in groups]

    def close(self) -> None:
        if self._running is not None:
            self._seconds += self._running.seconds
            self._running.close()
            self._running = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def record_batch(programs: Sequence[Recordable], *, limits: Limits = LIMITS, paths: Sequence[str] = ()) -> list[Ran]:
    """One result per program, in order, each from a fork of its own. `paths` as of `Recorder`. Raises InfraError."""
    groups: list[list[Job]] = []
    refused: dict[int, Ran] = {}
    for number, program in enumerate(programs):
        try:
            groups.append([{"do": "record", **described(program), "steps": False}])
        except ValueError as error:
            refused[number] = Ran(b"", str(error))
    with Recorder(paths=paths) as recorder:
        ran = iter(recorder.run(groups, limits))
    return [refused.get(number) or next(ran)[0] for number in range(len(programs))]


def described(program: Recordable) -> Job:
    """A program as part of a job. Raises ValueError if it has no entry."""
    return {"context": program.context, "entry": program.entry, "entry_line": program.entry_line}


def _drop(groups: list[list[Job]]) -> None:
    """Take the first job away."""
    while not groups[0]:
        del groups[0]
    del groups[0][0]


class _Died(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Running:
    """A process that has started, and what it has said that nobody has read yet."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.seconds = 0.0
        self._said = bytearray()
        self._errors = bytearray()
        mounts = [Mount(path, path) for path in dict.fromkeys((str(_PACKAGE), *paths))]
        self._sandbox: Sandbox = open_sandbox(limits=_BOUNDS, mounts=mounts)
        try:
            command = [self._sandbox.python, "-s", "-P", "-X", "utf8", _recorder_child.__file__]
            self._process: Process = self._sandbox.spawn(command, env={"PYTHONHASHSEED": "0"})
        except BaseException:
            self._sandbox.close()
            raise
        base, names = self._sandbox.roots
        self.send(json.dumps({"writable": [os.path.join(base, name) for name in names]}).encode() + b"\n")
        try:
            self.answer(_START_SECONDS)
        except _Died as death:
            said = self._errors.decode("utf-8", "replace").strip().splitlines() or [death.reason]
            self.close()
            raise InfraError(f"the recording process cannot start in the sandbox: {said[-1]}") from None

    def send(self, data: bytes) -> None:
        self._process.send(data)

    def answer(self, seconds: float) -> Ran:
        """The next answer, waiting at most so long. Raises _Died."""
        deadline = monotonic() + seconds
        while (end := self._said.find(b"\n")) < 0:
            self._hear(deadline)
        head = json.loads(self._said[:end])
        size = head["bytes"]
        while len(self._said) < end + 1 + size:
            self._hear(deadline)
        data = bytes(self._said[end + 1 : end + 1 + size])
        del self._said[: end + 1 + size]
        self.seconds = head["cpu"]
        return Ran(data, head["reason"])

    def _hear(self, deadline: float) -> None:
        left = deadline - monotonic()
        if left <= 0:
            raise _Died(SLOW)
        try:
            pieces = self._process.receive(left)
        except InfraError:  # a program can end the whole sandbox; whether there is another, its start will tell
            raise _Died(_GONE) from None
        if pieces is None:
            ending = self._process.ending
            if ending is not None and ending.limit is not None:
                raise _Died(SLOW if ending.limit in ("cpu", "wall") else ending.limit)
            raise _Died(_GONE)
        for stream, data in pieces:
            if stream == "stdout":
                self._said += data
            else:
                self._errors = (self._errors + data)[-4096:]

    def close(self) -> None:
        self._process.close()
        self._sandbox.close()
