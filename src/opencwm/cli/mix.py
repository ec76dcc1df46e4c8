"""`cwm data mix`, `audit`, `coverage`: what the training stream is made of; `cwm eval semantics`: what was learned."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress
from opencwm.config import ConfigError, load

if TYPE_CHECKING:
    from opencwm.programs.mix import Made, Mix, MixConfig

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="A mix, or a training configuration that has one. Without it: the default mix."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value, as in shares.drills=0.3.")
]
Programs = Annotated[int, typer.Option("--programs", metavar="N", min=1, help="How many programs of the stream.")]
Start = Annotated[int, typer.Option("--start", metavar="N", min=0, help="Index of the first program.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def mix(
    config: Config = None,
    overrides: Overrides = None,
    programs: Programs = 2000,
    start: Start = 0,
    show: Annotated[int, typer.Option("--show", metavar="N", min=0, help="Print the first N windows in full.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a stretch of the training stream: shares, what is left out and why, tokens per second of one core."""
    stream = _open(config, overrides or [])
    names: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    learned, left = 0.0, show
    stream.prepare()
    begun = process_time()
    for made in _made(stream, start, programs):
        if made.rejected:
            rejected[made.rejected] += 1
        for window in made.windows:
            names[window.name] += 1
            tokens[window.name] += len(window.ids)
            learned += sum(window.weights)
            if left:
                from opencwm.codec.tokenizer import VOCABULARY

                typer.echo(f"--- {window.name}: {len(window.ids)} tokens\n{VOCABULARY.show(window.ids)}\n")
                left -= 1
    seconds = process_time() - begun
    total = tokens.total()
    if as_json:
        figures = {
            "programs": programs, "windows": names.total(), "tokens": total, "learned": learned, "seconds": seconds,
            "tokens_per_second": total / seconds, "by_name": {n: [names[n], tokens[n]] for n in sorted(names)},
            "rejected": dict(rejected), "audit": bool(stream.config.audit),
        }  # fmt: skip
        typer.echo(json.dumps(figures))
        return
    typer.echo(f"{'source/task':<28}{'windows':>10}{'tokens':>12}{'of tokens':>11}")
    for name, count in names.most_common():
        typer.echo(f"{name:<28}{count:>10,}{tokens[name]:>12,}{tokens[name] / max(total, 1):>11.1%}")
    typer.echo(
        f"\n{programs:,} programs, {total:,} tokens, {learned / max(total, 1):.1%} of them learned; "
        f"{programs / seconds:,.0f} programs/s, {total / seconds:,.0f} tokens/s on one core "
        f"({16 * total / seconds:,.0f} on 16)"
    )
    typer.echo(f"audit: {'on' if stream.config.audit else 'off'}")
    for reason, count in rejected.most_common():
        typer.echo(f"left out: {count:,} ({count / programs:.2%}) {reason}")


def corrections(
    output: Annotated[Path, typer.Argument(help="The JSON-lines file to write.", metavar="OUTPUT")],
    config: Config = None,
    overrides: Overrides = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FOLDER", help="The model's folder. Without it: the shipped model."),
    ] = None,
    programs: Programs = 2000,
    start: Start = 0,
) -> None:
    """Predict programs of the training stream, and write what should have followed where the model first errs.

    Train on it with a source of kind "windows" beside the stream itself: configs/corrections.toml.
    """
    from opencwm.cli.documents import written
    from opencwm.train.corrections import corrections as lessons
    from opencwm.train.text import open_tokens
    from opencwm.world.local import LocalWorld

    stream, world = _open(config, overrides or []), LocalWorld.load(weights)
    stream.prepare()
    tokenizer = open_tokens("compact").fingerprint
    tally: Counter[str] = Counter()
    with progress("predicting") as say, written(output) as file:
        for found in lessons(world, stream, start, programs, tally):
            row = {"ids": found.ids, "weights": found.weights, "tokenizer": tokenizer}
            file.write(json.dumps(row | {"lesson": found.lesson, "index": found.index}) + "\n")
            say(f"predicting: program {found.index - start + 1:,} of {programs:,}")
    runs = tally["right"] + tally["wrong"]
    typer.echo(
        f"{runs:,} runs predicted, {tally['right'] / max(1, runs):.1%} of them right; {tally['step']:,} corrected "
        f"steps and {tally['state']:,} wrong states written to {output}; {tally['left out']:,} programs left out"
    )


def audit(
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Folder with the evaluation sets (cruxeval/, mbpp/, ...).")
    ],
    config: Config = None,
    overrides: Overrides = None,
    programs: Programs = 20_000,
    start: Start = 0,
    examples: Annotated[int, typer.Option("--examples", metavar="N", help="Print N of the programs dropped.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare a stretch of the training stream with every evaluation set: normalised syntax trees, runs of tokens."""
    from opencwm.programs.leakage import Audit, AuditReport

    try:
        auditor = Audit.from_folder(data)
    except (ValueError, OSError) as error:
        raise Unusable(str(error)) from None
    stream = _open(config, [*(overrides or [])])
    report = AuditReport(auditor.sets)
    shown = examples
    with progress("auditing") as say:
        for index in range(start, start + programs):
            chosen = stream.choose(index)
            program = chosen.program
            report.programs += 1
            match = auditor.match(program.source) if program is not None else None
            if match is not None:
                report.matches[(chosen.source, *match)] += 1
                if shown and program is not None:
                    typer.echo(f"--- {chosen.source}, like {match[0]} by {match[1]}\n{program.source}\n")
                    shown -= 1
            if index % 500 == 0:
                say(f"auditing: {index - start:,} of {programs:,} programs, {report.matched:,} match")
    typer.echo(json.dumps(report.to_json()) if as_json else report.table())


def coverage(
    config: Config = None,
    overrides: Overrides = None,
    programs: Programs = 5000,
    start: Start = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Programs to compare with, in CRUXEval's layout (JSON lines)."),
    ] = None,
    least: Annotated[
        int, typer.Option("--least", metavar="N", min=1, help="Programs that make a feature covered.")
    ] = 1,
    picture: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="With --data: draw the distributions (a PNG).")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also one row for every feature of Python.")] = False,
    as_json: Json = False,
) -> None:
    """Which statements, operators, builtins, methods and exceptions of Python the training stream holds, how often."""
    from opencwm.programs.coverage import Coverage, Profile, plot

    if picture is not None and data is None:
        raise Unusable("--plot compares two sets of programs: give --data FILE too")
    reference = _reference(data) if data is not None else None
    stream = _open(config, overrides or [])
    profile = Profile()
    with progress("recording") as say:
        for done, made in enumerate(_made(stream, start, programs), 1):
            if made.trace is not None and not made.rejected:
                profile.add(made.trace)
            if done % 200 == 0:
                say(f"recording: {done:,} of {programs:,} programs")
    found = Coverage(profile, reference, least)
    if picture is not None and reference is not None:
        plot(profile, reference, picture, names=("stream", data.stem if data else ""))
    typer.echo(json.dumps(found.to_json()) if as_json else found.table())
    if everything and not as_json:
        typer.echo("\n" + found.rows())


def semantics(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Programs in CRUXEval's layout. Without it: the held-out mix."),
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N programs.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FOLDER", help="The model's folder. Without it: the shipped model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Next-frame accuracy by statement, operator, builtin, method and exception of Python."""
    from opencwm.cli.learning import load_crux
    from opencwm.evals.semantics import evaluate

    if data is not None:
        load_crux(data, limit)
    with progress("loading the model") as say:
        report = evaluate(
            data,
            limit=limit,
            weights=weights,
            config=read_config(config, overrides or []),
            progress=lambda done, total: say(f"predicting: {done} of {total} programs"),
        )
    typer.echo(json.dumps(report.to_json(), ensure_ascii=False) if as_json else report.table())


def _reference(path: Path) -> Any:
    from opencwm.cli.learning import load_crux
    from opencwm.programs.coverage import Profile
    from opencwm.programs.untrusted import record_untrusted
    from opencwm.trace.recorder import RecordError

    items = load_crux(path, None)
    with progress("recording the reference") as say:
        profile = Profile()
        for done, item in enumerate(items, 1):
            try:
                profile.add(record_untrusted(item.program))
            except RecordError as error:
                raise Unusable(f"{path.name}, program {item.id}: {error}") from None
            say(f"recording the reference: {done} of {len(items)} programs")
    return profile


def _made(stream: Mix, start: int, count: int) -> Iterator[Made]:
    for index in range(start, start + count):
        yield stream.make(index)


def _open(path: Path | None, overrides: list[str]) -> Mix:
    from opencwm.programs.mix import Mix

    return Mix(read_config(path, overrides))


def read_config(path: Path | None, overrides: list[str]) -> MixConfig:
    """The mix of a file: the whole file, or the first source of kind "mix" of a training configuration.

    Raises ConfigError.
    """
    from opencwm.programs.mix import MixConfig

    if path is None:
        return load(MixConfig, None, overrides)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return load(MixConfig, path, overrides)  # which says what is wrong with the file
    data = table.get("data")
    if not isinstance(data, dict):
        return load(MixConfig, path, overrides)
    sources = [source for source in data.get("sources", {}).values() if source.get("kind", "mix") == "mix"]
    if not sources:
        raise ConfigError(f'{path} trains on no mix: give a file with a source of kind "mix"')
    given = _flat(sources[0].get("mix", {}), "")
    given += [f"{key}={data[key]}" for key in ("seed", "sequence_length") if key in data]
    return load(MixConfig, None, [*given, *overrides])


def _flat(table: dict[str, Any], section: str) -> list[str]:
    """A table as overrides; JSON is TOML for what a mix holds."""
    found: list[str] = []
    for key, value in table.items():
        name = f"{section}{key}"
        found += _flat(value, f"{name}.") if isinstance(value, dict) else [f"{name}={json.dumps(value)}"]
    return found
