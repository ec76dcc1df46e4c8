"""Beginning a stage from what another one left: weights, runs, checkpoints; vocabularies that grew or differ."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.config import load
from opencwm.model.weights import load_weights, save_weights
from opencwm.train import checkpoint, state
from opencwm.train.fake import FakeSource
from opencwm.train.loop import train
from opencwm.train.meter import read_log
from opencwm.train.optim import Optimiser
from opencwm.train.pack import Mixture
from opencwm.train.run import TrainingError, build_model, export
from opencwm.train.settings import OptimiserSettings, StartSettings, TrainConfig
from opencwm.train.state import StartError
from opencwm.train.text import Compact, fingerprint

SMALL = [
    "model.overrides={dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=48}",
    "data.sequence_length=64",
    "data.buffer=16",
    "run.tokens_per_batch=256",
    "run.steps=12",
    "run.log_every=1",
    "run.checkpoint_every=6",
    "run.eval_programs=0",
    "run.threads=1",
]


def run(folder: Path, *overrides: str) -> tuple[list[float], str]:
    text = io.StringIO()
    config = load(TrainConfig, None, [*SMALL, f'run.folder="{folder}"', *overrides])
    mixture = Mixture.of(FakeSource(seed=int("start.path" in str(overrides))))
    train(config, mixture=mixture, held_out_mixture=Mixture({}, {}), console=Console(file=text, width=200))
    return [record["loss"] for record in read_log(folder) if "loss" in record], text.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    run(folder)
    export(folder, folder / "weights", dtype="float32")
    return folder


@pytest.mark.parametrize("what", ["weights", "run", "checkpoint", "checkpoints"])
def test_a_stage_starts_from_anything_that_holds_weights(tmp_path: Path, first: Path, what: str) -> None:
    newest = checkpoint.found(first / "checkpoints")[-1]
    path = {"weights": first / "weights", "run": first, "checkpoint": newest, "checkpoints": newest.parent}[what]
    losses, text = run(tmp_path, f'start.path="{path}"', "run.steps=2")
    end = [record["loss"] for record in read_log(first) if "loss" in record][-1]
    assert abs(losses[0] - end) < 0.25  # goes on learning, does not begin anew
    assert f"starting from {path if what == 'weights' else newest}" in text
    again, text = run(tmp_path, f'start.path="{path}"', "run.steps=4")  # resumes: the start is behind it
    assert "resuming" in text and "starting" not in text and again[:2] == losses


def moments(path: Path, kind: str, settings: str = "muon") -> tuple[dict[str, torch.Tensor], str]:
    model = build_model(load(TrainConfig, None, SMALL).model)
    optimiser = Optimiser(model, OptimiserSettings(kind=settings))  # type: ignore[arg-type]
    said = state.start(StartSettings(path, kind), model, optimiser, Compact())  # type: ignore[arg-type]
    return optimiser.state(), said


def test_moments_are_fresh_or_carried(first: Path) -> None:
    fresh, _ = moments(first, "fresh")
    carried, said = moments(first, "carried")
    assert "(step 12)" in said
    assert not any(bool(tensor.any()) for tensor in fresh.values())
    assert all(bool(tensor.any()) for tensor in carried.values())
    with pytest.raises(StartError, match=r"weights alone: start\.optimiser = carried needs a run"):
        moments(first / "weights", "carried")
    with pytest.raises(checkpoint.CheckpointError, match=r"nothing under optimiser/"):
        moments(first, "carried", "adamw")


def small_vocabulary(folder: Path, info: dict[str, Any], rows: int) -> Path:
    overrides = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 48, "vocab_size": rows}
    config = load(TrainConfig, None)
    save_weights(folder, build_model(type(config.model)("tiny", overrides), seed=9), info)
    return folder


def test_a_vocabulary_that_has_grown_at_its_end_gets_fresh_rows(tmp_path: Path) -> None:
    named = [name for name in VOCABULARY.names if not name.startswith("<spare")]
    older = small_vocabulary(tmp_path, {"tokenizer": fingerprint(named[:700])}, 700)
    model = build_model(load(TrainConfig, None, SMALL).model)
    fresh = model.embedding.weight.detach().clone()
    state.start(StartSettings(older), model, Optimiser(model, OptimiserSettings()), Compact())
    given, _ = load_weights(older)
    assert torch.equal(model.embedding.weight[:700], given.embedding.weight)
    assert torch.equal(model.embedding.weight[700:], fresh[700:])
    assert torch.equal(model.layers[0].attention.qkv.weight, given.layers[0].attention.qkv.weight)  # type: ignore[union-attr,arg-type]


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    other = small_vocabulary(tmp_path, {"tokenizer": "700-0123456789abcdef"}, 700)
    model = build_model(load(TrainConfig, None, SMALL).model)
    with pytest.raises(
        StartError, match=r"another tokenizer \(700-0123456789abcdef, 700 tokens; data.tokenizer is comp"
    ):
        state.start(StartSettings(other), model, Optimiser(model, OptimiserSettings()), Compact())


def test_a_checkpoint_of_another_tokenizer_is_refused(tmp_path: Path, first: Path) -> None:
    import shutil

    copy = tmp_path / "step-00000012"
    shutil.copytree(checkpoint.found(first / "checkpoints")[-1], copy)
    info = json.loads((copy / "info.json").read_text())
    (copy / "info.json").write_text(json.dumps(info | {"tokenizer": "900-x"}))
    manifest = json.loads((copy / "manifest.json").read_text())
    import hashlib

    data = (copy / "info.json").read_bytes()
    manifest["info.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StartError, match="another tokenizer"):
        moments(copy, "fresh")


def test_a_tokenizer_that_changed_under_a_run_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "run.steps=2")
    monkeypatch.setattr("opencwm.train.text.fingerprint", lambda names: f"{len(names)}-other")
    with pytest.raises(StartError, match="another tokenizer"):
        run(tmp_path, "run.steps=4")


def test_weights_in_the_layout_of_hugging_face(tmp_path: Path) -> None:
    plain = ["model.overrides.qk_norm=false", "model.overrides.conv_width=0", "run.steps=2"]
    run(tmp_path / "run", *plain)
    export(tmp_path / "run", tmp_path / "ours", dtype="float32")
    export(tmp_path / "run", tmp_path / "hub", dtype="float32", layout="hub")
    assert json.loads((tmp_path / "hub" / "config.json").read_text())["architectures"]
    ours, theirs = (load_weights(tmp_path / layout)[0].state_dict() for layout in ("ours", "hub"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    losses, _ = run(tmp_path / "next", *plain, f'start.path="{tmp_path}/hub"')
    assert len(losses) == 2
    run(tmp_path / "small", "run.steps=1")
    with pytest.raises(TrainingError, match="qk_norm, conv_width"):
        export(tmp_path / "small", tmp_path / "none", layout="hub")


def test_another_shape_is_refused(first: Path, tmp_path: Path) -> None:
    wider = load(TrainConfig, None, [*SMALL, "model.overrides.ffn_dim=64"])
    model = build_model(wider.model)
    optimiser = Optimiser(model, wider.optimiser)
    with pytest.raises(StartError, match=r"layers.0.ffn.gate_up.weight has another shape than \[model\] says"):
        state.start(StartSettings(first / "weights"), model, optimiser, Compact())
    with pytest.raises(checkpoint.CheckpointError, match="it is of another model"):
        state.start(StartSettings(first), model, optimiser, Compact())
    with pytest.raises(StartError, match="holds no weights"):
        state.start(StartSettings(tmp_path), model, optimiser, Compact())
