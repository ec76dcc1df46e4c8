"""What the recorder must know about a code object's bytecode, read once per code object.

The interpreter sends the same `return` event for a real return, a suspension and the unwinding by an exception. They
are told apart by the instruction at `f_lasti`, whose names differ between versions:

| | 3.11 | 3.12 | 3.13 |
|---|---|---|---|
| return | RETURN_VALUE | RETURN_VALUE, RETURN_CONST | RETURN_VALUE, RETURN_CONST |
| suspension | YIELD_VALUE | YIELD_VALUE | RESUME (the one behind the YIELD_VALUE) |

`code.co_code` shows the plain instructions also where the interpreter has specialised or instrumented them.
"""

from __future__ import annotations

import ast
import dis
import inspect
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_RETURNS = frozenset(dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap)
_YIELD = dis.opmap["YIELD_VALUE"]
_RESUME = dis.opmap["RESUME"]
_CACHE = dis.opmap["CACHE"]
_CALL = dis.opmap["CALL"]
_RAISE = dis.opmap["RAISE_VARARGS"]
_END_ASYNC_FOR = dis.opmap["END_ASYNC_FOR"]
_ITERATION = frozenset(dis.opmap[name] for name in ("FOR_ITER", "SEND", "END_SEND") if name in dis.opmap)

# Names that the interpreter, not the program, sets in a class body.
_CLASS_MACHINERY = frozenset(
    ("__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__classdict__", "__classdictcell__")
)


class CodeInfo:
    """One code object. `line` is where its `def`, `class`, lambda or comprehension starts, below any decorators."""

    __slots__ = (
        "bare_raise",
        "code",
        "first_line",
        "function",
        "is_async_generator",
        "is_function",
        "is_generator",
        "line",
        "names",
        "operations",
        "start",
    )

    def __init__(self, code: CodeType, line: int | None = None) -> None:
        self.code = code  # kept, so that its id stays its own
        self.function = code.co_qualname
        self.first_line = code.co_firstlineno
        self.line = line or code.co_firstlineno
        self.operations = code.co_code
        self.is_function = bool(code.co_flags & inspect.CO_OPTIMIZED)
        suspends = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
        self.is_generator = bool(code.co_flags & suspends)
        self.is_async_generator = bool(code.co_flags & inspect.CO_ASYNC_GENERATOR)
        names = dict.fromkeys((*code.co_varnames, *code.co_cellvars, *code.co_freevars))
        self.names = tuple(name for name in names if not name.startswith((".", "__cwm_")))
        operations = self.operations
        # A generator that was never started stands before its first RESUME.
        self.start = 0
        if self.is_generator:
            self.start = next(at for at in range(0, len(operations), 2) if operations[at] == _RESUME)
        self.bare_raise = any(
            operations[at] == _RAISE and not operations[at + 1] for at in range(0, len(operations), 2)
        )

    def suspends_at(self, offset: int) -> bool:
        """Whether a frame whose last instruction is at `offset` may have been suspended there."""
        if self.operations[offset] == _YIELD:
            return True
        return self.operations[offset] == _RESUME and offset > 0 and self.operations[offset - 2] == _YIELD

    def returns_at(self, offset: int) -> bool:
        """Whether the instruction at `offset` is a return."""
        return self.operations[offset] in _RETURNS

    def raises_at(self, offset: int) -> bool:
        """Whether the instruction at `offset` is a `raise` statement's."""
        return self.operations[offset] == _RAISE

    def reraises_at(self, offset: int) -> bool:
        """Whether the instruction at `offset` is a `raise` without an exception."""
        return self.operations[offset] == _RAISE and not self.operations[offset + 1]

    def follows_call(self, offset: int) -> bool:
        """Whether the instruction before the one at `offset` is a call."""
        at = offset - 2
        while at > 0 and self.operations[at] == _CACHE:
            at -= 2
        return at >= 0 and self.operations[at] == _CALL

    def ends_iteration(self, error: BaseException, offset: int) -> bool:
        """Whether an exception only tells the loop or the await at `offset` that its iterator is done."""
        kind = type(error)
        if issubclass(kind, StopIteration):
            return self.operations[offset] in _ITERATION
        if issubclass(kind, StopAsyncIteration):
            for entry in dis.Bytecode(self.code).exception_entries:  # type: ignore[attr-defined]
                if entry.start <= offset < entry.end:
                    return bool(self.operations[entry.target] == _END_ASYNC_FOR)
        return False


class Codes:
    """What is known of the code objects of one recording or of many; `line_of` tells where a code object's `def` is."""

    __slots__ = ("_known", "_line_of", "table")

    def __init__(self, line_of: Callable[[CodeType], int]) -> None:
        self._line_of = line_of
        self.table: object = None  # the C core's
        self._known: dict[int, CodeInfo] = {}

    def of(self, code: CodeType) -> CodeInfo:
        """What is known of a code object."""
        found = self._known.get(id(code))
        if found is None:
            found = self._known[id(code)] = CodeInfo(code, self._line_of(code))
        return found


def class_namespace(frame: FrameType) -> dict[str, object]:
    """The program's names in the frame of a class or module body, as they were bound."""
    values: Any = frame.f_locals
    if not issubclass(type(values), dict):
        return {}  # a mapping of the program's own making, as a metaclass may supply
    return {name: value for name, value in dict.items(values) if _shown(name)}


def _shown(name: object) -> bool:
    return type(name) is str and name not in _CLASS_MACHINERY and not name.startswith((".", "__cwm_"))


def definition_lines(tree: ast.Module) -> dict[tuple[int, str], int]:
    """The line of each decorated `def` and `class`, by the line of its first decorator and its name."""
    lines: dict[tuple[int, str], int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.decorator_list:
            lines[min(decorator.lineno for decorator in node.decorator_list), node.name] = node.lineno
    return lines
