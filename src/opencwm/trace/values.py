"""Values as text: bounded, deterministic, address-free `repr` text that never runs the program's code.

Notable choices:
- A value whose text fits is shown exactly as `repr` shows it if its type is one of the interpreter's (sets in sorted
  order). Instances of Python classes are shown by structure, `Point(x=1, y=2)`, whatever their `__repr__` says: it
  might raise, loop, or change the program.
- Too large a value is cut inside its structure: `[1, 2, ...+998]` (998 more items), `'abc...+97'` (97 more
  characters). Work is proportional to the limit, not to the value. Beyond 64 levels of nesting contents are cut too.
- Subclasses of `list`, `str`, ... are shown by the base type's own slots. Types are dispatched by identity, since even
  hashing a class may call its metaclass.
- Functions, generators and the like have no address: `<function f>`, `<generator g>`, `<class Point>`, `<map object>`;
  nor have the standard library's objects, their well-known value types apart: `<Queue object>`.
"""

from __future__ import annotations

import types
from enum import Enum
from typing import Any

from opencwm.trace._objects import (
    Layout,
    bases,
    class_attribute,
    class_name,
    class_text,
    in_standard_library,
    module_name,
    plain_name,
)
from opencwm.trace._scalars import BIG, SCALAR_BASES, SCALARS, Scalar, fits, is_plain, size
from opencwm.trace._series import (
    SERIES,
    Item,
    Series,
    TakeApart,
    shown_fields,
    take_dataclass,
    take_enum,
    take_instance,
)

NESTING = 64
_PARTIAL = 48  # the least room in which an item is cut rather than left out


def render(value: object, limit_bytes: int = 2_000) -> str:
    """repr-like text of a value, at most `limit_bytes` (32 or more) bytes of UTF-8. Never raises, runs no user code."""
    return Renderer(limit_bytes).text(value)


class Renderer:
    """Renders values with one limit, remembering how classes are laid out; `elided` tells whether the last was cut."""

    __slots__ = ("_active", "_forms", "_layouts", "elided", "limit")

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.elided = False
        self._active: set[int] = set()
        self._layouts: dict[int, tuple[type, Layout]] = {}  # the class is kept, so that its id stays its own
        self._forms: dict[int, tuple[type, Scalar | None, TakeApart | None]] = {}

    def text(self, value: Any) -> str:
        """repr-like text of a value. Never raises, runs no user code."""
        self.elided = False
        kind = type(value)
        if (kind is int and -BIG < value < BIG) or kind is bool or value is None:
            return repr(value)
        try:
            text = self.whole(value, self.limit)
            if text is None:
                text = self._cut(value, self.limit)
        except Exception:  # the end of the stack or of memory, a thread is changing the value, or it is half made
            text = None
        self._active.clear()
        if text is None:
            self.elided, text = True, "...+1"
        return text

    def whole(self, value: Any, room: int) -> str | None:
        """The complete text, or None if it is longer than `room` bytes."""
        if is_plain(value, room) >= 0:
            text = repr(value)
            return text if fits(text, room) else None
        return self._form(value, room, cut=False)

    def _cut(self, value: Any, room: int) -> str | None:
        """A shortened text of at most `room` bytes, or None if not even that fits."""
        self.elided = True
        return self._form(value, room, cut=True)

    def _form(self, value: Any, room: int, *, cut: bool) -> str | None:
        found = self._forms.get(id(type(value)))
        if found is None:
            found = self._forms[id(type(value))] = (type(value), *self._find_form(type(value)))
        _, write, take_apart = found
        if write is not None:
            return write(value, room, cut)
        assert take_apart is not None
        series = take_apart(self, value)
        if id(value) in self._active:
            return series.again if fits(series.again, room) else None
        if len(self._active) >= NESTING and series.count:
            if not cut:
                return None
            series.items = ()
        self._active.add(id(value))
        try:
            return self._join(series, room, cut)
        finally:
            self._active.discard(id(value))

    def _join(self, series: Series, room: int, cut: bool) -> str | None:
        parts = [series.opening]
        used = size(series.opening) + size(series.closing)
        shown = 0
        for item in series.items:
            separator = ", " if shown else ""
            rest = series.count - shown - 1
            reserve = len(f", ...+{rest}") if cut and rest else 0
            text = self._item(item, room - used - len(separator) - reserve, cut)
            if text is None:
                break
            parts.append(separator + text)
            used += len(separator) + size(text)
            shown += 1
        if shown < series.count:
            if not cut:
                return None
            self.elided = True
            parts.append(f"{', ' if shown else ''}...+{series.count - shown}")
            used += len(parts[-1])
        parts.append(series.closing)
        return "".join(parts) if used <= room else None

    def _item(self, item: Item, room: int, cut: bool) -> str | None:
        room -= size(item.prefix) + len(item.suffix) + len(item.joint) * (len(item.values) - 1)
        texts: list[str] = []
        for value in item.values:
            if room <= 0:
                return None
            text = self.whole(value, room)
            if text is None and cut and room >= _PARTIAL:
                text = self._cut(value, room)
            if text is None:
                return None
            texts.append(text)
            room -= size(text)
        return item.prefix + item.joint.join(texts) + item.suffix

    def _find_form(self, kind: type) -> tuple[Scalar | None, TakeApart | None]:
        """How values of a type are written, as one text or as a series of items."""
        if id(kind) in SCALARS:
            return SCALARS[id(kind)], None
        line = bases(kind)
        if any(base is Enum for base in line):
            return None, take_enum
        if type(class_attribute(kind, "__dataclass_fields__")) is dict:
            return None, take_dataclass
        for base in line:
            if base is type:
                return _opaque, None
            if id(base) in SCALAR_BASES:
                return SCALAR_BASES[id(base)], None
            if id(base) in SERIES:
                return None, SERIES[id(base)]
        # The standard library's objects hold locks, thread ids and file numbers, which differ from run to run.
        if in_standard_library(kind) or not self.layout(kind).python:
            return _opaque, None
        return None, take_instance

    def plan(self, kind: type) -> tuple[object, ...] | None:
        """How the C core may write values of a type by itself, if it may.

        `()`: as `<NAME object>`. `(slots, has_dictionary, fields)`: its attributes in that order, all of them if
        `fields` is None, else (a dataclass) those.
        """
        write, take_apart = self._find_form(kind)
        if write is _opaque and id(kind) not in _LABELS and kind is not types.MethodType:
            special = (type, types.ModuleType, types.BuiltinFunctionType)
            return None if any(base in special for base in bases(kind)) else ()
        if take_apart is take_instance or take_apart is take_dataclass:
            fields = shown_fields(kind) if take_apart is take_dataclass else None
            return self.layout(kind).members, self.layout(kind).has_dictionary, fields
        return None

    def layout(self, kind: type) -> Layout:
        """Where instances of a class keep their attributes."""
        found = self._layouts.get(id(kind))
        if found is None:
            found = self._layouts[id(kind)] = (kind, Layout(kind))
        return found[1]


def _opaque(value: Any, room: int, cut: bool) -> str | None:
    text = _label(value)
    return text if fits(text, room) else None


def _label(value: Any) -> str:
    """Text of a value that has no contents to show: functions, classes, modules, iterators, anything written in C."""
    kind = type(value)
    if issubclass(kind, type):
        return class_text(value)
    if issubclass(kind, types.ModuleType):
        return f"<module {module_name(value)!r}>"
    if kind is types.MethodType:
        function = value.__func__
        name = plain_name(function.__qualname__) if type(function) is types.FunctionType else "?"
        return f"<bound method {name}>"
    if kind is types.BuiltinFunctionType:
        kind_of_call = "function" if type(value.__self__) is types.ModuleType else "method"
        return f"<built-in {kind_of_call} {value.__name__}>"
    label = _LABELS.get(id(kind))
    return f"<{label} {plain_name(value.__qualname__)}>" if label else f"<{class_name(kind)} object>"


_LABELS = {
    id(types.FunctionType): "function",
    id(types.GeneratorType): "generator",
    id(types.CoroutineType): "coroutine",
    id(types.AsyncGeneratorType): "async_generator",
}
