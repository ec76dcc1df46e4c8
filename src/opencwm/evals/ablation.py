"""`cwm ablate`: what each kind of data adds. The same training for every arm and seed, with other shares of sources.

Notable choices:
- An arm is a set of shares; steps, batches, model and held-out data are the same in all. What an arm lacks in one kind,
  it has more of the others: all see as many tokens.
- A figure of an arm is the mean over seeds (initial weights and data order) with Student's 95 % interval. The published
  table (CWM, 8B, one run per arm) has none. What all are measured on is the same for every seed.
- A loss is over all held-out tokens of its kind together; next frames are over all frames of their programs.
- A model that has seen no runs ends neither values nor frames: a budget of tokens bounds what is waited for.
- An arm whose files are absent is told and left out. Runs that are done are not done again.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from opencwm.config import ConfigError
from opencwm.train.data import DataError
from opencwm.train.files import ShardError, find
from opencwm.train.run import identity
from opencwm.train.settings import TrainConfig
from opencwm.train.streams import open_held_out

PUBLISHED = {
    "none": {"crux output": 0.454, "crux input": 0.441, "pulls, loss": 0.64, "agents, loss": 0.39},
    "pulls": {"crux output": 0.446, "crux input": 0.458, "pulls, loss": 0.55, "agents, loss": 0.37},
    "traces": {"crux output": 0.739, "crux input": 0.515, "pulls, loss": 0.54, "agents, loss": 0.38},
    "agents": {"crux output": 0.745, "crux input": 0.548, "pulls, loss": 0.54, "agents, loss": 0.29},
}
"""CWM's report, table 4: 8B, SWE-bench Verified for the losses. Each arm adds its kind to those before it."""
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Two-sided 95 % points of Student's distribution, by degrees of freedom."""


@dataclass(frozen=True)
class Arm:
    """Shares of the tokens, by names of `base.data.sources`; the sources that are not named are left out."""

    shares: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.shares or not any(self.shares.values()):
            raise ValueError("shares: give at least one source a share above 0")


@dataclass(frozen=True)
class AblationConfig:
    """`base`: the training of every arm. `crux`: a file in CRUXEval's layout to predict outputs and inputs of, of which
    `crux_limit` programs are taken; None leaves it out. `frames_limit`: held-out programs of which every next frame is
    predicted, given those before it; 0 for none. `run_tokens`, `frame_tokens`: those after which a predicted run, and a
    frame of it that is not complete, are given up. `folder`: runs, results and the plot."""

    base: TrainConfig = field(default_factory=TrainConfig)
    arms: dict[str, Arm] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    crux: Path | None = None
    crux_limit: int = 40
    frames_limit: int = 40
    run_tokens: int = 512
    frame_tokens: int = 128
    folder: Path = Path("runs/out/ablation")

    def __post_init__(self) -> None:
        for name, arm in self.arms.items():
            unknown = arm.shares.keys() - self.base.data.sources.keys()
            if unknown:
                raise ValueError(f"arms.{name}: base.data.sources has no {sorted(unknown)[0]}")
        if not self.arms or not self.seeds:
            raise ValueError("give at least one arm and one seed")
        if min(self.run_tokens, self.frame_tokens) < 1:
            raise ValueError("run_tokens and frame_tokens must be at least 1")

    def items(self) -> dict[str, object]:
        """What a run's figures are of, besides its training."""
        crux = {"crux": self.crux.name, "crux_limit": self.crux_limit} if self.crux is not None else {}
        budget = {"run_tokens": self.run_tokens, "frame_tokens": self.frame_tokens}
        return {"held_out": self.base.run.eval_programs, "frames": self.frames_limit, **crux, **budget}

    def about(self) -> list[str]:
        """What the figures are of, in sentences."""
        run = self.base.run
        told = [
            f"{len(self.seeds)} seeds of initial weights and data order, {run.steps} steps of {run.tokens_per_batch:,} "
            f"tokens; means, and halves of Student's 95 % intervals over seeds; all measured on the same items.",
            f"loss: nats per predicted token of {run.eval_programs} held-out items.",
        ]
        if self.frames_limit:
            told.append(f"next frames: all of {self.frames_limit} held-out programs, each with its true past.")
        if self.crux is not None:
            told.append(
                f"crux: the first {self.crux_limit} programs of {self.crux.name}, one greedy run or answer each."
            )
        if self.frames_limit or self.crux is not None:
            told.append(f"given up: a run after {self.run_tokens:,} tokens, a frame after {self.frame_tokens:,}.")
        return told


@dataclass(frozen=True)
class Result:
    """Figures by arm, metric and seed, and the arms that were left out with the reason."""

    figures: dict[str, dict[str, list[float]]]
    absent: dict[str, str]
    about: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(metric for arm in self.figures.values() for metric in arm))

    def to_json(self) -> dict[str, object]:
        arms = {arm: {metric: interval(v) for metric, v in found.items()} for arm, found in self.figures.items()}
        about = {"about": self.about, "absent": self.absent, "published (8B)": PUBLISHED}
        return {"arms": arms, "seeds": self.figures, **about}

    def table(self) -> str:
        """Ours above, mean and half of the interval; the published table below."""
        ours = [["arm", *self.metrics]]
        for arm, found in self.figures.items():
            ours.append([arm, *(shown(metric, found.get(metric)) for metric in self.metrics)])
        heads = list(dict.fromkeys(metric for row in PUBLISHED.values() for metric in row))
        theirs = [["published, 8B", *heads]]
        theirs += [[arm, *(shown(m, [row[m]]) for m in heads)] for arm, row in PUBLISHED.items()]
        lines = [
            *aligned(ours),
            *(f"left out: {arm} ({why})" for arm, why in self.absent.items()),
            *self.about,
            "",
            *aligned(theirs),
        ]
        return "\n".join(lines) + "\n"


def ablate(config: AblationConfig, say: Callable[[str], None] = lambda text: None) -> Result:
    """Train and measure all arms with all seeds. Raises what training raises."""
    figures: dict[str, dict[str, list[float]]] = {}
    absent: dict[str, str] = {}
    for name, arm in config.arms.items():
        lacking = missing(config, arm)
        if lacking:
            absent[name] = lacking
            say(f"arm {name} is left out: {lacking}")
            continue
        for seed in config.seeds:
            say(f"arm {name}, seed {seed}")
            for metric, value in measured(config, name, arm, seed).items():
                figures.setdefault(name, {}).setdefault(metric, []).append(value)
    if not figures:
        raise DataError("no arm has its data: see what was left out, and build it first")
    result = Result(figures, absent, config.about())
    config.folder.mkdir(parents=True, exist_ok=True)
    (config.folder / "result.json").write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    return result


def missing(config: AblationConfig, arm: Arm) -> str:
    """What an arm's sources lack; empty if they are all there."""
    for name, share in arm.shares.items():
        source = config.base.data.sources[name]
        try:
            if share and source.paths:
                find(source.paths)
        except ShardError as error:
            return f"{name}: {error}"
    return ""


def measured(config: AblationConfig, name: str, arm: Arm, seed: int) -> dict[str, float]:
    """The figures of one run, which is trained unless it is done."""
    from opencwm.train.loop import train
    from opencwm.train.meter import read_log

    folder = config.folder / f"{name}-{seed}"
    done = folder / "figures.json"
    run = arm_config(config.base, arm, seed, folder)
    of = json.loads(json.dumps({"training": identity(run), "steps": run.run.steps, **config.items()}))
    if done.exists():
        kept = json.loads(done.read_text(encoding="utf-8"))
        if kept["of"] == of:
            return {str(metric): float(value) for metric, value in kept["figures"].items()}
    progress = train(run, held_out_mixture=open_held_out(config.base.data))
    if progress.step < run.run.steps:  # asked to stop; the same command goes on
        raise KeyboardInterrupt
    held_out = [record for record in read_log(folder) if "held_out_sources" in record][-1]["held_out_sources"]
    figures = held_out_figures(held_out) | asked(config, folder)
    done.write_text(json.dumps({"of": of, "figures": figures}) + "\n", encoding="utf-8")
    return figures


def held_out_figures(sources: dict[str, dict[str, float]]) -> dict[str, float]:
    """Nats per token, and share of right tokens, by kind: the part of a source's name before the slash. A source counts
    by its tokens."""
    found: dict[str, float] = {}
    for kind in dict.fromkeys(source.partition("/")[0] for source in sources):
        own = [values for source, values in sources.items() if source.partition("/")[0] == kind]
        tokens = sum(values["tokens"] for values in own)
        for name, key in (("loss", "loss"), ("tokens right", "accuracy")):
            found[f"{kind}, {name}"] = sum(values[key] * values["tokens"] for values in own) / tokens
    return found


def asked(config: AblationConfig, folder: Path) -> dict[str, float]:
    """What a run's last weights answer: outputs and inputs of CRUXEval's programs, and next frames."""
    from opencwm.evals import crux, crux_input, frames
    from opencwm.train.run import export
    from opencwm.world.local import LocalWorld

    weights, found = folder / "weights", dict[str, float]()
    if config.frames_limit or config.crux is not None:
        export(folder, weights, layout="opencwm")
        world = LocalWorld.load(weights)
        world.patience = config.frame_tokens
    if config.frames_limit:
        runs = frames.real_runs(None, limit=config.frames_limit)
        judged = [frame for run in runs for frame in frames.judged_frames(world, *run)]
        found["next frames"] = statistics.fmean(frame.right for frame in judged)
    if config.crux is not None:
        limit, tokens = config.crux_limit, config.run_tokens
        outputs = crux.evaluate(config.crux, limit=limit, world=world, weights=weights, most_tokens=tokens)
        found["crux output"] = outputs["strict"].value or 0.0
        inputs = crux_input.evaluate(config.crux, limit=limit, weights=weights)
        found["crux input"] = inputs["right by running"].value or 0.0
    return found


def arm_config(base: TrainConfig, arm: Arm, seed: int, folder: Path) -> TrainConfig:
    """The training of one arm and seed. Raises ConfigError if held-out data would follow from the arm's sources."""
    if not base.data.held_out:
        raise ConfigError("base.data.held_out: name what all arms are measured on")
    sources = {
        name: replace(base.data.sources[name], share=share, epochs=0.0, group="")
        for name, share in arm.shares.items()
        if share
    }
    data = replace(base.data, sources=sources, groups={}, seed=base.data.seed + seed)
    return replace(base, data=data, run=replace(base.run, folder=folder, seed=base.run.seed + seed))


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half of Student's 95 % interval (None for one value)."""
    centre = statistics.fmean(values)
    if len(values) < 2:
        return centre, None
    point = STUDENT.get(len(values) - 1, 1.96)
    return centre, point * statistics.stdev(values) / math.sqrt(len(values))


def shown(metric: str, values: Sequence[float] | None) -> str:
    if not values:
        return "-"
    centre, half = interval(values)
    if metric.endswith("loss"):
        return f"{centre:.3f}" + ("" if half is None else f" ± {half:.3f}")
    return f"{100 * centre:.1f} %" + ("" if half is None else f" ± {100 * half:.1f}")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows]  # fmt: skip


def draw(result: Result, output: Path) -> None:
    """Our figures with their intervals, a panel per metric, the published ones beside them as open circles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metrics = result.metrics
    figure, panels = pyplot.subplots(1, len(metrics), figsize=(3.4 * len(metrics), 3.4), squeeze=False)
    for panel, metric in zip(panels.flat, metrics, strict=True):
        arms = [arm for arm in result.figures if metric in result.figures[arm]]
        pairs = [interval(result.figures[arm][metric]) for arm in arms]
        panel.errorbar(arms, [c for c, _ in pairs], [h or 0 for _, h in pairs], fmt="o", capsize=4, label="ours")
        published = [(arm, PUBLISHED[arm][metric]) for arm in arms if metric in PUBLISHED.get(arm, {})]
        if published:
            panel.plot(*zip(*published, strict=True), "o", fillstyle="none", label="CWM, 8B")
        panel.set_title(metric, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=7)
    figure.tight_layout()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)
    pyplot.close(figure)
