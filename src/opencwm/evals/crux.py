"""`cwm eval crux`: what a function returns, predicted by one greedy run per program; CRUXEval's output task.

Notable choices:
- One greedy run each, or the vote of several. No interpreter is in the loop: only literals of the file are evaluated.
- Two scores. *Strict*: the predicted repr text is the expected one. *Assert*: CRUXEval's own `assert OUTPUT ==
  PREDICTION`; as both sides are literals, comparing their values is that assert (`1 == True` passes, as it does there),
  and a prediction that is no literal fails.
- Nothing shrinks the sample: a run that is cut off, raises, or that the world gives up on is wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from opencwm.evals.report import Progress, Report, describe
from opencwm.evals.running import FreeRun, check_alive, open_world, run_free
from opencwm.programs.program import Program, ProgramError
from opencwm.trace.values import render
from opencwm.world.literals import literal
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import World
from opencwm.world.voting import VotingWorld

FIELDS = ("code", "input", "output")
MOST_FRAMES = 256
"""Frames after which a predicted run is cut off; of CRUXEval's development half 399 of 400 real runs are shorter."""
LIMITS_REACHED = ("frames", "tokens", "bytes", "depth", "seconds", "memory", "processes", "exit")
"""Reasons with which a run can properly be cut off; one that breaks off for another is malformed."""


@dataclass(frozen=True, slots=True)
class CruxItem:
    """One program of a file in CRUXEval's layout: `output` is repr text of what `f(input)` returns."""

    program: Program
    code: str
    input: str
    output: str
    id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A program and its predicted run."""

    item: CruxItem
    run: FreeRun

    @property
    def returned(self) -> str | None:
        """repr text of what the predicted run returns; None if it raises or is cut off."""
        return self.run.trace.result if self.run.trace.outcome.kind == "return" else None

    @property
    def strict(self) -> bool:
        """Whether the predicted repr text is the expected one."""
        return self.returned is not None and same_text(self.item.output, self.returned)

    @property
    def asserted(self) -> bool:
        """Whether `assert OUTPUT == PREDICTION` holds."""
        return self.returned is not None and same_value(self.item.output, self.returned)


def load(path: str | Path, *, limit: int | None = None) -> list[CruxItem]:
    """The first `limit` programs of a JSON-lines file with the fields code, input, output and (optionally) id.

    Raises ValueError, with the line's number and what is missing, for a line of another form; OSError if there is no
    such file.
    """
    items: list[CruxItem] = []
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if limit is not None and len(items) >= limit:
                break
            if line.strip():
                items.append(_item(line, number, Path(path).name))
    if not items and limit != 0:
        raise ValueError(f"{Path(path).name} holds no programs: one JSON object per line is expected")
    return items


def _item(line: str, number: int, name: str) -> CruxItem:
    where = f"{name}, line {number}"
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON ({error}); one object with code, input and output is expected") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: an object with code, input and output is expected, not {type(record).__name__}")
    for key in FIELDS:
        if not isinstance(record.get(key), str):
            has = f"has {', '.join(record) or 'no fields'}" if key not in record else "is not a string"
            raise ValueError(f"{where}: the field {key!r} is expected as a string; the line {has}")
    identity = str(record.get("id", f"line {number}"))
    try:
        program = Program.parse(record["code"], f"f({record['input']})", origin=identity)
    except ProgramError as error:
        raise ValueError(f"{where}: {error}") from None
    return CruxItem(program, record["code"], record["input"], record["output"], identity)


def evaluate(
    path: str | Path,
    *,
    weights: str | Path | None = None,
    limit: int | None = None,
    world: World | None = None,
    vote: int = 0,
    alone: bool = False,
    most_tokens: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Predict every program of the file once and score it.

    `world` answers if given; else the local model of `weights` (None: the shipped one), with `vote` by the vote of so
    many rollouts. `alone`: nothing is copied for it. `most_tokens`: those after which a run is cut off, besides
    `MOST_FRAMES`. Raises ValueError for a malformed file, and WorldError if the world can answer nothing at all.
    """
    items = load(path, limit=limit)
    world = world or open_world(weights, alone=alone)
    if vote:
        assert isinstance(world, LocalWorld), "votes are taken of a local model"
        world = VotingWorld(world, vote, most_frames=MOST_FRAMES)
    answers: list[Answer] = []
    for item in items:
        answers.append(Answer(item, run_free(world, item.program, limit=MOST_FRAMES, tokens=most_tokens)))
        if progress:
            progress(len(answers), len(items))
    check_alive([answer.run for answer in answers])
    report = Report("crux", describe(world, weights, data=Path(path).name, limit=limit, most_tokens=most_tokens))
    _score(report, answers)
    if isinstance(world, VotingWorld):
        for what in ("vote", "cut off", "contradict themselves"):
            report.share(
                f"rollouts that {what}".replace("that cut", "that are cut"), world.tally[what], vote * len(items)
            )
    return report


def _score(report: Report, answers: list[Answer]) -> None:
    n = len(answers)
    report.share("strict", sum(a.strict for a in answers), n)
    report.share("assert", sum(a.asserted for a in answers), n)
    kinds = Counter(kind_of(a.item.output) for a in answers)
    for kind, count in kinds.most_common():
        of_kind = [a for a in answers if kind_of(a.item.output) == kind]
        report.share(f"strict, {kind}", sum(a.strict for a in of_kind), count)
    runs = [a.run for a in answers]
    cut = [run for run in runs if run.trace.outcome.kind == "truncated"]
    report.share("predicted to raise", sum(run.trace.outcome.kind == "exception" for run in runs), n)
    report.share("truncated", len(cut), n)
    malformed = [run for run in cut if run.error is None and run.trace.outcome.reason not in LIMITS_REACHED]
    report.share("malformed", len(malformed), n)
    report.mean("frames per run", [len(run.trace.frames) for run in runs], "frames")
    report.mean("tokens per run", [run.tokens for run in runs if run.tokens is not None], "tokens")
    report.mean("time per run", [run.seconds for run in runs], "s")
    report.median("time per run, median", [run.seconds for run in runs], "s")


def same_text(expected: str, predicted: str) -> bool:
    """Whether the prediction is the repr text of the expected value, written as traces write it (sets sorted)."""
    try:
        return render(literal(expected), 4 * len(expected) + 2_000) == predicted
    except ValueError:
        return expected == predicted


def same_value(expected: str, predicted: str) -> bool:
    """Whether both texts are literals with equal values."""
    try:
        return bool(literal(expected) == literal(predicted))
    except (ValueError, RecursionError):
        return False


def kind_of(output: str) -> str:
    """The type's name of a literal; `other` for what is none."""
    try:
        return type(literal(output)).__name__
    except ValueError:
        return "other"
