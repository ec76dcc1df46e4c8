"""Optimisers and the learning-rate schedule.

Notable choices:
- Muon for the hidden matrices (2-D weights of linear layers inside the stack), AdamW for the rest. Muon's update gets
  the size that AdamW's has (`match_rms_adamw`), so both learning rates are on one scale.
- Only hidden matrices decay; embeddings, norms and convolutions do not.
- The schedule depends on (step, steps) alone: in the constant phase `steps` may be lowered or raised on resume.
- The state is told by the parameters' names, so that it can be saved and loaded on any number of processes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from opencwm.train.settings import OptimiserSettings


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of the linear layers, without those that map to or from the vocabulary."""
    outer = {id(m.weight) for name, m in model.named_modules() if isinstance(m, nn.Embedding) or name == "output"}
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    return [parameter for parameter in model.parameters() if id(parameter) in linear - outer]


def schedule(step: int, steps: int, settings: OptimiserSettings) -> float:
    """Factor of the learning rates for update `step` (0-based) of `steps`."""
    rise = (step + 1) / settings.warmup_steps if settings.warmup_steps else 1.0
    if settings.schedule == "constant":
        return min(1.0, rise)
    if settings.schedule == "cosine":
        horizon = settings.horizon_steps or steps
        done = min(1.0, (settings.first_step + step) / max(1, horizon))
        fall = settings.final_share + (1 - settings.final_share) * (1 + math.cos(math.pi * done)) / 2
        return min(1.0, rise) * fall
    decay_steps = steps * settings.decay_share
    fall = (steps - step) / (decay_steps + 1)
    return max(0.0, min(1.0, rise, fall))


class Optimiser:
    """One or two torch optimisers moved as one."""

    def __init__(self, model: nn.Module, settings: OptimiserSettings) -> None:
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}  # tied weights come once
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._clip = settings.clip
        matrices = hidden_matrices(model)
        chosen = {id(matrix) for matrix in matrices}
        rest = [parameter for parameter in self._parameters if id(parameter) not in chosen]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": 0.0}]
        self._all: list[torch.optim.Optimizer] = []
        if settings.kind == "muon":
            self._all.append(
                torch.optim.Muon(
                    matrices,
                    lr=settings.muon_learning_rate,
                    weight_decay=settings.weight_decay,
                    momentum=settings.momentum,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        else:
            groups.append({"params": matrices, "weight_decay": settings.weight_decay})
        fused = self._parameters[0].device.type in ("cpu", "cuda")
        self._all.append(torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=fused))
        self._rates = [settings.muon_learning_rate] * (len(self._all) - 1) + [settings.learning_rate]

    def step(self, factor: float) -> Tensor:
        """Clip the gradient, move the weights at `factor` times the learning rates, forget the gradient.

        Returns the gradient's norm before clipping, on the device.
        """
        norm = gradient_norm(self._parameters)
        if self._clip:
            gradients = [local(parameter.grad) for parameter in self._parameters if parameter.grad is not None]
            torch._foreach_mul_(gradients, (self._clip / (norm + 1e-6)).clamp(max=1.0))
        for optimiser, rate in zip(self._all, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """All moments by name, `PARAMETER/MOMENT`; those of a parameter that has not moved yet are zeros.

        The tensors are the optimiser's own: a checkpoint may be read into them.
        """
        found: dict[str, Tensor] = {}
        for optimiser in self._all:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    state = optimiser.state[parameter]
                    if not state:
                        state.update(_fresh(optimiser, parameter))
                    for key, value in state.items():
                        found[f"{self._names[id(parameter)]}/{key}"] = value
        return found


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients, over all processes that hold parts of them."""
    squares: dict[object, list[Tensor]] = {}
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            key = (gradient.device_mesh, gradient.placements) if isinstance(gradient, DTensor) else None
            squares.setdefault(key, []).append(gradient)
    norms = [_whole(nn.utils.get_total_norm(group)) for group in squares.values()]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _fresh(optimiser: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """The moments that the optimiser gives a parameter on its first step."""
    if isinstance(optimiser, torch.optim.Muon):
        return {"momentum_buffer": torch.zeros_like(parameter, memory_format=torch.preserve_format)}
    device = parameter.device if optimiser.param_groups[0]["fused"] else None
    zeros = {key: torch.zeros_like(parameter, memory_format=torch.preserve_format) for key in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), dtype=torch.float32, device=device), **zeros}
