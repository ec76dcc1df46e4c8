"""FlexAttention: masks as blocks, so that what no query may see is never computed.

Notable choices:
- Global, local and document masks are one predicate; blocks of 128 by 128 that it excludes are skipped, so a window of
  8,192 in a row of 131,072 costs a tenth of the full triangle. A dense mask costs all of it, and its memory.
- The kernel is compiled on first use: on a GPU with its backward, on a CPU forward only, where it needs a C++ compiler
  and takes up to a minute. So it is taken by itself only on a GPU (see `Transformer.attention_backend`).

Shapes: B rows, T tokens, H query heads, K key-value heads, D head_dim.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

LEAST = 1024
"""Tokens of a row from which the kernel is worth its overhead."""


def blocks(tokens: int, window: int | None, documents_BT: Tensor | None, device: torch.device) -> BlockMask:
    """Which keys each query may see: causal, at most `window` tokens back (itself included), of its document."""
    wide = tokens if window is None else window

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        allowed = (key <= query) & (query - key < wide)
        if documents_BT is not None:
            allowed = allowed & (documents_BT[row, query] == documents_BT[row, key])
        return allowed

    rows = None if documents_BT is None else documents_BT.shape[0]
    return create_block_mask(visible, rows, None, tokens, tokens, device=str(device))


def attend(q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor, mask: BlockMask) -> Tensor:
    """Attention output, (B, T, H, D)."""
    q_BHTD, k_BKTD, v_BKTD = (x.transpose(1, 2).contiguous() for x in (q_BTHD, k_BTKD, v_BTKD))
    grouped = q_BHTD.shape[1] != k_BKTD.shape[1]
    kernel = flex_attention if torch.compiler.is_compiling() else _compiled()
    y_BHTD: Tensor = kernel(q_BHTD, k_BKTD, v_BKTD, block_mask=mask, enable_gqa=grouped)
    return y_BHTD.transpose(1, 2)


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)
