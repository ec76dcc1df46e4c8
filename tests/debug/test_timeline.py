"""The walk over a run: forwards, backwards, over and out of calls, generators, exceptions, and what a frame knows."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.debug.timeline import Timeline, TimelineError
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction

CALLS = """def square(x):
    y = x * x
    return y

def f(n):
    total = 0
    for i in range(n):
        total += square(i)
    return total
"""
GENERATORS = """def count(n):
    i = 0
    while i < n:
        yield i
        i += 1

def f():
    a = count(2)
    b = count(3)
    pairs = []
    for x in a:
        pairs.append((x, next(b)))
    return pairs
"""
ERRORS = """def inner(x):
    if x > 1:
        raise ValueError(x)
    return x

def middle(x):
    return inner(x)

def f():
    try:
        middle(5)
    except ValueError as error:
        caught = 1
    return middle(1)
"""


def trace_of(source: str, call: str) -> Trace:
    return record(Program.parse(source, call))


def walk(source: str, call: str) -> Timeline:
    return Timeline(RecordedRun(trace_of(source, call)))


def lines(timeline: Timeline, movement: str) -> list[tuple[str, int]]:
    """(event, line) at each stop of a movement repeated until it leads nowhere."""
    found = [(timeline.frame.event, timeline.frame.line)]
    while getattr(timeline, movement)():
        found.append((timeline.frame.event, timeline.frame.line))
    return found


class CountingRun:
    """A run that counts how many frames were asked for, and can give up."""

    def __init__(self, trace: Trace, give_up_at: int | None = None) -> None:
        self.run = RecordedRun(trace)
        self.context, self.entry_line, self.python = trace.context, trace.entry_line, trace.python
        self.asked = 0
        self.give_up_at = give_up_at

    @property
    def outcome(self) -> Outcome | None:
        return self.run.outcome

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self.asked == self.give_up_at:
            raise KeyboardInterrupt
        self.asked += 1
        return next(self.run)


def to_line(timeline: Timeline, line: int) -> None:
    assert timeline.run_to_line(line)


def test_step_visits_every_frame_and_back_undoes_it() -> None:
    trace = trace_of(CALLS, "f(3)")
    timeline = Timeline(RecordedRun(trace))
    seen = [timeline.frame]
    while timeline.step():
        seen.append(timeline.frame)
    assert tuple(seen) == trace.frames
    assert timeline.outcome == trace.outcome
    while timeline.back():
        pass
    assert timeline.position == 0 and not timeline.back()


def test_frames_are_asked_for_only_when_needed() -> None:
    run = CountingRun(trace_of(CALLS, "f(50)"))
    timeline = Timeline(run)
    assert run.asked == 0
    timeline.frame  # noqa: B018
    timeline.step()
    timeline.step()
    timeline.back()
    assert run.asked == 3 and timeline.known == 3 and timeline.outcome is None


def test_next_steps_over_calls() -> None:
    timeline = walk(CALLS, "f(2)")
    to_line(timeline, 6)
    stops = lines(timeline, "next")
    inside = [line for _, line in stops]
    assert stops[0] == ("line", 6)
    assert not {1, 2, 3} & set(inside)
    assert inside.count(8) == 2


def test_next_on_a_call_frame_goes_to_its_first_line() -> None:
    timeline = walk(CALLS, "f(1)")
    to_line(timeline, 1)
    assert timeline.frame.event == "call"
    timeline.next()
    assert (timeline.frame.event, timeline.frame.line) == ("line", 2)


def test_next_from_a_return_goes_to_the_caller() -> None:
    timeline = walk(CALLS, "f(2)")
    to_line(timeline, 3)
    timeline.to_return()
    assert timeline.frame.event == "return"
    timeline.next()
    assert timeline.frame.function == "f"


def test_back_over_mirrors_next() -> None:
    timeline = walk(CALLS, "f(3)")
    to_line(timeline, 6)
    forwards = [timeline.position]
    while timeline.next() and timeline.frame.function == "f":
        forwards.append(timeline.position)
    timeline.go_to(forwards[-1])
    backwards = [timeline.position]
    while len(backwards) < len(forwards) and timeline.back_over():
        backwards.append(timeline.position)
    assert backwards == forwards[::-1]


def test_out_and_return_in_recursion() -> None:
    timeline = walk("def f(n):\n    if n == 0:\n        return 0\n    return n + f(n - 1)\n", "f(3)")
    to_line(timeline, 3)
    assert [entry.function for entry in timeline.stack()] == ["main", "f", "f", "f", "f"]
    assert timeline.to_return() and timeline.frame.value == "0"
    assert timeline.out() and timeline.frame.depth == 3 and timeline.frame.value == "1"
    assert timeline.to_return() and timeline.frame.depth == 2
    assert timeline.back_out() and (timeline.frame.event, timeline.frame.depth) == ("line", 1)


def test_out_of_the_entry_goes_to_the_end() -> None:
    timeline = walk(CALLS, "f(1)")
    assert not timeline.out()
    assert timeline.position == timeline.known - 1
    assert not timeline.step() and not timeline.next() and not timeline.to_return()


def test_an_exception_that_leaves_is_where_the_function_ends() -> None:
    timeline = walk(ERRORS, "f()")
    to_line(timeline, 2)
    assert timeline.to_return()
    assert (timeline.frame.event, timeline.frame.line) == ("exception", 3)
    assert timeline.out() and (timeline.frame.event, timeline.frame.function) == ("exception", "middle")
    assert timeline.out() and (timeline.frame.event, timeline.frame.function) == ("exception", "f")
    assert timeline.next() and timeline.frame.line == 12
    assert timeline.to_return() and timeline.frame.value == "1"


def test_a_handled_exception_does_not_end_the_function() -> None:
    timeline = walk("def f():\n    try:\n        int('x')\n    except ValueError:\n        pass\n    return 2\n", "f()")
    to_line(timeline, 3)
    assert timeline.to_return() and timeline.frame.value == "2"


def test_an_uncaught_exception_ends_the_run() -> None:
    timeline = walk("def f():\n    return 1 / 0\n", "f()")
    to_line(timeline, 2)
    assert timeline.to_return() and timeline.frame.event == "exception"
    timeline.to_end()
    assert timeline.outcome == Outcome("exception")


def test_generators_resume_their_own_activation() -> None:
    timeline = walk(GENERATORS, "f()")
    timeline.to_end()
    resumed = [
        index
        for index in range(timeline.known)
        if timeline.prediction_at(index).frame.function == "count"
        and timeline.prediction_at(index).frame.event == "call"
        and timeline.prediction_at(index).frame.line == 4
    ]
    assert resumed
    timeline.go_to(resumed[0])
    assert timeline.frame.locals["n"] == "2"
    assert [value for _, value in timeline.history("i")] == ["0", "1", "2"]
    assert timeline.changed_at() == {}
    assert [entry.function for entry in timeline.stack()] == ["main", "f", "count"]
    timeline.go_to(resumed[1])
    assert timeline.frame.locals["n"] == "3"
    assert [value for _, value in timeline.history("i")] == ["0", "1"]


def test_next_over_a_generator_stays_in_the_loop() -> None:
    timeline = walk(GENERATORS, "f()")
    to_line(timeline, 8)
    inside = [line for _, line in lines(timeline, "next") if 7 < line < 13]
    assert inside[:3] == [8, 9, 10] and inside.count(12) == 2 and inside.count(11) == 3


def test_generator_expression_on_one_line_is_one_activation() -> None:
    timeline = walk("def f(xs):\n    return sum(x * x for x in xs)\n", "f([1, 2, 3])")
    timeline.to_end()
    inside = [i for i in range(timeline.known) if timeline.prediction_at(i).frame.function.endswith("<genexpr>")]
    timeline.go_to(inside[-1])
    assert [value for _, value in timeline.history("x")] == ["1", "2", "3"]


def test_one_line_functions_called_again_are_new_activations() -> None:
    timeline = walk("def g(x): return x\ndef f():\n    return g(1) + g(1)\n", "f()")
    timeline.to_end()
    calls = [
        i
        for i in range(timeline.known)
        if (timeline.prediction_at(i).frame.function, timeline.prediction_at(i).frame.event) == ("g", "call")
    ]
    assert len(calls) == 2
    for index in calls:
        assert timeline.changed_at(index) == {"x": "1"}


def test_changes_deletions_and_history() -> None:
    timeline = walk("def f(a):\n    b = a\n    a = 2\n    del b\n    return a\n", "f(1)")
    to_line(timeline, 3)
    assert timeline.changed_at() == {"b": "1"}
    to_line(timeline, 4)
    assert timeline.changed_at() == {"a": "2"}
    to_line(timeline, 5)
    assert timeline.changed_at() == {"b": None}
    timeline.to_return()
    assert timeline.locals_at() == {"a": "2"}
    timeline.to_end()
    timeline.back_out()
    timeline.go_to(0)
    to_line(timeline, 3)
    assert [value for _, value in timeline.history("b")] == ["1", None]
    assert timeline.history("missing") == []


def test_go_to_beyond_the_end_says_what_there_is() -> None:
    timeline = walk(CALLS, "f(1)")
    timeline.step()
    for index in (-1, 1000):
        with pytest.raises(TimelineError, match=r"there is no frame -?\d+"):
            timeline.go_to(index)
        assert timeline.position == 1
    timeline.go_to(4)
    assert timeline.position == 4


def test_run_to_a_line_that_is_not_reached_goes_to_the_end() -> None:
    timeline = walk(CALLS, "f(1)")
    assert not timeline.run_to_line(99)
    assert timeline.position == timeline.known - 1


def test_run_to_line_stops_at_each_repetition_and_back_again() -> None:
    timeline = walk(CALLS, "f(3)")
    stops = []
    while timeline.run_to_line(8):
        stops.append(timeline.frame.locals["i"])
    assert stops == ["0", "1", "2"]
    assert timeline.back_to_line(8) and timeline.frame.locals["i"] == "2"
    assert timeline.back_to_line(8) and timeline.frame.locals["i"] == "1"


def test_an_interrupted_movement_leaves_the_position() -> None:
    run = CountingRun(trace_of(CALLS, "f(20)"), give_up_at=10)
    timeline = Timeline(run)
    timeline.step()
    with pytest.raises(KeyboardInterrupt):
        timeline.to_end()
    assert timeline.position == 1 and timeline.known == 10
    run.give_up_at = None
    assert timeline.to_end() and timeline.outcome == Outcome("return")


def test_a_run_without_frames() -> None:
    timeline = Timeline(RecordedRun(Trace("x = 1\n", 1, (), Outcome("truncated", "exit"), "3.11")))
    assert not timeline.step() and not timeline.next() and not timeline.out() and not timeline.to_end()
    with pytest.raises(TimelineError, match=r"no frames \(truncated \(exit\)\)"):
        timeline.frame  # noqa: B018


FRAMES = st.builds(
    Frame,
    st.sampled_from(["call", "line", "return", "exception"]),
    st.integers(1, 6),
    st.sampled_from(["f", "g", "count", "f.<locals>.<genexpr>"]),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"), max_size=2),
    st.just("1"),
)
MOVEMENTS = ("step", "next", "out", "to_return", "to_end", "back", "back_over", "back_out")


@given(st.lists(FRAMES, max_size=30), st.lists(st.sampled_from(MOVEMENTS), max_size=30), st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_run_confuses_it(frames: list[Frame], movements: list[str], parses: bool) -> None:
    """Predicted frames may contradict each other; a movement then still ends inside the run."""
    context = GENERATORS if parses else "def f(:\n"
    timeline = Timeline(RecordedRun(Trace(context, 1, tuple(frames), Outcome("truncated", "frames"), "3.11")))
    for movement in movements:
        getattr(timeline, movement)()
        if frames:
            assert 0 <= timeline.position < len(frames)
            assert timeline.stack()[-1].index == timeline.position
            timeline.locals_at()
            timeline.changed_at()
            timeline.history("a")


def test_long_runs_scrub_without_lag() -> None:
    """Each jump in a known run of 100,000 frames is far under 50 ms."""
    source = "def f():\n    while True:\n        x = 1\n"
    frame = [Frame("call", 1, "f", 0), *(Frame("line", 2 + i % 2, "f", 0, {"x": str(i)}) for i in range(100_000))]
    timeline = Timeline(RecordedRun(Trace(source, 1, tuple(frame), Outcome("truncated", "frames"), "3.11")))
    timeline.to_end()
    started = time.perf_counter()
    for index in range(0, 100_000, 5_000):
        timeline.go_to(index)
        timeline.stack()
        timeline.changed_at()
        timeline.next()
        timeline.back_over()
    assert (time.perf_counter() - started) / 20 < 0.05
