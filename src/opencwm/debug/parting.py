"""Where a predicted run and the real one part: `Parting`, found as both grow, with what differs and the line to blame.

Notable choice: the line to blame is the one that ran last before the first differing frame in the same function (for a
call, the caller's): the state in a frame is the state before its line, so it is the former line that was
misunderstood.
"""

from __future__ import annotations

from dataclasses import dataclass

from opencwm.debug.timeline import Timeline
from opencwm.world.compare import Difference, differences, same


@dataclass(frozen=True, slots=True)
class Parting:
    """The first differing frame `index`, what differs there, and the frame and line that led to it."""

    index: int
    differences: tuple[Difference, ...]
    blamed: int
    line: int

    def __str__(self) -> str:
        return "; ".join(map(str, self.differences))


class Comparer:
    """Finds the parting of two growing timelines; frames that agreed are not compared again."""

    def __init__(self, predicted: Timeline, real: Timeline) -> None:
        self.predicted, self.real = predicted, real
        self.agreed = 0
        self._found: Parting | None = None

    def parting(self) -> Parting | None:
        """Where the two part, as far as both are known; None while nothing contradicts."""
        ours, theirs = self.real.predictions, self.predicted.predictions
        while self._found is None and self.agreed < min(len(ours), len(theirs)):
            one, other = ours[self.agreed].frame, theirs[self.agreed].frame
            if not same(one, other):
                self._found = self._parting(self.real, differences(one, other))
            else:
                self.agreed += 1
        if self._found is None:
            self._found = self._at_an_end()
        return self._found

    def _at_an_end(self) -> Parting | None:
        for ended, other, real in ((self.real, self.predicted, True), (self.predicted, self.real, False)):
            outcome = ended.outcome
            if outcome is None or outcome.kind == "truncated" or not self.agreed == ended.known < other.known:
                continue
            frame = other.predictions[self.agreed].frame
            place = f"{frame.event} at line {frame.line}"
            return self._parting(other, (Difference("end", None, None if real else place, place if real else None),))
        return None

    def _parting(self, timeline: Timeline, found: tuple[Difference, ...]) -> Parting:
        blamed = to_blame(timeline, self.agreed)
        return Parting(self.agreed, found, blamed, timeline.predictions[blamed].frame.line)


def to_blame(timeline: Timeline, index: int) -> int:
    """The frame whose line led to frame `index`: the one before it in its activation, or its caller's."""
    place = timeline.index.places[index]
    return place.previous if place.previous >= 0 else place.caller if place.caller >= 0 else index
