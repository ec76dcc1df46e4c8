"""Recorded runs of generated programs, there and back through each codec."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencwm.codec import compact, cwm
from opencwm.codec.flow import ControlFlow
from opencwm.programs.write import write
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record


class Bytes:
    """The smallest tokenizer: a token per byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


def through_cwm(trace: Trace) -> None:
    """Equal, but for what the format does not carry, and lines of one text that control flow cannot tell apart.

    Nor can it tell functions apart that start on one line and have the same names: `{x for x in a}, {x: 1 for x in a}`.
    """
    expected = cwm.carried(trace)
    back = cwm.decode(cwm.encode(trace, Bytes()), Bytes(), python=trace.python)
    assert cwm.same_up_to_identical_lines(back, expected)
    lines = [line for line in trace.context.split("\n") if line.strip()]
    starts = [(scope.line, frozenset(scope.names)) for scope in ControlFlow(trace.context).scopes]
    if len(set(lines)) == len(lines) and len(set(starts)) == len(starts):
        assert back == expected
    try:
        text = cwm.to_text(trace)
    except cwm.CodecError:
        assert "<|" in trace.context
    else:
        assert cwm.from_text(text, python=trace.python) == back


def through_compact(trace: Trace) -> None:
    assert compact.decode(compact.encode(trace).ids) == trace


CODECS: dict[str, Callable[[Trace], None]] = {"cwm": through_cwm, "compact": through_compact}


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64), difficulty=st.none() | st.floats(0, 1))
def test_generated_programs_come_back(codec: str, seed: int, difficulty: float | None) -> None:
    CODECS[codec](record(write(random.Random(seed), difficulty=difficulty)))


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_ten_thousand_generated_programs_come_back(codec: str) -> None:
    for index in range(10_000):
        CODECS[codec](record(write(random.Random(f"round trip {index}")), steps=True))
