"""How long runs are as text and tokens: CWM's format (`cwm`) against the compact one, over recorded programs.

Notable choices: the cwm codec's tokens are Llama 3's and need its `tokenizer.model`, which cannot be shipped; without
it that row is left out rather than estimated. Both codecs' counts are of everything: source, frames and ending. A run
that a limit cut off is measured as far as it was recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from opencwm.codec import compact, cwm
from opencwm.codec.cwm import TextTokenizer
from opencwm.evals.report import Progress
from opencwm.programs.program import Program
from opencwm.programs.untrusted import record_untrusted
from opencwm.trace.frames import Trace

FITS = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class Distribution:
    """One row: how many characters or tokens a run has. `fits` maps a window to the share of runs that fit it."""

    name: str
    p50: int
    mean: float
    p95: int
    p99: int
    max: int
    fits: dict[int, float]

    @classmethod
    def of(cls, name: str, counts: Sequence[int]) -> Distribution:
        """The distribution of at least one count; percentiles are nearest-rank."""
        ordered = sorted(counts)

        def percentile(percent: int) -> int:
            return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

        fits = {limit: sum(count <= limit for count in ordered) / len(ordered) for limit in FITS}
        mean = sum(ordered) / len(ordered)
        return cls(name, percentile(50), mean, percentile(95), percentile(99), ordered[-1], fits)

    def numbers(self) -> list[str]:
        """p50, mean, p95, p99 and max as text."""
        return [f"{number:,.0f}" for number in (self.p50, self.mean, self.p95, self.p99, self.max)]

    def shares(self) -> list[str]:
        """The share of runs that fit each window as text."""
        return [f"{share:.1%}" for share in self.fits.values()]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of `programs` runs; `cut_off` of them hit a recording limit."""

    programs: int
    cut_off: int
    rows: tuple[Distribution, ...]

    def to_json(self) -> dict[str, object]:
        """The report as plain data."""
        return asdict(self)

    def table(self) -> str:
        """The report as a Markdown table that reads well as plain text too."""
        names = ("per run", "p50", "mean", "p95", "p99", "max", *(f"<= {limit:,}" for limit in FITS))
        rows = [(row.name, *row.numbers(), *row.shares()) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [_line(cells, widths) for cells in (names, rule, *rows)]
        cut_off = f", {self.cut_off} of them cut off by a limit" if self.cut_off else ""
        return "\n".join([f"{self.programs} runs{cut_off}", "", *lines]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join([first.strip().ljust(widths[0]), *rest])} |"


def measure(
    programs: Sequence[Program], *, tokenizer: TextTokenizer | None = None, progress: Progress | None = None
) -> Sizes:
    """Record each program and measure its run; `tokenizer` counts the cwm codec's tokens.

    Raises ValueError if there are no programs.
    """
    if not programs:
        raise ValueError("there are no programs to measure: the file is empty, or the limit is 0")
    counts: dict[str, list[int]] = {}
    cut_off = 0
    for done, program in enumerate(programs, 1):
        trace = record_untrusted(program)
        cut_off += trace.outcome.kind == "truncated"
        for name, count in _sizes(trace, tokenizer).items():
            counts.setdefault(name, []).append(count)
        if progress:
            progress(done, len(programs))
    return Sizes(len(programs), cut_off, tuple(Distribution.of(name, each) for name, each in counts.items()))


def _sizes(trace: Trace, tokenizer: TextTokenizer | None) -> dict[str, int]:
    sizes = {
        "frames": len(trace.frames),
        "source, characters": len(trace.context),
        "cwm, characters": len(cwm.to_text(trace)),
    }
    if tokenizer:
        sizes["cwm, tokens"] = len(cwm.encode(trace, tokenizer))
    sizes["compact, tokens"] = len(compact.encode(trace).ids)
    return sizes
