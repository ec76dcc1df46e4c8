"""CWM's 32B mid-training on paper: memory, communication and time of a step, by GPUs and layout. Nothing is run.

    python bench/scale.py [--json] [--efficiency 0.45] [--tokens 33554432] [--length 131072]

What is reckoned, per GPU and step:
- compute: 6 FLOP per weight and token and 12 x width x attended tokens per layer (half a row in global layers, the
  window in local ones; length buckets only help), plus a third for activations computed again, at `--efficiency` of the
  data sheet's dense bfloat16 products. That is an assumption (the goal for one GPU), not a measurement.
- tensor parallel: 4 gathers and 4 scatters of a row's hidden states per layer over NVLink, not overlapped.
- context parallel: keys and values of a whole row, per layer gathered forward, again when recomputed, summed backward.
- FSDP: weights gathered twice in bfloat16 and gradients scattered in float32 once per row; what exceeds the compute is
  waited for.
- memory: float32 weights, gradients and two moments, sharded over all GPUs; two gathered layers and the embeddings in
  bfloat16; of a row, each layer's input and one layer's inside; logits in chunks of 8,192 tokens.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from opencwm.model.config import ModelConfig, preset
from opencwm.train.flops import PEAKS, non_embedding

NVLINK, NETWORK = 450e9, 50e9
"""Bytes per second and direction of an H100: within a node of 8, and between nodes (400 Gb/s)."""
MEMORY = 80e9


@dataclass(frozen=True)
class Layout:
    """GPUs of one job: data x context x tensor."""

    gpus: int
    tensor: int
    context: int

    @property
    def data(self) -> int:
        return self.gpus // (self.tensor * self.context)


def flops(model: ModelConfig, length: int) -> float:
    """FLOPs per token of a step, forward and backward, of rows that are one document."""
    attended = 0.0
    for layer in range(model.layers):
        window = model.local_window
        attended += length / 2 if model.layer_is_global(layer) or window is None else min(window, length / 2)
    return (
        6.0 * non_embedding(model) + 6.0 * model.vocab_size * model.dim + 12.0 * model.heads * model.head_dim * attended
    )


def reckon(model: ModelConfig, layout: Layout, tokens: int, length: int, efficiency: float) -> dict[str, float]:
    """Figures of one layout; times in seconds per step, memory in bytes per GPU."""
    peak = PEAKS["H100"]
    rows = tokens / length / layout.data  # rows that one data-parallel group sees
    own = tokens / layout.gpus
    useful = flops(model, length) * own / peak
    compute = useful * 4 / 3 / efficiency
    share = length / layout.context  # tokens of a row in one tensor-parallel group
    part = (layout.tensor - 1) / layout.tensor
    tensor = rows * model.layers * 8 * share * model.dim * 2 * part / NVLINK
    around = (layout.context - 1) / layout.context
    keys = 2 * model.kv_heads * model.head_dim * length * 2 / layout.tensor
    context = rows * model.layers * 4 * keys * around / NETWORK
    weights = model.parameter_count() / layout.tensor
    shards = layout.data * layout.context
    fsdp = rows * weights * (2 * 2 + 4) * (shards - 1) / shards / NETWORK
    waited = max(0.0, fsdp - compute)
    step = compute + tensor + context + waited
    state = 16 * model.parameter_count() / layout.gpus
    layer = non_embedding(model) / model.layers / layout.tensor
    tables = 2 * model.vocab_size * model.dim / layout.tensor
    gathered = 2 * (2 * layer + tables)
    inputs = model.layers * share * model.dim * 2 / layout.tensor
    inside = share * (18 * model.dim + 3 * model.ffn_dim) * 2 / layout.tensor
    logits = 2 * 4 * 8192 * model.vocab_size / layout.tensor
    return {
        "gpus": layout.gpus, "tensor": layout.tensor, "context": layout.context, "data": layout.data, "rows": rows,
        "state": state, "gathered": gathered, "activations": inputs + inside, "logits": logits,
        "memory": state + gathered + inputs + inside + logits,
        "compute_s": compute, "tensor_s": tensor, "context_s": context, "fsdp_s": fsdp, "step_s": step,
        "mfu": useful / step, "tokens_per_second": tokens / step, "days": 5e12 / (tokens / step) / 86400,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="CWM's mid-training on 256 to 2,048 H100s, on paper.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="the same: nothing is run")
    parser.add_argument("--efficiency", type=float, default=0.45, help="of one GPU's products, recomputation included")
    parser.add_argument("--tokens", type=int, default=33_554_432, help="per step")
    parser.add_argument("--length", type=int, default=131_072, help="tokens of a row")
    arguments = parser.parse_args()
    model = preset("cwm-32b")
    rows = [
        reckon(model, Layout(gpus, tensor, context), arguments.tokens, arguments.length, arguments.efficiency)
        for gpus in (256, 512, 1024, 2048)
        for tensor, context in ((4, 1), (8, 1), (8, 2), (8, 4))
        if gpus // (tensor * context) <= arguments.tokens // arguments.length
    ]
    if arguments.json:
        print(json.dumps({"bench": "scale", "efficiency": arguments.efficiency, "rows": rows}, indent=2))
        return
    layout = "data x context x tensor"
    times = ("compute", "tensor", "context", "FSDP", "step", "MFU", "tokens/s", "5T in")
    heads = ("GPUs", layout, "rows", "memory", *times)
    cells = [heads]
    for row in rows:
        fits = "" if row["memory"] < 0.9 * MEMORY else " !"
        cells.append((
            f"{row['gpus']:,}", f"{row['data']} x {row['context']} x {row['tensor']}", f"{row['rows']:g}",
            f"{row['memory'] / 1e9:.0f} GB{fits}", f"{row['compute_s']:.1f} s", f"{row['tensor_s']:.1f} s",
            f"{row['context_s']:.1f} s", f"{row['fsdp_s']:.1f} s", f"{row['step_s']:.1f} s", f"{row['mfu']:.1%}",
            f"{row['tokens_per_second'] / 1e6:.2f} M", f"{row['days']:.0f} days",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    print(
        f"cwm-32b, {arguments.tokens:,} tokens per step in rows of {arguments.length:,}, H100; ! is over 90 % of 80 GB"
    )
    for cell in cells:
        print("  ".join(text.rjust(width) for text, width in zip(cell, widths, strict=True)))


if __name__ == "__main__":
    main()
