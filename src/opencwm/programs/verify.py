"""`verify`: run every stored trace again and compare; what differs, counted by its cause.

Notable choices:
- A trace of a whole program runs again as it ran (`batch.py`); one cut from a test suite is found again by running its
  test file again with the same seed, and looking for the same content.
- A mismatch has one cause: what its source shows (`episodes.causes`: the time, randomness, ...), else where it first
  differs (another state, another way, another end), else that the run could not be had again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from opencwm.programs import suites
from opencwm.programs.batch import Ran, record_batch
from opencwm.programs.corpus import Recipe, plan
from opencwm.programs.episodes import causes
from opencwm.programs.store import Store
from opencwm.trace.frames import Trace
from opencwm.trace.store import unpack

_BATCH = 200
VERIFIED = "verified.json"


@dataclass(slots=True)
class Verified:
    """Counts of stored traces: `seen` and `repeatable` ones (nothing in the source tells that they would differ), and
    of each the mismatches, by cause. `unverified` could not be had again for lack of time, and count as neither.
    """

    seen: int = 0
    repeatable: int = 0
    mismatches: Counter[str] = field(default_factory=Counter)
    mismatches_repeatable: Counter[str] = field(default_factory=Counter)
    unverified: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, list[int]] = field(default_factory=dict)  # run again, differing
    examples: dict[str, str] = field(default_factory=dict)
    when: str = ""

    @property
    def rate(self) -> float:
        """Share of repeatable traces that did not come out the same."""
        return sum(self.mismatches_repeatable.values()) / self.repeatable if self.repeatable else 0.0

    def to_json(self) -> dict[str, object]:
        """The figures as plain data."""
        return {
            "when": self.when,
            "seen": self.seen,
            "repeatable": self.repeatable,
            "mismatches": dict(self.mismatches),
            "mismatches_repeatable": dict(self.mismatches_repeatable),
            "rate": self.rate,
            "unverified": dict(self.unverified),
            "by_source": self.by_source,
            "examples": self.examples,
        }


@dataclass(frozen=True, slots=True)
class _Stored:
    """A stored program as the recorder wants it."""

    context: str
    entry: str
    entry_line: int


def verify(store: Store, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Verified:
    """Run every trace of a store again; the result is also left in the store's folder. Raises StoreError."""
    total = sum(shard["rows"] for shard in store.manifest["shards"])
    found = Verified(when=f"{date.today()}")
    waiting: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    by_unit: dict[int, list[dict[str, Any]]] = {}
    for row in store.rows():
        if not row["entry"]:
            by_unit.setdefault(row["unit"], []).append(row)
            continue
        key = tuple(row["paths"])
        waiting.setdefault(key, []).append(row)
        if len(waiting[key]) >= _BATCH:
            _check(waiting.pop(key), key, found)
            progress(found.seen, total)
    for key, rows in waiting.items():
        _check(rows, key, found)
        progress(found.seen, total)
    for unit, rows in by_unit.items():
        _check_suite(store, unit, rows, found)
        progress(found.seen, total)
    store.note(VERIFIED, found.to_json())
    return found


def _check(rows: Sequence[dict[str, Any]], paths: tuple[str, ...], found: Verified) -> None:
    stored = [unpack(row["trace"]) for row in rows]
    programs = [_Stored(t.context, row["entry"], t.entry_line) for t, row in zip(stored, rows, strict=True)]
    for row, trace, ran in zip(rows, stored, record_batch(programs, paths=paths), strict=True):
        _count(row, None if ran.packed == row["trace"] else _difference(trace, ran), trace, found)


def _check_suite(store: Store, unit: int, rows: Sequence[dict[str, Any]], found: Verified) -> None:
    recipe = Recipe.from_json(store.manifest["recipe"])
    work = plan(recipe)[unit]
    again = suites.run(
        Path(work.where), work.part, seed=recipe.seed, step_in=recipe.step_in, seconds=recipe.suite_seconds
    )
    known = {episode.packed for episode in again.episodes}
    tests = {(episode.test, f"{episode.module}:{episode.function}") for episode in again.episodes}
    for row in rows:
        if again.ended is not None and (row["origin"], row["function"]) not in tests:
            found.seen += 1
            found.unverified[f"its tests were cut off ({again.ended})"] += 1
            continue
        cause = None
        if row["trace"] not in known:
            present = (row["origin"], row["function"]) in tests
            cause = "another state or way" if present else "the test did not make it again"
        _count(row, cause, unpack(row["trace"]) if cause else None, found)


def _count(row: dict[str, Any], cause: str | None, trace: Trace | None, found: Verified) -> None:
    found.seen += 1
    found.repeatable += row["repeatable"]
    of_source = found.by_source.setdefault(row["source"], [0, 0])
    of_source[0] += 1
    of_source[1] += cause is not None
    if cause is None or trace is None:
        return
    shown = causes(trace.context)
    name = f"{cause} (uses {shown[0]})" if shown else cause
    found.mismatches[name] += 1
    if row["repeatable"]:
        found.mismatches_repeatable[name] += 1
    found.examples.setdefault(name, f"{row['origin']} {row['call']}"[:200])


def _difference(trace: Trace, ran: Ran) -> str:
    """How a second run differs."""
    if ran.reason is not None:
        return f"no second run: {ran.reason}" if len(ran.reason) < 40 else "no second run: the module failed"
    other = ran.trace()
    if trace.python != other.python:
        return "another Python version"
    for one, two in zip(trace.frames, other.frames, strict=False):
        if (one.event, one.line, one.function, one.depth) != (two.event, two.line, two.function, two.depth):
            return "another way"
        if one != two:
            return "another state"
    return "another end"
