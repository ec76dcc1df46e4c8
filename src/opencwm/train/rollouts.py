"""Groups of predicted runs with a reward for each step: what `policy.py` learns from.

Notable choices:
- A rollout is drawn token by token among the legal ones, and ends with its first wrong frame: what would follow it
  cannot be judged. So all rollouts of a program that are still going at frame j stand in the same true state.
- Reward: 1/n for each right frame of a run of n frames, and a bonus for the end of a run that is right throughout.
- Advantage of the tokens of frame j: the rewards from j on, less the mean of those of the other rollouts of the group
  that got as far (leave one out): a baseline for every state, without a critic.
- The legal tokens of each choice are kept, so that the learner's policy is the one that was drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from opencwm.codec.compact import Encoder
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import SIZE
from opencwm.model.compact_constraint import Constraint
from opencwm.model.engine import Engine
from opencwm.model.sampling import Sampling
from opencwm.programs.mix import Mix
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.train.run import TrainingError
from opencwm.world.compare import same
from opencwm.world.local import UNFINISHED, opened
from opencwm.world.protocol import WorldError
from opencwm.world.voting import Writing

_PATIENCE = 2_000


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that was drawn: its place in the rollout's `ids`, the legal ones, the frame that it helps to write."""

    place: int
    legal: tuple[int, ...]
    frame: int


@dataclass(slots=True)
class Drawn:
    """One rollout: prompt and continuation, its choices and their log-probabilities when they were drawn.

    `right`: frames before the first wrong one; `whole`: all of them are, and the run ended as the real one.
    `advantages`: by frame, once its group is known.
    """

    ids: list[int]
    choices: list[Choice] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    right: int = 0
    whole: bool = False
    advantages: list[float] = field(default_factory=list)

    def reward(self, frames: int, bonus: float, since: int = 0) -> float:
        """Of the frames from `since` on, of a run of `frames`."""
        return max(0, self.right - since) / frames + (bonus if self.whole else 0.0)


class _Checked(Writing):
    """The constraint of a rollout that ends with its first wrong frame, and keeps what could be chosen."""

    def __init__(self, constraint: Constraint, truth: Trace, prompt: int) -> None:
        super().__init__(constraint, len(truth.frames) + 1)
        self._truth = truth
        self._legal: list[int] = []
        self._place = prompt
        self.wrong = False
        self.choices: list[Choice] = []

    def allowed(self) -> list[int]:
        self._legal = [] if self.wrong else super().allowed()
        return self._legal

    def push(self, token: int) -> None:
        before = len(self.frames)
        super().push(token)
        new = self.frames[before:]
        real = self._truth.frames
        for number, one in enumerate(new, before):
            self.wrong = self.wrong or number >= len(real) or not same(real[number], one)
        # What completes a line's frame is where control goes next, a part of that frame. Other frames are complete
        # with the token before; where one of these is wrong, nothing comes after it that could be judged.
        frame = before if self.wrong or any(one.event == "line" for one in new) else len(self.frames)
        if len(self._legal) > 1:
            self.choices.append(Choice(self._place, tuple(self._legal), frame))
        self._place += 1

    @property
    def right(self) -> int:
        """Frames before the first wrong one."""
        return len(self.frames) - 1 if self.wrong else len(self.frames)

    @property
    def whole(self) -> bool:
        ended = self.outcome is not None and self.outcome.kind == self._truth.outcome.kind
        return not self.wrong and ended and len(self.frames) == len(self._truth.frames)


def groups(
    engine: Engine,
    runs: Sequence[tuple[Program, Trace]],
    *,
    group: int,
    bonus: float,
    temperature: float,
    room: int,
    seed: int,
) -> list[list[Drawn]]:
    """`group` rollouts of each program, with their advantages. A run and its source must fit `room` tokens."""
    made = []
    for number, (program, trace) in enumerate(runs):
        due = []
        for member in range(group):
            given = Trace(program.context, program.entry_line, (), UNFINISHED, trace.python)
            ids, constraint = opened(given, room, min(engine.vocabulary, SIZE))
            checked = _Checked(constraint, trace, len(ids))
            sampling = Sampling(
                room - len(ids),
                temperature=temperature,
                seed=hash((seed, number, member)),
                constraint=checked,
            )
            due.append((Drawn(ids), checked, engine.submit(ids, sampling)))
        made.append(due)
    while engine.step():
        pass
    found = []
    for (_, trace), due in zip(runs, made, strict=True):
        rollouts = []
        for drawn, checked, generation in due:
            prompt = len(drawn.ids)
            tokens = generation.result()
            drawn.ids += [token.id for token in tokens]
            drawn.choices = checked.choices
            drawn.logprobs = [tokens[choice.place - prompt].logprob for choice in checked.choices]
            drawn.right, drawn.whole = checked.right, checked.whole
            rollouts.append(drawn)
        judge(rollouts, len(trace.frames), bonus)
        found.append(rollouts)
    return found


def judge(rollouts: Sequence[Drawn], frames: int, bonus: float) -> None:
    """Give the rollouts of one program, whose real run has `frames` frames, their advantages."""
    for one in rollouts:
        one.advantages = []
        for frame in range(one.right + 1):
            reached = [other.reward(frames, bonus, frame) for other in rollouts if other.right >= frame]
            mine = one.reward(frames, bonus, frame)
            others = (sum(reached) - mine) / (len(reached) - 1) if len(reached) > 1 else mine
            one.advantages.append(mine - others)


def programs(mix: Mix, first: int, room: int) -> Iterator[tuple[int, Program, Trace]]:
    """Programs of the stream from index `first` on with their runs, those that end and fit `room` tokens whole.

    Each comes with the index after it. Raises TrainingError where next to none fits.
    """
    index = last = first
    while True:
        if index - last >= _PATIENCE:
            raise TrainingError(f"of {_PATIENCE:,} programs none fits {room} tokens whole: raise mix.sequence_length")
        made = mix.make(index)
        index += 1
        if made.program is None or made.trace is None or made.rejected or made.trace.outcome.kind == "truncated":
            continue
        try:
            encoder = Encoder(made.trace)
            opened(Trace(made.program.context, made.program.entry_line, (), UNFINISHED, made.trace.python), room)
        except (CodecError, WorldError):
            continue
        if encoder.fit(0, room) == len(made.trace.frames):
            last = index
            yield index, made.program, made.trace
