"""The schedule, and which weights Muon moves."""

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
    for name, tensor in one.state().items():
        other.state()[name].copy_(tensor)
    moved(one, first)
    moved(other, second)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)


def test_moments_of_an_optimiser_that_has_not_moved_are_what_its_first_step_begins_with() -> None:
    for kind in ("muon", "adamw"):
        fresh, moved = (build_model(TINY) for _ in range(2))
        settings = OptimiserSettings(kind=kind)  # type: ignore[arg-type]
        optimisers = Optimiser(fresh, settings), Optimiser(moved, settings)
        state = optimisers[0].state()  # makes the moments
        for model, optimiser in zip((fresh, moved), optimisers, strict=True):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimiser.step(1.0)
        assert {name: tensor.shape for name, tensor in state.items()} == {
            name: tensor.shape for name, tensor in optimisers[1].state().items()
        }
        for left, right in zip(fresh.parameters(), moved.parameters(), strict=True):
            assert torch.equal(left, right)


def test_cosine_falls_over_the_joint_horizon() -> None:
    whole = OptimiserSettings(schedule="cosine", warmup_steps=0, final_share=0.01, horizon_steps=130)
    first = [schedule(step, 80, whole) for step in range(80)]
    then = OptimiserSettings(schedule="cosine", warmup_steps=0, final_share=0.01, horizon_steps=130, first_step=80)
    second = [schedule(step, 50, then) for step in range(50)]
    joint = [schedule(step, 130, whole) for step in range(130)]
    assert first + second == joint
    assert joint[0] == 1 and all(later < earlier for earlier, later in itertools.pairwise(joint))
    assert schedule(130, 130, whole) == pytest.approx(0.01)
    assert schedule(65, 130, whole) == pytest.approx(0.505)


def test_constant_stays_after_its_warm_up() -> None:
    settings = OptimiserSettings(schedule="constant", warmup_steps=4)
    assert [schedule(step, 8, settings) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_clipping_is_torch_s() -> None:
    model, other = build_model(TINY), build_model(TINY)
    for one in (model, other):
        generator = torch.Generator().manual_seed(3)
        for parameter in one.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    wanted = torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
    optimiser = Optimiser(model, OptimiserSettings(kind="adamw", weight_decay=0.0))
    assert torch.equal(optimiser.step(1.0), wanted)
    torch.optim.AdamW(other.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=False).step()
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-7)
