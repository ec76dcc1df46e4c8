"""A model's weights as decoding holds them, and one layer of the pass over them (`layer_pass`).

Notable choices:
- Weights are taken from a model once: as they are (float32, shared with the model), as bfloat16, or as int8 with one
  scale per row, with bfloat16 activations. Norms and rotations stay float32.
- `layer_pass` knows nothing of where keys lie and what may be seen: a `View` does. `runner` has one for any mix of
  sequences, `static` one of fixed shapes for PyTorch's compiler. So both compute the same layer.

Shapes: N tokens of the step, C model width, F feed-forward width, I inputs and O outputs of a matrix, H query heads,
K key-value heads, J = H + K, A = H + 2 K, E = 2 K, D head_dim, L layers, P positions (of the tables, or in the cache),
S slots, W convolution width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.model.compiled import oldest_first
from opencwm.model.transformer import Layer, Transformer

WeightKind = Literal["float32", "bfloat16", "int8"]
KINDS: tuple[WeightKind, ...] = ("float32", "bfloat16", "int8")


class Norm:
    """RMSNorm, computed in float32."""

    def __init__(self, weight_C: Tensor, eps: float) -> None:
        # x / sqrt(mean + eps) * w = x / sqrt(sum + C eps) * (sqrt(C) w)
        width = weight_C.shape[0]
        self.weight_C = weight_C.detach().float() * width**0.5
        self.eps = eps * width

    def __call__(self, x_NC: Tensor) -> Tensor:
        wide_NC = x_NC if x_NC.dtype == torch.float32 else x_NC.float()
        inverse_N1 = torch.linalg.vecdot(wide_NC, wide_NC).add_(self.eps).rsqrt_().unsqueeze(-1)
        y_NC: Tensor = (wide_NC * inverse_N1).mul_(self.weight_C)
        return y_NC if x_NC.dtype == torch.float32 else y_NC.to(x_NC.dtype)


class Matrix:
    """One weight matrix, (O, I), in the given kind."""

    def __init__(self, weight_OI: Tensor, kind: WeightKind) -> None:
        self.scale_O: Tensor | None = None
        if kind != "int8":
            self.weight = weight_OI.to(torch.float32 if kind == "float32" else torch.bfloat16)
            self.transposed = self.weight.t()
            return
        weight_OI = weight_OI.float()
        scale_O = weight_OI.abs().amax(1).clamp_(min=1e-12).div_(127)
        self.weight = (weight_OI / scale_O.unsqueeze(1)).round_().to(torch.int8)
        self.scale_O = scale_O.to(torch.bfloat16)

    def __call__(self, x_NI: Tensor) -> Tensor:
        if self.scale_O is None:
            return F.linear(x_NI, self.weight)
        product_NO: Tensor = torch._weight_int8pack_mm(x_NI.contiguous(), self.weight, self.scale_O)
        return product_NO

    def added(self, residual_NO: Tensor, x_NI: Tensor) -> Tensor:
        if self.scale_O is None:
            return torch.addmm(residual_NO, x_NI, self.transposed)
        return self(x_NI).add_(residual_NO)


class LayerWeights:
    """One layer's weights and shape."""

    def __init__(self, layer: Layer, kind: WeightKind, window: int | None) -> None:
        attention = layer.attention
        self.qkv = Matrix(attention.qkv.weight.detach(), kind)
        self.out = Matrix(attention.out.weight.detach(), kind)
        self.gate_up = Matrix(layer.ffn.gate_up.weight.detach(), kind)
        self.down = Matrix(layer.ffn.down.weight.detach(), kind)
        self.heads, self.kv_heads, self.head_dim = attention.heads, attention.kv_heads, attention.head_dim
        self.attention_norm = Norm(layer.attention_norm.weight, attention.eps)
        self.ffn_norm = Norm(layer.ffn_norm.weight, attention.eps)
        self.head_eps = attention.eps * attention.head_dim if attention.query_norm is not None else None
        self.window = None if attention.is_global else window
        self.attention_conv_WC = oldest_first(layer.attention_conv.weight.detach()) if layer.attention_conv else None
        self.ffn_conv_WC = oldest_first(layer.ffn_conv.weight.detach()) if layer.ffn_conv else None


class Weights:
    """All of a model's weights."""

    def __init__(self, model: Transformer, kind: WeightKind) -> None:
        config = model.config
        self.shape = (config, kind)
        self.dtype = torch.float32 if kind == "float32" else torch.bfloat16
        with torch.no_grad():
            self.embedding = model.embedding.weight.detach().to(self.dtype)
            self.output = Matrix(model.output.weight.detach(), kind)
            self.norm = Norm(model.norm.weight, config.norm_eps)
            self.layers = [LayerWeights(layer, kind, config.local_window) for layer in _layers(model)]
            self._heads_LJD = _head_weights(model) if config.qk_norm else None
        self._cos_PD, self._sin_PD = model.cos_PD, model.sin_PD

    def angles(self, position_N: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Per layer, cosines and sines as `layer_pass` wants them: (N, 1, D), with head norms (N, J, D)."""
        cos_N1D, sin_N1D = self._cos_PD[position_N].unsqueeze(1), self._sin_PD[position_N].unsqueeze(1)
        if self._heads_LJD is None:
            return [cos_N1D] * len(self.layers), [sin_N1D] * len(self.layers)
        # rotate(w * u) = u * (w cos) + swapped(u) * (swapped(w) sin)
        weight_L1JD = self._heads_LJD.unsqueeze(1)
        swapped_L1JD = weight_L1JD.roll(weight_L1JD.shape[-1] // 2, -1)
        return (weight_L1JD * cos_N1D).unbind(), (swapped_L1JD * sin_N1D).unbind()


class View(Protocol):
    """Where the tokens of a step are written in one layer's cache, and what they see there."""

    def place(self, new_NED: Tensor, heads_SEPD: Tensor) -> None:
        """Write keys and values."""
        ...

    def attend(self, q_NHD: Tensor, heads_SEPD: Tensor) -> Tensor:
        """Attention output, (N, H * D)."""
        ...

    def convolved(self, y_NC: Tensor, inputs_SPC: Tensor, weight_WC: Tensor) -> Tensor:
        """The causal convolution, with the inputs of earlier tokens from the cache, where these join them."""
        ...


def layer_pass(
    layer: LayerWeights,
    x_NC: Tensor,
    cos: Tensor,
    sin: Tensor,
    view: View,
    heads_SEPD: Tensor,
    inputs: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """One layer over a step's tokens; keys, values and the inputs of convolutions go into the cache.

    Every operation costs about a microsecond to start on a CPU, which for a small model is most of it.
    """
    turned, dtype = layer.heads + layer.kv_heads, x_NC.dtype
    y_NC = layer.attention_norm(x_NC)
    if layer.attention_conv_WC is not None:
        assert inputs is not None
        y_NC = view.convolved(y_NC, inputs[0], layer.attention_conv_WC)
    qkv_NAD = layer.qkv(y_NC).view(x_NC.shape[0], -1, layer.head_dim)
    qk_NJD = qkv_NAD[:, :turned]
    if dtype != torch.float32:
        qk_NJD = qk_NJD.float()
    if layer.head_eps is not None:
        # The norm's weight is in the tables, the square root of the mean's divisor too.
        inverse_NJ1 = torch.linalg.vecdot(qk_NJD, qk_NJD).add_(layer.head_eps).rsqrt_().unsqueeze(-1)
        qk_NJD = qk_NJD * inverse_NJ1
    qk_NJD = torch.addcmul(qk_NJD * cos, qk_NJD.roll(layer.head_dim // 2, -1), sin)
    if dtype != torch.float32:
        qk_NJD = qk_NJD.to(dtype)
    view.place(torch.cat((qk_NJD[:, layer.heads :], qkv_NAD[:, turned:]), 1), heads_SEPD)
    x_NC = layer.out.added(x_NC, view.attend(qk_NJD[:, : layer.heads], heads_SEPD))
    y_NC = layer.ffn_norm(x_NC)
    if layer.ffn_conv_WC is not None:
        assert inputs is not None
        y_NC = view.convolved(y_NC, inputs[1], layer.ffn_conv_WC)
    gate_NF, up_NF = layer.gate_up(y_NC).chunk(2, -1)
    return layer.down.added(x_NC, F.silu(gate_NF).mul_(up_NF))


def _layers(model: Transformer) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]


def _head_weights(model: Transformer) -> Tensor:
    """Weights of the query and key norms, times the root of their width: float32 (L, J, D)."""
    rows = []
    for layer in _layers(model):
        query, key = layer.attention.query_norm, layer.attention.key_norm
        assert query is not None and key is not None
        heads, kv_heads = model.config.heads, model.config.kv_heads
        rows.append(torch.cat((query.weight.detach().expand(heads, -1), key.weight.detach().expand(kv_heads, -1))))
    scale: float = model.config.head_dim**0.5
    return torch.stack(rows).float() * scale
