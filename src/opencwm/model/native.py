"""CWM's native release: a PyTorch distributed checkpoint with `params.json`, read (not written).

Notable choices:
- Shapes come from the tensors; `params.json` is asked only for what no shape shows (heads, the norm's epsilon, rotary
  and window settings). What it leaves out is as in the published CWM: epsilon 1e-5, theta 1e6 scaled by 16 from 8,192
  tokens, windows of 8,192 in all layers but every 4th and the last.
- Heads rotate neighbouring pairs there and halves here: rows of queries and keys are moved on reading.
- `.metadata` is a pickle. It is read by an unpickler that knows the types of checkpoints and no others, so a folder
  cannot run code.
- One layer is read at a time, so the peak is the model and one layer.
"""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencwm.model.config import ModelConfig, RopeScaling
from opencwm.model.tensors import NATIVE, WeightsError, assemble
from opencwm.model.transformer import Transformer

PARAMS_FILE, METADATA_FILE = "params.json", ".metadata"
_DESCRIPTION = "torch.distributed.checkpoint.metadata"
_KNOWN = {
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("builtins", "set"),
}
_DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
_LAYER = re.compile(r"layers\.(\d+)\.")


def is_native(folder: Path) -> bool:
    return (folder / PARAMS_FILE).is_file() and not (folder / "config.json").is_file()


def read_config(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The shape of a release folder, and `info`. Raises WeightsError."""
    path = folder / PARAMS_FILE
    try:
        params = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not readable JSON ({error}): restore the file from where it came") from error
    params = params.get("model", params) if isinstance(params, dict) else {}
    if not isinstance(params, dict):
        raise WeightsError(f'{path}: "model" is no object: restore the file from where it came')
    shapes = _Checkpoint(folder).shapes()
    queries, keys = NATIVE.queries.format(0), NATIVE.keys.format(0)
    for name in (NATIVE.embedding, queries, keys, NATIVE.gate.format(0)):
        if len(shapes.get(name, ())) != 2:
            raise WeightsError(f"{folder} lacks tensor {name}: this is no checkpoint of CWM's architecture")
    vocabulary, dim = shapes[NATIVE.embedding]
    wide, narrow = shapes[queries][0], shapes[keys][0]
    heads = params.get("n_heads") or (wide // params["head_dim"] if params.get("head_dim") else None)
    if not isinstance(heads, int) or heads < 1 or wide % heads or narrow % (wide // heads):
        raise WeightsError(f"{path}: n_heads is {heads!r}, which does not divide the {wide} rows of {queries}: mend it")
    layers = 1 + max(int(found[1]) for name in shapes if (found := _LAYER.match(name)))
    window, every = params.get("window_size", 8192), params.get("window_pattern", 4)
    try:
        config = ModelConfig(
            vocab_size=vocabulary,
            dim=dim,
            layers=layers,
            heads=heads,
            kv_heads=narrow // (wide // heads),
            head_dim=wide // heads,
            ffn_dim=shapes[NATIVE.gate.format(0)][0],
            norm_eps=float(params.get("norm_eps", 1e-5)),
            rope_theta=float(params.get("rope_theta", 1e6)),
            rope_scaling=_scaling(params),
            max_positions=int(params.get("max_seqlen", 131072)),
            local_window=window,
            global_every=every,
            global_last=bool(params.get("global_last_layer", True)),
            tie_embeddings=NATIVE.output not in shapes,
        )
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from error
    tokens = {"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]}
    return config, {"layout": "native", "model_type": "cwm", **(tokens if vocabulary == 128256 else {})}


def load(folder: Path, config: ModelConfig, *, device: torch.device | str, dtype: torch.dtype | None) -> Transformer:
    """The model of a release folder. Raises WeightsError."""
    source = _Checkpoint(folder)
    return assemble(config, dict(NATIVE.pieces(config)), source, says=PARAMS_FILE, dtype=dtype, device=device)


def _scaling(params: dict[str, Any]) -> RopeScaling | None:
    if params.get("use_scaled_rope") is False:
        return None
    rope = params.get("scaled_rope") or params.get("rope_scaling") or {}
    return RopeScaling(
        factor=float(rope.get("scale_factor", rope.get("factor", 16.0))),
        low_freq_factor=float(rope.get("low_freq_factor", 1.0)),
        high_freq_factor=float(rope.get("high_freq_factor", 4.0)),
        original_context=int(rope.get("old_context_len", rope.get("original_context", 8192))),
    )


class _Metadata(pickle.Unpickler):
    """Reads `.metadata`; refuses whatever a checkpoint's description does not need."""

    def find_class(self, module: str, name: str) -> Any:
        if module == _DESCRIPTION or (module, name) in _KNOWN or (module == "torch" and name in _DTYPES):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong in it")


class _Checkpoint:
    """Tensors of a distributed checkpoint, a layer at a time."""

    def __init__(self, folder: Path) -> None:
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.metadata import TensorStorageMetadata

        self.place = str(folder)
        self._folder = folder
        try:
            with (folder / METADATA_FILE).open("rb") as file:
                metadata = _Metadata(file).load()
            stored = {k: v for k, v in metadata.state_dict_metadata.items() if isinstance(v, TensorStorageMetadata)}
            files = {info.relative_path for info in (metadata.storage_data or {}).values()}
        except Exception as error:  # a pickle: it may fail in any way
            raise WeightsError(
                f"{folder / METADATA_FILE} cannot be read ({error}): fetch the checkpoint's {METADATA_FILE} again"
            ) from error
        ends = [name for name in stored if name.endswith(NATIVE.embedding)]
        self._prefix = ends[0].removesuffix(NATIVE.embedding) if ends else ""
        self._stored = {name.removeprefix(self._prefix): value for name, value in stored.items()}
        for file in sorted(files):
            if not (folder / file).is_file():
                raise WeightsError(f"{folder / file} is missing, .metadata lists it: fetch this shard again")
        self._layer: dict[str, Tensor] = {}
        self._reader = FileSystemReader(str(folder))
        # What was read safely, once; the reader would unpickle it again.
        self._reader.read_metadata = lambda *_, **__: metadata  # type: ignore[method-assign]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.size) for name, value in self._stored.items()}

    def read(self, name: str) -> Tensor:
        if name not in self._layer:
            found = _LAYER.match(name)
            together = [other for other in self._stored if found and other.startswith(found[0])] or [name]
            self._layer = self._read(together)
        return self._layer[name]

    def _read(self, names: list[str]) -> dict[str, Tensor]:
        import warnings

        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.state_dict_loader import load as load_checkpoint

        tensors = {
            self._prefix + name: torch.empty(self._stored[name].size, dtype=self._stored[name].properties.dtype)
            for name in names
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there is one process
                load_checkpoint(tensors, storage_reader=self._reader, no_dist=True)
        except (Exception, CheckpointException) as error:  # theirs is a BaseException
            raise WeightsError(
                f"{self._folder}: {names[0]} cannot be read ({str(error).splitlines()[-1]}): a shard is damaged or "
                "truncated; fetch the *.distcp files again"
            ) from error
        return {name.removeprefix(self._prefix): tensor for name, tensor in tensors.items()}
