"""The failure in the test itself: what the assert compares, and which call of the project gave the wrong value.

Notable choice: nothing is evaluated again. A side of the comparison is known if it is a literal, a name that was bound
when the test failed, or a call that was recorded; the side with a literal is what the test wants, else the right one.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from opencwm.trace.frames import Trace


class Recorded(Protocol):
    """A call that the test made (`why.Call`)."""

    @property
    def function(self) -> str: ...
    @property
    def trace(self) -> Trace: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a test failed: the file and line of the test, the statement there, what it raised.

    Of an assert that compares: the expression that was wrong with its value, and the value that the test wants; None
    where they are not known. `call` is the number of the recorded call that gave the value, None if there is none.
    """

    file: str
    line: int
    statement: str
    error: str
    expression: str | None = None
    real: str | None = None
    wanted: str | None = None
    call: int | None = None

    def sentences(self) -> Iterator[str]:
        """What it says, line by line."""
        yield f"line {self.line}: {self.statement}"
        if self.expression is not None and self.real is not None:
            wanted = f", the test wants {self.wanted}" if self.wanted is not None else ""
            yield f"{self.expression} is {self.real}{wanted}"
        elif not self.statement.startswith("assert"):
            yield f"raises {self.error}"


def read_failure(path: Path, calls: Sequence[Recorded]) -> Failure | None:
    """The failure that `_failure_plugin` has noted in a file; None if it has noted none."""
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    source = Path(record["file"]).read_text(encoding="utf-8")
    statement = _statement(source, record["line"])
    if statement is None:
        return None
    names: dict[str, str] = record["locals"]
    failure = Failure(record["file"], record["line"], ast.unparse(statement).split("\n")[0], record["error"])
    if not isinstance(statement, ast.Assert):
        return failure
    sides = _sides(statement.test)
    if sides is None:
        return failure
    (ours, theirs), left = sides, list(range(len(calls)))
    real, call = _value(ours, names, calls, left)
    wanted, _ = _value(theirs, names, calls, left)
    if call is None and real is not None:
        call = _giver(real, wanted, calls)
    return Failure(
        failure.file, failure.line, failure.statement, failure.error, ast.unparse(ours), real, wanted, call
    )  # fmt: skip


def _statement(source: str, line: int) -> ast.stmt | None:
    """The innermost statement that has a line."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    found = [
        node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(found, key=lambda node: (node.lineno, -(node.end_lineno or 0)), default=None)


def _sides(test: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """What is tested and what is wanted; None if it is no comparison of two values."""
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        return (right, left) if _literal(left) is not None and _literal(right) is None else (left, right)
    wanted = ast.Constant(True)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand, ast.Constant(False)
    return (test, wanted) if isinstance(test, ast.Call | ast.Name) else None


def _literal(expression: ast.expr) -> str | None:
    try:
        return repr(ast.literal_eval(expression))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _value(
    expression: ast.expr, names: dict[str, str], calls: Sequence[Recorded], left: list[int]
) -> tuple[str | None, int | None]:
    """The value's text, and the number of the call that gave it; calls are looked at from the last, each once."""
    text = _literal(expression)
    if text is not None:
        return text, None
    if isinstance(expression, ast.Name):
        return names.get(expression.id), None
    if isinstance(expression, ast.Call):
        function = expression.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
        for number in reversed(left):
            if calls[number].function.rpartition(".")[2] == name:
                left.remove(number)
                return calls[number].trace.result, number
    return None, None


def _giver(real: str, wanted: str | None, calls: Sequence[Recorded]) -> int | None:
    """The first call that returned the wrong value, or a wrong part of it."""
    wrong = {real}
    try:
        ours, theirs = ast.literal_eval(real), ast.literal_eval(wanted or "")
        if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
            wrong |= {repr(one) for one, other in zip(ours, theirs, strict=False) if one != other}
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    return next((number for number, call in enumerate(calls) if call.trace.result in wrong), None)
