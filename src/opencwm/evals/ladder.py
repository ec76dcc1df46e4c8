"""`cwm ladder`: the recipe chosen by measurement. Many short runs that differ in one thing, on the same held-out runs.

Notable choices:
- An arm is the base with some values changed, and sees as many tokens. What it costs in processor time is told.
- Two figures that compare across codecs and models. *Nats per frame*: minus the logarithm of the probability of a whole
  true run, over its frames. *Next frame*: greedy among legal tokens, given the true past (compact codec alone).
- All arms are measured on the same runs, so differences from the base are paired, run by run; their intervals are over
  programs. Noise of training itself is shown by seeds of the base.
- Where a run holds sub-expression values, their tokens count in the nats: that arm says more, and pays for it.
- Arms that are done are not done again.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from opencwm.codec import compact
from opencwm.config import load
from opencwm.evals.frames import judge, true_past
from opencwm.evals.report import NORMAL, ratio
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights
from opencwm.programs.program import Program
from opencwm.programs.write import stream
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.train.data import Document, document
from opencwm.train.loop import train
from opencwm.train.loss import Objective, micro_batches
from opencwm.train.pack import pack_all
from opencwm.train.run import export
from opencwm.train.settings import TrainConfig
from opencwm.train.text import Bytes, Tokens, open_tokens
from opencwm.world.local import LocalWorld

LONGEST = 2048
"""Bytes of the longest run in CWM's format, which is some five times longer than the compact one."""


class UnknownArm(ValueError):
    """An arm was asked for that the file does not have."""


@dataclass(frozen=True)
class Rung:
    """`set`: values changed, as `--set` takes them, below `base`. `seeds`: of weights and data order, those of the
    ladder by default. `against`: the arm to compare with."""

    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    against: str = "base"


@dataclass(frozen=True)
class LadderConfig:
    """`base`: the training of every arm, where it says nothing else. `programs`: held-out runs to measure on, of which
    the first `next_frames` are also predicted frame by frame. `folder`: runs and figures."""

    base: TrainConfig = field(default_factory=TrainConfig)
    arms: dict[str, Rung] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    programs: int = 128
    next_frames: int = 64
    folder: Path = Path("runs/out/ladder")

    def __post_init__(self) -> None:
        for name, arm in self.arms.items():
            if arm.against not in self.arms:
                raise ValueError(f"arms.{name}.against: there is no arm {arm.against!r}")
        if not self.arms or not self.seeds:
            raise ValueError("give at least one arm and one seed")
        if self.programs < 2:
            raise ValueError("programs must be at least 2: an interval needs them")


@dataclass(frozen=True, slots=True)
class Measured:
    """One trained arm. Per held-out run: nats of its tokens, frames, tokens; per run that was predicted: right, all."""

    arm: str
    seed: int
    parameters: int
    tokens: int
    seconds: float
    """Of processor time, for training."""
    runs: list[tuple[float, int, int]]
    frames: list[tuple[int, int]]

    @property
    def nats(self) -> float:
        """Per frame."""
        return sum(nats for nats, _, _ in self.runs) / sum(frames for _, frames, _ in self.runs)

    @property
    def length(self) -> float:
        """Tokens per frame."""
        return sum(tokens for _, _, tokens in self.runs) / sum(frames for _, frames, _ in self.runs)

    def nats_interval(self) -> float:
        """Half of the 95 % interval of `nats`, over programs."""
        return _half([(nats, frames) for nats, frames, _ in self.runs])

    def against(self, other: Measured) -> tuple[float, float]:
        """Nats per frame more than another arm, paired by run, and half of the 95 % interval."""
        pairs = [(a[0] - b[0], a[1]) for a, b in zip(self.runs, other.runs, strict=True)]
        return self.nats - other.nats, _half(pairs)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Measured:
        runs = [(float(a), int(b), int(c)) for a, b, c in record["runs"]]
        return cls(**record | {"runs": runs, "frames": [(int(a), int(b)) for a, b in record["frames"]]})


def ladder(
    path: Path, overrides: Sequence[str] = (), only: Sequence[str] = (), say: Callable[[str], None] = lambda text: None
) -> list[Measured]:
    """Train and measure the arms of a file, or those named. Raises UnknownArm, ConfigError, what training raises."""
    config = load(LadderConfig, path, overrides)
    unknown = [name for name in only if name not in config.arms]
    if unknown:
        raise UnknownArm(f"{path} has no arm {unknown[0]!r}: it has {', '.join(config.arms)}")
    found: list[Measured] = []
    held_out: list[tuple[Program, Trace]] = []
    for name, arm in config.arms.items():
        if only and name not in only:
            continue
        given = [*overrides, *(f"base.{value}" for value in arm.set)]
        for seed in arm.seeds or config.seeds:
            folder = config.folder / f"{name}-{seed}"
            seeded = [f"base.data.seed={seed}", f"base.run.seed={seed}", f"base.run.folder={json.dumps(str(folder))}"]
            base = load(LadderConfig, path, [*given, *seeded]).base
            done = folder / "figures.json"
            if not done.exists():
                say(f"arm {name}, seed {seed}")
                held_out = held_out or list(islice(runs(), config.programs))
                made = _measured(name, seed, base, held_out, config.next_frames)
                done.write_text(json.dumps(made.to_json()) + "\n", encoding="utf-8")
            found.append(Measured.from_json(json.loads(done.read_text(encoding="utf-8"))))
    return found


def runs() -> Iterator[tuple[Program, Trace]]:
    """Held-out programs with their runs (with sub-expression values), without those longer than `LONGEST`."""
    tokens = Bytes()
    for _, program in stream(0, namespace="held-out"):
        trace = record(program, limits=Limits(frames=256), steps=True)
        if len(tokens.trace(trace, LONGEST, None)[0][0]) <= LONGEST:
            yield program, trace


def _measured(
    name: str, seed: int, base: TrainConfig, held_out: list[tuple[Program, Trace]], next_frames: int
) -> Measured:
    started = time.process_time()
    progress = train(base)
    seconds = time.process_time() - started
    if progress.step < base.run.steps:  # asked to stop; the same command goes on
        raise KeyboardInterrupt
    weights = base.run.folder / "weights"
    export(base.run.folder, weights, dtype="float32", layout="opencwm")
    model, _ = load_weights(weights)
    tokens, steps = open_tokens(base.data.tokenizer), with_steps(base)
    measured = nats_of(model, tokens, [trace if steps else _plain(trace) for _, trace in held_out], base)
    frames: list[tuple[int, int]] = []
    if tokens.name == "compact":
        torch.set_num_threads(base.run.threads or 1)
        world = LocalWorld(model, max_tokens=max(1024, 2 * base.data.sequence_length))
        for program, trace in held_out[:next_frames]:
            given = trace if steps else _plain(trace)
            guesses = true_past(world, program, given)
            right = [judge(real, guess).right for real, guess in zip(given.frames, guesses, strict=False)]
            frames.append((sum(right), len(given.frames)))
    count = model.config.parameter_count()
    return Measured(name, seed, count, progress.tokens, seconds, measured, frames)


def with_steps(base: TrainConfig) -> bool:
    """Whether the runs that a training makes hold sub-expression values."""
    mixes = [one.mix for one in base.data.sources.values() if one.kind == "mix"]
    if mixes:
        return all(mix is None or mix.steps for mix in mixes)
    return all(one.steps for one in base.data.sources.values())


def _plain(trace: Trace) -> Trace:
    return replace(trace, frames=tuple(replace(frame, steps=()) for frame in trace.frames))


@torch.no_grad()
def nats_of(
    model: Transformer, tokens: Tokens, traces: Sequence[Trace], base: TrainConfig
) -> list[tuple[float, int, int]]:
    """Per run: nats of its predicted tokens, its frames, the number of these tokens.

    A compact run longer than the training's windows is measured in windows, as the model has learnt it.
    """
    documents: list[Document] = []
    room = LONGEST
    for number, trace in enumerate(traces):
        if tokens.name == "compact":
            windows = compact.windows(trace, max_tokens=base.data.sequence_length)
            whole = windows and windows[-1].stop == len(trace.frames)
            found = [(w.ids, w.weights) for w in (windows if whole else [compact.encode(trace)])]
        else:
            found = tokens.trace(trace, room, None)
        documents += [document(ids, weights, "run", number) for ids, weights in found]
    losses, counts = np.zeros(len(traces)), np.zeros(len(traces))
    batch = pack_all(documents, room, tokens.pad)
    assert batch is not None
    objective = Objective(model)
    for piece in micro_batches(batch, 1, model.embedding.weight.device):
        figures = objective(piece)[1].double().cpu().numpy()
        for (_, number), (loss, _), count in zip(piece.origins, figures, piece.shares_U, strict=True):
            losses[number] += loss
            counts[number] += round(count)
    return [(float(losses[n]), len(trace.frames), int(counts[n])) for n, trace in enumerate(traces)]


def table(config: LadderConfig, found: Sequence[Measured], command: str) -> str:
    """Markdown: an arm and seed per line, with figures, the difference from what it is compared with, its command."""
    by_name: dict[str, list[Measured]] = {}
    for one in found:
        by_name.setdefault(one.arm, []).append(one)
    lines = [
        "| arm | seed | parameters | tokens a frame | training | nats per frame | next frame | against | command |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, seeds in by_name.items():
        others = by_name.get(config.arms[name].against, []) if config.arms[name].against != name else []
        for one in seeds:
            right, low, high = ratio(one.frames)
            shown = "" if right is None or low is None or high is None else f"{right:.1%} ({low:.1%} to {high:.1%})"
            change = ""
            if others:
                same = next((other for other in others if other.seed == one.seed), others[0])
                more, half = one.against(same)
                change = f"{same.arm}: {more:+.3f} ± {half:.3f}"
            lines.append(
                f"| {name} | {one.seed} | {one.parameters / 1e6:.2f}M | {one.length:.1f} | {one.seconds:.0f} s "
                f"| {one.nats:.3f} ± {one.nats_interval():.3f} | {shown} | {change} | `{command} --only {name}` |"
            )
    return "\n".join(lines) + "\n"


def _half(pairs: Sequence[tuple[float, int]]) -> float:
    """Half of the 95 % interval of a ratio of sums over clusters."""
    total = sum(n for _, n in pairs)
    share = sum(value for value, _ in pairs) / total
    residuals = [value - share * n for value, n in pairs]
    return NORMAL * math.sqrt(statistics.fmean(r * r for r in residuals) * len(pairs) ** 2 / (len(pairs) - 1)) / total
