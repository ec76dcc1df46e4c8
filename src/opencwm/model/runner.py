"""`Runner`: the transformer's pass for decoding, over a cache, with many sequences of different lengths at once.

Notable choices:
- Separate from `Transformer.forward`, which serves training: here all tokens of a step, of whatever sequence, are one
  flat row, so that a chunk of a prompt and single tokens of other sequences share every matrix product. The tests hold
  that both passes give the same numbers.
- What all layers share in a step (positions, where to write, masks) is a `_Plan`, computed once. Sequences that
  add one token and sit in neighbouring slots attend in one kernel call, each chunk in one of its own.
- Weights are taken from a model once: as they are (float32, shared with the model), as bfloat16, or as int8 with one
  scale per row, with bfloat16 activations. Norms and rotations stay float32.
- Where the processor and the build allow it, `compiled.CompiledPass` does all of this in C instead: what is here is the
  pass of GPUs and of other processors, and says what the one in C computes.

Shapes: N tokens of the step, C model width, F feed-forward width, H query heads, K key-value heads, G = H / K,
J = H + K, D head_dim, L layers, P cached positions, W convolution width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.model.cache import Cache, Segment
from opencwm.model.compiled import CompiledPass, oldest_first, usable
from opencwm.model.transformer import Layer, Transformer

WeightKind = Literal["float32", "bfloat16", "int8"]
KINDS: tuple[WeightKind, ...] = ("float32", "bfloat16", "int8")


class Runner:
    """A model ready to decode. `weights` says how its matrices are held; the model itself is not changed."""

    def __init__(self, model: Transformer, weights: WeightKind = "float32") -> None:
        if weights not in KINDS:
            raise ValueError(f"unknown weights {weights!r}: choose one of {', '.join(KINDS)}")
        self.config = model.config
        self.weights = weights
        self.device = model.embedding.weight.device
        self.dtype = torch.float32 if weights == "float32" else torch.bfloat16
        self.compiled = CompiledPass(model, weights) if usable(self.config, self.device) else None
        if self.compiled is not None:
            return
        with torch.no_grad():
            self._embedding = model.embedding.weight.detach().to(self.dtype)
            self._output = _Matrix(model.output.weight.detach(), weights)
            self._norm = _Norm(model.norm.weight, self.config.norm_eps)
            self._layers = [_Weights(layer, weights) for layer in model.layers if isinstance(layer, Layer)]
            self._head_weights_LJD = _head_weights(model)
            self._head_eps = self.config.norm_eps * self.config.head_dim
        self._cos_PD, self._sin_PD = model.cos_PD, model.sin_PD

    def new_cache(self, slots: int, room: int, *, chunk: int) -> Cache:
        """An empty cache on the runner's device, in its dtype."""
        return Cache(self.config, slots, room, chunk=chunk, dtype=self.dtype, device=self.device)

    @torch.inference_mode()
    def hidden(self, cache: Cache, segments: Sequence[Segment]) -> Tensor:
        """Append segments (each of its own slot, at most `cache.chunk` tokens) and return their final hidden states.

        (N, C), the segments one after another, ready for `logits`.
        """
        if self.compiled is not None:
            _check(cache, segments)
            hidden_NC = self.compiled.hidden(cache, segments)
            for segment in segments:
                cache.advance(segment.slot, len(segment.ids))
            return hidden_NC
        order = sorted(range(len(segments)), key=lambda i: (len(segments[i].ids) > 1, segments[i].slot))
        plan = _Plan(self, cache, [segments[i] for i in order])
        x_NC = F.embedding(plan.tokens_N, self._embedding)
        for number, layer in enumerate(self._layers):
            x_NC = self._layer(number, layer, x_NC, plan, cache)
        x_NC = self._norm(x_NC)
        for segment in segments:
            cache.advance(segment.slot, len(segment.ids))
        if order == sorted(order):
            return x_NC
        parts = torch.split_with_sizes(x_NC, [len(segments[i].ids) for i in order])
        return torch.cat([part for _, part in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0])])

    @torch.inference_mode()
    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Vocabulary logits in float32: (N, V)."""
        if self.compiled is not None:
            return self.compiled.logits(hidden_NC)
        return self._output(hidden_NC).float()

    def _layer(self, number: int, layer: _Weights, x_NC: Tensor, plan: _Plan, cache: Cache) -> Tensor:
        """One layer. Every operation costs about a microsecond to start, which for a small model is most of it."""
        heads, width = self.config.heads, self.config.head_dim
        turned = heads + self.config.kv_heads
        y_NC = layer.attention_norm(x_NC)
        if layer.attention_conv_WC is not None:
            y_NC = plan.convolved(y_NC, cache.attention_inputs_SPC[number], layer.attention_conv_WC)
        qkv_NHD = layer.qkv(y_NC).view(x_NC.shape[0], -1, width)
        qk_NJD = qkv_NHD[:, :turned]
        if self.dtype != torch.float32:
            qk_NJD = qk_NJD.float()
        if self._head_weights_LJD is not None:
            # The norm's weight is in the tables, the square root of the mean's divisor too.
            inverse_NJ1 = torch.linalg.vecdot(qk_NJD, qk_NJD).add_(self._head_eps).rsqrt_().unsqueeze(-1)
            qk_NJD = qk_NJD * inverse_NJ1
        qk_NJD = torch.addcmul(qk_NJD * plan.cos[number], qk_NJD.roll(width // 2, -1), plan.sin[number])
        if self.dtype != torch.float32:
            qk_NJD = qk_NJD.to(self.dtype)
        kind = plan.whole if layer.is_global else plan.local
        new_NHD = torch.cat((qk_NJD[:, heads:], qkv_NHD[:, turned:]), 1)
        cache.heads_SHPD[number].view(-1, width).index_copy_(0, kind.rows, new_NHD.view(-1, width))
        attended_NC = kind.attend(qk_NJD[:, :heads], cache.keys_SKPD[number], cache.values_SKPD[number])
        x_NC = layer.out.added(x_NC, attended_NC)
        y_NC = layer.ffn_norm(x_NC)
        if layer.ffn_conv_WC is not None:
            y_NC = plan.convolved(y_NC, cache.ffn_inputs_SPC[number], layer.ffn_conv_WC)
        gate_NF, up_NF = layer.gate_up(y_NC).chunk(2, -1)
        return layer.down.added(x_NC, F.silu(gate_NF).mul_(up_NF))

    def angles(self, position_N: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Per layer, cosines and sines as `_layer` wants them: (N, 1, D), with head norms (N, J, D)."""
        cos_N1D, sin_N1D = self._cos_PD[position_N].unsqueeze(1), self._sin_PD[position_N].unsqueeze(1)
        if self._head_weights_LJD is None:
            return [cos_N1D] * self.config.layers, [sin_N1D] * self.config.layers
        # rotate(w * u) = u * (w cos) + swapped(u) * (swapped(w) sin)
        weight_L1JD = self._head_weights_LJD.unsqueeze(1)
        swapped_L1JD = weight_L1JD.roll(weight_L1JD.shape[-1] // 2, -1)
        return (weight_L1JD * cos_N1D).unbind(), (swapped_L1JD * sin_N1D).unbind()


class _Norm:
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


class _Matrix:
    """One weight matrix, (O, I), in the runner's kind."""

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


class _Weights:
    """One layer's weights."""

    def __init__(self, layer: Layer, kind: WeightKind) -> None:
        self.qkv = _Matrix(layer.attention.qkv.weight.detach(), kind)
        self.out = _Matrix(layer.attention.out.weight.detach(), kind)
        self.gate_up = _Matrix(layer.ffn.gate_up.weight.detach(), kind)
        self.down = _Matrix(layer.ffn.down.weight.detach(), kind)
        eps = layer.attention.eps
        self.is_global = layer.attention.is_global
        self.attention_norm, self.ffn_norm = _Norm(layer.attention_norm.weight, eps), _Norm(layer.ffn_norm.weight, eps)
        self.attention_conv_WC = oldest_first(layer.attention_conv.weight.detach()) if layer.attention_conv else None
        self.ffn_conv_WC = oldest_first(layer.ffn_conv.weight.detach()) if layer.ffn_conv else None


def _head_weights(model: Transformer) -> Tensor | None:
    if not model.config.qk_norm:
        return None
    rows = []
    for layer in model.layers:
        assert isinstance(layer, Layer) and layer.attention.query_norm is not None
        assert layer.attention.key_norm is not None
        query = layer.attention.query_norm.weight.detach().expand(model.config.heads, -1)
        key = layer.attention.key_norm.weight.detach().expand(model.config.kv_heads, -1)
        rows.append(torch.cat((query, key)))
    scale: float = model.config.head_dim**0.5
    return torch.stack(rows).float() * scale


def _check(cache: Cache, segments: Sequence[Segment]) -> None:
    for segment in segments:
        if not segment.ids:
            raise ValueError("an empty segment: give at least one token")
        start = cache.lengths[segment.slot]
        if len(segment.ids) > cache.chunk or start + len(segment.ids) > cache.room:
            raise ValueError(
                f"{len(segment.ids)} tokens after {start} do not fit: at most {cache.chunk} at a time, "
                f"{cache.room} in all"
            )


class _Plan:
    """What all layers share in one step; segments of one token come first, by slot."""

    def __init__(self, runner: Runner, cache: Cache, segments: Sequence[Segment]) -> None:
        config, device = runner.config, runner.device
        _check(cache, segments)
        starts = [cache.lengths[segment.slot] for segment in segments]
        spans = list(zip(segments, starts, strict=True))
        slots = [segment.slot for segment, _ in spans for _ in segment.ids]
        positions = [start + i for segment, start in spans for i in range(len(segment.ids))]
        self.tokens_N = torch.tensor([token for segment in segments for token in segment.ids], device=device)
        slot_N = torch.tensor(slots, device=device)
        position_N = torch.tensor(positions, device=device)
        self.cos, self.sin = runner.angles(position_N)
        self.whole = _Kind(cache, segments, starts, slot_N, position_N, cache.room, None)
        self.local = self.whole
        if config.local_window is not None and any(not config.layer_is_global(i) for i in range(config.layers)):
            self.local = _Kind(cache, segments, starts, slot_N, position_N, cache.ring, config.local_window)
        if cache.lead:
            first_N = slot_N * (cache.lead + cache.room) + position_N
            self._conv_NW = first_N.unsqueeze(1) + torch.arange(cache.lead + 1, device=device)
            self._conv_own_N = first_N + cache.lead

    def convolved(self, y_NC: Tensor, inputs_SPC: Tensor, weight_WC: Tensor) -> Tensor:
        """The causal convolution, with the inputs of earlier tokens from the cache, where these join them."""
        flat_PC = inputs_SPC.view(-1, inputs_SPC.shape[-1])
        flat_PC.index_copy_(0, self._conv_own_N, y_NC)
        return (flat_PC[self._conv_NW] * weight_WC).sum(1).to(y_NC.dtype)


class _Kind:
    """Where the tokens of a step are written and what they see, in the global layers or in the local ones."""

    def __init__(
        self,
        cache: Cache,
        segments: Sequence[Segment],
        starts: Sequence[int],
        slot_N: Tensor,
        position_N: Tensor,
        ring: int,
        window: int | None,
    ) -> None:
        config, device = cache.config, slot_N.device
        self.groups_heads = config.heads // config.kv_heads
        heads_H = torch.arange(2 * config.kv_heads, device=device)
        row_NH = (slot_N.unsqueeze(1) * (2 * config.kv_heads) + heads_H) * ring + (position_N % ring).unsqueeze(1)
        self.rows = row_NH.flatten()
        dtype = cache.keys_SKPD[0].dtype
        self._calls: list[_Call] = []
        first = 0
        singles = [(segment.slot, start) for segment, start in zip(segments, starts, strict=True)
                   if len(segment.ids) == 1]  # fmt: skip
        for group in _neighbours(singles):
            last_B = torch.tensor([start for _, start in group], device=device)
            used = min(ring, max(start for _, start in group) + 1)
            even = len({start for _, start in group}) == 1 and (window is None or used <= window)
            bias_B11P = None if even else _bias(last_B.unsqueeze(1), last_B, used, ring, window, dtype).unsqueeze(1)
            low = group[0][0]
            self._calls.append(_Call(first, len(group), low, low + len(group), used, bias_B11P, single=True))
            first += len(group)
        for segment, start in list(zip(segments, starts, strict=True))[len(singles) :]:
            tokens = len(segment.ids)
            used = min(ring, start + tokens)
            causal = start == 0 and (window is None or tokens <= window)
            bias = None
            if not causal:
                position_1T = torch.arange(start, start + tokens, device=device).unsqueeze(0)
                bias = _bias(position_1T, position_1T[:, -1], used, ring, window, dtype).unsqueeze(1)
            self._calls.append(_Call(first, tokens, segment.slot, segment.slot + 1, used, bias, causal=causal))
            first += tokens

    def attend(self, q_NHD: Tensor, keys_SKPD: Tensor, values_SKPD: Tensor) -> Tensor:
        """Attention output, (N, H * D)."""
        if len(self._calls) == 1:
            return self._attended(self._calls[0], q_NHD, keys_SKPD, values_SKPD)
        parts = [
            self._attended(call, q_NHD[call.first : call.first + call.tokens], keys_SKPD, values_SKPD)
            for call in self._calls
        ]
        return torch.cat(parts)

    def _attended(self, call: _Call, q_NHD: Tensor, keys_SKPD: Tensor, values_SKPD: Tensor) -> Tensor:
        k_BKPD = keys_SKPD[call.low : call.high, :, : call.used]
        v_BKPD = values_SKPD[call.low : call.high, :, : call.used]
        if call.single:  # the heads of a group are so many queries of one key head
            q_BKGD = q_NHD.view(call.tokens, -1, self.groups_heads, q_NHD.shape[-1])
            y_BKGD = F.scaled_dot_product_attention(q_BKGD, k_BKPD, v_BKPD, attn_mask=call.bias)
            return y_BKGD.reshape(call.tokens, -1)
        y_1HTD = F.scaled_dot_product_attention(
            q_NHD.transpose(0, 1).unsqueeze(0),
            k_BKPD,
            v_BKPD,
            attn_mask=call.bias,
            is_causal=call.causal,
            enable_gqa=self.groups_heads > 1,
        )
        return y_1HTD[0].transpose(0, 1).reshape(call.tokens, -1)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the attention kernel: tokens `first` and on, slots `low` to `high`, the first `used` positions."""

    first: int
    tokens: int
    low: int
    high: int
    used: int
    bias: Tensor | None
    causal: bool = False
    single: bool = False
    """One token of each slot."""


def _neighbours(singles: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """(slot, length) pairs, by slot, cut into runs of neighbouring slots whose lengths are not too far apart."""
    groups: list[list[tuple[int, int]]] = []
    total = longest = 0
    for slot, length in singles:
        if groups and groups[-1][-1][0] == slot - 1:
            padded = max(longest, length) * (len(groups[-1]) + 1)
            if padded <= 2 * (total + length) + 1024:
                groups[-1].append((slot, length))
                total, longest = total + length, max(longest, length)
                continue
        groups.append([(slot, length)])
        total = longest = length
    return groups


def _bias(position_BT: Tensor, last_B: Tensor, used: int, ring: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where the query at a position may see what index 0 .. `used` - 1 holds, -inf elsewhere: (B, T, P)."""
    index_P = torch.arange(used, device=position_BT.device)
    held_B1P = (last_B.unsqueeze(1) - (last_B.unsqueeze(1) - index_P) % ring).unsqueeze(1)
    query_BT1 = position_BT.unsqueeze(2)
    allowed_BTP = (held_B1P <= query_BT1) & (held_B1P >= 0)
    if window is not None:
        allowed_BTP &= held_B1P > query_BT1 - window
    bias_BTP = torch.zeros(allowed_BTP.shape, dtype=dtype, device=position_BT.device)
    return bias_BTP.masked_fill_(~allowed_BTP, float("-inf"))
