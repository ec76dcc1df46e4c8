"""Both decoding passes, PyTorch's operations and the one in C, for the tests that ask for them; random models."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from opencwm.model.compiled import usable
from opencwm.model.config import ModelConfig, preset
from opencwm.model.transformer import Transformer

VOCABULARY = 40
SIZES = dict(
    vocab_size=VOCABULARY, dim=32, layers=4, heads=4, kv_heads=2, head_dim=8, ffn_dim=48, max_positions=256
)  # fmt: skip


@pytest.fixture(scope="module", params=["torch", "c"])
def decoding(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the pass that runners made in the test use."""
    if request.param == "c" and not usable(preset("tiny"), torch.device("cpu")):
        pytest.skip("the pass in C needs AVX-512 and a C compiler at installation")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENCWM_DECODE", request.param)
        yield request.param


def random_model(sizes: dict[str, object], *, spread: float = 0.2) -> Transformer:
    """A model far from its initial weights: convolutions on, attention sharp."""
    model = Transformer(ModelConfig.from_dict(SIZES | sizes), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, spread, generator=generator))
    return model


def prompt(length: int, seed: int = 0) -> list[int]:
    return [random.Random(seed * 1000 + i).randrange(VOCABULARY) for i in range(length)]
