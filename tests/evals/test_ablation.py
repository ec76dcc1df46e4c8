"""The ablation: equal training for every arm, intervals over seeds, arms without data left out, runs not done twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.config import ConfigError, load
from opencwm.evals import ablation
from opencwm.evals.ablation import AblationConfig, ablate, arm_config, draw, held_out_figures, interval, missing
from opencwm.train.meter import read_log

ROOT = Path(__file__).parents[2]
SMALL = """
seeds = [0, 1]
frames_limit = 2
run_tokens = 64
frame_tokens = 24
[arms.none]
shares = { code = 1.0 }
[arms.traces]
shares = { code = 0.5, runs = 0.5 }
[arms.agents]
shares = { code = 0.5, agents = 0.5 }
[base.model]
overrides = { dim = 32, layers = 2, heads = 2, kv_heads = 1, head_dim = 16, ffn_dim = 48 }
[base.data]
sequence_length = 256
buffer = 8
[base.data.sources.code]
kind = "code"
paths = ["CODE"]
[base.data.sources.runs]
kind = "mix"
[base.data.sources.agents]
kind = "trajectories"
paths = ["absent.jsonl"]
[base.data.held_out.runs]
kind = "mix"
[base.optimiser]
warmup_steps = 2
[base.run]
steps = 12
tokens_per_batch = 512
checkpoint_every = 0
eval_every = 0
eval_programs = 8
threads = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> AblationConfig:
    code = tmp_path / "code.jsonl"
    code.write_text("".join(json.dumps({"text": f"x_{n} = {n}\nprint(x_{n})\n"}) + "\n" for n in range(50)))
    path = tmp_path / "small.toml"
    path.write_text(f'folder = "{tmp_path}/out"\n' + SMALL.replace("CODE", str(code)))
    return load(AblationConfig, path)


def test_arms_are_trained_measured_and_compared(config: AblationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    result = ablate(config, said.append)
    assert list(result.figures) == ["none", "traces"] and list(result.absent) == ["agents"]
    assert any("arm agents is left out: agents: absent.jsonl" in text for text in said)
    losses = {arm: result.figures[arm]["runs, loss"] for arm in result.figures}
    assert len(losses["none"]) == len(losses["traces"]) == 2
    assert max(losses["traces"]) < min(losses["none"])  # who has seen runs predicts them better
    assert losses["none"][0] != losses["none"][1]
    logs = [read_log(config.folder / f"none-{seed}")[-1] for seed in (0, 1)]
    counts = [[source["tokens"] for source in log["held_out_sources"].values()] for log in logs]
    assert counts[0] == counts[1] and sum(counts[0]) > 100  # measured on the same programs
    assert losses["none"][0] == pytest.approx(logs[0]["held_out_loss"])  # one kind: the loss over all held-out tokens
    assert all(0 <= share <= 1 for arm in result.figures.values() for share in arm["next frames"])
    table = result.table()
    assert "runs, loss" in table and "±" in table and "published, 8B" in table and "73.9 %" in table
    assert "given up: a run after 64 tokens, a frame after 24." in table
    with monkeypatch.context() as patched:
        patched.setattr("opencwm.train.loop.train", lambda *_, **__: pytest.fail("what is done is not done again"))
        assert ablate(config).figures == result.figures
    other = ablate(replace(config, frames_limit=3))  # trained already, but measured on something else
    assert other.figures["none"]["runs, loss"] == result.figures["none"]["runs, loss"]
    assert other.figures["traces"]["next frames"] != result.figures["traces"]["next frames"]
    pytest.importorskip("matplotlib")
    draw(result, config.folder / "plot.png")
    assert (config.folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_arms_differ_in_their_shares_alone(config: AblationConfig, tmp_path: Path) -> None:
    none, traces = (arm_config(config.base, config.arms[name], 1, tmp_path) for name in ("none", "traces"))
    assert none.data.sources.keys() == {"code"} and traces.data.sources.keys() == {"code", "runs"}
    assert (none.run, none.optimiser, none.model) == (traces.run, traces.optimiser, traces.model)
    assert none.data.held_out == traces.data.held_out and none.data.seed == traces.data.seed == 1
    assert missing(config, config.arms["none"]) == ""


def test_a_source_counts_by_its_tokens() -> None:
    values = {"loss": 1.0, "accuracy": 0.5, "tokens": 300.0}, {"loss": 5.0, "accuracy": 0.1, "tokens": 100.0}
    found = held_out_figures({"runs/a": values[0], "runs/b": values[1], "pulls": values[1]})
    assert found["runs, loss"] == pytest.approx(2.0) and found["runs, tokens right"] == pytest.approx(0.4)
    assert found["pulls, loss"] == 5.0


def test_intervals_are_student_s() -> None:
    centre, half = interval([1.0, 2.0, 3.0])
    assert centre == 2 and half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert interval([1.0]) == (1.0, None)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(SMALL.replace("shares = { code = 1.0 }", "shares = { other = 1.0 }"))
    with pytest.raises(ConfigError, match=r"arms.none: base.data.sources has no other"):
        load(AblationConfig, path)


def test_the_shipped_configuration_is_cwm_s_four_arms() -> None:
    shipped = load(AblationConfig, ROOT / "configs/ablation/tiny.toml")
    assert list(shipped.arms) == list(ablation.PUBLISHED)
    assert len(shipped.seeds) == 3
