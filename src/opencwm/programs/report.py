"""What a corpus holds and what it cost: `summary` after a build, `measure` in full, `mismatches` of a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opencwm.codec import cwm
from opencwm.codec.cwm import TextTokenizer
from opencwm.programs.store import Store
from opencwm.programs.verify import VERIFIED, Verified
from opencwm.trace.store import unpack


@dataclass(frozen=True, slots=True)
class Group:
    """The traces of one source and package."""

    source: str
    package: str
    traces: int
    functions: int
    frames: int
    compact_tokens: int
    cwm_tokens: int | None
    raising: int
    repeatable: int

    def numbers(self) -> tuple[int, ...]:
        """Functions, traces, raising, frames, tokens in both codecs."""
        return (self.functions, self.traces, self.raising, self.frames, self.compact_tokens, self.cwm_tokens or 0)


@dataclass(frozen=True, slots=True)
class Report:
    """A corpus in numbers. `bytes` are those of its shards, `seconds` what building it took."""

    groups: tuple[Group, ...]
    counts: dict[str, int]
    bytes: int
    seconds: float
    verified: dict[str, Any] | None
    recipe: dict[str, Any]
    machine: str

    def to_json(self) -> dict[str, object]:
        """The report as plain data."""
        return asdict(self)

    def table(self) -> str:
        """The report as Markdown tables."""
        names = ("source", "package", "functions", "traces", "raising", "frames", "compact tokens", "cwm tokens")
        rows: list[tuple[object, ...]] = [
            (g.source, g.package, g.functions, g.traces, g.raising, g.frames, g.compact_tokens, g.cwm_tokens)
            for g in self.groups
        ]
        totals = [sum(each) for each in zip(*(g.numbers() for g in self.groups), strict=True)] or [0] * 6
        rows.append(("**all**", "", *totals[:5], totals[5] if any(g.cwm_tokens for g in self.groups) else None))
        frames = totals[3]
        speed = f"{frames / self.seconds:,.0f} frames/s end to end" if self.seconds else "no time noted"
        size = f"{self.bytes / 1e9:.3f} GB on disk, {self.bytes / frames if frames else 0:.1f} bytes a frame"
        left_out = [(name, count) for name, count in sorted(self.counts.items()) if ":" in name]
        seen = [(name, count) for name, count in sorted(self.counts.items()) if ":" not in name]
        return "\n\n".join([
            "# A corpus of recorded runs\n\nPrinted by `cwm data report`; `cwm data traces` built it.",
            _recipe(self.recipe),
            f"Built on: {self.machine}." if self.machine else "",
            _table(names, rows),
            f"{speed} ({self.seconds:,.0f} s with everything, from source to shard); {size}.",
            _table(("seen and done", "count"), seen),
            _table(("left out, by reason", "count"), left_out),
            _verified(self.verified),
        ])  # fmt: skip


def measure(store: Store, tokenizer: TextTokenizer | None = None) -> Report:
    """Count everything in a corpus; with `tokenizer`, the cwm codec's tokens too."""
    groups: dict[tuple[str, str], list[int]] = {}
    functions: dict[tuple[str, str], set[str]] = {}
    columns = ["source", "package", "function", "frames", "compact_tokens", "outcome", "repeatable"]
    for row in store.rows([*columns, "trace"] if tokenizer else columns):
        key = (row["source"], row["package"])
        tokens = len(cwm.encode(unpack(row["trace"]), tokenizer)) if tokenizer else 0
        figures = groups.setdefault(key, [0] * 6)
        new = (1, row["frames"], row["compact_tokens"], tokens, row["outcome"] == "exception", row["repeatable"])
        for at, number in enumerate(new):
            figures[at] += number
        functions.setdefault(key, set()).add(row["function"])
    found = tuple(
        Group(source, package, n, len(functions[source, package]), frames, compact, tokens if tokenizer else None, r, d)
        for (source, package), (n, frames, compact, tokens, r, d) in sorted(groups.items())
    )
    size = sum(shard["bytes"] for shard in store.manifest["shards"])
    manifest = store.manifest
    return Report(
        groups=found,
        counts=dict(manifest["counts"]),
        bytes=size,
        seconds=float(manifest["seconds"]),
        verified=store.noted(VERIFIED),
        recipe=dict(manifest["recipe"]),
        machine=str(manifest.get("machine", "")),
    )


def summary(store: Store) -> str:
    """A few lines after a build."""
    counts = Counter(store.manifest["counts"])
    shards = store.manifest["shards"]
    rows, frames = sum(s["rows"] for s in shards), sum(s["frames"] for s in shards)
    size = sum(shard["bytes"] for shard in shards)
    lines = [f"{store.folder}: {rows:,} traces, {frames:,} frames, {size / 1e6:,.1f} MB in {len(shards)} shards"]
    lines += [
        f"{number:>9,} {name}" for name, number in sorted(counts.items(), key=lambda item: (":" in item[0], item))
    ]
    return "\n".join(lines)


def mismatches(found: Verified) -> str:
    """What a check found, as text."""
    differing, repeatable = sum(found.mismatches.values()), sum(found.mismatches_repeatable.values())
    lines = [
        f"{found.seen:,} traces run again, {differing:,} differ; of {found.repeatable:,} whose source shows nothing "
        f"that changes from run to run, {repeatable:,} ({found.rate:.2%})"
    ]
    lines += [f"{n:>9,} of {source} run again, {differ:,} differ" for source, (n, differ) in found.by_source.items()]
    lines += [f"{number:>9,} not verified: {name}" for name, number in found.unverified.items()]
    for name, number in found.mismatches.most_common():
        lines.append(f"{number:>9,} {name}, as in {found.examples[name]}")
    return "\n".join(lines)


def _recipe(recipe: Mapping[str, Any]) -> str:
    """What the corpus was made from, in a few lines; of paths the last part."""
    lines = []
    for kind in ("functions", "suites", "contests"):
        if sources := recipe.get(kind):
            lines.append(f"- {kind}: {', '.join(str(source).rpartition('/')[2] for source in sources)}")
    rest = {key: value for key, value in recipe.items() if key not in ("functions", "suites", "contests")}
    lines.append(f"- {', '.join(f'{key} {value}' for key, value in rest.items() if value is not None)}")
    return "\n".join(lines)


def _verified(found: Mapping[str, Any] | None) -> str:
    """What `cwm data verify` has left in the folder."""
    if found is None:
        return "Not verified yet: run `cwm data verify`."
    differing = sum(found["mismatches"].values())
    text = (
        f"Verified {found['when']}: {found['seen']:,} traces run again, {differing:,} differ "
        f"({differing / max(1, found['seen']):.2%}); of {found['repeatable']:,} whose source shows nothing that "
        f"changes from run to run, {found['rate']:.2%}."
    )
    for source, (count, differ) in found.get("by_source", {}).items():
        text += f" Of {source}: {count:,} run again, {differ:,} differ."
    for name, count in found.get("unverified", {}).items():
        text += f" {count:,} could not be run again: {name}."
    rows = [
        (name, count, found["mismatches_repeatable"].get(name, 0), found["examples"].get(name, ""))
        for name, count in sorted(found["mismatches"].items(), key=lambda item: -item[1])
    ]
    return text + (
        "\n\n" + _table(("mismatch, by cause", "traces", "of these repeatable", "as in"), rows) if rows else ""
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    texts = [
        ["" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows
    ]
    numeric = [all(isinstance(row[at], int | None) for row in rows) for at in range(len(names))]
    rule = ["---:" if number else "---" for number in numeric]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (list(names), rule, *texts))
