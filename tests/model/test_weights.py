"""Weights folders: what is written reads back, and every kind of damage is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from opencwm.model import hf
from opencwm.model.config import ModelConfig
from opencwm.model.transformer import Transformer
from opencwm.model.weights import WeightsError, load_weights, read_config, save_weights


def build(**changes: object) -> Transformer:
    values = dict(vocab_size=40, dim=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn_dim=48, max_positions=64)
    return Transformer(ModelConfig.from_dict(values | changes), seed=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(tmp_path / "weights", build(), {"steps": 3})
    return tmp_path / "weights"


@pytest.mark.parametrize("changes", [{}, dict(tie_embeddings=True, qk_norm=True, conv_width=4)], ids=str)
def test_a_saved_model_reads_back(tmp_path: Path, changes: dict[str, object]) -> None:
    model, tokens = build(**changes), torch.arange(12)[None]
    save_weights(tmp_path, model, {"steps": 3, "figures": [0.5]})
    loaded, info = load_weights(tmp_path)
    assert loaded.config == model.config and info == {"steps": 3, "figures": [0.5]}
    assert torch.equal(loaded(tokens), model(tokens)) and not loaded.training
    assert sum(p.numel() for p in loaded.parameters()) == model.config.parameter_count()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_tied_embeddings_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    save_weights(tmp_path, build(tie_embeddings=True), {})
    assert "output.weight" not in load_file(tmp_path / "model.safetensors")
    loaded, _ = load_weights(tmp_path)
    assert loaded.output.weight is loaded.embedding.weight


def test_stored_and_loaded_dtypes_are_chosen(tmp_path: Path) -> None:
    save_weights(tmp_path, build(), {}, dtype=torch.bfloat16)
    assert load_file(tmp_path / "model.safetensors")["norm.weight"].dtype == torch.bfloat16
    assert load_weights(tmp_path)[0].norm.weight.dtype == torch.float32
    assert load_weights(tmp_path, dtype=torch.bfloat16)[0].norm.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("tied", [True, False])
def test_int8_is_half_of_float16_and_each_row_is_off_by_half_a_step_at_most(tmp_path: Path, tied: bool) -> None:
    model = build(tie_embeddings=tied)
    with torch.no_grad():
        model.layers[0].ffn.down.weight[3] *= 50  # a large row does not coarsen the others
        model.layers[0].ffn.down.weight[4] = 0
    save_weights(tmp_path / "half", model, {}, dtype=torch.float16)
    save_weights(tmp_path / "int8", model, {"steps": 3}, dtype=torch.int8)
    loaded, info = load_weights(tmp_path / "int8")
    assert info == {"steps": 3}
    for name, wanted in model.named_parameters():
        off = (loaded.get_parameter(name) - wanted).abs()
        if wanted.ndim == 2:
            assert (off.amax(1) <= wanted.abs().amax(1) / 254 * 1.001 + 1e-9).all(), name
        else:
            assert torch.allclose(loaded.get_parameter(name), wanted, atol=1e-3), name
    sizes = [(tmp_path / folder / "model.safetensors").stat().st_size for folder in ("int8", "half")]
    assert sizes[0] < 0.75 * sizes[1]
    assert load_weights(tmp_path / "int8", dtype=torch.bfloat16)[0].norm.weight.dtype == torch.bfloat16


def test_an_int8_file_without_its_scales_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, build(), {}, dtype=torch.int8)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["embedding.weight.scale"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks tensor embedding\.weight\.scale"):
        load_weights(tmp_path)


def test_a_save_replaces_the_weights_before(folder: Path) -> None:
    save_weights(folder, build(layers=1), {"steps": 4})
    model, info = load_weights(folder)
    assert model.config.layers == 1 and info == {"steps": 4}


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_are_as_open_as_the_umask_lets_them_be(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_weights(tmp_path / "own", build(), {})
        hf.save(tmp_path / "hf", build())
    finally:
        os.umask(before)
    for path in (*(tmp_path / "own").iterdir(), *(tmp_path / "hf").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask, path


def test_info_that_is_not_json_leaves_the_old_weights(folder: Path) -> None:
    with pytest.raises(TypeError):
        save_weights(folder, build(), {"path": folder})
    assert load_weights(folder)[1] == {"steps": 3}


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json is missing: give a folder"):
        load_weights(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors is missing: restore it"):
        load_weights(folder)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_a_truncated_file_is_named(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged or truncated \([\d,]+ bytes"):
        load_weights(folder)


def test_wrong_tensors_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor for name, tensor in tensors.items() if name != "norm.weight"}, path)
    with pytest.raises(WeightsError, match=r"lacks tensor norm\.weight"):
        load_weights(folder)
    save_file(tensors | {"more": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="has unexpected tensor more"):
        load_weights(folder)
    save_file(tensors | {"norm.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"norm\.weight has shape \(2,\), config\.json says \(32,\)"):
        load_weights(folder)


def test_a_damaged_config_is_named(folder: Path) -> None:
    path = folder / "config.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {"model": header["model"] | {"depth": 3}}))
    with pytest.raises(WeightsError, match=r"config\.json: unknown model config key 'depth': known keys are"):
        read_config(folder)
    path.write_text(json.dumps(header | {"format": "opencwm.model/9"}))
    with pytest.raises(WeightsError, match=r"has format 'opencwm\.model/9', this version reads"):
        read_config(folder)
    path.write_text(json.dumps(header | {"model": header["model"] | {"heads": "many"}}))
    with pytest.raises(WeightsError, match=r"config\.json"):
        read_config(folder)
    path.write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        read_config(folder)
    path.write_text(json.dumps({"format": "opencwm.model/1"}))
    with pytest.raises(WeightsError, match="needs the objects"):
        read_config(folder)


def test_loading_does_not_import_the_compiler() -> None:
    """Which takes PyTorch a second, more than all the rest; a model on the meta device asks for it unless prevented."""
    program = "import sys; from opencwm.world.local import LocalWorld; LocalWorld.load(); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
