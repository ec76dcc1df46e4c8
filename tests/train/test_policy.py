"""The policy gradient: rewards and baselines, the gradient against one written out, learning, stopping and going on."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.codec import compact
from opencwm.codec.tokenizer import SIZE
from opencwm.config import load
from opencwm.model.config import preset
from opencwm.model.engine import Engine
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights, save_weights
from opencwm.programs.mix import Mix
from opencwm.programs.program import Program
from opencwm.trace.recorder import record
from opencwm.train.optim import Optimiser
from opencwm.train.policy import LOG, PolicyConfig, improve, train
from opencwm.train.rollouts import Choice, Drawn, groups, judge, programs
from opencwm.train.run import TrainingError
from opencwm.train.settings import OptimiserSettings
from opencwm.world.local import SHIPPED

ROOT = Path(__file__).parents[2]
PROGRAM = Program("def f(s, n):\n    t = s * n\n    if n > 1:\n        t = t + s\n    return len(t)\n", "f('ab', 2)")
needs_weights = pytest.mark.skipif(not SHIPPED.exists(), reason="there are no shipped weights")


def drawn(right: int, *, whole: bool = False) -> Drawn:
    return Drawn([1, 2], [Choice(1, (2, 3), 0)], [-0.5], right, whole)


def test_the_baseline_of_a_frame_is_what_the_others_that_reached_it_get() -> None:
    rollouts = [drawn(0), drawn(2), drawn(4, whole=True)]
    judge(rollouts, 4, 0.5)
    # Rewards from frame 0 on: 0, 1/2, 3/2. From frame 1 on, of those that got there: 1/4, 5/4.
    assert [one.advantages[0] for one in rollouts] == pytest.approx([-1.0, -0.25, 1.25])
    assert [one.advantages[1] for one in rollouts[1:]] == pytest.approx([-1.0, 1.0])
    assert [len(one.advantages) for one in rollouts] == [1, 3, 5]
    assert rollouts[2].advantages[4] == 0  # alone there: nothing to compare with


@needs_weights
def test_rollouts_end_with_their_first_wrong_frame() -> None:
    model, _ = load_weights(SHIPPED)
    truth = record(PROGRAM, steps=True)
    engine = Engine(model, max_tokens=512, max_batch=16)
    settings = {"bonus": 0.5, "temperature": 2.5, "room": 512, "seed": 4}
    (made,) = groups(engine, [(PROGRAM, truth)], group=16, **settings)  # type: ignore[arg-type]
    assert len({tuple(one.ids) for one in made}) > 1 and len({one.right for one in made}) > 1
    for one in made:
        assert not one.whole or one.right == len(truth.frames)
        assert one.choices and max(choice.frame for choice in one.choices) <= one.right < len(one.advantages)
        assert all(one.ids[choice.place] in choice.legal and len(choice.legal) > 1 for choice in one.choices)
    (again,) = groups(engine, [(PROGRAM, truth)], group=16, **settings)  # type: ignore[arg-type]
    assert [one.ids for one in again] == [one.ids for one in made]


def test_the_gradient_is_that_of_the_sum_written_out() -> None:
    torch.manual_seed(0)
    model = Transformer(preset("tiny", dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=48), seed=3)
    made = [
        [
            Drawn([5, 9, 7, 8], [Choice(2, (7, 11, 30), 0), Choice(3, (8, 9), 1)], [-1.0, -0.7], 1, False, [0.5, -1.0]),
            Drawn([5, 9, 11], [Choice(2, (7, 11, 30), 0)], [-1.0], 0, False, [-0.5]),
        ]
    ]
    improve(model, made, 1.3)
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    total = torch.zeros(())
    for one in made[0]:
        logits = model(torch.tensor([one.ids]))[0] / 1.3
        for choice in one.choices:
            legal = logits[choice.place - 1, list(choice.legal)]
            chosen = legal[choice.legal.index(one.ids[choice.place])] - legal.logsumexp(0)
            total = total - one.advantages[choice.frame] * chosen
    scale = math.sqrt((0.25 + 1 + 0.25) / 3)
    (total / (3 * scale)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6)


@needs_weights
def test_rewards_rise_where_the_same_program_comes_again() -> None:
    model, _ = load_weights(SHIPPED)
    truth = record(PROGRAM, steps=True)
    optimiser = Optimiser(model, OptimiserSettings(kind="adamw", learning_rate=3e-4, weight_decay=0.0))
    rewards: list[float] = []
    for update in range(12):
        engine = Engine(model.eval(), max_tokens=512, max_batch=16)
        made = groups(engine, [(PROGRAM, truth)], group=16, bonus=0.5, temperature=1.5, room=512, seed=update)
        drift = improve(model, made, 1.5)
        assert drift < 1e-4  # what the engine says is what the learner says
        optimiser.step(1.0)
        rewards.append(sum(one.reward(len(truth.frames), 0.5) for one in made[0]) / 16)
    assert sum(rewards[-4:]) > sum(rewards[:4]) + 0.4, rewards


def small(folder: Path) -> list[str]:
    shape = {"dim": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 48}
    model = Transformer(preset("tiny", vocab_size=SIZE, **shape), seed=1)
    save_weights(folder / "start", model, {"codec": "compact"})
    return [
        f'start="{folder}/start"',
        f'folder="{folder}/run"',
        f'export.folder="{folder}/weights"',
        "export.dtype=float32",
        "updates=2",
        "programs=2",
        "group=3",
        "checkpoint_every=1",
        "optimiser.warmup_steps=0",
        "mix.sequence_length=256",
    ]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    given = small(tmp_path)
    config = load(PolicyConfig, ROOT / "configs" / "policy.toml", given)
    whole = train(config, lambda text: None)
    model, info = load_weights(tmp_path / "weights")
    assert info["policy"] == {"updates": 2, "programs": 2, "group": 3} and [one["update"] for one in whole] == [1, 2]
    other = [*given, f'folder="{tmp_path}/other"', f'export.folder="{tmp_path}/theirs"']
    first = train(load(PolicyConfig, ROOT / "configs" / "policy.toml", [*other, "updates=1"]), lambda text: None)
    then = train(load(PolicyConfig, ROOT / "configs" / "policy.toml", other), lambda text: None)
    assert [one["reward"] for one in first + then] == [one["reward"] for one in whole]
    theirs, _ = load_weights(tmp_path / "theirs")
    for (name, ours), (_, same) in zip(model.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(ours, same), name
    log = tmp_path / "other" / LOG
    assert len(log.read_text().splitlines()) == 2
    shutil.rmtree(tmp_path / "other" / "checkpoints" / "step-00000002")  # as if it had been killed before that save
    train(load(PolicyConfig, ROOT / "configs" / "policy.toml", other), lambda text: None)
    assert [json.loads(line)["update"] for line in log.read_text().splitlines()] == [1, 2]
    with pytest.raises(TrainingError, match="a run with another seed: choose another folder"):
        train(load(PolicyConfig, ROOT / "configs" / "policy.toml", [*other, "seed=5"]), lambda text: None)


def test_the_command(tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"})
    sets = [part for one in small(tmp_path) for part in ("--set", one)]
    path = str(ROOT / "configs" / "policy.toml")
    done = runner.invoke(app, ["train", "policy", path, *sets])
    assert done.exit_code == 0, done.output
    assert "update 2/2" in done.output and "weights written to" in done.output
    assert json.loads((tmp_path / "run" / LOG).read_text().splitlines()[0])["update"] == 1
    lacking = runner.invoke(app, ["train", "policy", path, *sets, "--from", str(tmp_path / "none")])
    assert lacking.exit_code == 4
    alone = runner.invoke(app, ["train", "policy", path, "--set", "group=1"])
    assert alone.exit_code != 0


def test_programs_are_those_that_fit_whole() -> None:
    mix = Mix(load(PolicyConfig, ROOT / "configs" / "policy.toml").mix)
    stream = programs(mix, 10, 200)
    found = [next(stream) for _ in range(5)]
    assert [index for index, _, _ in found] == sorted({index for index, _, _ in found})
    assert all(trace.outcome.kind != "truncated" for _, _, trace in found)
    assert all(len(compact.encode(trace).ids) <= 200 for _, _, trace in found)
    with pytest.raises(TrainingError, match=r"none fits 20 tokens whole: raise mix\.sequence_length"):
        next(programs(mix, 10, 20))
