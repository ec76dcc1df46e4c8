"""What a training run is made of, as dataclasses: the schema of `configs/*.toml`.

Notable choice: stages (pre-training, mid-training, fine-tuning) differ in these values alone; there is one loop. What
the run learns from and what it is (`model`, `data`) must stay as it was when a run is resumed; how long, how fast and
on how many processes (`optimiser`, `run`, `parallel`) may change. No torch here, so that a dry run is instant.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from opencwm.train.data_settings import DataSettings, check, identity


@dataclass(frozen=True)
class ModelSettings:
    """Which model: a preset of `model/config.py`, and fields of it to change ("none" for no value)."""

    preset: str = "tiny"
    overrides: dict[str, int | float | bool | str] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    `kind`: "muon" moves the hidden matrices by Muon and the rest (embeddings, norms, convolutions) by AdamW; "adamw"
    moves all by AdamW. `learning_rate`: AdamW's. `muon_learning_rate`: Muon's, on AdamW's scale (its update is given
    the root mean square that AdamW's has). `schedule`, after a linear warm-up: "wsd" is constant, then linear to 0 over
    the last `decay_share` of the steps; "cosine" falls to `final_share` of the rate over `horizon_steps` (0: the run's
    steps); "constant" stays. A stage that goes on with the schedule of the one before it (CWM's mid-training consumes
    the last 5 of 13 trillion tokens of one cosine) says with `first_step` where on the horizon it begins. `clip`:
    largest norm of the gradient, 0 for none.
    """

    kind: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 3e-3
    muon_learning_rate: float = 3e-3
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup_steps: int = 100
    decay_share: float = 0.2
    final_share: float = 0.01
    horizon_steps: int = 0
    first_step: int = 0
    weight_decay: float = 0.1
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0

    def __post_init__(self) -> None:
        check(self.learning_rate > 0 and self.muon_learning_rate > 0, "learning rates must be above 0")
        check(self.warmup_steps >= 0, "warmup_steps must be 0 or more")
        check(0 <= self.decay_share <= 1, "decay_share is a share of the steps: 0 to 1")
        check(0 <= self.final_share <= 1, "final_share is a share of the learning rate: 0 to 1")
        check(min(self.horizon_steps, self.first_step) >= 0, "horizon_steps and first_step must be 0 or more")
        check(all(0 <= beta < 1 for beta in (*self.betas, self.momentum)), "betas and momentum must be in [0, 1)")
        check(self.weight_decay >= 0 and self.clip >= 0, "weight_decay and clip must be 0 or more")


@dataclass(frozen=True)
class RunSettings:
    """How long, how fast, and where.

    `steps`: updates in all; lowered or raised on resume, it moves the decay. `tokens_per_batch`: tokens of one update,
    a whole number of rows. `tokens_per_micro_batch`: tokens of one forward pass, 0 for the whole batch at once (less
    needs less memory). `folder`: log and checkpoints. `checkpoint_every`, `eval_every`, `log_every`: in steps, 0 for
    only at the end. `keep`: checkpoints kept. `eval_programs`: items of each held-out source. `seed`: of the initial
    weights. `threads`: of torch on the CPU, 0 for its default. `tensorboard`: also write its event files.
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
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check(self.steps >= 1, "steps must be at least 1")
        check(self.log_every >= 1, "log_every must be at least 1")
        check(self.keep >= 1, "keep must be at least 1: a run needs a checkpoint to fall back on")
        at_least_0 = (self.checkpoint_every, self.eval_every, self.eval_programs, self.threads)
        check(min(at_least_0) >= 0, "checkpoint_every, eval_every, eval_programs and threads must be 0 or more")


@dataclass(frozen=True)
class ParallelSettings:
    """How the model lies on the processes that `torchrun` starts: data x context x tensor.

    `tensor`: processes that share each layer's heads and columns, `sequence`: and the tokens between them. `context`:
    processes that share a row's tokens. What is left of the world is data-parallel, with sharded weights (FSDP2).
    `checkpoint_activations`: compute layers again in the backward pass instead of keeping them. `compile`:
    torch.compile each layer. `precision`: of the products: "auto" is bfloat16 on a GPU, float32 on a CPU; "fastest"
    is bfloat16 on a CPU too, if it has instructions for that (AVX512-BF16, AMX: twice as fast); "float8" needs a Hopper
    GPU and torchao.
    """

    tensor: int = 1
    sequence: bool = True
    context: int = 1
    checkpoint_activations: bool = False
    compile: bool = False
    precision: Literal["auto", "fastest", "float32", "bfloat16", "float8"] = "auto"

    def __post_init__(self) -> None:
        check(self.tensor >= 1 and self.context >= 1, "tensor and context must be at least 1 process")


@dataclass(frozen=True)
class ExportSettings:
    """The weights folder written at the end (None: only checkpoints), its layout, and the type of its numbers.

    `layout`: "opencwm", or "hub", the one of Hugging Face. int8 (opencwm alone) has a scale per row of a matrix.
    """

    folder: Path | None = None
    layout: Literal["opencwm", "hub"] = "opencwm"
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float16"

    def __post_init__(self) -> None:
        check(self.dtype != "int8" or self.layout == "opencwm", 'dtype "int8" needs layout "opencwm"')


@dataclass(frozen=True)
class StartSettings:
    """Where the weights come from, if not from chance: what an earlier stage left (`cwm train --from`).

    `path`: a weights folder, a run's folder, or one of its checkpoints. `optimiser`: "fresh" forgets the moments;
    "carried" takes them over from a checkpoint, as CWM's mid-training does. More tokens at the end of the vocabulary
    than the weights have get fresh rows in the embedding.
    """

    path: Path | None = None
    optimiser: Literal["fresh", "carried"] = "fresh"


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)
    start: StartSettings = field(default_factory=StartSettings)
    parallel: ParallelSettings = field(default_factory=ParallelSettings)
    export: ExportSettings = field(default_factory=ExportSettings)

    def __post_init__(self) -> None:
        batch, micro, lanes = self.run.tokens_per_batch, self.micro_batch_tokens, self.data.lanes
        for rows in self.data.rows:
            length = rows.longest
            check(
                batch >= length and batch % (length * lanes) == 0,
                f"run.tokens_per_batch ({batch}) must be a multiple of data.sequence_length ({length})"
                + (f" x data.lanes ({lanes}): each lane gives whole rows" if lanes > 1 else ""),
            )
        check(
            micro >= length and micro % length == 0,
            f"run.tokens_per_micro_batch ({micro}) must be 0 or a multiple of data.sequence_length ({length})",
        )

    @property
    def micro_batch_tokens(self) -> int:
        return min(self.run.tokens_per_micro_batch or self.run.tokens_per_batch, self.run.tokens_per_batch)

    def identity(self) -> dict[str, object]:
        """What may not change between a checkpoint and the run that resumes it, flat: key -> value."""
        return {f"model.{key}": value for key, value in dataclasses.asdict(self.model).items()} | identity(self.data)
