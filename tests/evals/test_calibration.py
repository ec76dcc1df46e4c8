"""Calibration as an evaluation: fitted on some programs, measured on others, kept beside the weights, drawn."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.evals.calibration import Kinds, collect
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.trace.frames import Frame
from opencwm.world import decoder
from opencwm.world.calibration import FILE, Calibration, Monotone
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import Prediction


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that knows nothing and is sure of it: its frames are legal, and right only where nothing else is."""
    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 8)
    config = preset("tiny", vocab_size=VOCABULARY.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    model = Transformer(config)
    with torch.no_grad():
        model.norm.weight.fill_(50.0)
    save_weights(tmp_path / "random", model, {})
    return tmp_path / "random"


def test_frames_branches_and_values_are_judged_apart() -> None:
    kinds = Kinds()
    real = Frame("line", 3, "f", 0, {"x": "1", "y": "2"})
    kinds.add(real, Prediction(Frame("line", 3, "f", 0, {"x": "1", "y": "9"}), 0.5, 0.9, {"x": 0.8, "y": 0.6}))
    kinds.add(real, Prediction(Frame("line", 4, "f", 0, {"x": "1", "y": "2"}), 0.4, 0.7, {"x": 0.3}))
    assert kinds.frame == [(0.5, False), (0.4, False)]
    assert kinds.branch == [(0.9, True), (0.7, False)]
    assert kinds.value == [(0.8, True), (0.6, False), (0.3, False)]


def test_it_is_fitted_kept_measured_and_drawn(weights: Path, tmp_path: Path) -> None:
    picture = tmp_path / "reliability.png"
    given = ["eval", "calibration", "--weights", str(weights), "--limit", "6", "--fit", "--fit-programs", "6", "--json"]
    done = CliRunner().invoke(app, [*given, "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    figures = {one["name"]: one["value"] for one in report["figures"]}
    kept = Calibration.load(weights)
    assert kept is not None and kept.fitted["programs"] == 6 and report["settings"]["fitted"] == kept.fitted
    assert figures["frame: error, calibrated"] < figures["frame: error, as the model says"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    plain = CliRunner().invoke(app, ["eval", "calibration", "--weights", str(weights), "--limit", "6", "--json"])
    assert {
        one["name"]: one["value"] for one in json.loads(plain.stdout)["figures"]
    } == figures  # the same, not fitted anew


def test_what_is_collected_is_the_model_s_own_and_the_world_stays_calibrated(weights: Path) -> None:
    Calibration(frame=Monotone((0.0, 1.0), (0.5, 0.5))).save(weights)
    assert (weights / FILE).exists()
    world = LocalWorld.load(weights)
    kinds = collect(world, None, seed=0, limit=1)
    assert any(p != 0.5 for p, _ in kinds.frame) and world.calibration is not None
