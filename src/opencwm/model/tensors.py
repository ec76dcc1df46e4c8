"""Named tensors of foreign and own layouts, and how a model is put together from them.

Notable choices:
- A `Layout` says, for each parameter of ours, which stored tensors make it up (queries, keys and values are one matrix
  here) and whether their rotary rows are stored in neighbouring pairs. Reading and writing follow the same table.
- Frugal: files are mapped into memory, one tensor is read at a time, straight into its place in the model.
- Everything is checked, names and shapes first, before the first byte of a weight is read.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opencwm.model.config import ModelConfig
from opencwm.model.transformer import Transformer


class WeightsError(ValueError):
    """A weights folder that cannot be read; the message names the file, what is wrong with it, and the fix."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file beside its name and rename it; who may read it is for the umask to say."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)
        save_file(dict(tensors), partial, metadata=metadata)
        partial.chmod(mode)  # the library keeps it to its owner
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored tensor that fills rows `start` and on of a parameter; `heads` where its rotary rows must be moved."""

    name: str
    shape: tuple[int, ...]
    start: int
    heads: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of a stored layout. `{}` stands for the layer; `pairs`: heads rotate neighbouring rows, not halves."""

    embedding: str
    norm: str
    output: str
    attention_norm: str
    ffn_norm: str
    queries: str
    keys: str
    values: str
    out: str
    gate: str
    up: str
    down: str
    pairs: bool = False

    def pieces(self, config: ModelConfig) -> Iterator[tuple[str, list[Piece]]]:
        """Every parameter of ours and what it is made of, in the order of the layers; a tied output is left out."""
        dim, wide, narrow = config.dim, config.heads * config.head_dim, config.kv_heads * config.head_dim
        yield "embedding.weight", [Piece(self.embedding, (config.vocab_size, dim), 0)]
        for number in range(config.layers):
            ours = f"layers.{number}."
            queries, keys = (config.heads, config.kv_heads) if self.pairs else (0, 0)
            yield ours + "attention_norm.weight", [Piece(self.attention_norm.format(number), (dim,), 0)]
            qkv = [
                Piece(self.queries.format(number), (wide, dim), 0, queries),
                Piece(self.keys.format(number), (narrow, dim), wide, keys),
                Piece(self.values.format(number), (narrow, dim), wide + narrow),
            ]
            yield ours + "attention.qkv.weight", qkv
            yield ours + "attention.out.weight", [Piece(self.out.format(number), (dim, wide), 0)]
            yield ours + "ffn_norm.weight", [Piece(self.ffn_norm.format(number), (dim,), 0)]
            gate_up = [
                Piece(self.gate.format(number), (config.ffn_dim, dim), 0),
                Piece(self.up.format(number), (config.ffn_dim, dim), config.ffn_dim),
            ]
            yield ours + "ffn.gate_up.weight", gate_up
            yield ours + "ffn.down.weight", [Piece(self.down.format(number), (dim, config.ffn_dim), 0)]
        yield "norm.weight", [Piece(self.norm, (dim,), 0)]
        if not config.tie_embeddings:
            yield "output.weight", [Piece(self.output, (config.vocab_size, dim), 0)]


HF = Layout(
    embedding="model.embed_tokens.weight",
    norm="model.norm.weight",
    output="lm_head.weight",
    attention_norm="model.layers.{}.input_layernorm.weight",
    ffn_norm="model.layers.{}.post_attention_layernorm.weight",
    queries="model.layers.{}.self_attn.q_proj.weight",
    keys="model.layers.{}.self_attn.k_proj.weight",
    values="model.layers.{}.self_attn.v_proj.weight",
    out="model.layers.{}.self_attn.o_proj.weight",
    gate="model.layers.{}.mlp.gate_proj.weight",
    up="model.layers.{}.mlp.up_proj.weight",
    down="model.layers.{}.mlp.down_proj.weight",
)
NATIVE = Layout(
    embedding="tok_embeddings.weight",
    norm="norm.weight",
    output="output.weight",
    attention_norm="layers.{}.attention_norm.weight",
    ffn_norm="layers.{}.ffn_norm.weight",
    queries="layers.{}.attention.wq.weight",
    keys="layers.{}.attention.wk.weight",
    values="layers.{}.attention.wv.weight",
    out="layers.{}.attention.wo.weight",
    gate="layers.{}.feed_forward.w1.weight",
    up="layers.{}.feed_forward.w3.weight",
    down="layers.{}.feed_forward.w2.weight",
    pairs=True,
)
GGUF = Layout(
    embedding="token_embd.weight",
    norm="output_norm.weight",
    output="output.weight",
    attention_norm="blk.{}.attn_norm.weight",
    ffn_norm="blk.{}.ffn_norm.weight",
    queries="blk.{}.attn_q.weight",
    keys="blk.{}.attn_k.weight",
    values="blk.{}.attn_v.weight",
    out="blk.{}.attn_output.weight",
    gate="blk.{}.ffn_gate.weight",
    up="blk.{}.ffn_up.weight",
    down="blk.{}.ffn_down.weight",
    pairs=True,
)


class Source(Protocol):
    """Stored tensors. `place` names them in messages."""

    place: str

    def shapes(self) -> dict[str, tuple[int, ...]]: ...

    def read(self, name: str) -> Tensor:
        """One tensor. Raises WeightsError where it cannot be read."""
        ...


class SafetensorFiles:
    """Tensors of one safetensors file, or of the shards that an index lists. Raises WeightsError."""

    def __init__(self, folder: Path, single: str = "model.safetensors", index: str | None = None) -> None:
        self.place = str(folder / single)
        self._files: dict[Path, Any] = {}
        self._where: dict[str, Path] = {}
        self._open = ExitStack()
        if index is not None and (folder / index).is_file() and not (folder / single).is_file():
            self.place = str(folder / index)
            wanted = _weight_map(folder / index)
        elif (folder / single).is_file():
            wanted = {}
        else:
            beside = f" (nor {index})" if index is not None else ""
            raise WeightsError(f"{folder / single} is missing{beside}: restore it; config.json alone is no model")
        for path in sorted({folder / file for file in wanted.values()}) or [folder / single]:
            if not path.is_file():
                raise WeightsError(f"{path} is missing, {index} lists it: fetch this shard again")
            file = self._files[path] = self._opened(path)
            for name in file.keys():  # noqa: SIM118 (a file is no mapping)
                self._where[name] = path
        for name, shard in wanted.items():
            if self._where.get(name) != folder / shard:
                raise WeightsError(
                    f"{folder / shard} lacks tensor {name}, which {index} places there: take both from the same save"
                )

    def _opened(self, path: Path) -> Any:
        try:
            return self._open.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise damaged(path, error) from error

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self._files[path].get_slice(name).get_shape()) for name, path in self._where.items()}

    def read(self, name: str) -> Tensor:
        path = self._where[name]
        try:
            tensor: Tensor = self._files[path].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise damaged(path, error) from error
        return tensor


def damaged(path: Path, error: Exception) -> WeightsError:
    """What to say of a file that does not read."""
    size = path.stat().st_size if path.is_file() else 0
    return WeightsError(f"{path} is damaged or truncated ({size:,} bytes; {error}): restore it from where it came")


def assemble(
    config: ModelConfig,
    pieces: dict[str, list[Piece]],
    source: Source,
    *,
    says: str,
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> Transformer:
    """The model of stored tensors, in evaluation mode. `says` names what the shapes are checked against.

    `dtype` None keeps the stored one (that of the embedding). Raises WeightsError for tensors that are missing,
    unexpected or of another shape.
    """
    _check(pieces, source, says)
    with torch.device("meta"):
        model = Transformer(config)
    tensors: dict[str, Tensor] = {}
    for ours, parts in pieces.items():
        shape = model.get_parameter(ours).shape
        for part in parts:
            read = source.read(part.name)
            if part.heads:
                read = halves(read, part.heads)
            dtype = dtype or read.dtype
            if len(parts) == 1:
                tensors[ours] = read.to(device=device, dtype=dtype)
                continue
            if part.start == 0:
                tensors[ours] = torch.empty(shape, dtype=dtype, device=device)
            tensors[ours][part.start : part.start + part.shape[0]] = read
    if config.tie_embeddings:
        tensors["output.weight"] = tensors["embedding.weight"]
    model.load_state_dict(tensors, assign=True)
    if config.tie_embeddings:
        model.output.weight = model.embedding.weight
    model.reset_angles()
    return model.eval()


def halves(weight_OI: Tensor, heads: int) -> Tensor:
    """Rows of heads that rotate neighbouring pairs, in the order of heads that rotate halves."""
    rows, width = weight_OI.shape
    return weight_OI.view(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


def _check(pieces: dict[str, list[Piece]], source: Source, says: str) -> None:
    stored = source.shapes()
    wanted = {part.name: part.shape for parts in pieces.values() for part in parts}
    for problem, found in (("lacks", wanted.keys() - stored), ("has unexpected", stored.keys() - wanted)):
        if found:
            listed = ", ".join(sorted(found)[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
            raise WeightsError(
                f"{source.place} {problem} {'tensor' if len(found) == 1 else 'tensors'} {listed}: "
                f"it does not belong to the {says} beside it; take both from the same save"
            )
    for name, shape in wanted.items():
        if stored[name] != tuple(shape):
            raise WeightsError(
                f"{source.place}: tensor {name} has shape {stored[name]}, {says} says {tuple(shape)}: "
                "take both from the same save"
            )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable index ({error}): restore the file from where it came") from error
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not listed or not all(isinstance(file, str) for file in listed.values()):
        raise WeightsError(f'{path} needs "weight_map", tensor names to files: restore the file from where it came')
    return listed
