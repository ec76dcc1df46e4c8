"""Selection: which calls are recorded, as values that combine: `where(module="shop.*") & ~where(function="_*")`.

Notable choices:
- A predicate looks at a `Call`: where the code stands, how deep the call is, which test runs. It never sees the frame,
  so a predicate that looks at the code alone (`fixed`) is asked once per code object.
- Patterns are shell patterns (`*`, `?`, `[ab]`) over the whole name, case counts.
- Every predicate has a text, `module == 'shop.*' and not function == '_*'`, which `parse` reads back; so a command line
  or a configuration file can hold one. The text is Python's syntax, but nothing of it is evaluated.
"""

from __future__ import annotations

import abc
import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from opencwm.trace.frames import Frame, Trace


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be recorded.

    `module` is the `__name__` of its globals, `function` its qualified name (`Stack.push`, `f.<locals>.g`), `line` that
    of its code. `depth` counts the recorded calls that are open: 0 where a recording would begin. `test` is the name of
    the running test, `""` without one.
    """

    module: str
    file: str
    function: str
    line: int
    depth: int = 0
    test: str = ""


class Predicate(abc.ABC):
    """A condition on calls. Combines with `&`, `|` and `~`; `fixed` if it looks at the code alone."""

    __slots__ = ()
    fixed = True
    rank = 3  # how tightly its text binds

    @abc.abstractmethod
    def __call__(self, call: Call) -> bool:
        """Whether the call is meant."""

    def __and__(self, other: Predicate) -> Predicate:
        return _All(self, other)

    def __or__(self, other: Predicate) -> Predicate:
        return _Any(self, other)

    def __invert__(self) -> Predicate:
        return _Not(self)

    def _within(self, rank: int) -> str:
        return str(self) if self.rank >= rank else f"({self})"


@dataclass(frozen=True, slots=True)
class _Everything(Predicate):
    def __call__(self, call: Call) -> bool:
        return True

    def __str__(self) -> str:
        return "True"


@dataclass(frozen=True, slots=True)
class _Name(Predicate):
    field: str
    pattern: str

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return self.field != "test"

    def __call__(self, call: Call) -> bool:
        return fnmatchcase(getattr(call, self.field), self.pattern)

    def __str__(self) -> str:
        return f"{self.field} == {self.pattern!r}"


@dataclass(frozen=True, slots=True)
class _Below(Predicate):
    depth: int
    fixed = False

    def __call__(self, call: Call) -> bool:
        return call.depth < self.depth

    def __str__(self) -> str:
        return f"depth < {self.depth}"


@dataclass(frozen=True, slots=True)
class _Pair(Predicate):
    left: Predicate
    right: Predicate

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return self.left.fixed and self.right.fixed


class _All(_Pair):
    __slots__ = ()
    rank = 1

    def __call__(self, call: Call) -> bool:
        return self.left(call) and self.right(call)

    def __str__(self) -> str:
        return f"{self.left._within(1)} and {self.right._within(2)}"


class _Any(_Pair):
    __slots__ = ()
    rank = 0

    def __call__(self, call: Call) -> bool:
        return self.left(call) or self.right(call)

    def __str__(self) -> str:
        return f"{self.left._within(0)} or {self.right._within(1)}"


@dataclass(frozen=True, slots=True)
class _Not(Predicate):
    inner: Predicate
    rank = 2

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        return self.inner.fixed

    def __call__(self, call: Call) -> bool:
        return not self.inner(call)

    def __str__(self) -> str:
        return f"not {self.inner._within(2)}"


EVERYTHING: Predicate = _Everything()
_NAMES = ("module", "file", "function", "test")


def where(
    *,
    module: str | None = None,
    file: str | None = None,
    function: str | None = None,
    test: str | None = None,
    depth_below: int | None = None,
) -> Predicate:
    """Calls of which all the given patterns match; all calls if none is given."""
    named = zip(_NAMES, (module, file, function, test), strict=True)
    parts: list[Predicate] = [_Name(field, pattern) for field, pattern in named if pattern is not None]
    if depth_below is not None:
        parts.append(_Below(depth_below))
    result = parts[0] if parts else EVERYTHING
    for part in parts[1:]:
        result = result & part
    return result


def parse(text: str) -> Predicate:
    """The predicate of a text such as `module == 'shop.*' and depth < 3`. Raises ValueError, saying what is wrong."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read the selection {text!r}: {getattr(error, 'msg', error)}; {_FORM}") from None
    return _read(tree.body, text)


def keep(trace: Trace, predicate: Predicate) -> Trace:
    """A trace with only the calls that a predicate selects: all others are stepped over.

    `depth` is that in the result, so `depth < 1` keeps the entry alone. The first call kept becomes the entry. Raises
    ValueError if nothing is left.
    """
    frames: list[Frame] = []
    kept = [False] * (1 + max((frame.depth for frame in trace.frames), default=0))
    for frame in trace.frames:
        depth = sum(kept[: frame.depth])
        if frame.event == "call":
            kept[frame.depth] = predicate(Call("__cwm__", "<context>", frame.function, frame.line, depth))
        if kept[frame.depth]:
            frames.append(replace(frame, depth=depth))
    if not frames:
        raise ValueError(f"the selection {str(predicate)!r} leaves no frame of the run: select another function")
    return replace(trace, frames=tuple(frames), entry_line=frames[0].line)


_FORM = "write it as in  module == 'shop.*' and not function == '_*' and depth < 3"


def _read(node: ast.expr, text: str) -> Predicate:
    match node:
        case ast.BoolOp():
            join: Callable[[Any, Any], Predicate] = _All if isinstance(node.op, ast.And) else _Any
            result = _read(node.values[0], text)
            for value in node.values[1:]:
                result = join(result, _read(value, text))
            return result
        case ast.UnaryOp(op=ast.Not()):
            return ~_read(node.operand, text)
        case ast.Compare(left=ast.Name(id=name), ops=[sign], comparators=[ast.Constant(value=value)]):
            if name in _NAMES and type(value) is str and isinstance(sign, ast.Eq | ast.NotEq):
                found = _Name(name, value)
                return found if isinstance(sign, ast.Eq) else ~found
            if name == "depth" and type(value) is int and isinstance(sign, ast.Lt | ast.LtE):
                return _Below(value if isinstance(sign, ast.Lt) else value + 1)
        case ast.Constant(value=True):
            return EVERYTHING
    raise ValueError(f"cannot read {ast.unparse(node)!r} in the selection {text!r}: {_FORM}")
