"""Decoding and prefill speed of a model preset on this machine, beside a bound.

    python bench/decode.py [--quick] [--json] [--preset tiny] [--threads N] [--prompt 300] [--tokens 300]

Decode: one token at a time behind a prompt, batch 1, what a predicted run costs. Prefill: the prompt in one pass. The
bound multiplies the same weight matrices once per token (or once by the whole prompt) and does nothing else, measured
in the same run; the ratio to it says how much the rest (norms, attention, cache, Python) costs. Medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from opencwm.model.config import PRESETS, preset
from opencwm.model.session import Session
from opencwm.model.transformer import Transformer


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median wall seconds of an action, after one run to warm up."""
    action()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def matrices(model: Transformer) -> list[Tensor]:
    """Every matrix that a token is multiplied by."""
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear)]


def bare_products(weights: list[Tensor], tokens: int) -> Callable[[], None]:
    inputs = [torch.randn(tokens, weight.shape[1]) for weight in weights]

    def run() -> None:
        with torch.inference_mode():
            for x_TI, weight_OI in zip(inputs, weights, strict=True):
                F.linear(x_TI, weight_OI)

    return run


def measure(name: str, prompt: int, tokens: int, repeats: int) -> dict[str, object]:
    model = Transformer(preset(name)).eval()
    ids = torch.randint(0, model.config.vocab_size, (prompt,), generator=torch.Generator().manual_seed(0)).tolist()
    session = Session(model, max_tokens=prompt + tokens)

    def prefill() -> None:
        session.rewind(0)
        session.feed(ids)

    prefill_s = seconds(prefill, repeats)
    session.rewind(prompt)
    decode_s = seconds(lambda: session.feed([1]), tokens - 1)
    weights = matrices(model)
    decode_bound_s = seconds(bare_products(weights, 1), tokens - 1)
    prefill_bound_s = seconds(bare_products(weights, prompt), repeats)
    return {
        "preset": name,
        "parameters": model.config.parameter_count(),
        "threads": torch.get_num_threads(),
        "prompt_tokens": prompt,
        "decode_tokens_per_s": 1 / decode_s,
        "decode_ms_per_token": 1000 * decode_s,
        "decode_bound_tokens_per_s": 1 / decode_bound_s,
        "decode_share_of_bound": decode_bound_s / decode_s,
        "prefill_tokens_per_s": prompt / prefill_s,
        "prefill_bound_tokens_per_s": prompt / prefill_bound_s,
        "prefill_share_of_bound": prefill_bound_s / prefill_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens and repeats (a few seconds)")
    parser.add_argument("--json", action="store_true", help="one JSON object per thread count instead of a table")
    parser.add_argument("--preset", default="tiny", choices=list(PRESETS))
    parser.add_argument("--threads", type=int, help="default: 1, and as many as torch takes")
    parser.add_argument("--prompt", type=int, default=300, help="tokens before the first decoded one")
    parser.add_argument("--tokens", type=int, default=300, help="tokens decoded")
    options = parser.parse_args()
    tokens, repeats = (60, 5) if options.quick else (options.tokens, 20)
    counts = [options.threads] if options.threads else sorted({1, torch.get_num_threads()})
    results = []
    for threads in counts:
        torch.set_num_threads(threads)
        results.append(measure(options.preset, options.prompt, tokens, repeats))
    if options.json:
        for result in results:
            print(json.dumps(result))
        return
    table = Table(title=f"{options.preset}: {results[0]['parameters']:,} parameters, prompt of {options.prompt} tokens")
    for column in ("threads", "step", "tokens/s", "ms/token", "bare products, tokens/s", "share of bound"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for result in results:
        for step in ("decode", "prefill"):
            rate, bound = float(str(result[f"{step}_tokens_per_s"])), float(str(result[f"{step}_bound_tokens_per_s"]))
            numbers = (f"{rate:,.0f}", f"{1000 / rate:.2f}", f"{bound:,.0f}", f"{rate / bound:.2f}")
            table.add_row(str(result["threads"]), step, *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
