"""`Calibration`: what a model's own probabilities are worth, as measured on runs that it was not trained on.

A frame that a model gives probability p is right in some other share of all cases. The map from one to the other is
fitted by isotonic regression (Zadrozny and Elkan, 2002: pool adjacent violators), which assumes nothing but that surer
is not worse, and stands beside the weights in `calibration.json`. There are three: for whole frames, for where control
goes (`branch`), and for single values.

Notable choices:
- Pools of fewer than `SMALLEST` cases are joined with their neighbours, and each share is drawn half a case towards
  either side: nothing is ever certain.
- Between the middles of two pools the map is linear, so that ranks are kept where the model tells cases apart.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from opencwm.world.protocol import Prediction

FILE = "calibration.json"
FORMAT = "opencwm.calibration/1"
SMALLEST = 25


class CalibrationError(ValueError):
    """A file that is no calibration; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Monotone:
    """A map of [0, 1] that never falls: linear between knots, constant beyond them. Without knots: the identity."""

    given: tuple[float, ...] = ()
    measured: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        same = len(self.given) == len(self.measured)
        if not same or list(self.given) != sorted(self.given) or list(self.measured) != sorted(self.measured):
            raise CalibrationError("a calibration's knots must be as many on both sides, and ascend")

    def __call__(self, probability: float) -> float:
        if not self.given or math.isnan(probability):
            return probability
        place = bisect_right(self.given, probability)
        if place in (0, len(self.given)):
            return self.measured[min(place, len(self.given) - 1)]
        low, high = self.given[place - 1], self.given[place]
        share = (probability - low) / (high - low)
        return self.measured[place - 1] + share * (self.measured[place] - self.measured[place - 1])

    @classmethod
    def fit(cls, cases: Sequence[tuple[float, bool]]) -> Monotone:
        """The map that fits (probability, right) pairs best; the identity for fewer than `SMALLEST`."""
        if len(cases) < SMALLEST:
            return cls()
        pools: list[tuple[float, float, int]] = []  # sum of probabilities, right, cases
        for probability, right in sorted(cases):
            pools.append((probability, float(right), 1))
            while len(pools) > 1 and _falls(pools[-2], pools[-1]):
                pools[-2:] = [_joined(*pools[-2:])]
        pools = _large(pools)
        return cls(
            tuple(probability / n for probability, _, n in pools),
            tuple((right + 0.5) / (n + 1) for _, right, n in pools),
        )


def _falls(left: tuple[float, float, int], right: tuple[float, float, int]) -> bool:
    return left[1] * right[2] >= right[1] * left[2]


def _joined(left: tuple[float, float, int], right: tuple[float, float, int]) -> tuple[float, float, int]:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def _large(pools: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Pools of at least `SMALLEST` cases, whose smoothed shares still ascend."""
    found: list[tuple[float, float, int]] = []
    for pool in pools:
        found.append(pool)
        while len(found) > 1 and (found[-2][2] < SMALLEST or _falls_smoothed(found[-2], found[-1])):
            found[-2:] = [_joined(*found[-2:])]
    while len(found) > 1 and (found[-1][2] < SMALLEST or _falls_smoothed(found[-2], found[-1])):
        found[-2:] = [_joined(*found[-2:])]
    return found


def _falls_smoothed(left: tuple[float, float, int], right: tuple[float, float, int]) -> bool:
    return (left[1] + 0.5) * (right[2] + 1) > (right[1] + 0.5) * (left[2] + 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps for whole frames, for where control goes, and for single values; `fitted` says on what."""

    frame: Monotone = field(default_factory=Monotone)
    branch: Monotone = field(default_factory=Monotone)
    value: Monotone = field(default_factory=Monotone)
    fitted: dict[str, Any] = field(default_factory=dict)

    def __call__(self, prediction: Prediction) -> Prediction:
        """The same frame with what its probabilities are worth; a frame is never surer than its branch."""
        branch = self.branch(prediction.branch)
        frame = self.frame(prediction.probability)
        values = {name: self.value(chance) for name, chance in prediction.values.items()}
        return replace(
            prediction, probability=min(frame, branch) if branch == branch else frame, branch=branch, values=values
        )

    def save(self, folder: Path) -> None:
        """Write `calibration.json` into a weights folder."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Calibration | None:
        """The calibration of a weights folder; None if it has none. Raises CalibrationError for a broken file."""
        path = folder / FILE
        if not path.exists():
            return None
        remedy = "fit it again: cwm eval calibration --fit"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise CalibrationError(f"it has format {record['format']!r}, this version reads {FORMAT!r}")
            maps = [
                Monotone(*(tuple(map(float, record[name][side])) for side in ("given", "measured")))
                for name in ("frame", "branch", "value")
            ]
            return cls(maps[0], maps[1], maps[2], dict(record["fitted"]))
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}; {remedy}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"{path} is no calibration ({error!r}); {remedy}") from None
