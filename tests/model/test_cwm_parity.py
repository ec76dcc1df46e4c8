"""Logits equal those of the public CWM implementation in `transformers`, weights copied over."""

from __future__ import annotations

import pytest
import torch

from opencwm.model.config import ModelConfig, RopeScaling
from opencwm.model.session import Session
from opencwm.model.transformer import Transformer

transformers = pytest.importorskip("transformers", reason="needs transformers >= 5: pip install 'opencwm[hf]'")

SHAPES = {
    "one head each": dict(heads=1, kv_heads=1, layers=2, global_every=2, global_last=False),
    "grouped heads": dict(heads=4, kv_heads=2, layers=5),
    "one key head, tied": dict(heads=3, kv_heads=1, layers=6, tie_embeddings=True),
    "all layers global": dict(heads=4, kv_heads=4, layers=3, local_window=None),
}


def pair(shape: dict[str, object], scaling: RopeScaling | None) -> tuple[Transformer, torch.nn.Module]:
    values = dict(vocab_size=96, dim=48, head_dim=16, ffn_dim=80, max_positions=512, local_window=24, rope_theta=1e6)
    config = ModelConfig.from_dict(values | shape | {"rope_scaling": scaling})
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if scaling is not None:
        rope |= {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_context,
        }
    theirs = transformers.CwmForCausalLM(
        transformers.CwmConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            intermediate_size=config.ffn_dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_eps,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=config.tie_embeddings,
            rope_parameters=rope,
            sliding_window=config.local_window or config.max_positions,
            layer_types=[
                "full_attention" if config.layer_is_global(layer) else "sliding_attention"
                for layer in range(config.layers)
            ],
            bos_token_id=0,
            eos_token_id=1,
        )
    ).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=generator))
    ours = Transformer(config)
    ours.load_state_dict(copied(theirs, config))
    return ours, theirs


def copied(theirs: torch.nn.Module, config: ModelConfig) -> dict[str, torch.Tensor]:
    weights = theirs.state_dict()
    mapped = {
        "embedding.weight": weights["model.embed_tokens.weight"],
        "norm.weight": weights["model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    for layer in range(config.layers):
        old, new = f"model.layers.{layer}.", f"layers.{layer}."
        qkv = [weights[f"{old}self_attn.{part}_proj.weight"] for part in "qkv"]
        mapped[new + "attention.qkv.weight"] = torch.cat(qkv)
        mapped[new + "attention.out.weight"] = weights[old + "self_attn.o_proj.weight"]
        gate_up = [weights[f"{old}mlp.{part}_proj.weight"] for part in ("gate", "up")]
        mapped[new + "ffn.gate_up.weight"] = torch.cat(gate_up)
        mapped[new + "ffn.down.weight"] = weights[old + "mlp.down_proj.weight"]
        mapped[new + "attention_norm.weight"] = weights[old + "input_layernorm.weight"]
        mapped[new + "ffn_norm.weight"] = weights[old + "post_attention_layernorm.weight"]
    return mapped


@pytest.mark.parametrize("scaling", [None, RopeScaling(4.0, 1.0, 4.0, 64)], ids=["plain rope", "scaled rope"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_those_of_transformers(shape: str, scaling: RopeScaling | None) -> None:
    ours, theirs = pair(SHAPES[shape], scaling)
    for rows, tokens in [(1, 1), (3, 7), (2, 24), (1, 200)]:  # to 200: many windows, past the scaled original context
        ids = torch.randint(0, 96, (rows, tokens), generator=torch.Generator().manual_seed(tokens))
        with torch.inference_mode():
            torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_cached_decoding_equals_transformers() -> None:
    ours, theirs = pair(SHAPES["grouped heads"], RopeScaling(4.0, 1.0, 4.0, 64))
    ids = torch.randint(0, 96, (1, 90), generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        wanted = theirs(ids).logits[0]
    session = Session(ours)
    torch.testing.assert_close(session.feed_all(ids[0, :50].tolist()), wanted[:50], rtol=1e-4, atol=1e-4)
    for position in range(50, 90):
        logits = session.feed([int(ids[0, position])])
        torch.testing.assert_close(logits, wanted[position], rtol=1e-4, atol=1e-4)
