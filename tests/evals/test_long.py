"""Long runs: frames are counted at their depth, and a free run up to its first error."""

from __future__ import annotations

import pytest

from opencwm.evals import long
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.interpreter import InterpreterWorld


def test_every_program_goes_on_for_long_enough() -> None:
    for source, call in long.PROGRAMS:
        trace = record(Program(source, call), limits=Limits(frames=long.FRAMES))
        assert trace.outcome.reason == "frames", call


@pytest.mark.parametrize("frames", [100, 130])
def test_a_world_that_is_right_is_right_at_every_depth(frames: int) -> None:
    report = long.evaluate(world=InterpreterWorld(), frames=frames, programs=long.PROGRAMS[:2])
    assert report["next frame, frames 0 to 100"].value == 1
    assert report["next frame, frames 100 to 1000"].n == 2 * (frames - 100)
    assert report["running free, right to frame 100"].value == 1
    assert report["running free, right to frame 1000"].n == 0
    assert report["frames until the first error, median"].value == frames


def test_the_shipped_model_errs_and_is_told_where() -> None:
    report = long.evaluate(frames=110, programs=long.PROGRAMS[:1])
    assert report["next frame, frames 0 to 100"].n == 100
    found = report["frames until the first error, median"].value
    assert found is not None and 1 <= found <= 110
