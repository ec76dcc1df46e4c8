"""`Runner`: the transformer's pass for decoding, over a cache, with many sequences of different lengths at once.

Notable choices:
- Separate from `Transformer.forward`, which serves training: here all tokens of a step, of whatever sequence, are one
  flat row, so that a chunk of a prompt and single tokens of other sequences share every matrix product. The tests hold
  that both passes give the same numbers.
- What all layers share in a step (positions, where to write, masks) is a `_Plan`, computed once. Sequences that
  add one token and sit in neighbouring slots attend in one kernel call, each chunk in one of its own.
- Where the processor and the build allow it, `compiled.CompiledPass` does all of this in C instead: what is here is the
  pass of GPUs and of other processors, and says what the one in C computes. With `compile`, steps of few tokens are
  `static.StaticPass`'s.

Shapes: N tokens of the step, C model width, H query heads, K key-value heads, G = H / K, E = 2 K, D head_dim, P cached
positions, S slots, W convolution width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.model.cache import Cache, Segment
from opencwm.model.compiled import CompiledPass, usable
from opencwm.model.matrices import KINDS, WeightKind, Weights, layer_pass
from opencwm.model.static import StaticPass
from opencwm.model.transformer import Transformer


class Runner:
    """A model ready to decode. `weights` says how its matrices are held; the model itself is not changed.

    `compile` takes PyTorch's compiler for steps of few tokens: it pays on a GPU. On a CPU the pass in C is faster.
    """

    def __init__(self, model: Transformer, weights: WeightKind = "float32", *, compile: bool = False) -> None:
        if weights not in KINDS:
            raise ValueError(f"unknown weights {weights!r}: choose one of {', '.join(KINDS)}")
        self.config = model.config
        self.weights = weights
        self.device = model.embedding.weight.device
        self.dtype = torch.float32 if weights == "float32" else torch.bfloat16
        self.compiled: CompiledPass | None = None
        self.static: StaticPass | None = None
        if not compile and usable(self.config, self.device):
            self.compiled = CompiledPass(model, weights)
            return
        self._weights = Weights(model, weights)
        if compile:
            self.static = StaticPass(self._weights)

    def new_cache(self, slots: int, room: int, *, chunk: int) -> Cache:
        """An empty cache on the runner's device, in its dtype."""
        return Cache(self.config, slots, room, chunk=chunk, dtype=self.dtype, device=self.device)

    @torch.inference_mode()
    def warm_up(self, cache: Cache) -> None:
        """Compile what is to be compiled for a cache of which nothing is in use yet. Raises CompileError."""
        if self.static is not None:
            self.static.warm_up(cache)

    @torch.inference_mode()
    def hidden(self, cache: Cache, segments: Sequence[Segment]) -> Tensor:
        """Append segments (each of its own slot, at most `cache.chunk` tokens) and return their final hidden states.

        (N, C), the segments one after another, ready for `logits`.
        """
        _check(cache, segments)
        if self.compiled is not None:
            hidden_NC = self.compiled.hidden(cache, segments)
        elif self.static is not None and self.static.fits(cache, segments):
            hidden_NC = self.static.hidden(cache, segments)
        else:
            hidden_NC = self._hidden(cache, segments)
        for segment in segments:
            cache.advance(segment.slot, len(segment.ids))
        return hidden_NC

    def _hidden(self, cache: Cache, segments: Sequence[Segment]) -> Tensor:
        order = sorted(range(len(segments)), key=lambda i: (len(segments[i].ids) > 1, segments[i].slot))
        weights = self._weights
        plan = _Plan(weights, cache, [segments[i] for i in order])
        x_NC = F.embedding(plan.tokens_N, weights.embedding)
        for number, layer in enumerate(weights.layers):
            view = plan.whole if layer.window is None else plan.local
            inputs = (cache.attention_inputs_SPC[number], cache.ffn_inputs_SPC[number]) if cache.lead else None
            heads_SEPD = cache.heads_SEPD[number]
            x_NC = layer_pass(layer, x_NC, plan.cos[number], plan.sin[number], view, heads_SEPD, inputs)
        x_NC = weights.norm(x_NC)
        if order == sorted(order):
            return x_NC
        parts = torch.split_with_sizes(x_NC, [len(segments[i].ids) for i in order])
        return torch.cat([part for _, part in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0])])

    @torch.inference_mode()
    def logits(self, hidden_NC: Tensor) -> Tensor:
        """Vocabulary logits in float32: (N, V)."""
        if self.compiled is not None:
            return self.compiled.logits(hidden_NC)
        return self._weights.output(hidden_NC).float()


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

    def __init__(self, weights: Weights, cache: Cache, segments: Sequence[Segment]) -> None:
        config, device = cache.config, weights.embedding.device
        starts = [cache.lengths[segment.slot] for segment in segments]
        spans = list(zip(segments, starts, strict=True))
        slots = [segment.slot for segment, _ in spans for _ in segment.ids]
        positions = [start + i for segment, start in spans for i in range(len(segment.ids))]
        self.tokens_N = torch.tensor([token for segment in segments for token in segment.ids], device=device)
        slot_N = torch.tensor(slots, device=device)
        position_N = torch.tensor(positions, device=device)
        self.cos, self.sin = weights.angles(position_N)
        joined = _Joined(cache, slot_N, position_N) if cache.lead else None
        self.whole = _Kind(cache, segments, starts, slot_N, position_N, cache.room, None, joined)
        self.local = self.whole
        if config.local_window is not None and any(not config.layer_is_global(i) for i in range(config.layers)):
            self.local = _Kind(cache, segments, starts, slot_N, position_N, cache.ring, config.local_window, joined)


class _Joined:
    """Where the inputs of convolutions are written, and which of them each token's convolution joins."""

    def __init__(self, cache: Cache, slot_N: Tensor, position_N: Tensor) -> None:
        first_N = slot_N * (cache.lead + cache.room) + position_N
        self.row_NW = first_N.unsqueeze(1) + torch.arange(cache.lead + 1, device=slot_N.device)
        self.own_N = first_N + cache.lead


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
        joined: _Joined | None,
    ) -> None:
        config, device = cache.config, slot_N.device
        self._kv_heads, self._groups, self._joined = config.kv_heads, config.heads // config.kv_heads, joined
        heads_E = torch.arange(2 * config.kv_heads, device=device)
        row_NE = (slot_N.unsqueeze(1) * (2 * config.kv_heads) + heads_E) * ring + (position_N % ring).unsqueeze(1)
        self._rows = row_NE.flatten()
        dtype = cache.heads_SEPD[0].dtype
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

    def place(self, new_NED: Tensor, heads_SEPD: Tensor) -> None:
        width = new_NED.shape[-1]
        heads_SEPD.view(-1, width).index_copy_(0, self._rows, new_NED.view(-1, width))

    def attend(self, q_NHD: Tensor, heads_SEPD: Tensor) -> Tensor:
        if len(self._calls) == 1:
            return self._attended(self._calls[0], q_NHD, heads_SEPD)
        parts = [self._attended(call, q_NHD[call.first : call.first + call.tokens], heads_SEPD) for call in self._calls]
        return torch.cat(parts)

    def _attended(self, call: _Call, q_NHD: Tensor, heads_SEPD: Tensor) -> Tensor:
        k_BKPD = heads_SEPD[call.low : call.high, : self._kv_heads, : call.used]
        v_BKPD = heads_SEPD[call.low : call.high, self._kv_heads :, : call.used]
        if call.single:  # the heads of a group are so many queries of one key head
            q_BKGD = q_NHD.view(call.tokens, -1, self._groups, q_NHD.shape[-1])
            y_BKGD = F.scaled_dot_product_attention(q_BKGD, k_BKPD, v_BKPD, attn_mask=call.bias)
            return y_BKGD.reshape(call.tokens, -1)
        y_1HTD = F.scaled_dot_product_attention(
            q_NHD.transpose(0, 1).unsqueeze(0),
            k_BKPD,
            v_BKPD,
            attn_mask=call.bias,
            is_causal=call.causal,
            enable_gqa=self._groups > 1,
        )
        return y_1HTD[0].transpose(0, 1).reshape(call.tokens, -1)

    def convolved(self, y_NC: Tensor, inputs_SPC: Tensor, weight_WC: Tensor) -> Tensor:
        assert self._joined is not None
        flat_PC = inputs_SPC.view(-1, inputs_SPC.shape[-1])
        flat_PC.index_copy_(0, self._joined.own_N, y_NC)
        return (flat_PC[self._joined.row_NW] * weight_WC).sum(1).to(y_NC.dtype)


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
