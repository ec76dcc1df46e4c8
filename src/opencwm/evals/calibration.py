"""`cwm eval calibration`: whether a model is as often right as it says, before and after its calibration.

Notable choices:
- Fitted on held-out programs of one seed, measured on those of another (or on a file's programs).
- Every frame is predicted from its true past, as `cwm eval frames` does. A *branch* is right where event, line,
  function and depth are; a *value* where the real frame has it.
- The error (ECE) is over 10 equal bins of probability, weighted by size, of each of the three kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from opencwm.evals.frames import BINS, calibration_error, coverage, judge, real_runs, true_past
from opencwm.evals.report import Progress, Report, describe
from opencwm.trace.frames import Frame
from opencwm.world.calibration import Calibration, Monotone
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import Prediction

FIT_SEED = 1
PROGRAMS = 200
Cases = list[tuple[float, bool]]


@dataclass(slots=True)
class Kinds:
    """(probability, right) of frames, branches and values, as the model gives them."""

    frame: Cases = field(default_factory=list)
    branch: Cases = field(default_factory=list)
    value: Cases = field(default_factory=list)

    def add(self, real: Frame, guess: Prediction) -> None:
        judged = judge(real, guess)
        self.frame.append((guess.probability, judged.right))
        self.branch.append((guess.branch, judged.branch))
        for name, chance in guess.values.items():
            ours, theirs = (f.locals.get(name) if name else f.value for f in (real, guess.frame))
            self.value.append((chance, judged.branch and ours == theirs))

    def mapped(self, calibration: Calibration) -> Kinds:
        """The same cases as the calibration tells them."""
        return Kinds(*([(one(p), right) for p, right in cases] for cases, one in self._pairs(calibration)))

    def _pairs(self, calibration: Calibration) -> list[tuple[Cases, Monotone]]:
        return [
            (self.frame, calibration.frame),
            (self.branch, calibration.branch),
            (self.value, calibration.value),
        ]


def collect(
    world: LocalWorld, path: Path | None, *, seed: int, limit: int | None, progress: Progress | None = None
) -> Kinds:
    """What a world says of each frame of real runs, uncalibrated, and whether it is so."""
    kept, world.calibration = world.calibration, None
    kinds = Kinds()
    try:
        runs = list(real_runs(path, seed=seed, limit=limit))
        for done, (program, trace) in enumerate(runs, 1):
            for real, guess in zip_longest(trace.frames, true_past(world, program, trace)[: len(trace.frames)]):
                if guess is not None:
                    kinds.add(real, guess)
            if progress:
                progress(done, len(runs))
    finally:
        world.calibration = kept
    return kinds


def fit(world: LocalWorld, *, limit: int, progress: Progress | None = None) -> Calibration:
    """A calibration from held-out programs of `FIT_SEED`."""
    kinds = collect(world, None, seed=FIT_SEED, limit=limit, progress=progress)
    fitted: dict[str, object] = {"data": f"generated, held out, seed {FIT_SEED}", "programs": limit}
    fitted |= {f"{name}s": len(getattr(kinds, name)) for name in ("frame", "value")}
    return Calibration(Monotone.fit(kinds.frame), Monotone.fit(kinds.branch), Monotone.fit(kinds.value), fitted=fitted)


def evaluate(
    path: Path | None = None,
    *,
    weights: Path | None = None,
    limit: int | None = None,
    fit_on: int = 0,
    plot: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Errors before and after the calibration of a weights folder; with `fit_on` programs it is fitted and saved first.

    Raises WorldError, ValueError for a malformed file, and ImportError where a plot lacks matplotlib.
    """
    folder = weights or SHIPPED
    world = LocalWorld.load(folder)
    if fit_on:
        world.calibration = fit(world, limit=fit_on, progress=progress)
        world.calibration.save(folder)
    count = limit if path is not None or limit is not None else PROGRAMS
    kinds = collect(world, path, seed=0, limit=count, progress=progress)
    after = kinds.mapped(world.calibration) if world.calibration is not None else None
    data = path.name if path is not None else "generated, held out, seed 0"
    fitted = world.calibration.fitted if world.calibration is not None else None
    report = Report("calibration", describe(world, weights, data=data, limit=count, fitted=fitted))
    for name in ("frame", "branch", "value"):
        cases = getattr(kinds, name)
        report.number(f"{name}: error, as the model says", calibration_error(cases), len(cases), "")
        if after is not None:
            report.number(f"{name}: error, calibrated", calibration_error(getattr(after, name)), len(cases), "")
    shown = after or kinds
    report.number("coverage at 99% precision", coverage(shown.frame), len(shown.frame), "share")
    if plot is not None:
        draw({"as the model says": kinds.frame} | ({"calibrated": after.frame} if after else {}), plot)
    return report


def bins(cases: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """Mean probability, share right and size of each bin that holds a case."""
    found: list[Cases] = [[] for _ in range(BINS)]
    for probability, right in cases:
        found[min(BINS - 1, int(probability * BINS))].append((probability, right))
    return [(sum(p for p, _ in b) / len(b), sum(right for _, right in b) / len(b), len(b)) for b in found if b]


def draw(curves: dict[str, Cases], output: Path) -> None:
    """The reliability plot: share right over probability, a line each, and below how many frames there are."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(
        2, 1, figsize=(4.6, 5.6), sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    top.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
    for name, cases in curves.items():
        points = bins(cases)
        top.plot([p for p, _, _ in points], [right for _, right, _ in points], marker="o", label=name)
        bottom.plot([p for p, _, _ in points], [n for _, _, n in points], marker="o")
    top.set_ylabel("share of frames right")
    top.legend(fontsize=8)
    bottom.set_ylabel("frames")
    bottom.set_xlabel("probability told")
    figure.tight_layout()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    pyplot.close(figure)
