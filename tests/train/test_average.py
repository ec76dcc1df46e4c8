"""Averages of runs: weights and moments, what refuses, and a stage that begins from one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.config import load
from opencwm.train import checkpoint
from opencwm.train.loop import export, train
from opencwm.train.settings import TrainConfig
from opencwm.train.state import MODEL, OPTIMISER

SHAPE = "model.overrides={ dim = 32, layers = 1, heads = 2, kv_heads = 1, head_dim = 16, ffn_dim = 48 }"
GIVEN = [
    SHAPE,
    "data.sources.programs.kind=mix",
    "data.sequence_length=256",
    "data.buffer=16",
    "run.steps=2",
    "run.tokens_per_batch=512",
    "run.eval_every=0",
    "run.threads=1",
    "run.eval_programs=0",
]


def run(folder: Path, *more: str) -> Path:
    train(load(TrainConfig, None, [*GIVEN, f'run.folder="{folder}"', *more]))
    return folder


def command(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return run(folder / "a", "data.seed=1"), run(folder / "b", "data.seed=2")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.load(folder / "checkpoints", print)
    assert saved is not None
    return saved.read([name for name in saved.sizes() if name.startswith((MODEL, OPTIMISER))])


def test_the_mean_of_two_runs_can_be_begun_from(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = command("train", "average", *pair, "--output", tmp_path / "mean")
    assert done.exit_code == 0, done.output
    assert "mean of 2 runs, 2,048 tokens together" in done.output
    (first, second), mean = map(tensors, pair), tensors(tmp_path / "mean")
    assert mean.keys() == first.keys() and any(name.startswith(OPTIMISER) for name in mean)
    assert not torch.equal(first["model/embedding.weight"], second["model/embedding.weight"])
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
    progress = export(tmp_path / "mean", tmp_path / "weights")
    assert progress.tokens == 2048
    following = run(tmp_path / "next", f'start.path="{tmp_path}/mean"', "start.optimiser=carried", "run.steps=1")
    assert not torch.equal(tensors(following)["model/embedding.weight"], mean["model/embedding.weight"])


def test_runs_that_do_not_go_together_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = run(tmp_path / "adamw", "optimiser.kind=adamw")
    done = command("train", "average", pair[0], other, "--output", tmp_path / "mean")
    assert done.exit_code == 4 and "is of another model, tokenizer or optimiser" in done.output
    assert not (tmp_path / "mean").exists()
    none = command("train", "average", pair[0], tmp_path / "none", "--output", tmp_path / "mean")
    assert none.exit_code == 4 and "has no checkpoint" in none.output
    taken = command("train", "average", *pair, "--output", pair[0])
    assert taken.exit_code == 4 and "holds a run already" in taken.output
