"""Two traces side by side: how many frames agree, where they part first, and what differs there.

Notable choices:
- A frame is right when event, line, function, depth, locals and value are equal; steps are not compared.
- After the first difference nothing is aligned: a predicted run goes on from what it believes, so later frames that
  happen to look alike prove nothing.
- A truncated trace is silent about what would have followed. Running out of frames on that side is no difference.
- Where control flow differs (event, line, function, depth) the state is not compared: it belongs to another place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opencwm.trace.frames import Frame, Trace

Kind = Literal["end", "event", "line", "function", "depth", "local", "value"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs: its kind, the local's `name` (for `local` alone), and both sides; None where absent."""

    kind: Kind
    name: str | None
    real: str | None
    predicted: str | None

    def __str__(self) -> str:
        if self.kind == "local":
            if self.predicted is None:
                return f"{self.name}: predicted no such name, really {self.real}"
            if self.real is None:
                return f"{self.name}: predicted {self.predicted}, really no such name"
            return f"{self.name}: predicted {self.predicted}, really {self.real}"
        if self.kind == "end":
            if self.predicted is None:
                return f"the prediction ends here, really {self.real} follows"
            return f"predicted {self.predicted}, really the run ended here"
        return f"{self.kind}: predicted {self.predicted}, really {self.real}"


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first frame that differs: its 0-based index, both frames (None beyond an end), and what differs."""

    index: int
    real: Frame | None
    predicted: Frame | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a prediction is worth.

    `frames_right` counts frames from the start up to the first error, of `frames_real` that the run had.
    `divergence` is None where no frame of either contradicts the other. `output_right` says whether the prediction
    ends as the run did, with the same value; None if the run itself was truncated and so has no output.
    """

    frames_right: int
    frames_real: int
    divergence: Divergence | None
    output_right: bool | None

    @property
    def complete(self) -> bool:
        """Whether every frame of the real run was predicted, and no other."""
        return self.divergence is None and self.frames_right == self.frames_real


def same(real: Frame, predicted: Frame) -> bool:
    """Whether two frames agree in everything but their steps."""
    return (
        real.line == predicted.line
        and real.event == predicted.event
        and real.depth == predicted.depth
        and real.function == predicted.function
        and real.value == predicted.value
        and real.locals == predicted.locals
    )


def differences(real: Frame, predicted: Frame) -> tuple[Difference, ...]:
    """What differs between two frames, control flow first; empty if they are the `same`."""
    flow: list[Difference] = []
    for kind in ("event", "line", "function", "depth"):
        ours, theirs = str(getattr(real, kind)), str(getattr(predicted, kind))
        if ours != theirs:
            flow.append(Difference(kind, None, ours, theirs))
    if flow:
        return tuple(flow)
    names = dict.fromkeys((*real.locals, *predicted.locals))
    state = [
        Difference("local", name, real.locals.get(name), predicted.locals.get(name))
        for name in names
        if real.locals.get(name) != predicted.locals.get(name)
    ]
    if real.value != predicted.value:
        state.append(Difference("value", None, real.value, predicted.value))
    return tuple(state)


def compare(real: Trace, predicted: Trace) -> Comparison:
    """A prediction against the run, frame by frame from the start."""
    right = 0
    for ours, theirs in zip(real.frames, predicted.frames, strict=False):
        if not same(ours, theirs):
            break
        right += 1
    return Comparison(right, len(real.frames), _divergence(real, predicted, right), _output_right(real, predicted))


def _divergence(real: Trace, predicted: Trace, index: int) -> Divergence | None:
    ours = real.frames[index] if index < len(real.frames) else None
    theirs = predicted.frames[index] if index < len(predicted.frames) else None
    if ours is not None and theirs is not None:
        return Divergence(index, ours, theirs, differences(ours, theirs))
    if theirs is not None and real.outcome.kind != "truncated":
        return Divergence(index, None, theirs, (Difference("end", None, None, _place(theirs)),))
    if ours is not None and predicted.outcome.kind != "truncated":
        return Divergence(index, ours, None, (Difference("end", None, _place(ours), None),))
    return None


def _place(frame: Frame) -> str:
    return f"{frame.event} at line {frame.line}"


def _output_right(real: Trace, predicted: Trace) -> bool | None:
    if real.outcome.kind == "truncated":
        return None
    return real.outcome.kind == predicted.outcome.kind and real.result == predicted.result
