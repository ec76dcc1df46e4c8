"""`cwm eval` and `cwm data sizes`: measuring a model, and how long a run is in each format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress

if TYPE_CHECKING:
    from opencwm.codec.llama3 import Tokenizer
    from opencwm.evals.crux import CruxItem

LAYOUT = 'JSON lines with "code" (a function f), "input" and "output", as CRUXEval has them.'

Data = Annotated[Path, typer.Option("--data", metavar="FILE", help=LAYOUT)]
DataOrNone = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help=LAYOUT + " Without it: written programs, held out from training."),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N programs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FOLDER", help="The model's folder. Without it: the shipped model.")
]
Vote = Annotated[
    int, typer.Option("--vote", metavar="N", min=0, help="Let N rollouts vote, the first greedy. 0: one greedy run.")
]

Alone = Annotated[
    bool, typer.Option("--alone", help="The model writes every value itself, also what can only be a copy.")
]


class Report(Protocol):
    """What an evaluation gives: its figures as data and as text."""

    def to_json(self) -> dict[str, object]: ...

    def table(self) -> str: ...


def frames(
    data: DataOrNone = None,
    limit: Limit = None,
    as_json: Json = False,
    weights: Weights = None,
    rename: Annotated[
        bool, typer.Option("--renamed", help="Give variables names without meaning first: what of it was memory?")
    ] = False,
    alone: Alone = False,
) -> None:
    """Next-frame accuracy with the true past, and frames until the first error when running free."""
    from opencwm.evals.frames import evaluate

    if data is not None:
        load_crux(data, limit)
    with progress("loading the model") as say:
        counting = _counting("predicting", say)
        report = evaluate(data, limit=limit, weights=weights, rename=rename, alone=alone, progress=counting)
    _print(report, as_json)


def crux(
    data: Data,
    limit: Limit = None,
    inputs: Annotated[
        bool, typer.Option("--input", help="The input task instead: arguments that give the output.")
    ] = False,
    as_json: Json = False,
    weights: Weights = None,
    vote: Vote = 0,
    alone: Alone = False,
) -> None:
    """Output accuracy: one greedy predicted run per program, or a vote of several; no interpreter in the loop."""
    from opencwm.evals import crux as outputs
    from opencwm.evals import crux_input

    if inputs and (vote or alone):
        raise Unusable("--vote and --alone are for outputs: leave out --input, or these")

    load_crux(data, limit)
    with progress("loading the model") as say:
        counting = _counting("predicting", say)
        if inputs:
            report = crux_input.evaluate(data, limit=limit, weights=weights, progress=counting)
        else:
            report = outputs.evaluate(data, limit=limit, weights=weights, vote=vote, alone=alone, progress=counting)
    _print(report, as_json)


def calibration(
    data: DataOrNone = None,
    limit: Limit = None,
    as_json: Json = False,
    weights: Weights = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit it first, and keep it beside the weights.")] = False,
    fit_programs: Annotated[
        int, typer.Option("--fit-programs", metavar="N", min=1, help="Held-out programs to fit on.")
    ] = 400,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the reliability as a PNG.")] = None,
) -> None:
    """How far what a model says of its own certainty is from how often it is right, before and after calibration.

    With --fit, `calibration.json` is written into the folder of the weights: every probability that is shown is then
    what it was measured to be worth.
    """
    from opencwm.evals.calibration import evaluate

    if data is not None:
        load_crux(data, limit)
    try:
        with progress("loading the model") as say:
            report = evaluate(
                data,
                limit=limit,
                weights=weights,
                fit_on=fit_programs if fit else 0,
                plot=plot,
                progress=_counting("predicting", say),
            )
    except ImportError:
        raise Unusable('drawing needs matplotlib: pip install "opencwm[evals]"') from None
    except OSError as error:
        raise Unusable(f"cannot write {error.filename}: {error.strerror}") from None
    _print(report, as_json)


def long(
    frames: Annotated[int, typer.Option("--frames", metavar="N", min=100, help="Of each run at most.")] = 5000,
    as_json: Json = False,
    weights: Weights = None,
) -> None:
    """Next frames and free runs of loops that go on for thousands of frames: whether depth costs accuracy."""
    from opencwm.evals.long import evaluate

    with progress("loading the model") as say:
        report = evaluate(weights=weights, frames=frames, progress=_counting("predicting", say))
    _print(report, as_json)


def writing(limit: Limit = None, as_json: Json = False, weights: Weights = None) -> None:
    """Functions written from examples, directly and with a rehearsed run first; checked in a sandbox."""
    from opencwm.evals.writing import evaluate

    with progress("loading the model") as say:
        report = evaluate(limit=limit, weights=weights, progress=_counting("writing", say))
    _print(report, as_json)


def language(
    weights: Annotated[Path, typer.Option("--weights", metavar="FOLDER", help="The model's folder.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", metavar="PATH", help="As in data.tokenizer: compact, or a file or folder.")
    ] = "compact",
    crux_data: Annotated[Path | None, typer.Option("--crux", metavar="FILE", help=LAYOUT)] = None,
    humaneval_data: Annotated[
        Path | None,
        typer.Option("--humaneval", metavar="FILE", help='JSON lines with "prompt" and "canonical_solution".'),
    ] = None,
    limit: Limit = None,
    low: Annotated[bool, typer.Option("--bfloat16", help="Products in bfloat16: faster, and a little off.")] = False,
    as_json: Json = False,
) -> None:
    """Loss of a language model on what should come next: outputs of calls, bodies of functions."""
    from opencwm.evals.language import crux, evaluate, humaneval

    tasks = {}
    try:
        for name, read, path in (("crux output", crux, crux_data), ("humaneval", humaneval, humaneval_data)):
            if path is not None:
                tasks[name] = read(path, limit)
    except (OSError, ValueError) as error:
        raise Unusable(str(error)) from None
    if not tasks:
        raise Unusable("nothing to measure on: give --crux FILE, --humaneval FILE, or both")
    with progress("measuring") as say:
        report = evaluate(weights, tokenizer, tasks, low=low, progress=_counting("measuring", say))
    _print(report, as_json)


def sizes(
    data: Data,
    limit: Limit = None,
    as_json: Json = False,
    llama3: Annotated[
        Path | None,
        typer.Option("--llama3", metavar="FILE", help="Llama 3's tokenizer.model, to count the cwm codec's tokens."),
    ] = None,
) -> None:
    """Characters and tokens per run: CWM's format against the compact one."""
    from opencwm.evals.sizes import measure

    programs = [item.program for item in load_crux(data, limit)]
    counter = read_tokenizer(llama3) if llama3 else None
    with progress("recording") as say:
        report = measure(programs, tokenizer=counter, progress=_counting("recording", say))
    _print(report, as_json)


def load_crux(path: Path, limit: int | None) -> list[CruxItem]:
    """The programs of a file. Raises Unusable before anything slow starts."""
    from opencwm.evals.crux import load

    try:
        return load(path, limit=limit)
    except OSError as error:
        raise Unusable(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise Unusable(str(error)) from None


def read_tokenizer(path: Path) -> Tokenizer:
    """Llama 3's tokenizer from a file. Raises Unusable."""
    from opencwm.codec import llama3

    try:
        return llama3.load(path)
    except OSError as error:
        raise Unusable(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, ImportError) as error:
        raise Unusable(str(error)) from None


def _counting(doing: str, say: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, total: say(f"{doing}: {done} of {total} programs")


def _print(report: Report, as_json: bool) -> None:
    typer.echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else report.table())
