"""Values in JSON strings: wherever a walk over legal bytes leads, it can go on, and it can end."""

from __future__ import annotations

import json
import random

import pytest

from opencwm.model.json_values import ENDED, Ended, Text, step


def legal(state: Text) -> list[int]:
    return [byte for byte in range(256) if step(state, byte) is not None]


@pytest.mark.parametrize("seed", range(12))
def test_no_walk_comes_to_a_dead_end(seed: int) -> None:
    choose = random.Random(seed)
    state: Text | Ended | None = Text(repeats=bool(seed % 2))
    written = b""
    for _ in range(150):
        assert isinstance(state, Text)
        found = legal(state)
        assert found, f"nothing can follow {written!r}"
        # Backslashes and hexadecimal digits are rare among the legal bytes, and what comes after them is what counts.
        odd = [byte for byte in found if byte in b'\\u"0123456789abcdef']
        byte = choose.choice(odd if odd and choose.random() < 0.5 else found)
        state = step(state, byte)
        written += bytes((byte,))
        if state == ENDED:
            json.loads(b'"' + written)
            state, written = Text(), b""


def test_an_escape_begins_only_where_one_can_end() -> None:
    number = step(Text(), ord("2"))
    assert number is not None and step(number, 0x5C) is None
    assert step(Text(), 0x5C) is not None  # \" opens a string
