"""Weights on disk: `load_weights` reads every layout that this package knows, `save_weights` writes its own.

    config.json + model.safetensors                 ours: any config; `info` beside the weights
    config.json + safetensors in shards or one      Hugging Face: CwmForCausalLM, LlamaForCausalLM (`hf`)
    params.json + .metadata + *.distcp              CWM's native release (`native`)

Notable choices:
- Which layout a folder has is read off its files; one function loads them all.
- Our `config.json` holds the format's version, the model config and `info`, whatever the caller wants to keep with the
  weights (tokenizer, steps trained, figures). Tied embeddings are stored once.
- int8 is a way to store: each matrix has a scale per row (`NAME.scale`), the largest of a row being 127; everything
  else is float16. It is half of float16's size, and reads back as floating point.
- Both files are written beside their final names and renamed, so a killed save leaves the old weights readable.
- Whatever is wrong with a folder is a `WeightsError` that names the file and the fix, before any model is built.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencwm.model import hf, native
from opencwm.model.config import ModelConfig
from opencwm.model.tensors import Piece, SafetensorFiles, WeightsError, assemble, write_tensors
from opencwm.model.transformer import Transformer

__all__ = ["WeightsError", "load_weights", "read_config", "save_weights"]

FORMAT = "opencwm.model/1"
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
SCALE = ".scale"


def save_weights(
    folder: Path | str, model: Transformer, info: dict[str, object], *, dtype: torch.dtype | None = None
) -> None:
    """Write a model to a folder in our layout, made if absent.

    `info` must be JSON. `dtype` is that of the stored tensors (default: the model's own). Raises TypeError for `info`
    that is not JSON, before anything is written.
    """
    folder = Path(folder)
    header = {"format": FORMAT, "model": model.config.to_dict(), "info": info}
    text = json.dumps(header, indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if model.config.tie_embeddings and name == "output.weight":
            continue
        if dtype is torch.int8:
            tensors |= _quantised(name, tensor.detach().cpu())
        else:
            tensors[name] = tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()
    partial_config = folder / f"{CONFIG_FILE}.{os.getpid()}.partial"
    try:
        partial_config.write_text(text, encoding="utf-8")
        write_tensors(folder / TENSOR_FILE, tensors, {"format": FORMAT})
        os.replace(partial_config, folder / CONFIG_FILE)
    finally:
        partial_config.unlink(missing_ok=True)


def load_weights(
    folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = torch.float32
) -> tuple[Transformer, dict[str, Any]]:
    """The model of a folder of any layout, in evaluation mode, and its `info`. Raises WeightsError.

    `dtype` None keeps the stored one. For foreign layouts `info` holds what their configs say of special tokens.
    """
    folder = Path(folder)
    config, info = read_config(folder)
    if native.is_native(folder):
        return native.load(folder, config, device=device, dtype=dtype), info
    if info.get("layout") == hf.LAYOUT:
        return hf.load(folder, config, device=device, dtype=dtype), info
    with torch.device("meta"):
        parameters = dict(Transformer(config).named_parameters())  # tied ones come once
    pieces = {name: [Piece(name, tuple(tensor.shape), 0)] for name, tensor in parameters.items()}
    files = _Scaled(folder, TENSOR_FILE)
    return assemble(config, pieces, files, says=CONFIG_FILE, dtype=dtype, device=device), info


class _Scaled(SafetensorFiles):
    """Tensors of which some are int8 with a scale per row: these read as float32."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes().items() if not name.endswith(SCALE)}

    def read(self, name: str) -> Tensor:
        tensor = super().read(name)
        if tensor.dtype is not torch.int8:
            return tensor
        if name + SCALE not in super().shapes():
            raise WeightsError(f"{self.place} lacks tensor {name + SCALE}: restore it from where it came")
        return tensor.float() * super().read(name + SCALE).unsqueeze(1)


def _quantised(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A matrix in int8 with the scale of each row, anything else in float16."""
    if tensor.ndim != 2:
        return {name: tensor.half().contiguous()}
    scale_O = tensor.float().abs().amax(1).clamp_(min=1e-12).div_(127)
    whole_OI = (tensor.float() / scale_O.unsqueeze(1)).round_().to(torch.int8)
    return {name: whole_OI.contiguous(), name + SCALE: scale_O}


def read_config(folder: Path | str) -> tuple[ModelConfig, dict[str, Any]]:
    """The model config and `info` of a folder of any layout, without its tensors. Raises WeightsError."""
    folder = Path(folder)
    if native.is_native(folder):
        return native.read_config(folder)
    path = folder / CONFIG_FILE
    header = _json(path)
    if isinstance(header, dict) and "format" not in header and ("model_type" in header or "architectures" in header):
        return hf.parse_config(header, path)
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


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is missing: give a folder that holds {CONFIG_FILE} and {TENSOR_FILE}, as a training run writes it"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give a folder that you may read") from error
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON ({error}): restore the file from where it came") from error
