"""What a stream of programs holds of Python, and how it compares with the programs of a benchmark.

A `Profile` counts, per feature (see `features.py`), the programs that have it, and keeps the distributions of length,
depth, events and value types. `compare` sets the profile of a stream beside that of a reference; nothing of the
reference but these counts is ever looked at.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opencwm.programs import features
from opencwm.trace.frames import Trace

SIZES = ("source characters", "source lines", "syntax depth", "frames", "call depth", "value characters")
MOST_VALUES = 12
"""Values per run that the distributions of value types and lengths look at."""


@dataclass(slots=True)
class Profile:
    """Counts over programs: `features` and `bigrams` by how many programs have them, `sizes` one number per program."""

    programs: int = 0
    features: Counter[str] = field(default_factory=Counter)
    bigrams: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SIZES})
    types: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, traces: Iterable[Trace]) -> Profile:
        """The profile of recorded runs."""
        profile = cls()
        for trace in traces:
            profile.add(trace)
        return profile

    def add(self, trace: Trace) -> None:
        """Count one run."""
        tree = features.parse(trace.context)
        self.programs += 1
        self.features.update(features.of_run(trace).keys())
        self.bigrams.update(features.bigrams(tree).keys())
        self.outcomes[str(trace.outcome)] += 1
        values = _values(trace)
        for value in values:
            self.types[features.type_of_text(value) or "other"] += 1
        measured = (
            len(trace.context), trace.context.count("\n"), _depth(tree), len(trace.frames),
            max((frame.depth for frame in trace.frames), default=0), max(map(len, values), default=0),
        )  # fmt: skip
        for name, size in zip(SIZES, measured, strict=True):
            self.sizes[name].append(size)


def _values(trace: Trace) -> list[str]:
    """Texts of the values that a run makes: what is new in a frame, the last ones if there are many."""
    found: list[str] = []
    known: dict[str, str] = {}
    for frame in trace.frames:
        if frame.value is not None:
            found.append(frame.value)
        for name, text in frame.locals.items():
            if known.get(name) != text:
                found.append(text)
        known = frame.locals or known
    return found[-MOST_VALUES:]


def _depth(node: ast.AST) -> int:
    """How deep statements and expressions are nested in a tree."""
    return 1 + max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one kind of the reference's features the stream has."""

    kind: str
    covered: int
    total: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """A stream's profile, and beside it a reference's if there is one. `least` programs make a feature covered."""

    stream: Profile
    reference: Profile | None = None
    least: int = 1

    def universe(self) -> list[Share]:
        """How much of all of Python the stream has, by kind."""
        found = []
        for kind, names in features.UNIVERSE.items():
            wanted = [f"{kind} {name}" for name in names]
            covered, total, missing = features.share(wanted, self.stream.features, self.least)
            found.append(Share(kind, covered, total, tuple(name.partition(" ")[2] for name in missing)))
        return found

    def shares(self) -> list[Share]:
        """How much of what the reference has the stream has too: by kind of feature, then syntax bigrams."""
        if self.reference is None:
            return []
        found = []
        for kind in dict.fromkeys(name.partition(" ")[0] for name in sorted(self.reference.features)):
            wanted = [name for name in self.reference.features if name.startswith(f"{kind} ")]
            covered, total, missing = features.share(wanted, self.stream.features, self.least)
            found.append(Share(kind, covered, total, tuple(name.partition(" ")[2] for name in missing)))
        covered, total, missing = features.share(self.reference.bigrams, self.stream.bigrams, self.least)
        return [*found, Share("bigram", covered, total, tuple(missing))]

    def to_json(self) -> dict[str, Any]:
        """Everything as data: shares, and per feature the programs that have it."""
        return {
            "programs": self.stream.programs,
            "least": self.least,
            "outcomes": dict(self.stream.outcomes),
            "universe": [_plain(share) for share in self.universe()],
            "reference_programs": self.reference.programs if self.reference else 0,
            "reference": [_plain(share) for share in self.shares()],
            "features": dict(sorted(self.stream.features.items())),
            "bigrams": dict(sorted(self.stream.bigrams.items())),
            "sizes": {name: quantiles(sizes) for name, sizes in self.stream.sizes.items()},
        }

    def rows(self) -> str:
        """Every feature of Python, and whatever else the stream has, with the share of programs that have it."""
        lines = [f"{'feature':<44}{'programs':>10}{'share':>10}"]
        known = [f"{kind} {name}" for kind, names in features.UNIVERSE.items() for name in names]
        for name in [*known, *sorted(set(self.stream.features) - set(known))]:
            count = self.stream.features.get(name, 0)
            lines.append(f"{name:<44}{count:>10,}{count / max(self.stream.programs, 1):>10.3%}")
        return "\n".join(lines)

    def table(self) -> str:
        """The shares as text, with what is missing."""
        lines = [f"{self.stream.programs:,} programs; covered: in at least {self.least} of them", ""]
        lines += _rows("of all of Python", self.universe())
        if self.reference is not None:
            lines += ["", *_rows(f"of what {self.reference.programs:,} reference programs use", self.shares()), ""]
            lines.append(f"{'median, 95th percentile':<28}{'stream':>12}{'reference':>12}")
            for name in SIZES:
                ours, theirs = quantiles(self.stream.sizes[name]), quantiles(self.reference.sizes[name])
                lines.append(f"{name:<28}{ours[1]:>7}{ours[3]:>5}{theirs[1]:>7}{theirs[3]:>5}")
        return "\n".join(lines)


def quantiles(sizes: list[int]) -> list[int]:
    """The 5th, 50th, 75th, 95th percentile and the largest."""
    ordered = sorted(sizes) or [0]
    return [ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in (0.05, 0.5, 0.75, 0.95, 1.0)]


def _plain(share: Share) -> dict[str, Any]:
    return {"kind": share.kind, "covered": share.covered, "of": share.total, "missing": list(share.missing)}


def _rows(title: str, shares: list[Share]) -> list[str]:
    lines = [f"{title:<44}{'covered':>12}   missing"]
    for share in shares:
        missing = ", ".join(share.missing[:8]) + (f" and {len(share.missing) - 8} more" * (len(share.missing) > 8))
        part = f"{share.covered / share.total:.1%}" if share.total else ""
        lines.append(f"{share.kind:<30}{share.covered:>7} of {share.total:<6}{part:>7}   {missing}".rstrip())
    return lines


def plot(stream: Profile, reference: Profile, path: Path, *, names: tuple[str, str]) -> None:
    """Distributions of sizes and value types side by side, as a PNG. Needs matplotlib, of the extra `evals`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(11, 5))
    for axis, name in zip(axes.flat, SIZES, strict=False):
        top = max(quantiles(reference.sizes[name])[3], quantiles(stream.sizes[name])[3], 1)
        for profile, label in ((stream, names[0]), (reference, names[1])):
            sizes = [min(size, top) for size in profile.sizes[name]]
            weights = [1 / max(len(sizes), 1)] * len(sizes)
            axis.hist(sizes, bins=20, range=(0, top), weights=weights, alpha=0.55, label=label)
        axis.set_title(name, fontsize=9)
    kinds = [name for name, _ in (stream.types + reference.types).most_common(9)]
    axis = axes.flat[len(SIZES)]
    for offset, profile in ((-0.2, stream), (0.2, reference)):
        total = max(profile.types.total(), 1)
        places = [place + offset for place in range(len(kinds))]
        axis.barh(places, [profile.types[kind] / total for kind in kinds], height=0.4, alpha=0.7)
    axis.set_yticks(range(len(kinds)), kinds, fontsize=7)
    axis.set_title("types of values", fontsize=9)
    axis = axes.flat[len(SIZES) + 1]
    shared = [name for name, _ in reference.features.most_common() if name.startswith("method ") and "?" not in name][
        :9
    ]
    for offset, profile in ((-0.2, stream), (0.2, reference)):
        places = [place + offset for place in range(len(shared))]
        parts = [profile.features[name] / max(profile.programs, 1) for name in shared]
        axis.barh(places, parts, height=0.4, alpha=0.7)
    axis.set_yticks(range(len(shared)), [name.removeprefix("method ") for name in shared], fontsize=7)
    axis.set_title("programs with a method", fontsize=9)
    axes.flat[0].legend(fontsize=8)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
