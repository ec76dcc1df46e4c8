"""Whether a predicted run repeats itself: the same state again, and nothing that could ever lead out of it.

A model that has lost its way may go round a loop until it is stopped. It goes on for ever where

- a `while` comes back to its test with the same values in all functions on the stack, or
- a `for` over a named value of known length comes round with the same values more often than that value has items, or
- one and the same line calls a function with the same arguments more often than there are calls in it.

Notable choice: it says so only where the state shows everything. A value that is an object (`<generator object ...>`),
a `global`, a `nonlocal` or a call of `next` or `input` in the source may hide what changes: then it says nothing.
"""

from __future__ import annotations

import ast
import math
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
    """A function on the stack: its latest frame, and by loop how often each state has come by since it was entered.

    `calls` counts what its current line has called, by function and arguments.
    """

    frame: Frame
    seen: dict[int, Counter[object]] = field(default_factory=dict)
    calls: Counter[object] = field(default_factory=Counter)


class Repeats:
    """Watches the frames of a run of `context` as they come."""

    def __init__(self, context: str) -> None:
        self._loops, self._calls = _read(context)
        self._stack: list[_Activation] = []

    def add(self, frame: Frame) -> bool:
        """Take the next frame; whether the run repeats itself from here on."""
        if frame.event not in ("call", "line"):
            return False
        if frame.event == "call" or len(self._stack) <= frame.depth:
            del self._stack[frame.depth :]
            self._stack.append(_Activation(frame))
            return len(self._stack) > 1 and self._called_again(self._stack[-2], frame)
        del self._stack[frame.depth + 1 :]
        here = self._stack[frame.depth]
        here.frame = frame
        here.calls.clear()
        for first in [line for line in here.seen if not line <= frame.line <= self._loops[line].last]:
            del here.seen[first]
        loop = self._loops.get(frame.line)
        return loop is not None and self._again(loop, here)

    def _called_again(self, caller: _Activation, frame: Frame) -> bool:
        most = self._calls.get(caller.frame.line)
        if most is None or any("<" in text for text in (*caller.frame.locals.values(), *frame.locals.values())):
            return False
        call = frame.function, tuple(frame.locals.items())
        caller.calls[call] += 1
        return caller.calls[call] > most

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


def _read(context: str) -> tuple[dict[int, _Loop], dict[int, int]]:
    """The loops that can be judged, by their first line, and by line how often it can call a function at the most.

    Nothing of a source that hides state.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            nodes = list(ast.walk(ast.parse(context)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}, {}
    loops: dict[int, _Loop] = {}
    calls: dict[int, float] = {}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        match node:
            case ast.Global() | ast.Nonlocal() | ast.Name(id="next" | "input"):
                return {}, {}
            case ast.While():
                loops[node.lineno] = _Loop(node.body[-1].end_lineno or node.lineno, None)
            case ast.For(iter=ast.Name(id=name)):
                loops[node.lineno] = _Loop(node.body[-1].end_lineno or node.lineno, name)
            case ast.Assign() | ast.AugAssign() | ast.Return() | ast.Expr():
                for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    calls[line] = calls.get(line, 0) + _calls(node, functions)
    return loops, {line: int(most) for line, most in calls.items() if most < math.inf}


def _calls(statement: ast.stmt, functions: set[str]) -> float:
    """How many calls a statement has; infinity if something in it may call a function any number of times."""
    nodes = list(ast.walk(statement))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.comprehension | ast.Lambda | ast.Yield | ast.YieldFrom | ast.Await):
            return math.inf
        if isinstance(node, ast.Name) and node.id in functions and id(node) not in called:
            return math.inf  # handed on, to `map` perhaps
    return len(called)
