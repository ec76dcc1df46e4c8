"""`ModelConfig`: the shape of a transformer, its checks, its presets.

Notable choices:
- One dataclass describes CWM's 32B model, plain Llama models and the tiny model that runs on a laptop; what only small
  models use (`qk_norm`, `conv_width`) is a field, off by default.
- Attention windows follow CWM's rule: every `global_every`-th layer from layer 0 sees everything, so does the last one
  (`global_last`), the others see `local_window` tokens. `local_window=None` makes every layer global.
- Unknown keys are errors, in files and in overrides, and the message lists the known ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama-3 frequency scaling: long wavelengths are divided by `factor`, short ones kept, those between blended.

    Wavelengths over `original_context / low_freq_factor` are long, those under `original_context / high_freq_factor`
    short. Raises ValueError for impossible values.
    """

    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"rope_scaling.factor is {self.factor}: it must be at least 1 (leave rope_scaling out)")
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"rope_scaling needs 0 < low_freq_factor < high_freq_factor, got {self.low_freq_factor} and "
                f"{self.high_freq_factor}"
            )
        if self.original_context < 1:
            raise ValueError(f"rope_scaling.original_context is {self.original_context}: it must be at least 1")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The shape of a transformer. Raises ValueError, with the fix, for a combination that cannot be built."""

    vocab_size: int
    dim: int
    """Width of the residual stream."""
    layers: int
    heads: int
    """Query heads; each group of `heads / kv_heads` shares one key and value head."""
    kv_heads: int
    head_dim: int
    ffn_dim: int
    """Hidden width of the SwiGLU feed-forward network."""
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rope_share: float = 1.0
    """Share of each head's dimensions that positions turn, fastest first; the others see no position."""
    max_positions: int = 2048
    """Tokens in the longest context (of one document, in a packed row)."""
    local_window: int | None = None
    """Tokens that a local layer sees, the token itself included; None: every layer is global."""
    global_every: int = 4
    global_last: bool = True
    tie_embeddings: bool = False
    qk_norm: bool = False
    """RMSNorm over each query and key head, before the rotation."""
    conv_width: int = 0
    """Tokens under the causal depthwise convolutions before attention and feed-forward; 0: none."""
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("vocab_size", "dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "max_positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim % 2:
            raise ValueError(f"head_dim ({self.head_dim}) must be even: rotary positions turn pairs")
        if self.local_window is not None and self.local_window < 1:
            raise ValueError(f"local_window is {self.local_window}: give at least 1, or None for global layers only")
        if self.global_every < 1:
            raise ValueError(f"global_every is {self.global_every}: it must be at least 1")
        if self.conv_width < 0 or self.conv_width == 1:
            raise ValueError(f"conv_width is {self.conv_width}: give 0 (off) or at least 2 tokens")
        if not 0 <= self.rope_share <= 1:
            raise ValueError(f"rope_share is {self.rope_share}: it is a share, 0 to 1")
        for name in ("norm_eps", "rope_theta", "init_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive")

    def layer_is_global(self, layer: int) -> bool:
        """Whether a layer (0-based) sees the whole context."""
        if self.local_window is None or layer % self.global_every == 0:
            return True
        return self.global_last and layer == self.layers - 1

    def parameter_count(self) -> int:
        """Trainable numbers; tied embeddings count once."""
        attention = self.dim * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.dim * self.ffn_dim + 2 * self.dim
        if self.qk_norm:
            layer += 2 * self.head_dim
        layer += 2 * self.dim * self.conv_width
        embeddings = self.vocab_size * self.dim * (1 if self.tie_embeddings else 2)
        return embeddings + self.layers * layer + self.dim

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON or TOML."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; absent keys take their defaults. ValueError names unknown and missing keys."""
        checked = _checked(cls, "model config", values)
        scaling = checked.get("rope_scaling")
        if isinstance(scaling, Mapping):
            checked["rope_scaling"] = RopeScaling(**_checked(RopeScaling, "rope_scaling", scaling))
        return cls(**checked)


def preset(name: str, **overrides: Any) -> ModelConfig:
    """A named shape, with fields replaced: `preset("tiny", vocab_size=500)`. ValueError names what is unknown."""
    if name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}: choose one of {', '.join(PRESETS)}")
    return ModelConfig.from_dict(PRESETS[name].to_dict() | overrides)


def _checked(kind: type, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(kind)]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(f"unknown {what} key {', '.join(map(repr, unknown))}: known keys are {', '.join(known)}")
    missing = [key for key in getattr(kind, "__match_args__", ())[:1] if key not in values]
    if kind is ModelConfig:
        missing = [key for key in _REQUIRED if key not in values]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(map(repr, missing))}: add it")
    return dict(values)


_REQUIRED = ("vocab_size", "dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim")

_CWM_ROPE = RopeScaling(factor=16.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192)

PRESETS: dict[str, ModelConfig] = {
    # Trained and run on a laptop's CPU; the vocabulary is that of the small tokenizer, given as an override.
    "tiny": ModelConfig(
        vocab_size=512,
        dim=192,
        layers=6,
        heads=6,
        kv_heads=2,
        head_dim=32,
        ffn_dim=512,
        rope_theta=10_000.0,
        max_positions=2048,
        tie_embeddings=True,
        qk_norm=True,
        conv_width=4,
    ),
    # Deep and narrow, small vocabulary: one GPU, half an hour.
    "150m": ModelConfig(
        vocab_size=512,
        dim=768,
        layers=24,
        heads=12,
        kv_heads=4,
        head_dim=64,
        ffn_dim=2048,
        rope_theta=10_000.0,
        max_positions=4096,
        tie_embeddings=True,
        qk_norm=True,
        conv_width=4,
    ),
    # SmolLM2-135M (Apache-2.0), a Llama: a real language model on a laptop (`cwm model fetch smollm2-135m`).
    "smollm2-135m": ModelConfig(
        vocab_size=49152,
        dim=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        ffn_dim=1536,
        rope_theta=100_000.0,
        max_positions=8192,
        tie_embeddings=True,
    ),
    # CWM's architecture and vocabulary at the sizes of the small Llama models.
    "1b": ModelConfig(
        vocab_size=128256,
        dim=2048,
        layers=16,
        heads=32,
        kv_heads=8,
        head_dim=64,
        ffn_dim=8192,
        rope_theta=1e6,
        rope_scaling=_CWM_ROPE,
        max_positions=131072,
        local_window=8192,
        tie_embeddings=True,
    ),
    "8b": ModelConfig(
        vocab_size=128256,
        dim=4096,
        layers=32,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn_dim=14336,
        rope_theta=1e6,
        rope_scaling=_CWM_ROPE,
        max_positions=131072,
        local_window=8192,
    ),
    # The released model: 32,581,097,472 parameters, 17 of 64 layers global.
    "cwm-32b": ModelConfig(
        vocab_size=128256,
        dim=6144,
        layers=64,
        heads=48,
        kv_heads=8,
        head_dim=128,
        ffn_dim=21504,
        rope_theta=1e6,
        rope_scaling=_CWM_ROPE,
        max_positions=131072,
        local_window=8192,
    ),
}
