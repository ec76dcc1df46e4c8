"""Training tokens per second against `transformers`' Trainer, and what the time of a step goes into.

Three tables:
- `trainer`: our loop (`train`, packing included) and `transformers.Trainer`, the same Llama-shaped model, initial
  weights, packed rows (made beforehand for the Trainer, with 4-D document masks), AdamW and schedule, once with float32
  products and once with bfloat16; rounds in turns, medians, and the largest difference of the two loss curves.
- `step`: forward and backward, update, and document making of the tiny preset, beside what its matrix products alone
  would allow on this machine (`products`, on random numbers: the bound).
- `packing`: the share of the tokens of packed rows that is not padding, by the size of the buffer.

    python bench/train.py [--quick] [--json] [--threads N] [--cpu-time]

`--cpu-time` reckons with processor time, which says more on a machine with other work on it; take one thread then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from opencwm.config import load
from opencwm.model import hf
from opencwm.model.transformer import Transformer
from opencwm.train.data_settings import DataSettings
from opencwm.train.loop import train
from opencwm.train.loss import MicroBatch, Objective, micro_batches
from opencwm.train.meter import read_log
from opencwm.train.optim import Optimiser
from opencwm.train.pack import Batch, Mixture, Packer
from opencwm.train.run import build_model
from opencwm.train.settings import ModelSettings, OptimiserSettings, TrainConfig
from opencwm.train.streams import open_training

Row = dict[str, float | str]
Clock = Callable[[], float]
PLAIN = "model.overrides={qk_norm=false, conv_width=0}"
"""The tiny preset as a plain Llama, which `transformers` can build."""


def against_trainer(rows: int, steps: int, rounds: int, precision: str, clock: Clock) -> list[Row]:
    """Our loop and the Trainer over the same rows of 512 tokens, `rows` of them per update."""
    config = load(TrainConfig, None, [
        PLAIN, "optimiser.kind=adamw", "optimiser.learning_rate=1e-3",
        "optimiser.schedule=constant", "optimiser.warmup_steps=0", "optimiser.weight_decay=0",
        f"run.tokens_per_batch={rows * 512}", f"run.steps={steps}", "run.log_every=1", "run.checkpoint_every=0",
        "run.eval_every=0", "run.eval_programs=0", f"run.threads={torch.get_num_threads()}",
        f"parallel.precision={precision}",
    ])  # fmt: skip
    opened = open_training(config.data)
    with Packer(opened.mixture, config.data) as packer:
        batches = [packer.batch(rows * 512) for _ in range(steps)]
    made = {index: opened.mixture.sources["programs"](index) for index in range(packer.items + 64)}
    ready = Mixture.of(lambda index: made[index])
    speeds: dict[str, list[float]] = {"ours": [], "trainer": []}
    losses: dict[str, list[float]] = {}
    for _ in range(rounds):
        watch = patch("opencwm.train.loop.time", SimpleNamespace(monotonic=clock))  # what its log reckons with
        with tempfile.TemporaryDirectory() as folder, watch:
            train(
                replace(config, run=replace(config.run, folder=Path(folder))),
                mixture=ready, held_out_mixture=Mixture({}, {}), console=Console(quiet=True),
            )  # fmt: skip
            log = read_log(Path(folder))
        speeds["ours"].append(statistics.median(record["tokens_per_second"] for record in log[1:]))
        losses["ours"] = [record["loss"] for record in log]
        seconds, losses["trainer"] = trainer_run(config, batches, clock)
        speeds["trainer"].append(rows * 512 / statistics.median(seconds[1:]))
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    apart = max(abs(a - b) for a, b in zip(losses["ours"], losses["trainer"], strict=True))
    return [
        {
            "loop": {"ours": "opencwm", "trainer": "transformers.Trainer"}[name],
            "products": precision,
            "tokens per second": round(speed),
            "ratio": round(speed / medians["trainer"], 2),
            "first loss": round(losses[name][0], 4),
            "last loss": round(losses[name][-1], 4),
            "curves apart by": float(f"{apart:.1g}"),
        }
        for name, speed in medians.items()
    ]


def trainer_run(config: TrainConfig, batches: list[Batch], clock: Clock) -> tuple[list[float], list[float]]:
    """Seconds and loss of each step of the Trainer over packed rows."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    stamps: list[float] = []
    losses: list[float] = []

    class Watch(transformers.TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            stamps.append(clock())

        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(clock())

        def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    with tempfile.TemporaryDirectory() as folder:
        hf.save(Path(folder) / "model", build_model(config.model, config.run.seed), dtype=torch.float32)
        model = transformers.AutoModelForCausalLM.from_pretrained(Path(folder) / "model", dtype=torch.float32)
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=len(batches), per_device_train_batch_size=1, learning_rate=1e-3,
            adam_beta1=0.9, adam_beta2=0.95, weight_decay=0.0, max_grad_norm=1.0, logging_steps=1,
            lr_scheduler_type="constant", save_strategy="no", report_to=[], use_cpu=True,
            dataloader_pin_memory=False, remove_unused_columns=False, optim="adamw_torch", disable_tqdm=True,
            bf16=config.parallel.precision == "bfloat16",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, train_dataset=[as_inputs(batch) for batch in batches],
            data_collator=lambda items: items[0], callbacks=[Watch()],
        )  # fmt: skip
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.get_train_dataloader = lambda: [as_inputs(batch) for batch in batches]
        trainer.train()
    return [end - start for start, end in zip(stamps[::2], stamps[1::2], strict=True)], losses


def as_inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as a Llama of `transformers` takes it: labels, positions and a 4-D mask of its documents."""
    documents_BT = torch.from_numpy(batch.documents)
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    allowed_BTT = same_BTT & torch.ones(same_BTT.shape[1:], dtype=torch.bool).tril()
    mask = torch.zeros(allowed_BTT.shape).masked_fill(~allowed_BTT, torch.finfo(torch.float32).min)
    starts = torch.from_numpy(np.diff(batch.documents, axis=1, prepend=-2) != 0)
    index = torch.arange(batch.tokens.shape[1]).expand_as(starts)
    positions = index - torch.where(starts, index, 0).cummax(1).values
    tokens = torch.from_numpy(batch.tokens)
    labels = torch.where(torch.from_numpy(batch.weights > 0), tokens, -100)
    return {"input_ids": tokens, "labels": labels, "position_ids": positions, "attention_mask": mask[:, None]}


def products(model: Transformer, tokens: int, predicted: int) -> Callable[[], None]:
    """Forward and backward products of every linear layer for one batch, on tensors that are ready."""
    ready: list[tuple[Tensor, Tensor, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            rows = predicted if module is model.output else tokens
            x, gradient = (torch.randn(rows, width) for width in reversed(module.weight.shape))
            ready.append((x, module.weight.detach(), gradient))

    def run() -> None:
        for x, weight, gradient in ready:
            F.linear(x, weight)
            gradient @ weight
            gradient.T @ x

    return run


def backward(model: Transformer, piece: MicroBatch, low: bool = False) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        loss = Objective(model)(piece)[0]
    loss.backward()


def parts(rows: int, rounds: int, now: Clock) -> list[Row]:
    """Median tokens per second of each part of a step, and its share of the bound."""
    data, device = DataSettings(), torch.device("cpu")
    models = {kind: build_model(ModelSettings()) for kind in ("muon", "adamw")}
    optimisers: dict[str, Optimiser] = {
        kind: Optimiser(model, OptimiserSettings(kind=kind))  # type: ignore[arg-type]
        for kind, model in models.items()
    }
    tokens = rows * data.sequence_length
    seconds: dict[str, list[float]] = {}

    def clock(name: str, run: Callable[[], object]) -> None:
        started = now()
        run()
        seconds.setdefault(name, []).append(now() - started)

    with Packer(open_training(data).mixture, data) as packer:
        packer.batch(data.sequence_length)  # fills the buffer, which is not the speed of one batch
        for _ in range(rounds + 1):
            started, before = now(), packer.items
            batch = packer.batch(tokens)
            if packer.items > before:
                seconds.setdefault("documents", []).append(now() - started)
            (piece,) = micro_batches(batch, rows, device)
            clock("products", products(models["muon"], tokens, len(piece.targets_N)))
            clock("forward and backward", lambda piece=piece: backward(models["muon"], piece))  # type: ignore[misc]
            clock("the same, bfloat16", lambda piece=piece: backward(models["muon"], piece, low=True))  # type: ignore[misc]
            models["muon"].zero_grad()
            for kind, name in (("muon", "update"), ("adamw", "update, adamw")):

                def update(kind: str = kind, piece: MicroBatch = piece) -> None:
                    backward(models[kind], piece)
                    optimisers[kind].step(1.0)

                clock(name, update)
    order = ("products", "forward and backward", "the same, bfloat16", "update", "update, adamw", "documents")
    speeds = {name: tokens / statistics.median(seconds[name][1:]) for name in order}  # the first round warms up
    return [
        {"part": name, "tokens per second": round(speed), "share of the bound": round(speed / speeds["products"], 3)}
        for name, speed in speeds.items()
    ]


def packing(rows: int) -> list[Row]:
    """Share of packed rows that is filled, for some buffers of waiting documents."""
    found: list[Row] = []
    for buffer in (64, 256, 1024):
        data = DataSettings(buffer=buffer)
        with Packer(open_training(data).mixture, data) as packer:
            batch = packer.batch(rows * data.sequence_length)
        useful = round(batch.useful / batch.tokens.size, 3)
        found.append({"buffer": buffer, "filled": round(batch.filled, 4), "predicted": useful})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed against transformers' Trainer, and where it goes.")
    parser.add_argument("--quick", action="store_true", help="under a minute instead of five")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--threads", type=int, help="of torch; by default its own choice")
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of the clock's")
    arguments = parser.parse_args()
    quick = arguments.quick
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tables: dict[str, list[Row]] = {
        "step": parts(4 if quick else 16, 3 if quick else 8, clock),
        "packing": packing(rows=100 if quick else 400),
    }
    try:
        sizes = (2, 6, 1) if quick else (8, 20, 3)
        tables["trainer"] = [row for kind in ("float32", "bfloat16") for row in against_trainer(*sizes, kind, clock)]
    except ImportError as error:
        print(f'without the comparison with the Trainer ({error}): pip install "opencwm[hf]" accelerate')
    where = f"CPU, {torch.get_num_threads()} threads{', processor time' if arguments.cpu_time else ''}"
    if arguments.json:
        print(json.dumps({"bench": "train", "torch": torch.__version__, "device": where, **tables}, indent=2))
        return
    print(f"training, tiny preset, torch {torch.__version__}, {where}, Python {platform.python_version()}: medians")
    for name in ("trainer", "step", "packing"):
        if name in tables:
            show(name, tables[name])


def show(name: str, rows: list[Row]) -> None:
    heads: list[Any] = list(rows[0])
    cells = [heads, *([f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(str(row[column])) for row in cells) for column in range(len(heads))]
    print(f"\n{name}")
    for row in cells:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
