"""Whether a predicted run repeats itself: the same loop with the same state again, and nothing that could end it.

A model that has lost its way may go round a loop until it is stopped. It goes on for ever where

- a `while` comes back to its test with the same values in all functions on the stack, or
- a `for` over a named value of known length comes round with the same values more often than that value has items.

Notable choice: it says so only where the state shows everything. A value that is an object (`<generator object ...>`),
a `global`, a `nonlocal` or a call of `next` or `input` in the source may hide what changes: then it says nothing.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from dataclasses import dataclass, field

from opencwm.trace.frames import Frame

REPEATS = "the predicted run repeats itself"
"""The reason of the outcome of such a run."""


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop from its first to its last line, `else` left out; the name that a `for` runs over, None for `while`."""

    last: int
    over: str | None


@dataclass(slots=True)
class _Activation:
    """A function on the stack: its latest frame, and by loop how often each state has come by since it was entered."""

    frame: Frame
    seen: dict[int, Counter[object]] = field(default_factory=dict)


class Repeats:
    """Watches the frames of a run of `context` as they come."""

    def __init__(self, context: str) -> None:
        self._loops = _loops(context)
        self._stack: list[_Activation] = []

    def add(self, frame: Frame) -> bool:
        """Take the next frame; whether the run repeats itself from here on."""
        if not self._loops or frame.event not in ("call", "line"):
            return False
        if frame.event == "call" or len(self._stack) <= frame.depth:
            del self._stack[frame.depth :]
            self._stack.append(_Activation(frame))
            return False
        del self._stack[frame.depth + 1 :]
        here = self._stack[frame.depth]
        here.frame = frame
        for first in [line for line in here.seen if not line <= frame.line <= self._loops[line].last]:
            del here.seen[first]
        loop = self._loops.get(frame.line)
        return loop is not None and self._again(loop, here)

    def _again(self, loop: _Loop, here: _Activation) -> bool:
        frames = [entry.frame for entry in self._stack]
        if any("<" in text for frame in frames for text in frame.locals.values()):
            return False
        state = tuple((frame.function, frame.line, tuple(frame.locals.items())) for frame in frames)
        times = here.seen.setdefault(here.frame.line, Counter())
        times[state] += 1
        if loop.over is None:
            return times[state] > 1
        length = _length(here.frame.locals.get(loop.over))
        return length is not None and times[state] > length + 1  # once more when it finds that there are no more items


def _length(text: str | None) -> int | None:
    """How many items the value has that the text shows; None if it cannot be told."""
    try:
        value = ast.literal_eval(text or "")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return len(value) if isinstance(value, str | bytes | list | tuple | dict | set) else None


def _loops(context: str) -> dict[int, _Loop]:
    """The loops of a source that can be judged, by their first line; none if something in it hides state."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            nodes = list(ast.walk(ast.parse(context)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}
    found: dict[int, _Loop] = {}
    for node in nodes:
        match node:
            case ast.Global() | ast.Nonlocal() | ast.Name(id="next" | "input"):
                return {}
            case ast.While():
                found[node.lineno] = _Loop(node.body[-1].end_lineno or node.lineno, None)
            case ast.For(iter=ast.Name(id=name)):
                found[node.lineno] = _Loop(node.body[-1].end_lineno or node.lineno, name)
    return found
