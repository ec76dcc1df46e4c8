"""Looking at objects without running a line of their code: class names, bases, instance attributes.

Everything goes through the slots of `type` and through C descriptors taken from class dictionaries, so a `__class__`
property, a metaclass with its own `__getattribute__` or `__hash__`, or a `__getattr__` is never called. Types are told
apart by identity (`id`), because hashing a class calls its metaclass.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_module_dictionary: Callable[[types.ModuleType], Any] = vars(types.ModuleType)["__dict__"].__get__

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, not part of the interpreter

MISSING = object()

_VALUES: tuple[type, ...] = (int, float, complex, bool, str, bytes, type(None), type(...), range, tuple, frozenset)
_DEFINITIONS = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_IMMUTABLE = frozenset(map(id, (*_VALUES, *_DEFINITIONS)))  # of these, sharing is no matter


def plain_name(name: object) -> str:
    """A name as an exact, printable `str` (a subclass of str may carry its own `__str__` and `__format__`)."""
    if not issubclass(type(name), str):
        return "?"
    text = str.__str__(name)
    return text if text.isprintable() else ascii(text)


def class_name(cls: type) -> str:
    """`__name__` of a class."""
    return plain_name(_name(cls))


def class_qualname(cls: type) -> str:
    """`__qualname__` of a class."""
    return plain_name(_qualname(cls))


def class_text(cls: type) -> str:
    """`<class 'int'>` as the interpreter has it for its own static types, `<class Point>` for every other class."""
    if _flags(cls) & _HEAP_TYPE:
        return f"<class {class_qualname(cls)}>"
    return type.__repr__(cls)


def bases(cls: type) -> tuple[type, ...]:
    """The method resolution order, the class itself first."""
    return _mro(cls)


def class_attribute(cls: type, name: str) -> Any:
    """A raw attribute from the class dictionaries, no descriptor called; `MISSING` if there is none."""
    for base in _mro(cls):
        value = _namespace(base).get(name, MISSING)
        if value is not MISSING:
            return value
    return MISSING


def in_standard_library(cls: type) -> bool:
    """Whether a class comes with Python, by its `__module__`."""
    module = _namespace(cls).get("__module__")
    return type(module) is str and module.partition(".")[0] in sys.stdlib_module_names


def module_name(module: types.ModuleType) -> str:
    """The `__name__` in a module's dictionary."""
    return plain_name((_module_dictionary(module) or {}).get("__name__", "?"))


def shared(values: dict[str, object]) -> tuple[tuple[str, ...], ...]:
    """The groups of names that hold one and the same object that can change."""
    holders: dict[int, list[str]] = {}
    for name, value in values.items():
        kind = type(value)
        if id(kind) not in _IMMUTABLE and not issubclass(kind, type):
            holders.setdefault(id(value), []).append(name)
    return tuple(tuple(names) for names in holders.values() if len(names) > 1)


class Layout:
    """Where the instances of one class keep their attributes; read once per class and recording.

    `python` tells whether a `class` statement made it, as far as that shows: it has an instance dictionary or slots.
    """

    __slots__ = ("_dictionary", "_members", "python")

    def __init__(self, cls: type) -> None:
        self._members: list[tuple[str, Any]] = []
        self._dictionary: Any = None
        self.python = False
        for base in reversed(_mro(cls)):
            if not _flags(base) & _HEAP_TYPE:
                continue
            namespace = _namespace(base)
            dictionary = namespace.get("__dict__")
            # Only the descriptor that a `class` statement makes has a docstring.
            if type(dictionary) is types.GetSetDescriptorType and dictionary.__doc__ is not None:
                self._dictionary, self.python = dictionary, True
            slots = namespace.get("__slots__", MISSING)
            if slots is not MISSING:
                self.python = True
                self._members.extend(_slot_members(namespace, slots))

    @property
    def members(self) -> tuple[tuple[str, Any], ...]:
        """Name and descriptor of each slot, in the order in which they are shown."""
        return tuple(self._members)

    @property
    def has_dictionary(self) -> bool:
        """Whether the instances have a dictionary."""
        return self._dictionary is not None

    def attributes(self, value: object) -> Iterator[tuple[object, object]]:
        """(name, value) of each attribute that is set: slots, base classes first, then the instance dictionary."""
        for name, member in self._members:
            try:
                yield name, member.__get__(value)
            except AttributeError:
                continue
        if self._dictionary is not None:
            dictionary = self._dictionary.__get__(value)
            if issubclass(type(dictionary), dict):
                yield from list(dict.items(dictionary))


def _slot_members(namespace: Any, slots: object) -> list[tuple[str, Any]]:
    members = {name: item for name, item in namespace.items() if type(item) is types.MemberDescriptorType}
    # The class dictionary holds them sorted; they are shown as they were declared.
    declared: Any = slots if type(slots) is tuple or type(slots) is list else (slots,)
    order = {name: index for index, name in enumerate(declared) if type(name) is str}
    return sorted(members.items(), key=lambda item: order.get(item[0], len(order)))
