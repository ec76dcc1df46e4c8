"""`Timeline`: one walk over any run, recorded or predicted, forwards and backwards.

Notable choices:
- Frames are asked for only when a step needs them, and are kept: going back is free.
- A movement goes to the next (or previous) frame of some sorted lists of frame numbers (`index.py`), or to one at which
  the interrupts (breakpoints) want to stop before that. One that fails halfway (a world that gives up, a cancelled
  wait) leaves the position where it was.
- It knows neither model nor screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from opencwm.debug.index import Index, Numbers, after, before, has
from opencwm.trace.frames import Frame, Outcome
from opencwm.world.protocol import Prediction, Run

Reason = Literal["entry", "step", "interrupt", "end", "start", "goto"]
Lists = Callable[[], Iterable[Numbers]]


class TimelineError(LookupError):
    """A place that the run does not have; the message says which it has."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One entry of the call stack: where `function` stands, at frame number `index`."""

    function: str
    line: int
    index: int


class Interrupts(Protocol):
    """What may stop a movement on its way."""

    def lists(self, timeline: Timeline) -> Iterable[Numbers]:
        """Sorted numbers of all frames at which it may want to stop."""
        ...

    def stops(self, timeline: Timeline, number: int) -> bool:
        """Whether a movement that meets frame `number`, which is in one of the lists, ends there."""
        ...


class Timeline:
    """A run being walked. Frames are numbered from 0; `position` is the current one, `reason` why it is there.

    Movements return whether they got there (or were stopped by an interrupt on the way). Where nothing fits, those
    forwards go to the run's last frame and those backwards to its first. Whatever `run` or `before_growing` (called
    before each new frame is asked for) raises passes through, with the position unchanged.
    """

    def __init__(self, run: Run, interrupts: Interrupts | None = None) -> None:
        self.run = run
        self.interrupts = interrupts
        self.before_growing: Callable[[], None] | None = None
        self.position = 0
        self.reason: Reason = "entry"
        self.predictions: list[Prediction] = []
        self.index = Index(run.context)
        self._ended = False
        self._places = self.index.places

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
    def at_end(self) -> bool:
        """Whether this is the run's last frame, as far as is known without asking for more."""
        return self.position >= self.known - 1 and self.outcome is not None

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
        if index < 0 or not self.grow(index):
            has = f"frames 0 to {self.known - 1}" if self.known else "no frames"
            end = f" ({self.outcome})" if self._ended else ""
            raise TimelineError(f"there is no frame {index}: the run has {has}{end}")
        return self.predictions[index]

    def grow(self, index: int) -> bool:
        """Ask for frames until number `index` is known; False if the run ends before."""
        while self.known <= index and not self._ended:
            if self.before_growing is not None:
                self.before_growing()
            try:
                prediction = next(self.run)
            except StopIteration:
                self._ended = True
            else:
                self.index.add(prediction.frame)
                self.predictions.append(prediction)
        return index < self.known

    # Forwards

    def step(self) -> bool:
        """To the next frame, wherever it is."""
        return self._forward(lambda: [range(self.known)])

    def next(self) -> bool:
        """To the next frame of this activation or of one that called it: calls made meanwhile are stepped over."""
        return self.grow(self.position) and self._forward(self._here_or_outside())

    def out(self) -> bool:
        """Out of this activation, to the frame in its caller that comes after."""
        return self.grow(self.position) and self._forward(self._outside())

    def to_return(self) -> bool:
        """To the `return` or `exception` frame with which this activation is left (or suspended); from there, `out`."""
        if not self.grow(self.position):
            return False
        here, depth = self._places[self.position].activation, self.frame.depth
        if self.frame.event == "return":
            return self.out()

        def left() -> list[Numbers]:
            # An exception frame does not tell that it was not handled; only the frame after it does.
            return [here.returns, self.index.calls_at_depth[depth], *self.index.outside(depth)]

        start = self.position
        found = self._forward(left)
        if self.reason == "interrupt" or (not found and (self.outcome is None or self.outcome.kind == "truncated")):
            return found
        if found and has(here.returns, self.position):
            return True
        end = self.position if found else self.known
        last = before([here.frames], end)
        if last is None or last <= start:
            self.position = start
            return self.out()
        self.position = last
        return True

    def run_to_line(self, line: int) -> bool:
        """To the next time that control is at `line` (its `line` frame, or the `call` frame of a `def`)."""
        return self._forward(lambda: [self.index.at_line.get(line, [])])

    def proceed(self) -> bool:
        """On until an interrupt, or to the run's last frame: then False."""
        return self._forward(list)

    def to_end(self) -> bool:
        """To the run's last frame, past all interrupts; False if there is no frame at all."""
        while self.grow(self.known):
            pass
        self.position, self.reason = max(0, self.known - 1), "end"
        return self.known > 0

    # Backwards

    def back(self) -> bool:
        """To the previous frame, wherever it is."""
        return self._backward(lambda: [range(self.known)])

    def back_over(self) -> bool:
        """To the previous frame of this activation or of one that called it: `next` backwards."""
        return self.grow(self.position) and self._backward(self._here_or_outside())

    def back_out(self) -> bool:
        """To the frame in the caller from which this activation was entered or resumed."""
        if not self.grow(self.position):
            return False
        caller = self._places[self.position].caller
        return self._backward(lambda: [[caller]] if caller >= 0 else [])

    def back_to_call(self) -> bool:
        """To the `call` frame with which this activation was entered or resumed: `to_return` backwards."""
        if not self.grow(self.position):
            return False
        here, depth = self._places[self.position].activation, self.frame.depth
        if self.frame.event == "call" or not here.calls:
            return self.back_out()
        return self._backward(lambda: [here.calls, *self.index.outside(depth)])

    def back_to_line(self, line: int) -> bool:
        """To the previous time that control was at `line`."""
        return self._backward(lambda: [self.index.at_line.get(line, [])])

    def reverse(self) -> bool:
        """Back until an interrupt, or to the run's first frame: then False."""
        return self._backward(list)

    # Jumps

    def go_to(self, index: int) -> None:
        """To frame number `index`. Raises TimelineError, and stays, if the run does not have it."""
        self.prediction_at(index)
        self.position, self.reason = index, "goto"

    def go_to_occurrence(self, line: int, count: int) -> None:
        """To the `count`-th time (from 1) that control is at `line`. Raises TimelineError, and stays, if none."""
        numbers = self.index.at_line[line]
        while len(numbers) < count and self.grow(self.known):
            pass
        if not 0 < count <= len(numbers):
            raise TimelineError(f"line {line} is reached {len(numbers)} times, there is no occurrence {count}")
        self.position, self.reason = numbers[count - 1], "goto"

    # State

    def occurrence(self, index: int | None = None) -> tuple[int, int]:
        """Which of the times that control was at this frame's line it is, from 1, and how many are known."""
        at = self.position if index is None else index
        return self.index.rank(at, self.prediction_at(at).frame.line)

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
        former = self.locals_at(previous) if previous >= 0 else {}
        changed: dict[str, str | None] = {name: text for name, text in now.items() if former.get(name) != text}
        return changed | {name: None for name in former if name not in now}

    def history(self, name: str, index: int | None = None) -> list[tuple[int, str | None]]:
        """The values of a name in a frame's activation, over all known frames: (frame, repr text) at each change.

        None where the name was deleted; empty if the activation never has it.
        """
        at = self.position if index is None else index
        self.prediction_at(at)
        return list(self._places[at].activation.history.get(name, ()))

    # Searching

    def _outside(self) -> Lists:
        depth = self.frame.depth
        return lambda: self.index.outside(depth)

    def _here_or_outside(self) -> Lists:
        here, outside = self._places[self.position].activation, self._outside()
        return lambda: [here.frames, *outside()]

    def _forward(self, wanted: Lists) -> bool:
        at = self.position
        while True:
            goal, stop = after(wanted(), at), self._interrupt(after, at)
            if stop is not None and (goal is None or stop <= goal):
                if self.interrupts is not None and self.interrupts.stops(self, stop):
                    return self._arrive(stop, "interrupt")
                if goal is None or stop < goal:
                    at = stop
                    continue
            if goal is not None:
                return self._arrive(goal, "step")
            at = max(at, self.known - 1)
            if not self.grow(self.known):
                self._arrive(max(0, self.known - 1), "end")
                return False

    def _backward(self, wanted: Lists) -> bool:
        at = self.position
        while True:
            goal, stop = before(wanted(), at), self._interrupt(before, at)
            if stop is not None and (goal is None or stop >= goal):
                if self.interrupts is not None and self.interrupts.stops(self, stop):
                    return self._arrive(stop, "interrupt")
                if goal is None or stop > goal:
                    at = stop
                    continue
            if goal is not None:
                return self._arrive(goal, "step")
            self._arrive(0, "start")
            return False

    def _interrupt(self, nearest: Callable[[Iterable[Numbers], int], int | None], at: int) -> int | None:
        return nearest(self.interrupts.lists(self), at) if self.interrupts is not None else None

    def _arrive(self, index: int, reason: Reason) -> bool:
        self.position, self.reason = index, reason
        return True
