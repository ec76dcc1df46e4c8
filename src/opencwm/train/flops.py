"""How much a training run computes: FLOPs per token, what a device can do, and CWM's scaling laws.

Sources: CWM report, appendix on scaling laws: FLOP per token M = 6 N + 6 d L S (N weights without embeddings, width d,
L layers, S tokens of context), C = M x tokens; learning rate 19.29 C^-0.177, batch 30.17 C^0.231 tokens, fitted on
budgets of 2e18 to 2e20 FLOP.
"""

from __future__ import annotations

import time

import torch

from opencwm.model.config import ModelConfig

FITTED = (2e18, 2e20)
"""FLOP budgets that the laws were fitted on."""
PEAKS = {"H200": 989e12, "H100": 989e12, "GH200": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12}
"""Dense bfloat16 products per second, from the makers' data sheets."""


def non_embedding(config: ModelConfig) -> int:
    """Weights less those that map to or from the vocabulary."""
    tables = 1 if config.tie_embeddings else 2
    return config.parameter_count() - tables * config.vocab_size * config.dim


def flops_per_token(config: ModelConfig, context: int) -> float:
    """FLOPs of a training step per token, forward and backward, with rows of `context` tokens.

    The output matrix is left out, as CWM does: at small sizes that understates the work.
    """
    return 6.0 * non_embedding(config) + 6.0 * config.dim * config.layers * context


def learning_rate(budget: float) -> float:
    """CWM's learning rate (of AdamW, at its peak) for a budget of FLOPs."""
    return float(19.29 * budget**-0.177)


def batch_tokens(budget: float) -> float:
    """CWM's batch in tokens for a budget of FLOPs."""
    return float(30.17 * budget**0.231)


def peak_flops(device: torch.device) -> float:
    """Products per second of a device: from the data sheet, or, for a CPU, measured with one large product."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return next((peak for known, peak in PEAKS.items() if known in name), 989e12)
    x = torch.ones(768, 768)
    x @ x
    best = min(_timed(x) for _ in range(3))
    return 2 * 768**3 / best


def _timed(x: torch.Tensor) -> float:
    started = time.perf_counter()
    x @ x
    return time.perf_counter() - started
