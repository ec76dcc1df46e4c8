"""`Index`: where in a run things are, kept up as frames arrive, so that no movement reads the run again.

Notable choice: everything is a sorted list of frame numbers. "The next time that control is at line 7" is one
bisection, and a movement with several possible ends takes the nearest of several lists. A run of 100,000 frames is
walked as quickly as one of ten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from opencwm.debug.activations import Activations, Place
from opencwm.trace.frames import Frame

Numbers = Sequence[int]
"""Frame numbers in ascending order."""


class Index:
    """Frame numbers of a growing run: by line, depth, function, exception and change of a name.

    `at_line` has `call` and `line` frames; `calls` those that open an activation, by qualified name; `changes` those
    before which a name got another value, by (function, name), without the arguments that an activation opens with.
    """

    def __init__(self, context: str) -> None:
        self._activations = Activations(context)
        self.places: list[Place] = self._activations.places
        self.at_line: defaultdict[int, list[int]] = defaultdict(list)
        self.at_depth: defaultdict[int, list[int]] = defaultdict(list)
        self.calls_at_depth: defaultdict[int, list[int]] = defaultdict(list)
        self.calls: defaultdict[str, list[int]] = defaultdict(list)
        self.exceptions: list[int] = []
        self.changes: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, frame: Frame) -> None:
        """Note the next frame."""
        number = len(self.places)
        place = self._activations.add(frame)
        self.at_depth[frame.depth].append(number)
        if frame.event == "exception":
            self.exceptions.append(number)
            return
        if frame.event == "return":
            return
        self.at_line[frame.line].append(number)
        opening = place.previous < 0
        if frame.event == "call":
            self.calls_at_depth[frame.depth].append(number)
            if opening:
                self.calls[frame.function].append(number)
        self._note_changes(number, frame, place, opening)

    def _note_changes(self, number: int, frame: Frame, place: Place, opening: bool) -> None:
        history = place.activation.history
        for name, text in frame.locals.items():
            values = history.get(name)
            if values is None or values[-1][1] != text:
                history.setdefault(name, []).append((number, text))
                if not (opening and frame.event == "call"):
                    self.changes[frame.function, name].append(number)
        if len(history) > len(frame.locals):
            for name, values in history.items():
                if name not in frame.locals and values[-1][1] is not None:
                    values.append((number, None))
                    self.changes[frame.function, name].append(number)

    def outside(self, depth: int) -> list[Numbers]:
        """Frames of activations further out than `depth`."""
        return [numbers for at, numbers in self.at_depth.items() if at < depth]

    def named(self, function: str) -> list[str]:
        """Qualified names of functions called so far that `function` may mean: `push` means `Stack.push` too."""
        return [name for name in self.calls if name == function or name.endswith(f".{function}")]

    def rank(self, number: int, line: int) -> tuple[int, int]:
        """Which of the times that control was at `line` frame `number` is, from 1, and how many there are so far."""
        numbers = self.at_line.get(line, [])
        return bisect_right(numbers, number), len(numbers)


def after(lists: Iterable[Numbers], number: int) -> int | None:
    """The first frame after `number` in any of the lists."""
    best: int | None = None
    for numbers in lists:
        at = bisect_right(numbers, number)
        if at < len(numbers) and (best is None or numbers[at] < best):
            best = numbers[at]
    return best


def before(lists: Iterable[Numbers], number: int) -> int | None:
    """The last frame before `number` in any of the lists."""
    best: int | None = None
    for numbers in lists:
        at = bisect_left(numbers, number) - 1
        if at >= 0 and (best is None or numbers[at] > best):
            best = numbers[at]
    return best


def has(numbers: Numbers, number: int) -> bool:
    """Whether a sorted list holds a frame."""
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
