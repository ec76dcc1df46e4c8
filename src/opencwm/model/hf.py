"""The Hugging Face layout of `CwmForCausalLM` and `LlamaForCausalLM`, read and written.

Notable choices:
- `layer_types` decides which layers are global, wherever it stands: CWM's release calls itself `llama` on the Hub, and
  the default of `CwmConfig` (last layer local) is not what was released.
- Anything that this model does not have (biases, other activations, other rotary schemes, experts) is refused by name
  instead of being left out silently.
- Weights are written in shards of at most `shard_bytes`, index and config last, beside their final names first.

Source: the public configuration and weight names of `transformers` 5 (`models/cwm`, `models/llama`).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencwm.model.config import ModelConfig, RopeScaling
from opencwm.model.tensors import HF, Piece, SafetensorFiles, WeightsError, assemble, write_tensors
from opencwm.model.transformer import Transformer

LAYOUT = "hf"
INDEX_FILE = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_ARCHITECTURES = {"cwm": "CwmForCausalLM", "llama": "LlamaForCausalLM"}
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_CWM_STOPS = [128001, 128008, 128009]


def parse_config(values: dict[str, Any], path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The shape that a `config.json` describes, and `info`: layout, model type, special token ids.

    Raises WeightsError for another architecture and for what this model does not have.
    """
    kind = values.get("model_type")
    architectures = values.get("architectures") or [_ARCHITECTURES.get(str(kind), str(kind))]
    if kind not in _ARCHITECTURES or not set(architectures) & set(_ARCHITECTURES.values()):
        raise WeightsError(
            f"{path} describes {', '.join(map(str, architectures))} (model_type {kind!r}): this version reads "
            f"{' and '.join(_ARCHITECTURES.values())}; take weights of one of these"
        )
    missing = [key for key in _NEEDED if not isinstance(values.get(key), int)]
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing)}: restore the file from where it came")
    for key, wanted in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if values.get(key, wanted) != wanted:
            raise WeightsError(f"{path}: {key} is {values[key]!r}, this model has {wanted!r} only; take other weights")
    layers, heads = values["num_hidden_layers"], values["num_attention_heads"]
    theta, scaling = _rope(values, kind, path)
    window, every, last = _windows(values, kind, layers, path)
    try:
        config = ModelConfig(
            vocab_size=values["vocab_size"],
            dim=values["hidden_size"],
            layers=layers,
            heads=heads,
            kv_heads=values.get("num_key_value_heads") or heads,
            head_dim=values.get("head_dim") or values["hidden_size"] // heads,
            ffn_dim=values["intermediate_size"],
            norm_eps=float(values.get("rms_norm_eps", 1e-5 if kind == "cwm" else 1e-6)),
            rope_theta=theta,
            rope_scaling=scaling,
            max_positions=values.get("max_position_embeddings", 131072 if kind == "cwm" else 2048),
            local_window=window,
            global_every=every,
            global_last=last,
            tie_embeddings=bool(values.get("tie_word_embeddings", False)),
            init_std=float(values.get("initializer_range", 0.02)),
        )
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from error
    tokens = {key: values[key] for key in _TOKENS if values.get(key) is not None}
    if kind == "cwm":
        tokens = {"bos_token_id": 128000, "eos_token_id": _CWM_STOPS} | tokens
    return config, {"layout": LAYOUT, "model_type": kind, **tokens}


def load(folder: Path, config: ModelConfig, *, device: torch.device | str, dtype: torch.dtype | None) -> Transformer:
    """The model of a folder whose config is known. Raises WeightsError."""
    files = SafetensorFiles(folder, index=INDEX_FILE)
    pieces = dict(HF.pieces(config))
    if config.tie_embeddings and HF.output in files.shapes():
        pieces["output.weight"] = [Piece(HF.output, (config.vocab_size, config.dim), 0)]  # some store it all the same
    return assemble(config, pieces, files, says="config.json", dtype=dtype, device=device)


def save(
    folder: Path | str,
    model: Transformer,
    *,
    info: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = 5_000_000_000,
    tokenizer_from: Path | None = None,
) -> None:
    """Write a model to a folder in this layout, made if absent.

    `info` may hold special token ids, as `load_weights` gives them; tokenizer files are copied from `tokenizer_from`.
    Raises ValueError for a config that the layout cannot express.
    """
    folder, config = Path(folder), model.config
    if config.qk_norm or config.conv_width or config.rope_share < 1:
        raise ValueError(
            "the Hugging Face layout of CWM has no head norms, no convolutions and no unturned dimensions (qk_norm, "
            "conv_width, rope_share): keep this model in its own layout"
        )
    stored = dtype or model.embedding.weight.dtype
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(model, stored, shard_bytes)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    where: dict[str, str] = {}
    total = 0
    for name, pieces in zip(names, shards, strict=True):
        tensors = {piece.name: rows.to("cpu", stored, copy=True).contiguous() for piece, rows in pieces}
        total += sum(tensor.nbytes for tensor in tensors.values())
        where |= dict.fromkeys(tensors, name)
        write_tensors(folder / name, tensors, {"format": "pt"})
    if len(shards) > 1:
        _write(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))})
    values = _config(config, info or {}, stored)
    generation = {"_from_model_config": True} | {key: values[key] for key in _TOKENS if key in values}
    _write(folder / "generation_config.json", generation)
    _write(folder / "config.json", values)
    for name in TOKENIZER_FILES if tokenizer_from is not None else ():
        assert tokenizer_from is not None
        if (tokenizer_from / name).is_file() and (tokenizer_from / name).resolve() != (folder / name).resolve():
            shutil.copyfile(tokenizer_from / name, folder / name)


def _rope(values: dict[str, Any], kind: str, path: Path) -> tuple[float, RopeScaling | None]:
    """Theta and scaling, from `rope_parameters` or, as older files have it, `rope_theta` and `rope_scaling`."""
    rope = values.get("rope_parameters") or values.get("rope_scaling")
    if rope is None and kind == "cwm":
        return 1e6, RopeScaling(16.0)
    rope = rope or {}
    if not isinstance(rope, dict):
        raise WeightsError(f"{path}: rope_parameters is no object: restore the file from where it came")
    theta = rope.get("rope_theta", values.get("rope_theta", 1e6 if kind == "cwm" else 10_000.0))
    scheme = rope.get("rope_type", rope.get("type", "default"))
    if scheme == "default":
        return float(theta), None
    if scheme != "llama3":
        raise WeightsError(f'{path}: rotary scheme {scheme!r}; this version reads "default" and "llama3"')
    try:
        return float(theta), RopeScaling(
            factor=float(rope["factor"]),
            low_freq_factor=float(rope["low_freq_factor"]),
            high_freq_factor=float(rope["high_freq_factor"]),
            original_context=int(rope["original_max_position_embeddings"]),
        )
    except KeyError as error:
        raise WeightsError(f"{path}: rope_parameters lacks {error}: restore the file from where it came") from None
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from None


def _windows(values: dict[str, Any], kind: str, layers: int, path: Path) -> tuple[int | None, int, bool]:
    """(window, every, last): which layers are global."""
    window = values.get("sliding_window", 8192 if kind == "cwm" else None)
    types = values.get("layer_types")
    if types is None:
        return (window, 4, False) if kind == "cwm" and window else (None, 4, True)
    if not isinstance(types, list) or len(types) != layers:
        raise WeightsError(f"{path}: layer_types must list {layers} layers: restore the file from where it came")
    other = sorted(set(map(str, types)) - {"full_attention", "sliding_attention"})
    if other:
        raise WeightsError(f"{path}: layer_types has {', '.join(other)}; this version reads full and sliding attention")
    if "sliding_attention" not in types:
        return None, 4, True
    if not window:
        raise WeightsError(f"{path}: layer_types has local layers, but there is no sliding_window: add it")
    for every in (4, *range(1, layers + 1)):
        for last in (True, False):
            found = [i % every == 0 or (last and i == layers - 1) for i in range(layers)]
            if found == [kind == "full_attention" for kind in types]:
                return int(window), every, last
    raise WeightsError(
        f"{path}: layer_types makes layers global in a pattern other than CWM's (every n-th from 0, and the last)"
    )


def _config(config: ModelConfig, info: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """`config.json`. A model without local layers is a Llama."""
    kind = "llama" if config.local_window is None else "cwm"
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_scaling is not None:
        rope |= {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_context,
        }
    values: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[kind]],
        "model_type": kind,
        "dtype": str(dtype).removeprefix("torch."),
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": rope,
        "max_position_embeddings": config.max_positions,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
    }
    if kind == "cwm":
        del values["attention_bias"]
        values["sliding_window"] = config.local_window
        types = ("sliding_attention", "full_attention")
        values["layer_types"] = [types[config.layer_is_global(layer)] for layer in range(config.layers)]
    tokens = {key: info[key] for key in _TOKENS if info.get(key) is not None}
    if kind == "cwm":
        tokens = {"bos_token_id": 128000, "eos_token_id": _CWM_STOPS} | tokens
    return values | tokens


def _shards(model: Transformer, dtype: torch.dtype, shard_bytes: int) -> list[list[tuple[Piece, Tensor]]]:
    shards: list[list[tuple[Piece, Tensor]]] = [[]]
    size = 0
    parameters = dict(model.named_parameters())
    for ours, pieces in HF.pieces(model.config):
        for piece in pieces:
            rows = parameters[ours].detach()[piece.start : piece.start + piece.shape[0]]
            nbytes = rows.numel() * dtype.itemsize
            if shards[-1] and size + nbytes > shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append((piece, rows))
            size += nbytes
    return shards


def _write(path: Path, values: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
