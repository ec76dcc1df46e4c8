"""The ladder: arms differ in what they set, are measured on the same runs, and are not trained twice."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.config import ConfigError, load
from opencwm.evals import ladder as rungs
from opencwm.evals.ladder import LadderConfig, Measured, ladder, nats_of, table
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.train.run import build_model
from opencwm.train.text import open_tokens

ROOT = Path(__file__).parents[2]
SMALL = """
programs = 4
next_frames = 1
[arms.base]
[arms.bytes]
set = ["data.sources.programs.kind=write", "data.tokenizer=bytes", "data.sequence_length=2048"]
[arms.steps-off]
set = ["data.sources.programs.mix.steps=false"]
[base.model]
overrides = { dim = 32, layers = 1, heads = 2, kv_heads = 1, head_dim = 16, ffn_dim = 32 }
[base.data]
sequence_length = 512
buffer = 8
[base.run]
steps = 2
tokens_per_batch = 2048
checkpoint_every = 0
eval_every = 0
eval_programs = 0
threads = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(f'folder = "{tmp_path}/out"\n' + SMALL)
    return path


def test_arms_are_trained_once_and_measured_on_the_same_runs(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.arm: one for one in ladder(config)}
    assert list(found) == ["base", "bytes", "steps-off"]
    frames = [frames for _, frames, _ in found["base"].runs]
    assert all([frames for _, frames, _ in one.runs] == frames for one in found.values())
    assert found["bytes"].length > 3 * found["steps-off"].length > 0  # tokens of a frame
    assert found["base"].length > found["steps-off"].length
    assert not found["bytes"].frames and found["base"].frames
    monkeypatch.setattr(rungs, "train", lambda *_: pytest.fail("it was trained already"))
    again = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["ladder", str(config), "--only", "base"])
    assert again.exit_code == 0 and f"`cwm ladder {config} --only base`" in again.stdout
    assert again.stdout.count("\n| base") == 1


def test_nats_are_those_of_the_model_by_hand(config: Path) -> None:
    """An untrained model of equal logits: the logarithm of the vocabulary, per token."""
    base = load(LadderConfig, config).base
    tokens = open_tokens("compact")
    shape = preset("tiny", vocab_size=tokens.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    model = Transformer(shape)
    torch.nn.init.zeros_(model.embedding.weight)
    traces = [trace for _, (_, trace) in zip(range(3), rungs.runs(), strict=False)]
    for nats, frames, count in nats_of(model, tokens, traces, base):
        assert count > frames > 0
        assert nats == pytest.approx(count * torch.log(torch.tensor(float(tokens.size))).item(), rel=1e-4)


def test_a_difference_is_paired(config: Path) -> None:
    one = Measured("base", 0, 1, 1, 1.0, [(10.0, 5, 9), (40.0, 10, 9)], [])
    other = Measured("bytes", 0, 1, 1, 1.0, [(11.0, 5, 9), (42.0, 10, 9)], [])
    assert one.nats == pytest.approx(50 / 15) and one.nats_interval() > 0.5
    assert other.against(one) == (pytest.approx(0.2), pytest.approx(0.0, abs=1e-9))
    assert Measured.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert "base: +0.200 ± 0.000" in table(load(LadderConfig, config), [one, other], "cwm ladder x")


def test_what_cannot_be_is_told(config: Path) -> None:
    refused = CliRunner().invoke(app, ["ladder", str(config), "--only", "none"])
    assert refused.exit_code == 2
    with pytest.raises(ConfigError, match="no arm 'none'"):
        load(LadderConfig, config, ["arms.base.against=none"])


def test_the_ladder_of_the_recipe_can_be_read() -> None:
    config = load(LadderConfig, ROOT / "configs/ladder.toml")
    assert len(config.arms) >= 16
    for name, arm in config.arms.items():
        changed = load(LadderConfig, ROOT / "configs/ladder.toml", [f"base.{value}" for value in arm.set])
        assert (changed.base != config.base) == (name != "base"), name


@pytest.mark.parametrize("name", ["scaling", "links"])
def test_the_other_ladders_can_be_read_and_built(name: str) -> None:
    path = ROOT / f"configs/{name}.toml"
    config = load(LadderConfig, path)
    for arm in config.arms.values():
        changed = load(LadderConfig, path, [f"base.{value}" for value in arm.set])
        with torch.device("meta"):
            assert build_model(changed.base.model).config.parameter_count() > 50_000
