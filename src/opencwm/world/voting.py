"""`VotingWorld`: several rollouts of one model, and what most of them come to.

Notable choices:
- The first rollout is greedy, the others are drawn, all at once in one engine that reads their common prompt once.
- Those that are cut off (malformed, endless, longer than the limit) and those that contradict themselves are dropped.
  What is left votes by outcome and result; a tie goes to the greedy rollout, else to the likelier one. Where nothing is
  left, the greedy rollout stands.
- The run that is shown is the likeliest of the winning side. A frame's probability is the share of all rollouts that
  are the same up to there: agreement, not the model's own confidence.
- No interpreter is in the loop; self-contradiction is read off the trace (`consistency.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from opencwm.codec.tokenizer import VALUE_TOKENS
from opencwm.model.compact_constraint import Constraint
from opencwm.model.engine import Engine
from opencwm.model.generation import Generation
from opencwm.model.sampling import Sampling
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.compare import same
from opencwm.world.consistency import contradiction
from opencwm.world.decoder import MAX_VALUE_TOKENS
from opencwm.world.local import UNFINISHED, LocalWorld, opened
from opencwm.world.protocol import MAX_FRAMES, Prediction, Runnable, WorldError

TEMPERATURE = 0.7
"""Of the drawn rollouts: below 1, so that most of them stay likely."""


class Writing:
    """The constraint of one rollout, which also keeps the frames that it completes."""

    def __init__(self, constraint: Constraint, room: int) -> None:
        self._constraint, self._room = constraint, room
        self.frames: list[Frame] = []
        self.endless = False

    @property
    def outcome(self) -> Outcome | None:
        reader = self._constraint.reader
        if reader.state == "done":
            return reader.outcome
        if self.endless:
            return Outcome("truncated", f"a value of more than {MAX_VALUE_TOKENS} tokens")
        return Outcome("truncated", "frames") if len(self.frames) >= self._room else None

    def allowed(self) -> list[int]:
        """Nothing once the rollout has ended, which ends the sequence."""
        if self.outcome is not None:
            return []
        allowed = self._constraint.allowed()
        reader = self._constraint.reader
        if reader.state == "value" and len(reader.value) >= MAX_VALUE_TOKENS:
            allowed = allowed - VALUE_TOKENS
            self.endless = not allowed
        return sorted(allowed)

    def forced(self) -> list[int]:
        allowed = self.allowed()
        return allowed if len(allowed) == 1 else []

    def push(self, token: int) -> None:
        self.frames += self._constraint.push(token)


@dataclass(slots=True)
class Rollout:
    """One predicted run from its first given frame on. `score` is the sum of its tokens' log-probabilities."""

    greedy: bool
    frames: list[Frame] = field(default_factory=list)
    outcome: Outcome | None = None
    score: float = 0.0
    tokens: int = 0
    wrong: str | None = None
    """Why it does not vote."""

    @property
    def mean(self) -> float:
        """Log-probability per token."""
        return self.score / max(1, self.tokens)


class VotingWorld:
    """Predicts runs by the vote of `rollouts` runs of `world`. `most_frames`: those that one predicts at most."""

    def __init__(
        self, world: LocalWorld, rollouts: int, *, temperature: float = TEMPERATURE, most_frames: int = MAX_FRAMES
    ) -> None:
        if rollouts < 1:
            raise WorldError(f"a vote of {rollouts} runs: give at least 1")
        self.world, self.rollouts, self.temperature, self.most_frames = world, rollouts, temperature, most_frames
        self.name = f"{world.name}, vote of {rollouts}"
        self.tally: Counter[str] = Counter()
        """Of all rollouts so far: those that were cut off, that contradict themselves, that vote."""
        self._engine = Engine(world.model, max_tokens=world.max_tokens, max_batch=rollouts, kept=1)

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = (), seed: int = 0) -> VotedRun:
        """Predict a run by vote, the same one for the same seed. Raises WorldError if the source does not fit."""
        made = self.roll(program, prefix=prefix, seed=seed)
        return VotedRun(program, tuple(prefix), made, self.world.python)

    def roll(self, program: Runnable, *, prefix: Sequence[Frame] = (), seed: int = 0) -> list[Rollout]:
        """All rollouts to their ends, the greedy one first."""
        made = [Rollout(number == 0, list(prefix)) for number in range(self.rollouts)]
        going = list(enumerate(made))
        before = [-1] * len(made)  # frames at the last start: a frame longer than the context would never end
        while going:
            due: list[tuple[int, Rollout, Writing, Generation]] = []
            for number, one in going:
                given = Trace(program.context, program.entry_line, tuple(one.frames), UNFINISHED, self.world.python)
                if before[number] == len(one.frames):
                    one.outcome = Outcome("truncated", "a frame longer than the model's context")
                    continue
                before[number] = len(one.frames)
                try:
                    ids, constraint = opened(given, self.world.max_tokens, self.world.size, copies=self.world.copies)
                except WorldError as error:
                    if len(one.frames) == len(prefix):
                        raise
                    one.outcome = Outcome("truncated", str(error))
                    continue
                writing = Writing(constraint, self.most_frames - len(one.frames) + len(prefix))
                sampling = Sampling(
                    self.world.max_tokens - len(ids),
                    temperature=0.0 if one.greedy else self.temperature,
                    seed=hash((seed, number, len(one.frames))),
                    constraint=writing,
                )
                due.append((number, one, writing, self._engine.submit(ids, sampling)))
            while self._engine.step():
                pass
            going = [(number, one) for number, one, writing, written in due if not _taken(one, writing, written)]
        for one in made:
            one.wrong = self._wrong(program, one)
            cut = one.outcome is not None and one.outcome.kind == "truncated"
            self.tally["vote" if one.wrong is None else "cut off" if cut else "contradict themselves"] += 1
        return made

    def _wrong(self, program: Runnable, one: Rollout) -> str | None:
        assert one.outcome is not None
        if one.outcome.kind == "truncated":
            return one.outcome.reason or "cut off"
        trace = Trace(program.context, program.entry_line, tuple(one.frames), one.outcome, self.world.python)
        return contradiction(trace)


def _taken(one: Rollout, writing: Writing, generation: Generation) -> bool:
    """Take over what a sequence has written; whether the rollout is at its end."""
    tokens = generation.result()
    one.tokens += len(tokens)
    one.score += sum(token.logprob for token in tokens)
    one.frames += writing.frames
    one.outcome = writing.outcome
    return one.outcome is not None


class VotedRun:
    """The winning rollout. `votes` of `voters` agree with its end; `rollouts` are all, with why some did not vote."""

    def __init__(self, program: Runnable, prefix: tuple[Frame, ...], rollouts: list[Rollout], python: str) -> None:
        self.context, self.entry_line, self.python = program.context, program.entry_line, python
        self.rollouts = rollouts
        self.tokens = sum(one.tokens for one in rollouts)
        winner, self.votes, self.voters = elect(rollouts)
        self._end = winner.outcome
        self.outcome: Outcome | None = None if winner.frames[len(prefix) :] else winner.outcome
        agreeing = [_common(winner.frames, one.frames) for one in rollouts]
        self._left = [
            _prediction(
                frame,
                sum(common > index for common in agreeing) / len(rollouts),
                winner.frames[index - 1] if index else None,
            )
            for index, frame in enumerate(winner.frames)
        ][len(prefix) :]

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if not self._left:
            raise StopIteration
        prediction = self._left.pop(0)
        if not self._left:
            self.outcome = self._end
        return prediction


def elect(rollouts: Sequence[Rollout]) -> tuple[Rollout, int, int]:
    """The rollout to show, how many end as it does, and how many had a vote; with no voters the first stands."""
    sides: dict[tuple[str, str | None], list[Rollout]] = defaultdict(list)
    voters = [one for one in rollouts if one.wrong is None]
    for one in voters:
        assert one.outcome is not None
        sides[one.outcome.kind, one.frames[-1].value if one.frames else None].append(one)
    if not sides:
        return rollouts[0], 0, 0
    best = max(sides.values(), key=lambda side: (len(side), any(one.greedy for one in side), max(o.mean for o in side)))
    return max(best, key=lambda one: (one.greedy, one.mean)), len(best), len(voters)


def _common(winner: Sequence[Frame], other: Sequence[Frame]) -> int:
    return sum(1 for _ in takewhile(lambda pair: same(*pair), zip(winner, other, strict=False)))


def _prediction(frame: Frame, share: float, before: Frame | None) -> Prediction:
    """A frame with the share that agrees, also for each value that is new in it."""
    known = before.locals if before is not None and before.function == frame.function else {}
    changed = {name for name, value in frame.locals.items() if known.get(name) != value}
    values = dict.fromkeys(sorted(changed), share) if frame.event in ("call", "line") else {"": share}
    return Prediction(frame, share, share, values, "model")
