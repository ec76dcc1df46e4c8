"""Keys, values and convolution inputs of many sequences: one fixed buffer per layer, a slot per sequence.

Notable choices:
- A sequence owns a slot, so a batch of neighbouring slots is a view and attention reads it in place.
- Local layers keep a ring of `window + chunk` positions, position p at index p modulo its length: enough for a chunk of
  new tokens and the window before its first. Global layers keep every position. At CWM's shape and 131,072 tokens that
  is 0.31 of what a cache of global layers alone would take.
- Going back (a debugger, a dropped frame, a prompt that another sequence began with) costs nothing in global layers.
  In a ring what has been overwritten is lost: `reaches` says whether a slot can still go on from a given length.
- On a CPU the buffers are lazily zeroed pages: tokens that were never written take no memory.

Shapes: S slots, K key-value heads, E = 2 K of both kinds, P positions (fewer in a ring), D head_dim, C model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opencwm.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens to append to one slot's sequence."""

    slot: int
    ids: Sequence[int]


class Cache:
    """Buffers for `slots` sequences of at most `room` tokens, fed at most `chunk` tokens at a time.

    `lengths[slot]` counts the tokens that a slot holds. Lower it to forget the tokens after it, if `reaches` allows.
    """

    def __init__(
        self, config: ModelConfig, slots: int, room: int, *, chunk: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.config, self.slots, self.room, self.chunk = config, slots, room, chunk
        window = config.local_window
        self.ring = room if window is None else min(room, window + chunk)
        self.lead = max(config.conv_width - 1, 0)  # zero rows before the first token, for the convolutions
        self.heads_SEPD: list[Tensor] = []
        self.attention_inputs_SPC: list[Tensor] = []
        self.ffn_inputs_SPC: list[Tensor] = []
        for layer in range(config.layers):
            positions = room if config.layer_is_global(layer) else self.ring
            # One buffer for both, so that a step writes them at once.
            heads_SEPD = _zeros((slots, 2 * config.kv_heads, positions, config.head_dim), dtype, device)
            self.heads_SEPD.append(heads_SEPD)
            if self.lead:
                inputs = (slots, self.lead + room, config.dim)
                self.attention_inputs_SPC.append(_zeros(inputs, dtype, device))
                self.ffn_inputs_SPC.append(_zeros(inputs, dtype, device))
        self.lengths = [0] * slots
        self._written = [0] * slots  # one past the highest position that a ring has held

    def advance(self, slot: int, tokens: int) -> None:
        """Count tokens that a forward pass has written behind those of a slot."""
        self.lengths[slot] += tokens
        self._written[slot] = max(self._written[slot], self.lengths[slot])

    def reaches(self, slot: int, length: int) -> bool:
        """Whether a slot can go on after its first `length` tokens: its rings still hold the window before them."""
        if length > self.lengths[slot]:
            return False
        if self.ring == self.room or length == 0:
            return True
        assert self.config.local_window is not None
        oldest = max(0, length - self.config.local_window + 1)
        return self._written[slot] <= oldest + self.ring

    def clear(self, slot: int) -> None:
        """Make a slot empty."""
        self.lengths[slot] = self._written[slot] = 0

    def copy(self, source: int, target: int, length: int) -> None:
        """Give `target` the first `length` tokens of `source`, which must reach them."""
        for heads_SEPD in self.heads_SEPD:
            used = min(length, heads_SEPD.shape[2])
            if heads_SEPD.shape[2] < self.room:
                used = min(self._written[source], heads_SEPD.shape[2])  # a ring is copied as it stands
            heads_SEPD[target, :, :used] = heads_SEPD[source, :, :used]
        for buffers in (self.attention_inputs_SPC, self.ffn_inputs_SPC):
            for buffer_SPC in buffers:
                buffer_SPC[target, : self.lead + length] = buffer_SPC[source, : self.lead + length]
        self.lengths[target] = length
        self._written[target] = self._written[source] if self.ring < self.room else length

    @property
    def bytes(self) -> int:
        """Size of all buffers."""
        buffers = (*self.heads_SEPD, *self.attention_inputs_SPC, *self.ffn_inputs_SPC)
        return sum(buffer.nbytes for buffer in buffers)


def cache_bytes(config: ModelConfig, tokens: int, *, chunk: int, itemsize: int, local: bool = True) -> int:
    """Bytes of keys and values of one sequence of `tokens` tokens; with `local=False`, were all layers global."""
    ring = tokens
    if local and config.local_window is not None:
        ring = min(tokens, config.local_window + chunk)
    positions = sum(tokens if config.layer_is_global(layer) else ring for layer in range(config.layers))
    return 2 * positions * config.kv_heads * config.head_dim * itemsize


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
    return torch.from_numpy(np.zeros(size, dtype=np.uint8)).view(dtype).view(shape)
