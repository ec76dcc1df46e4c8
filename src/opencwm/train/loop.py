"""The training loop: programs in, weights out. Read top to bottom: `train` is the run, the rest are its parts.

Notable choices:
- One loop for every stage; stages differ in `TrainConfig` alone. One device: a GPU if there is one (bfloat16
  products), else the CPU (float32).
- Resume is exact: a checkpoint holds model, optimiser, the data position with the documents in the packing buffer, and
  random states. On a CPU the losses after a kill equal those of a run without one, bit for bit.
- Losses are read from the device once per `log_every` steps, and always before a checkpoint: a loss that is not a
  number stops the run and is never saved.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from opencwm.config import load, resolved
from opencwm.model.transformer import Transformer
from opencwm.train import checkpoint
from opencwm.train.data import DataError, Source, make_source
from opencwm.train.loss import Hidden, micro_batches, token_loss
from opencwm.train.meter import Meter
from opencwm.train.optim import Optimiser, schedule
from opencwm.train.pack import Batch, Packer, held_out
from opencwm.train.run import Progress, TrainingError, build_model, export, open_run
from opencwm.train.settings import TrainConfig

__all__ = ["Progress", "TrainingError", "export", "main_train", "train"]


def train(
    config: TrainConfig,
    *,
    resume: bool = True,
    source: Source | None = None,
    held_out_source: Source | None = None,
    console: Console | None = None,
) -> Progress:
    """Run, or go on with, the training that `config` describes; returns when its steps are done or on Ctrl-C.

    `source` and `held_out_source` replace what `config.data` names. Raises TrainingError (a loss that is not a number,
    a run folder of another run), CheckpointError, DataError, and ConfigError for a model that cannot be built.
    """
    run, device = config.run, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if run.threads:
        torch.set_num_threads(run.threads)
    console = console or Console(highlight=False)
    saved = open_run(config, resume, console)
    progress = Progress(**saved.info["progress"]) if saved else Progress()

    model = build_model(config.model, run.seed).to(device)
    optimiser = Optimiser(model, config.optimiser)
    torch.manual_seed(run.seed)
    if saved:
        model.load_state_dict(saved.parts["model"])
        try:
            optimiser.load(saved.parts["optimiser"])
        except ValueError as error:
            raise TrainingError(str(error)) from None
        _restore_random(saved.parts["random"])
    hidden: Hidden = torch.compile(model.hidden) if run.compile else model.hidden
    micro_rows = config.micro_batch_tokens // config.data.sequence_length
    packer = Packer(source or make_source(config.data), config.data, saved.parts["data"] if saved else None)
    programs = run.eval_programs if progress.step < run.steps else 0
    evaluation = held_out(held_out_source or make_source(config.data, "held-out"), config.data, programs)

    def save() -> None:
        parts: dict[str, Any] = {"model": model.state_dict(), "optimiser": optimiser.state()}
        parts |= {"data": packer.state(), "random": _random()}
        info = {"identity": config.identity(), "progress": dataclasses.asdict(progress)}
        checkpoint.save(run.folder / "checkpoints", progress.step, parts, info, keep=run.keep)

    meter = Meter(run.folder, step=progress.step, steps=run.steps, console=console)
    pending: list[Tensor] = []
    saved_step, reported = progress.step, dataclasses.replace(progress)
    with packer, meter, _stop_signals() as stopped:
        while progress.step < run.steps and not stopped:
            started = time.monotonic()
            batch = packer.batch(config.rows)
            factor = schedule(progress.step, run.steps, config.optimiser)
            figures = torch.zeros(2, device=device)  # loss, share of right tokens
            for piece in micro_batches(batch, micro_rows, device):
                with _precision(device):
                    loss_and_right = torch.stack(token_loss(hidden, model.logits, piece)) / batch.weight
                loss_and_right[0].backward()  # type: ignore[no-untyped-call]
                figures += loss_and_right.detach()
            norm = optimiser.step(factor)
            pending.append(torch.cat((figures, norm.reshape(1))))
            progress.step += 1
            progress.tokens += batch.tokens.size
            progress.useful_tokens += batch.useful
            progress.programs = packer.index
            step, last = progress.step, progress.step == run.steps
            meter.advance(step)
            save_now = last or _due(step, run.checkpoint_every)
            report_now = save_now or _due(step, run.log_every)
            if report_now:
                loss, accuracy, gradient_norm = _read(pending, step, run.folder)  # waits for the device
                pending.clear()
            progress.seconds += time.monotonic() - started
            if report_now:
                more = {"gradient_norm": gradient_norm, "learning_rate_factor": factor, "filled": batch.filled}
                meter.report(step, {"loss": loss, "accuracy": accuracy, **_pace(progress, reported), **more})
                reported = dataclasses.replace(progress)
            if evaluation is not None and (last or _due(step, run.eval_every)):
                progress.held_out_loss, progress.held_out_accuracy = evaluate(model, evaluation, micro_rows, device)
                meter.evaluated(step, progress.held_out_loss, progress.held_out_accuracy)
            if save_now:
                save()
                saved_step = step
        if progress.step > saved_step:  # asked to stop
            if pending:
                _read(pending, progress.step, run.folder)
            save()
            meter.say(f"stopped and saved after step {progress.step}: the same command goes on from there")
    if config.export.folder is not None and progress.step >= run.steps:
        export(run.folder, config.export.folder, dtype=config.export.dtype)
        console.print(f"weights written to {config.export.folder}", markup=False, soft_wrap=True)
    return progress


@torch.no_grad()
def evaluate(model: Transformer, batch: Batch, micro_rows: int, device: torch.device) -> tuple[float, float]:
    """Mean loss (nats per predicted token) and share of right tokens."""
    figures = torch.zeros(2, device=device)
    for piece in micro_batches(batch, micro_rows, device):
        with _precision(device):
            figures += torch.stack(token_loss(model.hidden, model.logits, piece))
    loss, right = (figures / batch.weight).tolist()
    return loss, right


def _read(pending: list[Tensor], step: int, folder: Path) -> tuple[float, float, float]:
    """Mean loss, mean accuracy and last gradient norm of the updates up to `step`. Raises TrainingError for NaN."""
    rows = torch.stack(pending).tolist()
    for offset, figures in enumerate(rows):
        if not all(math.isfinite(figure) for figure in figures):
            kept = checkpoint.found(folder / "checkpoints")
            left = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise TrainingError(
                f"step {step - len(rows) + offset + 1} gave the loss {figures[0]} and the gradient norm {figures[2]}; "
                f"{left}: lower the learning rates or raise optimiser.warmup_steps, and start again"
            )
    losses, accuracies, norms = zip(*rows, strict=True)
    return sum(losses) / len(rows), sum(accuracies) / len(rows), norms[-1]


def _pace(now: Progress, before: Progress) -> dict[str, float]:
    """Speed and useful share between two points of a run, and what it has behind it."""
    tokens, seconds = now.tokens - before.tokens, max(now.seconds - before.seconds, 1e-9)
    return {
        "useful": (now.useful_tokens - before.useful_tokens) / tokens,
        "tokens_per_second": tokens / seconds,
        "seconds_per_step": seconds / (now.step - before.step),
        "tokens": now.tokens,
        "programs": now.programs,
        "seconds": now.seconds,
    }


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _random() -> dict[str, Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _restore_random(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is not empty once Ctrl-C or a termination was asked for; the second one kills as usual."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main_train(config_path: Path, overrides: list[str], dry_run: bool) -> None:
    """`cwm train`: read the configuration, then train or, on a dry run, print it.

    Raises ConfigError; exits with code 4 and one line on standard error if the run fails.
    """
    config = load(TrainConfig, config_path, overrides)
    if dry_run:
        print(resolved(config), end="")
        return
    try:
        train(config)
    except (TrainingError, DataError, checkpoint.CheckpointError) as error:
        print(f"cwm: {error}", file=sys.stderr)
        raise SystemExit(4) from None
