"""Training tokens per second, beside what the same matrix products alone would allow on this machine.

Rows, each over the same batches of recorded programs, taken in turns:
- `products`: forward and backward of the model's linear layers on random numbers, nothing else: the bound;
- `forward and backward`: the loss and its gradient;
- `update`: the same and the optimiser's step, Muon with AdamW;
- `update, adamw`: the same with AdamW alone;
- `documents`: writing, recording, encoding and packing programs, on one process.

    python bench/train.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencwm.model.transformer import Transformer
from opencwm.train.data_settings import DataSettings
from opencwm.train.loss import MicroBatch, Objective, micro_batches
from opencwm.train.optim import Optimiser
from opencwm.train.pack import Packer
from opencwm.train.run import build_model
from opencwm.train.settings import ModelSettings, OptimiserSettings
from opencwm.train.streams import open_training


def products(model: Transformer, tokens: int, predicted: int, device: torch.device) -> Callable[[], None]:
    """Forward and backward products of every linear layer for one batch, on tensors that are ready."""
    ready: list[tuple[Tensor, Tensor, Tensor]] = []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            rows = predicted if module is model.output else tokens
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
            x, gradient = (
                torch.randn(rows, width, device=device, dtype=dtype) for width in reversed(module.weight.shape)
            )
            ready.append((x, module.weight.detach().to(dtype), gradient))

    def run() -> None:
        for x, weight, gradient in ready:
            F.linear(x, weight)
            gradient @ weight
            gradient.T @ x

    return run


def backward(model: Transformer, piece: MicroBatch, device: torch.device) -> None:
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        loss, _ = Objective(model)(piece)
    loss.backward()  # type: ignore[no-untyped-call]


def measure(rows: int, rounds: int) -> list[dict[str, float | str]]:
    """Median tokens per second of each part, and its share of the bound."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = DataSettings()
    models = {kind: build_model(ModelSettings()).to(device) for kind in ("muon", "adamw")}
    optimisers = {
        "muon": Optimiser(models["muon"], OptimiserSettings(kind="muon")),
        "adamw": Optimiser(models["adamw"], OptimiserSettings(kind="adamw")),
    }
    tokens = rows * data.sequence_length
    seconds: dict[str, list[float]] = {}

    def clock(name: str, run: Callable[[], object]) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.setdefault(name, []).append(time.perf_counter() - started)

    with Packer(open_training(data).mixture, data) as packer:
        packer.batch(data.sequence_length)  # fills the buffer, which is not the speed of one batch
        for _ in range(rounds + 1):
            started = time.perf_counter()
            before = packer.items
            batch = packer.batch(tokens)
            if packer.items > before:
                seconds.setdefault("documents", []).append(time.perf_counter() - started)
            (piece,) = micro_batches(batch, rows, device)
            clock("products", products(models["muon"], tokens, len(piece.targets_N), device))
            clock("forward and backward", lambda piece=piece: backward(models["muon"], piece, device))  # type: ignore[misc]
            models["muon"].zero_grad()
            for kind, name in (("muon", "update"), ("adamw", "update, adamw")):

                def update(kind: str = kind, piece: MicroBatch = piece) -> None:
                    backward(models[kind], piece, device)
                    optimisers[kind].step(1.0)

                clock(name, update)
    order = ("products", "forward and backward", "update", "update, adamw", "documents")
    speeds = {name: tokens / statistics.median(seconds[name][1:]) for name in order}  # the first round warms up
    return [
        {"part": name, "tokens per second": round(speed), "share of the bound": round(speed / speeds["products"], 3)}
        for name, speed in speeds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed of the tiny preset against its matrix products alone.")
    parser.add_argument("--quick", action="store_true", help="half a minute instead of two")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    rows = measure(rows=4 if arguments.quick else 16, rounds=4 if arguments.quick else 8)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    if arguments.json:
        print(json.dumps({"bench": "train", "torch": torch.__version__, "device": where, "rows": rows}, indent=2))
        return
    print(f"training, tiny preset, torch {torch.__version__}, {where}, Python {platform.python_version()}: medians")
    heads = list(rows[0])
    cells = [heads, *([f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
