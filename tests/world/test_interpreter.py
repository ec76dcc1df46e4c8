"""The interpreter as a world."""

from dataclasses import replace

import pytest

from opencwm.programs.program import Program
from opencwm.trace.frames import Outcome
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.interpreter import InterpreterWorld, RecordedRun
from opencwm.world.protocol import WorldError, collect

PROGRAM = Program.parse("def f(n):\n    x = n + 1\n    return x * 2\n", "f(3)")


def test_a_run_is_the_recording_frame_by_frame() -> None:
    run = InterpreterWorld().run(PROGRAM)
    assert run.outcome is None
    trace, predictions = collect(run)
    assert trace == record(PROGRAM)
    assert all(p.probability == p.branch == 1.0 and p.source == "interpreter" for p in predictions)
    assert run.outcome == Outcome("return")
    assert next(run, None) is None


def test_a_prefix_is_skipped() -> None:
    whole = record(PROGRAM)
    world = InterpreterWorld()
    for length in range(len(whole.frames) + 1):
        rest, _ = collect(world.run(PROGRAM, prefix=whole.frames[:length]))
        assert rest.frames == whole.frames[length:]
        assert rest.outcome == whole.outcome


def test_steps_of_a_prefix_do_not_matter() -> None:
    whole = record(PROGRAM, steps=True)
    rest, _ = collect(InterpreterWorld().run(PROGRAM, prefix=whole.frames[:3]))
    assert len(rest.frames) == len(whole.frames) - 3


def test_a_changed_prefix_is_refused() -> None:
    whole = record(PROGRAM)
    world = InterpreterWorld()
    changed = [*whole.frames[:3], replace(whole.frames[3], locals={"n": "9"})]
    with pytest.raises(WorldError, match=r"frame 3 of the prefix .* cannot continue a changed run yet"):
        world.run(PROGRAM, prefix=changed)
    with pytest.raises(WorldError, match="the run has only"):
        world.run(PROGRAM, prefix=[*whole.frames, whole.frames[0]])


def test_limits_cut_the_run() -> None:
    endless = Program.parse("def f():\n    while True:\n        x = 1\n", "f()")
    trace, _ = collect(InterpreterWorld(Limits(frames=20)).run(endless))
    assert len(trace.frames) == 20
    assert trace.outcome == Outcome("truncated", "frames")


def test_a_program_that_cannot_be_recorded_is_a_world_error() -> None:
    with pytest.raises(WorldError, match="failed before the entry"):
        InterpreterWorld().run(Program("x = 1 / 0\n\ndef f():\n    return 1\n", "f()"))


def test_a_recorded_trace_without_frames_has_ended() -> None:
    trace = replace(record(PROGRAM), frames=(), outcome=Outcome("truncated", "exit"))
    run = RecordedRun(trace)
    assert run.outcome == Outcome("truncated", "exit") and next(run, None) is None
