"""`cwm data code`, `chats`, `stats` and `peek`: making documents, and looking at what a run learns from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress
from opencwm.cli.training import failing

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Config = Annotated[Path, typer.Argument(help="A run's TOML file.", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the configuration.")
]


def code(
    output: Annotated[Path, typer.Argument(help="The Parquet file to write.", metavar="OUTPUT")],
    packages: Annotated[
        list[str] | None,
        typer.Option("--package", metavar="NAME", help="An installed package. Without any, nor a folder: all."),
    ] = None,
    folders: Annotated[list[Path] | None, typer.Option("--folder", metavar="PATH", help="A folder of code.")] = None,
    licence: Annotated[str, typer.Option("--licence", help="The licence of the folders' code.")] = "unknown",
    threshold: Annotated[
        float, typer.Option("--similar", min=0.1, max=1.0, help="Leave out files at least so alike (Jaccard).")
    ] = 0.8,
    as_json: Json = False,
) -> None:
    """Build a pre-training corpus of Python from installed packages and folders, without near-duplicates."""
    from opencwm.train.code_corpus import CorpusError, build, folder, installed

    try:
        origins = [*(folder(path, licence) for path in folders or ())]
        if packages or not folders:
            origins += installed(packages or ())
        with progress("reading files") as say:
            looked = itertools.count(1)
            report = build(
                origins, output, threshold=threshold, advance=lambda path: say(f"file {next(looked):,}: {path.name}")
            )
    except (CorpusError, OSError) as error:
        raise Unusable(str(error)) from None
    if as_json:
        print(json.dumps({"files": report.kept, "characters": report.characters, "left_out": report.left_out,
                          "licences": report.licences}, indent=2))  # fmt: skip
        return
    print(f"{report.kept:,} files, {report.characters:,} characters, written to {output}")
    for reason, count in report.left_out.most_common():
        print(f"  left out: {count:,} {reason}")
    for name, characters in report.licences.most_common(12):
        print(f"  {characters / report.characters:6.1%}  {name}")


def chats(
    output: Annotated[Path, typer.Argument(help="The JSON-lines file to write.", metavar="OUTPUT")],
    count: Annotated[int, typer.Option("--count", min=1, help="How many chats.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the programs.")] = 0,
    reasoning: Annotated[
        float, typer.Option("--reasoning", min=0, max=1, help="Share of the answers that tell the run first.")
    ] = 0.5,
    length: Annotated[int, typer.Option("--length", min=1, help="Leave out longer ones (characters).")] = 2000,
) -> None:
    """Write questions about runs of written programs, with answers from running them, as chats."""
    from opencwm.programs.questions import question

    with progress("writing") as say, written(output) as file:
        done = 0
        for index in itertools.count():
            if done == count:
                break
            chat = question(index, seed=seed, reasoning=reasoning)
            text = json.dumps(chat)
            if chat is not None and len(text) <= length:
                file.write(text + "\n")
                done += 1
                say(f"chat {done:,} of {count:,}")
    print(f"{count:,} chats written to {output}")


@contextmanager
def written(output: Path) -> Iterator[TextIO]:
    """A text file that is there as a whole or not at all. Raises Unusable."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(output)
    except OSError as error:
        raise Unusable(f"cannot write {output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def stats(
    config: Config,
    overrides: Overrides = None,
    items: Annotated[int, typer.Option("--items", min=1, help="Items to look at, of each source.")] = 200,
    as_json: Json = False,
) -> None:
    """Sources of a run: their files, share of the tokens, lengths, and how much of them is predicted and packed."""
    from opencwm.config import load
    from opencwm.train.look import statistics
    from opencwm.train.settings import TrainConfig

    settings = load(TrainConfig, config, overrides or [])
    with failing():
        found = statistics(settings.data, items)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print(found.table())


def peek(
    config: Config,
    overrides: Overrides = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="One source; without it: the mix.")
    ] = None,
    index: Annotated[int, typer.Option("--index", min=0, help="The first item.")] = 0,
    count: Annotated[int, typer.Option("--count", min=1, help="How many items.")] = 1,
) -> None:
    """Show documents as the model sees them; what it must predict is marked."""
    from rich.console import Console
    from rich.text import Text

    from opencwm.config import load
    from opencwm.train.look import documents
    from opencwm.train.settings import TrainConfig

    settings = load(TrainConfig, config, overrides or [])
    console = Console(highlight=False, soft_wrap=True)
    with failing():
        for title, pieces in documents(settings.data, source, index, count):
            console.print(Text(title, style="bold"))
            line = Text()
            for text, predicted in pieces:
                line.append(text, style="green" if predicted else "dim")
            console.print(line)
    console.print(Text("green: predicted; dim: given", style="dim"))
