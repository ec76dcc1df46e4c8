"""`cwm ablate`: what each kind of data adds to a model. `cwm ladder`: what each choice of the recipe does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress
from opencwm.cli.training import failing


def ablate(
    config: Annotated[Path, typer.Argument(help="A TOML file with arms and the training of each.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Train and measure every arm with every seed; a table with intervals beside CWM's published one, and a plot.

    Runs that are done are not done again: the same command goes on where it was.
    """
    from opencwm.config import load
    from opencwm.evals.ablation import AblationConfig, draw
    from opencwm.evals.ablation import ablate as run

    settings = load(AblationConfig, config, overrides or [])
    with failing(), progress("training") as say:
        result = run(settings, say)
    print(json.dumps(result.to_json(), indent=2) if as_json else result.table(), end="" if not as_json else "\n")
    try:
        draw(result, settings.folder / "ablation.png")
    except ImportError:
        typer.echo('no plot: pip install "opencwm[evals]"', err=True)
    else:
        typer.echo(f"plot: {settings.folder / 'ablation.png'}", err=True)


def ladder(
    config: Annotated[Path, typer.Argument(help="A TOML file with arms and the training of each.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ARM", help="This arm alone; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit", metavar="FILE", help="Fit nats over parameters and tokens to the arms; draw it as a PNG."
        ),
    ] = None,
    forecasts: Annotated[
        list[str] | None,
        typer.Option("--forecast", metavar="N,D", help="With --fit: what N parameters and D tokens should give."),
    ] = None,
) -> None:
    """Train and measure short runs that differ in one choice each; a table with intervals, and each line's command.

    Runs that are done are not done again: the same command goes on where it was.
    """
    from opencwm.config import load
    from opencwm.evals import ladder as rungs
    from opencwm.evals import scaling

    wanted = [_pair(text) for text in forecasts or []]
    if wanted and fit is None:
        raise Unusable("--forecast needs a curve: give --fit FILE too")

    settings = load(rungs.LadderConfig, config, overrides or [])
    try:
        with failing(), progress("training") as say:
            found = rungs.ladder(config, overrides or [], only or [], say)
    except rungs.UnknownArm as error:
        raise Unusable(str(error)) from None
    changes = "".join(f" --set {value}" for value in overrides or [])
    arms = [one.to_json() for one in found]
    if not as_json:
        print(rungs.table(settings, found, f"cwm ladder {config}{changes}"), end="")
    elif fit is None:
        print(json.dumps(arms))
    if fit is None:
        return
    try:
        fitted = scaling.scaling(found, wanted)
        scaling.draw(found, fitted.curve, fit)
    except ImportError:
        raise Unusable('drawing needs matplotlib: pip install "opencwm[evals]"') from None
    except ValueError as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        raise Unusable(f"cannot write {fit}: {error.strerror}") from None
    print(json.dumps({"arms": arms, "scaling": fitted.to_json()}) if as_json else "\n" + fitted.table().rstrip())


def _pair(text: str) -> tuple[float, float]:
    """`60e6,3e9` as two positive numbers."""
    try:
        parameters, tokens = map(float, text.split(","))
    except ValueError:
        raise Unusable(f"--forecast {text}: give parameters and tokens, as in 60e6,3e9") from None
    if not parameters > 0 or not tokens > 0:
        raise Unusable(f"--forecast {text}: both numbers must be above 0")
    return parameters, tokens
