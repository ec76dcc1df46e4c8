"""`record_batch`: many programs recorded in isolation, hundreds a second, each from the same fresh state.

One process per batch starts in the sandbox and forks for every program (`_batch_child.py`). If a program takes that
process with it, the batch goes on after it in a new one; nothing that was finished is lost.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opencwm.programs import _batch_child, isolation
from opencwm.sandbox import InfraError
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import Recordable
from opencwm.trace.store import unpack

LIMITS = Limits(frames=10_000, value_bytes=1_000, total_bytes=1_000_000, seconds=3.0, memory_bytes=1 << 30)
_OURS = str(Path(__file__).resolve().parents[2])
_START_SECONDS = 30.0
_PER_JOB_SECONDS = 3.0  # what a job may take beyond its own limit


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


def record_batch(
    programs: Sequence[Recordable], *, limits: Limits = LIMITS, paths: Sequence[str] = (), repeat: bool = True
) -> list[Ran]:
    """One result per program, in order. `paths` are folders to put on their import path.

    A program during which the recording process died is tried once more, alone, if `repeat`.
    """
    found: list[Ran | None] = []
    jobs: list[str | None] = []
    for program in programs:
        try:
            job = {"context": program.context, "entry": program.entry, "entry_line": program.entry_line}
            jobs.append(json.dumps({**job, "limits": dataclasses.asdict(limits), "paths": list(paths)}))
        except ValueError as error:
            jobs.append(None)
            found.append(Ran(b"", str(error)))
            continue
        found.append(None)
    left = [index for index, job in enumerate(jobs) if job is not None]
    while left:
        done, ended = _round([jobs[index] or "" for index in left], limits, paths)
        for index, ran in zip(left, done, strict=False):
            found[index] = ran
        left = left[len(done) :]
        if left:  # the process died during the first one that has no result
            culprit, left = left[0], left[1:]
            alone = [] if not repeat else record_batch([programs[culprit]], limits=limits, paths=paths, repeat=False)
            found[culprit] = alone[0] if alone else Ran(b"", ended or "the recording process died")
    return [ran for ran in found if ran is not None]


def _round(jobs: list[str], limits: Limits, paths: Sequence[str]) -> tuple[list[Ran], str | None]:
    folder = Path(tempfile.mkdtemp(prefix="cwm-batch-"))
    try:
        (folder / "jobs").write_text("\n".join(jobs), encoding="utf-8")
        command = [sys.executable, "-s", "-P", "-X", "utf8", _batch_child.__file__, str(folder)]
        seconds = _START_SECONDS + len(jobs) * (limits.seconds + _PER_JOB_SECONDS)
        ended = isolation.run(command, folder=folder, seconds=seconds, visible=(_OURS, *paths))
        found = list(_results(folder / "results"))
        if not found and ended.code not in (0, None) and "Error" in ended.tail:
            raise InfraError(
                f"the recording process cannot start in the sandbox: {ended.tail.strip().splitlines()[-1]}"
            )
        return found, ended.cut
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _results(path: Path) -> Iterator[Ran]:
    """The whole results of a file; what the process was writing when it died is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while line := file.readline():
            try:
                head = json.loads(line)
            except ValueError:
                return
            data = file.read(head["bytes"])
            if len(data) < head["bytes"]:
                return
            yield Ran(data, head["reason"])
