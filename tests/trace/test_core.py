"""The choice of a core, and that both cores give equal traces."""

import gc
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace import core as cores
from opencwm.trace.core import CoreError, choose
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

ROOT = Path(__file__).parents[2]


def needs_c() -> None:
    try:
        choose("c")
    except CoreError as error:
        pytest.skip(str(error))


def both(program: Program, **options: object) -> Trace:
    """The trace of a program, which is that of both cores."""
    ours = record(program, core="c", **options)  # type: ignore[arg-type]
    theirs = record(program, core="python", **options)  # type: ignore[arg-type]
    if ours != theirs:
        pairs = zip(theirs.frames, ours.frames, strict=False)
        at = next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(ours.frames), len(theirs.frames)))
        pytest.fail(
            f"frame {at} of\n{program.context}\n"
            f"Python: {theirs.frames[at : at + 1]}, {len(theirs.frames)} frames, {theirs.outcome}\n"
            f"C: {ours.frames[at : at + 1]}, {len(ours.frames)} frames, {ours.outcome}"
        )
    return ours


def compare_generated(seeds: range) -> int:
    """Frames compared; every second program with the values of sub-expressions, every third with identity."""
    count = 0
    for seed in seeds:
        program = write(random.Random(seed))
        limits = Limits(seconds=600)  # an endless program is cut by another limit, however slow the machine
        count += len(both(program, limits=limits, steps=seed % 2 == 1, identity=seed % 3 == 1).frames)
    return count


def test_generated_programs_have_equal_traces() -> None:
    needs_c()
    assert compare_generated(range(300)) > 3_000


@pytest.mark.slow
def test_twenty_thousand_generated_programs_have_equal_traces() -> None:
    needs_c()
    assert compare_generated(range(20_000)) > 200_000


@pytest.mark.parametrize(
    "limits",
    [
        *(Limits(frames=count) for count in range(1, 24)),
        *(Limits(total_bytes=count) for count in range(1, 400, 7)),
        *(Limits(value_bytes=count) for count in range(32, 120, 11)),
        *(Limits(depth=count) for count in range(1, 6)),
    ],
    ids=str,
)
def test_limits_cut_at_the_same_place(limits: Limits) -> None:
    needs_c()
    source = """
        def gen(n):
            try:
                yield n
                yield [n, 'text' * n]
            finally:
                n = None
        def f(n, seen):
            seen.append((n, {n: list(range(n * 5))}))
            it = gen(n)
            next(it)
            it.close()
            if n == 0:
                raise ValueError('x' * 50)
            try:
                return f(n - 1, seen)
            except ValueError as error:
                raise KeyError(n) from error
        def main():
            try:
                f(4, [])
            except KeyError:
                return 'caught'
    """
    both(Program("\n".join(line[8:] for line in source.splitlines()), function="main"), limits=limits)


OBJECTS = [
    """
class Plain:
    kind = 'plain'
    def __init__(self, n):
        self.n = n
        self.items = [n]
        self.later = None
    def add(self, x):
        self.items.append(x)
        self.later = {x: self.items[-1]}
        setattr(self, 'odd name', x)
        setattr(self, 'größe', x)
        del self.n
        return self
def main():
    p = Plain(3)
    q = p
    p.add(4).__dict__.pop('größe')
    Plain.__name__ = 'Renamed'
    r = p
    Plain.__qualname__ = 'Renamed'
    p.items[0] = p.items
    p.items = None
    p.me = p
    return q
""",
    """
class Base:
    __slots__ = ('a', 'b')
class Slotted(Base):
    __slots__ = ['c', '__dict__']
    def __init__(self):
        self.b = 1
class Bare(Base):
    pass
def main():
    s = Slotted()
    s.c = [s.b]
    s.z = 2
    s.a = 'x'
    del s.b
    b = Bare()
    b.a = s
    b.extra = (b.a, 1)
    return s, b
""",
    """
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
class Colour(Enum):
    RED = 1
    BLUE = 'b'
class Pair(NamedTuple):
    x: int
    y: object
@dataclass
class Point:
    x: int
    y: int = 2
    hidden: list = field(default_factory=list, repr=False)
    tags: set = field(default_factory=set)
@dataclass(frozen=True, slots=True)
class Fixed:
    name: str
    inner: Point
class Child(Point):
    pass
def main():
    p = Point(1)
    p.hidden.append(2)
    p.tags.add('t')
    p.extra = 3
    f = Fixed('quo"te', p)
    c = Child(5, 6)
    del p.y
    colours = [Colour.RED, Colour.BLUE]
    pair = Pair(1, f)
    many = {f.name: [p, c], 'k': (p, {1: f})}
    p.x = many
    return colours[0]
""",
    """
import collections, functools, itertools, decimal, datetime, re
def gen(n):
    yield n
async def co():
    pass
class A:
    def method(self):
        return self
    @staticmethod
    def static():
        pass
def main():
    def inner(): return g
    g = gen(1)
    h = [inner, g, main, A, A().method, len, 'x'.upper, A.static, itertools.count(), iter([1]), int, type]
    inner.__qualname__ = 'other'
    c = co()
    c.close()
    d = collections.deque([A()], maxlen=3)
    e = collections.Counter('abca')
    f = collections.defaultdict(list, {1: [A]})
    p = functools.partial(inner, 1)
    m = re.match('a', 'abc')
    t = datetime.timedelta(1)
    n = decimal.Decimal('1.5')
    o = collections.OrderedDict(a=A())
    w = __import__('math')
    x = {1, 2.5, 'a'}, frozenset({(1, 'b')}), {3, 1, 2}, {'b', "a'"}, {None}, {True, 5}
    y = range(3), 3j, b'\\x00\\xff\\'', bytearray(b'x'), ..., NotImplemented, slice(1, 2), memoryview(b'')
    z = [1e100, float('nan'), -0.0, 10**40, -2**63, 2**63, 'tab\\t\\x7f\\u2028é', '\\ud800', 'x' * 3000]
    return e
""",
    """
class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next
class Loud:
    def __init__(self, log): self.log = log
    def __del__(self): self.log.append('gone')
    def __repr__(self): raise ValueError
class Meta(type):
    def __getattribute__(cls, name): raise ZeroDivisionError(name)
class Strange(metaclass=Meta):
    pass
class Text(str):
    def __repr__(self): return 'never'
class Sneaky(dict):
    def items(self): return [1]
def main():
    head = None
    for i in range(20):
        head = Node(i, head)
    tail = head
    while tail.next: tail = tail.next
    tail.next = head
    log = []
    loud = Loud(log)
    loud = Loud(log)
    loud = None
    for _ in range(2):
        loud = [Loud(log)]
    s = Strange()
    t = Text('abc')
    k = Sneaky(a=t)
    deep = []
    for _ in range(70):
        deep = [deep]
    return log
""",
]


@pytest.mark.parametrize("source", OBJECTS, ids=["plain", "slots", "dataclasses", "library", "strange"])
@pytest.mark.parametrize("value_bytes", [2_000, 150, 40])
def test_objects_are_shown_alike(source: str, value_bytes: int) -> None:
    needs_c()
    trace = both(Program(source, function="main"), limits=Limits(value_bytes=value_bytes, seconds=600), identity=True)
    assert len(trace.frames) > 8


def any_value(rng: random.Random, nesting: int = 0) -> object:
    """A value of any kind that the C core may write or cut by itself, of any length."""
    count = rng.choice([0, 1, 2, 5, 20, 300])
    makers = [
        lambda: rng.randrange(-(10 ** rng.randrange(1, 25)), 10 ** rng.randrange(1, 25)),
        lambda: "".join(rng.choice("ab'\"\\\né ") for _ in range(rng.choice([1, 3, 20, 60, 200]))),
        lambda: "a" * rng.choice([1, 10, 40, 47, 48, 49, 50, 100]),
        lambda: rng.random() * 10 ** rng.randrange(-5, 20),
        lambda: rng.choice([None, True, b"x" * count, 7, 3j, range(count)]),
        lambda: [any_value(rng, nesting + 1) for _ in range(count)],
        lambda: [rng.randrange(1000) for _ in range(20 * count)],
        lambda: tuple(any_value(rng, nesting + 1) for _ in range(min(count, 20))),
        lambda: {rng.choice([i, str(i) * rng.randrange(1, 30)]): any_value(rng, nesting + 1) for i in range(count)},
        lambda: {rng.randrange(10**6) for _ in range(20 * count)},
        lambda: frozenset(str(rng.randrange(10**6)) for _ in range(count)),
    ]
    return rng.choice(makers[: 5 if nesting > 2 else None])()


@pytest.mark.parametrize("seed", range(20))
def test_long_values_are_cut_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    needs_c()
    rng = random.Random(seed)
    monkeypatch.setattr(builtins, "cwm_values", [any_value(rng) for _ in range(8)], raising=False)
    source = "def main():\n    import builtins\n    for value in builtins.cwm_values:\n        same = value\n"
    for value_bytes in (32, 48, 60, 100, 333, 2_000):
        both(Program(source, function="main"), limits=Limits(value_bytes=value_bytes, seconds=600))


def test_the_choice_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.VARIABLE, raising=False)
    assert str(choose("python")) == "the Python core: it was asked for"
    monkeypatch.setenv(cores.VARIABLE, "python")
    assert choose().name == "python" and not choose().fell_back
    monkeypatch.setenv(cores.VARIABLE, "rust")
    with pytest.raises(CoreError, match="OPENCWM_CORE is 'rust': set it to one of auto, c, python"):
        choose()


def test_without_the_c_core_the_python_core_serves_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.VARIABLE, raising=False)
    monkeypatch.setattr(cores, "_loaded", None)
    monkeypatch.setitem(sys.modules, "opencwm.trace._core", None)
    chosen = choose()
    assert chosen.name == "python" and chosen.fell_back
    assert "the C core cannot be used: it is not built for Python 3." in str(chosen) and "pip install" in str(chosen)
    with pytest.raises(CoreError, match="the C core cannot be used: it is not built"):
        choose("c")
    assert str(record(Program("def f():\n    return 1\n", call="f()")).outcome) == "return"


WORK = """
import gc, weakref
class Node:
    def __init__(self, value):
        self.value, self.next = value, None
def gen(items):
    for item in items:
        yield item, str(item) * 3
def f(n):
    rows, counts, seen = [], {}, set()
    for number, text in gen(range(n)):
        rows.append((number, text, [number, float(number)]))
        counts[text] = counts.get(text, 0) + 1
        seen.add(number % 3)
        node = Node(rows[-1])
        try:
            {}[number]
        except KeyError as error:
            last = repr(error)
        rows = rows[-4:]
    return sorted(counts)
"""


def test_nothing_leaks() -> None:
    needs_c()
    program = Program(WORK, call="f(30)")
    for core in ("c",):
        for _ in range(3):
            record(program, core=core, steps=True, identity=True).frames  # noqa: B018
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        blocks = sys.getallocatedblocks()
        for _ in range(20):
            record(program, core=core, steps=True, identity=True).frames  # noqa: B018
            record(program, core=core, limits=Limits(frames=77), steps=True)  # frames never made
        gc.collect()
        more = sys.getallocatedblocks() - blocks
        grown = sum(item.size_diff for item in tracemalloc.take_snapshot().compare_to(before, "filename"))
        tracemalloc.stop()
        assert more < 2_000 and grown < 200_000, (more, grown)


def test_the_programs_objects_are_let_go() -> None:
    needs_c()
    kept = object()
    marks = [[], {}, 10**40, "a" * 50, (1, [2])]
    counts = [sys.getrefcount(mark) for mark in [*marks, kept]]
    source = "def f(marks, kept):\n    for mark in marks:\n        x = [mark, kept]\n        y = {1: mark}\n    return kept\n"
    program = Program(source + "def main():\n    import builtins\n    return f(*builtins.cwm_marks)\n", function="main")
    import builtins

    builtins.cwm_marks = (marks, kept)  # type: ignore[attr-defined]
    try:
        for frames in (4, 9, 10_000):
            for steps in (False, True):
                trace = record(program, core="c", limits=Limits(frames=frames), steps=steps)
                assert trace.frames
    finally:
        del builtins.cwm_marks  # type: ignore[attr-defined]
    assert [sys.getrefcount(mark) for mark in [*marks, kept]] == counts


def test_the_debug_allocator_finds_nothing() -> None:
    needs_c()
    code = f"""
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
program = Program({WORK!r}, call="f(20)")
for frames in (1, 5, 50, 10_000):
    for steps in (False, True):
        record(program, core="c", limits=Limits(frames=frames), steps=steps, identity=steps).frames
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, env={"PYTHONMALLOC": "debug"}
    )
    assert done.returncode == 0 and done.stdout == "fine\n", done.stderr[-2000:]
