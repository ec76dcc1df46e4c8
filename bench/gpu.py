"""A GPU's training step: MFU by size and context, what float8 gives, and FlexAttention against a dense mask.

Two tables:
- `step`: forward, backward and AdamW of the 150m, 1b and 8b shapes in rows of 8,192 and 32,768 tokens, bfloat16 and
  float8; MFU as `cwm train` reports it (6 FLOP per weight and token and attention over whole rows; layers that are
  computed again are not counted). The 8b shape has as many of its 32 layers as fit beside their moments (`layers`).
- `attention`: one attention of the 1b shape over packed documents, forward and backward: FlexAttention, and the kernels
  of `scaled_dot_product_attention` with the mask written out.

Needs a CUDA GPU (float8: Hopper or newer, and torchao). `--quick` goes through the same code at toy sizes on any device
and says nothing about speed. Never run by us on a GPU: there was none.

    python bench/gpu.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from opencwm.config import ConfigError
from opencwm.model.attention import Backend, attend, mask
from opencwm.model.config import ModelConfig, preset
from opencwm.model.transformer import Transformer
from opencwm.train.flops import flops_per_token, peak_flops
from opencwm.train.loss import MicroBatch, Objective
from opencwm.train.optim import Optimiser
from opencwm.train.parallel import World, parallelise, precision
from opencwm.train.settings import OptimiserSettings, ParallelSettings

Row = dict[str, Any]
BYTES_PER_WEIGHT = 16
"""Weight, gradient and two moments in float32."""
DOCUMENT = 2_000
"""Tokens of each packed document."""


def shapes(device: torch.device, quick: bool) -> dict[str, ModelConfig]:
    """The shapes by name; of the 8b one, the layers that take up to two thirds of the memory."""
    if quick:
        small = preset("1b", dim=64, layers=2, heads=4, kv_heads=2, head_dim=16, ffn_dim=128, vocab_size=512)
        return {"toy": replace(small, max_positions=512, local_window=64)}
    memory = torch.cuda.get_device_properties(device).total_memory
    large = preset("8b")
    per_layer = (preset("8b", layers=2).parameter_count() - preset("8b", layers=1).parameter_count()) * BYTES_PER_WEIGHT
    tables = preset("8b", layers=1).parameter_count() * BYTES_PER_WEIGHT - per_layer
    fitting = max(1, int((memory * 2 / 3 - tables) // per_layer))
    return {
        "150m": preset("150m", max_positions=32768),
        "1b": preset("1b"),
        "8b": replace(large, layers=min(32, fitting)),
    }


def piece(rows: int, tokens: int, vocabulary: int, device: torch.device) -> MicroBatch:
    """Rows of documents of random tokens, of which every second is predicted."""
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(0, vocabulary, (rows, tokens), generator=generator)
    documents_BT = (torch.arange(tokens) // DOCUMENT).expand(rows, -1).contiguous()
    places_N = torch.arange(0, rows * tokens - 1, 2)
    places_N = places_N[places_N % tokens != tokens - 1]
    moved = [t.to(device) for t in (tokens_BT, documents_BT, places_N, tokens_BT.flatten()[places_N + 1])]
    weights_N = torch.ones(len(places_N), device=device)
    owners_N = torch.zeros(len(places_N), dtype=torch.int64, device=device)
    return MicroBatch(*moved, weights_N, owners_N, [("random", 0)], np.array([float(len(places_N))]))


def seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Mean time of a run, after two that warm up (and compile)."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    run()
    wait()
    started = time.perf_counter()
    for _ in range(rounds):
        run()
    wait()
    return (time.perf_counter() - started) / rounds


def step(name: str, config: ModelConfig, tokens: int, kind: str, device: torch.device, quick: bool) -> Row:
    """One training step of a shape; where it cannot run, the reason."""
    row: Row = {"shape": name, "layers": config.layers, "context": tokens, "products": kind}
    settings = ParallelSettings(precision=kind, compile=not quick, checkpoint_activations=name == "8b")  # type: ignore[arg-type]
    try:
        objective = Objective(Transformer(config).to(device))
        parallelise(objective, settings, World(device))
        optimiser = Optimiser(objective.model, OptimiserSettings(kind="adamw"))
        made = piece(1, tokens, config.vocab_size, device)

        def run() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision(settings, device)):
                loss, _ = objective(made)
            loss.backward()
            optimiser.step(1e-3)

        speed = tokens / seconds(run, device, 2 if quick else 8)
    except (ConfigError, torch.OutOfMemoryError) as error:
        return row | {"tokens per second": "-", "MFU": str(error).split(":")[0][:60]}
    mfu = speed * flops_per_token(config, tokens) / peak_flops(device)
    return row | {"tokens per second": round(speed), "MFU": f"{mfu:.1%}"}


def attention(tokens: int, device: torch.device, quick: bool) -> list[Row]:
    """Milliseconds of one attention with document borders, forward and backward, by kernel."""
    config = preset("1b")
    wanted = torch.float32 if device.type == "cpu" else torch.bfloat16
    documents_BT = (torch.arange(tokens, device=device) // (DOCUMENT if not quick else 32))[None]
    heads = (config.heads, config.kv_heads, config.kv_heads)
    q, k, v = (torch.randn(1, tokens, n, config.head_dim, device=device, dtype=wanted).requires_grad_() for n in heads)
    backends: tuple[Backend, ...] = ("sdpa",) if quick and device.type == "cpu" else ("flex", "sdpa")
    found: list[Row] = []
    for backend in backends:  # on a CPU FlexAttention has no backward pass
        try:
            bounds = mask(tokens, None, documents_BT, q, backend)
            spent = seconds(lambda bounds=bounds: attend(q, k, v, bounds).sum().backward(), device, 2 if quick else 10)  # type: ignore[misc]
            found.append({"attention": backend, "context": tokens, "ms": round(1000 * spent, 2)})
        except torch.OutOfMemoryError:
            found.append({"attention": backend, "context": tokens, "ms": "out of memory"})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A GPU's training step: MFU, float8, FlexAttention.")
    parser.add_argument("--quick", action="store_true", help="toy sizes on any device: whether it runs, no figures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    quick = arguments.quick
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not quick:
        print("no CUDA GPU here, so nothing to measure: --quick tries the code at toy sizes")
        return
    contexts = (128,) if quick else (8_192, 32_768)
    tables: dict[str, list[Row]] = {"step": [], "attention": []}
    for name, config in shapes(device, quick).items():
        for tokens in contexts:
            for kind in ("bfloat16", "float8"):
                tables["step"].append(step(name, config, tokens, kind, device, quick))
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    for tokens in contexts:
        tables["attention"] += attention(tokens, device, quick)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    if arguments.json:
        print(json.dumps({"bench": "gpu", "torch": torch.__version__, "device": where, **tables}, indent=2))
        return
    print(f"torch {torch.__version__}, {where}")
    for name, rows in tables.items():
        cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        print(f"\n{name}")
        for line in cells:
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


if __name__ == "__main__":
    main()
