"""Rotary positions: angle tables with Llama-3 frequency scaling, and the rotation of query and key heads.

Notable choices:
- Tables are computed in float32 whatever the model's dtype, as CWM does.
- A head is turned by halves, (i, i + head_dim / 2), the layout of Hugging Face weights; weights that rotate
  neighbouring pairs must have their query and key rows permuted on loading.

Shapes: B rows, T tokens, H heads, D head_dim, R = D / 2 angles, P positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opencwm.model.config import ModelConfig, RopeScaling


def frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> Tensor:
    """Radians per position of each rotated pair: float32, (R,)."""
    freq_R = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)
    if scaling is None:
        return freq_R
    wavelength_R = 2 * math.pi / freq_R
    # 0 where the wavelength counts as long (divide by the factor), 1 where short (keep), linear in frequency between.
    keep_R = (scaling.original_context / wavelength_R - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    keep_R = keep_R.clamp(0.0, 1.0)
    return (1 - keep_R) * freq_R / scaling.factor + keep_R * freq_R


def tables(config: ModelConfig, positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions 0 .. `positions` - 1: float32, (P, D) each, as `rotate` wants them.

    Both halves of a head are written out, and the sines of the first half negated. On the meta device nothing is
    computed: PyTorch would import its compiler for that, which takes a second.
    """
    if device.type == "meta":
        shape = (positions, config.head_dim)
        return torch.empty(shape, device=device), torch.empty(shape, device=device)
    freq_R = frequencies(config.head_dim, config.rope_theta, config.rope_scaling).to(device)
    freq_R[round(config.rope_share * len(freq_R)) :] = 0.0  # an angle of 0 everywhere: no position
    angle_PR = torch.outer(torch.arange(positions, device=device).float(), freq_R)
    cos_PR, sin_PR = angle_PR.cos(), angle_PR.sin()
    return torch.cat((cos_PR, cos_PR), dim=-1), torch.cat((-sin_PR, sin_PR), dim=-1)


def rotate(x_BTHD: Tensor, cos_BTD: Tensor, sin_BTD: Tensor) -> Tensor:
    """Turn every head by its position's angles, in float32; tables of batch size 1 serve all rows."""
    wide_BTHD = x_BTHD.to(cos_BTD.dtype)
    swapped_BTHD = wide_BTHD.roll(wide_BTHD.shape[-1] // 2, -1)
    turned_BTHD = torch.addcmul(wide_BTHD * cos_BTD.unsqueeze(2), swapped_BTHD, sin_BTD.unsqueeze(2))
    return turned_BTHD.to(x_BTHD.dtype)
