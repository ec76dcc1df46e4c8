"""What may come next in a run in CWM's format: events, lines, names, from the readings that are still possible.

`Following` is fed frames as they are completed. Its answers are a superset of what can happen (the tests hold this on
real runs): control flow from the bytecode, handlers and `finally` included, names that the last line may have bound.

Notable choices:
- The format gives locals before the line they belong to, so candidates come as `Option`s, pairs of lines and names; a
  name that no option of the event allows next cannot be written, and when all names are, the lines are known.
- Names come in the interpreter's own order. What an activation showed last is shown again, unless the name may be
  unbound; new are only the names that its current line may bind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from opencwm.codec.flow import Scope
from opencwm.codec.tracking import Activation, Entry, Lines, Reading, Sighting, Tracker, lines_after
from opencwm.trace.frames import Event


@dataclass(frozen=True, slots=True)
class Option:
    """Lines that a frame may be at, and the names it may show. `order` None: `optional` in any order."""

    lines: Lines
    order: tuple[str, ...] | None = ()
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    activation: Activation | None = None

    def next_names(self, shown: Sequence[str]) -> tuple[frozenset[str], bool] | None:
        """Names that may come after those shown, and whether none need to; None where these do not fit."""
        taken = set(shown)
        if self.order is None:
            fits = taken <= self.required | self.optional
            return (self.required | self.optional) - taken, self.required <= taken if fits else False
        position = 0
        for name in shown:
            while position < len(self.order) and self.order[position] != name:
                if self.order[position] in self.required:
                    return None
                position += 1
            if position == len(self.order) or name not in self.required | self.optional:
                return None
            position += 1
        found: set[str] = set()
        for name in self.order[position:]:
            if name in self.required:
                found.add(name)
                return frozenset(found), False
            if name in self.optional:
                found.add(name)
        return frozenset(found), True


class Following:
    """A run so far. `callees(line)` gives lines that a call from a line may point at."""

    def __init__(self, tracker: Tracker, entry_line: int, callees: Callable[[int], Sequence[int]]) -> None:
        self._tracker, self._entry_line, self._callees = tracker, entry_line, callees
        self._readings = tracker.begin()
        self._shown: dict[Activation, tuple[str, ...]] = {}
        self._options: dict[Event, list[Option]] | None = None
        self.known: dict[str, Activation] = {}  # names of which `..` may be the value, and whose they are

    @property
    def may_end(self) -> bool:
        """Whether the entry's run may be over."""
        started = self._readings[0].spot is not None
        return started and any(reading.top is None for reading in self._readings)

    def options(self, event: Event) -> list[Option]:
        """What a frame of that event may be; empty where there can be none."""
        if self._options is None:
            self._options = {"call": [], "line": [], "return": [], "exception": []}
            if self._readings[0].spot is None:
                self._options["call"] = list(self._started([self._entry_line]))
            for reading in self._readings:
                if reading.top is not None:
                    for kind, option in self._after(reading, reading.top):
                        self._options[kind].append(option)
        return self._options[event]

    def push(self, sighting: Sighting, repeated: bool) -> None:
        """Take a frame. `repeated`: one of its values is `..`, so it is of the activation of the frame before."""
        following = self._tracker.follow(self._readings, sighting)
        if repeated:
            owners = set(self.known.values())
            following = [r for r in following if r.spot is not None and r.spot.activation in owners] or following
        self._readings = following
        self._options = None
        if sighting.event == "return":
            self.known = {}
        elif sighting.event in ("call", "line"):
            kept = {} if sighting.event == "call" else self.known
            spots = [reading.spot for reading in following if reading.spot is not None]
            activations = dict.fromkeys(spot.activation for spot in spots)  # likelier ones first
            owner = next(iter(activations), None)
            self.known = {name: who for name, who in kept.items() if who in activations}
            for activation in activations:
                self._shown[activation] = tuple(sighting.locals)
            if owner is not None:
                self.known |= dict.fromkeys(sighting.locals, owner)

    def _after(self, reading: Reading, top: Entry) -> Iterator[tuple[Event, Option]]:
        texts = self._tracker.lines_of
        follows = lines_after(top)
        lines = texts_union(texts) if follows is None else frozenset().union(*map(follows, top.lines))
        if lines:
            yield "line", self._option(top.activation, lines, top.lines)
        scope = top.activation.scope
        on = top.mode != "fresh" or scope is None
        silent = top.lines
        if top.mode == "raised" and scope is not None:
            silent = frozenset(line for line in top.lines if scope.raised(line).silent)
        if on and silent:
            leaving = silent if scope is None else frozenset(line for line in silent if scope.may_return(line))
            if leaving:
                yield "return", Option(leaving)
            called = {line for at in silent for line in self._callees(at)}
            for option in self._started(sorted(called), top.activation.scope):
                yield "call", option
            for entry in reading.suspended:
                if entry.lines & called or scope is None:
                    yield "call", self._option(entry.activation, entry.lines, entry.lines)
        if top.mode != "raised" or silent:
            raising = top.lines if top.mode == "fresh" or scope is None else self._raising(scope, silent)
            if raising:
                yield "exception", Option(raising)

    @staticmethod
    def _raising(scope: Scope, lines: Lines) -> Lines:
        found = ((line, scope.raised(line)) for line in lines)
        return frozenset(line for line, raised in found if raised.lines or raised.silent or raised.escapes)

    def _option(self, activation: Activation, lines: Lines, current: Lines) -> Option:
        """A frame of an activation that is at `current` lines."""
        scope = activation.scope
        shown = frozenset(self._shown.get(activation, ()))
        if scope is None:
            return Option(lines, None, frozenset(), self._words, activation)
        bound = frozenset().union(*(scope.bound(line) for line in current)) if current else frozenset()
        fresh = shown <= set(scope.arguments) | set(scope.free)
        if fresh:
            bound |= scope.bound(scope.line)
        if scope.is_class:
            return Option(lines, None, frozenset(), shown | frozenset(scope.names), activation)
        required = shown - scope.fleeting
        return Option(lines, scope.names, required, (shown | bound) - required, activation)

    def _started(self, lines: Sequence[int], caller: Scope | None = None) -> Iterator[Option]:
        """Calls of what starts at `lines`."""
        flow = self._tracker.flow
        for line in lines:
            scopes = [scope for scope in flow.scopes if scope.line == line] if flow else []
            for scope in scopes:
                if scope.is_eager and scope.parent is not caller:
                    continue
                if scope.is_class:
                    yield Option(frozenset({line}), None, frozenset(), frozenset(scope.names))
                else:
                    yield Option(frozenset({line}), scope.names, frozenset(scope.arguments), frozenset(scope.free))
            if not scopes and not flow:
                yield Option(frozenset({line}), None, frozenset(), self._words)

    @property
    def _words(self) -> frozenset[str]:
        import re

        return frozenset(re.findall(r"[^\W\d]\w*", self._tracker.context))


def texts_union(texts: dict[str, Lines]) -> Lines:
    """All lines."""
    return frozenset().union(*texts.values())
