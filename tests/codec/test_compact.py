"""The compact codec: exact both ways, for whole runs and for windows, and clear about what it cannot read."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencwm.codec import compact
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import (
    VALUE_TOKENS,
    VOCABULARY,
    decode_source,
    decode_value,
    encode_source,
    encode_value,
)
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Frame, Outcome, Step, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

PROGRAMS = {
    "recursion": "def f(n):\n    if n < 2:\n        return 1\n    return n * f(n - 1)\n\ndef main():\n    return f(4)\n",
    "re-raised": (
        "def f(x):\n    try:\n        return 1 // x\n    except ZeroDivisionError as error:\n        raise\n\n"
        "def main():\n    try:\n        f(0)\n    except ArithmeticError as e:\n        return repr(e)\n"
    ),
    "generator": (
        "def g(n):\n    x = yield n\n    while x:\n        x = yield x - 1\n\n"
        "def main():\n    it = g(3)\n    a = next(it)\n    b = it.send(a)\n    it.close()\n    return a, b\n"
    ),
    "class": (
        "class Point:\n    def __init__(self, x):\n        self.x = x\n    def __add__(self, other):\n"
        "        return Point(self.x + other.x)\n\ndef main():\n    p = Point(1) + Point(2)\n    del p.x\n    return p\n"
    ),
    "lambdas on one line": "def main():\n    f, g = (lambda x: x + 1), (lambda y: y * 2)\n    return f(g(3)) + g(f(3))\n",
    "uncaught": "def f(d):\n    return d['k']\n\ndef main():\n    return [f(d) for d in ({'k': 1}, {})]\n",
    "deleted": "def main():\n    a, b = 1, 2\n    del a\n    for c in 'xy':\n        b += 1\n    return b, c\n",
    "strings": "def main():\n    s = 'it\\'s \"λ\" \\n\\t\\x00'\n    t = '''a\n  b'''\n    return s + t + '<trace>'\n",
}


def entry(source: str) -> Program:
    return Program(source, function="main")


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("steps", [False, True])
def test_recorded_runs_come_back(name: str, steps: bool) -> None:
    trace = record(entry(PROGRAMS[name]), steps=steps)
    assert len(trace.frames) > 3
    assert compact.decode(compact.encode(trace).ids) == trace


@pytest.mark.parametrize("limits", [Limits(frames=7), Limits(frames=1), Limits(depth=3)])
def test_truncated_runs_keep_their_reason(limits: Limits) -> None:
    trace = record(entry(PROGRAMS["recursion"]), limits=limits)
    assert trace.outcome.kind == "truncated"
    assert compact.decode(compact.encode(trace).ids) == trace


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64), steps=st.booleans())
def test_generated_programs_come_back_with_steps(seed: int, steps: bool) -> None:
    trace = record(write(random.Random(seed)), steps=steps)
    assert compact.decode(compact.encode(trace).ids) == trace


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64), room=st.integers(120, 400))
def test_windows_hold_every_frame_once(seed: int, room: int) -> None:
    trace = record(write(random.Random(seed)), steps=True)
    windows = compact.windows(trace, max_tokens=room, rng=random.Random(seed))
    frames: list[Frame] = []
    for window in windows:
        assert len(window.ids) <= room
        assert len(window.weights) == len(window.ids)
        decoded = compact.decode_window(window.ids)
        assert bool(decoded.stack) == (window.start > 0)
        assert decoded.trace.context == trace.context
        frames += decoded.trace.frames
    assert tuple(frames) == trace.frames[: len(frames)]
    if windows and windows[-1].stop == len(trace.frames):
        assert compact.decode(windows[-1].ids).outcome == trace.outcome


def test_a_window_that_starts_mid_run_has_the_call_stack() -> None:
    trace = record(entry(PROGRAMS["recursion"]))
    start = next(i + 1 for i, frame in enumerate(trace.frames) if frame.event == "call" and frame.depth == 3)
    decoded = compact.decode_window(compact.encode(trace, start=start).ids)
    assert [(a.function, a.locals) for a in decoded.stack] == [
        ("main", {}),
        ("f", {"n": "4"}),
        ("f", {"n": "3"}),
        ("f", {"n": "2"}),
    ]
    assert decoded.trace.frames == trace.frames[start:]


def test_a_window_cannot_start_after_a_return() -> None:
    trace = record(entry(PROGRAMS["recursion"]))
    after = next(i + 1 for i, frame in enumerate(trace.frames) if frame.event == "return")
    with pytest.raises(CodecError, match="cannot start"):
        compact.encode(trace, start=after)


def test_only_frames_are_learnt_from() -> None:
    window = compact.encode(record(entry(PROGRAMS["recursion"])))
    prompt = window.ids.index(VOCABULARY.ids["<trace>"]) + 2
    assert set(window.weights[:prompt]) == {0.0}
    assert set(window.weights[prompt:]) == {1.0}


def test_a_frame_without_changes_is_one_token() -> None:
    trace = record(entry("def main():\n    pass\n    pass\n    return 1\n"))
    window = compact.encode(trace)
    assert VOCABULARY.show(window.ids).endswith("<call><L1><L2><L3><L4><return>1<end>")


@settings(max_examples=300)
@given(st.text())
def test_any_source_text_comes_back(text: str) -> None:
    tokens, _ = encode_source(text)
    assert decode_source(tokens)[0] == text


@settings(max_examples=300)
@given(st.from_type(object).map(repr) | st.text(min_size=1))
def test_any_value_text_comes_back(text: str) -> None:
    tokens = encode_value(text)
    assert set(tokens) <= VALUE_TOKENS
    assert decode_value(tokens) == text


def test_a_literal_has_the_same_tokens_in_source_and_state() -> None:
    literal = "{'a, b': [1, 22, None], 'c': (True, 'x: y')}"
    source, _ = encode_source(f"x = {literal}")
    value = encode_value(literal)
    assert source[-len(value) :] == value


def test_names_beyond_the_aliases_and_lines_beyond_the_pages() -> None:
    names = [f"name{i}" for i in range(80)]
    body = "".join(f"    {name} = {i}\n" for i, name in enumerate(names))
    trace = record(entry("\n" * 130 + f"def main():\n{body}    return name79\n"))
    assert compact.decode(compact.encode(trace).ids) == trace
    long = Trace("\n" * 3000 + "def main(): pass", 3001, (), Outcome("return"), "3.11")
    with pytest.raises(CodecError, match="2047 lines"):
        compact.encode(long)


def test_a_function_that_the_source_does_not_show() -> None:
    frames = (
        Frame("call", 1, "main", 0, {}),
        Frame("call", 1, "made.up", 1, {"x": "1"}),
        Frame("line", 1, "made.up", 1, {"x": "2"}, steps=(Step(3, "'s'"),)),
        Frame("return", 1, "made.up", 1, {}, "2"),
        Frame("return", 1, "main", 0, {}, "2"),
    )
    trace = Trace("def main(): eval('...')", 1, frames, Outcome("return"), "3.12")
    assert compact.decode(compact.encode(trace).ids) == trace


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_tokens_give_a_codec_error_or_a_trace(data: st.DataObject) -> None:
    trace = record(entry(PROGRAMS[data.draw(st.sampled_from(sorted(PROGRAMS)))]))
    ids = list(compact.encode(trace).ids)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(ids) - 1))
        action = data.draw(st.sampled_from(["delete", "replace", "cut"]))
        if action == "cut":
            del ids[place + 1 :]
        elif action == "replace":
            ids[place] = data.draw(st.integers(-1, VOCABULARY.size))
        elif len(ids) > 1:
            del ids[place]
    try:
        assert isinstance(compact.decode(ids), Trace)
    except CodecError as error:
        assert str(error)


def test_inconsistent_depths_are_refused() -> None:
    frames = (Frame("call", 1, "main", 0, {}), Frame("line", 1, "main", 2, {}))
    with pytest.raises(CodecError, match="depth"):
        compact.encode(Trace("def main(): pass", 1, frames, Outcome("return"), "3.11"))
