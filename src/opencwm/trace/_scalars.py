"""Texts of single values: numbers, strings, bytes, and the standard library's small value types.

Every function here has the form `(value, room, cut) -> text or None`: with `cut` unset the whole text, or None if it
is longer than `room` bytes; with `cut` set a shortened text that fits, or None if none does. Only the base types' own
slots are used, so subclasses with methods of their own are safe. An integer too long for the interpreter's decimal
conversion is cut in hexadecimal: `0x1f4a...+9000`.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import pathlib
import re
from collections.abc import Callable
from typing import Any

Scalar = Callable[[Any, int, bool], "str | None"]

BIG = 10**30  # integers nearer to zero than this need no care
_UNPLAIN: tuple[object, ...] = (object(),)
_DIGITS = 4_300  # the interpreter's default bound on decimal conversion, beyond which it is also slow


def size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def fits(text: str, room: int) -> bool:
    """Whether a text has at most `room` bytes."""
    return len(text) <= room and (text.isascii() or size(text) <= room)


def is_plain(value: Any, budget: int, nesting: int = 4) -> int:
    """How much of `budget` is left, or less than 0; not negative only if the builtin `repr` is exact, safe and cheap.

    Plain are exact numbers, strings and bytes in exact lists, tuples and dicts. The budget is a lower bound of the
    text's length, so the work is bounded by it.
    """
    kind = type(value)
    if kind is str:
        return budget - len(value) - 2
    if kind is int:
        return budget - 1 if -BIG < value < BIG else -1
    if kind is float or kind is bool or value is None:
        return budget - 3
    if kind is list or kind is tuple:
        for item in value if nesting else _UNPLAIN:  # each item has two bytes more: separator or bracket
            budget = is_plain(item, budget - 2, nesting - 1)
            if budget < 0:
                return -1
        return budget
    if kind is dict:
        for pair in value.items() if nesting else _UNPLAIN:
            budget = is_plain(pair, budget, nesting)
            if budget < 0:
                return -1
        return budget
    if kind is bytes:
        return budget - len(value) - 3
    return -1


def _whole(text: str, room: int) -> str | None:
    return text if fits(text, room) else None


def integer(value: Any, room: int, cut: bool) -> str | None:
    """An int or a subclass of it."""
    bits = int.bit_length(value)
    if bits * 3 // 10 <= _DIGITS and (cut or bits * 3 // 10 <= room):
        try:
            text = int.__repr__(value)
        except ValueError:  # the program has lowered the bound
            text = ""
        if text:
            return _cut_digits(text, room) if cut else _whole(text, room)
    if not cut:
        return None
    sign = "-0x" if int.__lt__(value, 0) else "0x"
    digits = (bits + 3) // 4
    shown = room - len(f"{sign}...+{digits}")
    if shown < 1:
        return None
    top = int.__rshift__(int.__abs__(value), 4 * (digits - shown)) if shown < digits else int.__abs__(value)
    return f"{sign}{top:x}" + (f"...+{digits - shown}" if shown < digits else "")


def _cut_digits(text: str, room: int) -> str | None:
    if len(text) <= room:
        return text
    shown = room - len(f"...+{len(text)}")
    return f"{text[:shown]}...+{len(text) - shown}" if shown > 1 else None


def real(value: Any, room: int, cut: bool) -> str | None:
    """A float or a subclass of it."""
    return _whole(float.__repr__(value), room)


def imaginary(value: Any, room: int, cut: bool) -> str | None:
    """A complex or a subclass of it."""
    return _whole(complex.__repr__(value), room)


def constant(value: Any, room: int, cut: bool) -> str | None:
    """A value of one of the interpreter's final types, whose repr is short."""
    return _whole(repr(value), room)


def string(value: Any, room: int, cut: bool) -> str | None:
    """A str or a subclass of it."""
    count = str.__len__(value)
    if cut:
        return _cut_quoted(lambda shown: repr(str.__getitem__(value, slice(shown))), count, room)
    return _whole(str.__repr__(value), room) if count + 2 <= room else None


def byte_string(value: Any, room: int, cut: bool) -> str | None:
    """A bytes or a subclass of it."""
    count = bytes.__len__(value)
    if cut:
        return _cut_quoted(lambda shown: repr(bytes.__getitem__(value, slice(shown))), count, room)
    return _whole(bytes.__repr__(value), room) if count + 3 <= room else None


def byte_array(value: Any, room: int, cut: bool) -> str | None:
    """A bytearray or a subclass of it."""
    count = bytearray.__len__(value)
    if not cut and count > room:
        return None
    head = bytearray(bytearray.__getitem__(value, slice(room)))
    if cut:
        around = len("bytearray(")
        inner = _cut_quoted(lambda shown: repr(head[:shown])[around:-1], count, room - around - 1)
        return inner and f"bytearray({inner})"
    return _whole(repr(head), room)


def _cut_quoted(text_of: Callable[[int], str], count: int, room: int) -> str | None:
    """The longest `'abc...+N'` that fits; `text_of(n)` is the quoted text of the first n of `count` characters."""
    shown = min(count - 1, room)
    while shown > 0:
        text = text_of(shown)
        text = f"{text[:-1]}...+{count - shown}{text[-1]}"
        over = size(text) - room
        if over <= 0:
            return text
        shown -= max(1, over // 10)  # a character takes at most 10 bytes
    return None


def span(value: Any, room: int, cut: bool) -> str | None:
    """A range."""
    parts = [integer(part, room, cut) for part in (value.start, value.stop)]
    if value.step != 1:
        parts.append(integer(value.step, room, cut))
    texts = [part for part in parts if part is not None]
    return _whole(f"range({', '.join(texts)})", room) if len(texts) == len(parts) else None


def _decimal(value: decimal.Decimal, room: int, cut: bool) -> str | None:
    if decimal.Decimal.__sizeof__(value) > room + 200:
        return "Decimal(...+1)" if cut else None
    return _whole(repr(value), room)


def _fraction(value: Any, room: int, cut: bool) -> str | None:
    # Plain slots. They may hold subclasses of int, and nothing yet while the constructor runs.
    top, bottom = getattr(value, "_numerator", None), getattr(value, "_denominator", None)
    if not (issubclass(type(top), int) and issubclass(type(bottom), int)):
        return "Fraction(...+2)" if cut else None
    parts = [integer(part, room // 2 - len("Fraction(, )"), cut) for part in (top, bottom)]
    texts = [part for part in parts if part is not None]
    return _whole(f"Fraction({', '.join(texts)})", room) if len(texts) == 2 else None


def _moment(value: Any, room: int, cut: bool) -> str | None:
    zone = value.tzinfo
    if zone is None:
        return _whole(repr(value), room)
    shown = _zone(zone, room, cut) if type(zone) is datetime.timezone else "..."
    bare = repr(value.replace(tzinfo=None))
    return _whole(f"{bare[:-1]}, tzinfo={shown})", room)


def _zone(value: datetime.timezone, room: int, cut: bool) -> str | None:
    name = datetime.timezone.tzname(value, None)
    return _whole(repr(value) if type(name) is str else "datetime.timezone(...)", room)


def _pattern(value: Any, room: int, cut: bool) -> str | None:
    source = value.pattern
    if not (type(source) is str or type(source) is bytes):
        return "re.compile(...+1)" if cut else None
    if len(source) > 10 * room:
        return f"re.compile(...+{len(source)})" if cut else None
    return _whole(repr(value), room)


def _match(value: Any, room: int, cut: bool) -> str | None:
    start, end = value.span()
    if end - start > room or not (type(value.string) is str or type(value.string) is bytes):
        return f"<re.Match object; span=({start}, {end})>" if cut else None
    return _whole(repr(value), room)


def _path(value: Any, room: int, cut: bool) -> str | None:
    raw = getattr(value, "_raw_paths", ())  # from Python 3.12 on it holds what was given, which may be a subclass
    if any(type(part) is not str for part in raw) or sum(map(len, raw)) > 10 * room:
        return f"{type(value).__name__}(...+1)" if cut else None
    return _whole(repr(value), room)


# Types whose subclasses keep the base type's slots.
SCALAR_BASES: dict[int, Scalar] = {
    id(int): integer,
    id(float): real,
    id(complex): imaginary,
    id(str): string,
    id(bytes): byte_string,
    id(bytearray): byte_array,
}

# Exactly these types, whose own repr is trusted.
SCALARS: dict[int, Scalar] = {
    id(bool): constant,
    id(type(None)): constant,
    id(type(...)): constant,
    id(type(NotImplemented)): constant,
    id(range): span,
    id(datetime.date): constant,
    id(datetime.timedelta): constant,
    id(datetime.datetime): _moment,
    id(datetime.time): _moment,
    id(datetime.timezone): _zone,
    id(decimal.Decimal): _decimal,
    id(fractions.Fraction): _fraction,
    id(re.Pattern): _pattern,
    id(re.Match): _match,
    id(pathlib.PurePosixPath): _path,
    id(pathlib.PureWindowsPath): _path,
    id(type(pathlib.Path())): _path,
}


def ordering(text_of: Callable[[object], str]) -> Callable[[Any], Any]:
    """A sort key for any values: numbers, then strings, bytes, tuples by their items, and the rest by their text."""

    def key(value: Any, nesting: int = 3) -> tuple[Any, ...]:
        kind = type(value)
        if kind is int or kind is bool or (kind is float and value == value):
            return 0, value
        if kind is str:
            return 1, value
        if kind is bytes:
            return 2, value
        if kind is tuple and nesting and len(value) <= 8:
            return 3, tuple(key(item, nesting - 1) for item in value)
        return 4, text_of(value)

    return key
