"""A run's folder: its configuration, what it has behind it, and its weights for others to use.

    FOLDER/config.toml  log.jsonl  checkpoints/

Notable choice: weights are exported from a checkpoint on disk, never from a running model, so a run can go on while an
earlier state of it is shipped.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

import opencwm
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.config import ConfigError, load, resolved
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.train import checkpoint
from opencwm.train.settings import ModelSettings, TrainConfig

CONFIG_FILE = "config.toml"


class TrainingError(RuntimeError):
    """The run cannot start or go on; the message says why and what to do."""


@dataclass(slots=True)
class Progress:
    """What a run has behind it. Saved with every checkpoint and in the exported weights."""

    step: int = 0
    tokens: int = 0
    useful_tokens: int = 0
    programs: int = 0
    seconds: float = 0.0
    held_out_loss: float | None = None
    held_out_accuracy: float | None = None


def build_model(settings: ModelSettings, seed: int = 0) -> Transformer:
    """The model of a configuration, with the vocabulary of the compact codec. Raises ConfigError."""
    try:
        return Transformer(preset(settings.preset, **{"vocab_size": VOCABULARY.size, **settings.overrides}), seed=seed)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None


def export(run_folder: Path, weights_folder: Path, *, dtype: str = "float16") -> Progress:
    """Write the weights of the last good checkpoint of a run, finished or going on. Raises TrainingError."""
    if not (run_folder / CONFIG_FILE).exists():
        raise TrainingError(f"{run_folder} holds no training run ({CONFIG_FILE} is missing)")
    config = load(TrainConfig, run_folder / CONFIG_FILE)
    saved = checkpoint.load(run_folder / "checkpoints", lambda text: print(text, file=sys.stderr))
    if saved is None:
        raise TrainingError(f"{run_folder} has no checkpoint yet: wait for step {config.run.checkpoint_every}")
    model = build_model(config.model)
    model.load_state_dict(saved.parts["model"])
    data = dataclasses.asdict(config.data)
    del data["workers"]
    info: dict[str, object] = {
        "opencwm": opencwm.__version__,
        "codec": "compact",
        "data": data,
        "run": {"steps": config.run.steps, "tokens_per_batch": config.run.tokens_per_batch, "seed": config.run.seed},
        "progress": saved.info["progress"],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    save_weights(weights_folder, model, info, dtype=getattr(torch, dtype))
    return Progress(**saved.info["progress"])


def open_run(config: TrainConfig, resume: bool, console: Console) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, if any; writes the resolved configuration into the run's folder."""
    folder = config.run.folder
    if not resume and checkpoint.found(folder / "checkpoints"):
        raise TrainingError(f"{folder} holds a run already: resume it, choose another run.folder, or delete it")
    saved = checkpoint.load(folder / "checkpoints", lambda text: console.print(text, markup=False, soft_wrap=True))
    if saved is not None:
        ours = config.identity()
        before = saved.info["identity"]
        changed = [key for key, value in ours.items() if key not in before or before[key] != value]
        if changed:
            raise TrainingError(
                f"{folder} holds a run with another {changed[0]} ({before.get(changed[0])!r}, "
                f"now {ours[changed[0]]!r}): choose another run.folder"
            )
        console.print(f"resuming {folder} after step {saved.step}", markup=False, soft_wrap=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(resolved(config), encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write into run.folder {folder}: {error.strerror}") from None
    return saved
