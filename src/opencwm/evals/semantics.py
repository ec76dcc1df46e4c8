"""`cwm eval semantics`: next-frame accuracy by statement, operator, builtin, method and exception of Python.

Each frame of a real run is predicted from the true frames before it, and counts for every feature (see
`programs/features.py`) of the line that ran to give it. So a row says: where a line holds this, how often is the frame
after it right? Notable choices:
- Frames of one program err together: intervals are over programs, as everywhere here.
- A line with many operations counts for all of them: a row is where to look, not proof of a cause.
- Features that no program of the sample has are rows too, with 0 frames: not measured is not right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from opencwm.evals.frames import judge, real_runs, true_past
from opencwm.evals.report import Figure, Progress, Report, describe, ratio
from opencwm.evals.running import open_world
from opencwm.programs import features
from opencwm.programs.mix import Mix, MixConfig
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.world.protocol import World

PROGRAMS = 200
"""Programs of the held-out stream where neither a file nor a limit is given."""


@dataclass(slots=True)
class Semantics(Report):
    """One figure per feature; `programs` says how many of the sample's programs have it."""

    sample: int = 0
    programs: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """As any report, with the number of programs per feature."""
        return Report.to_json(self)

    def table(self) -> str:
        """What was measured, kind by kind, the worst first; then what was not."""
        lines = [self.name, *(f"  {key}: {value}" for key, value in self.settings.items()), ""]
        lines.append(f"{'feature':<34}{'programs':>10}{'frames':>8}{'right':>9}   95 % interval")
        by_kind: dict[str, list[Figure]] = defaultdict(list)
        for figure in self.figures:
            by_kind[figure.name.partition(" ")[0]].append(figure)
        for kind, figures in by_kind.items():
            measured = sorted((f for f in figures if f.value is not None), key=lambda f: (f.value or 0.0, f.name))
            lines += [self._row(figure) for figure in measured]
            missing = [figure.name.partition(" ")[2] for figure in figures if figure.value is None]
            if missing:
                lines.append(f"{kind}, not in the sample: {', '.join(missing)}")
            lines.append("")
        return "\n".join(lines)

    def _row(self, figure: Figure) -> str:
        share = self.programs.get(figure.name, 0) / max(self.sample, 1)
        assert figure.value is not None
        row = f"{figure.name:<34}{share:>10.1%}{figure.n:>8}{figure.value:>9.1%}"
        if figure.low is not None and figure.high is not None:
            row += f"   {figure.low:.1%} to {figure.high:.1%}"
        return row


def evaluate(
    path: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    limit: int | None = None,
    config: MixConfig | None = None,
    world: World | None = None,
    progress: Progress | None = None,
) -> Semantics:
    """Score a world by feature on the programs of a file, or on the held-out side of a mix (the default mix if None).

    `world` answers if given; else the local model of `weights` (None: the shipped one). Raises ValueError for a
    malformed file.
    """
    world = world or open_world(weights)
    runs = list(real_runs(path, limit=limit) if path is not None else _held_out(config or MixConfig(), limit))
    data = Path(path).name if path is not None else "mix, held out"
    report = Semantics("semantics", describe(world, weights, data=data, programs=len(runs)), sample=len(runs))
    counts: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for done, (program, trace) in enumerate(runs, 1):
        found = _score(world, program, trace)
        for name, pair in found.items():
            counts[name].append(pair)
            report.programs[name] = report.programs.get(name, 0) + 1
        if progress:
            progress(done, len(runs))
    for name in _rows(counts):
        value, low, high = ratio(counts.get(name, []))
        report.figures.append(Figure(name, value, sum(n for _, n in counts.get(name, [])), low, high))
    return report


def _rows(counts: dict[str, Any]) -> list[str]:
    """`all frames`, every feature of Python by kind, and what else was found (modules, methods of unknown types)."""
    known = [f"{kind} {name}" for kind, names in features.UNIVERSE.items() for name in names]
    others = sorted(set(counts) - set(known) - {"all frames"})
    ordered = ["all frames", *known, *others]
    kinds = {name.partition(" ")[0]: None for name in ordered}
    return [name for kind in kinds for name in ordered if name.partition(" ")[0] == kind]


def _held_out(config: MixConfig, limit: int | None) -> Iterator[tuple[Program, Trace]]:
    mix = Mix(config, "held-out")
    index = found = 0
    while found < (limit or PROGRAMS):
        made = mix.make(index)
        index += 1
        if made.program is not None and made.trace is not None and not made.rejected:
            found += 1
            yield made.program, made.trace


def _score(world: World, program: Program, trace: Trace) -> dict[str, tuple[int, int]]:
    """(right, all) frames of one run by feature of the line that led to them."""
    by_line = features.by_line(features.parse(trace.context), features.values_by_line(trace))
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    guesses = true_past(world, program, trace)[: len(trace.frames)]
    lines: list[int] = []  # of the activations on the stack
    for real, guess in zip_longest(trace.frames, guesses):
        right = judge(real, guess).right
        del lines[real.depth + 1 :]
        ran = lines[real.depth] if len(lines) > real.depth else lines[-1] if lines else 0
        names = {"all frames", *by_line.get(ran, ())}
        if real.event == "exception":
            names.add(f"exception {(real.value or '').partition('(')[0]}")
        for name in names:
            found[name][0] += right
            found[name][1] += 1
        if real.event in ("call", "line"):
            lines[real.depth :] = [real.line]
    return {name: (right, count) for name, (right, count) in found.items()}
