"""Loops: where the innermost one around a line starts and ends, and whether a run ever leaves its own."""

from __future__ import annotations

import ast
import warnings
from bisect import bisect_left
from dataclasses import dataclass

from opencwm.debug.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Loop:
    """A `for` or `while`: its first and last line, `else` left out, and its test (None for `for`)."""

    first: int
    last: int
    test: ast.expr | None


def loop_around(context: str, line: int) -> Loop | None:
    """The innermost loop that has a line, in the function that has it; None if there is none, or no syntax tree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(context)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return _innermost(tree, line, None)


def _innermost(node: ast.AST, line: int, found: Loop | None) -> Loop | None:
    for child in ast.iter_child_nodes(node):
        first = getattr(child, "lineno", None)
        if first is None or not first <= line <= (child.end_lineno or first):  # type: ignore[attr-defined]
            if first is not None or not isinstance(child, ast.ExceptHandler | ast.match_case):
                continue
        inner = found
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = None if line > child.lineno else found
        elif isinstance(child, ast.For | ast.AsyncFor | ast.While):
            last = child.body[-1].end_lineno or child.lineno
            if line <= last:
                inner = Loop(child.lineno, last, child.test if isinstance(child, ast.While) else None)
        return _innermost(child, line, inner)
    return found


@dataclass(frozen=True, slots=True)
class Ending:
    """Whether a run ends: `ends` is True, False (a state comes back that leads to itself) or None (not known).

    `frame` is where it ends, where the state comes back, or how far was looked; `since` the frame of the first time.
    """

    ends: bool | None
    frame: int
    since: int = 0


def will_end(timeline: Timeline, *, limit: int) -> Ending:
    """Look ahead, up to `limit` frames in all. Whatever the world raises passes through; the position stays.

    A state that comes back is the same values of all functions on the stack at the test of the same `while`. Then
    nothing shown can make the loop end; what is not shown (a file, a clock, an iterator) still might.
    """
    tests = _while_lines(timeline.run.context)
    seen: dict[tuple[object, ...], int] = {}
    number = 0
    while number < limit and timeline.grow(number):
        frame = timeline.predictions[number].frame
        if frame.event == "line" and frame.line in tests:
            stack = timeline.stack(number)
            key = tuple((entry.function, entry.line, tuple(timeline.locals_at(entry.index).items())) for entry in stack)
            activation = timeline.index.places[number].activation
            found = seen.setdefault((id(activation), key), number)
            if found != number:
                inside = activation.frames[bisect_left(activation.frames, found) : -1]
                if all(frame.line <= timeline.predictions[at].frame.line <= tests[frame.line] for at in inside):
                    return Ending(False, number, found)
                seen[id(activation), key] = number
        number += 1
    outcome = timeline.outcome
    if number >= timeline.known and outcome is not None and outcome.kind != "truncated":
        return Ending(True, timeline.known - 1)
    return Ending(None, number)


def _while_lines(context: str) -> dict[int, int]:
    """First line to last line of every `while`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loops = [node for node in ast.walk(ast.parse(context)) if isinstance(node, ast.While)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}
    return {loop.lineno: loop.body[-1].end_lineno or loop.lineno for loop in loops}
