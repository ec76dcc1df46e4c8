"""Model shapes: presets, parameter counts, validation, dictionaries."""

from __future__ import annotations

import json
import math

import pytest
import torch

from opencwm.model.config import PRESETS, ModelConfig, RopeScaling, preset
from opencwm.model.rope import frequencies
from opencwm.model.transformer import Transformer

SMALL = dict(vocab_size=40, dim=32, layers=3, heads=4, kv_heads=2, head_dim=8, ffn_dim=48)


def test_cwm_32b_is_the_released_model() -> None:
    config = preset("cwm-32b")
    assert config.parameter_count() == 32_581_097_472
    assert [layer for layer in range(64) if config.layer_is_global(layer)] == [*range(0, 64, 4), 63]
    assert not (config.qk_norm or config.conv_width or config.tie_embeddings)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_parameter_count_is_that_of_the_model(name: str) -> None:
    with torch.device("meta"):
        model = Transformer(preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == preset(name).parameter_count()


@pytest.mark.parametrize("name", list(PRESETS))
def test_dictionaries_round_trip_through_json(name: str) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(preset(name).to_dict()))) == preset(name)


def test_a_preset_takes_overrides() -> None:
    assert preset("tiny", vocab_size=77, layers=2).layers == 2
    with pytest.raises(ValueError, match="unknown model config key 'layer': known keys are vocab_size, dim"):
        preset("tiny", layer=2)
    with pytest.raises(ValueError, match="unknown model preset 'huge': choose one of tiny, 150m"):
        preset("huge")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(heads=5), "multiple of kv_heads"),
        (dict(head_dim=7), "must be even"),
        (dict(dim=0), "dim is 0: it must be at least 1"),
        (dict(local_window=0), "local_window is 0"),
        (dict(conv_width=1), "conv_width is 1: give 0"),
        (dict(norm_eps=0.0), "norm_eps is 0.0: it must be positive"),
        (dict(rope_scaling=dict(factor=0.5)), "rope_scaling.factor is 0.5"),
        (dict(rope_scaling=dict(factor=2, high=3)), "unknown rope_scaling key 'high'"),
        (dict(rope_scaling=dict()), "rope_scaling lacks 'factor'"),
        (dict(rope_scaling=dict(factor=2, low_freq_factor=4.0)), "low_freq_factor < high_freq_factor"),
    ],
    ids=str,
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(SMALL | changes)


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="model config lacks 'layers', 'ffn_dim'"):
        ModelConfig.from_dict({key: value for key, value in SMALL.items() if key not in ("layers", "ffn_dim")})


def test_cwm_scaling_keeps_short_wavelengths_and_divides_long_ones() -> None:
    plain, scaled = frequencies(128, 1e6, None), frequencies(128, 1e6, RopeScaling(factor=16.0))
    ratio = plain / scaled
    assert ((ratio - 1).abs() < 1e-6).sum() == 27 and ((ratio - 16).abs() < 1e-4).sum() == 30
    wavelength = 2 * math.pi / plain
    assert (ratio[wavelength > 8192] > 15.99).all() and (ratio[wavelength < 2048] < 1.01).all()
