"""Several processes give the losses of one; a run goes on with another number of them, and by itself after a kill."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from opencwm.config import ConfigError, load, resolved
from opencwm.train import checkpoint
from opencwm.train.loss import Objective
from opencwm.train.meter import read_log
from opencwm.train.parallel import World, parallelise, part_sizes, precision, world
from opencwm.train.run import build_model, export
from opencwm.train.settings import TrainConfig

SCRIPT = Path(__file__).with_name("run_process.py")
SMALL = [
    "model.overrides={dim=32, layers=2, heads=4, kv_heads=2, head_dim=16, ffn_dim=48, vocab_size=1024, "
    "conv_width=0, local_window=16}",
    "data.sequence_length=64",
    "data.buffer=16",
    "data.lanes=4",
    "run.tokens_per_batch=512",
    "run.steps=8",
    "run.log_every=1",
    "run.checkpoint_every=4",
    "run.eval_every=8",
    "run.eval_programs=8",
    "run.threads=1",
    "optimiser.kind=adamw",
    "optimiser.learning_rate=1e-3",
    "optimiser.warmup_steps=2",
]


def start(folder: Path, processes: int, *overrides: str, arguments: Any = (), options: Any = ()) -> None:
    """Run, or go on with, a run on some processes."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load(TrainConfig, None, [*SMALL, f'run.folder="{folder}"', *overrides])
    (folder / "given.toml").write_text(resolved(settings))
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *options]
    command += [str(SCRIPT), str(folder / "given.toml"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr


def losses(folder: Path) -> list[float]:
    log = read_log(folder)
    return [r["loss"] for r in log if "loss" in r] + [r["held_out_loss"] for r in log if "held_out_loss" in r]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    start(folder, 1)
    assert len(losses(folder)) == 9
    return folder


def test_two_processes_give_the_losses_of_one(tmp_path: Path, alone: Path) -> None:
    start(tmp_path, 2)
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)
    keys = ("tokens", "useful_tokens", "programs")
    last, wanted = ([r for r in read_log(f) if "loss" in r][-1] for f in (tmp_path, alone))
    assert [last.get(key) for key in keys] == [wanted.get(key) for key in keys]


MESHES = {
    "data 4": (4,),
    "tensor 2": (2, "parallel.tensor=2"),
    "tensor 2, whole tokens": (2, "parallel.tensor=2", "parallel.sequence=false"),
    "context 2": (2, "parallel.context=2"),
    "data 2, tensor 2": (4, "parallel.tensor=2"),
    "data 2, context 2": (4, "parallel.context=2"),
    "context 2, tensor 2": (4, "parallel.context=2", "parallel.tensor=2"),
    "recomputed": (2, "parallel.checkpoint_activations=true", "parallel.tensor=2"),
    "small micro-batches": (2, "run.tokens_per_micro_batch=64"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES.keys())
def test_every_mesh_gives_the_losses_of_one_process(tmp_path: Path, alone: Path, mesh: Any) -> None:
    start(tmp_path, *mesh)
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-5)


@pytest.mark.slow
def test_small_models_with_convolutions_and_tied_embeddings_divide_too(tmp_path: Path) -> None:
    tiny = "model.overrides={dim=32, layers=2, heads=4, kv_heads=2, head_dim=16, ffn_dim=48, vocab_size=1024}"
    start(tmp_path / "one", 1, tiny)
    start(tmp_path / "tensor", 2, tiny, "parallel.tensor=2")
    start(tmp_path / "data", 2, tiny)
    assert losses(tmp_path / "tensor") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert losses(tmp_path / "data") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)


@pytest.mark.slow
def test_muon_on_divided_matrices(tmp_path: Path) -> None:
    start(tmp_path / "one", 1, "optimiser.kind=muon")
    start(tmp_path / "two", 2, "optimiser.kind=muon")
    # Its products are in bfloat16, where another order of a sum can tip a rounding.
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-3)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    start(tmp_path / "whole", 1, "run.steps=12", "optimiser.decay_share=0.0")
    for processes, steps, *mesh in ((4, 4, "parallel.tensor=2"), (1, 8), (2, 12)):
        start(tmp_path / "moved", processes, f"run.steps={steps}", "optimiser.decay_share=0.0", *mesh)
    curves = [[r["loss"] for r in read_log(tmp_path / f) if "loss" in r] for f in ("moved", "whole")]
    assert len(curves[0]) == 12
    assert curves[0][:4] == pytest.approx(curves[1][:4], abs=1e-5)
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


@pytest.mark.slow
def test_weights_of_a_divided_run_are_whole(tmp_path: Path) -> None:
    start(tmp_path, 2, "parallel.tensor=2", f'export.folder="{tmp_path}/written"')
    assert (tmp_path / "written" / "model.safetensors").exists()
    assert export(tmp_path, tmp_path / "weights", dtype="float32").step == 8
    saved = checkpoint.load(tmp_path / "checkpoints", print)
    assert saved is not None
    parts = saved.read([f"model/layers.0.attention.qkv.{part}.weight" for part in "qkv"])
    from opencwm.model.weights import load_weights

    model, _ = load_weights(tmp_path / "weights")
    assert torch.equal(model.layers[0].attention.qkv.weight, torch.cat(list(parts.values())))  # type: ignore[union-attr,arg-type]


@pytest.mark.slow
def test_a_killed_rank_resumes_by_itself(tmp_path: Path, alone: Path) -> None:
    longer = ("run.steps=24",)
    start(tmp_path / "whole", 2, *longer)
    once = tmp_path / "killed"
    start(tmp_path / "broken", 2, *longer, arguments=[once], options=["--max-restarts=1"])
    assert once.exists()  # a rank did die
    assert losses(tmp_path / "broken") == pytest.approx(losses(tmp_path / "whole"), abs=1e-6)


def test_what_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(TrainConfig, None, [*SMALL, "parallel.tensor=3", "parallel.context=2"])
    monkeypatch.setenv("WORLD_SIZE", "4")
    with (
        pytest.raises(ConfigError, match=r"tensor x parallel.context = 6 does not divide 4 processes"),
        world(settings.parallel),
    ):
        pass


def test_lanes_that_cannot_be_dealt_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "along", lambda self, name: (1, 3))
    place = World(torch.device("cpu"))
    assert place.lanes(6) == [2, 3]
    with pytest.raises(
        ConfigError, match=r"data.lanes \(4\) cannot be divided among 3 data-parallel processes: set data"
    ):
        place.lanes(4)


def test_float8_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(TrainConfig, None, [*SMALL, "parallel.precision=float8"])
    objective, place = Objective(build_model(settings.model)), World(torch.device("cpu"))
    for capability in (None, (8, 0)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=capability: found is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        with pytest.raises(ConfigError, match=r"float8 needs a GPU with float8 products \(Hopper.*: use bfloat16"):
            parallelise(objective, settings.parallel, place)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(ConfigError, match=r"float8 needs torchao: pip install torchao"):
        parallelise(objective, settings.parallel, place)


def test_fastest_is_what_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(name: str, device: str = "cpu") -> bool:
        return precision(load(TrainConfig, None, [f"parallel.precision={name}"]).parallel, torch.device(device))

    for found in ({}, {"avx512_bf16": True}, {"amx_bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert narrow("fastest") == bool(found)
        assert narrow("bfloat16") and narrow("fastest", "cuda") and narrow("auto", "cuda")
        assert not narrow("auto") and not narrow("float32", "cuda")


def test_parts_cover_the_fused_matrices() -> None:
    model = build_model(load(TrainConfig, None, SMALL).model)
    for name, sizes in part_sizes(model).items():
        assert sum(sizes.values()) == len(model.get_submodule(name).weight)  # type: ignore[arg-type]
