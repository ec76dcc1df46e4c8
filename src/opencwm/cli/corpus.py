"""`cwm data traces`, `verify`, `report`, `narrate` and `plugin`: corpora of recorded runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opencwm.cli.errors import SETUP, Unusable
from opencwm.cli.progress import progress

if TYPE_CHECKING:
    from opencwm.programs.store import Store

Folder = Annotated[Path, typer.Argument(help="The corpus's folder.", metavar="FOLDER")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
WHERE = "An installed package, a checkout's path or stdlib:MODULE, with ::MODULE for one of its modules"


def traces(
    folder: Folder,
    functions: Annotated[
        list[str] | None,
        typer.Option(
            "--functions", metavar="PACKAGE", help=f"{WHERE}: its functions, with made-up inputs. Repeatable."
        ),
    ] = None,
    suites: Annotated[
        list[str] | None,
        typer.Option(
            "--suite", metavar="PATH", help="A checkout: its own tests, with ::FILE one file of them. Repeatable."
        ),
    ] = None,
    contests: Annotated[
        list[str] | None, typer.Option("--contests", metavar="FILE", help="Contest problems. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all choices.")] = 0,
    inputs: Annotated[int, typer.Option("--inputs", metavar="N", min=1, help="Runs tried per function.")] = 8,
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=1, help="Runs kept per function.")] = 4,
    library: Annotated[
        bool, typer.Option("--library", help="Also functions that need their package at hand to run.")
    ] = False,
    modules: Annotated[
        int | None,
        typer.Option("--modules", metavar="N", min=1, help="Only the first N modules or test files of each."),
    ] = None,
    problems: Annotated[
        int | None, typer.Option("--problems", metavar="N", min=1, help="Only the first N problems of each file.")
    ] = None,
    step_in: Annotated[
        float, typer.Option("--step-in", metavar="P", min=0, max=1, help="Probability that a test's call is inlined.")
    ] = 0.7,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes at work.")] = 1,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="Work on a Ray cluster (`local` starts one here).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a corpus of traces: functions of packages, test suites, contest problems.

    Strangers' code runs in a sandbox without a network. A build that was stopped goes on where it was when the same
    command is given again; the corpus is the same whatever the number of workers.
    """
    from opencwm.programs.build import Progress, build
    from opencwm.programs.corpus import Recipe
    from opencwm.programs.packages import HarvestError
    from opencwm.programs.report import summary
    from opencwm.programs.store import StoreError
    from opencwm.programs.workers import WorkersError
    from opencwm.sandbox import InfraError

    recipe = Recipe(
        functions=tuple(functions or ()),
        suites=tuple(suites or ()),
        contests=tuple(contests or ()),
        seed=seed,
        inputs=inputs,
        keep=keep,
        library=library,
        modules=modules,
        problems=problems,
        step_in=step_in,
    )
    if not (recipe.functions or recipe.suites or recipe.contests):
        raise Unusable("nothing to record: give --functions, --suite or --contests")
    try:
        with progress("planning") as say:

            def tell(at: Progress) -> None:
                frames = f"{at.counts['frames']:,} frames"
                say(f"{at.done} of {at.units} units, {frames}: {at.last}"[:110])

            store = build(recipe, folder, workers=workers, ray=ray, progress=tell)
    except (HarvestError, StoreError) as error:
        raise Unusable(str(error)) from None
    except (InfraError, WorkersError) as error:
        typer.echo(f"cwm: {error}", err=True)
        raise typer.Exit(SETUP) from None
    typer.echo(json.dumps(store.manifest, ensure_ascii=False) if as_json else summary(store))


def verify(folder: Folder, as_json: Json = False) -> None:
    """Run every stored trace again and compare: the share that differs, by cause."""
    from opencwm.programs.report import mismatches
    from opencwm.programs.store import StoreError
    from opencwm.programs.verify import verify as check
    from opencwm.sandbox import InfraError

    store = _open(folder)
    try:
        with progress("verifying") as say:
            found = check(store, progress=lambda done, total: say(f"verifying: {done} of {total} traces"))
    except StoreError as error:
        raise Unusable(str(error)) from None
    except InfraError as error:
        typer.echo(f"cwm: {error}", err=True)
        raise typer.Exit(SETUP) from None
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False) if as_json else mismatches(found))


def report(
    folder: Folder,
    llama3: Annotated[
        Path | None,
        typer.Option("--llama3", metavar="FILE", help="Llama 3's tokenizer.model, to count the cwm codec's tokens."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a corpus holds: episodes, frames, tokens in each codec, bytes, and what was left out by reason."""
    from opencwm.cli.learning import read_tokenizer
    from opencwm.programs.report import measure

    found = measure(_open(folder), read_tokenizer(llama3) if llama3 else None)
    typer.echo(json.dumps(found.to_json(), ensure_ascii=False) if as_json else found.table())


def plugin() -> None:
    """Print the pytest plugin as one file that needs nothing: for environments that are not yours.

    Then, there: `pytest -p cwm_traces --cwm-traces DIR`.
    """
    from opencwm.programs.bundle import bundle

    sys.stdout.write(bundle())


def narrate(
    folder: Folder,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N traces.")] = None,
    llm: Annotated[
        str | None,
        typer.Option("--llm", metavar="URL", help="Let a model rewrite it: an OpenAI-compatible endpoint's base URL."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model's name at that endpoint.")
    ] = "default",
) -> None:
    """Print each stored trace in words, as JSON lines with "id", "text" and "outcome".

    With --llm a model rewrites the text; it is kept only if its final output agrees with the trace.
    """
    from opencwm.programs.retelling import Retelling, RetellingError
    from opencwm.trace.narrate import narrate as tell

    retelling = Retelling(llm, model) if llm else None
    kept = 0
    for number, (row, trace) in enumerate(_open(folder).traces()):
        if limit is not None and number >= limit:
            break
        text = tell(trace)
        line: dict[str, Any] = {"id": row["id"], "outcome": row["outcome"], "text": text}
        if retelling is not None:
            try:
                told = retelling.retell(trace, text)
            except RetellingError as error:
                raise Unusable(str(error)) from None
            if told is None:
                continue
            line |= {"text": told, "by": model}
        kept += 1
        typer.echo(json.dumps(line, ensure_ascii=False))
    if retelling is not None:
        typer.echo(f"{kept} retellings kept; left out: {dict(retelling.dropped) or 'none'}", err=True)


def _open(folder: Path) -> Store:
    from opencwm.programs.store import Store, StoreError

    try:
        return Store(folder)
    except StoreError as error:
        raise Unusable(str(error)) from None
