"""Values as text: equal to `repr` for the interpreter's types, structural for others, bounded, without their code."""

import collections
import datetime
import decimal
import enum
import fractions
import pathlib
import queue
import re
import sys
import time
import types
import weakref
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.trace.values import Renderer, render


class Point:
    def __init__(self, x: object, y: object) -> None:
        self.x, self.y = x, y


class Trap(Exception):
    """Raised by code that must not run."""


def _trap(*_: object, **__: object) -> Any:
    raise Trap


class TrapMeta(type):
    __hash__ = __eq__ = __getattribute__ = __instancecheck__ = __subclasscheck__ = _trap  # type: ignore[assignment]
    __repr__ = __str__ = _trap


TRAPS = {
    name: _trap
    for name in (
        *("__repr__", "__str__", "__format__", "__getattribute__", "__getattr__", "__eq__", "__hash__", "__lt__"),
        *("__len__", "__iter__", "__getitem__", "__bool__", "__index__", "__int__", "__contains__", "__reversed__"),
        *("__next__", "__call__", "__reduce_ex__", "__sizeof__", "__dir__", "__missing__", "keys", "items"),
    )
}
TRAPS["__class__"] = property(_trap)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.builds(bytearray, st.binary())
    | st.builds(range, st.integers(), st.integers(), st.integers(1, 9))
    | st.builds(slice, st.integers(), st.none(), st.text())
    | st.just(...),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
        | st.lists(inner).map(collections.deque)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
        | st.dictionaries(st.text(), inner).map(lambda d: collections.defaultdict(list, d))
    ),
    max_leaves=12,
)


@given(plain)
def test_the_interpreters_own_types_are_shown_as_repr_shows_them(value: object) -> None:
    assert render(value, 1_000_000) == repr(value)


@given(plain, st.integers(32, 120))
def test_every_text_is_bounded_and_complete_if_it_fits(value: object, limit: int) -> None:
    renderer = Renderer(limit)
    text = renderer.text(value)
    assert len(text.encode()) <= limit
    fits = len(repr(value).encode()) <= limit
    assert (text == repr(value)) == fits
    assert renderer.elided == (not fits)


@given(st.sets(st.integers() | st.text(max_size=3) | st.none() | st.tuples(st.integers(), st.text(max_size=2))))
def test_sets_are_sorted_and_complete(value: set[object]) -> None:
    text = render(value, 1_000_000)
    assert eval(text) == value
    assert text == render(set(reversed(list(value))), 1_000_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({3, 10, 2}, "{2, 3, 10}"),
        (frozenset({"b", "a"}), "frozenset({'a', 'b'})"),
        (set(), "set()"),
        (collections.Counter("abcaa"), "Counter({'a': 3, 'b': 1, 'c': 1})"),
        (collections.deque([1], maxlen=3), "deque([1], maxlen=3)"),
        ({1: 2}.keys(), "dict_keys([1])"),
        ({1: 2}.items(), "dict_items([(1, 2)])"),
        (types.SimpleNamespace(a=1), "namespace(a=1)"),
        (datetime.date(2024, 2, 29), "datetime.date(2024, 2, 29)"),
        (datetime.timedelta(1), "datetime.timedelta(days=1)"),
        (decimal.Decimal("1.50"), "Decimal('1.50')"),
        (fractions.Fraction(2, 4), "Fraction(1, 2)"),
        (re.compile("a+", re.I), "re.compile('a+', re.IGNORECASE)"),
        (re.match("a", "abc"), "<re.Match object; span=(0, 1), match='a'>"),
        (pathlib.PurePosixPath("a/b"), "PurePosixPath('a/b')"),
        (ValueError("bad", 1), "ValueError('bad', 1)"),
        (KeyError("k"), "KeyError('k')"),
        (NotImplemented, "NotImplemented"),
        (int, "<class 'int'>"),
        (len, "<built-in function len>"),
        ([].append, "<built-in method append>"),
        (collections, "<module 'collections'>"),
        (object(), "<object object>"),
        (iter([]), "<list_iterator object>"),
        (queue.Queue(), "<Queue object>"),
        (Point, "<class Point>"),
        (Point(1, "a"), "Point(x=1, y='a')"),
        (Point(1, 2).__init__, "<bound method Point.__init__>"),  # type: ignore[misc]
        (render, "<function render>"),
        ((i for i in []), "<generator <genexpr>>"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",  # reprs with addresses and hash order differ by process
)
def test_text(value: object, text: str) -> None:
    assert render(value) == text


def test_zones_and_orders() -> None:
    aware = datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    assert render(aware) == repr(aware)
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    assert render(ordered) == repr(ordered)


def test_generated_reprs_are_imitated() -> None:
    class Color(enum.Enum):
        RED = 1

    class Mode(enum.IntFlag):
        R = 1
        W = 2

    @dataclass
    class Pair:
        left: int
        right: list[int] = field(default_factory=list)
        hidden: int = field(default=0, repr=False)

    class Named(NamedTuple):
        a: int
        b: str

    for value in (Color.RED, Mode.R | Mode.W, Pair(1, [2]), Named(1, "x")):
        assert render(value) == repr(value)


def test_slots_of_all_bases_are_shown_as_declared() -> None:
    class Base:
        __slots__ = ("b", "a")  # noqa: RUF023

    class Derived(Base):
        __slots__ = ("c", "unset")

    value = Derived()
    value.a, value.b, value.c = 1, 2, 3
    assert render(value) == "Derived(b=2, a=1, c=3)"


def test_recursion_is_marked() -> None:
    items: list[object] = [1]
    items.append(items)
    table: dict[str, object] = {}
    table["t"] = table
    node = Point(1, None)
    node.y = [node]
    assert render(items) == "[1, [...]]"
    assert render(table) == "{'t': {...}}"
    assert render((items,)) == "([1, [...]],)"
    assert render(node) == "Point(x=1, y=[Point(...)])"
    assert render([items, items]) == "[[1, [...]], [1, [...]]]"


def test_elision_stays_inside_the_structure() -> None:
    assert render(list(range(1000)), 40) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...+990]"
    assert render("x" * 1000, 40) == "'" + "x" * 31 + "...+969'"
    assert render({"k": "v" * 100}, 80) == "{'k': '" + "v" * 65 + "...+35'}"
    assert render(b"\0" * 100, 40).endswith("...+93'")
    assert render(Point(1, list(range(1000))), 64).startswith("Point(x=1, y=[0, 1, 2,")
    assert render("é" * 1000, 40) == "'" + "é" * 15 + "...+985'"
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    assert render(deep) == "[" * 64 + "[...+1]" + "]" * 64


def test_huge_integers() -> None:
    assert render(10**40) == repr(10**40)
    assert render(10**4000, 50) == "1" + "0" * 41 + "...+3959"
    huge = 16**100_000
    assert render(huge, 50) == "0x1" + "0" * 37 + "...+99963"
    assert render(-huge, 10_000).startswith("-0x1000")
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(640)
        assert render([10**1000], 5_000) == f"[{10**1000:#x}]"
    finally:
        sys.set_int_max_str_digits(before)


def test_work_is_bounded_by_the_limit() -> None:
    numbers = list(range(1_000_000))
    values: list[object] = [
        "x" * 100_000_000,
        bytes(50_000_000),
        bytearray(50_000_000),
        numbers,
        dict.fromkeys(numbers),
        set(numbers),
        collections.deque(numbers),
        collections.Counter(numbers),
        collections.OrderedDict.fromkeys(numbers),
        dict.fromkeys(numbers).keys(),
        1 << 10_000_000,
        decimal.Decimal("1" * 1_000_000),
        [["x" * 1000] * 1000] * 1000,
    ]
    values.append(Point(values[:], tuple(values)))
    start = time.process_time()
    for value in values:
        assert len(render(value).encode()) <= 2_000
    assert time.process_time() - start < 2.0
    shared: tuple[object, ...] = ()
    for _ in range(16):
        shared = (shared, shared)
    nested = {shared, 1}  # hashing it takes 2 ** 16 steps
    for _ in range(100):
        shared = (shared, shared)
    start = time.process_time()
    assert len(render(nested).encode()) <= 2_000
    assert len(render(shared).encode()) <= 2_000
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    ("base", "value", "text"),
    [
        (object, (), "Hostile()"),
        (int, (7,), "7"),
        (str, ("s",), "'s'"),
        (bytes, (b"b",), "b'b'"),
        (float, (1.5,), "1.5"),
        (list, ([1, 2],), "[1, 2]"),
        (tuple, ([1, 2],), "(1, 2)"),
        (dict, ({"a": 1},), "{'a': 1}"),
        (set, ([2, 1],), "Hostile({1, 2})"),
        (frozenset, ([2, 1],), "Hostile({1, 2})"),
        (collections.deque, ([1],), "Hostile([1])"),
        (collections.OrderedDict, (), "Hostile()"),
        (collections.defaultdict, (list,), "Hostile(<class 'list'>, {})"),
        (ValueError, ("v",), "Hostile('v')"),
        (types.ModuleType, ("m",), "<module 'm'>"),
    ],
    ids=lambda item: getattr(item, "__name__", None),
)
@pytest.mark.parametrize("metaclass", [type, TrapMeta])
def test_no_code_of_the_program_runs(metaclass: type, base: type, value: tuple[object, ...], text: str) -> None:
    hostile = type.__call__(metaclass, "Hostile", (base,), dict(TRAPS))
    instance = base.__new__(hostile, *value)
    base.__init__(instance, *(() if base in (object, int, str, bytes, float, tuple, frozenset) else value))
    assert render(instance) == text
    assert render([(instance,), {"k": instance}]).count(text) == 2
    assert render(hostile) == "<class Hostile>"
    holder = Point(instance, hostile)
    assert render(holder) == f"Point(x={text}, y=<class Hostile>)"
    assert len(render([instance] * 1000, 64).encode()) <= 64


def test_no_hash_or_comparison_of_elements_runs() -> None:
    armed = False

    class Key:
        def __hash__(self) -> int:
            return _trap() if armed else 1

        def __eq__(self, other: object) -> bool:
            return _trap() if armed else self is other

        __lt__ = _trap

    first, second = Key(), Key()
    ordered = collections.OrderedDict({first: 1, second: 2})
    values: list[object] = [{first, second}, frozenset({first}), {first: 1}, ordered, collections.Counter([first])]
    counts = collections.Counter(a=1)
    counts["b"] = first  # type: ignore[assignment]
    armed = True
    assert [render(value) for value in [*values[:3], values[4]]] == [
        "{Key(), Key()}",
        "frozenset({Key()})",
        "{Key(): 1}",
        "Counter({Key(): 1})",
    ]
    assert render(ordered).count("Key()") == 2
    assert render(counts) == "Counter({'a': 1, 'b': Key()})"


def test_proxies_lies_and_odd_attributes() -> None:
    class Liar:
        @property
        def __class__(self) -> Any:
            return int

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise Trap

    class Odd:
        pass

    odd = Odd()
    vars(odd)["not a name"] = 1
    vars(odd)["\ud800"] = 2
    assert render(Liar()) == "<Liar object>"
    assert render(weakref.proxy(odd)) == f"<{type(weakref.proxy(odd)).__name__} object>"
    assert render(odd) == "Odd('not a name'=1, '\\ud800'=2)"
    Odd.__name__ = type("S", (str,), {"__format__": _trap, "__str__": _trap})("Renamed")
    assert render(Odd()) == "Renamed()"


def test_a_mutating_repr_does_not_run() -> None:
    log: list[int] = []

    class Mutant:
        def __repr__(self) -> str:
            log.append(1)
            self.count = len(log)
            return "mutant"

    value = Mutant()
    assert render([value, value]) == "[Mutant(), Mutant()]"
    assert not log
