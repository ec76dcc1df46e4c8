"""A large preset with random weights on one GPU: prefill and decoding beside the limits, Flex beside a dense mask.

    python bench/gpu_engine.py [--quick] [--json] [--preset NAME] [--device DEVICE] [--lengths N ...] [--batches N ...]
        [--compile]

All in bfloat16. Prefill is the time from a prompt to its first token, decoding that of tokens after the first behind
1,024 tokens, both through `Engine`. The limits are measured in the same run: operations per second of one large
product, bytes per second of reading a large array. The peer of FlexAttention with block masks is PyTorch's attention
with the mask written out, over the whole row, forward alone, in a model of one local and one global layer of the
preset's shape. With --compile decoding is measured twice: by the plain pass and by the compiled one, whose steps are
replayed as CUDA graphs.

Without a GPU it ends with a message; `--device cpu --preset tiny --lengths 64 --batches 2` tries the script itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from support.measure import arguments, show

from opencwm.model.cache import cache_bytes
from opencwm.model.config import ModelConfig, preset
from opencwm.model.engine import Engine
from opencwm.model.sampling import Sampling
from opencwm.model.transformer import Transformer

CONTEXT = 1024


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds, to the end of what the device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def random_model(config: ModelConfig, device: torch.device) -> Transformer:
    """Weights drawn on the device, in bfloat16: nothing of their size is held elsewhere."""
    with torch.device("meta"):
        model = Transformer(config).to(torch.bfloat16)
    model.to_empty(device=device)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1)
            else:
                parameter.normal_(0, config.init_std)
    return model.eval()


def limits(device: torch.device, *, quick: bool) -> tuple[float, float]:
    """Operations per second of a product, bytes per second of reading."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    data = torch.ones(size * size * 8, dtype=torch.float32, device=device)
    rounds = 3 if quick else 20
    product = min(timed(device, lambda: a @ b) for _ in range(rounds))
    reading = min(timed(device, data.sum) for _ in range(rounds))
    return 2 * size**3 / product, data.nbytes / reading


def operations(config: ModelConfig, tokens: int, matrices: int) -> float:
    """Of a prefill: two per weight and token, four per head, width and visible pair."""
    window = config.local_window or tokens
    whole = tokens * (tokens + 1) / 2
    local = whole if tokens <= window else window * (window + 1) / 2 + (tokens - window) * window
    pairs = sum(whole if config.layer_is_global(layer) else local for layer in range(config.layers))
    return 2 * matrices * tokens + 4 * config.heads * config.head_dim * pairs


def prefill(model: Transformer, device: torch.device, length: int, chunk: int) -> float:
    """Seconds from a prompt to its first token."""
    engine = Engine(model, max_tokens=length + 8, max_batch=1, chunk=min(chunk, length), kept=0)
    engine.submit([1, 2, 3], Sampling(max_tokens=1))
    while engine.step():
        pass
    prompt = torch.randint(0, model.config.vocab_size, (length,)).tolist()
    engine.submit(prompt, Sampling(max_tokens=1, temperature=0))

    def work() -> None:
        while engine.step():
            pass

    return timed(device, work)


def decode(model: Transformer, device: torch.device, batch: int, tokens: int, compiled: bool) -> float:
    """Seconds per step of `batch` sequences, the second time round: the first records graphs."""
    engine = Engine(model, max_tokens=CONTEXT + tokens + 8, max_batch=batch, kept=0, compile=compiled)
    once(engine, device, batch, tokens)
    return once(engine, device, batch, tokens)


def once(engine: Engine, device: torch.device, batch: int, tokens: int) -> float:
    shape = (batch, min(CONTEXT, engine.runner.config.max_positions // 2))
    prompts = torch.randint(0, engine.vocabulary, shape).tolist()
    generations = [engine.submit(ids, Sampling(max_tokens=tokens, temperature=0)) for ids in prompts]
    while not all(generation.started for generation in generations):
        engine.step()
    steps = engine.forward_passes

    def work() -> None:
        while all(generation.finish_reason is None for generation in generations):
            engine.step()

    taken = timed(device, work)
    steps = engine.forward_passes - steps
    while engine.step():
        pass
    return taken / steps


def flex(config: ModelConfig, device: torch.device, length: int, rounds: int) -> dict[str, Any]:
    """Forward passes of a local and a global layer over one row."""
    small = replace(config, layers=2, global_every=2, max_positions=max(length, config.max_positions), vocab_size=1024)
    model = random_model(small, device)
    row = torch.randint(0, 1024, (1, length), device=device)
    taken = {}
    for backend in ("flex", "sdpa"):
        model.attention_backend = backend  # type: ignore[assignment]
        with torch.inference_mode():
            model.hidden(row)  # compiles
            taken[backend] = min(timed(device, lambda: model.hidden(row)) for _ in range(rounds))
    ratio = taken["sdpa"] / taken["flex"]
    return {"tokens": length, "flex_ms": 1000 * taken["flex"], "dense_ms": 1000 * taken["sdpa"], "times_faster": ratio}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--preset", default="cwm-32b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="decoding by the compiled pass, too")
    parser.add_argument("--chunk", type=int, default=8192)
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 32768, 131072 - 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing measured (--device cpu tries the script)")
        return
    config = preset(options.preset)
    compute, memory = limits(device, quick=options.quick)
    show("FlexAttention", [flex(config, device, min(32768, max(options.lengths)), 2 if options.quick else 5)], options)
    model = random_model(config, device)
    matrices = sum(parameter.numel() for name, parameter in model.named_parameters() if parameter.dim() == 2)
    matrices -= 0 if config.tie_embeddings else config.vocab_size * config.dim
    rows = []
    for length in options.lengths:
        taken = prefill(model, device, length, options.chunk)
        share = operations(config, length, matrices) / taken / compute
        rows.append({"tokens": length, "tokens_per_s": length / taken, "share_of_products": share})
    show(f"prefill, {options.preset}", rows, options)
    rows = []
    for batch in options.batches:
        read = 2 * matrices + batch * cache_bytes(config, CONTEXT, chunk=512, itemsize=2)
        for compiled in (False, True) if options.compile else (False,):
            taken = decode(model, device, batch, 16 if options.quick else 128, compiled)
            row = {"batch": batch, "pass": "compiled" if compiled else "plain", "tokens_per_s": batch / taken}
            rows.append(row | {"share_of_memory": read / taken / memory})
    show(f"decoding, {options.preset}", rows, options)


if __name__ == "__main__":
    main()
