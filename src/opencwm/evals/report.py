"""`Report`: an evaluation's figures, each with its sample size and 95 % interval, and the settings that gave them.

Notable choices: a share of independent items has Wilson's interval. A share of frames, which come in programs and err
together there, has the interval of a ratio over programs (clusters), which is wider and honest. A report names the
data file, never its path, so that it can be published as it is.
"""

from __future__ import annotations

import math
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from opencwm.world.protocol import World

FORMAT = "opencwm.report/1"
NORMAL = 1.959964

Progress = Callable[[int, int], None]
"""Called with how many items are done, of how many."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number: its `value`, over `n` items, with a 95 % interval from `low` to `high` where there is one.

    `unit` is `share` (0 to 1, shown in per cent), or what is counted or measured (`frames`, `s`, ...).
    """

    name: str
    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    unit: str = "share"


@dataclass(slots=True)
class Report:
    """Figures of one evaluation."""

    name: str
    settings: dict[str, object]
    figures: list[Figure] = field(default_factory=list)

    def __getitem__(self, name: str) -> Figure:
        """The figure of that name. Raises KeyError."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(f"no figure {name!r} in this report; it has: {', '.join(f.name for f in self.figures)}")

    def share(self, name: str, right: int, n: int) -> None:
        """Add a share of `n` independent items, with Wilson's interval."""
        low, high = wilson(right, n)
        self.figures.append(Figure(name, right / n if n else None, n, low, high))

    def clustered(self, name: str, counts: Sequence[tuple[int, int]]) -> None:
        """Add a share of frames, given (right, all) of each program."""
        value, low, high = ratio(counts)
        self.figures.append(Figure(name, value, sum(n for _, n in counts), low, high))

    def mean(self, name: str, values: Sequence[float], unit: str) -> None:
        """Add a mean, with its normal interval."""
        value, low, high = mean(values)
        if unit == "share" and low is not None and high is not None:
            low, high = max(0.0, low), min(1.0, high)
        self.figures.append(Figure(name, value, len(values), low, high, unit))

    def median(self, name: str, values: Sequence[float], unit: str) -> None:
        """Add a median, without an interval."""
        self.figures.append(Figure(name, statistics.median(values) if values else None, len(values), unit=unit))

    def number(self, name: str, value: float | None, n: int, unit: str) -> None:
        """Add a number without an interval."""
        self.figures.append(Figure(name, value, n, unit=unit))

    def to_json(self) -> dict[str, object]:
        """The report as an object for `json.dumps`."""
        return {"format": FORMAT, **asdict(self)}

    def table(self) -> str:
        """The report as aligned plain text, settings first."""
        rows = [("figure", "value", "95 % interval", "n")]
        for figure in self.figures:
            interval = "" if figure.low is None or figure.high is None else f"{_show(figure, figure.low)} to "
            interval += _show(figure, figure.high) if interval else ""
            rows.append((figure.name, _show(figure, figure.value), interval, str(figure.n)))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [self.name, *(f"  {key}: {value}" for key, value in self.settings.items()), ""]
        for name, *cells in rows:
            shown = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            lines.append(f"{name.ljust(widths[0])}  {shown}".rstrip())
        return "\n".join(lines) + "\n"


def describe(world: World, weights: str | Path | None, **given: object) -> dict[str, object]:
    """The settings of a report: the world, its weights' folder (its name alone), what is given, and the versions."""
    try:
        version = metadata.version("opencwm")
    except metadata.PackageNotFoundError:
        version = "not installed"
    answered = {"world": world.name, "weights": Path(weights).name if weights is not None else None}
    made = {key: value for key, value in (answered | given).items() if value is not None}
    return made | {"opencwm": version, "python": platform.python_version()}


def wilson(right: int, n: int) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval of a share; (None, None) of nothing."""
    if not n:
        return None, None
    share, square = right / n, NORMAL**2
    centre = share + square / (2 * n)
    half = NORMAL * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, (centre - half) / (1 + square / n)), min(1.0, (centre + half) / (1 + square / n))


def ratio(counts: Sequence[tuple[int, int]]) -> tuple[float | None, float | None, float | None]:
    """A share over clusters of (right, all), and its 95 % interval, no narrower than Wilson's; None for one cluster."""
    counts = [(right, n) for right, n in counts if n]
    total = sum(n for _, n in counts)
    if not total:
        return None, None, None
    share = sum(right for right, _ in counts) / total
    if len(counts) < 2:
        return share, None, None
    spread = sum((right - share * n) ** 2 for right, n in counts) * len(counts) / (len(counts) - 1)
    half = NORMAL * math.sqrt(spread) / total
    # Clusters that happen to agree would claim certainty; even independent frames do not.
    low, high = wilson(sum(right for right, _ in counts), total)
    assert low is not None and high is not None
    return share, max(0.0, min(low, share - half)), min(1.0, max(high, share + half))


def mean(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """A mean and its normal 95 % interval; no interval for fewer than two values."""
    if not values:
        return None, None, None
    centre = statistics.fmean(values)
    if len(values) < 2:
        return centre, None, None
    half = NORMAL * statistics.stdev(values) / math.sqrt(len(values))
    return centre, centre - half, centre + half


def _show(figure: Figure, value: float | None) -> str:
    if value is None:
        return "none"
    if figure.unit == "share":
        return f"{100 * value:.1f} %"
    if figure.unit == "":
        return f"{value:.3f}"
    return f"{value:.4g} {figure.unit}"
