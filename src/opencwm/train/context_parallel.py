"""Context parallel: the tokens of a row on several processes.

Notable choices:
- Each process has one slice from a row's start and the matching one from its end, which evens out the causal work.
- It gathers the keys and values of the whole row, layer by layer, so document masks stay exact.

Shapes: B rows, T tokens (of the whole row, or of this process's part), S tokens of the whole row, K key-value heads,
D head_dim, N predicted tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from opencwm.config import ConfigError
from opencwm.model.attention import Layout
from opencwm.model.transformer import Layer
from opencwm.train.loss import MicroBatch, Objective


def divide_rows(objective: Objective, mesh: DeviceMesh) -> None:
    """Divide the rows that a model is given among the processes of a mesh axis, in place.

    Raises ConfigError for a model with convolutions, and, when called, for rows that cannot be cut into slices.
    """
    model, processes, place = objective.model, mesh.size(), mesh.get_local_rank()
    if model.config.conv_width:
        raise ConfigError("parallel.context > 1 needs a model with conv_width 0: its convolutions look across slices")
    model.fusible = False
    model.attention_backend = "sdpa"  # its masks are written out, so that rows can be taken from them
    group = mesh.get_group()

    def slices(tokens: int) -> list[Tensor]:
        """For each process, the columns that it has: one slice from the start, the matching one from the end."""
        if tokens % (2 * processes):
            raise ConfigError(
                f"rows of {tokens} tokens cannot be divided into 2 x {processes} slices (parallel.context)"
            )
        chunks = torch.arange(tokens).chunk(2 * processes)
        return [torch.cat((chunks[p], chunks[-1 - p])) for p in range(processes)]

    def divide(tokens_BT: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        own = slices(tokens_BT.shape[1])[place].to(tokens_BT.device)
        masks = {}
        for name in ("global_mask", "local_mask"):
            mask = getattr(layout, name)
            assert mask.bias_BTS is not None, "packed rows have document masks"
            masks[name] = replace(mask, bias_BTS=mask.bias_BTS[:, own])
        angles = {name: getattr(layout, name)[:, own] for name in ("cos_BTD", "sin_BTD")}
        return tokens_BT[:, own], replace(layout, **masks, **angles)

    def gather(k_BTKD: Tensor, v_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.cat(slices(k_BTKD.shape[1] * processes)).argsort().to(k_BTKD.device)
        arguments = (torch.stack((k_BTKD, v_BTKD)), group, processes, place)
        whole_2BSKD = _Gathered.apply(*arguments)[:, :, order]  # type: ignore[no-untyped-call]
        return whole_2BSKD[0], whole_2BSKD[1]

    def shard(piece: MicroBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tokens = piece.tokens_BT.shape[1]
        own = slices(tokens)[place].to(piece.tokens_BT.device)
        local_T = torch.full((tokens,), -1, device=own.device).index_copy(
            0, own, torch.arange(len(own), device=own.device)
        )
        column_N = local_T[piece.places_N % tokens]
        here = column_N >= 0
        places = (piece.places_N // tokens * len(own) + column_N)[here]
        return places, piece.targets_N[here], piece.weights_N[here], piece.owners_N[here]

    model.divide = divide
    objective.divide = shard
    for layer in model.layers:
        assert isinstance(layer, Layer)
        layer.attention.gather = gather


class _Gathered(torch.autograd.Function):
    """The parts of all processes along the tokens; backward, each part's gradient is the sum over the processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any, processes: int, place: int) -> Tensor:
        ctx.group, ctx.place, ctx.tokens = group, place, part.shape[2]
        parts = [torch.empty_like(part) for _ in range(processes)]
        dist.all_gather(parts, part.contiguous(), group=group)
        return torch.cat(parts, dim=2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        total = gradient.contiguous()
        dist.all_reduce(total, group=ctx.group)
        return total[:, :, ctx.place * ctx.tokens : (ctx.place + 1) * ctx.tokens], None, None, None
