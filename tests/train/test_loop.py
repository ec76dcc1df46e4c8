"""The loop end to end on a fake source: it learns, resumes exactly, and stops with reasons."""

import dataclasses
import io
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from opencwm.config import ConfigError, load, resolved
from opencwm.model.weights import load_weights
from opencwm.train import checkpoint
from opencwm.train.checkpoint import CheckpointError
from opencwm.train.data import DataError, Document
from opencwm.train.data_settings import shares
from opencwm.train.fake import FakeSource
from opencwm.train.loop import Progress, TrainingError, export, train
from opencwm.train.loss import Objective, micro_batches
from opencwm.train.meter import read_log
from opencwm.train.optim import schedule
from opencwm.train.pack import Mixture, held_out
from opencwm.train.run import build_model
from opencwm.train.settings import TrainConfig

SMALL = [
    "model.overrides.dim=32",
    "model.overrides.layers=2",
    "model.overrides.heads=2",
    "model.overrides.kv_heads=1",
    "model.overrides.head_dim=16",
    "model.overrides.ffn_dim=48",
    "data.sequence_length=64",
    "data.buffer=16",
    "run.tokens_per_batch=256",
    "run.steps=12",
    "run.log_every=1",
    "run.checkpoint_every=4",
    "run.eval_every=6",
    "run.eval_programs=10",
    "run.threads=1",
    "optimiser.warmup_steps=2",
]


def config(folder: Path, *overrides: str) -> TrainConfig:
    return load(TrainConfig, None, [*SMALL, f'run.folder="{folder}"', *overrides])


HELD_OUT = Mixture.of(FakeSource(seed=1))


def run(settings: TrainConfig, source: Any = None, **more: Any) -> tuple[Progress, str]:
    text = io.StringIO()
    console = Console(file=text, width=200)
    mixture = source if isinstance(source, Mixture) else Mixture.of(source or FakeSource())
    progress = train(settings, mixture=mixture, held_out_mixture=HELD_OUT, console=console, **more)
    return progress, text.getvalue()


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder) if "loss" in record]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = checkpoint.load(folder / "checkpoints", print)
    assert saved is not None
    return saved.read([name for name in saved.sizes() if name.startswith("model/")])


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_it_learns_and_exports(tmp_path: Path, kind: str) -> None:
    folder = f'export.folder="{tmp_path}/out"'
    settings = config(tmp_path / "run", f"optimiser.kind={kind}", "run.steps=60", "run.eval_every=0", folder)
    progress, text = run(settings)
    curve = losses(tmp_path / "run")
    assert len(curve) == 60
    assert curve[-1] < 2.5 < 5 < curve[0]
    assert progress.tokens == 60 * 256
    assert 0 < progress.useful_tokens < progress.tokens / 2 + 1
    assert progress.held_out_loss is not None and progress.held_out_loss < 2.5
    assert "held out: loss" in text and "tokens/s" in text and "useful" in text and "left" in text
    model, info = load_weights(tmp_path / "out")
    assert info["progress"]["step"] == 60
    assert info["data"]["sequence_length"] == 64
    trained = weights(tmp_path / "run")
    for name, tensor in model.state_dict().items():
        saved = trained["model/embedding.weight" if name == "output.weight" else f"model/{name}"]  # tied
        assert torch.equal(tensor, saved.half().float())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_equals_one_without_a_break(tmp_path: Path, precision: str) -> None:
    longer = ("run.steps=24", "run.checkpoint_every=8", f"parallel.precision={precision}")
    run(config(tmp_path / "whole", *longer))
    with pytest.raises(DataError):  # dies after its checkpoint of step 16, with later steps in its log
        run(config(tmp_path / "broken", *longer), FakeSource(fails_at=programs_after(tmp_path / "whole", 22)))
    assert len(losses(tmp_path / "broken")) > 16
    _, text = run(config(tmp_path / "broken", *longer))
    assert "resuming" in text and "after step 16" in text
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    left, right = weights(tmp_path / "broken"), weights(tmp_path / "whole")
    assert all(torch.equal(left[name], right[name]) for name in left)


def programs_after(folder: Path, step: int) -> int:
    return next(int(record["programs"]) for record in read_log(folder) if record["step"] == step)


def test_a_killed_process_resumes_exactly(tmp_path: Path) -> None:
    run(config(tmp_path / "whole", "run.steps=30", "data.workers=1"))
    script = textwrap.dedent(
        """
        import sys
        from opencwm.config import load
        from opencwm.train.fake import FakeSource
        from opencwm.train.loop import train
        from opencwm.train.pack import Mixture
        from opencwm.train.settings import TrainConfig

        if __name__ == "__main__":
            source, held_out = Mixture.of(FakeSource()), Mixture.of(FakeSource(seed=1))
            train(load(TrainConfig, sys.argv[1]), mixture=source, held_out_mixture=held_out)
        """
    )
    (tmp_path / "killed.py").write_text(script)
    settings = config(tmp_path / "killed", "run.steps=30", "data.workers=1")
    (tmp_path / "killed.toml").write_text(resolved(settings))
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "killed.toml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(losses(tmp_path / "killed")) < 10 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    run(settings)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_termination_saves_and_says_so(tmp_path: Path) -> None:
    def source(index: int) -> list[Document]:
        if index == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return FakeSource()(index)

    run(config(tmp_path / "whole", "run.checkpoint_every=0"))
    stopped, text = run(config(tmp_path / "stopped", "run.checkpoint_every=0"), source)
    assert stopped.step < 12
    assert f"stopped and saved after step {stopped.step}" in text
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run(config(tmp_path / "stopped", "run.checkpoint_every=0"))
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_steps_can_be_raised_and_workers_changed_on_resume(tmp_path: Path) -> None:
    run(config(tmp_path / "long", "run.steps=20", "optimiser.decay_share=0.0"))
    run(config(tmp_path / "short", "run.steps=9", "optimiser.decay_share=0.0"))
    progress, _ = run(config(tmp_path / "short", "run.steps=20", "optimiser.decay_share=0.0", "data.workers=1"))
    assert progress.step == 20
    assert losses(tmp_path / "short") == losses(tmp_path / "long")
    again, _ = run(config(tmp_path / "short", "run.steps=20", "optimiser.decay_share=0.0"))
    assert dataclasses.asdict(again) == dataclasses.asdict(progress)


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(config(tmp_path, "run.steps=1"))
    with pytest.raises(TrainingError, match=r"another data.sequence_length \(64, now 128\): choose another run.folder"):
        run(config(tmp_path, "data.sequence_length=128"))
    with pytest.raises(TrainingError, match=r"another model\.overrides"):
        run(config(tmp_path, "model.overrides.layers=1"))
    with pytest.raises(TrainingError, match=r"optimiser\.kind"):
        run(config(tmp_path, "optimiser.kind=adamw"))
    with pytest.raises(TrainingError, match="holds a run already"):
        run(config(tmp_path), resume=False)


def test_not_a_number_stops_and_is_never_saved(tmp_path: Path) -> None:
    def source(index: int) -> list[Document]:
        made = FakeSource()(index)
        if index > 60:
            made = [Document(d.ids, d.weights * math.nan, "programs", index) for d in made]
        return made

    words = (
        r"step \d+ gave the loss nan, in programs 6\d.* \(source and item\); the last good checkpoint is .*step-000000"
    )
    with pytest.raises(TrainingError, match=words):
        run(config(tmp_path, "run.log_every=5", "run.steps=40"), source)
    assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path).values())


def test_a_full_disk_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    calls = []

    def fills(descriptor: int) -> None:
        if str(tmp_path) not in os.readlink(f"/proc/self/fd/{descriptor}"):  # the last save of a test before this one
            return real(descriptor)
        calls.append(descriptor)
        if len(calls) > 7:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fills)
    with pytest.raises(CheckpointError, match=r"cannot save step 8 .*No space left .*step-00000004 is intact"):
        run(config(tmp_path))
    monkeypatch.undo()
    _, text = run(config(tmp_path))
    assert "after step 4" in text


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path) -> None:
    run(config(tmp_path))
    newest = checkpoint.found(tmp_path / "checkpoints")[-1]
    (newest / "__0_0.distcp").write_bytes(b"")
    _, text = run(config(tmp_path))
    assert "step-00000012 is damaged" in text
    assert "after step 8" in text


def test_micro_batches_change_nothing_but_rounding(tmp_path: Path) -> None:
    run(config(tmp_path / "one"))
    run(config(tmp_path / "many", "run.tokens_per_micro_batch=64"))
    assert losses(tmp_path / "many") == pytest.approx(losses(tmp_path / "one"), rel=1e-2)


def test_loss_is_the_weighted_cross_entropy_of_each_document_alone() -> None:
    settings = config(Path("unused"))
    model = build_model(settings.model).eval()
    source = FakeSource()
    packed = held_out(Mixture.of(source), settings.data, 6)
    assert packed is not None
    with torch.no_grad():
        cut = micro_batches(packed, 2, torch.device("cpu"))
        pieces = [Objective(model)(piece) for piece in cut]
        total = 0.0
        for document in (d for index in range(6) for d in source(index)):
            ids = torch.from_numpy(document.ids).long()
            logits = model(ids[None, :-1])[0]
            each = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
            total += float((each * torch.from_numpy(document.weights)[1:]).sum())
    assert sum(float(loss) for loss, _ in pieces) == pytest.approx(total, rel=1e-4)
    assert sum(float(figures[:, 0].sum()) for _, figures in pieces) == pytest.approx(total, rel=1e-4)


def test_export_of_a_run_that_goes_on(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no training run"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(DataError):
        run(config(tmp_path / "run"), FakeSource(fails_at=0))
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        export(tmp_path / "run", tmp_path / "out")
    run(config(tmp_path / "run"))
    assert export(tmp_path / "run", tmp_path / "out", dtype="bfloat16").step == 12
    assert load_weights(tmp_path / "out")[1]["codec"] == "compact"


def test_exported_weights_name_no_folder_of_this_machine(tmp_path: Path) -> None:
    run(config(tmp_path / "run", f'data.sources.programs.mix.audit="{tmp_path / "sets"}"'))
    export(tmp_path / "run", tmp_path / "out")
    told = (tmp_path / "out" / "config.json").read_text(encoding="utf-8")
    assert '"audit": "sets"' in told
    assert str(tmp_path) not in told


def test_bad_configurations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.tokens_per_batch \(100\) must be a multiple"):
        config(tmp_path, "run.tokens_per_batch=100")
    with pytest.raises(ConfigError, match="unknown model preset 'huge'"):
        run(config(tmp_path, "model.preset=huge"))
    with pytest.raises(ConfigError, match="unknown model config key 'depth'"):
        run(config(tmp_path, "model.overrides.depth=3"))
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write into run\.folder"):
        run(config(tmp_path / "file" / "run"))


def test_progress_on_a_terminal_goes_to_the_log_too(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    train(config(tmp_path), mixture=Mixture.of(FakeSource()), held_out_mixture=HELD_OUT, console=console)
    assert "step 12/12" in text.getvalue()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 13))
    assert [record["step"] for record in records if "held_out_loss" in record] == [6, 12]


CONFIGS = Path(__file__).parents[2] / "configs"
OTHERS = ("ladder.toml", "scaling.toml", "links.toml", "policy.toml")  # see evals/test_ladder.py, test_policy.py


@pytest.mark.parametrize(
    "path",
    sorted(path for path in CONFIGS.rglob("*.toml") if path.parent.name != "ablation" and path.name not in OTHERS),
    ids=lambda p: str(p.relative_to(CONFIGS)),
)
def test_shipped_configurations_load_and_build(path: Path) -> None:
    settings = load(TrainConfig, path)
    with torch.device("meta"):
        model = build_model(settings.model)
    assert model.config.max_positions >= settings.data.sequence_length
    assert sum(shares(settings.data, dict.fromkeys(settings.data.sources, 1000)).values()) == pytest.approx(1)


def test_the_32b_stages_share_one_schedule_and_cwm_s_numbers() -> None:
    pre, mid, sft = (
        load(TrainConfig, CONFIGS / "cwm-32b" / f"{name}.toml") for name in ("pretrain", "midtrain", "sft")
    )
    assert pre.run.steps * pre.run.tokens_per_batch == pytest.approx(8e12, rel=1e-5)
    assert mid.run.steps * mid.run.tokens_per_batch == pytest.approx(5e12, rel=1e-5)
    assert sft.run.steps * sft.run.tokens_per_batch == pytest.approx(1e11, rel=0.05)
    rates = [
        stage.optimiser.learning_rate * schedule(step, stage.run.steps, stage.optimiser)
        for stage, step in ((pre, pre.run.steps - 1), (mid, 0), (mid, mid.run.steps - 1), (sft, sft.run.steps - 1))
    ]
    assert rates[0] == pytest.approx(rates[1], rel=1e-4)  # the joint where mid-training takes over
    assert rates[2] == pytest.approx(8e-6, rel=1e-3)
    assert rates[3] == 1e-5
    assert mid.data.groups == {"world": 0.3, "code": 0.4, "rehearsal": 0.3}
    assert [(b.longest, b.global_window) for b in mid.data.rows] == [(16384, 0), (65536, 32768), (131072, 0)]


def test_activations_that_are_computed_again_change_nothing(tmp_path: Path) -> None:
    run(config(tmp_path / "kept"))
    run(config(tmp_path / "again", "parallel.checkpoint_activations=true"))
    assert losses(tmp_path / "again") == losses(tmp_path / "kept")
