"""How sure a source is, as a word and a colour; a number always stands beside it."""

from __future__ import annotations

from typing import Literal

SURE, LIKELY = 0.9, 0.6
Level = Literal["sure", "likely", "unsure"]
COLOURS: dict[Level, str] = {"sure": "green", "likely": "yellow", "unsure": "red"}


def level(probability: float) -> Level:
    """`sure` from 0.9, `likely` from 0.6, `unsure` below."""
    return "sure" if probability >= SURE else "likely" if probability >= LIKELY else "unsure"


def colour(probability: float) -> str:
    """Green where a model is sure, yellow where less so, red where it is not."""
    return COLOURS[level(probability)]


def percent(probability: float) -> str:
    """As `99%`, rounded down: 99.7 % is not certainty."""
    return f"{int(probability * 100)}%"
