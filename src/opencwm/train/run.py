"""A run's folder: its configuration, what it has behind it, and its weights for others to use.

    FOLDER/config.toml  log.jsonl  checkpoints/

Notable choice: weights are exported from a checkpoint on disk, never from a running model, so a run can go on while an
earlier state of it is shipped.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import opencwm
from opencwm.config import ConfigError, load, resolved
from opencwm.model import hf
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.train import checkpoint, state
from opencwm.train.settings import ModelSettings, TrainConfig
from opencwm.train.text import open_tokens

CONFIG_FILE = "config.toml"
CHECKPOINTS = "checkpoints"


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


def build_model(settings: ModelSettings, seed: int = 0, vocabulary: int | None = None) -> Transformer:
    """The model of a configuration, for `vocabulary` tokens (by default those of the compact codec).

    Raises ConfigError.
    """
    size = open_tokens("compact").size if vocabulary is None else vocabulary
    try:
        changed = {key: None if value == "none" else value for key, value in settings.overrides.items()}
        return Transformer(preset(settings.preset, **{"vocab_size": size, **changed}), seed=seed)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model: {error}") from None


def export(run_folder: Path, weights_folder: Path, *, dtype: str | None = None, layout: str | None = None) -> Progress:
    """Write the weights of the last good checkpoint of a run, finished or going on.

    `dtype` and `layout` are by default those of the run's `[export]`. Raises TrainingError.
    """
    config = run_config(run_folder)
    saved = checkpoint.load(run_folder / CHECKPOINTS, lambda text: print(text, file=sys.stderr))
    if saved is None:
        raise TrainingError(f"{run_folder} has no checkpoint yet: wait for step {config.run.checkpoint_every}")
    model = build_model(config.model, vocabulary=saved.info["vocabulary"])
    state.read_model(saved, model)
    data = {key: value for key, value in dataclasses.asdict(config.data).items() if key != "workers"}
    info: dict[str, object] = {
        "opencwm": opencwm.__version__,
        "codec": "compact" if config.data.tokenizer == "compact" else "cwm",
        "tokenizer": saved.info["tokenizer"],
        "data": _published(data),
        "run": {"steps": config.run.steps, "tokens_per_batch": config.run.tokens_per_batch, "seed": config.run.seed},
        "progress": saved.info["progress"],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    stored = getattr(torch, dtype or config.export.dtype)
    if (layout or config.export.layout) == "hub":
        tokenizer = None if config.data.tokenizer == "compact" else Path(config.data.tokenizer)
        try:
            hf.save(weights_folder, model, dtype=stored, tokenizer_from=tokenizer)
        except ValueError as error:
            raise TrainingError(f"export: {error}") from None
    else:
        save_weights(weights_folder, model, info, dtype=stored)
    return Progress(**saved.info["progress"])


def _published(value: object) -> object:
    """Settings as they may leave this machine: of absolute paths the last part alone."""
    if isinstance(value, dict):
        return {key: _published(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_published(each) for each in value]
    path = str(value) if isinstance(value, str | Path) else ""
    return Path(path).name if Path(path).is_absolute() else value


def run_config(folder: Path) -> TrainConfig:
    """The configuration that a run's folder holds. Raises TrainingError."""
    if not (folder / CONFIG_FILE).exists():
        raise TrainingError(f"{folder} holds no training run ({CONFIG_FILE} is missing)")
    return load(TrainConfig, folder / CONFIG_FILE)


def open_run(
    config: TrainConfig, resume: bool, say: Callable[[str], None], *, first: bool = True
) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, if any; the first process writes the resolved configuration into the folder.

    Raises TrainingError for a folder that holds another run.
    """
    folder = config.run.folder
    if not resume and checkpoint.found(folder / CHECKPOINTS):
        raise TrainingError(f"{folder} holds a run already: resume it, choose another run.folder, or delete it")
    saved = checkpoint.load(folder / CHECKPOINTS, say)
    if saved is not None:
        ours = config.identity()
        before = saved.info["identity"]
        changed = [key for key, value in ours.items() if key not in before or before[key] != _plain(value)]
        if changed:
            raise TrainingError(
                f"{folder} holds a run with another {changed[0]} ({before.get(changed[0])!r}, "
                f"now {ours[changed[0]]!r}): choose another run.folder"
            )
        if before["optimiser.kind"] != config.optimiser.kind:
            raise TrainingError(
                f"{folder} holds a run with another optimiser.kind ({before['optimiser.kind']}): keep the kind, or "
                f"choose another run.folder"
            )
        say(f"resuming {folder} after step {saved.step}")
    if first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CONFIG_FILE).write_text(resolved(config), encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write into run.folder {folder}: {error.strerror}") from None
    return saved


def identity(config: TrainConfig) -> dict[str, object]:
    """What a checkpoint keeps to recognise its run by."""
    return {key: _plain(value) for key, value in config.identity().items()} | {"optimiser.kind": config.optimiser.kind}


def _plain(value: object) -> object:
    """A value as JSON gives it back: lists instead of tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
