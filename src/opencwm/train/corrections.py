"""`cwm data corrections`: a model's own rollouts against the interpreter, and what it should have written.

A program of the training stream is recorded and predicted freely, up to the first frame that is wrong. Two lessons:

    step     the true state before that frame, and from it the true frames: what should have been written
    state    the model's own frame, where one local has a wrong value: that value is injected into the running program
             (`programs/counterfactual.py`), and what then really follows is to be predicted from the model's own state

The second is the interpreter as a teacher in states that only the model gets into (DAgger; Ross et al., 2011), so that
one slip does not make all that follows strange to it.

Notable choices:
- Only the `REACH` frames from the first wrong one on are predicted; what stands before them is given.
- Rollouts that are right teach nothing new here: keep them by mixing the ordinary stream with these windows.
- Written as rows of ids and weights (source kind "windows") with the vocabulary's fingerprint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from opencwm.codec.compact import Encoder
from opencwm.codec.errors import CodecError
from opencwm.programs import foreign
from opencwm.programs.counterfactual import Change, rerun, shown
from opencwm.programs.derived import Rerun
from opencwm.programs.mix import Mix
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError
from opencwm.world.compare import differences, same
from opencwm.world.literals import literal
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import WorldError

REACH = 6


@dataclass(frozen=True, slots=True)
class Correction:
    """A window of ids with the weight of each, which lesson it is, and the program's place in the stream."""

    ids: list[int]
    weights: list[float]
    lesson: Literal["step", "state"]
    index: int


def corrections(
    world: LocalWorld, mix: Mix, start: int, programs: int, tally: Counter[str] | None = None
) -> Iterator[Correction]:
    """Lessons from `programs` programs of the stream from `start` on. `tally` counts how rollouts went."""
    tally = Counter() if tally is None else tally
    for index in range(start, start + programs):
        made = mix.make(index)  # with its audit: no program of an evaluation set
        trace = made.trace
        if made.program is None or trace is None or made.rejected:
            tally["left out"] += 1
            continue
        again = foreign.recorder().rerun if made.foreign else rerun
        try:
            wrong = first_error(world, made.program, trace)
        except WorldError:
            tally["left out"] += 1
            continue
        if wrong is None:
            tally["right"] += 1
            continue
        at, predicted = wrong
        tally["wrong"] += 1
        lessons: list[tuple[Literal["step", "state"], Trace, int]] = [("step", trace, at)]
        after = None
        if predicted is not None:
            after = own_state(
                made.program, trace, at, predicted, limits=mix.limits, steps=mix.config.steps, again=again
            )
        if after is not None:
            lessons.append(("state", after, at + 1))
        for lesson, run, first in lessons:
            try:
                window = _window(Encoder(run), first, mix.config.sequence_length)
            except CodecError:
                continue
            if window is not None:
                tally[lesson] += 1
                yield Correction(*window, lesson, index)


def first_error(world: LocalWorld, program: Program, trace: Trace) -> tuple[int, Frame | None] | None:
    """Where a free run first differs from the real one, and the frame that it has there (None: it ended).

    None for a run that is right as far as the real one goes.
    """
    run = iter(world.run(program))
    for index, real in enumerate(trace.frames):
        guess = next(run, None)
        if guess is None or not same(real, guess.frame):
            return index, guess.frame if guess is not None else None
    return None


def own_state(
    program: Program, trace: Trace, at: int, predicted: Frame, *, limits: Limits, steps: bool, again: Rerun = rerun
) -> Trace | None:
    """The run as it goes on from the model's frame number `at`; None unless that is a line with one wrong value.

    `limits` and `steps` are those of `trace`; `again` runs the program a second time, where it may run.
    """
    parts = differences(trace.frames[at], predicted)
    if predicted.event != "line" or len(parts) != 1 or parts[0].kind != "local":
        return None
    part = parts[0]
    if part.name is None or part.real is None or part.predicted is None:
        return None
    try:
        literal(part.predicted)
    except ValueError:
        return None
    change = Change(at + 1, part.name, part.predicted)
    try:
        after = again(program, change, limits=limits, steps=steps)
    except RecordError:
        return None
    return shown(trace, after, change)


def _window(encoder: Encoder, first: int, room: int) -> tuple[list[int], list[float]] | None:
    """The window that predicts frames from `first` on, with as much of the past as fits; None if none does."""
    frames = encoder.trace.frames
    if first >= len(frames):
        return None
    start = 0
    if encoder.fit(0, room) < min(first + REACH, len(frames)):
        starts = [at for at in range(first, 0, -1) if frames[at - 1].event in ("call", "line")]
        start = next((at for at in starts if first - at <= REACH and encoder.fit(at, room) > first), -1)
        if start < 0:
            return None
    stop = min(first + REACH, encoder.fit(start, room))
    if stop <= first:
        return None
    given = len(encoder.window(start, first, ending=False).ids)
    ids = encoder.window(start, stop).ids
    if len(ids) > room:
        return None
    return ids, [0.0] * given + [1.0] * (len(ids) - given)
