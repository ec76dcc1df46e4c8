"""Weights on disk: a folder with `config.json` and `model.safetensors`.

Notable choices:
- `config.json` holds the format's version, the model config and `info`, whatever the caller wants to keep with the
  weights (tokenizer, steps trained, figures). Tied embeddings are stored once.
- Both files are written beside their final names and renamed, so a killed save leaves the old weights readable.
- Whatever is wrong with a folder is a `WeightsError` that names the file and the fix, before any model is built.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opencwm.model.config import ModelConfig
from opencwm.model.transformer import Transformer

FORMAT = "opencwm.model/1"
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"


class WeightsError(ValueError):
    """A weights folder that cannot be read; the message names the file, what is wrong with it, and the fix."""


def save_weights(
    folder: Path | str, model: Transformer, info: dict[str, object], *, dtype: torch.dtype | None = None
) -> None:
    """Write a model to a folder, made if absent.

    `info` must be JSON. `dtype` is that of the stored tensors (default: the model's own). Raises TypeError for `info`
    that is not JSON, before anything is written.
    """
    folder = Path(folder)
    header = {"format": FORMAT, "model": model.config.to_dict(), "info": info}
    text = json.dumps(header, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not (model.config.tie_embeddings and name == "output.weight")
    }
    suffix = f".{os.getpid()}.partial"
    partial_tensors, partial_config = folder / (TENSOR_FILE + suffix), folder / (CONFIG_FILE + suffix)
    try:
        save_file(tensors, partial_tensors, metadata={"format": FORMAT})
        partial_config.write_text(text, encoding="utf-8")
        os.replace(partial_tensors, folder / TENSOR_FILE)
        os.replace(partial_config, folder / CONFIG_FILE)
    finally:
        partial_tensors.unlink(missing_ok=True)
        partial_config.unlink(missing_ok=True)


def load_weights(
    folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Transformer, dict[str, Any]]:
    """The model of a folder, in evaluation mode, and its `info`. Raises WeightsError."""
    folder = Path(folder)
    config, info = read_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if config.tie_embeddings:
        del wanted["output.weight"]
    tensors = _read_tensors(folder / TENSOR_FILE, wanted, device, dtype)
    if config.tie_embeddings:
        tensors["output.weight"] = tensors["embedding.weight"]
    model.load_state_dict(tensors, assign=True)
    if config.tie_embeddings:
        model.output.weight = model.embedding.weight
    model.reset_angles()
    return model.eval(), info


def read_config(folder: Path | str) -> tuple[ModelConfig, dict[str, Any]]:
    """The model config and `info` of a folder, without its tensors. Raises WeightsError."""
    path = Path(folder) / CONFIG_FILE
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is missing: give a folder that holds {CONFIG_FILE} and {TENSOR_FILE}, as a training run writes it"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give a folder that you may read") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({error}): restore the file from where it came") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise WeightsError(f"{path} has format {found!r}, this version reads {FORMAT!r}: take weights in that format")
    model, info = header.get("model"), header.get("info", {})
    if not isinstance(model, dict) or not isinstance(info, dict):
        raise WeightsError(f'{path} needs the objects "model" and "info": restore the file from where it came')
    try:
        return ModelConfig.from_dict(model), info
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from error


def _read_tensors(
    path: Path, wanted: dict[str, torch.Size], device: torch.device | str, dtype: torch.dtype
) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} is missing: restore it; {CONFIG_FILE} alone is no model")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for problem, found in (("lacks", wanted.keys() - names), ("has unexpected", names - wanted.keys())):
                if found:
                    listed = ", ".join(sorted(found)[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
                    raise WeightsError(
                        f"{path} {problem} {'tensor' if len(found) == 1 else 'tensors'} {listed}: "
                        f"it does not belong to the {CONFIG_FILE} beside it; take both from the same save"
                    )
            for name, shape in wanted.items():
                stored = tuple(file.get_slice(name).get_shape())
                if stored != tuple(shape):
                    raise WeightsError(
                        f"{path}: tensor {name} has shape {stored}, {CONFIG_FILE} says {tuple(shape)}: "
                        "take both from the same save"
                    )
            return {name: file.get_tensor(name).to(device=device, dtype=dtype) for name in wanted}
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise WeightsError(
            f"{path} is damaged or truncated ({size:,} bytes; {error}): restore it from where it came"
        ) from error
