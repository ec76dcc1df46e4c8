"""Frames as the page reads them: one compact JSON array per frame, with what changed instead of the whole state.

Notable choices: every `WHOLE`-th frame of an activation has its whole state too, so the page finds the state at any
frame in a few steps. Long values are cut; the page can ask for a whole one.
"""

from __future__ import annotations

from typing import Any

from opencwm.debug.session import Lane
from opencwm.debug.timeline import Timeline

EVENTS = ("call", "line", "return", "exception")
WHOLE = 64
LONGEST = 2000
Row = list[Any]


class Rows:
    """The rows of one lane; those written once are kept.

    A row is: event (its place in `EVENTS`), line, function, depth, activation (a number), the numbers of the
    activation's former frame and of its caller's frame (-1: none), what changed (name to text, null for gone), value,
    probability, branch probability, probabilities by name, 1 if predicted, whole state or null.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._rows: list[Row] = []
        self._activations: dict[int, int] = {}
        self._ages: dict[int, int] = {}

    def upto(self, start: int, end: int) -> list[Row]:
        """Rows `start` to `end`, as far as the run is known; grows nothing."""
        timeline = self.lane.timeline
        while len(self._rows) < min(end, timeline.known):
            self._rows.append(self._row(timeline, len(self._rows)))
        return self._rows[start:end]

    def _row(self, timeline: Timeline, number: int) -> Row:
        prediction = timeline.predictions[number]
        frame, place = prediction.frame, timeline.index.places[number]
        activation = self._activations.setdefault(id(place.activation), len(self._activations))
        age = self._ages[activation] = self._ages.get(activation, -1) + 1
        changed = {name: cut(text) for name, text in timeline.changed_at(number).items()}
        whole = None
        if age and age % WHOLE == 0:
            whole = {name: cut(text) for name, text in timeline.locals_at(number).items()}
        return [
            EVENTS.index(frame.event),
            frame.line,
            cut(frame.function),
            frame.depth,
            activation,
            place.previous,
            place.caller,
            changed,
            cut(frame.value),
            round(prediction.probability, 4),
            round(prediction.branch, 4),
            {name: round(chance, 4) for name, chance in prediction.values.items()},
            int(prediction.source == "model"),
            whole,
        ]


def cut(text: str | None) -> str | None:
    """A text of at most `LONGEST` characters, with the number of those left out; safe to encode as UTF-8."""
    if text is None:
        return None
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ...+{len(text) - LONGEST}"
    return text.encode("utf-8", "backslashreplace").decode()
