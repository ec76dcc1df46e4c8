"""Optimisers and the learning-rate schedule.

Notable choices:
- Muon for the hidden matrices (2-D weights of linear layers inside the stack), AdamW for the rest. Muon's update gets
  the size that AdamW's has (`match_rms_adamw`), so both learning rates are on one scale.
- Only hidden matrices decay; embeddings, norms and convolutions do not.
- The schedule depends on (step, steps) alone: in the constant phase `steps` may be lowered or raised on resume.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from opencwm.train.settings import OptimiserSettings


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Weights of the linear layers, without those that map to or from the vocabulary."""
    outer = {id(m.weight) for name, m in model.named_modules() if isinstance(m, nn.Embedding) or name == "output"}
    linear = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    return [parameter for parameter in model.parameters() if id(parameter) in linear - outer]


def schedule(step: int, steps: int, settings: OptimiserSettings) -> float:
    """Factor of the learning rates for update `step` (0-based) of `steps`: warm-up, constant, linear to 0."""
    rise = (step + 1) / settings.warmup_steps if settings.warmup_steps else 1.0
    decay_steps = steps * settings.decay_share
    fall = (steps - step) / (decay_steps + 1)
    return max(0.0, min(1.0, rise, fall))


class Optimiser:
    """One or two torch optimisers moved as one."""

    def __init__(self, model: nn.Module, settings: OptimiserSettings) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._clip = settings.clip or float("inf")
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
        cuda = self._parameters[0].is_cuda
        self._all.append(torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=cuda))
        self._rates = [settings.muon_learning_rate] * (len(self._all) - 1) + [settings.learning_rate]

    def step(self, factor: float) -> Tensor:
        """Clip the gradient, move the weights at `factor` times the learning rates, forget the gradient.

        Returns the gradient's norm before clipping, on the device.
        """
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for optimiser, rate in zip(self._all, self._rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norm

    def state(self) -> list[dict[str, Any]]:
        """What `load` takes: tensors and plain values."""
        return [optimiser.state_dict() for optimiser in self._all]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Take over the moments of a saved state; rates and the other settings stay those of this optimiser.

        Raises ValueError if it belongs to another kind of optimiser or another model.
        """
        if len(state) != len(self._all):
            raise ValueError("the checkpoint has another optimiser.kind: keep the kind, or choose another run.folder")
        for optimiser, saved in zip(self._all, state, strict=True):
            own = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
            optimiser.load_state_dict(saved)
            for group, settings in zip(optimiser.param_groups, own, strict=True):
                group.update(settings)
