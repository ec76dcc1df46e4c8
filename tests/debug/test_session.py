"""Sessions: sources, lanes, reality that arrives later, where runs part, changes and edits, files that change."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.debug.session import Interrupted, Session, SessionError
from opencwm.debug.sources import Sources
from opencwm.programs.program import Program, ProgramError
from opencwm.trace.frames import Frame, Trace
from opencwm.trace.recorder import RecordError, record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction, Run, Runnable, WorldError

SOURCE = """def f(n):
    total = 0
    for i in range(n):
        total += i
    return total
"""
PROGRAM = Program.parse(SOURCE, "f(3)")


class Believer:
    """Predicts the real run with a change at one frame, and continues any prefix with what the real run has there."""

    name = "believer"

    def __init__(self, change: Callable[[int, Frame], Frame] = lambda number, frame: frame) -> None:
        self.change = change
        self.asked: list[tuple[str, int]] = []

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        self.asked.append((program.context, len(prefix)))
        return Believed(record(program), len(prefix), self.change)


class Believed(RecordedRun):
    def __init__(self, trace: Trace, start: int, change: Callable[[int, Frame], Frame]) -> None:
        super().__init__(trace, start)
        self.number, self.change = start, change

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        found = super().__next__()
        self.number += 1
        return replace(found, frame=self.change(self.number - 1, found.frame), source="model")


def wrong_total(number: int, frame: Frame) -> Frame:
    return replace(frame, locals={**frame.locals, "total": "9"}) if frame.locals.get("total") == "1" else frame


def both(change: Callable[[int, Frame], Frame]) -> Session:
    session = Session(PROGRAM, Sources(lambda: Believer(change), record), "both")
    assert session.reality is not None
    session.reality.wait()
    return session


def test_a_real_session_needs_no_model() -> None:
    def load() -> Believer:
        raise AssertionError("the model was loaded")

    session = Session(PROGRAM, Sources(load, record), "real")
    assert session.timeline.to_end() and session.timeline.frame.value == "3"
    assert session.parting() is None


def test_reality_becomes_a_lane_when_it_arrives_and_the_parting_is_found() -> None:
    session = both(wrong_total)
    assert session.parting() is None and [lane.kind for lane in session.lanes] == ["predicted", "real"]
    while session.timeline.step() and session.parting() is None:
        pass
    parting = session.parting()
    assert parting is not None and parting.index == session.timeline.position
    assert str(parting) == "total: predicted 9, really 1"
    assert parting.line == 4 and session.source_line(parting.line).strip() == "total += i"
    assert session.lanes[1].timeline.predictions[parting.blamed].frame.locals["i"] == "1"


def test_a_prediction_that_ends_too_early_parts_there() -> None:
    class Short(Believed):
        def __next__(self) -> Prediction:
            if self.number == 4:
                from opencwm.trace.frames import Outcome

                self.outcome = Outcome("return")
                raise StopIteration
            return super().__next__()

    class World(Believer):
        def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
            return Short(record(program), len(prefix), self.change)

    session = Session(PROGRAM, Sources(World, record), "both")
    assert session.reality is not None
    session.reality.wait()
    session.timeline.to_end()
    parting = session.parting()
    assert parting is not None and parting.index == 4 and "really line at line" in str(parting)


def test_a_program_that_cannot_run_can_still_be_predicted() -> None:
    def fails(program: Program) -> Trace:
        raise RecordError("the module failed before the entry: No module named 'nowhere'")

    session = Session(PROGRAM, Sources(Believer, fails), "both")
    assert session.reality is not None and session.reality.wait() is None
    assert "nowhere" in (session.reality.error or "")
    assert session.timeline.to_end() and session.parting() is None


def test_a_changed_value_opens_a_future_with_its_past() -> None:
    world = Believer()
    session = Session(PROGRAM, Sources(lambda: world, record), "predicted")
    session.timeline.run_to_line(4)
    at = session.timeline.position
    lane = session.change("total", "total - 5")
    assert session.lane is lane and (lane.parent, lane.fork, lane.title) == (0, at, "total = -5")
    assert session.timeline.position == at and session.timeline.locals_at()["total"] == "-5"
    assert world.asked[-1] == (PROGRAM.context, at + 1)
    parent = session.lanes[0].timeline
    assert [p.frame for p in lane.timeline.predictions[:at]] == [p.frame for p in parent.predictions[:at]]
    assert session.timeline.step() and session.timeline.back() and session.timeline.position == at
    parting = session.compare(lane, session.lanes[0])
    assert parting is not None and parting.index == at
    session.walk(0)
    assert session.timeline.locals_at()["total"] == "0"
    assert session.lane.change == ""


def test_items_can_be_changed_too() -> None:
    program = Program.parse("def f():\n    rows = [[1, 2], {'a': 3}]\n    return rows\n", "f()")
    session = Session(program, Sources(Believer, record), "real")
    session.timeline.run_to_line(3)
    assert session.change("rows[1]['a']", "rows[0][1]").timeline.locals_at()["rows"] == "[[1, 2], {'a': 2}]"
    for target, expression in [
        ("rows[7]", "1"),
        ("rows[0].x", "1"),
        ("len(rows)", "1"),
        ("rows", "nothing"),
        ("x", "1"),
    ]:
        with pytest.raises(SessionError):
            session.change(target, expression)
    assert len(session.lanes) == 2


def test_what_a_function_returns_can_be_changed() -> None:
    session = Session(PROGRAM, Sources(Believer, record), "real")
    session.timeline.run_to_line(5)
    session.timeline.to_return()
    with pytest.raises(SessionError, match="change __return__"):
        session.change("total", "4")
    session.change("__return__", "4")
    assert session.timeline.frame.value == "4"


def test_an_edited_line_opens_a_future_of_another_source() -> None:
    session = Session(PROGRAM, Sources(Believer, record), "predicted")
    session.timeline.run_to_line(3)
    lane = session.edit(4, "total += 2 * i")
    assert lane.program.source.split("\n")[3] == "        total += 2 * i" and lane.kind == "edited"
    assert session.timeline.position == lane.fork - 1
    session.timeline.to_end()
    assert session.timeline.frame.value == "6"
    assert session.parting() is None
    for line, text, reason in [
        (99, "x", "not in the source"),
        (4, "total +=", "cannot read"),
        (4, "x = '''", "cannot read"),
    ]:
        with pytest.raises(SessionError, match=reason):
            session.edit(line, text)


def test_without_a_model_a_change_says_what_is_missing() -> None:
    session = Session(PROGRAM, Sources(None, record), "real")
    session.timeline.run_to_line(4)
    with pytest.raises(WorldError, match="no model"):
        session.change("total", "4")
    assert len(session.lanes) == 1 and session.timeline.frame.line == 4


def test_lanes_that_are_not_there() -> None:
    session = Session(PROGRAM, Sources(None, record), "real")
    with pytest.raises(SessionError, match="there are 0 to 0"):
        session.walk(3)


def test_restart_reads_the_file_again_and_keeps_breakpoints(tmp_path: Path) -> None:
    path = tmp_path / "f.py"
    path.write_text(SOURCE)
    session = Session(Program.read(str(path), "f(3)"), Sources(None, record), "real", path=path, call="f(3)")
    session.breakpoints.add("line", line=4)
    assert not session.edited()
    path.write_text(SOURCE.replace("+= i", "+= 10"))
    assert session.edited()
    session.restart()
    assert not session.edited() and session.timeline.proceed() and session.timeline.frame.line == 4
    session.timeline.to_end()
    assert session.timeline.frame.value == "30"
    path.write_text("def f(:\n")
    with pytest.raises(ProgramError):
        session.restart()
    assert session.timeline.frame.value == "30"
    path.unlink()
    assert session.edited()


def test_a_given_run_is_walked_as_it_is() -> None:
    session = Session(PROGRAM, Sources(), "real", given=RecordedRun(record(PROGRAM)))
    assert session.timeline.known == len(record(PROGRAM).frames)
    with pytest.raises(SessionError, match="given as it is"):
        session.restart()
    with pytest.raises(SessionError, match="cannot run programs"):
        session.record(PROGRAM)


def test_another_thread_can_stop_a_wait() -> None:
    started = threading.Event()

    class Slow(Believed):
        def __next__(self) -> Prediction:
            started.set()
            gate.wait(0.01)
            return Prediction(Frame("line", 2, "f", 0, {"n": "3"}), source="model")

    class World(Believer):
        def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
            return Slow(record(program), 0, self.change)

    gate = threading.Event()
    session = Session(PROGRAM, Sources(World), "predicted")
    seen: list[int] = []
    session.on_growth = seen.append
    stopper = threading.Timer(0.1, session.interrupt)
    stopper.start()
    with pytest.raises(Interrupted):
        session.timeline.run_to_line(99)
    assert session.timeline.position == 0 and seen == sorted(seen) and len(seen) > 2


def test_two_sessions_do_not_disturb_each_other() -> None:
    first, second = both(wrong_total), Session(PROGRAM, Sources(None, record), "real")
    first.breakpoints.add("line", line=4)
    first.timeline.proceed()
    second.timeline.to_end()
    first.interrupt()
    assert second.timeline.back() and not second.breakpoints.all
    first.calm()
    assert first.timeline.position != second.timeline.position
