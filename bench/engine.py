"""Decoding speed of `Engine` beside `transformers`, vLLM and the memory limit, and the memory of its cache.

    python bench/engine.py [--quick] [--json] [--threads N] [--cpu-time] [--model FOLDER] [--vllm PY]

Rates count tokens after the first, greedy, behind a prompt, batch 1 and 16, in interleaved rounds; medians. The peer is
`transformers`' `generate`, in float32 and bfloat16 (times are of its faster one), on the same weights; the shipped
model has no counterpart there (head norms, convolutions), so its peer is a Llama of its shape. The limit is the time to
read every matrix and cached key once per step at the rate at which this machine reads a large array, measured in the
same run. `--cpu-time` counts processor time of this process instead of wall time, for a machine that others use too
(give `--threads 1` with it).

--model   a Hugging Face folder: what `cwm model fetch smollm2-135m` prints
--vllm    the Python (PY) of an environment that has vLLM: one more peer for --model
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import torch
from support.measure import Clock, arguments, clock_of, read_rate, show, timing
from torch import nn

from opencwm.model.cache import cache_bytes
from opencwm.model.config import preset
from opencwm.model.engine import Engine
from opencwm.model.matrices import KINDS
from opencwm.model.sampling import Sampling
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights
from opencwm.world.local import SHIPPED


def prompts(count: int, tokens: int, vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(20, min(vocabulary, 20_000), (count, tokens), generator=generator).tolist()


def ours(engine: Engine, batch: int, prompt: int, tokens: int, clock: Clock) -> float:
    """Tokens per second from when every sequence has its first token until the first of them is done."""
    wanted = Sampling(max_tokens=tokens, temperature=0)
    generations = [engine.submit(ids, wanted) for ids in prompts(batch, prompt, engine.vocabulary)]
    while engine.running < batch or not all(generation.started for generation in generations):
        engine.step()
    before, start = engine.generated_tokens, clock()
    while all(generation.finish_reason is None for generation in generations):
        engine.step()
    rate = (engine.generated_tokens - before) / (clock() - start)
    while engine.step():
        pass
    return rate


def theirs(model: Any, batch: int, prompt: int, tokens: int, clock: Clock) -> float:
    from transformers import LogitsProcessor, LogitsProcessorList

    times: list[float] = []

    class Stamp(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            times.append(clock())
            return scores

    ids = torch.tensor(prompts(batch, prompt, model.config.vocab_size))
    settings = dict(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, eos_token_id=None)
    with torch.inference_mode():
        model.generate(
            ids, attention_mask=torch.ones_like(ids), logits_processor=LogitsProcessorList([Stamp()]), **settings
        )
    return batch * (tokens - 1) / (times[-1] - times[0])


def samples(folder: Path | None, options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """16 samples of one prompt, from the request to the last token, the prompt's pass included."""
    model, _ = load_weights(folder or SHIPPED)
    rival = peer(model, folder)
    prompt, tokens, rounds = (64, 12, 2) if options.quick else (256, 48, 3)
    [ids] = prompts(1, prompt, model.config.vocab_size)
    settings = dict(max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, pad_token_id=0, eos_token_id=None)
    rates: dict[str, list[float]] = {"transformers": [], **{kind: [] for kind in KINDS}}
    for _ in range(rounds):
        rows = torch.tensor([ids])
        start = clock()
        with torch.inference_mode():
            rival.generate(rows, attention_mask=torch.ones_like(rows), num_return_sequences=16, **settings)
        rates["transformers"].append(16 * tokens / (clock() - start))
        for kind in KINDS:
            engine = Engine(model, max_tokens=prompt + tokens, max_batch=16, weights=kind, kept=0)
            start = clock()
            for seed in range(16):
                engine.submit(ids, Sampling(max_tokens=tokens, seed=seed))
            while engine.step():
                pass
            rates[kind].append(16 * tokens / (clock() - start))
    other = statistics.median(rates["transformers"])
    return [
        {
            "model": folder.name if folder else "shipped",
            "decoder": name if name == "transformers" else f"engine, {name}",
            "tokens_per_s": statistics.median(found),
            "times_transformers": statistics.median(found) / other,
        }
        for name, found in rates.items()
    ]


def peer(model: Transformer, folder: Path | None, dtype: torch.dtype = torch.float32) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if folder is not None:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    config = model.config
    made = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            intermediate_size=config.ffn_dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            tie_word_embeddings=config.tie_embeddings,
        )
    )
    return made.to(dtype).eval()


def decoding(folder: Path | None, options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    model, _ = load_weights(folder or SHIPPED)
    name = folder.name if folder else "shipped"
    rivals = {kind: peer(model, folder, getattr(torch, kind)) for kind in ("float32", "bfloat16")}
    prompt, tokens, rounds = (64, 12, 2) if options.quick else (256, 48, 5)
    if folder is None:
        tokens *= 2
    weights_read = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    results = []
    for batch in (1, 16):
        engines = {
            kind: Engine(model, max_tokens=prompt + tokens, max_batch=batch, weights=kind, kept=0) for kind in KINDS
        }
        measured: dict[tuple[str, str], list[float]] = {("transformers", kind): [] for kind in rivals}
        measured |= {("engine", kind): [] for kind in KINDS}
        for _ in range(rounds):
            for kind, rival in rivals.items():
                measured["transformers", kind].append(theirs(rival, batch, prompt, tokens, clock))
            for kind, engine in engines.items():
                measured["engine", kind].append(ours(engine, batch, prompt, tokens, clock))
        limit_bytes = read_rate(clock, 5)
        rates = {row: statistics.median(found) for row, found in measured.items()}
        other = max(rates["transformers", kind] for kind in rivals)
        for (who, kind), rate in rates.items():
            size = {"float32": 4, "bfloat16": 2, "int8": 1}[kind]
            cached = batch * cache_bytes(
                model.config, prompt + tokens // 2, chunk=512, itemsize=4 if kind == "float32" else 2
            )
            bound = batch * limit_bytes / (weights_read * size + cached)
            results.append(
                {
                    "model": name,
                    "batch": batch,
                    "decoder": f"{who}, {kind}",
                    "tokens_per_s": rate,
                    "times_transformers": rate / other,
                    "share_of_limit": rate / bound,
                }
            )
        if folder is not None and options.vllm:
            rate = vllm_rate(options.vllm, folder, batch, prompt, tokens, options.threads, clock)
            results.append(
                {
                    "model": name,
                    "batch": batch,
                    "decoder": "vLLM, bfloat16",
                    "tokens_per_s": rate,
                    "times_transformers": rate / other,
                    "share_of_limit": rate / (batch * limit_bytes / (weights_read * 2)),
                }
            )
    return results


VLLM = """
import json, sys, time
from vllm import LLM, SamplingParams
folder, batch, prompt, tokens = sys.argv[1], *map(int, sys.argv[2:5])
clock = getattr(time, sys.argv[5])
ids = json.loads(sys.stdin.read())
llm = LLM(model=folder, dtype="bfloat16", max_model_len=prompt + tokens + 8, max_num_seqs=batch, enforce_eager=True)
def run(n):
    wanted = SamplingParams(temperature=0, max_tokens=n, ignore_eos=True)
    start = clock()
    llm.generate([{"prompt_token_ids": i} for i in ids], wanted, use_tqdm=False)
    return clock() - start
run(2)
rates = [batch * (tokens - 1) / (run(tokens) - run(1)) for _ in range(3)]
print("RATE", sorted(rates)[1])
"""


def vllm_rate(python: str, folder: Path, batch: int, prompt: int, tokens: int, threads: int, clock: Clock) -> float:
    """Tokens per second of vLLM's CPU build, in its own environment and one process."""
    text = json.dumps(prompts(batch, prompt, 20_000))
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    command = [python, "-c", VLLM, str(folder), str(batch), str(prompt), str(tokens), clock.__name__]
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
    found = [line for line in done.stdout.splitlines() if line.startswith("RATE")]
    if not found:
        raise SystemExit(f"vLLM failed:\n{done.stderr[-2000:]}")
    return float(found[0].split()[1])


def memory() -> dict[str, Any]:
    """Keys and values of one sequence of 131,072 tokens: computed for `cwm-32b`, allocated at a small width."""
    config, tokens = preset("cwm-32b"), 131_072
    small = preset("cwm-32b", dim=32, heads=2, kv_heads=1, head_dim=16, ffn_dim=32, vocab_size=64)
    measured = Engine(Transformer(small), max_tokens=tokens, max_batch=1, kept=0)
    full = cache_bytes(small, tokens, chunk=512, itemsize=4, local=False)
    whole = cache_bytes(config, tokens, chunk=512, itemsize=2, local=False)
    kept = cache_bytes(config, tokens, chunk=512, itemsize=2)
    return {
        "cwm_32b_gib": kept / 2**30,
        "cwm_32b_all_global_gib": whole / 2**30,
        "share": kept / whole,
        "share_allocated_at_small_width": measured.cache_bytes / full,
    }


def main() -> None:
    parser = arguments(__doc__)
    timing(parser)
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--vllm", metavar="PYTHON")
    options = parser.parse_args()
    clock = clock_of(options)
    kind = "processor" if options.cpu_time else "wall"
    folders = (None, *((options.model,) if options.model is not None else ()))
    title = f"decoding, threads: {options.threads}, {kind} time"
    show(title, [row for folder in folders for row in decoding(folder, options, clock)], options)
    samples_title = "16 samples of one prompt, prompt included"
    show(samples_title, [row for folder in folders for row in samples(folder, options, clock)], options)
    show("keys and values at 131,072 tokens", [memory()], options)


if __name__ == "__main__":
    main()
