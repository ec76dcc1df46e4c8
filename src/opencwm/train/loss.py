"""The loss: cross-entropy of the tokens that carry a weight, how many of them were right, and both per document.

Notable choices:
- Which tokens are predicted is known before anything is computed, so only their hidden states meet the output matrix
  (the source, half of a packed row, never does), and no step waits for the device to count them.
- The figures are kept per document: a loss that is not a number names the document it came from.
- `Objective` is the model with its loss as one module: what parallelism is applied to.

Shapes: B rows, T tokens, N predicted tokens, U documents, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from opencwm.model.transformer import Transformer
from opencwm.train.pack import Batch


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows on the device; for each predicted token, the place in the flat B * T of the token it is predicted from.

    `owners_N`: which document each predicted token is of; `origins` names these (source, index), `shares_U` has the
    sum of each one's weights.
    """

    tokens_BT: Tensor
    documents_BT: Tensor
    places_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    owners_N: Tensor
    origins: list[tuple[str, int]]
    shares_U: NDArray[np.float64]
    global_window: int = 0


def micro_batches(batch: Batch, rows: int, device: torch.device) -> list[MicroBatch]:
    """The batch in pieces of at most `rows` rows, on the device."""
    pieces: list[MicroBatch] = []
    for start in range(0, len(batch.tokens), rows):
        chosen = slice(start, start + rows)
        tokens, weights, documents = batch.tokens[chosen], batch.weights[chosen], batch.documents[chosen]
        row, column = np.nonzero(weights)
        origins = batch.origins[chosen]
        firsts = np.cumsum([0, *(len(contents) for contents in origins)])
        owners = firsts[row] + documents[row, column]
        arrays = (
            tokens,
            documents,
            row * tokens.shape[1] + column - 1,  # a token is predicted from the one before it
            tokens[row, column],
            weights[row, column],
            owners,
        )
        moved = [_to(torch.from_numpy(np.ascontiguousarray(array)), device) for array in arrays]
        tokens_BT, documents_BT, places_N, targets_N, weights_N, owners_N = moved
        flat = [origin for contents in origins for origin in contents]
        shares = np.bincount(owners, weights[row, column], len(flat)).astype(np.float64)
        pieces.append(
            MicroBatch(
                tokens_BT, documents_BT, places_N, targets_N, weights_N, owners_N, flat, shares, batch.global_window
            )
        )
    return pieces


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


Targets = tuple[Tensor, Tensor, Tensor, Tensor]
"""Places, targets, weights and owners of predicted tokens."""


class Objective(nn.Module):
    """A model and its loss. Called with a piece, it gives the sum of weight x cross-entropy (nats) over the predicted
    tokens, and per document (U, 2) that sum and the weight of the tokens that were predicted right.

    Divide the sum by the whole batch's weight: the result does not depend on how the batch was cut.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.divide: Callable[[MicroBatch], Targets] | None = None
        """The predicted tokens of this process, where rows are divided among processes."""

    def forward(self, piece: MicroBatch) -> tuple[Tensor, Tensor]:
        window = piece.global_window or None
        targets = (piece.places_N, piece.targets_N, piece.weights_N, piece.owners_N)
        wanted_N = piece.places_N if self.divide is None else None
        hidden = self.model.hidden(
            piece.tokens_BT, documents_BT=piece.documents_BT, global_window=window, places_N=wanted_N
        )
        places_N, targets_N, weights_N, owners_N = targets if self.divide is None else self.divide(piece)
        hidden_NC = hidden if wanted_N is not None else hidden.flatten(0, 1).index_select(0, places_N)
        logits_NV = self.model.logits(hidden_NC).float()
        losses_N = F.cross_entropy(logits_NV, targets_N, reduction="none") * weights_N
        right_N = (logits_NV.detach().argmax(-1) == targets_N) * weights_N
        figures_U2 = torch.zeros(len(piece.origins), 2, device=losses_N.device)
        figures_U2.index_add_(0, owners_N, torch.stack((losses_N.detach(), right_N), 1))
        return losses_N.sum(), figures_U2
