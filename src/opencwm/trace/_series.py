"""How containers and instances are taken apart for `values.py`: brackets, items and their number.

One function per type, chosen by identity of the type or of a base. Each takes at most `renderer.limit` items and reads
them through the base type's own slots, without hashing or comparing anything of the program's.
"""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from opencwm.trace._objects import MISSING, class_attribute, class_name, class_qualname, plain_name
from opencwm.trace._scalars import ordering

if TYPE_CHECKING:
    from opencwm.trace.values import Renderer


@dataclass(slots=True)
class Item:
    """One entry of a series: `prefix`, the values' texts with `joint` between them, `suffix`."""

    values: tuple[object, ...]
    prefix: str = ""
    joint: str = ""
    suffix: str = ""


@dataclass(slots=True)
class Series:
    """What a container looks like: `count` items between two brackets; `again` is shown where it contains itself."""

    opening: str
    items: Iterable[Item]
    count: int
    closing: str
    again: str


TakeApart = Callable[["Renderer", Any], Series]


def _values(values: Iterable[object]) -> Iterable[Item]:
    return (Item((value,)) for value in values)


def _pairs(renderer: Renderer, value: Any) -> Iterable[Item]:
    return (Item(pair, joint=": ") for pair in list(islice(dict.items(value), renderer.limit)))


def _list(renderer: Renderer, value: Any) -> Series:
    head = list.__getitem__(value, slice(renderer.limit))
    return Series("[", _values(head), list.__len__(value), "]", "[...]")


def _tuple(renderer: Renderer, value: Any) -> Series:
    count = tuple.__len__(value)
    head = tuple.__getitem__(value, slice(renderer.limit))
    fields = MISSING if type(value) is tuple else class_attribute(type(value), "_fields")
    if type(fields) is tuple and len(fields) == count and all(type(name) is str for name in fields):
        named = (Item((item,), prefix=f"{name}=") for name, item in zip(fields, head, strict=False))
        return Series(class_name(type(value)) + "(", named, count, ")", "...")
    return Series("(", _values(head), count, ",)" if count == 1 else ")", "(...)")


def _dict(renderer: Renderer, value: Any) -> Series:
    return Series("{", _pairs(renderer, value), dict.__len__(value), "}", "{...}")


def _set(renderer: Renderer, value: Any) -> Series:
    base = set if issubclass(type(value), set) else frozenset
    name = class_name(type(value))
    count = base.__len__(value)
    if not count:
        return Series(f"{name}(", (), 0, ")", f"{name}(...)")
    opening, closing = ("{", "}") if type(value) is set else (f"{name}({{", "})")
    if count > renderer.limit:  # it cannot be shown in full, and sorting it would cost too much
        return Series(opening, (), count, closing, f"{name}(...)")
    order = ordering(type(renderer)(200).text)
    return Series(opening, _values(sorted(base.__iter__(value), key=order)), count, closing, f"{name}(...)")


def _deque(renderer: Renderer, value: Any) -> Series:
    head = list(islice(deque.__iter__(value), renderer.limit))
    limit = deque.__dict__["maxlen"].__get__(value)
    closing = "])" if limit is None else f"], maxlen={limit})"
    return Series(class_name(type(value)) + "([", _values(head), deque.__len__(value), closing, "[...]")


def _defaultdict(renderer: Renderer, value: Any) -> Series:
    factory = defaultdict.__dict__["default_factory"].__get__(value)
    shown = renderer.whole(factory, 100) or "..."
    opening = f"{class_name(type(value))}({shown}, {{"
    return Series(opening, _pairs(renderer, value), dict.__len__(value), "})", f"{class_name(type(value))}(...)")


def _counter(renderer: Renderer, value: Any) -> Series:
    name, count = class_name(type(value)), dict.__len__(value)
    if not count:
        return Series(f"{name}(", (), 0, ")", "...")
    pairs = list(islice(dict.items(value), renderer.limit + 1))
    if count <= renderer.limit and all(type(number) is int or type(number) is bool for _, number in pairs):
        pairs.sort(key=lambda pair: pair[1], reverse=True)  # as `most_common`; other counts may have their own order
    return Series(f"{name}({{", (Item(pair, joint=": ") for pair in pairs), count, "})", "...")


def _ordered(renderer: Renderer, value: Any) -> Series:
    name, count = class_name(type(value)), dict.__len__(value)
    pairs = list(islice(dict.items(value), renderer.limit))
    if count <= renderer.limit and all(type(key) is str or type(key) is int for key, _ in pairs):
        by_key: dict[Any, object] = dict(pairs)  # the order of `move_to_end` is in the keys alone
        pairs = [(key, by_key[key]) for key in OrderedDict.__iter__(value)]
    if not count:
        return Series(f"{name}(", (), 0, ")", "...")
    if _ORDERED_AS_DICT:
        return Series(f"{name}({{", (Item(pair, joint=": ") for pair in pairs), count, "})", "...")
    listed = (Item(pair, prefix="(", joint=", ", suffix=")") for pair in pairs)
    return Series(f"{name}([", listed, count, "])", "...")


_ORDERED_AS_DICT = "{" in repr(OrderedDict(a=1))  # from Python 3.12 on


def _keys(renderer: Renderer, value: Any) -> Series:
    head = list(islice(iter(value), renderer.limit))
    return Series(f"{class_name(type(value))}([", _values(head), len(value), "])", "...")


def _items(renderer: Renderer, value: Any) -> Series:
    head = list(islice(iter(value), renderer.limit))
    listed = (Item(pair, prefix="(", joint=", ", suffix=")") for pair in head)
    return Series("dict_items([", listed, len(value), "])", "...")


def _slice(renderer: Renderer, value: Any) -> Series:
    return Series("slice(", _values((value.start, value.stop, value.step)), 3, ")", "...")


def _exception(renderer: Renderer, value: Any) -> Series:
    arguments = BaseException.__dict__["args"].__get__(value)
    return Series(f"{class_name(type(value))}(", _values(arguments), len(arguments), ")", "...")


def take_enum(renderer: Renderer, value: Any) -> Series:
    attributes = dict(renderer.layout(type(value)).attributes(value))
    name, kind = attributes.get("_name_"), class_name(type(value))
    opening = f"<{kind}: " if name is None else f"<{kind}.{plain_name(name)}: "
    return Series(opening, (Item((attributes.get("_value_"),)),), 1, ">", "...")


def take_dataclass(renderer: Renderer, value: Any) -> Series:
    attributes = dict(renderer.layout(type(value)).attributes(value))
    shown = [name for name in shown_fields(type(value)) if name in attributes]
    items = (Item((attributes[name],), prefix=f"{plain_name(name)}=") for name in shown)
    return Series(f"{class_qualname(type(value))}(", items, len(shown), ")", "...")


def shown_fields(kind: type) -> tuple[Any, ...]:
    """The names of a dataclass's fields that its repr shows."""
    fields = class_attribute(kind, "__dataclass_fields__")
    pairs = dict.items(fields)
    return tuple(name for name, field in pairs if type(field) is Field and field.repr is True and _is_field(field))


def _is_field(field: Any) -> bool:
    kind = getattr(field._field_type, "name", "")  # not a class variable or an init-only one
    return type(kind) is str and kind == "_FIELD"


def take_instance(renderer: Renderer, value: Any) -> Series:
    attributes = list(renderer.layout(type(value)).attributes(value))
    items = (_attribute(name, item) for name, item in attributes)
    return Series(f"{class_name(type(value))}(", items, len(attributes), ")", f"{class_name(type(value))}(...)")


def _attribute(name: object, value: object) -> Item:
    if type(name) is str and name.isidentifier():
        return Item((value,), prefix=f"{name}=")
    return Item((name, value), joint="=")


def _namespace(renderer: Renderer, value: Any) -> Series:
    pairs = list(dict.items(types.SimpleNamespace.__dict__["__dict__"].__get__(value)))
    items = (Item((item,), prefix=f"{plain_name(name)}=") for name, item in pairs)
    name = "namespace" if type(value) is types.SimpleNamespace else class_name(type(value))
    return Series(f"{name}(", items, len(pairs), ")", f"{name}(...)")


SERIES: dict[int, TakeApart] = {
    id(list): _list,
    id(tuple): _tuple,
    id(dict): _dict,
    id(set): _set,
    id(frozenset): _set,
    id(deque): _deque,
    id(defaultdict): _defaultdict,
    id(Counter): _counter,
    id(OrderedDict): _ordered,
    id(type({}.keys())): _keys,
    id(type({}.values())): _keys,
    id(type({}.items())): _items,
    id(slice): _slice,
    id(BaseException): _exception,
    id(types.SimpleNamespace): _namespace,
}
