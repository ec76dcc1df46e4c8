"""`CompiledPass`: the decoding pass of `_decode.c` over a model's weights, packed for it.

Notable choices:
- Used on CPUs that have AVX-512 with products of bfloat16 and of whole numbers (`usable` says so), where the C part
  could be built; everything else decodes with the PyTorch operations of `runner`. `OPENCWM_DECODE=torch` forces those.
- The matrices are copied into panels of 16 outputs (`_products.h` says how), also in float32: they take memory beside
  the model's own.
- int8: one scale per output; the inputs of each product are rounded to int8 too, with one scale per token.
- One thread where a step is too small to divide.

Shapes: N tokens of the step, C model width, V vocabulary, O outputs and I inputs of a matrix; a panel's P S L R are
panels, steps, lanes, inputs per word.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.model.cache import Cache, Segment
from opencwm.model.config import ModelConfig
from opencwm.model.transformer import Layer, Transformer

try:
    from opencwm.model import _decode
except ImportError:  # built without a C compiler
    _decode = None  # type: ignore[assignment]

_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_TILE = 64
DIVIDED = 2**24
"""Bytes of weights from which a step is divided among threads."""


def usable(config: ModelConfig, device: torch.device) -> bool:
    """Whether a model on a device is decoded with the C pass."""
    if os.environ.get("OPENCWM_DECODE", "") == "torch" or device.type != "cpu" or config.head_dim > 256:
        return False
    return _decode is not None and bool(_decode.available())


class CompiledPass:
    """A model ready to decode in C; `kind` is how its matrices are held, "float32", "bfloat16" or "int8"."""

    def __init__(self, model: Transformer, kind: str) -> None:
        config = model.config
        self._width, self._vocabulary = config.dim, config.vocab_size
        self._kept: list[object] = []  # what the addresses below point to
        dtype = torch.float32 if kind == "float32" else torch.bfloat16
        words: list[int] = []
        self._bytes = 0
        for layer in model.layers:
            assert isinstance(layer, Layer)
            attention, ffn = layer.attention, layer.ffn
            for linear in (attention.qkv, attention.out, ffn.gate_up, ffn.down):
                words += self._matrix(linear.weight.detach(), kind)
            root = config.dim**0.5
            words += [self._floats(norm.weight * root) for norm in (layer.attention_norm, layer.ffn_norm)]
            for conv in (layer.attention_conv, layer.ffn_conv):
                words.append(0 if conv is None else self._floats(oldest_first(conv.weight)))
            words.append(self._floats(_head_norms(layer, config.heads, config.kv_heads)) if config.qk_norm else 0)
            window = config.local_window if config.local_window is not None and not attention.is_global else 0
            words.append(window)
        layers = self._block(words)
        (eps,) = struct.unpack("q", struct.pack("d", config.norm_eps))
        self._model = self._block(
            [
                *(config.dim, config.layers, config.heads, config.kv_heads, config.head_dim, config.ffn_dim),
                self._floats(model.norm.weight * config.dim**0.5),
                self._floats(model.cos_PD),
                self._floats(model.sin_PD),
                self._address(model.embedding.weight.detach().to(dtype).contiguous()),
                _KINDS[dtype],
                eps,
                layers,
            ]
        )
        self._output = self._block(self._matrix(model.output.weight.detach(), kind))
        self._caches: WeakKeyDictionary[Cache, Tensor] = WeakKeyDictionary()

    def hidden(self, cache: Cache, segments: Sequence[Segment]) -> Tensor:
        """Append segments, each of its own slot, and return their final hidden states: float32 (N, C)."""
        tokens: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        for segment in segments:
            start, count = cache.lengths[segment.slot], len(segment.ids)
            tokens += segment.ids
            slots += [segment.slot] * count
            positions += range(start, start + count)
        given_3N = torch.tensor([tokens, slots, positions])
        count, start = given_3N.shape[1], given_3N.data_ptr()
        out_NC = torch.empty(count, self._width)
        addresses = (start, start + 8 * count, start + 16 * count, out_NC.data_ptr())
        _decode.forward(self._model, self._cache(cache), count, *addresses, self._threads)
        return out_NC

    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Vocabulary logits: float32 (N, V)."""
        hidden_NC = hidden_NC.contiguous()
        count = hidden_NC.shape[0]
        out_NV = torch.empty(count, self._vocabulary)
        _decode.multiply(self._output, count, hidden_NC.data_ptr(), out_NV.data_ptr(), self._threads)
        return out_NV

    @property
    def _threads(self) -> int:
        return torch.get_num_threads() if self._bytes >= DIVIDED else 1

    def _cache(self, cache: Cache) -> int:
        """The address of what `Cache` holds in C."""
        known = self._caches.get(cache)
        if known is None:
            words = [_KINDS[cache.heads_SEPD[0].dtype], cache.room, cache.lead]
            for layer, heads_SEPD in enumerate(cache.heads_SEPD):
                inputs = [0, 0]
                if cache.lead:
                    inputs = [cache.attention_inputs_SPC[layer].data_ptr(), cache.ffn_inputs_SPC[layer].data_ptr()]
                words += [heads_SEPD.data_ptr(), *inputs, heads_SEPD.shape[2]]
            known = self._caches[cache] = torch.tensor(words)
        return known.data_ptr()

    def _matrix(self, weight_OI: Tensor, kind: str) -> list[int]:
        """One matrix in panels; what `Matrix` holds in C."""
        outputs, inputs = weight_OI.shape
        scales = base = 0
        per_word = {"float32": 1, "bfloat16": 2, "int8": 4}[kind]
        weight_OI = F.pad(weight_OI, (0, -inputs % per_word, 0, -outputs % _TILE))
        if kind == "int8":
            weight_OI = weight_OI.float()
            scale_O = weight_OI.abs().amax(1).clamp_(min=1e-12).div_(127)
            weight_OI = (weight_OI / scale_O.unsqueeze(1)).round_()
            scales = self._floats(scale_O)
            base = self._address(weight_OI.sum(1).mul_(-128).to(torch.int32))
            weight_OI = weight_OI.to(torch.int8)
        else:
            weight_OI = weight_OI.to(torch.float32 if kind == "float32" else torch.bfloat16)
        steps = weight_OI.shape[1] // per_word
        packed_PSLR = weight_OI.view(-1, 16, steps, per_word).transpose(1, 2).contiguous()
        self._bytes += packed_PSLR.nbytes
        return [_KINDS[packed_PSLR.dtype], outputs, inputs, steps, self._address(packed_PSLR), scales, base]

    def _floats(self, values: Tensor) -> int:
        return self._address(values.detach().float().contiguous())

    def _block(self, words: Sequence[int]) -> int:
        return self._address(torch.tensor(words, dtype=torch.int64))

    def _address(self, held: Tensor) -> int:
        self._kept.append(held)
        return held.data_ptr()


def oldest_first(weight_WC: Tensor) -> Tensor:
    """A convolution's weights in the order of the cache, the token itself (which also passes whole) last."""
    weight_WC = weight_WC.detach().float().flip(0)
    weight_WC[-1] += 1
    return weight_WC


def _head_norms(layer: Layer, heads: int, kv_heads: int) -> Tensor:
    """Weights of the query and key norms, one row per head, times the root of its width."""
    query, key = layer.attention.query_norm, layer.attention.key_norm
    assert query is not None and key is not None
    rows_JD = torch.cat((query.weight.expand(heads, -1), key.weight.expand(kv_heads, -1)))
    root: float = rows_JD.shape[1] ** 0.5
    return rows_JD * root
