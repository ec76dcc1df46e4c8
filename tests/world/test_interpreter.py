"""The interpreter as a world."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.programs import untrusted
from opencwm.programs.program import Program
from opencwm.sandbox import InfraError, open_sandbox
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


SECRET = """\
def main():
    found = []
    for place in ({place!r}, {place!r} + '-new'):
        try:
            open(place, 'w' if found else 'r').close()
            found.append('reached')
        except OSError:
            found.append('refused')
    return found
"""


def test_a_program_sees_nothing_of_this_machine(tmp_path: Path) -> None:
    sandbox_or_skip()
    (tmp_path / "secret").write_text("TOP")
    program = Program(SECRET.format(place=str(tmp_path / "secret")), function="main")
    for world, found in (
        (InterpreterWorld(), "refused"),
        (InterpreterWorld(sandbox=True), "refused"),
        (InterpreterWorld(sandbox=False), "reached"),
    ):
        trace, _ = collect(world.run(program))
        assert trace.result == repr([found] * 2)
    assert (tmp_path / "secret-new").exists()


def test_without_a_sandbox_it_warns_or_refuses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(**options: object) -> None:
        raise InfraError("no sandbox: install bubblewrap")

    monkeypatch.setattr(untrusted, "open_sandbox", none)
    monkeypatch.setattr(untrusted, "_said", set())
    with caplog.at_level(logging.WARNING):
        trace, _ = collect(InterpreterWorld().run(PROGRAM))
    assert trace == record(PROGRAM) and "install bubblewrap" in caplog.text
    with pytest.raises(WorldError, match="install bubblewrap"):
        InterpreterWorld(sandbox=True).run(PROGRAM)


def sandbox_or_skip() -> None:
    try:
        open_sandbox().close()
    except InfraError as error:
        pytest.skip(str(error))


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
