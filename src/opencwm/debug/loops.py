"""Loops of a source, by line: where the innermost one around a line starts and ends."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass


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
            inner = None
        elif isinstance(child, ast.For | ast.AsyncFor | ast.While):
            last = child.body[-1].end_lineno or child.lineno
            if line <= last:
                inner = Loop(child.lineno, last, child.test if isinstance(child, ast.While) else None)
        return _innermost(child, line, inner)
    return found
