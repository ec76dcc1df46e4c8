"""`cwm train --plan`: what a run will take, before anything starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from opencwm.config import ConfigError
from opencwm.model.config import ModelConfig, preset
from opencwm.train import flops
from opencwm.train.data import DataError
from opencwm.train.run import build_model
from opencwm.train.settings import TrainConfig
from opencwm.train.streams import open_training
from opencwm.train.text import open_tokens


@dataclass(frozen=True)
class Plan:
    """Figures of a run. `memory`: bytes per process, by use. `sources`: share of the tokens and epochs (files).

    `missing`: what of the data is not there (then nothing is known of the sources); empty if all is.
    """

    model: ModelConfig
    config: TrainConfig
    tokens: int
    flops: float
    memory: dict[str, float]
    sources: dict[str, dict[str, float]]
    missing: str = ""

    @property
    def scaling(self) -> dict[str, float]:
        """CWM's learning rate and batch for this budget."""
        return {"learning_rate": flops.learning_rate(self.flops), "batch_tokens": flops.batch_tokens(self.flops)}

    def to_json(self) -> dict[str, object]:
        return {
            "parameters": self.model.parameter_count(),
            "non_embedding": flops.non_embedding(self.model),
            "steps": self.config.run.steps,
            "tokens": self.tokens,
            "flops_per_token": self.flops / self.tokens,
            "flops": self.flops,
            "memory": self.memory,
            "scaling_law": self.scaling | {"fitted": list(flops.FITTED)},
            "sources": self.sources,
            "missing": self.missing,
        }

    def table(self) -> str:
        run, low, high = self.config.run, *flops.FITTED
        scaling, optimiser = self.scaling, self.config.optimiser
        outside = "" if low <= self.flops <= high else f", outside its fit of {low:g} to {high:g} FLOP"
        rates = f"{optimiser.learning_rate:g}"
        if optimiser.kind == "muon":
            rates += f", Muon {optimiser.muon_learning_rate:g}"
        rows = [
            (
                "parameters",
                f"{self.model.parameter_count():,} ({flops.non_embedding(self.model):,} without embeddings)",
            ),
            ("steps", f"{run.steps:,} of {run.tokens_per_batch:,} tokens"),
            ("tokens", f"{self.tokens:,} ({self.tokens / self.model.parameter_count():.1f} per parameter)"),
            ("FLOP", f"{self.flops:.3g} ({self.flops / self.tokens:.3g} per token)"),
            ("memory per process", "  ".join(f"{name} {_size(size)}" for name, size in self.memory.items())),
            ("learning rate", f"{rates}  (CWM's law: {scaling['learning_rate']:.2g}{outside})"),
            ("batch", f"{run.tokens_per_batch:,} tokens  (CWM's law: {scaling['batch_tokens']:,.0f})"),
        ]
        for name, figures in self.sources.items():
            epochs = f", {figures['epochs']:.2f} epochs" if "epochs" in figures else ""
            rows.append((f"source {name}", f"{figures['share']:.1%} of the tokens{epochs}"))
        if self.missing:
            rows.append(("not there yet", self.missing))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def plan(config: TrainConfig, processes: int = 1) -> Plan:
    """Reckon a run on `processes` processes. What it will need of files need not be there: the plan says so."""
    shares, unique, missing = {}, {}, ""
    try:
        opened = open_training(config.data)
    except DataError as error:
        vocabulary, missing = _vocabulary(config), str(error)
    else:
        vocabulary, shares, unique = opened.tokens.size, opened.mixture.shares, opened.unique
    with torch.device("meta"):
        model = build_model(config.model, vocabulary=vocabulary).config
    tokens = config.run.steps * config.run.tokens_per_batch
    context = config.data.sequence_length
    sources: dict[str, dict[str, float]] = {}
    for name, share in shares.items():
        sources[name] = {"share": share}
        if name in unique:
            sources[name]["epochs"] = share * tokens / unique[name]
    budget = tokens * flops.flops_per_token(model, context)
    return Plan(model, config, tokens, budget, memory(model, config, processes), sources, missing)


def _vocabulary(config: TrainConfig) -> int:
    """Tokens of the tokenizer, or of the preset where it is not there either. Raises ConfigError for no such preset."""
    try:
        return open_tokens(config.data.tokenizer).size
    except ValueError:
        pass
    try:
        return preset(config.model.preset).vocab_size
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None


def memory(model: ModelConfig, config: TrainConfig, processes: int) -> dict[str, float]:
    """Bytes per process of a run, by use: an estimate within some tens of percent.

    Weights, gradients and moments in float32, sharded over all processes; a bfloat16 copy of one layer's and the
    embeddings' weights where products are narrow. Activations: per token and layer what the backward pass keeps
    (about 18 widths and 3 feed-forward widths of numbers), or the layer's input alone if it is computed again; the
    logits of one micro-batch in float32, twice.
    """
    weights = model.parameter_count()
    moments = 1.5 if config.optimiser.kind == "muon" else 2.0
    narrow = config.parallel.precision in ("fastest", "bfloat16", "float8")
    number = 2 if narrow else 4
    tokens = config.micro_batch_tokens / (config.parallel.context * config.parallel.tensor)
    layer = 18 * model.dim + 3 * model.ffn_dim
    kept = model.layers * model.dim + layer if config.parallel.checkpoint_activations else model.layers * layer
    found = {
        "weights": 4 * weights / processes,
        "gradients": 4 * weights / processes,
        "moments": 4 * moments * weights / processes,
        "activations": tokens * kept * number,
        "logits": 2 * 4 * tokens * model.vocab_size,
    }
    if processes > 1:
        tables = model.vocab_size * model.dim * (1 if model.tie_embeddings else 2)
        found["gathered"] = 2 * number * (weights - tables) / model.layers + number * tables
    return found | {"all": math.fsum(found.values())}


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
