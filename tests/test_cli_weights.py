"""`--weights` with a model of CWM's format: random weights, whose runs are nonsense and legal all the same."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("tiktoken", reason='pip install "opencwm[hf]"')
pytest.importorskip("openai", reason='pip install "opencwm[dev]"')

from servers import write_cwm_hub
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.codec import cwm
from opencwm.model import hf
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world import cwm_run

SOURCE = "def f(n):\n    t = 1\n    return t + n\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "random-cwm"
    sizes = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 32}
    model = Transformer(preset("cwm-32b", vocab_size=write_cwm_hub(folder), max_positions=2048, **sizes), seed=0)
    with torch.no_grad():
        model.output.weight.mul_(20)
    hf.save(folder, model)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(cwm_run, "FRAME_TOKENS", 120)
    file = tmp_path / "add.py"
    file.write_text(SOURCE)

    def go(command, *arguments, stdin=None):
        runner = CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"})
        words = [command, str(file), "--call", "f(2)", *map(str, arguments)]
        return runner.invoke(app, words, input=stdin, catch_exceptions=False)

    return go


def test_predict(run, weights):
    result = run("predict", "--weights", weights, "--check", "--limit-frames", 4, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    found = said["predicted"]["frames"]
    assert found[0]["event"] == "call" and found[0]["probability"] == 1
    assert all(0 <= frame["probability"] <= 1 for frame in found)
    assert said["check"]["frames_right"] >= 1 and len(said["real"]["frames"]) == 4
    frames = tuple(
        Frame(**{k: v for k, v in frame.items() if k not in ("probability", "branch", "values")}) for frame in found
    )
    context, entry_line = said["real"]["context"], said["real"]["entry_line"]
    trace = Trace(context, entry_line, frames, Outcome("truncated", "frames"), "3.11")
    assert cwm.from_text(cwm.to_text(trace)).frames == frames


def test_debug(run, weights):
    result = run("debug", "--weights", weights, stdin="step\nwhere\nquit\n")
    assert result.exit_code == 0, result.stderr
    assert "return f(2)" in result.stdout


def test_a_vote_says_what_it_needs(run, weights):
    result = run("predict", "--weights", weights, "--vote", 3)
    assert result.exit_code != 0 and result.stderr.startswith("cwm: --vote needs a model of the compact format")


def test_a_folder_without_its_tokenizer(run, weights, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(weights / name)
    result = run("predict", "--weights", tmp_path)
    assert result.exit_code == 3 and "no tokenizer.model" in result.stderr and result.stderr.count("\n") == 1
