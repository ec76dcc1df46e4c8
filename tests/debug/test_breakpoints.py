"""Breakpoints on lines, functions, exceptions, changes and unsureness; both directions, conditions, hit counts, logs."""

from dataclasses import replace

import pytest

from opencwm.debug.breakpoints import BreakpointError, Breakpoints, Kind
from opencwm.debug.timeline import Timeline, TimelineError
from opencwm.programs.program import Program
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction

SOURCE = """class Stack:
    def push(self, x):
        self.items = x

def g(k):
    if k > 3:
        raise ValueError(k)
    return k * 2

def f(n):
    total = 0
    for i in range(n):
        try:
            total += g(i)
        except ValueError:
            total = -1
    Stack().push(total)
    return total
"""
TRACE = record(Program.parse(SOURCE, "f(6)"))


def timeline(kind: Kind, **fields: object) -> Timeline:
    points = Breakpoints()
    points.add(kind, **fields)
    return Timeline(RecordedRun(TRACE), points)


def stops(walked: Timeline, movement: str = "proceed") -> list[int]:
    found = []
    while getattr(walked, movement)() and walked.reason == "interrupt":
        found.append(walked.position)
    return found


def values(walked: Timeline, name: str) -> list[str]:
    return [walked.locals_at(at)[name] for at in stops(walked)]


def test_a_line_stops_each_time_and_backwards_at_the_same_frames() -> None:
    walked = timeline("line", line=14)
    forwards = stops(walked)
    assert [TRACE.frames[at].line for at in forwards] == [14] * 6
    assert walked.reason == "end" and walked.position == len(TRACE.frames) - 1
    assert stops(walked, "reverse") == forwards[::-1]
    assert walked.reason == "start" and walked.position == 0


def test_conditions_see_the_names_of_the_frame() -> None:
    assert values(timeline("line", line=14, condition="i % 2 == 1 and total >= 0"), "i") == ["1", "3"]
    assert values(timeline("line", line=8, condition="k in (0, 2)"), "k") == ["0", "2"]


def test_a_condition_that_cannot_be_answered_stops_and_says_so() -> None:
    walked = timeline("line", line=14, condition="missing > 1")
    points = walked.interrupts
    assert isinstance(points, Breakpoints)
    assert walked.proceed() and walked.reason == "interrupt"
    assert "no name 'missing'" in points.hit[0].message


@pytest.mark.parametrize(
    ("hits", "expected"),
    [("3", ["2"]), ("==3", ["2"]), (">4", ["4", "5"]), (">=5", ["4", "5"]), ("%2", ["1", "3", "5"])],
)
def test_hit_counts_mean_the_same_places_in_both_directions(hits: str, expected: list[str]) -> None:
    walked = timeline("line", line=14, hits=hits)
    assert values(walked, "i") == expected
    assert [walked.locals_at(at)["i"] for at in stops(walked, "reverse")] == expected[::-1]


def test_functions_by_any_name() -> None:
    assert len(stops(timeline("function", function="g"))) == 6
    assert len(stops(timeline("function", function="push"))) == 1
    assert len(stops(timeline("function", function="Stack.push"))) == 1
    assert stops(timeline("function", function="ush")) == []


def test_exceptions_stop_where_they_are_raised_only() -> None:
    found = stops(timeline("exception"))
    assert [(TRACE.frames[at].function, TRACE.frames[at].value) for at in found] == [
        ("g", "ValueError(4)"),
        ("g", "ValueError(5)"),
    ]
    assert stops(timeline("exception", only="uncaught")) == []
    failing = record(Program.parse("def f():\n    return 1 / 0\n", "f()"))
    points = Breakpoints()
    points.add("exception", only="uncaught")
    walked = Timeline(RecordedRun(failing), points)
    assert walked.proceed() and walked.frame.depth == 0


def test_data_breakpoints_stop_when_a_name_changes_and_not_at_arguments() -> None:
    walked = timeline("data", name="total", function="f")
    seen = values(walked, "total")
    assert seen == ["0", "2", "6", "12", "-1"]
    assert stops(timeline("data", name="k")) == []
    assert len(stops(timeline("data", name="total", function="g"))) == 0


def test_unsure_frames_stop() -> None:
    class Guessed(RecordedRun):
        def __next__(self) -> Prediction:
            found = super().__next__()
            return replace(found, probability=0.5 if found.frame.line == 17 else 0.99, source="model")

    points = Breakpoints()
    points.add("unsure", below=0.8)
    walked = Timeline(Guessed(TRACE), points)
    assert [walked.predictions[at].frame.line for at in stops(walked)] == [17]


def test_logs_do_not_stop() -> None:
    walked = timeline("line", line=14, log="i is {i}, next {i + 1}, {nothing}")
    points = walked.interrupts
    assert isinstance(points, Breakpoints)
    assert stops(walked) == []
    assert len(points.logged) == 6 and points.logged[1].startswith("i is 1, next 2, <no name 'nothing' here")


def test_breakpoints_stop_steps_over_and_out_too() -> None:
    walked = timeline("line", line=8)
    walked.run_to_line(14)
    assert walked.next() and walked.reason == "interrupt" and walked.frame.line == 8
    assert walked.next() and walked.reason == "step" and walked.frame.event == "return"


def test_temporary_disabled_and_removed_ones() -> None:
    walked = timeline("line", line=14, temporary=True)
    assert len(stops(walked)) == 1
    points = walked.interrupts
    assert isinstance(points, Breakpoints) and not points.all
    point = points.add("line", line=14, enabled=False)
    walked.go_to(0)
    assert stops(walked) == []
    point.enabled = True
    walked.go_to(0)
    assert len(stops(walked)) == 6
    points.remove(point.number)
    with pytest.raises(BreakpointError, match="no breakpoint 2; there are: none"):
        points.get(2)


def test_what_cannot_be_read_is_refused() -> None:
    points = Breakpoints()
    with pytest.raises(BreakpointError, match="is not an expression"):
        points.add("line", line=1, condition="x = 1")
    with pytest.raises(BreakpointError, match="is none of"):
        points.add("line", line=1, hits="often")
    assert not points.all


def test_occurrences_of_a_repeated_line_are_told_apart() -> None:
    walked = Timeline(RecordedRun(TRACE))
    walked.go_to_occurrence(14, 3)
    assert walked.locals_at()["i"] == "2" and walked.occurrence()[0] == 3
    with pytest.raises(TimelineError, match="line 14 is reached 6 times"):
        walked.go_to_occurrence(14, 7)
    assert walked.locals_at()["i"] == "2"
    assert walked.occurrence() == (3, 6)


def test_return_and_entry_mirror_each_other() -> None:
    walked = Timeline(RecordedRun(TRACE))
    walked.run_to_line(8)
    assert walked.to_return() and walked.frame.event == "return"
    assert walked.back_to_call() and (walked.frame.event, walked.frame.line) == ("call", 5)
    assert walked.back_to_call() and (walked.frame.event, walked.frame.line) == ("line", 14)
