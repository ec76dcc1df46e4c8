"""What a training run is made of, as dataclasses: the schema of `configs/*.toml`.

Notable choice: stages (pre-training, mid-training, fine-tuning) differ in these values alone; there is one loop. What
the run learns from and what it is (`model`, `data`) must stay as it was when a run is resumed; how long and how fast
(`optimiser`, `run`) may change. No torch here, so that a dry run is instant.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class ModelSettings:
    """Which model: a preset of `model/config.py`, and fields of it to change."""

    preset: str = "tiny"
    overrides: dict[str, int | float | bool | str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSettings:
    """Which documents: programs that are written, recorded and encoded while the model trains.

    `source`: "write" is the synthetic writer of `programs/write`. `sequence_length`: tokens per row, and the longest
    window. `max_frames`: of a recording; a longer run is cut off there, and what was recorded is used. `steps`:
    sub-expression values too. `workers`: processes that make documents, 0 for none; the documents and their order do
    not depend on it. `buffer`: documents from which rows are packed.
    """

    source: Literal["write"] = "write"
    seed: int = 0
    sequence_length: int = 512
    max_frames: int = 256
    steps: bool = False
    workers: int = 0
    buffer: int = 256

    def __post_init__(self) -> None:
        _check(self.sequence_length >= 16, "sequence_length must be at least 16 tokens")
        _check(self.max_frames >= 1, "max_frames must be at least 1")
        _check(self.workers >= 0, "workers must be 0 (in this process) or more")
        _check(self.buffer >= 1, "buffer must be at least 1 document")


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    `kind`: "muon" moves the hidden matrices by Muon and the rest (embeddings, norms, convolutions) by AdamW; "adamw"
    moves all by AdamW. `learning_rate`: AdamW's. `muon_learning_rate`: Muon's, on AdamW's scale (its update is given
    the root mean square that AdamW's has). Schedule "wsd": linear warm-up, constant, then linear to 0 over the last
    `decay_share` of the steps. `clip`: largest norm of the gradient, 0 for none.
    """

    kind: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 3e-3
    muon_learning_rate: float = 3e-3
    schedule: Literal["wsd"] = "wsd"
    warmup_steps: int = 100
    decay_share: float = 0.2
    weight_decay: float = 0.1
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0

    def __post_init__(self) -> None:
        _check(self.learning_rate > 0 and self.muon_learning_rate > 0, "learning rates must be above 0")
        _check(self.warmup_steps >= 0, "warmup_steps must be 0 or more")
        _check(0 <= self.decay_share <= 1, "decay_share is a share of the steps: 0 to 1")
        _check(all(0 <= beta < 1 for beta in (*self.betas, self.momentum)), "betas and momentum must be in [0, 1)")
        _check(self.weight_decay >= 0 and self.clip >= 0, "weight_decay and clip must be 0 or more")


@dataclass(frozen=True)
class RunSettings:
    """How long, how fast, and where.

    `steps`: updates in all; lowered or raised on resume, it moves the decay. `tokens_per_batch`: tokens of one update,
    a whole number of rows. `tokens_per_micro_batch`: tokens of one forward pass, 0 for the whole batch at once (less
    needs less memory). `folder`: log and checkpoints. `checkpoint_every`, `eval_every`, `log_every`: in steps, 0 for
    only at the end. `keep`: checkpoints kept. `eval_programs`: held-out programs. `seed`: of the initial weights.
    `threads`: of torch on the CPU, 0 for its default. `compile`: torch.compile (pays on a GPU in runs of minutes).
    """

    steps: int = 1000
    tokens_per_batch: int = 8192
    tokens_per_micro_batch: int = 0
    folder: Path = Path("runs/tiny")
    log_every: int = 10
    checkpoint_every: int = 200
    keep: int = 2
    eval_every: int = 200
    eval_programs: int = 128
    seed: int = 0
    threads: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        _check(self.steps >= 1, "steps must be at least 1")
        _check(self.log_every >= 1, "log_every must be at least 1")
        _check(self.keep >= 1, "keep must be at least 1: a run needs a checkpoint to fall back on")
        at_least_0 = (self.checkpoint_every, self.eval_every, self.eval_programs, self.threads)
        _check(min(at_least_0) >= 0, "checkpoint_every, eval_every, eval_programs and threads must be 0 or more")


@dataclass(frozen=True)
class ExportSettings:
    """The weights folder written at the end (None: only checkpoints), and the type of its numbers."""

    folder: Path | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float16"


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)
    export: ExportSettings = field(default_factory=ExportSettings)

    def __post_init__(self) -> None:
        length, batch, micro = self.data.sequence_length, self.run.tokens_per_batch, self.micro_batch_tokens
        _check(
            batch >= length and batch % length == 0,
            f"run.tokens_per_batch ({batch}) must be a multiple of data.sequence_length ({length})",
        )
        _check(
            micro >= length and micro % length == 0,
            f"run.tokens_per_micro_batch ({micro}) must be 0 or a multiple of data.sequence_length ({length})",
        )

    @property
    def micro_batch_tokens(self) -> int:
        return min(self.run.tokens_per_micro_batch or self.run.tokens_per_batch, self.run.tokens_per_batch)

    @property
    def rows(self) -> int:
        """Rows of one batch."""
        return self.run.tokens_per_batch // self.data.sequence_length

    def identity(self) -> dict[str, object]:
        """What may not change between a checkpoint and the run that resumes it, flat: key -> value."""
        values: dict[str, object] = {}
        for section in ("model", "data"):
            for key, value in dataclasses.asdict(getattr(self, section)).items():
                if key != "workers":
                    values[f"{section}.{key}"] = value
        return values
