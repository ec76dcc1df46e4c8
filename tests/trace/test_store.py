"""Packed traces: exact in both directions, small, and damage is told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.programs.program import Program
from opencwm.trace.frames import EVENTS, Frame, Outcome, Step, Trace
from opencwm.trace.recorder import record
from opencwm.trace.store import pack, unpack

TEXTS = st.text(max_size=6)
NAMES = st.sampled_from(["a", "b", "c", "x1"])
FRAMES = st.builds(
    Frame,
    event=st.sampled_from(EVENTS),
    line=st.integers(1, 50),
    function=st.sampled_from(["main", "f", "C.m"]),
    depth=st.integers(0, 4),
    value=st.none() | TEXTS,
    steps=st.lists(st.builds(Step, st.integers(0, 3), TEXTS), max_size=2).map(tuple),
    identity=st.lists(st.lists(NAMES, min_size=2, max_size=3).map(tuple), max_size=2).map(tuple),
)
LOCALS = st.lists(st.tuples(NAMES, TEXTS), max_size=4).map(dict)


@st.composite
def traces(draw):
    frames = []
    for frame in draw(st.lists(FRAMES, max_size=12)):
        held = draw(LOCALS) if frame.event in ("call", "line") else {}
        frames.append(
            Frame(frame.event, frame.line, frame.function, frame.depth, held, frame.value, frame.steps, frame.identity)
        )
    outcome = draw(st.sampled_from([Outcome("return"), Outcome("exception"), Outcome("truncated", "frames")]))
    return Trace(draw(TEXTS), draw(st.integers(1, 9)), tuple(frames), outcome, "3.11")


@given(traces())
def test_what_was_packed_comes_out_again(trace):
    again = unpack(pack(trace))
    assert again == trace
    assert [list(frame.locals) for frame in again.frames] == [list(frame.locals) for frame in trace.frames]


def test_a_real_run_and_its_size():
    source = "def f(n):\n    items = []\n    for i in range(n):\n        items.append(i * i)\n    return items\n"
    trace = record(Program(source, "f(100)"))
    assert unpack(pack(trace)) == trace
    assert len(pack(trace)) < 0.5 * len(trace.to_jsonl())


def test_lone_surrogates():
    trace = record(Program("def f(s):\n    return s\n", "f('\\ud800')"))
    assert unpack(pack(trace)) == trace
    odd = Trace("x = '\ud800'\n", 1, (), Outcome("return"), "3.11")
    assert unpack(pack(odd)) == odd


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b"\xff", pack(Trace("", 1, (), Outcome("return"), "3.11")).replace(b"packed/1", b"packed/9")],
)
def test_anything_else_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"packed|format"):
        unpack(data)


def test_a_reference_out_of_range_is_a_value_error():
    whole = json.loads(pack(record(Program("def f(s):\n    return s\n", "f(1)"))))
    whole["texts"] = whole["texts"][:1]
    with pytest.raises(ValueError, match="damaged"):
        unpack(json.dumps(whole).encode())
