"""Functions that nobody here has read, run in a sandbox for the mix: one recorder per process, many runs a round trip.

A round trip to the sandbox costs four changes of process and a fork; so the mix hands over the runs of a whole stretch
of the stream at once (`mix.STRETCH`).
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opencwm.programs import packages
from opencwm.programs._recorder_child import PLACE
from opencwm.programs.batch import SLOW, Job, Ran, Recorder, described
from opencwm.programs.program import Program
from opencwm.programs.real import Drawn
from opencwm.sandbox import InfraError
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits


def recorder() -> Recorder:
    """The recorder that this process shares; it ends with the process."""
    return _recorder_of(os.getpid())  # not the parent's, after a fork


@functools.cache
def _recorder_of(process: int) -> Recorder:
    made = Recorder()
    atexit.register(made.close)
    return made


@dataclass(frozen=True, slots=True)
class Foreign:
    """A run of a function: its program (None if it has no arguments), its trace or the reason why there is none."""

    program: Program | None
    trace: Trace | None
    reason: str = ""

    @property
    def slow(self) -> bool:
        """Whether time ran out in such a way that there is no trace."""
        return self.reason == SLOW


def record(drawn: Sequence[Drawn], *, limits: Limits, steps: bool) -> list[Foreign]:
    """A run of each, in one round trip, from one fresh state for all. Raises InfraError."""
    jobs: list[Job] = []
    programs: list[Program | None] = []
    for each in drawn:
        if each.function.generator:
            jobs.append({"do": "arguments", "generator": each.function.generator, "seed": each.seed})
        program = each.program(PLACE)
        programs.append(program)
        if program is not None:
            jobs.append({"do": "record", **described(program), "steps": steps})
    (answers,) = recorder().run([jobs], limits)
    left = iter(answers)
    return [_found(each, program, left) for each, program in zip(drawn, programs, strict=True)]


def _found(drawn: Drawn, program: Program | None, answers: Iterator[Ran]) -> Foreign:
    """Take the answers about a run."""
    if drawn.function.generator:
        made = next(answers)
        program = drawn.program(made.packed.decode("utf-8", "surrogatepass")) if made.reason is None else None
        ran = next(answers)
    elif program is not None:
        ran = next(answers)
    if program is None:
        return Foreign(None, None, "no arguments")
    return Foreign(program, None if ran.reason else ran.trace(), ran.reason or "")


def check(data: str, names: Sequence[str]) -> None:
    """Raise InfraError, with the remedies, if functions of such data and packages need a sandbox and there is none."""
    if not data and all(packages.find(name).standard for name in names):
        return
    try:
        recorder().start()
    except InfraError as error:
        raise InfraError(
            f"functions of data and packages run in a sandbox only, and there is none: {error}. Without one, set "
            "mix.shares.functions = 0 and harvest the standard library alone, or set mix.trust = true if you trust all "
            "of that code with this machine"
        ) from error
