"""The tensors of a run by name, and reading them back: into the same run, another mesh, or the next stage.

    model/NAME  optimiser/NAME/MOMENT  random/cpu

Notable choices:
- A model whose fused matrices were taken apart for tensor parallelism is saved in parts; one that has them whole reads
  the parts and joins them, and the other way round.
- `start` begins a stage from what another one left: a weights folder, a run, or a checkpoint. A vocabulary that has
  grown at its end gets fresh rows; one that differs otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from opencwm.model.transformer import Transformer
from opencwm.model.weights import CONFIG_FILE, WeightsError, load_weights
from opencwm.train import checkpoint
from opencwm.train.checkpoint import Checkpoint
from opencwm.train.optim import Optimiser
from opencwm.train.settings import StartSettings
from opencwm.train.text import Tokens

MODEL, OPTIMISER, RANDOM = "model/", "optimiser/", "random/"
GROWS = ("embedding.weight", "output.weight")
"""Weights with a row per token."""


class StartError(RuntimeError):
    """A stage cannot begin from what it was given; the message says why and what to do."""


def tensors(model: Transformer, optimiser: Optimiser | None) -> dict[str, Tensor]:
    """All tensors of a run that are divided or the same on all processes; tied weights come once."""
    found = {MODEL + name: parameter.detach() for name, parameter in model.named_parameters()}
    if optimiser is not None:
        found |= {OPTIMISER + name: tensor for name, tensor in optimiser.state().items()}
    return found


def random_states() -> dict[str, Tensor]:
    cuda = {RANDOM + "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {RANDOM + "cpu": torch.get_rng_state(), **cuda}


def restore_random(saved: Checkpoint) -> None:
    names = [name for name in saved.sizes() if name.startswith(RANDOM)]
    states = saved.read(names)
    torch.set_rng_state(states[RANDOM + "cpu"])
    if RANDOM + "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[RANDOM + "cuda"])


def read_model(saved: Checkpoint, model: Transformer, optimiser: Optimiser | None = None) -> None:
    """Fill a model, and its optimiser's moments, with a checkpoint. Raises CheckpointError if they do not fit."""
    wanted = tensors(model, optimiser)
    sizes = saved.sizes()
    straight = {name: tensor for name, tensor in wanted.items() if sizes.get(name) == tensor.shape}
    saved.read_into(straight)
    for name, tensor in wanted.items():
        if name not in straight:
            _copy(tensor, _joined_or_split(saved, sizes, name, tensor, model))


def _joined_or_split(
    saved: Checkpoint, sizes: Mapping[str, torch.Size], name: str, tensor: Tensor, model: Transformer
) -> Tensor:
    """A tensor that was saved in parts, or as a part of a whole, or with fewer rows."""
    from opencwm.train.parallel import part_sizes

    for fused, parts in part_sizes(model).items():
        for part in parts:
            inner = f"{fused}.{part}.weight"
            if f"/{inner}" in f"/{name}" and name.replace(inner, f"{fused}.weight") in sizes:
                whole_name = name.replace(inner, f"{fused}.weight")
                whole = saved.read([whole_name])[whole_name]
                return _part(whole, parts, part)
        if f"{fused}.weight" in name:
            names = [name.replace(f"{fused}.weight", f"{fused}.{part}.weight") for part in parts]
            if all(one in sizes for one in names):
                read = saved.read(names)
                return torch.cat([read[one] for one in names]) if tensor.ndim else read[names[0]]
    if name in sizes and any(row in name for row in GROWS):
        return _grown(saved.read([name])[name], tensor)
    size = tuple(sizes[name]) if name in sizes else "nothing"
    raise checkpoint.CheckpointError(
        f"checkpoint {saved.path} has {size} under {name}, the model needs {tuple(tensor.shape)}: "
        "it is of another model"
    )


def start(settings: StartSettings, model: Transformer, optimiser: Optimiser, tokens: Tokens) -> str:
    """Give a new stage the weights, and if asked the moments, of an earlier one; returns what was read.

    Raises StartError for another vocabulary or shape.
    """
    assert settings.path is not None
    path = settings.path
    if (path / CONFIG_FILE).exists():
        if settings.optimiser == "carried":
            raise StartError(f"{path} holds weights alone: start.optimiser = carried needs a run or its checkpoint")
        _from_weights(path, model, tokens)
        return str(path)
    saved = checkpoint.open_one(path) if (path / "manifest.json").exists() else None
    if saved is None:
        folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
        saved = checkpoint.load(folder, print)
    if saved is None:
        raise StartError(f"{path} holds no weights ({CONFIG_FILE}), no run and no checkpoint: give one of these")
    same_tokens(saved.info.get("tokenizer"), saved.info.get("vocabulary"), tokens, saved.path)
    read_model(saved, model, optimiser if settings.optimiser == "carried" else None)
    return f"{saved.path} (step {saved.step})"


def _from_weights(path: Path, model: Transformer, tokens: Tokens) -> None:
    try:
        given, info = load_weights(path)
    except WeightsError as error:
        raise StartError(f"start.path: {error}") from None
    same_tokens(info.get("tokenizer"), given.config.vocab_size, tokens, path)
    theirs = dict(given.named_parameters())
    ours = dict(model.named_parameters())
    if theirs.keys() != ours.keys() and not any(".qkv.q." in name for name in ours):
        odd = sorted(theirs.keys() ^ ours.keys())[0]
        raise StartError(f"{path} is of another shape than [model] ({odd}): take its preset and overrides")
    for name, tensor in ours.items():
        value = _weight(theirs, name, model)
        if any(name == row for row in GROWS):
            value = _grown(value.detach(), tensor.detach())
        if value is None or value.shape != tensor.shape:
            raise StartError(f"{path}: {name} has another shape than [model] says: take its preset and overrides")
        _copy(tensor.detach(), value.detach())


def _weight(theirs: Mapping[str, Tensor], name: str, model: Transformer) -> Tensor:
    """A weight of a model whose matrices are fused, under its own name or that of a part."""
    from opencwm.train.parallel import part_sizes

    if name in theirs:
        return theirs[name]
    fused, part = name.removesuffix(".weight").rsplit(".", 1)
    sizes = part_sizes(model)[fused]
    return _part(theirs[f"{fused}.weight"], sizes, part)


def _part(whole: Tensor, sizes: Mapping[str, int], part: str) -> Tensor:
    """The rows of a fused weight, or of its moments, that are those of a part."""
    if whole.ndim == 0:
        return whole
    return torch.split_with_sizes(whole, list(sizes.values()))[list(sizes).index(part)]


def same_tokens(fingerprint: Any, size: Any, tokens: Tokens, path: Path) -> None:
    """Raises StartError unless `tokens` are those that weights were trained on, perhaps with more at the end.

    `fingerprint` and `size` are what was kept with the weights.
    """
    if fingerprint is None:  # weights older than fingerprints: the size has to do
        same = size is None or size <= tokens.size
    else:
        grown = getattr(tokens, "grown_from", None)
        same = fingerprint == tokens.fingerprint or (grown is not None and grown(fingerprint))
    if same:
        return
    raise StartError(
        f"{path} was trained with another tokenizer ({fingerprint}, {size} tokens; data.tokenizer is {tokens.name}, "
        f"{tokens.fingerprint}, {tokens.size} tokens): set data.tokenizer to the one it knows"
    )


def _grown(saved: Tensor, fresh: Tensor) -> Tensor:
    """The saved rows, and behind them the fresh ones of a larger vocabulary."""
    whole = fresh.full_tensor() if isinstance(fresh, DTensor) else fresh
    if saved.ndim == 0 or saved.shape[0] >= whole.shape[0] or saved.shape[1:] != whole.shape[1:]:
        return saved
    return torch.cat((saved.to(whole), whole[saved.shape[0] :]))


def _copy(into: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be divided."""
    if isinstance(into, DTensor):
        value = distribute_tensor(value.to(into.device, into.dtype), into.device_mesh, into.placements)
        into.to_local().copy_(value.to_local())
    else:
        into.copy_(value)
