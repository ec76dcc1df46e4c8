"""A scaling curve through the arms of a ladder: nats per frame over parameters and tokens.

The form is L(N, D) = E + A / N^a + B / D^b (Hoffmann and others, 2022, equation 2). Notable choices: for each pair of
exponents on a grid the rest is linear, and least squares with nothing negative finds it, so there is no start to guess;
the error is relative, since arms differ tenfold. How far to trust it: each arm is predicted from the others, and the
interval of a forecast is over fits that leave out one arm each. Forecasts far from the arms are guesses all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencwm.evals.ladder import Measured

_EXPONENTS = np.arange(0.05, 1.01, 0.025)
LEAST = 7
"""Arms: more than the form has numbers, when one is left out too."""


@dataclass(frozen=True, slots=True)
class Curve:
    """L(N, D) = floor + size / N^size_exponent + data / D^data_exponent, in nats per frame."""

    floor: float
    size: float
    size_exponent: float
    data: float
    data_exponent: float

    def __call__(self, parameters: float, tokens: float) -> float:
        by_size, by_data = self.size / parameters**self.size_exponent, self.data / tokens**self.data_exponent
        return float(self.floor + by_size + by_data)


def fit(arms: Sequence[Measured]) -> Curve:
    """The curve with the smallest squared relative error. Raises ValueError for fewer arms than it has numbers."""
    if len(arms) < LEAST - 1:
        raise ValueError(f"{len(arms)} arms are too few for a curve of five numbers: give at least {LEAST}")
    sizes = np.array([arm.parameters for arm in arms], dtype=np.float64)
    tokens = np.array([arm.tokens for arm in arms], dtype=np.float64)
    nats = np.array([arm.nats for arm in arms])
    best: tuple[float, Curve] | None = None
    for a, b in product(_EXPONENTS, _EXPONENTS):
        columns = np.stack([np.ones_like(nats), (sizes / sizes[0]) ** -a, (tokens / tokens[0]) ** -b], 1)
        found, error = _least_squares(columns / nats[:, None], np.ones_like(nats))
        if best is None or error < best[0]:
            floor, size, data = found
            best = error, Curve(floor, size * sizes[0] ** a, float(a), data * tokens[0] ** b, float(b))
    assert best is not None
    return best[1]


def _least_squares(columns: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[list[float], float]:
    """Weights of at least 0, and the squared error: the best of all sets of columns (there are seven)."""
    best = [0.0] * columns.shape[1], float(wanted @ wanted)
    for kept in product((False, True), repeat=columns.shape[1]):
        if not any(kept):
            continue
        part = columns[:, kept]
        weights, *_ = np.linalg.lstsq(part, wanted, rcond=None)
        error = float(((part @ weights - wanted) ** 2).sum())
        if (weights >= 0).all() and error < best[1]:
            whole = np.zeros(columns.shape[1])
            whole[list(kept)] = weights
            best = whole.tolist(), error
    return best


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the curve says of a model, and the lowest and highest that the fits without one arm say."""

    parameters: float
    tokens: float
    nats: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """A curve, how far off arms are that it was not fitted to (mean and worst, relative), and forecasts."""

    curve: Curve
    error: float
    worst: float
    forecasts: tuple[Forecast, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """Markdown."""
        curve = self.curve
        lines = [
            f"nats per frame = {curve.floor:.2f} + {curve.size:.4g} / N^{curve.size_exponent:.3f}"
            f" + {curve.data:.4g} / D^{curve.data_exponent:.3f}",
            f"arms predicted from the others: {self.error:.1%} off on average, {self.worst:.1%} at worst",
        ]
        if self.forecasts:
            lines += ["", "| parameters | tokens | nats per frame | range of the fits |", "|---:|---:|---:|---:|"]
        for each in self.forecasts:
            lines.append(
                f"| {_short(each.parameters)} | {_short(each.tokens)} | {each.nats:.2f} "
                f"| {each.low:.2f} to {each.high:.2f} |"
            )
        return "\n".join(lines) + "\n"


def scaling(arms: Sequence[Measured], wanted: Sequence[tuple[float, float]]) -> Scaling:
    """The curve through the arms, and what it says of the wanted (parameters, tokens). Raises ValueError."""
    curve = fit(arms)
    others = [(arm, fit([other for other in arms if other is not arm])) for arm in arms]
    errors = [abs(each(arm.parameters, arm.tokens) / arm.nats - 1) for arm, each in others]
    forecasts: list[Forecast] = []
    for parameters, tokens in wanted:
        spread = [each(parameters, tokens) for _, each in others]
        forecasts.append(Forecast(parameters, tokens, curve(parameters, tokens), min(spread), max(spread)))
    return Scaling(curve, sum(errors) / len(errors), max(errors), tuple(forecasts))


def draw(arms: Sequence[Measured], curve: Curve, path: Path) -> None:
    """The arms and the curve, as PNG. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    along = np.geomspace(min(arm.tokens for arm in arms) / 1.5, max(arm.tokens for arm in arms) * 4, 60)
    for number, parameters in enumerate(sorted({arm.parameters for arm in arms})):
        own = [arm for arm in arms if arm.parameters == parameters]
        colour = f"C{number}"
        axes.errorbar(
            [arm.tokens for arm in own], [arm.nats for arm in own], [arm.nats_interval() for arm in own],
            fmt="o", color=colour, label=f"{_short(parameters)} parameters", capsize=2,
        )  # fmt: skip
        axes.plot(along, [curve(parameters, tokens) for tokens in along], color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="tokens trained", ylabel="nats per frame, held-out runs")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda number, place: _short(number)))
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _short(number: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}" if math.isfinite(number) else str(number)
