"""Running a world free for an evaluation: one greedy run per program, with what it cost; giving up is a result too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.protocol import World, WorldError


@dataclass(frozen=True, slots=True)
class FreeRun:
    """A predicted run and its cost. `tokens` is None where the run does not count them; `error` is why it gave up."""

    trace: Trace
    seconds: float
    tokens: int | None = None
    error: WorldError | None = None


def run_free(world: World, program: Program, *, limit: int, tokens: int | None = None) -> FreeRun:
    """Predict a run, at most `limit` frames, or until it has taken `tokens` tokens where it counts them. What the world
    raises ends it, with outcome `truncated`."""
    started = time.perf_counter()
    frames: list[Frame] = []
    outcome, python, taken, failure = None, "", None, None
    try:
        run = world.run(program)
        python = run.python
        for prediction in run:
            frames.append(prediction.frame)
            if len(frames) >= limit:
                break
            if tokens is not None and getattr(run, "tokens", 0) >= tokens and run.outcome is None:
                outcome = Outcome("truncated", "tokens")
                break
        outcome = outcome or run.outcome or Outcome("truncated", "frames")
        taken = getattr(run, "tokens", None)
    except WorldError as error:
        outcome, failure = Outcome("truncated", str(error)), error
    trace = Trace(program.context, program.entry_line, tuple(frames), outcome, python)
    return FreeRun(trace, time.perf_counter() - started, taken, failure)


def check_alive(runs: Sequence[FreeRun]) -> None:
    """Raise the world's own error if it answered nothing at all: figures of it would say nothing."""
    if runs and all(run.error is not None and not run.trace.frames for run in runs):
        error = runs[-1].error
        assert error is not None
        raise error


def open_world(weights: str | Path | None, *, alone: bool = False) -> World:
    """The local model of a weights folder, or the shipped one. Raises WorldError.

    `alone`: it writes every value itself, also what can only be a copy (`model/copies.py`).
    """
    from opencwm.world.local import LocalWorld

    return LocalWorld.load(Path(weights) if weights is not None else None, copies=not alone)
