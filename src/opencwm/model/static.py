"""`StaticPass`: decoding steps of few tokens in fixed shapes, compiled by PyTorch, on a GPU replayed as CUDA graphs.

Notable choices:
- One layer is compiled, not the model: all layers share it (global and local ones differ), so compiling takes as long
  for 64 layers as for two. Tokens and seen positions are symbols in it; the cache is written in place.
- A step is filled up to a power of two of tokens, by its first one over again (which writes what that one writes), and
  sees a power of two of positions. Each pair of the two is one CUDA graph, recorded when first met. Long prompts and
  long contexts take `runner`'s own pass: those are bound by products and memory, not by starting operations.
- Every token attends by itself to what its slot holds, gathered within the kernel: so a step may mix single tokens,
  forced pieces and ends of prompts of any slots.
- Graphs are recorded here and not by `mode="reduce-overhead"`, whose state belongs to the thread that compiled
  (pytorch issue 123177): an engine is made in one thread and steps in another.

Shapes: N tokens of the step, filled up, C model width, H query heads, K key-value heads, G = H / K, E = 2 K,
D head_dim, P positions seen, S slots, W convolution width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache as remembered
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.model.cache import Cache, Segment
from opencwm.model.matrices import LayerWeights, Weights, layer_pass

BACKEND = "inductor"
MOST_TOKENS = 64
"""Tokens of a step; more are a prompt."""
LEAST_SEEN, MOST_SEEN = 256, 8192
"""Positions that a step sees, filled up."""
Replay = Callable[[], object]
Recorder = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]
"""Runs some work on tensors that stay where they are; gives what does it again, and its result, which stays too."""


class CompileError(RuntimeError):
    """PyTorch cannot compile the pass on this machine; the message says what it lacks."""


class StaticPass:
    """Steps over a model's weights. `record` replaces CUDA graphs, for tests."""

    def __init__(self, weights: Weights, *, record: Recorder | None = None) -> None:
        self._weights = weights
        self._layer = _compiled(BACKEND, weights.shape)
        self.device = weights.embedding.device
        self._record = record
        if record is None and self.device.type == "cuda":
            self._record = _CudaGraphs(self.device)
        self._recorded: WeakKeyDictionary[Cache, dict[tuple[int, int], tuple[Replay, Tensor, Tensor]]]
        self._recorded = WeakKeyDictionary()

    def fits(self, cache: Cache, segments: Sequence[Segment]) -> bool:
        """Whether a step is one for this pass."""
        longest = max(cache.lengths[segment.slot] + len(segment.ids) for segment in segments)
        return sum(len(segment.ids) for segment in segments) <= MOST_TOKENS and longest <= MOST_SEEN

    def warm_up(self, cache: Cache) -> None:
        """Compile for a cache of which nothing is in use. Raises CompileError."""
        try:
            self.hidden(cache, [Segment(0, [0])])
        except Exception as error:
            what = " ".join(str(error).split()[:30]) or type(error).__name__
            raise CompileError(
                f"PyTorch cannot compile the decoding pass here ({what}): a CPU needs a C++ compiler (g++), a GPU "
                "triton; or decode without compiling"
            ) from error

    def hidden(self, cache: Cache, segments: Sequence[Segment]) -> Tensor:
        """Final hidden states of the segments' tokens, one after another: (N, C). `fits` must hold."""
        rows: list[tuple[int, int, int]] = []
        for segment in segments:
            start = cache.lengths[segment.slot]
            rows += [(token, segment.slot, start + i) for i, token in enumerate(segment.ids)]
        seen = min(cache.room, filled(1 + max(position for _, _, position in rows), LEAST_SEEN))
        padding = filled(len(rows), 2) - len(rows)
        given_3N = torch.tensor([*rows, *rows[:1] * padding]).t().contiguous()
        if self._record is None:
            return self._run(cache, given_3N.to(self.device), seen)[: len(rows)]
        known = self._recorded.setdefault(cache, {})
        shape = given_3N.shape[1], seen
        if shape not in known:
            kept_3N = given_3N.to(self.device)
            replay, out_NC = self._record(lambda: self._run(cache, kept_3N, seen))
            known[shape] = replay, kept_3N, out_NC
        replay, kept_3N, out_NC = known[shape]
        kept_3N.copy_(given_3N)
        replay()
        return out_NC[: len(rows)].clone()  # the next replay writes there

    def _run(self, cache: Cache, given_3N: Tensor, seen: int) -> Tensor:
        token_N, slot_N, position_N = given_3N
        x_NC = F.embedding(token_N, self._weights.embedding)
        cosines, sines = self._weights.angles(position_N)
        for number, (layer, cos, sin) in enumerate(zip(self._weights.layers, cosines, sines, strict=True)):
            heads_SEPD = cache.heads_SEPD[number]
            index_P = torch.arange(min(seen, heads_SEPD.shape[2]), device=self.device)
            inputs = (cache.attention_inputs_SPC[number], cache.ffn_inputs_SPC[number]) if cache.lead else None
            varying = (x_NC, cos, sin, slot_N, position_N, index_P)
            for tensor in varying:
                torch._dynamo.mark_dynamic(tensor, 0)
            x_NC = self._layer(layer, *varying, heads_SEPD, inputs)
        return self._weights.norm(x_NC)


class _Rows:
    """Where each token of a step is written in a layer's cache, and what it sees."""

    def __init__(
        self, layer: LayerWeights, slot_N: Tensor, position_N: Tensor, index_P: Tensor, heads_SEPD: Tensor
    ) -> None:
        self.kv_heads, self.head_dim = layer.kv_heads, layer.head_dim
        ring = heads_SEPD.shape[2]
        self.slot_N, self.position_N, self.index_P = slot_N, position_N, index_P
        self.index_N = position_N % ring
        position_N1 = position_N.unsqueeze(1)
        # What index i holds for a token is so many positions before it; what was never written comes out as too many.
        back_NP = (position_N1 - index_P) % ring
        seen_NP = back_NP <= position_N1
        if layer.window is not None:
            seen_NP = seen_NP & (back_NP < layer.window)
        self.seen_N11P = seen_NP.unsqueeze(1).unsqueeze(1)

    def place(self, new_NED: Tensor, heads_SEPD: Tensor) -> None:
        # By index into the buffer itself: the compiler would copy the whole buffer to write through a view of it.
        heads_SEPD[self.slot_N, :, self.index_N] = new_NED

    def attend(self, q_NHD: Tensor, heads_SEPD: Tensor) -> Tensor:
        tokens = q_NHD.shape[0]
        slot_N11, head_K1 = self.slot_N.view(-1, 1, 1), torch.arange(self.kv_heads, device=q_NHD.device).unsqueeze(1)
        # Not by slices: whether one takes a whole ring would be a guard, and be compiled twice.
        keys_NKPD = heads_SEPD[slot_N11, head_K1, self.index_P]
        values_NKPD = heads_SEPD[slot_N11, head_K1 + self.kv_heads, self.index_P]
        q_NKGD = q_NHD.reshape(tokens, self.kv_heads, -1, self.head_dim).float() * self.head_dim**-0.5
        scores_NKGP = (q_NKGD.unsqueeze(3) * keys_NKPD.unsqueeze(2)).sum(-1)
        weight_NKGP = scores_NKGP.masked_fill(~self.seen_N11P, float("-inf")).softmax(-1)
        y_NKGD: Tensor = (weight_NKGP.unsqueeze(-1) * values_NKPD.unsqueeze(2)).sum(3)
        return y_NKGD.reshape(tokens, -1).to(q_NHD.dtype)

    def convolved(self, y_NC: Tensor, inputs_SPC: Tensor, weight_WC: Tensor) -> Tensor:
        lead = weight_WC.shape[0] - 1
        inputs_SPC[self.slot_N, self.position_N + lead] = y_NC
        window_NW = self.position_N.unsqueeze(1) + torch.arange(lead + 1, device=y_NC.device)
        joined_NC: Tensor = (inputs_SPC[self.slot_N.unsqueeze(1), window_NW] * weight_WC).sum(1)
        return joined_NC.to(y_NC.dtype)


def _step(
    layer: LayerWeights,
    x_NC: Tensor,
    cos: Tensor,
    sin: Tensor,
    slot_N: Tensor,
    position_N: Tensor,
    index_P: Tensor,
    heads_SEPD: Tensor,
    inputs: tuple[Tensor, Tensor] | None,
) -> Tensor:
    view = _Rows(layer, slot_N, position_N, index_P, heads_SEPD)
    return layer_pass(layer, x_NC, cos, sin, view, heads_SEPD, inputs)


@remembered
def _compiled(backend: str, shape: object) -> Any:
    """`_step`, compiled; a copy for each shape of model, since a function may be compiled for eight cases at most."""
    copy = FunctionType(_step.__code__.replace(), _step.__globals__, f"_step of {shape}")
    return torch.compile(copy, backend=backend, fullgraph=True)


def filled(count: int, least: int) -> int:
    """The next power of two, at least `least`."""
    return max(least, 1 << (count - 1).bit_length())


class _CudaGraphs:
    """Records work on a GPU. All graphs share memory: none runs beside another, and results are copied out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        with torch.cuda.device(self._device):
            current, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(current)
            with torch.cuda.stream(aside):
                work()  # compiles, and lets the libraries take their memory, neither of which can be recorded
            current.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile: a server has several.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                out_NC = work()
        return graph.replay, out_NC
