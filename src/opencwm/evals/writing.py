"""`cwm eval writing`: functions of one to six lines written from examples, directly and with a rehearsed run first.

Notable choices:
- The same model answers the same wishes both ways (`codec/writing.py`), greedily and with nothing masked, so the
  difference is the rehearsal alone; it is reported paired.
- Solved is a function that returns what all examples say, shown and hidden ones, run in a sandbox. Code that fits the
  shown examples alone is counted too.
- Wishes come from programs of the writer under a name that training never uses. A drill can still be one that training
  has seen with other operands: what is measured is how well examples pick code, not whether code is new.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opencwm.codec import writing
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import VOCABULARY, decode_value, line_tokens
from opencwm.codec.writing import Wish
from opencwm.evals.report import Progress, Report, describe
from opencwm.model.engine import Engine
from opencwm.model.sampling import Sampling
from opencwm.programs import wishes, write
from opencwm.programs.program import Program
from opencwm.sandbox.pool import SNIPPET_LIMITS, Returned, SnippetPool
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import WorldError

WISHES = 200
"""How many, where no limit is given."""
SHOWN, EXAMPLES = 3, 6
LIMITS = Limits(frames=500, seconds=2)
LONGEST = 320
"""Tokens of the longest run, and of the longest function, that are waited for."""
BATCH = 16
RETURN = VOCABULARY.ids["<return>"]
CHECKS = replace(SNIPPET_LIMITS, cpu_seconds=2)


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish, what the writer wrote, and examples that the wish does not show."""

    wish: Wish
    source: str
    hidden: tuple[tuple[str, str], ...]


def evaluate(
    *, weights: str | Path | None = None, limit: int | None = None, seed: int = 0, progress: Progress | None = None
) -> Report:
    """Ask for `limit` held-out functions, each both ways. Raises WorldError, and InfraError without a sandbox."""
    world = LocalWorld.load(Path(weights) if weights is not None else None)
    if world.size <= writing.WRITE:
        raise WorldError(f"{world.name} was trained before it could be asked for code: train it with tasks.write")
    count = limit or WISHES
    asked = [wish for wish, _ in zip(held_out(seed, world.python), range(count), strict=False)]
    written: dict[bool, list[writing.Answer | None]] = {True: [], False: []}
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        for rehearse, answers in written.items():
            answers += answer(world, [each.wish for each in batch], rehearse=rehearse)
        if progress:
            progress(min(start + BATCH, count), count)
    report = Report("writing", describe(world, weights, data=f"generated, held out, seed {seed}", limit=count))
    solved: dict[bool, list[bool]] = {}
    for rehearse, name in ((False, "directly"), (True, "trace first")):
        answers = written[rehearse]
        shown, whole = zip(*check(asked, answers), strict=True)
        solved[rehearse] = list(whole)
        report.share(f"solved, {name}", sum(whole), len(asked))
        report.share(f"fits the shown examples, {name}", sum(shown), len(asked))
        report.share(f"malformed, {name}", sum(each is None for each in answers), len(asked))
        report.share(f"the writer's own text, {name}", sum(map(_same, asked, answers)), len(asked))
    differences = [float(after) - float(before) for after, before in zip(solved[True], solved[False], strict=True)]
    report.mean("solved, trace first less directly", differences, "of 1, paired")
    right = [returns(each, one.wish.examples[0][1]) for one, each in zip(asked, written[True], strict=True)]
    report.share("rehearsed run returns what is wanted", sum(right), len(asked))
    report.share("solved, of these", sum(s for s, r in zip(solved[True], right, strict=True) if r), sum(right))
    return report


def held_out(seed: int, python: str) -> Iterator[Asked]:
    """Wishes made from held-out written programs, without end."""
    for index, program in write.stream(seed, namespace="held-out"):
        first = writing.signature(program.source)
        if first is None:
            continue
        rng = random.Random(f"wish:{seed}:{index}")
        found = wishes.examples(program, rng, EXAMPLES, _record)
        if len(found) <= SHOWN:
            continue
        wish = Wish(first, tuple(found[:SHOWN]))
        try:
            lesson = writing.window(wish, program.source.strip(), python, writing.rehearsal(wish, _record(program)))
        except (CodecError, RecordError):
            continue
        if len(lesson.ids) <= LONGEST + len(writing.prompt(wish, python)):
            yield Asked(wish, program.source.strip(), tuple(found[SHOWN:]))


def _record(program: Program) -> Trace:
    return record(program, limits=LIMITS)


def answer(world: LocalWorld, asked: Sequence[Wish], *, rehearse: bool) -> list[writing.Answer | None]:
    """What the model writes for each wish; None where its tokens are no answer."""
    engine = Engine(world.model, max_tokens=world.max_tokens, max_batch=BATCH, kept=0)
    begun = [writing.prompt(wish, world.python, world.size) for wish in asked]
    if rehearse:
        begun = [[*ids, writing.TRACE] for ids in begun]
        begun = [ids + more for ids, more in zip(begun, _continued(engine, begun), strict=True)]
    begun = [ids + line_tokens(1) for ids in begun]
    answers: list[writing.Answer | None] = []
    for ids, more in zip(begun, _continued(engine, begun), strict=True):
        try:
            answers.append(writing.read(ids + more, world.size))
        except CodecError:
            answers.append(None)
    return answers


def _continued(engine: Engine, prompts: Sequence[list[int]]) -> list[list[int]]:
    """Greedy continuations up to `<end>`, or nothing for a prompt that leaves no room."""
    room = [min(LONGEST, engine.max_tokens - len(prompt)) for prompt in prompts]
    running = [
        engine.submit(prompt, Sampling(max_tokens=most, temperature=0, stop_ids=frozenset((writing.END,))))
        if most > 0
        else None
        for prompt, most in zip(prompts, room, strict=True)
    ]
    while engine.step():
        pass
    return [[token.id for token in each.result()] if each is not None else [] for each in running]


def check(asked: Sequence[Asked], answers: Sequence[writing.Answer | None]) -> list[tuple[bool, bool]]:
    """Whether each answer gives what the shown examples say, and what all do, run in a sandbox. Raises InfraError."""
    with SnippetPool(limits=CHECKS) as pool:
        futures = [
            None
            if answer is None
            else pool.submit_calls(answer.source, [call for call, _ in (*one.wish.examples, *one.hidden)])
            for one, answer in zip(asked, answers, strict=True)
        ]
        judged: list[tuple[bool, bool]] = []
        for one, future in zip(asked, futures, strict=True):
            wanted = [value for _, value in (*one.wish.examples, *one.hidden)]
            results = future.result() if future is not None else []
            right = [isinstance(r, Returned) and r.value == value for r, value in zip(results, wanted, strict=False)]
            shown = len(one.wish.examples)
            judged.append((bool(right) and all(right[:shown]), bool(right) and all(right)))
        return judged


def _same(asked: Asked, answer: writing.Answer | None) -> bool:
    return answer is not None and answer.source == asked.source


def returns(answer: writing.Answer | None, wanted: str) -> bool:
    """Whether the rehearsed run ends by returning the value of the first example."""
    if answer is None or answer.rehearsed is None or RETURN not in answer.rehearsed:
        return False
    last = len(answer.rehearsed) - answer.rehearsed[::-1].index(RETURN)
    try:
        return decode_value(answer.rehearsed[last:]) == wanted
    except CodecError:
        return False
