"""The training loop: documents in, weights out. Read top to bottom: `train` is the run, the rest are its parts.

Notable choices:
- One loop for every stage; stages differ in `TrainConfig` alone. The model is written for one device; `parallel`
  divides it from outside, and the loop is the same on one core and under `torchrun`.
- Resume is exact: a checkpoint holds model, optimiser, the data position with the documents in the packing buffers, and
  random states. On a CPU the losses after a kill equal those of a run without one, bit for bit.
- Losses are read from the device once per `log_every` steps, and always before a checkpoint: a loss that is not a
  number stops the run, names the documents, and is never saved.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from opencwm.train import checkpoint, state
from opencwm.train.loss import Objective, micro_batches
from opencwm.train.meter import Figures, Meter, PieceFigures
from opencwm.train.optim import Optimiser, schedule
from opencwm.train.pack import Batch, Mixture, Packer, held_out
from opencwm.train.parallel import World, loss_factor, parallelise, precision, world
from opencwm.train.run import CHECKPOINTS, Progress, TrainingError, build_model, export, identity, open_run
from opencwm.train.settings import TrainConfig
from opencwm.train.streams import Opened, open_held_out, open_training

__all__ = ["Progress", "TrainingError", "export", "train"]


def train(
    config: TrainConfig,
    *,
    resume: bool = True,
    mixture: Mixture | None = None,
    held_out_mixture: Mixture | None = None,
    console: Console | None = None,
) -> Progress:
    """Run, or go on with, the training that `config` describes; returns when its steps are done or on Ctrl-C.

    `mixture` and `held_out_mixture` replace what `config.data` names. Raises TrainingError (a loss that is not a
    number, a run folder of another run), CheckpointError, DataError, StartError, and ConfigError for what cannot be
    built.
    """
    with world(config.parallel) as place:
        first = place.first
        if not first:
            console = Console(quiet=True)
        console = console or Console(highlight=False)
        progress = _train(config, resume, mixture, held_out_mixture, console, place)
    # Alone again: the checkpoint is read as a whole, by one process.
    if first and config.export.folder is not None and progress.step >= config.run.steps:
        export(config.run.folder, config.export.folder)
        console.print(f"weights written to {config.export.folder}", markup=False, soft_wrap=True)
    return progress


def _train(
    config: TrainConfig,
    resume: bool,
    mixture: Mixture | None,
    held_out_mixture: Mixture | None,
    console: Console,
    place: World,
) -> Progress:
    run, device = config.run, place.device
    if run.threads:
        torch.set_num_threads(run.threads)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    # What there is: a checkpoint to go on from, the data, the model.
    lanes = place.lanes(config.data.lanes)
    saved = open_run(config, resume, say, first=place.first)
    progress = Progress(**saved.info["progress"]) if saved else Progress()
    opened = open_training(config.data, saved.info["shards"] if saved else None, mixture)
    for wrong in opened.wrong:
        say(f"passed over: {wrong}")
    objective = Objective(build_model(config.model, run.seed, opened.tokens.size).to(device))
    model = objective.model
    parallelise(objective, config.parallel, place)
    optimiser = Optimiser(model, config.optimiser)
    torch.manual_seed(run.seed)
    if saved:
        state.same_tokens(saved.info["tokenizer"], saved.info["vocabulary"], opened.tokens, saved.path)
        state.read_model(saved, model, optimiser)
        state.restore_random(saved)
    elif config.start.path is not None:
        say(f"starting from {state.start(config.start, model, optimiser, opened.tokens)}")
    before = {number: saved.lane(number) for number in lanes} if saved else None
    packer = Packer(opened.mixture, config.data, before, lanes=lanes, agree=place.sum)
    items = run.eval_programs if progress.step < run.steps else 0
    measured = held_out_mixture or open_held_out(config.data)
    evaluation = held_out(measured, config.data, items) if measured.sources and items else None
    saves = checkpoint.Checkpointer(run.folder / CHECKPOINTS, keep=run.keep)

    def save() -> None:
        tensors = state.tensors(model, optimiser) | state.random_states()
        saves.save(progress.step, tensors, packer.state(), _info(config, progress, opened))

    def count() -> None:
        """Bring up to date what only the data-parallel processes together know."""
        items, useful = place.sum(np.array([packer.items, meter.useful])).tolist()
        progress.programs, progress.useful_tokens = items, progress.useful_tokens + useful

    meter = Meter(run, model.config, place, step=progress.step, console=console)
    pending: list[Update] = []
    saved_step = progress.step
    with saves, packer, meter, _stop_signals(place) as stopping:
        while progress.step < run.steps and not stopping():
            started = time.monotonic()
            saves.check()
            batch = packer.batch(run.tokens_per_batch)
            factor = schedule(progress.step, run.steps, config.optimiser)
            weight = float(place.sum(np.array([batch.weight]))[0]) or 1.0
            micro_rows = max(1, config.micro_batch_tokens // batch.tokens.shape[1])
            pieces: list[PieceFigures] = []
            for piece in micro_batches(batch, micro_rows, device):
                with _products(config, device):
                    loss, figures_U2 = objective(piece)
                (loss * (loss_factor(place) / weight)).backward()
                pieces.append(PieceFigures(piece.origins, piece.shares_U, figures_U2))
            pending.append(Update(pieces, optimiser.step(factor)))
            progress.step += 1
            progress.tokens += batch.tokens.size * place.along("data")[1]
            last = progress.step == run.steps
            save_now = last or _due(progress.step, run.checkpoint_every)
            report_now = save_now or _due(progress.step, run.log_every)
            if report_now:
                figures = _read(pending, progress.step, config, place)  # waits for the device
                pending.clear()
            seconds = time.monotonic() - started
            progress.seconds += seconds
            meter.advance(progress.step, batch, seconds)
            if report_now:
                count()
                meter.report(progress, figures, packer.skipped, factor)
            if evaluation is not None and (last or _due(progress.step, run.eval_every)):
                found = evaluate(objective, evaluation, config, place)
                progress.held_out_loss, progress.held_out_accuracy = found.loss, found.accuracy
                meter.evaluated(progress.step, found)
            if save_now:
                save()
                saved_step = progress.step
        if progress.step > saved_step:  # asked to stop
            if pending:
                _read(pending, progress.step, config, place)
                count()
            save()
            meter.say(f"stopped and saved after step {progress.step}: the same command goes on from there")
        saves.wait()
    return progress


@dataclass(frozen=True, slots=True)
class Update:
    """What one update leaves to be read later: figures of each forward pass, and the gradient's norm."""

    pieces: list[PieceFigures]
    norm: Tensor

    def complaint(self) -> str:
        """What of it is not a number, and in which documents; empty if all is well."""
        broken = [document for piece in self.pieces for document in piece.broken()]
        if not broken:
            norm = float(self.norm)
            return "" if math.isfinite(norm) else f"gave a gradient norm of {norm}, with finite losses"
        if len(broken) == sum(len(piece.origins) for piece in self.pieces):
            return "gave the loss nan in every document: the update before it broke the weights"
        names = ", ".join(f"{source} {index}" for source, index in broken[:5])
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        return f"gave the loss nan, in {names}{more} (source and item)"


@torch.no_grad()
def evaluate(objective: Objective, batch: Batch, config: TrainConfig, place: World) -> Figures:
    """Held-out figures, of all and by source; each data-parallel process looks at its part of the rows."""
    number, processes = place.along("data")
    rows = -(-len(batch.tokens) // processes)  # the same number everywhere: layers are gathered together
    own = np.arange(number * rows, (number + 1) * rows) % len(batch.tokens)
    weights = batch.weights[own].copy()
    weights[np.arange(number * rows, (number + 1) * rows) >= len(batch.tokens)] = 0
    part = Batch(batch.tokens[own], batch.documents[own], weights, [batch.origins[row] for row in own])
    pieces: list[PieceFigures] = []
    micro_rows = max(1, config.micro_batch_tokens // batch.tokens.shape[1])
    for piece in micro_batches(part, micro_rows, place.device):
        with _products(config, place.device):
            pieces.append(PieceFigures(piece.origins, piece.shares_U, objective(piece)[1]))
    return Figures.gathered([pieces], place)


def _read(pending: list[Update], step: int, config: TrainConfig, place: World) -> Figures:
    """The figures of the updates up to `step`. Raises TrainingError, on all processes, for one that is not a number."""
    first = step - len(pending) + 1
    complaints = [(first + n, told) for n, update in enumerate(pending) if (told := update.complaint())]
    found = min((theirs[0] for theirs in place.gather(complaints) if theirs), default=None)
    if found is not None:
        kept = checkpoint.found(config.run.folder / CHECKPOINTS)
        left = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
        raise TrainingError(
            f"step {found[0]} {found[1]}; {left}: look at the data (`cwm data peek`), lower the learning rates, or "
            f"raise optimiser.warmup_steps, and start again"
        )
    return Figures.gathered([update.pieces for update in pending], place, [float(u.norm) for u in pending])


def _info(config: TrainConfig, progress: Progress, opened: Opened) -> dict[str, object]:
    tokens = {"tokenizer": opened.tokens.fingerprint, "vocabulary": opened.tokens.size}
    return {"identity": identity(config), "progress": dataclasses.asdict(progress), "shards": opened.shards} | tokens


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _products(config: TrainConfig, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(config.parallel, device))


@contextmanager
def _stop_signals(place: World) -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C or a termination was asked for, of any process; a second one kills."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received) if place.mesh is None else any(place.gather(bool(received)))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
