"""How a training run lies on several processes: everything that is done to the single-device model, in one place.

Applied from outside, in this order: tensor and sequence parallel, context parallel, activation checkpointing, compile,
FSDP2. `torchrun` starts the processes; with one, nothing here happens but compile and activation checkpointing.

Notable choices:
- The mesh is data x context x tensor. Weights are sharded over data and context together.
- Tensor parallel takes the fused matrices apart (`Parts`), since queries, keys and values divide by heads, gate and up
  by columns. Between layers each process then holds a part of the tokens (sequence parallel).
- The loss is a sum over tokens divided by the whole batch's weight, so no mesh changes what is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.utils.checkpoint import checkpoint

from opencwm.config import ConfigError
from opencwm.model.transformer import Layer, Transformer
from opencwm.train.context_parallel import divide_rows
from opencwm.train.loss import Objective
from opencwm.train.settings import ParallelSettings


@dataclass(frozen=True)
class World:
    """This process's place. Without a mesh: alone."""

    device: torch.device
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.mesh is None or dist.get_rank() == 0

    @property
    def size(self) -> int:
        return 1 if self.mesh is None else self.mesh.size()

    def along(self, name: str) -> tuple[int, int]:
        """(place, processes) on one axis of the mesh."""
        return (0, 1) if self.mesh is None else (self.mesh.get_local_rank(name), self.mesh[name].size())

    def lanes(self, lanes: int) -> list[int]:
        """The lanes of the data that this process reads. Raises ConfigError if they cannot be divided evenly."""
        place, processes = self.along("data")
        if lanes % processes:
            raise ConfigError(
                f"data.lanes ({lanes}) cannot be divided among {processes} data-parallel processes: set data.lanes to "
                f"a multiple of {processes}, before the run starts, or start a number of processes that divides it"
            )
        return list(range(place * lanes // processes, (place + 1) * lanes // processes))

    def sum(self, counts: NDArray[Any]) -> NDArray[Any]:
        """The sum of an array over the data-parallel processes."""
        if self.mesh is None:
            return counts
        tensor = torch.from_numpy(np.array(counts))
        dist.all_reduce(tensor, group=self.mesh["data"].get_group())
        return tensor.numpy()

    def gather(self, item: object) -> list[Any]:
        """What each process gives, of those that differ in their tokens."""
        if self.mesh is None:
            return [item]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, (self.along("tensor")[0], item))
        return [each for place, each in everyone if place == 0]


@contextmanager
def world(settings: ParallelSettings) -> Iterator[World]:
    """Join the other processes, if `torchrun` started any. Raises ConfigError for a mesh that does not fit them."""
    cuda = torch.cuda.is_available()
    size, own = int(os.environ.get("WORLD_SIZE", "1")), settings.tensor * settings.context
    if size == 1 and own == 1:
        yield World(torch.device("cuda" if cuda else "cpu"))
        return
    if size % own:
        raise ConfigError(
            f"parallel.tensor x parallel.context = {own} does not divide {size} processes: start a multiple of {own} "
            f"(torchrun --nproc-per-node {own} ...)"
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()
    if ours:
        _meet("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        shape, names = (size // own, settings.context, settings.tensor), ("data", "context", "tensor")
        yield World(device, init_device_mesh(device.type, shape, mesh_dim_names=names))
    finally:
        if ours:
            dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Join the processes. After a restart the launcher's store may still hold the addresses of the dead: each attempt
    has names of its own in it."""
    store, rank, size = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(
        backend, store=distributed_c10d.PrefixStore(f"attempt {attempt}", store), rank=rank, world_size=size
    )


def parallelise(objective: Objective, settings: ParallelSettings, world: World) -> None:
    """Divide a model among the processes of the world, in place. Raises ConfigError for one that cannot be."""
    model, mesh = objective.model, world.mesh
    if settings.precision == "float8":
        _float8(model)
    if mesh is not None and settings.tensor > 1:
        _tensor(model, settings, mesh["tensor"])
    if mesh is not None and settings.context > 1:
        divide_rows(objective, mesh["context"])
    for layer in model.layers:
        if settings.checkpoint_activations:
            layer.forward = _recomputed(layer.forward)
        if settings.compile:
            layer.compile()
    if mesh is not None:
        shard = mesh["data"] if settings.context == 1 else mesh["data", "context"]._flatten("data_context")
        low = torch.bfloat16 if precision(settings, world.device) else torch.float32
        policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
        for layer in model.layers:
            fully_shard(layer, mesh=shard, mp_policy=policy)
        fully_shard(objective, mesh=shard, mp_policy=policy)


def precision(settings: ParallelSettings, device: torch.device) -> bool:
    """Whether products are in bfloat16 (or narrower)."""
    if settings.precision in ("auto", "fastest"):
        return device.type == "cuda" or (settings.precision == "fastest" and _bfloat16_cpu())
    return settings.precision in ("bfloat16", "float8")


def _bfloat16_cpu() -> bool:
    """Whether the processor has products of bfloat16, without which they are slower than float32's. Torch before 2.13
    may not know."""
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def loss_factor(world: World) -> float:
    """What a loss is multiplied with before its backward pass: FSDP averages gradients, and they are to be summed."""
    return float(world.along("data")[1] * world.along("context")[1])


class Parts(nn.Module):
    """A fused linear layer as separate ones, of which each can be divided; their outputs are put side by side."""

    def __init__(self, fused: nn.Linear, sizes: dict[str, int]) -> None:
        super().__init__()
        self.names = list(sizes)
        for name, weight in zip(
            sizes, torch.split_with_sizes(fused.weight.detach(), list(sizes.values())), strict=True
        ):
            part = nn.Linear(fused.in_features, len(weight), bias=False, device="meta")
            part.weight = nn.Parameter(weight.clone())
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([getattr(self, name)(x) for name in self.names], dim=-1)


def part_sizes(model: Transformer) -> dict[str, dict[str, int]]:
    """The parts of each fused weight by name: what `Parts` makes of it, and how many rows each has."""
    config = model.config
    heads = {"q": config.heads, "k": config.kv_heads, "v": config.kv_heads}
    found: dict[str, dict[str, int]] = {}
    for number in range(config.layers):
        found[f"layers.{number}.attention.qkv"] = {name: n * config.head_dim for name, n in heads.items()}
        found[f"layers.{number}.ffn.gate_up"] = dict.fromkeys(("gate", "up"), config.ffn_dim)
    return found


def _tensor(model: Transformer, settings: ParallelSettings, mesh: DeviceMesh) -> None:
    config, processes = model.config, mesh.size()
    for name in ("kv_heads", "ffn_dim", "vocab_size"):
        if getattr(config, name) % processes:
            raise ConfigError(
                f"parallel.tensor = {processes} does not divide the model's {name} ({getattr(config, name)})"
            )
    model.fusible = False
    for name, sizes in part_sizes(model).items():
        above, _, own = name.rpartition(".")
        fused = model.get_submodule(name)
        assert isinstance(fused, nn.Linear)
        setattr(model.get_submodule(above), own, Parts(fused, sizes))
    between = Shard(1) if settings.sequence else Replicate()
    # All tokens, for a module whose first argument is one process's part of them (the second is the layout).
    whole: Any = PrepareModuleInput(
        input_layouts=(between, None), desired_input_layouts=(Replicate(), None), use_local_output=True
    )
    plan: dict[str, Any] = {"attention.out": RowwiseParallel(output_layouts=between)}
    plan |= {"ffn.down": RowwiseParallel(output_layouts=between)}
    plan |= {f"attention.qkv.{part}": ColwiseParallel() for part in "qkv"}
    plan |= {f"ffn.gate_up.{part}": ColwiseParallel() for part in ("gate", "up")}
    if settings.sequence:
        plan |= {name: SequenceParallel(use_local_output=True) for name in ("attention_norm", "ffn_norm")}
        # The convolutions look at neighbours: they come behind the gathering.
        plan |= {f"{name}_conv" if config.conv_width else name: whole for name in ("attention", "ffn")}
    for layer in model.layers:
        parallelize_module(layer, mesh, plan)
        assert isinstance(layer, Layer)
        layer.attention.heads, layer.attention.kv_heads = config.heads // processes, config.kv_heads // processes
        layer.attention.share = _shared(mesh.get_group())
    outer: dict[str, Any] = {"embedding": RowwiseParallel(input_layouts=Replicate(), output_layouts=between)}
    outer |= {"output": ColwiseParallel(output_layouts=Replicate())}
    if settings.sequence:
        outer["norm"] = SequenceParallel(use_local_output=True)
    parallelize_module(model, mesh, outer)
    if config.tie_embeddings:
        model.output.weight = model.embedding.weight
    if settings.sequence:
        model.norm.register_forward_hook(
            lambda module, inputs, x_BTC: (
                DTensor.from_local(x_BTC, mesh, [Shard(1)], run_check=False)
                .redistribute(placements=[Replicate()])
                .to_local()
            )
        )


def _shared(group: Any) -> Callable[[Tensor], Tensor]:
    def share(whole: Tensor) -> Tensor:
        return _Shared.apply(whole, group)  # type: ignore[no-any-return, no-untyped-call]

    return share


class _Shared(torch.autograd.Function):
    """A tensor that all processes have alike; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def _recomputed(forward: Any) -> Any:
    return lambda *inputs: checkpoint(forward, *inputs, use_reentrant=False)


def _float8(model: Transformer) -> None:
    if not (torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9)):
        raise ConfigError(
            "parallel.precision = float8 needs a GPU with float8 products (Hopper or newer): use bfloat16"
        )
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError:
        raise ConfigError("parallel.precision = float8 needs torchao: pip install torchao") from None
    recipe = Float8LinearConfig.from_recipe_name("rowwise")
    convert_to_float8_training(
        model.layers, config=recipe, module_filter_fn=lambda module, name: isinstance(module, nn.Linear)
    )
