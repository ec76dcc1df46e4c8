"""`cwm eval frames`: how well a world predicts the next frame, and how far it gets on its own.

Notable choices:
- *True past*: each frame of the real run is predicted from the frames before it. *Running free*: one greedy run, up to
  its first error; what comes after an error proves nothing and is not aligned.
- A frame is right when everything but its steps is equal. A wrong one is wrong in its *branch* (event, line, function,
  depth: where control went) or, where that is right, in its *values*.
- Survival at depth k counts the programs whose run has at least k frames.
- Programs come from a file in CRUXEval's layout, or from the writer under a name that training never uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol, runtime_checkable

from opencwm.evals.crux import load
from opencwm.evals.report import Progress, Report, describe
from opencwm.evals.running import FreeRun, check_alive, open_world, run_free
from opencwm.programs.program import Program
from opencwm.programs.renamed import renamed
from opencwm.programs.untrusted import record_untrusted
from opencwm.trace.frames import EVENTS, Frame, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record
from opencwm.world.compare import Comparison, compare, same
from opencwm.world.protocol import Prediction, World, WorldError

GENERATED = 200
"""How many programs are written where neither a file nor a limit is given."""
LIMITS = Limits(frames=1000)
DEPTHS = (1, 5, 10, 20, 50, 100)
BINS = 10
PRECISION = 0.99


@runtime_checkable
class Foresight(Protocol):
    """A world that can predict every next frame of a known run in one pass: prediction n from frames 0 to n-1."""

    def next_frames(self, program: Program, trace: Trace) -> list[Prediction]: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """One predicted frame against the real one."""

    event: str
    right: bool
    branch: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Result:
    """One program: what it did, its judged frames, its free run and how that compares."""

    trace: Trace
    judged: list[Judged]
    run: FreeRun
    free: Comparison

    @property
    def right(self) -> int:
        """How many frames are right given their true past."""
        return sum(frame.right for frame in self.judged)


def evaluate(
    path: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    rename: bool = False,
    alone: bool = False,
    world: World | None = None,
    progress: Progress | None = None,
) -> Report:
    """Score a world on the programs of a file, or without one on generated programs held out from training.

    `rename`: give all variables names without meaning first. `alone`: nothing is copied for the model. `world` answers
    if given; else the local model of `weights` (None: the shipped one). Raises ValueError for a malformed file.
    """
    world = world or open_world(weights, alone=alone)
    count = limit if path is not None or limit is not None else GENERATED
    data = Path(path).name if path is not None else f"generated, held out, seed {seed}"
    report = Report("frames", describe(world, weights, data=data, limit=count, renamed=rename or None))
    results: list[Result] = []
    runs = list(real_runs(path, seed=seed, limit=count, rename=rename))
    for done, (program, trace) in enumerate(runs, 1):
        results.append(measure(world, program, trace))
        if progress:
            progress(done, len(runs))
    check_alive([result.run for result in results])
    _score_true_past(report, results)
    _score_free(report, results)
    return report


def real_runs(
    path: str | Path | None, *, seed: int = 0, limit: int | None = None, rename: bool = False
) -> Iterator[tuple[Program, Trace]]:
    """Programs and what they really do: a file's are recorded in sandboxes, written ones in this process."""
    if path is not None:
        for item in load(path, limit=limit):
            program = renamed(item.program) if rename else item.program
            try:
                trace = record_untrusted(program, limits=LIMITS, steps=True)
            except RecordError as error:
                raise ValueError(f"{Path(path).name}, program {item.id}: {error}") from None
            yield program, trace
        return
    from opencwm.programs.write import stream

    for _, program in islice(stream(seed, namespace="held-out"), limit):
        program = renamed(program) if rename else program
        yield program, record(program, limits=LIMITS, steps=True)


def measure(world: World, program: Program, trace: Trace) -> Result:
    """One program, with its true past and running free. A world that gives up predicts no further frames."""
    judged = judged_frames(world, program, trace)
    run = run_free(world, program, limit=2 * len(trace.frames) + 50)
    return Result(trace, judged, run, compare(trace, run.trace))


def judged_frames(world: World, program: Program, trace: Trace) -> list[Judged]:
    """Every frame of a run, predicted from the real ones before it."""
    guesses = true_past(world, program, trace)
    return [judge(real, guess) for real, guess in zip_longest(trace.frames, guesses[: len(trace.frames)])]


def true_past(world: World, program: Program, trace: Trace) -> Sequence[Prediction | None]:
    """The prediction of each frame from the real frames before it; None where the world has none."""
    if isinstance(world, Foresight):
        try:
            return world.next_frames(program, trace)
        except WorldError:
            return []
    return [_next(world, program, trace.frames[:index]) for index in range(len(trace.frames))]


def _next(world: World, program: Program, past: Sequence[Frame]) -> Prediction | None:
    try:
        return next(iter(world.run(program, prefix=past)), None)
    except WorldError:
        return None


def judge(real: Frame, guess: Prediction | None) -> Judged:
    """One prediction against what happened."""
    if guess is None:
        return Judged(real.event, False, False, 0.0)
    ours, theirs = ((f.event, f.line, f.function, f.depth) for f in (real, guess.frame))
    return Judged(real.event, same(real, guess.frame), ours == theirs, guess.probability)


def _score_true_past(report: Report, results: Sequence[Result]) -> None:
    report.clustered("next frame", [(result.right, len(result.judged)) for result in results])
    per_program = [result.right / len(result.judged) for result in results if result.judged]
    report.mean("next frame, mean over programs", per_program, "share")
    for event in EVENTS:
        report.clustered(f"next frame, {event}", _count(results, lambda frame: frame.right, event))
    report.clustered("branch", _count(results, lambda frame: frame.branch))
    of_branch = [(result.right, sum(frame.branch for frame in result.judged)) for result in results]
    report.clustered("values, where the branch is right", of_branch)
    frames = [(frame.probability, frame.right) for result in results for frame in result.judged]
    report.number("calibration error (ECE)", calibration_error(frames), len(frames), "")
    report.number(f"coverage at {PRECISION:.0%} precision", coverage(frames), len(frames), "share")


def _count(
    results: Sequence[Result], wanted: Callable[[Judged], bool], event: str | None = None
) -> list[tuple[int, int]]:
    frames = [[frame for frame in result.judged if event in (None, frame.event)] for result in results]
    return [(sum(map(wanted, of_program)), len(of_program)) for of_program in frames]


def _score_free(report: Report, results: Sequence[Result]) -> None:
    reached = [result.free.frames_right for result in results]
    report.mean("frames until the first error", reached, "frames")
    report.median("frames until the first error, median", reached, "frames")
    for depth in DEPTHS:
        deep = [result.free.frames_right >= depth for result in results if result.free.frames_real >= depth]
        report.share(f"right to frame {depth}", sum(deep), len(deep))
    ended = [result for result in results if result.free.output_right is not None]
    whole = sum(result.free.complete and bool(result.free.output_right) for result in ended)
    report.share("whole run exact", whole, len(ended))
    report.share("output right", sum(bool(result.free.output_right) for result in ended), len(ended))
    cut = sum(result.run.trace.outcome.kind == "truncated" for result in ended)
    report.share("predicted run cut off", cut, len(ended))
    report.mean("frames per real run", [len(result.trace.frames) for result in results], "frames")
    report.mean("time per free run", [result.run.seconds for result in results], "s")


def calibration_error(frames: Sequence[tuple[float, bool]]) -> float | None:
    """Expected calibration error: |accuracy - mean probability| over 10 equal bins of probability, weighted by size."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, right in frames:
        bins[min(BINS - 1, int(probability * BINS))].append((probability, right))
    if not frames:
        return None
    return sum(abs(sum(right for _, right in b) - sum(p for p, _ in b)) for b in bins) / len(frames)


def coverage(frames: Sequence[tuple[float, bool]], precision: float = PRECISION) -> float | None:
    """The largest share of frames, surest first, of which `precision` are right."""
    ordered = sorted(frames, key=lambda frame: -frame[0])
    right = best = 0
    for index, (probability, is_right) in enumerate(ordered, 1):
        right += is_right
        tied = index < len(ordered) and ordered[index][0] == probability
        if not tied and right >= precision * index:
            best = index
    return best / len(ordered) if ordered else None
