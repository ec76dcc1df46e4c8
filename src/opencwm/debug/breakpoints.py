"""Where a walk stops on its way: at a line, a function, an exception, a change of a name, or where the model is unsure.

Notable choices:
- Conditions are evaluated on the frame's values; nothing of the program runs. One that cannot be answered stops, and
  its message says why: a breakpoint that silently never stops is worse.
- The "3rd time" of a hit count is counted over the run, not over the walk, so it means the same place forwards and
  backwards.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from opencwm.debug.index import Numbers, has
from opencwm.debug.lookup import LookupFailed, holds, look_up
from opencwm.debug.timeline import Timeline

Kind = Literal["line", "function", "exception", "data", "unsure"]

HITS = r"\s*(==|>=|>|%)?\s*([1-9]\d{0,8})\s*"


class BreakpointError(ValueError):
    """A breakpoint that cannot be; the message is one line."""


@dataclass(slots=True)
class Breakpoint:
    """One breakpoint.

    `line` for kind line; `function` for function and (optionally) data; `name` for data; `only` is "uncaught" or None
    for exception; `below` the probability for unsure. `hits` is `N`, `==N`, `>N`, `>=N` or `%N`. With `log`, a text
    with expressions in braces, it never stops but says that. `message` is what the latest condition had to say.
    """

    number: int
    kind: Kind
    line: int = 0
    function: str | None = None
    name: str = ""
    only: str | None = None
    below: float = 0.0
    condition: str | None = None
    hits: str | None = None
    log: str | None = None
    enabled: bool = True
    temporary: bool = False
    message: str = ""

    def __str__(self) -> str:
        what = {
            "line": f"line {self.line}",
            "function": f"function {self.function}",
            "exception": f"{self.only or 'any'} exception",
            "data": f"changes of {self.name}" + (f" in {self.function}" if self.function else ""),
            "unsure": f"frames less sure than {self.below:g}",
        }[self.kind]
        what += f" if {self.condition}" if self.condition else ""
        what += f", hits {self.hits}" if self.hits else ""
        return what + ("" if self.enabled else " (disabled)") + (" (once)" if self.temporary else "")


class Breakpoints:
    """The breakpoints of a session, in the order of their numbers; they interrupt its timelines."""

    def __init__(self) -> None:
        self.all: dict[int, Breakpoint] = {}
        self.logged: list[str] = []
        self.hit: list[Breakpoint] = []
        self._next = 1
        self._unsure: WeakKeyDictionary[Timeline, dict[float, tuple[list[int], int]]] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[Breakpoint]:
        return iter(list(self.all.values()))  # another thread may set one meanwhile

    def add(self, kind: Kind, **fields: object) -> Breakpoint:
        """A new breakpoint. Raises BreakpointError for a condition or hit count that cannot be read."""
        point = Breakpoint(self._next, kind, **fields)  # type: ignore[arg-type]
        self.check(point.condition, point.hits)
        self.all[point.number] = point
        self._next += 1
        return point

    @staticmethod
    def check(condition: str | None, hits: str | None) -> None:
        """Raise BreakpointError for a condition or a hit count that cannot be read."""
        if condition is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    compile(condition.strip(), "<condition>", "eval")
                except (SyntaxError, ValueError, MemoryError, RecursionError):
                    raise BreakpointError(f"the condition {condition!r} is not an expression") from None
        if hits is not None and not re.fullmatch(HITS, hits):
            raise BreakpointError(f"the hit count {hits!r} is none of: 3, ==3, >3, >=3, %3")

    def get(self, number: int) -> Breakpoint:
        """Raises BreakpointError if there is none of that number."""
        if number not in self.all:
            raise BreakpointError(f"no breakpoint {number}; there are: {', '.join(map(str, self.all)) or 'none'}")
        return self.all[number]

    def remove(self, number: int) -> Breakpoint:
        """Raises BreakpointError if there is none of that number."""
        point = self.get(number)
        del self.all[number]
        return point

    # What a timeline asks

    def lists(self, timeline: Timeline) -> Iterable[Numbers]:
        """See `Interrupts`."""
        self.hit = []
        return [numbers for point in self if point.enabled for numbers in self._numbers(point, timeline)]

    def stops(self, timeline: Timeline, number: int) -> bool:
        """See `Interrupts`; `hit` then holds the breakpoints that want to stop here, and temporary ones are gone."""
        self.hit = []
        for point in list(self):
            if point.enabled and self._concerns(point, timeline, number) and self._wants(point, timeline, number):
                if point.log is not None:
                    self.logged.append(_filled(point.log, timeline, number))
                    continue
                self.hit.append(point)
                if point.temporary:
                    del self.all[point.number]
        return bool(self.hit)

    def _numbers(self, point: Breakpoint, timeline: Timeline) -> list[Numbers]:
        index = timeline.index
        match point.kind:
            case "line":
                return [index.at_line[point.line]] if point.line in index.at_line else []
            case "function":
                return [index.calls[name] for name in index.named(point.function or "")]
            case "exception":
                return [index.exceptions]
            case "data":
                return [
                    numbers
                    for (function, name), numbers in index.changes.items()
                    if name == point.name and point.function in (None, function)
                ]
        return [self._unsure_in(timeline, point.below)]

    def _unsure_in(self, timeline: Timeline, below: float) -> list[int]:
        cache = self._unsure.setdefault(timeline, {})
        numbers, seen = cache.get(below, ([], 0))
        for number in range(seen, timeline.known):
            if timeline.predictions[number].probability < below:
                numbers.append(number)
        cache[below] = numbers, timeline.known
        return numbers

    def _concerns(self, point: Breakpoint, timeline: Timeline, number: int) -> bool:
        frame = timeline.predictions[number].frame
        match point.kind:
            case "line":
                return frame.line == point.line and frame.event in ("call", "line")
            case "exception" if frame.event == "exception":
                if point.only == "uncaught":
                    return frame.depth == 0
                former = timeline.predictions[number - 1].frame if number else None
                return former is None or former.event != "exception" or former.depth <= frame.depth
            case "unsure":
                return timeline.predictions[number].probability < point.below
        return any(has(numbers, number) for numbers in self._numbers(point, timeline))

    def _wants(self, point: Breakpoint, timeline: Timeline, number: int) -> bool:
        point.message = ""
        if point.hits is not None and not _counted(point.hits, self._rank(point, timeline, number)):
            return False
        if point.condition is None:
            return True
        names = names_at(timeline, number)
        try:
            return holds(point.condition, names)
        except LookupFailed as error:
            point.message = f"cannot answer {point.condition!r} here: {error}"
            return True

    def _rank(self, point: Breakpoint, timeline: Timeline, number: int) -> int:
        return sum(bisect_right(numbers, number) for numbers in self._numbers(point, timeline))


def names_at(timeline: Timeline, number: int) -> dict[str, str]:
    """What expressions see at a frame: its locals, and what is returned or raised as `__return__`, `__exception__`."""
    frame = timeline.prediction_at(number).frame
    names = dict(timeline.locals_at(number))
    if frame.value is not None:
        names["__exception__" if frame.event == "exception" else "__return__"] = frame.value
    return names


def _counted(hits: str, rank: int) -> bool:
    found = re.fullmatch(HITS, hits)
    assert found is not None
    sign, count = found[1] or "==", int(found[2])
    return {"==": rank == count, ">=": rank >= count, ">": rank > count, "%": rank % count == 0}[sign]


def _filled(template: str, timeline: Timeline, number: int) -> str:
    names = names_at(timeline, number)

    def value(found: re.Match[str]) -> str:
        try:
            return look_up(found[1], names)
        except LookupFailed as error:
            return f"<{error}>"

    return re.sub(r"\{([^{}]+)\}", value, template)
