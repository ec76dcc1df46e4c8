"""Grouped-query attention over documents and windows, and the causal convolution, for whole rows of tokens.

Notable choices:
- What all layers share in one forward pass (angles, masks, document borders) is a `Layout`, computed once.
- Without documents or windows the kernel's own causal mask is used. Packed rows on a CPU are attended document
  by document, which skips all pairs of different documents; else there is one additive mask for the global layers and
  one for the local ones.
- Decoding has a pass of its own (`runner`), with a cache; the tests hold that the numbers are the same.

Shapes: B rows, T tokens, S tokens seen, N = B * T tokens of all rows, C model width,
H query heads, K key-value heads, J = H + K, D head_dim, W convolution width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from opencwm.model import flex, kernels
from opencwm.model.config import ModelConfig
from opencwm.model.rope import rotate

Backend = Literal["auto", "sdpa", "flex"]


@dataclass(frozen=True, slots=True)
class Mask:
    """Which keys each query may see: all, less what `bias_BTS` or `causal` excludes."""

    causal: bool = False
    bias_BTS: Tensor | None = None
    blocks: BlockMask | None = None
    """Then FlexAttention computes it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What all layers share in one forward pass."""

    cos_BTD: Tensor
    sin_BTD: Tensor
    """Angles as `rotate` wants them; of one row for all, unless the pass is fused."""
    global_mask: Mask
    local_mask: Mask
    borders: tuple[Tensor, ...] = ()
    """Per shift 1 .. W - 1: (B, T, 1), 0 where the token that far back is of another document; empty without
    documents. In a fused pass, always: the indices, among the N = B * T tokens, at which that is so."""
    spans: tuple[int, ...] = ()
    """Lengths of the documents, in order, where attention goes document by document; they add up to N."""
    fused: bool = False
    """Whether the steps of `kernels` are used."""
    places_N: Tensor | None = None
    """In the last layer, the tokens (among all rows', one after another) of which anything is wanted: what follows its
    attention is computed for these alone."""


def mask(tokens: int, window: int | None, documents_BT: Tensor | None, like: Tensor, backend: Backend = "auto") -> Mask:
    """The mask of rows of `tokens` tokens; `like` gives device and dtype."""
    banded = window is not None and tokens > window
    if documents_BT is None and not banded:
        return Mask(causal=True)
    if backend == "flex" or (backend == "auto" and like.is_cuda and tokens >= flex.LEAST):
        return Mask(blocks=flex.blocks(tokens, window, documents_BT, like.device))
    query_T1 = torch.arange(tokens, device=like.device).unsqueeze(1)
    key_S = torch.arange(tokens, device=like.device)
    allowed_BTS = (key_S <= query_T1).unsqueeze(0)
    if banded:
        assert window is not None
        allowed_BTS = allowed_BTS & (key_S > query_T1 - window)
    if documents_BT is not None:
        allowed_BTS = allowed_BTS & (documents_BT.unsqueeze(2) == documents_BT.unsqueeze(1))
    bias_BTS = torch.zeros(allowed_BTS.shape, dtype=like.dtype, device=like.device)
    return Mask(bias_BTS=bias_BTS.masked_fill_(~allowed_BTS, float("-inf")))


class CausalConvolution(nn.Module):
    """Adds to each token a weighted sum, per channel, of itself and the `width` - 1 tokens before it.

    Starts as the identity (zero weights). Tokens of other documents count as zero.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, dim))

    def forward(self, x_BTC: Tensor, layout: Layout) -> Tensor:
        weight_WC, borders = self.weight, layout.borders
        if layout.fused:
            return kernels.causal_convolution(x_BTC.flatten(0, 1), weight_WC, borders).view_as(x_BTC)
        width, tokens = weight_WC.shape[0], x_BTC.shape[1]
        padded_BSC = F.pad(x_BTC, (0, 0, width - 1, 0))
        y_BTC = x_BTC + x_BTC * weight_WC[0]
        for shift in range(1, width):
            earlier_BTC = padded_BSC[:, width - 1 - shift : width - 1 - shift + tokens]
            if borders:
                earlier_BTC = earlier_BTC * borders[shift - 1]
            y_BTC = torch.addcmul(y_BTC, earlier_BTC, weight_WC[shift])
        return y_BTC


class Attention(nn.Module):
    """Grouped-query attention of one layer; queries, keys and values come from one matrix."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.eps = config.norm_eps
        self.is_global = config.layer_is_global(layer)
        self.gather: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        """Brings keys and values of whole rows together, where rows are divided among processes."""
        self.share: Callable[[Tensor], Tensor] | None = None
        """Adds up the gradients of the norms' weights, which all heads share, where heads are divided."""
        self.qkv = nn.Linear(config.dim, (config.heads + 2 * config.kv_heads) * config.head_dim, bias=False)
        self.out = nn.Linear(config.heads * config.head_dim, config.dim, bias=False)
        self.query_norm = nn.RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.key_norm = nn.RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x_BTC: Tensor, layout: Layout) -> Tensor:
        batch, tokens, _ = x_BTC.shape
        qkv_BTHD = self.qkv(x_BTC).view(batch, tokens, -1, self.head_dim)
        q_BTHD, k_BTKD, v_BTKD = self._turned_heads(qkv_BTHD, layout)
        if layout.spans and kernels.attends_spans(q_BTHD):
            q_NHD, k_NKD, v_NKD = (x.flatten(0, 1) for x in (q_BTHD, k_BTKD, v_BTKD))
            y_NHD = kernels.span_attention(q_NHD, k_NKD, v_NKD, layout.spans)
            return self.out(y_NHD.view(batch, tokens, -1))  # type: ignore[no-any-return]
        if self.gather is not None:
            k_BTKD, v_BTKD = self.gather(k_BTKD, v_BTKD)
        mixed = torch.is_autocast_enabled(x_BTC.device.type) and not layout.fused
        # A CPU's attention in bfloat16 is three times slower than in float32: a fused pass keeps to float32 there.
        with torch.autocast(x_BTC.device.type, enabled=mixed):
            if layout.spans:
                y_BTHD = attend_spans(q_BTHD, k_BTKD, v_BTKD, layout.spans)
            else:
                y_BTHD = attend(q_BTHD, k_BTKD, v_BTKD, layout.global_mask if self.is_global else layout.local_mask)
        return self.out(y_BTHD.reshape(batch, tokens, -1))  # type: ignore[no-any-return]

    def _turned_heads(self, qkv_BTHD: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normalised and rotated together, and values."""
        turned, weight_JD = self.heads + self.kv_heads, None
        if self.query_norm is not None and self.key_norm is not None:
            parts = (self.query_norm.weight.expand(self.heads, -1), self.key_norm.weight.expand(self.kv_heads, -1))
            weight_JD = torch.cat(parts)
            if self.share is not None:
                weight_JD = self.share(weight_JD)
        if layout.fused:
            qkv_NHD, cos_ND, sin_ND = (x.flatten(0, 1) for x in (qkv_BTHD, layout.cos_BTD, layout.sin_BTD))
            turned_heads = kernels.rotated_heads(qkv_NHD, cos_ND, sin_ND, weight_JD, self.eps, self.heads)
            q_BTHD, k_BTKD, v_BTKD = (x.view(*qkv_BTHD.shape[:2], -1, self.head_dim) for x in turned_heads)
            return q_BTHD, k_BTKD, v_BTKD
        qk_BTJD, v_BTKD = qkv_BTHD[:, :, :turned], qkv_BTHD[:, :, turned:]
        if weight_JD is not None:
            # Under mixed precision the weights are wider than the products: normalise in their precision.
            unit_BTJD = F.rms_norm(qk_BTJD.to(weight_JD.dtype), (self.head_dim,), eps=self.eps)
            qk_BTJD = unit_BTJD * weight_JD
        qk_BTJD = rotate(qk_BTJD, layout.cos_BTD, layout.sin_BTD)
        return qk_BTJD[:, :, : self.heads], qk_BTJD[:, :, self.heads :], v_BTKD


def attend_spans(q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor, spans: tuple[int, ...]) -> Tensor:
    """Causal attention within each of the spans that the tokens of all rows, one after another, divide into."""
    flat = (x.flatten(0, 1).unsqueeze(0) for x in (q_BTHD, k_BTKD, v_BTKD))
    parts = zip(*(torch.split_with_sizes(x_1NHD, spans, dim=1) for x_1NHD in flat), strict=True)
    y_1NHD = torch.cat([attend(q, k, v, Mask(causal=True)) for q, k, v in parts], dim=1)
    return y_1NHD.view(q_BTHD.shape)


def attend(q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, mask: Mask) -> Tensor:
    """Attention output, (B, T, H, D)."""
    if mask.blocks is not None:
        return flex.attend(q_BTHD, k_BSKD, v_BSKD, mask.blocks)
    q_BHTD, k_BKSD, v_BKSD = q_BTHD.transpose(1, 2), k_BSKD.transpose(1, 2), v_BSKD.transpose(1, 2)
    bias_B1TS = None if mask.bias_BTS is None else mask.bias_BTS.unsqueeze(1)
    grouped = q_BHTD.shape[1] != k_BKSD.shape[1]
    if grouped and bias_B1TS is not None and q_BHTD.is_cuda:
        # The fused CUDA kernels that take a mask want as many key heads as query heads.
        groups = q_BHTD.shape[1] // k_BKSD.shape[1]
        k_BKSD, v_BKSD = k_BKSD.repeat_interleave(groups, 1), v_BKSD.repeat_interleave(groups, 1)
        grouped = False
    y_BHTD = F.scaled_dot_product_attention(
        q_BHTD, k_BKSD, v_BKSD, attn_mask=bias_B1TS, is_causal=mask.causal, enable_gqa=grouped
    )
    return y_BHTD.transpose(1, 2)
