"""`cwm eval language`: how well a language model continues code, told by the loss of what should come next.

Notable choices:
- Two tasks in direct form: CRUXEval's output (`assert f(INPUT) == `, then the output) and HumanEval's body (the prompt,
  then the canonical solution). Nothing is sampled, and no program is run.
- *Right* is a completion of which every token is the most likely one: what greedy decoding would write.
- The loss is per token, over all tokens of a task; its interval is that of the mean over items.
- Products in bfloat16 where asked: on a CPU twice as fast. Compare figures of one precision only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from opencwm.evals.report import Progress, Report
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights
from opencwm.train.data import document
from opencwm.train.loss import Objective, micro_batches
from opencwm.train.pack import pack_all
from opencwm.train.text import Tokens, open_tokens

LONGEST = 1024
"""Tokens of the longest item; longer ones are left out and counted."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What is given and what should follow."""

    prompt: str
    answer: str


def crux(path: Path, limit: int | None = None) -> list[Completion]:
    """CRUXEval's output task from JSON lines with code, input, output. Raises ValueError naming a bad line."""
    return [
        Completion(f"{row['code']}\nassert f({row['input']}) ==", f" {row['output']}\n")
        for row in _rows(path, ("code", "input", "output"), limit)
    ]


def humaneval(path: Path, limit: int | None = None) -> list[Completion]:
    """HumanEval's bodies from JSON lines with prompt, canonical_solution. Raises ValueError naming a bad line."""
    return [
        Completion(row["prompt"], row["canonical_solution"])
        for row in _rows(path, ("prompt", "canonical_solution"), limit)
    ]


def evaluate(
    weights: Path,
    tokenizer: str,
    tasks: dict[str, list[Completion]],
    *,
    low: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Loss and share of right completions of each task; `low`: with products in bfloat16.

    Raises WeightsError, and ValueError for a wrong tokenizer.
    """
    model, _ = load_weights(weights)
    tokens = open_tokens(tokenizer)
    if tokens.size - len(getattr(tokens, "ADDED", ())) > model.config.vocab_size:
        raise ValueError(
            f"{weights} knows {model.config.vocab_size} tokens, {tokenizer} has {tokens.size}: take its own"
        )
    settings = {"weights": weights.name, "tokenizer": Path(tokenizer).name}
    report = Report("language", {**settings, "products": "bfloat16" if low else "float32"})
    total = sum(map(len, tasks.values()))
    done = 0
    for name, completions in tasks.items():
        losses, counts, right = measure(
            model, tokens, completions, low=low, say=lambda n, d=done: progress(d + n, total)
        )
        done += len(completions)
        report.mean(
            f"{name}, loss", [loss / count for loss, count in zip(losses, counts, strict=True)], "nats per token"
        )
        report.number(f"{name}, loss over all tokens", sum(losses) / max(1, sum(counts)), sum(counts), "nats per token")
        report.share(f"{name}, right", sum(right), len(right))
        if len(losses) < len(completions):
            report.settings[f"{name}, longer than {LONGEST} tokens"] = len(completions) - len(losses)
    return report


@torch.no_grad()
def measure(
    model: Transformer, tokens: Tokens, completions: Sequence[Completion], *, low: bool = False, say: object = None
) -> tuple[list[float], list[int], list[bool]]:
    """Per item that is short enough: summed loss, tokens, and whether all of them were the most likely ones."""
    documents = []
    for number, item in enumerate(completions):
        prompt, answer = [*tokens.begin, *tokens.text(item.prompt)], tokens.text(item.answer)
        if len(prompt) + len(answer) <= LONGEST:
            weights = [0.0] * len(prompt) + [1.0] * len(answer)
            documents.append(document([*prompt, *answer], weights, "item", number))
    batch = pack_all(documents, LONGEST, tokens.pad)
    if batch is None:
        return [], [], []
    objective = Objective(model)
    losses: dict[int, tuple[float, int, bool]] = {}
    device = model.embedding.weight.device
    for piece in micro_batches(batch, 1, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            figures = objective(piece)[1].double().cpu().numpy()
        for (_, number), (loss, right), count in zip(piece.origins, figures, np.rint(piece.shares_U), strict=True):
            losses[number] = float(loss), int(count), bool(right == count)
        if callable(say):
            say(len(losses))
    found = [losses[number] for number in sorted(losses)]
    return [loss for loss, _, _ in found], [count for _, count, _ in found], [right for _, _, right in found]


def _rows(path: Path, keys: Sequence[str], limit: int | None) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if limit is not None and len(rows) == limit:
            break
        try:
            row = json.loads(line)
            rows.append({key: str(row[key]) for key in keys})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: not a row with {', '.join(keys)} ({error!r})") from None
    if not rows:
        raise ValueError(f"{path} is empty")
    return rows
