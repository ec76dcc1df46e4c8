"""Narration: every frame is told, what changed is told, and the outcome reads back."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.narrate import NarrationError, Told, narrate, outcome
from opencwm.trace.recorder import record


def test_a_run_in_words():
    source = "def f(s):\n    t = s + s\n    return t\n"
    assert narrate(record(Program(source, "f('ab')"))).splitlines() == [
        "The run starts in main, line 5: `def main():`.",
        "Line 6 runs: `return f('ab')`.",
        "main enters f at line 1, with s = `'ab'`.",
        "Line 2 runs: `t = s + s`.",
        "t is now `'abab'`. Line 3 runs: `return t`.",
        "At line 3, f returns `'abab'` to main.",
        "At line 6, main returns `'abab'`.",
        "The run returns `'abab'`.",
    ]


def test_exceptions_generators_and_names_that_go():
    source = (
        "def g():\n    yield 1\n\ndef f(d):\n    try:\n        d['x']\n    except KeyError as error:\n        pass\n"
        "    for item in g():\n        del d\n        raise ValueError(item)\n"
    )
    text = narrate(record(Program(source, "f({})")))
    assert "At line 6, f meets the exception `KeyError('x')`." in text
    assert "error is gone" in text and "d is gone" in text
    assert "At line 2, g yields `1` to f." in text
    assert "At line 11, f is left by the exception `ValueError(1)`." in text
    assert outcome(text) == Told("exception", "ValueError(1)")


def test_a_run_that_was_cut_off():
    text = narrate(record(Program("def f():\n    while True:\n        pass\n", "f()"), limits=Limits(frames=9)))
    assert text.splitlines()[-1] == "The run is cut off after 9 steps: frames."
    assert outcome(text) == Told("truncated", None)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_complete_and_true_for_written_programs(seed):
    trace = record(write(random.Random(seed)))
    text = narrate(trace)
    told = text.splitlines()
    assert len(told) == len(trace.frames) + 1
    assert outcome(text) == Told(trace.outcome.kind, trace.result)
    # Every change of a local is told on the line of its frame.
    open_ = []
    for frame, line in zip(trace.frames, told, strict=False):
        del open_[frame.depth + (frame.event != "call") :]
        if frame.event == "call":
            open_.append(frame.locals)
            assert all(f"{name} = `{value}`" in line for name, value in frame.locals.items())
        elif frame.event == "line":
            for name, value in frame.locals.items():
                assert (re.search(rf"\b{name} is now {re.escape(f'`{value}`')}", line) is not None) == (
                    open_[-1].get(name) != value
                )
            open_[-1] = frame.locals
            assert f"Line {frame.line} runs" in line
        else:
            assert f"`{frame.value}`" in line


def test_a_value_that_spans_lines_is_refused():
    frames = (Frame("call", 1, "f", 0), Frame("return", 1, "f", 0, {}, "two\nlines"))
    with pytest.raises(NarrationError, match="outcome"):
        narrate(Trace("def f(): ...\n", 1, frames, Outcome("return"), "3.11"))


@pytest.mark.parametrize("text", ["", "The run returns 3.", "The run returns `3", "It returned `3`."])
def test_a_text_without_an_outcome(text):
    with pytest.raises(NarrationError, match=re.escape("does not end with an outcome")):
        outcome(text)
