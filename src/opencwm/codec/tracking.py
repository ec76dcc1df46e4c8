"""What CWM's format leaves out of a run: which function each frame belongs to, how deep, and which of several lines of
the same text it means. All of it is recovered from the calls and returns and from the context's control flow.

Frames are read once, with every reading that is still possible kept side by side: a `Reading` is a call stack of
activations, each with the set of lines that it can be at. Readings fork where a text fits several functions, and at an
exception, which may be handled or leave the activation; what follows decides. When all frames are read, the lines of
each activation are resolved backwards over the sets, and the smallest line is taken among equals.

Notable choices:
- Predicted runs may do what control flow forbids. A frame that no reading explains is placed by its text alone, at a
  penalty, so a wrong prediction can still be shown and compared; only a text that is no line of the context, and
  frames outside the entry's activation, are errors.
- A context that does not compile (for another Python version, say) has no scopes: then the text alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from opencwm.codec.errors import CodecError
from opencwm.codec.flow import ControlFlow, Scope
from opencwm.trace.frames import Event

MOST_READINGS = 32
MOST_SUSPENDED = 64
_OPENINGS: dict[str, str | tuple[str, ...]] = {"<listcomp>": "[", "<setcomp>": ("{", "set("), "<dictcomp>": "{"}
RELAXED = 100  # penalty of a frame that control flow does not explain

Mode = Literal["fresh", "on", "raised"]
Lines = frozenset[int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame as the format has it: the text of its line, its locals and value, where that text is in the input."""

    event: Event
    text: str
    locals: dict[str, str]
    value: str | None
    offset: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame belongs. `activation` numbers the activations of the run in order of their first call."""

    line: int
    function: str
    depth: int
    activation: int


@dataclass(eq=False, slots=True)
class Activation:
    scope: Scope | None
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """An activation on the stack. `key` is equal for entries with equal futures."""

    activation: Activation
    lines: Lines
    mode: Mode
    below: Entry | None
    depth: int
    key: int


@dataclass(frozen=True, eq=False, slots=True)
class _Spot:
    """Where a reading puts one frame. `follows` gives the lines that may come after a line of the spot before it in
    the same activation; None stands for any."""

    activation: Activation
    lines: Lines
    depth: int
    follows: Callable[[int], Lines] | None


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    back: Reading | None
    spot: _Spot | None
    top: Entry | None
    suspended: tuple[Entry, ...] = ()
    penalty: int = 0


def _any(reading: Reading) -> bool:
    return True


def _running(reading: Reading) -> bool:
    return reading.top is not None


def _over(reading: Reading) -> bool:
    return reading.top is None


@dataclass(slots=True)
class Tracker:
    """Places the frames of runs of one context."""

    context: str
    entry_line: int
    lines_of: dict[str, Lines] = field(init=False)
    flow: ControlFlow | None = field(init=False)
    _started: dict[int, list[Scope]] = field(init=False, default_factory=dict)
    _keys: dict[tuple[object, ...], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        found: dict[str, set[int]] = {}
        for number, text in enumerate(self.context.split("\n"), 1):
            found.setdefault(text, set()).add(number)
        self.lines_of = {text: frozenset(lines) for text, lines in found.items()}
        try:
            self.flow = ControlFlow(self.context)
        except SyntaxError:
            self.flow = None
        for scope in self.flow.scopes if self.flow else ():
            self._started.setdefault(scope.line, []).append(scope)
        for scopes in self._started.values():
            scopes.sort(key=lambda scope: not scope.is_eager)  # likelier where several fit: they run at once

    def place(self, sightings: Sequence[Sighting], *, ended: bool, end_offset: int) -> list[Place]:
        """Places of all frames. `ended`: the last frame leaves the entry. Raises CodecError with the frame's offset."""
        readings = self.begin()
        for index, sighting in enumerate(sightings):
            last = index + 1 == len(sightings)
            following = self.follow(readings, sighting, _over if last and ended else _any if last else _running)
            if not following:
                raise CodecError(
                    "expected the return or exception that ends the entry's run as the last frame",
                    end_offset if last else sightings[index + 1].offset,
                )
            readings = following
        best = min(readings, key=lambda reading: reading.penalty)  # the first among equals
        return _resolve(best)

    def begin(self) -> list[Reading]:
        """The one reading of no frames."""
        return [Reading(None, None, None)]

    def follow(
        self, readings: Sequence[Reading], sighting: Sighting, wanted: Callable[[Reading], bool] = _any
    ) -> list[Reading]:
        """The `wanted` readings of one more frame: those that control flow allows, else by the text alone.

        Raises CodecError for a text that is no line of the context, and for a first frame that does not call the entry.
        """
        if sighting.text not in self.lines_of:
            raise CodecError(f"expected a line of the context, found {sighting.text!r}", sighting.offset)
        first = readings[0].spot is None
        if first and (sighting.event != "call" or self.entry_line not in self.lines_of[sighting.text]):
            raise CodecError("expected the call of the entry, the marked line", sighting.offset)
        for attempt in (self._explained, self._by_text):
            following = [new for before in readings for new in attempt(before, sighting, first) if wanted(new)]
            if following:
                return _distinct(following)
        return []

    def _explained(self, reading: Reading, sighting: Sighting, first: bool) -> Iterator[Reading]:
        """Readings that control flow allows after `reading`, likelier ones first."""
        if first:
            yield from self._entry(reading, sighting)
        elif reading.top is not None:
            if sighting.event == "call":
                yield from self._call(reading, reading.top, sighting)
            elif sighting.event == "line":
                yield from self._line(reading, reading.top, sighting)
            else:
                yield from self._leave(reading, reading.top, sighting)

    def _entry(self, reading: Reading, sighting: Sighting) -> Iterator[Reading]:
        scopes = self._started.get(self.entry_line, [])
        yield self._start(reading, None, scopes[0] if scopes else None, self.entry_line, sighting)

    def _call(self, reading: Reading, top: Entry, sighting: Sighting) -> Iterator[Reading]:
        if top.mode == "raised":
            top = self._entry_at(top, _where(top, lambda scope, line: scope.raised(line).silent), "on")
            if not top.lines:
                return
        elif top.mode == "fresh" and top.activation.scope is not None:
            return
        lines = self.lines_of[sighting.text]
        names = sighting.locals.keys()
        seen = set()
        for entry in reversed(reading.suspended):
            resumed = entry.lines & lines
            owner = entry.activation.scope
            if resumed and _has(owner, names) and (entry.activation.name, resumed) not in seen:
                seen.add((entry.activation.name, resumed))
                rest = tuple(other for other in reading.suspended if other is not entry)
                spot = _Spot(entry.activation, resumed, top.depth + 1, _same)
                new = self._push(entry.activation, resumed, "on", top)
                # A suspended generator expression has bound what it loops over.
                unlikely = owner is not None and owner.name.endswith("<genexpr>") and names <= set(owner.free)
                yield Reading(reading, spot, new, rest, reading.penalty + int(unlikely))
        for line in sorted(lines):
            for callee in self._started.get(line, ()):
                bound = names >= set(callee.arguments) and names <= {*callee.arguments, *callee.free}
                belongs = callee.parent is top.activation.scope
                if (bound or callee.is_class) and (belongs or not callee.is_eager):
                    unlikely = not belongs and callee.name.endswith("<genexpr>")
                    unlikely = unlikely or _other_class(callee, sighting.locals)
                    yield self._start(reading, top, callee, line, sighting, penalty=int(unlikely))
        if self.flow is None:
            yield self._start(reading, top, None, min(lines), sighting)

    def _start(
        self,
        reading: Reading,
        top: Entry | None,
        scope: Scope | None,
        line: int,
        sighting: Sighting,
        *,
        penalty: int = 0,
    ) -> Reading:
        """`reading` with a new activation above `top`."""
        activation = Activation(scope, scope.name if scope else _name(sighting.text))
        new = self._push(activation, frozenset({line}), "fresh", top)
        spot = _Spot(activation, new.lines, new.depth, None)
        return Reading(reading, spot, new, reading.suspended, reading.penalty + penalty)

    def _line(self, reading: Reading, top: Entry, sighting: Sighting) -> Iterator[Reading]:
        follows = lines_after(top)
        lines = self.lines_of[sighting.text]
        if follows is not None:
            lines &= frozenset().union(*map(follows, top.lines))
        if lines and _has(top.activation.scope, sighting.locals.keys()):
            spot = _Spot(top.activation, lines, top.depth, follows)
            new = self._push(top.activation, lines, "on", top.below)
            yield Reading(reading, spot, new, reading.suspended, reading.penalty)

    def _leave(self, reading: Reading, top: Entry, sighting: Sighting) -> Iterator[Reading]:
        """A `return` or `exception` frame at the current line."""
        lines = self.lines_of[sighting.text]
        if top.activation.scope is not None:
            lines &= top.lines
            if top.mode == "raised":
                lines = _where(self._entry_at(top, lines, "on"), lambda scope, line: scope.raised(line).silent)
            if sighting.event == "return":
                opening = _OPENINGS.get(top.activation.name.rpartition(".")[2], "")
                if top.mode == "fresh" or not (sighting.value or "").startswith(opening):
                    return
        if lines:
            yield from self._left(reading, top, lines, sighting, _same if top.activation.scope else None)

    def _left(
        self, reading: Reading, top: Entry, lines: Lines, sighting: Sighting, follows: Callable[[int], Lines] | None
    ) -> Iterator[Reading]:
        here, depth, scope = self._entry_at(top, lines, "on"), top.depth, top.activation.scope
        if sighting.event == "exception":
            handled = _where(here, lambda scope, line: bool(scope.raised(line).lines) or scope.raised(line).silent)
            escaped = _where(here, lambda scope, line: scope.raised(line).escapes)
            if top.mode == "fresh":  # before its first line: nothing can handle it there
                handled, escaped = frozenset(), lines
            if handled:
                spot = _Spot(top.activation, handled, depth, follows)
                new = self._entry_at(top, handled, "raised")
                yield Reading(reading, spot, new, reading.suspended, reading.penalty)
            if escaped:
                spot = _Spot(top.activation, escaped, depth, follows)
                yield Reading(reading, spot, top.below, reading.suspended, reading.penalty)
            return
        lines = _where(here, lambda scope, line: scope.may_return(line)) or lines
        suspended = reading.suspended
        waiting = lines & scope.suspension_lines if scope is not None else frozenset()
        if waiting:
            suspended = (*suspended, self._push(top.activation, waiting, "on", None))[-MOST_SUSPENDED:]
        yield Reading(reading, _Spot(top.activation, lines, depth, follows), top.below, suspended, reading.penalty)

    def _by_text(self, reading: Reading, sighting: Sighting, first: bool) -> Iterator[Reading]:
        """Readings by the text alone, for a frame that control flow does not explain."""
        top, lines, penalty = reading.top, self.lines_of[sighting.text], reading.penalty + RELAXED
        if first or top is None:
            return
        if sighting.event == "call":
            started = [(line, scope) for line in sorted(lines) for scope in self._started.get(line, ())]
            for line, callee in started:
                yield self._start(reading, top, callee, line, sighting, penalty=RELAXED)
            resumed = [callee for callee in (self.flow.scopes if self.flow else ()) if callee.suspension_lines & lines]
            for callee in () if started else resumed:
                activation, at = Activation(callee, callee.name), callee.suspension_lines & lines
                new = self._push(activation, at, "on", top)
                yield Reading(reading, _Spot(activation, at, new.depth, None), new, reading.suspended, penalty)
            if not started and not resumed:
                yield self._start(reading, top, None, min(lines), sighting, penalty=RELAXED)
        elif sighting.event == "line":
            entry: Entry | None = top
            while entry is not None:  # what is above it was left, for whatever reason
                scope = entry.activation.scope
                at = lines & scope.lines if scope is not None else lines
                if at or entry is top:
                    cost = penalty + top.depth - entry.depth + (0 if at else RELAXED)
                    at = at or lines
                    spot, new = _Spot(entry.activation, at, entry.depth, None), self._entry_at(entry, at, "on")
                    yield Reading(reading, spot, new, reading.suspended, cost)
                entry = entry.below
        else:
            owner = top.activation.scope
            at = (lines & owner.lines if owner is not None else lines) or lines
            spot = _Spot(top.activation, at, top.depth, None)
            if sighting.event == "exception":
                yield Reading(reading, spot, self._entry_at(top, at, "on"), reading.suspended, penalty)
            yield Reading(reading, spot, top.below, reading.suspended, penalty)

    def _entry_at(self, entry: Entry, lines: Lines, mode: Mode) -> Entry:
        return self._push(entry.activation, lines, mode, entry.below)

    def _push(self, activation: Activation, lines: Lines, mode: Mode, below: Entry | None) -> Entry:
        owner: object = id(activation.scope) if activation.scope is not None else activation.name
        future = (below.key if below is not None else -1, owner, lines, mode)
        key = self._keys.setdefault(future, len(self._keys))
        return Entry(activation, lines, mode, below, below.depth + 1 if below is not None else 0, key)


def _has(scope: Scope | None, names: Set[str]) -> bool:
    """Whether a frame of the scope can show these names; a class body can show any."""
    return scope is None or scope.is_class or names <= set(scope.names)


def _same(line: int) -> Lines:
    return frozenset({line})


def lines_after(entry: Entry) -> Callable[[int], Lines] | None:
    """What gives the lines whose `line` frame may follow the entry's current one."""
    scope = entry.activation.scope
    if scope is None:
        return None
    if entry.mode == "fresh":
        return lambda line: scope.entries()
    if entry.mode == "on":
        return scope.successors
    return lambda line: scope.raised(line).lines | (scope.successors(line) if scope.raised(line).silent else set())


def _where(entry: Entry, holds: Callable[[Scope, int], bool]) -> Lines:
    """The entry's lines for which `holds`; all of them where there is no scope to ask."""
    scope = entry.activation.scope
    return entry.lines if scope is None else frozenset(line for line in entry.lines if holds(scope, line))


def _name(text: str) -> str:
    """The name of a function whose scope is unknown, from the text of its line."""
    found = re.match(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)", text)
    return found[1] if found else "<unknown>"


def _other_class(scope: Scope, values: dict[str, str]) -> bool:
    """Whether the first argument looks like an instance of another class than the one that has this method."""
    head, _, method = scope.name.rpartition(".")
    if not head or not method.isidentifier() or head.endswith("<locals>") or not scope.arguments:
        return False
    found = re.match(r"(\w+)\(|<class (\w+)>", values.get(scope.arguments[0], ""))
    return found is not None and (found[1] or found[2]) != head.rpartition(".")[2]


def _distinct(readings: list[Reading]) -> list[Reading]:
    """Readings with different futures, the best of each."""
    if len(readings) == 1:
        return readings
    best: dict[tuple[int, ...], Reading] = {}
    for reading in sorted(readings, key=lambda reading: reading.penalty):
        key = (reading.top.key if reading.top is not None else -1, *(entry.key for entry in reading.suspended))
        best.setdefault(key, reading)
    return list(best.values())[:MOST_READINGS]


def _resolve(reading: Reading) -> list[Place]:
    """One line for each frame: those that lead on to the end, and the smallest of them."""
    spots: list[_Spot] = []
    at: Reading | None = reading
    while at is not None and at.spot is not None:
        spots.append(at.spot)
        at = at.back
    spots.reverse()
    by_activation: dict[int, list[int]] = {}
    for index, spot in enumerate(spots):
        by_activation.setdefault(id(spot.activation), []).append(index)
    places: list[Place | None] = [None] * len(spots)
    for number, indices in enumerate(by_activation.values()):
        allowed = [spots[index].lines for index in indices]
        for k in range(len(indices) - 1, 0, -1):
            follows = spots[indices[k]].follows
            if follows is not None:
                allowed[k - 1] = frozenset(line for line in allowed[k - 1] if follows(line) & allowed[k])
        line = 0
        for k, index in enumerate(indices):
            spot = spots[index]
            possible = allowed[k]
            if k and spot.follows is not None:
                possible = possible & spot.follows(line)
            line = min(possible)
            places[index] = Place(line, spot.activation.name, spot.depth, number)
    return [place for place in places if place is not None]
