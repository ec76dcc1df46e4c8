"""How sure a model was of a frame of the `cwm` format, from the log-probabilities of its tokens.

The tokens of a local's value, or of a returned or raised one, count for that value; those of the event and of the
source line for the way control goes; all of them for the frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from opencwm.codec.cwm import ACTION_SEP, ARG_SEP, UNCHANGED
from opencwm.codec.llama3 import NAMES
from opencwm.trace.frames import Frame
from opencwm.world.protocol import Prediction

_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"({_STRING})\s*:\s*({_STRING})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token, special ones spelled out, and its log-probability; NaN where the server gives none."""

    text: str
    logprob: float


def judged(frame: Frame, pieces: Sequence[Piece]) -> Prediction:
    """The frame with its probabilities. `pieces` are its tokens, from the event to the separator."""
    text = "".join(piece.text for piece in pieces)
    action, argument = text.find(NAMES[ACTION_SEP]), text.find(NAMES[ARG_SEP])
    spans: dict[str, tuple[int, int]] = {}
    if frame.event in ("call", "line"):
        for found in _PAIR.finditer(text, 0, max(action, 0)):
            name = found[1][1:-1]
            if found[2][1:-1] != UNCHANGED and name in frame.locals:
                spans[name] = found.span(2)
    elif argument >= 0:
        spans[""] = (argument + len(NAMES[ARG_SEP]), len(text))
    total = branch = 0.0
    values = dict.fromkeys(spans, 0.0)
    start = 0
    event_end = len(pieces[0].text) if pieces else 0
    source_end = argument if argument >= 0 else len(text)
    for piece in pieces:
        end = start + len(piece.text)
        total += piece.logprob
        if start < event_end or (action >= 0 and start < source_end and end > action):
            branch += piece.logprob
        for name, (low, high) in spans.items():
            if start < high and end > low:
                values[name] += piece.logprob
        start = end
    return Prediction(frame, _chance(total), _chance(branch), {n: _chance(v) for n, v in values.items()}, "model")


def _chance(logprob: float) -> float:
    return logprob if math.isnan(logprob) else min(1.0, math.exp(logprob))
