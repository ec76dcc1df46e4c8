"""The schedule, and which weights Muon moves."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opencwm.train.optim import Optimiser, hidden_matrices, schedule
from opencwm.train.run import build_model
from opencwm.train.settings import ModelSettings, OptimiserSettings

TINY = ModelSettings(overrides={"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 48})


def test_schedule_rises_stays_and_falls() -> None:
    settings = OptimiserSettings(warmup_steps=10, decay_share=0.2)
    factors = [schedule(step, 100, settings) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:80] == [1.0] * 70
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[79:]))
    assert 0 < factors[-1] < 0.06


def test_steps_may_change_while_the_rate_is_constant() -> None:
    settings = OptimiserSettings(warmup_steps=10, decay_share=0.2)
    short, long = ([schedule(step, steps, settings) for step in range(80)] for steps in (100, 500))
    assert short == long


@given(st.integers(0, 300), st.integers(1, 200), st.integers(0, 50), st.floats(0, 1))
def test_schedule_stays_in_bounds(step: int, steps: int, warmup: int, share: float) -> None:
    factor = schedule(step, steps, OptimiserSettings(warmup_steps=warmup, decay_share=share))
    assert 0 <= factor <= 1
    assert factor > 0 or step >= steps


def test_muon_gets_the_matrices_of_the_stack_only() -> None:
    model = build_model(TINY)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    chosen = {names[id(matrix)] for matrix in hidden_matrices(model)}
    assert len(chosen) == 2 * 4
    assert all(model.get_parameter(name).ndim == 2 for name in chosen)
    assert not any("embedding" in name or "output" in name or "norm" in name or "conv" in name for name in chosen)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_state_goes_on_exactly_and_keeps_its_own_settings(kind: str) -> None:
    def moved(optimiser: Optimiser, model: torch.nn.Module) -> None:
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        assert optimiser.step(1.0) > 1

    settings = OptimiserSettings(kind=kind)  # type: ignore[arg-type]
    first, second = build_model(TINY), build_model(TINY)
    one, other = Optimiser(first, settings), Optimiser(second, settings)
    moved(one, first)
    second.load_state_dict(first.state_dict())
    other.load(copy.deepcopy(one.state()))
    moved(one, first)
    moved(other, second)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)
    other_kind = "adamw" if kind == "muon" else "muon"
    with pytest.raises(ValueError, match=r"another optimiser\.kind"):
        Optimiser(first, OptimiserSettings(kind=other_kind)).load(one.state())  # type: ignore[arg-type]
