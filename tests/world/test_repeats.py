"""A predicted run that can only go round for ever is ended; no run that really ends is taken for one."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from opencwm.codec.cwm import carried
from opencwm.programs.program import Program
from opencwm.programs.write import stream
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.local import CompactRun
from opencwm.world.protocol import Prediction, collect
from opencwm.world.repeats import Repeats

ENDLESS = "def f(n):\n    while n > 0:\n        k = n\n        n = k\n    return n\n"


def repeated_at(trace: Trace) -> int | None:
    watch = Repeats(trace.context)
    return next((number for number, frame in enumerate(trace.frames) if watch.add(frame)), None)


def test_a_while_that_comes_back_to_the_same_state_is_found_at_once() -> None:
    trace = record(Program(ENDLESS, "f(2)"), limits=Limits(frames=60))
    at = repeated_at(trace)
    assert at is not None and at < 12
    lines = [frame.line for frame in trace.frames[: at + 1]]
    assert lines[-1] == 2 and trace.frames[at].locals == {"n": "2", "k": "2"}


def test_a_for_that_comes_round_more_often_than_it_has_items_is_found() -> None:
    source = "def f(word):\n    for letter in word:\n        found = letter\n    return found\n"
    real = record(Program(source, "f('aaaa')"))
    assert repeated_at(real) is None
    round_again = [frame for frame in real.frames if frame.event == "line"][3:5]
    frames = [*real.frames[:6], *(round_again * 10)]
    watch = Repeats(real.context)
    found = [number for number, frame in enumerate(frames) if watch.add(frame)]
    assert found and found[0] < len(frames) - 4


def test_a_line_that_calls_more_often_than_it_has_calls_is_found() -> None:
    real = record(Program("def g(x):\n    return x\ndef f(n):\n    y = g(n) + g(n)\n    return y\n", "f(1)"))
    assert repeated_at(real) is None
    frames = [*real.frames[:4], *(real.frames[4:7] * 3)]
    watch = Repeats(real.context)
    assert [watch.add(frame) for frame in frames].index(True) == 10


@pytest.mark.parametrize(
    "source",
    [
        "def f(n):\n    it = iter([1, 1, 1])\n    while True:\n        try:\n            x = next(it)\n        except StopIteration:\n            return n\n",
        "COUNT = 0\ndef step():\n    global COUNT\n    COUNT += 1\n    return COUNT > 5\ndef f(n):\n    while True:\n        if step():\n            return n\n",
        "def f(n):\n    for x in [n] * 9:\n        for y in 'aa':\n            z = y\n    return z\n",
        "class Box:\n    def __init__(self):\n        self.n = 0\n    def more(self):\n        self.n += 1\n        return self.n < 5\ndef f(n):\n    box = Box()\n    while box.more():\n        x = n\n    return x\n",
        "def g(n):\n    while True:\n        yield n\ndef f(n):\n    return [x for x, _ in zip(g(n), range(4))]\n",
        "def g(x):\n    return x\ndef f(n):\n    y = list(map(g, [n] * 4))\n    z = [g(n) for _ in 'abc']\n    return y + z\n",
        "def g(x):\n    return x\ndef f(n):\n    h = g\n    return list(map(h, [n] * 4))\n",
        "def g(x):\n    return x\ndef f(n):\n    for _ in [1, 1, 1]: g(n); g(n)\n    return n\n",
        "def down(n):\n    while n:\n        m = n\n        return down(n - 1)\n    return 0\ndef f(n):\n    return [down(2) for _ in range(3)]\n",
    ],
)
def test_what_hides_its_state_is_left_alone(source: str) -> None:
    trace = record(Program(source, "f(7)"))
    assert trace.outcome.kind == "return" and repeated_at(trace) is None


def test_no_written_program_that_ends_is_taken_for_endless() -> None:
    ended = found = 0
    for _, program in itertools.islice(stream(3, namespace="repeats"), 250):
        trace = record(program, limits=Limits(frames=2000))
        if trace.outcome.kind != "truncated":
            ended += 1
            found += repeated_at(trace) is not None or repeated_at(carried(trace)) is not None
    assert ended > 200 and found == 0


class Writer:
    """Writes the frames of a list, one a step, for ever."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = itertools.chain(frames, itertools.cycle(frames[-3:]))
        self.constraint = SimpleNamespace(reader=SimpleNamespace(state="event", outcome=None))

    def step(self) -> list[Prediction]:
        return [Prediction(next(self.frames), source="model")]


def test_a_predicted_run_ends_where_it_repeats_itself() -> None:
    real = record(Program(ENDLESS, "f(2)"), limits=Limits(frames=9))
    given = Trace(real.context, real.entry_line, (), Outcome("truncated", "unfinished"), real.python)
    trace, _ = collect(CompactRun(lambda _: Writer(list(real.frames)), given, repeats=Repeats(real.context)))  # type: ignore[arg-type]
    assert str(trace.outcome) == "truncated (the predicted run repeats itself)" and len(trace.frames) < 12
    drawn, _ = collect(CompactRun(lambda _: Writer(list(real.frames)), given))  # type: ignore[arg-type]
    assert str(drawn.outcome) == "truncated (frames)" and len(drawn.frames) == 1000
