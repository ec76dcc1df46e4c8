"""The loss: cross-entropy of the tokens that carry a weight, and how many of them were right.

Notable choice: which tokens are predicted is known before anything is computed, so only their hidden states meet the
output matrix (the source, half of a packed row, never does), and no step waits for the device to count them.

Shapes: B rows, T tokens, N predicted tokens, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opencwm.train.pack import Batch


class Hidden(Protocol):
    """`Transformer.hidden`, compiled or not."""

    def __call__(self, tokens_BT: Tensor, *, documents_BT: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows on the device; for each predicted token, the place in the flat B * T of the token it is predicted from."""

    tokens_BT: Tensor
    documents_BT: Tensor
    places_N: Tensor
    targets_N: Tensor
    weights_N: Tensor


def micro_batches(batch: Batch, rows: int, device: torch.device) -> list[MicroBatch]:
    """The batch in pieces of at most `rows` rows, on the device."""
    pieces: list[MicroBatch] = []
    for start in range(0, len(batch.tokens), rows):
        tokens, weights = batch.tokens[start : start + rows], batch.weights[start : start + rows]
        row, column = np.nonzero(weights)
        arrays = (
            tokens,
            batch.documents[start : start + rows],
            row * tokens.shape[1] + column - 1,  # a token is predicted from the one before it
            tokens[row, column],
            weights[row, column],
        )
        pieces.append(MicroBatch(*(_to(torch.from_numpy(np.ascontiguousarray(array)), device) for array in arrays)))
    return pieces


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def token_loss(hidden: Hidden, logits: Callable[[Tensor], Tensor], piece: MicroBatch) -> tuple[Tensor, Tensor]:
    """Sum over the predicted tokens of weight x cross-entropy (float32, nats), and the weight of those predicted right.

    `hidden` and `logits` are a Transformer's methods. Divide both sums by the whole batch's weight: the result does not
    depend on how the batch was cut.
    """
    hidden_BTC = hidden(piece.tokens_BT, documents_BT=piece.documents_BT)
    logits_NV = logits(hidden_BTC.flatten(0, 1)[piece.places_N]).float()
    loss = (F.cross_entropy(logits_NV, piece.targets_N, reduction="none") * piece.weights_N).sum()
    right = ((logits_NV.detach().argmax(-1) == piece.targets_N) * piece.weights_N).sum()
    return loss, right
