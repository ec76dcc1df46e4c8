"""Votes: who may vote, who wins, what is shown; and contradictions that a trace carries in itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.programs.program import Program
from opencwm.programs.write import stream
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.consistency import contradiction
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import WorldError, collect
from opencwm.world.voting import Rollout, VotedRun, VotingWorld, elect

LOOP = Program("def f(s):\n    t = s\n    u = 7\n    for c in s:\n        u = c\n    return t\n", "f('abc')")
RETURNED, CUT = Outcome("return"), Outcome("truncated", "frames")


def rollout(value: str, *, greedy: bool = False, mean: float = -0.5, outcome: Outcome = RETURNED) -> Rollout:
    frames = [Frame("call", 1, "f", 0, {"x": "1"}), Frame("return", 2, "f", 0, {}, value)]
    return Rollout(greedy, frames, outcome, mean * 10, 10, "cut off" if outcome.kind == "truncated" else None)


def test_most_voices_win_and_the_likeliest_of_them_is_shown() -> None:
    made = [rollout("1", greedy=True), rollout("2"), rollout("2", mean=-0.1), rollout("3", mean=0)]
    winner, votes, voters = elect(made)
    assert winner is made[2] and (votes, voters) == (2, 4)


def test_a_tie_goes_to_the_greedy_rollout_and_those_that_are_cut_off_have_no_voice() -> None:
    made = [rollout("1", greedy=True), rollout("2", mean=0), *[rollout("3", outcome=CUT)] * 3]
    assert elect(made) == (made[0], 1, 2)
    none = [rollout("1", greedy=True, outcome=CUT), rollout("2", outcome=CUT)]
    assert elect(none) == (none[0], 0, 0)


def test_a_frame_is_as_sure_as_rollouts_agree() -> None:
    made = [rollout("1", greedy=True), rollout("2"), rollout("2"), rollout("3", outcome=CUT)]
    run = VotedRun(Program("def f(x):\n    return x\n", "f(1)"), (), made, "3.11")
    trace, predictions = collect(run)
    assert trace.frames[-1].value == "2" and trace.outcome == RETURNED
    assert [p.probability for p in predictions] == [1.0, 0.5]
    assert predictions[0].values == {"x": 1.0} and predictions[1].values == {"": 0.5}


@pytest.mark.skipif(not SHIPPED.exists(), reason="there are no shipped weights")
def test_rollouts_of_the_shipped_model(tmp_path: Path) -> None:
    world = LocalWorld.load()
    voting = VotingWorld(world, 4, most_frames=40)
    program = Program("def f(s):\n    return s.upper()\n", "f('abc')")
    made = voting.roll(program, seed=3)
    greedy, _ = collect(world.run(program))
    assert tuple(made[0].frames) == greedy.frames and made[0].outcome == greedy.outcome
    assert [one.frames for one in voting.roll(program, seed=3)] == [one.frames for one in made]
    assert sum(voting.tally.values()) == 8
    truth = record(program)
    assert all(one.frames[0] == truth.frames[0] for one in voting.roll(program, prefix=truth.frames[:1]))
    with pytest.raises(WorldError, match="at least 1"):
        VotingWorld(world, 0)


def test_no_real_run_contradicts_itself() -> None:
    for _, program in zip(range(300), stream(5, namespace="held-out"), strict=False):
        trace = record(program[1], limits=Limits(frames=300))
        assert contradiction(trace) is None, program[1].source


@pytest.mark.parametrize(
    ("line", "change", "told"),
    [
        (3, {"t": "'ab'"}, "line 2 leaves t='ab', not 'abc'"),
        (4, {"u": "8"}, "line 3 leaves u=8, not 7"),
        (5, {"c": "'x'"}, "line 4 gives c='x', not 'a'"),
    ],
)
def test_a_wrong_value_that_the_source_itself_denies(line: int, change: dict[str, str], told: str) -> None:
    trace = record(LOOP)
    assert contradiction(trace) is None
    at = next(index for index, frame in enumerate(trace.frames) if frame.line == line and frame.event == "line")
    assert told in str(contradiction(altered(trace, at, locals={**trace.frames[at].locals, **change})))


def test_a_wrong_return_and_one_round_too_many() -> None:
    trace = record(LOOP)
    at = next(index for index, frame in enumerate(trace.frames) if frame.event == "return")
    assert "returns 'abcd', not 'abc'" in str(contradiction(altered(trace, at, value="'abcd'")))
    heads = [index for index, frame in enumerate(trace.frames) if frame.line == 4 and frame.event == "line"]
    last, body = trace.frames[heads[-1]], trace.frames[heads[-2] + 1]
    again = (replace(body, locals=last.locals), last)
    longer = replace(trace, frames=(*trace.frames[: heads[-1] + 1], *again, *trace.frames[heads[-1] + 1 :]))
    assert "goes round 4 times over 3 items" in str(contradiction(longer))


def altered(trace: Trace, at: int, **fields: object) -> Trace:
    frames = list(trace.frames)
    frames[at] = replace(frames[at], **fields)  # type: ignore[arg-type]
    return replace(trace, frames=tuple(frames))
