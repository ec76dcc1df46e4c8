"""`cwm train policy`: a short policy gradient on predicted runs, rewarded step by step.

    for each update: groups of rollouts (`rollouts.py`) -> advantages -> one step up  sum of A * log p(token | legal)

Notable choices:
- On policy: each update draws anew from the weights as they are, so there are no ratios, no clipping and no reference
  model. `drift` in the log is how far the learner's log-probabilities are from those of the drawing engine.
- Advantages are divided by their root mean square in the update, and the sum by the number of choices, so the learning
  rate means the same whatever the rewards are.
- A group whose rollouts all fare alike gives no gradient; `moving` in the log is the share of those that do.
- A run that was stopped goes on from its last checkpoint (weights, moments, place in the stream), and its log with it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opencwm.config import resolved
from opencwm.model.engine import Engine
from opencwm.model.transformer import Transformer
from opencwm.model.weights import WeightsError, read_config, save_weights
from opencwm.programs.mix import Mix, MixConfig
from opencwm.train import checkpoint, state
from opencwm.train.data_settings import check
from opencwm.train.optim import Optimiser, schedule
from opencwm.train.rollouts import Drawn, groups, programs
from opencwm.train.run import CHECKPOINTS, CONFIG_FILE, TrainingError
from opencwm.train.settings import ExportSettings, OptimiserSettings
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import WorldError

LOG = "policy.jsonl"
_SAME = ("mix", "start", "first", "programs", "group", "temperature", "bonus", "seed")
"""What a run that goes on must have as it was."""
_ROW_TOKENS = 4096
"""Tokens of one forward pass, padding included."""


def _gentle() -> OptimiserSettings:
    return OptimiserSettings(
        kind="adamw", learning_rate=3e-5, schedule="constant", warmup_steps=5, weight_decay=0.0, clip=1.0
    )


@dataclass(frozen=True)
class PolicyConfig:
    """`updates` of `programs` programs from number `first` of the mix on, `group` rollouts of each.

    `bonus`: reward for a run that is right to its end, beside 1 for all its frames together. `start`: a weights folder
    (None: the shipped ones). `threads`: of torch on the CPU, 0 for its default.
    """

    mix: MixConfig = field(default_factory=MixConfig)
    optimiser: OptimiserSettings = field(default_factory=_gentle)
    export: ExportSettings = field(default_factory=ExportSettings)
    start: Path | None = None
    folder: Path = Path("runs/out/policy")
    updates: int = 40
    programs: int = 16
    first: int = 2_000_000
    group: int = 8
    temperature: float = 1.0
    bonus: float = 0.5
    checkpoint_every: int = 10
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        check(self.group >= 2, "group must be at least 2: rollouts are judged by each other")
        check(min(self.updates, self.programs, self.checkpoint_every) >= 1, "updates and programs must be at least 1")
        check(self.temperature > 0, "temperature must be above 0: rollouts are drawn")
        check(self.mix.steps, "mix.steps must be true: the model writes them")


def train(config: PolicyConfig, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Run, or go on with, a policy gradient; returns what it logged in this process. Raises TrainingError."""
    if config.threads:
        torch.set_num_threads(config.threads)
    model, info = _model(config)
    optimiser = Optimiser(model, config.optimiser)
    config.folder.mkdir(parents=True, exist_ok=True)
    saved = checkpoint.load(config.folder / CHECKPOINTS, say)
    done, index = 0, config.first
    ours = {name: str(getattr(config, name)) for name in _SAME}
    if saved is not None:
        changed = next((name for name in _SAME if saved.info["identity"][name] != ours[name]), None)
        if changed is not None:
            raise TrainingError(f"{config.folder} holds a run with another {changed}: choose another folder")
        state.read_model(saved, model, optimiser)
        done, index = saved.step, int(saved.info["index"])
        say(f"resuming {config.folder} after update {done}")
    (config.folder / CONFIG_FILE).write_text(resolved(config), encoding="utf-8")
    log = config.folder / LOG
    kept = log.read_text(encoding="utf-8").splitlines(keepends=True)[:done] if log.exists() else []
    log.write_text("".join(kept), encoding="utf-8")
    room = config.mix.sequence_length
    mix = Mix(config.mix)
    mix.prepare()
    stream = programs(mix, index, room)
    logged: list[dict[str, Any]] = []
    with checkpoint.Checkpointer(config.folder / CHECKPOINTS, keep=2) as saves:
        for update in range(done, config.updates):
            started = time.monotonic()
            taken = [next(stream) for _ in range(config.programs)]
            engine = Engine(model.eval(), max_tokens=room, max_batch=min(64, config.programs * config.group))
            made = groups(
                engine,
                [(program, trace) for _, program, trace in taken],
                group=config.group,
                bonus=config.bonus,
                temperature=config.temperature,
                room=room,
                seed=hash((config.seed, update)),
            )
            drift = improve(model, made, config.temperature)
            norm = float(optimiser.step(schedule(update, config.updates, config.optimiser)))
            if not math.isfinite(norm):
                raise TrainingError(f"update {update + 1} gave a gradient norm of {norm}: lower the learning rate")
            frames = [len(trace.frames) for _, _, trace in taken]
            figures = _figures(made, frames, config.bonus) | {
                "update": update + 1,
                "gradient_norm": norm,
                "drift": drift,
                "seconds": time.monotonic() - started,
            }
            logged.append(figures)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")
            say(
                f"update {update + 1}/{config.updates}  reward {figures['reward']:.3f}  right {figures['right']:.1%} "
                f"of frames  whole runs {figures['whole']:.1%}  {figures['seconds']:.0f} s"
            )
            if (update + 1) % config.checkpoint_every == 0 or update + 1 == config.updates:
                tensors = state.tensors(model, optimiser)
                saves.save(update + 1, tensors, {}, {"index": taken[-1][0], "identity": ours})
        saves.wait()
    if config.export.folder is not None:
        told = {"updates": config.updates, "programs": config.programs, "group": config.group}
        dtype = getattr(torch, config.export.dtype)
        save_weights(config.export.folder, model, info | {"policy": told}, dtype=dtype)
        say(f"weights written to {config.export.folder}")
    return logged


def improve(model: Transformer, made: Sequence[Sequence[Drawn]], temperature: float) -> float:
    """Gradients of the update, into the model. Returns the drift: the mean distance of log-probabilities (nats)."""
    rollouts = [one for group in made for one in group]
    weights = [[one.advantages[choice.frame] for choice in one.choices] for one in rollouts]
    flat = [weight for each in weights for weight in each]
    scale = math.sqrt(sum(weight * weight for weight in flat) / max(1, len(flat))) or 1.0
    drift = 0.0
    order = sorted(range(len(rollouts)), key=lambda number: len(rollouts[number].ids))
    pending: list[int] = []
    for number in [*order, -1]:
        longest = len(rollouts[number].ids) if number >= 0 else 0
        if pending and (number < 0 or longest * (len(pending) + 1) > _ROW_TOKENS):
            chosen = [rollouts[n] for n in pending]
            logprobs_N = _logprobs(model, chosen, temperature)
            drawn_N = torch.tensor([value for one in chosen for value in one.logprobs], device=logprobs_N.device)
            advantages_N = logprobs_N.new_tensor([weight for n in pending for weight in weights[n]])
            loss = -(logprobs_N * advantages_N).sum() / (scale * max(1, len(flat)))
            torch.autograd.backward(loss)
            drift += float((logprobs_N.detach() - drawn_N).abs().sum())
            pending = []
        if number >= 0 and rollouts[number].choices:
            pending.append(number)
    return drift / max(1, len(flat))


def _logprobs(model: Transformer, rollouts: Sequence[Drawn], temperature: float) -> Tensor:
    """Of each choice of each rollout, in order, among its legal tokens: (N,)."""
    device = model.embedding.weight.device
    longest = max(len(one.ids) for one in rollouts)
    tokens_BT = torch.zeros(len(rollouts), longest, dtype=torch.int64)
    documents_BT = torch.full((len(rollouts), longest), -1, dtype=torch.int64)
    places: list[int] = []
    targets: list[int] = []
    rows: list[int] = []
    legal: list[int] = []
    for row, one in enumerate(rollouts):
        tokens_BT[row, : len(one.ids)] = torch.tensor(one.ids)
        documents_BT[row, : len(one.ids)] = 0
        for choice in one.choices:
            rows += [len(places)] * len(choice.legal)
            legal += choice.legal
            places.append(row * longest + choice.place - 1)  # a token is predicted from the one before it
            targets.append(one.ids[choice.place])
    hidden_NC = model.hidden(
        tokens_BT.to(device), documents_BT=documents_BT.to(device), places_N=torch.tensor(places, device=device)
    )
    logits_NV = model.logits(hidden_NC).float() / temperature
    illegal_NV = torch.ones_like(logits_NV, dtype=torch.bool)
    illegal_NV[torch.tensor(rows, device=device), torch.tensor(legal, device=device)] = False
    logprobs_NV = logits_NV.masked_fill(illegal_NV, -math.inf).log_softmax(1)
    return logprobs_NV.gather(1, torch.tensor(targets, device=device).unsqueeze(1)).squeeze(1)


def _figures(made: Sequence[Sequence[Drawn]], frames: Sequence[int], bonus: float) -> dict[str, float]:
    """Means over rollouts: reward, share of frames before the first error, runs that are right throughout."""
    each = [(one, of) for group, of in zip(made, frames, strict=True) for one in group]
    return {
        "reward": sum(one.reward(of, bonus) for one, of in each) / len(each),
        "right": sum(min(one.right, of) / of for one, of in each) / len(each),
        "whole": sum(one.whole for one, _ in each) / len(each),
        "moving": sum(any(a for one in group for a in one.advantages) for group in made) / len(made),
        "choices": float(sum(len(one.choices) for one, _ in each)),
    }


def _model(config: PolicyConfig) -> tuple[Transformer, dict[str, Any]]:
    """A model of compact traces, with its `info`. Raises TrainingError."""
    folder = config.start or SHIPPED
    try:
        return LocalWorld.load(folder, threads=None).model, read_config(folder)[1]
    except (WeightsError, WorldError) as error:
        raise TrainingError(f"start: {error}") from None
