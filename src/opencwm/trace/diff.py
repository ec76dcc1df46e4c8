"""Two real runs of one program before and after an edit: the first state that parts, and the lines that led there.

    found = diff(old, new)
    found.parting   # where: frames of both, and what differs
    found.chain     # why: from the edited line (or where the difference arises) to the parting, in the new run

Notable choices:
- Lines are aligned by the text of the two sources, frames by aligned line, event, function and depth. A line that only
  one source has may run without parting anything; what parts is a value of a shared name, a way taken, or an end.
- The chain goes backwards from the parting: the line that last wrote the value, then what that line read that differs
  too (through calls and returns), until a line that was edited or nothing differs any more.
- Frame by frame as recorded: no heuristics about what an edit means. The search for the next common frame looks ahead a
  bounded number of frames.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from opencwm.trace.frames import Frame, Trace

_AHEAD = 400
_LONGEST_CHAIN = 30

Kind = Literal["state", "way", "value", "end"]


@dataclass(frozen=True, slots=True)
class Change:
    """One name (None: the returned or raised value) with its text in both runs; None where it is not there."""

    name: str | None
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Parting:
    """The first frames that part: `old` and `new` are their indices (None: that run has ended)."""

    kind: Kind
    old: int | None
    new: int | None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """One step towards the parting: a frame of the new run whose line did it, and what it made differ."""

    frame: int
    line: int
    edited: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """`pairs` are aligned frame indices (None where only one run has the frame); `parting` is None if nothing parts."""

    pairs: tuple[tuple[int | None, int | None], ...]
    parting: Parting | None
    chain: tuple[Link, ...] = ()


def diff(old: Trace, new: Trace) -> Diff:
    """Align two traces; find where they part, and why."""
    lines = _Lines(old.context, new.context)
    pairs = tuple(_pairs(old, new, lines))
    parting = _parting(old, new, pairs, lines)
    if parting is None:
        return Diff(pairs, None)
    return Diff(pairs, parting, tuple(_Search(old, new, pairs, lines).chain(parting)))


class _Lines:
    """Which line of the new source is which of the old one."""

    def __init__(self, old: str, new: str) -> None:
        self.new_of: dict[int, int] = {}
        self.edited: set[int] = set()  # lines of the new source without an equal one
        self.edited_old: set[int] = set()
        self.olds, self.news = old.split("\n"), new.split("\n")
        matcher = difflib.SequenceMatcher(None, self.olds, self.news, autojunk=False)
        for tag, i, i_end, j, j_end in matcher.get_opcodes():
            if tag == "equal" or (tag == "replace" and i_end - i == j_end - j):
                self.new_of |= {i + at + 1: j + at + 1 for at in range(i_end - i)}
            if tag != "equal":
                self.edited |= set(range(j + 1, j_end + 1))
                self.edited_old |= set(range(i + 1, i_end + 1))

    def only_old(self, frame: Frame) -> bool:
        """Whether a frame is on a line that the edit took away or changed."""
        return frame.event == "line" and frame.line in self.edited_old

    def only_new(self, frame: Frame) -> bool:
        """Whether a frame is on a line that the edit added or changed."""
        return frame.event == "line" and frame.line in self.edited

    def same(self, one: Frame, other: Frame) -> bool:
        """Whether two frames are at the same place."""
        if one.event != other.event or one.depth != other.depth or one.function != other.function:
            return False
        if one.event in ("return", "exception"):
            return True  # where it leaves may have moved with the edit; what it leaves with is compared
        return self.new_of.get(one.line) == other.line


def _pairs(old: Trace, new: Trace, lines: _Lines) -> Iterator[tuple[int | None, int | None]]:
    i = j = 0
    ones, others = old.frames, new.frames
    while i < len(ones) and j < len(others):
        if lines.same(ones[i], others[j]):
            yield i, j
            i, j = i + 1, j + 1
            continue
        step = _nearest(old, new, i, j, lines)
        if step is None:
            break
        yield from ((i + at, None) for at in range(step[0]))
        yield from ((None, j + at) for at in range(step[1]))
        i, j = i + step[0], j + step[1]
    yield from ((at, None) for at in range(i, len(ones)))
    yield from ((None, at) for at in range(j, len(others)))


def _nearest(old: Trace, new: Trace, i: int, j: int, lines: _Lines) -> tuple[int, int] | None:
    """How far to go in both runs to the nearest place where they are together again for two frames."""
    ones, others = old.frames[i : i + _AHEAD + 2], new.frames[j : j + _AHEAD + 2]
    for distance in range(1, _AHEAD):
        for ahead in range(max(0, distance - len(others) + 1), min(distance, len(ones) - 1) + 1):
            behind = distance - ahead
            if behind < len(others) and lines.same(ones[ahead], others[behind]):
                last = ahead + 1 >= len(ones) or behind + 1 >= len(others)
                if last or lines.same(ones[ahead + 1], others[behind + 1]) or distance <= 2:
                    return ahead, behind
    return None


def _parting(old: Trace, new: Trace, pairs: tuple[tuple[int | None, int | None], ...], lines: _Lines) -> Parting | None:
    """The first pair that differs in more than the edit itself."""
    for i, j in pairs:
        if i is not None and j is not None:
            one, other = old.frames[i], new.frames[j]
            shared = [name for name in one.locals if name in other.locals]
            changes = tuple(
                Change(name, one.locals[name], other.locals[name])
                for name in shared
                if one.locals[name] != other.locals[name]
            )
            if changes:
                return Parting("state", i, j, changes)
            if one.value != other.value:
                return Parting("value", i, j, (Change(None, one.value, other.value),))
        elif i is not None and not lines.only_old(old.frames[i]):
            return Parting("way", i, _partner(pairs, i, None))
        elif j is not None and not lines.only_new(new.frames[j]):
            return Parting("way", _partner(pairs, None, j), j)
    if old.outcome != new.outcome:
        return Parting("end", len(old.frames) - 1, len(new.frames) - 1)
    return None


def _partner(pairs: tuple[tuple[int | None, int | None], ...], i: int | None, j: int | None) -> int | None:
    """Where the other run is when one takes a way of its own: its next frame."""
    at = pairs.index((i, j))
    for other_i, other_j in pairs[at:]:
        found = other_j if j is None else other_i
        if found is not None:
            return found
    return None


@dataclass
class _Search:
    """Looks for what made the runs part, backwards through the new run."""

    old: Trace
    new: Trace
    pairs: tuple[tuple[int | None, int | None], ...]
    lines: _Lines
    seen: set[tuple[int, str | None]] = field(default_factory=set)
    end: int = 0  # where the runs part

    def __post_init__(self) -> None:
        self.old_of = {j: i for i, j in self.pairs if i is not None and j is not None}
        self.statements = _statements(self.new.context)
        self.activation: list[int] = []
        stack: list[int] = []
        for index, frame in enumerate(self.new.frames):
            del stack[frame.depth + (frame.event != "call") :]
            if frame.event == "call" or not stack:
                stack.append(index)
            self.activation.append(stack[-1])

    def chain(self, parting: Parting) -> list[Link]:
        """The links, the first cause first."""
        if parting.new is None:
            return []
        links: dict[int, Link] = {}
        frame = self.end = parting.new
        if parting.kind in ("way", "end"):
            at = next(index for index, (_, j) in enumerate(self.pairs) if j == frame)
            alone = [j for j in self._alone(at) if j <= frame]
            causes: list[int | None] = [j for j in alone if self.new.frames[j].line in self.lines.edited]
            for cause in causes or [self._line_before(frame)]:
                self._explain(cause, (), links)
        elif parting.kind == "value":
            self._explain(self._line_before(frame), parting.changes, links)
        else:
            for change in parting.changes:
                self._wrote(frame, change, links)
        return [links[at] for at in sorted(links)]

    def _wrote(self, frame: int, change: Change, links: dict[int, Link]) -> None:
        """Explain the value that a name has at a frame: by the line that wrote it, or by the call that passed it."""
        if (frame, change.name) in self.seen or len(links) >= _LONGEST_CHAIN:
            return
        self.seen.add((frame, change.name))
        activation, name = self.activation[frame], change.name or ""
        instead = self._instead(frame, name)
        if instead:  # the old run wrote it on a line that the new one did not run
            for index in instead:
                self._explain(index, (change,) if index == instead[-1] else (), links)
            return
        at = frame
        while (before := self._line_before(at)) is not None:
            if self.new.frames[before].locals.get(name) != change.new or name in self._written(before):
                self._explain(before, (change,), links)
                return
            at = before
        caller = self._caller(activation)
        if caller is not None:
            self._explain(caller, (change,), links)

    def _instead(self, frame: int, name: str) -> list[int]:
        """Lines that the new run ran where the old one wrote a name on a line of its own; empty if it did not."""
        old = self.old_of.get(frame)
        wrote = _last_write(self.old, old, name) if old is not None else None
        if wrote is None:
            return []
        at = next(index for index, (i, _) in enumerate(self.pairs) if i == wrote)
        if self.pairs[at][1] is not None:
            return []
        found = self._alone(at) or [self._line_before(frame) or -1]  # it ran nothing else: the branch before
        return [j for j in found if j >= 0 and self.activation[j] == self.activation[frame]]

    def _alone(self, at: int) -> list[int]:
        """Lines that the new run ran alone in the stretch without common frames around a pair."""
        first = last = at
        while first > 0 and None in self.pairs[first - 1]:
            first -= 1
        while last + 1 < len(self.pairs) and None in self.pairs[last + 1]:
            last += 1
        stretch = [j for i, j in self.pairs[first : last + 1] if i is None and j is not None]
        return [j for j in stretch if self.new.frames[j].event == "line"]

    def _explain(self, at: int | None, changes: tuple[Change, ...], links: dict[int, Link]) -> None:
        """Add the line of a frame to the chain, then explain what it read that differs."""
        if at is None or len(links) >= _LONGEST_CHAIN:
            return
        line = self.new.frames[at].line
        known = links.get(at)
        edited = line in self.lines.edited
        merged = tuple(dict.fromkeys((*(known.changes if known else ()), *changes)))
        links[at] = Link(at, line, edited, merged)
        if known is not None:
            return
        partner = self.old_of.get(at)
        before = self.old.frames[partner].locals if partner is not None else {}
        for name in self._read(at):
            now = self.new.frames[at].locals.get(name)
            if name in before and now is not None and before[name] != now:
                self._wrote(at, Change(name, before[name], now), links)
        for index in self._returns(at):
            other = self.old_of.get(index)
            value = self.new.frames[index].value
            if other is None or self.old.frames[other].value != value:
                was = self.old.frames[other].value if other is not None else None
                self._explain(self._line_before(index), (Change(None, was, value),), links)

    def _line_before(self, frame: int) -> int | None:
        """The last line of the same activation that ran before a frame."""
        for index in range(frame - 1, self.activation[frame], -1):
            if self.activation[index] == self.activation[frame] and self.new.frames[index].event == "line":
                return index
        return None

    def _caller(self, activation: int) -> int | None:
        depth = self.new.frames[activation].depth
        for index in range(activation - 1, -1, -1):
            frame = self.new.frames[index]
            if frame.depth == depth - 1 and frame.event == "line":
                return index
        return None

    def _returns(self, at: int) -> Iterator[int]:
        """Returns and exceptions of the calls that a line made."""
        depth = self.new.frames[at].depth
        for index in range(at + 1, len(self.new.frames)):
            frame = self.new.frames[index]
            if frame.depth <= depth or index >= self.end:
                return
            if frame.depth == depth + 1 and frame.event in ("return", "exception"):
                yield index

    def _read(self, at: int) -> list[str]:
        return [n.id for n in self._names(at) if isinstance(n.ctx, ast.Load)]

    def _written(self, at: int) -> set[str]:
        return {n.id for n in self._names(at) if not isinstance(n.ctx, ast.Load)}

    def _names(self, at: int) -> list[ast.Name]:
        """The names in the statement that starts at a frame's line, blocks inside it left out."""
        found: list[ast.Name] = []
        for node in self.statements.get(self.new.frames[at].line, ()):
            waiting: list[ast.AST] = [node]
            while waiting:
                inner = waiting.pop()
                if isinstance(inner, ast.Name):
                    found.append(inner)
                if inner is node or not isinstance(inner, ast.stmt | ast.ExceptHandler | ast.match_case):
                    waiting += [c for c in ast.iter_child_nodes(inner) if not isinstance(c, ast.stmt)]
        return found


def _last_write(trace: Trace, frame: int, name: str) -> int | None:
    """The last line before a frame, in the same activation, after which a name's text was another."""
    depth, text = trace.frames[frame].depth, trace.frames[frame].locals.get(name)
    for index in range(frame - 1, -1, -1):
        other = trace.frames[index]
        if other.depth == depth and other.event == "line" and other.locals.get(name) != text:
            return index
        if other.depth < depth or (other.depth == depth and other.event == "call"):
            return None
    return None


def _statements(source: str) -> dict[int, list[ast.stmt]]:
    """Statements by each line that they alone cover (a compound one by its header)."""
    found: dict[int, list[ast.stmt]] = {}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body: list[ast.stmt] = getattr(node, "body", [])
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            for line in range(node.lineno, max(node.lineno, last) + 1):
                found.setdefault(line, []).append(node)
    return found
