"""`Timeline`: one walk over any run, recorded or predicted, forwards and backwards.

Notable choices:
- Frames are asked for only when a step needs them, and are kept: going back is free.
- A movement goes to the next (or previous) frame for which something holds; `next`, `out` and their mirror images
  differ in that alone. One that fails halfway (a world that gives up, an interrupt) leaves the position where it was.
- It knows neither model nor screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opencwm.debug.activations import Activations
from opencwm.trace.frames import Frame, Outcome
from opencwm.world.protocol import Prediction, Run


class TimelineError(LookupError):
    """A place that the run does not have; the message says which it has."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One entry of the call stack: where `function` stands, at frame number `index`."""

    function: str
    line: int
    index: int


class Timeline:
    """A run being walked. Frames are numbered from 0; `position` is the current one.

    Movements return whether they got there. Where nothing fits, those forwards go to the run's last frame and those
    backwards to its first. Whatever `run` raises passes through, with the position unchanged.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.position = 0
        self.predictions: list[Prediction] = []
        self._ended = False
        self._activations = Activations(run.context)
        self._places = self._activations.places

    # What there is

    @property
    def known(self) -> int:
        """How many frames have been asked for so far."""
        return len(self.predictions)

    @property
    def outcome(self) -> Outcome | None:
        """How the run ended; None while its last frame is not known."""
        if self.run.outcome is None and self._ended:
            return Outcome("truncated", "the world stopped")
        return self.run.outcome

    @property
    def prediction(self) -> Prediction:
        """The current frame, with its probabilities. Raises TimelineError if the run has no frames."""
        return self.prediction_at(self.position)

    @property
    def frame(self) -> Frame:
        """The current frame. Raises TimelineError if the run has no frames."""
        return self.prediction.frame

    def prediction_at(self, index: int) -> Prediction:
        """Frame number `index`, grown to if need be. Raises TimelineError beyond either end."""
        if index < 0 or not self._grow(index):
            has = f"frames 0 to {self.known - 1}" if self.known else "no frames"
            end = f" ({self.outcome})" if self._ended else ""
            raise TimelineError(f"there is no frame {index}: the run has {has}{end}")
        return self.predictions[index]

    # Forwards

    def step(self) -> bool:
        """To the next frame, wherever it is."""
        return self._forward(lambda index: True)

    def next(self) -> bool:
        """To the next frame of this activation or of one that called it: calls made meanwhile are stepped over."""
        return self._grow(self.position) and self._forward(self._here_or_outside())

    def out(self) -> bool:
        """Out of this activation, to the frame in its caller that comes after."""
        return self._grow(self.position) and self._forward(self._outside())

    def to_return(self) -> bool:
        """To the `return` or `exception` frame with which this activation is left (or suspended); from there, `out`."""
        if not self._grow(self.position):
            return False
        depth, last, index = self.frame.depth, self.position, self.position
        left = self.frame.event == "return"
        while not left and self._grow(index + 1):
            index += 1
            frame = self.predictions[index].frame
            if frame.depth < depth or (frame.depth == depth and frame.event == "call"):
                left = True  # by an exception: only the frame after it tells that it was not handled
            elif frame.depth == depth:
                last, left = index, frame.event == "return"
        if not left and (self.outcome is None or self.outcome.kind == "truncated"):
            self.position = self.known - 1
            return False
        if last == self.position:
            return self.out()
        self.position = last
        return True

    def run_to_line(self, line: int) -> bool:
        """To the next time that control is at `line` (its `line` frame, or the `call` frame of a `def`)."""
        return self._forward(lambda index: self._at_line(index, line))

    def to_end(self) -> bool:
        """To the run's last frame."""
        return self._forward(lambda index: False) or self.known > 0

    # Backwards

    def back(self) -> bool:
        """To the previous frame, wherever it is."""
        return self._backward(lambda index: True)

    def back_over(self) -> bool:
        """To the previous frame of this activation or of one that called it: `next` backwards."""
        return self._grow(self.position) and self._backward(self._here_or_outside())

    def back_out(self) -> bool:
        """To the frame in the caller from which this activation was entered or resumed."""
        if not self._grow(self.position):
            return False
        caller = self._places[self.position].caller
        return self._backward(lambda index: index == caller)

    def back_to_line(self, line: int) -> bool:
        """To the previous time that control was at `line`."""
        return self._backward(lambda index: self._at_line(index, line))

    def go_to(self, index: int) -> None:
        """To frame number `index`. Raises TimelineError, and stays, if the run does not have it."""
        self.prediction_at(index)
        self.position = index

    # State

    def stack(self, index: int | None = None) -> list[Activation]:
        """The activations at a frame (the current one by default), the entry first."""
        at = self.position if index is None else index
        self.prediction_at(at)
        found: list[Activation] = []
        while at >= 0:
            frame = self.predictions[at].frame
            found.append(Activation(frame.function, frame.line, at))
            at = self._places[at].caller
        return found[::-1]

    def locals_at(self, index: int | None = None) -> dict[str, str]:
        """Names and repr texts of a frame's activation (the current frame by default).

        A `return` or `exception` frame holds none of its own: these are the ones before the line that was left ran.
        """
        at = self.position if index is None else index
        self.prediction_at(at)
        while at >= 0:
            frame = self.predictions[at].frame
            if frame.event in ("call", "line"):
                return frame.locals
            at = self._places[at].previous
        return {}

    def changed_at(self, index: int | None = None) -> dict[str, str | None]:
        """What differs from the activation's frame before: name to new repr text, None for a name that is gone."""
        at = self.position if index is None else index
        now = self.locals_at(at)
        previous = self._places[at].previous
        before = self.locals_at(previous) if previous >= 0 else {}
        changed: dict[str, str | None] = {name: text for name, text in now.items() if before.get(name) != text}
        return changed | {name: None for name in before if name not in now}

    def history(self, name: str) -> list[tuple[int, str | None]]:
        """The values of a name in the current activation, over all known frames: (frame, repr text) at each change.

        None where the name was deleted; empty if the activation never has it.
        """
        self.prediction_at(self.position)
        here = self._places[self.position].activation
        found: list[tuple[int, str | None]] = []
        value: str | None = None
        for index, place in enumerate(self._places):
            frame = self.predictions[index].frame
            if place.activation is here and frame.event in ("call", "line") and frame.locals.get(name) != value:
                value = frame.locals.get(name)
                found.append((index, value))
        return found

    # Growing

    def _grow(self, index: int) -> bool:
        """Ask for frames until `index` is known; False if the run ends before."""
        while self.known <= index and not self._ended:
            try:
                prediction = next(self.run)
            except StopIteration:
                self._ended = True
            else:
                self._activations.add(prediction.frame)
                self.predictions.append(prediction)
        return index < self.known

    # Searching

    def _outside(self) -> Callable[[int], bool]:
        depth = self.frame.depth
        return lambda index: self.predictions[index].frame.depth < depth

    def _here_or_outside(self) -> Callable[[int], bool]:
        here, outside = self._places[self.position].activation, self._outside()
        return lambda index: self._places[index].activation is here or outside(index)

    def _forward(self, wanted: Callable[[int], bool]) -> bool:
        index = self.position + 1
        while self._grow(index):
            if wanted(index):
                self.position = index
                return True
            index += 1
        self.position = max(0, self.known - 1)
        return False

    def _backward(self, wanted: Callable[[int], bool]) -> bool:
        for index in range(self.position - 1, -1, -1):
            if wanted(index):
                self.position = index
                return True
        self.position = 0
        return False

    def _at_line(self, index: int, line: int) -> bool:
        frame = self.predictions[index].frame
        return frame.line == line and frame.event in ("call", "line")
