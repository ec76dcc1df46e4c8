"""A loss curve that is kept in git: a refactor must not change it.

Make it again, after a change that is meant to change it, with `python tests/train/test_golden.py`.
"""

import json
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from opencwm.config import load
from opencwm.train.fake import FakeSource
from opencwm.train.loop import train
from opencwm.train.meter import read_log
from opencwm.train.pack import Mixture
from opencwm.train.settings import TrainConfig

GOLDEN = Path(__file__).parent / "golden" / "losses.json"
SMALL = [
    "model.overrides={dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=48, vocab_size=1024}",
    "data.sequence_length=64",
    "data.buffer=16",
    "run.tokens_per_batch=256",
    "run.steps=24",
    "run.log_every=1",
    "run.checkpoint_every=0",
    "run.eval_every=8",
    "run.eval_programs=10",
    "run.threads=1",
    "optimiser.warmup_steps=4",
]
CASES = {"muon": [], "adamw": ["optimiser.kind=adamw"], "cosine": ["optimiser.kind=adamw", "optimiser.schedule=cosine"]}


def curve(folder: Path, case: str) -> dict[str, list[float]]:
    config = load(TrainConfig, None, [*SMALL, f'run.folder="{folder}"', *CASES[case]])
    shares = {"letters": 0.7, "short": 0.3}
    mixture = Mixture({"letters": FakeSource(), "short": FakeSource(seed=3, longest=12, name="short")}, shares)
    train(config, mixture=mixture, held_out_mixture=Mixture.of(FakeSource(seed=1)), console=Console(quiet=True))
    log = read_log(folder)
    return {
        "loss": [r["loss"] for r in log if "loss" in r],
        "short": [r["sources"]["short"]["loss"] for r in log if "loss" in r],
        "held_out_loss": [r["held_out_loss"] for r in log if "held_out_loss" in r],
        "gradient_norm": [r["gradient_norm"] for r in log if "loss" in r],
    }


@pytest.mark.parametrize("case", CASES)
def test_the_loss_curve_is_the_golden_one(tmp_path: Path, case: str) -> None:
    wanted = json.loads(GOLDEN.read_text())[case]
    found = curve(tmp_path, case)
    # Other processors sum in another order, and Muon's products are in bfloat16.
    near = 2e-3 if case == "muon" else 1e-4
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=near), name


if __name__ == "__main__":
    curves = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as made:
            curves[name] = {key: [round(v, 6) for v in values] for key, values in curve(Path(made), name).items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
