"""`cwm train`: making a model. `cwm train CONFIG` runs; see below for the commands beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from opencwm.cli.errors import FAILED, Unusable

ABOUT = """Train a model: `cwm train CONFIG`. Stages (pre-training, mid-training, fine-tuning) are configurations.

A run that was stopped goes on where it was when the same command is given again. On several processes:
`torchrun --nproc-per-node N -m opencwm.cli train CONFIG`. See `cwm train CONFIG --help` for the options.
"""


Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value, as in --set run.steps=100.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the whole configuration.")]


class TrainCommands(TyperGroup):
    """`cwm train CONFIG` without naming the command that runs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def train(
    config: Annotated[Path, typer.Argument(help="A TOML file, such as configs/tiny.toml.", metavar="CONFIG")],
    overrides: Overrides = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Begin from a weights folder, a run, or one of its checkpoints."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print what the run will take: FLOPs, tokens, memory, CWM's rates.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="The plan's memory for so many processes.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The plan as JSON.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model: make or read documents, pack them, learn from them.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from opencwm.config import load, resolved
    from opencwm.train.settings import TrainConfig

    given = list(overrides or [])
    if start is not None:
        given.append(f"start.path={json.dumps(str(start))}")
    settings = load(TrainConfig, config, given)
    if dry_run:
        print(resolved(settings), end="")
        return
    with failing():
        if plan:
            from opencwm.train.plan import plan as reckon

            found = reckon(settings, processes)
            print(json.dumps(found.to_json(), indent=2) if as_json else found.table())
            return
        from opencwm.train.loop import train as run

        run(settings)


def policy(
    config: Annotated[Path, typer.Argument(help="A TOML file, such as configs/policy.toml.", metavar="CONFIG")],
    overrides: Overrides = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="A weights folder. Without it: the shipped model."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """A policy gradient: groups of the model's own rollouts, rewarded for each frame before the first error.

    One that was stopped goes on where it was when the same command is given again.
    """
    from opencwm.config import load, resolved
    from opencwm.train.policy import PolicyConfig
    from opencwm.train.policy import train as run

    given = list(overrides or [])
    if start is not None:
        given.append(f"start={json.dumps(str(start))}")
    settings = load(PolicyConfig, config, given)
    if dry_run:
        print(resolved(settings), end="")
        return
    with failing():
        run(settings, typer.echo)


def average(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs that began alike.", metavar="RUN...")],
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="The folder to write.")],
) -> None:
    """Average the last checkpoints of runs that began from the same one and saw different data.

    What is written can be begun from: `cwm train CONFIG --from FOLDER --set start.optimiser=carried`.
    """
    from opencwm.train.average import average as mean

    with failing():
        tokens = mean(runs, output, typer.echo)
    typer.echo(f"mean of {len(runs)} runs, {tokens:,} tokens together, written to {output}")


class Over(StrEnum):
    """What curves are drawn over."""

    step = "step"
    tokens = "tokens"


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    output: Annotated[Path, typer.Option("--output", metavar="FILE", help="The PNG to write.")] = Path("curves.png"),
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="NAME", help="What to draw, as it stands in log.jsonl: loss, sources/code/loss."),
    ] = None,
    over: Annotated[Over, typer.Option("--over", help="What runs to the right.")] = Over.step,
) -> None:
    """Draw the curves of runs as a picture: losses, held-out losses and speed, or what --key names."""
    from opencwm.train.plot import PlotError, draw

    try:
        draw(runs, output, keys or [], over.value)
    except PlotError as error:
        raise Unusable(str(error)) from None
    typer.echo(f"written to {output}")


@contextmanager
def failing() -> Iterator[None]:
    """A training run or its data that fail are one line and exit code 4."""
    from opencwm.train.checkpoint import CheckpointError
    from opencwm.train.data import DataError
    from opencwm.train.run import TrainingError
    from opencwm.train.state import StartError

    try:
        yield
    except (TrainingError, DataError, CheckpointError, StartError) as error:
        print(f"cwm: {error}", file=sys.stderr)
        raise typer.Exit(FAILED) from None
