"""`cwm trace`, `cwm predict` and `cwm debug`: one program, run, predicted or walked.

Notable choice: the program itself always runs in a process of its own, within limits; nothing of it runs in this one.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress

if TYPE_CHECKING:
    from opencwm.programs.program import Program
    from opencwm.trace.core import Core
    from opencwm.trace.filters import Predicate
    from opencwm.trace.frames import Trace
    from opencwm.trace.isolate import Options
    from opencwm.trace.limits import Limits
    from opencwm.world.compare import Comparison
    from opencwm.world.protocol import Prediction, Run, World

FRAMES, SECONDS = 1000, 10.0


class CoreName(StrEnum):
    """The recorder's cores (`trace/core.py`)."""

    auto = "auto"
    c = "c"
    python = "python"


class Format(StrEnum):
    """How a recorded run is written."""

    table = "table"
    cwm = "cwm"
    compact = "compact"


File = Annotated[str, typer.Argument(help="A Python file, or - for standard input.", metavar="FILE")]
Call = Annotated[
    str | None,
    typer.Option(
        "--call",
        metavar="EXPRESSION",
        help="Where the run starts, as in \"f('r')\". Without it: the function marked # << START_OF_TRACE.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FOLDER", help="The model's folder. Without it: the shipped model.")
]
Address = Annotated[
    str | None,
    typer.Option("--world", metavar="URL", help="Ask the model of this server (`cwm serve`, vLLM, ...) instead."),
]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Which of the server's models.")]
Llama3 = Annotated[
    Path | None,
    typer.Option("--llama3", metavar="FILE", help="Llama 3's tokenizer: the server is then sent token ids."),
]
FrameLimit = Annotated[int, typer.Option("--limit-frames", metavar="N", min=1, help="Stop after N frames.")]
Seconds = Annotated[float, typer.Option("--seconds", metavar="S", min=0.01, help="Stop the real run after S seconds.")]

Sandboxed = Annotated[
    bool | None,
    typer.Option(
        "--sandbox/--no-sandbox",
        help="Run in a sandbox: no network, no files of yours. The default for programs from standard input.",
        show_default=False,
    ),
]


def trace(
    file: Annotated[
        str | None, typer.Argument(help="A Python file, or - for standard input.", metavar="FILE", show_default=False)
    ] = None,
    call: Call = None,
    as_json: Json = False,
    form: Annotated[
        Format, typer.Option("--format", help="A table, CWM's text format, or the tokens of the compact one.")
    ] = Format.table,
    limit_frames: FrameLimit = FRAMES,
    seconds: Seconds = SECONDS,
    steps: Annotated[bool, typer.Option("--steps", help="Record the values of sub-expressions too.")] = False,
    identity: Annotated[
        bool, typer.Option("--identity", help="Record which names share an object, shown as in `a is b`.")
    ] = False,
    select: Annotated[
        str | None,
        typer.Option(
            "--select",
            metavar="CONDITION",
            help="Step over all other calls, as in \"function == 'f*' and depth < 2\".",
        ),
    ] = None,
    core: Annotated[
        CoreName | None,
        typer.Option("--core", help="The recorder's core. It says which it is and why; without FILE, only that."),
    ] = None,
    sandbox: Sandboxed = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write to a file.")] = None,
    diff: Annotated[
        str | None, typer.Option("--diff", metavar="OLD", help="Compare with the run of this older version of FILE.")
    ] = None,
    git: Annotated[
        str | None, typer.Option("--git", metavar="REV", help="Compare with the run of FILE at this git revision.")
    ] = None,
) -> None:
    """Run a program and show what it did, line by line.

    What the program itself prints goes to standard error. A file on your disk runs with your rights, unless you say
    --sandbox; what comes from standard input runs in a sandbox, if this machine has one (cwm sandbox doctor).

    --json prints JSON lines: a header, one object per frame, the outcome.

    With --diff or --git the old version runs too: shown is the first state that parts, and the lines that led there.
    """
    from opencwm.cli import render

    if file is None and core is None:
        raise Unusable("name a Python file, or - for standard input")
    if file is not None and (diff is not None or git is not None):
        both = diff is not None and git is not None
        if output is not None or form is not Format.table or steps or identity or both:
            raise Unusable("a comparison takes --diff or --git, and none of --format, --steps, --identity, --output")
        _compare(file, call, diff, git, _limits(limit_frames, seconds), as_json, sandbox)
        return

    if as_json and form is not Format.table:
        raise Unusable(f"--json and --format {form.value} exclude each other: choose one")
    if identity and form is not Format.table:
        raise Unusable(f"--format {form.value} has no place for --identity: take the table or --json")
    if file is None:
        typer.echo(f"recording with {_core(core)}")
        return
    chosen = _core(core)
    if core is not None or chosen.fell_back:
        typer.echo(f"recording with {chosen}", err=True)
    condition = _condition(select) if select is not None else None
    program = _program(file, call)
    printed = io.StringIO()
    with progress("running"):
        where = _sandboxed(file, sandbox)
        limits = _limits(limit_frames, seconds)
        recorded = _record(
            program, sandbox=where, limits=limits, steps=steps, identity=identity, output=printed, core=chosen.name
        )
    if condition is not None:
        recorded = _selected(recorded, condition)
    typer.echo(printed.getvalue(), err=True, nl=False)
    if as_json:
        text = recorded.to_jsonl()
    elif form is Format.cwm:
        from opencwm.codec import cwm

        text = cwm.to_text(recorded)
    elif form is Format.compact:
        from opencwm.codec import compact
        from opencwm.codec.tokenizer import VOCABULARY

        text = VOCABULARY.show(compact.encode(recorded).ids)
    else:
        page = io.StringIO()
        screen = render.console(file=page if output else None)
        screen.print(render.trace_table(recorded, width=screen.width))
        screen.print(render.ending(recorded), style="bold")
        if output is None:
            return
        text = page.getvalue()
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        _write(output, text)
        typer.echo(f"{output}: {render.ending(recorded)}", err=True)


def _compare(
    file: str,
    call: str | None,
    diff: str | None,
    git: str | None,
    limits: Limits,
    as_json: bool,
    sandbox: bool | None,
) -> None:
    """Run both versions and show where they part."""
    from opencwm.cli import diffing
    from opencwm.programs.program import Program
    from opencwm.trace.diff import diff as compare

    new = _program(file, call)
    if git is not None:
        old = Program.parse(diffing.at_revision(file, git), call, origin=f"{file} at {git}")
    else:
        old = _program(diff or "", call)
    with progress("running"):
        boxed = _sandboxed("-" if "-" in (file, diff) else file, sandbox)
        runs = _record(old, sandbox=boxed, limits=limits), _record(new, sandbox=boxed, limits=limits)
    found = compare(*runs)
    if as_json:
        typer.echo(json.dumps(diffing.to_json(*runs, found), ensure_ascii=False))
    else:
        diffing.show(*runs, found)


def predict(
    file: File,
    call: Call = None,
    check: Annotated[bool, typer.Option("--check", help="Show what really happens beside it.")] = False,
    as_json: Json = False,
    weights: Weights = None,
    world: Address = None,
    model: Model = None,
    llama3: Llama3 = None,
    limit_frames: FrameLimit = FRAMES,
    seconds: Seconds = SECONDS,
    vote: Annotated[
        int,
        typer.Option("--vote", metavar="N", min=0, help="Let N rollouts vote; sure is then the share that agrees."),
    ] = 0,
) -> None:
    """Predict what a program does, without running it.

    With --check the program runs too (in a process of its own): the first frame that differs is marked, and the last
    line says how many frames were right before it and whether the output is.

    --json prints one object: "predicted", and with --check "real" and "check".
    """
    from opencwm.cli import render
    from opencwm.world.compare import compare
    from opencwm.world.protocol import collect

    program = _program(file, call)
    real: Trace | None = None
    if check:
        with progress("running"):
            real = _record(program, sandbox=_sandboxed(file), limits=_limits(limit_frames, seconds))
    with progress("loading the model") as say:
        chosen = _world(weights, world, model, llama3)
        run = _voted(chosen, vote, program, limit_frames, say) if vote else chosen.run(program)
        predicted, predictions = collect(_Counted(run, say), limit=limit_frames)
    comparison = compare(real, predicted) if real else None
    if as_json:
        typer.echo(json.dumps(_as_json(predicted, predictions, real, comparison), ensure_ascii=False))
        return
    screen = render.console()
    if real is None or comparison is None:
        screen.print(render.prediction_table(predicted, predictions, width=screen.width))
        screen.print(f"predicted: {render.ending(predicted)}", style="bold")
        return
    screen.print(render.check_table(real, predicted, predictions, comparison, width=screen.width))
    if error := render.first_error(comparison):
        screen.print(error, style="red")
    screen.print(render.verdict(comparison, real, predicted), style="bold")


def _voted(world: World, vote: int, program: Program, frames: int, say: Callable[[str], None]) -> Run:
    """The winner of a vote, and on standard error how it came about. Raises Unusable for a model elsewhere."""
    from opencwm.world.local import LocalWorld
    from opencwm.world.voting import VotingWorld

    if not isinstance(world, LocalWorld):
        raise Unusable("--vote needs a model of the compact format in this process, as `cwm train` makes them")
    say(f"predicting {vote} runs")
    run = VotingWorld(world, vote, most_frames=frames).run(program)
    typer.echo(f"cwm: {run.votes} of {vote} runs end alike, {vote - run.voters} had no vote", err=True)
    return run


def _program(file: str, call: str | None) -> Program:
    from opencwm.programs.program import Program

    return Program.read(file, call)


def _limits(frames: int, seconds: float) -> Limits:
    from opencwm.trace.limits import Limits

    return Limits(frames=frames, seconds=seconds)


def _record(program: Program, *, sandbox: bool = False, **options: Unpack[Options]) -> Trace:
    """Run a program in a process of its own, inside of a sandbox if wanted. Raises RecordError, or InfraError."""
    if sandbox:
        from opencwm.programs.untrusted import record_sandboxed

        return record_sandboxed(program, **options)
    from opencwm.trace.isolate import record_isolated

    return record_isolated(program, **options)


def _core(name: CoreName | None) -> Core:
    from opencwm.trace.core import CoreError, choose

    try:
        return choose(name.value if name else None)
    except CoreError as error:
        raise Unusable(str(error)) from None


def _condition(text: str) -> Predicate:
    from opencwm.trace.filters import parse

    try:
        return parse(text)
    except ValueError as error:
        raise Unusable(str(error)) from None


def _selected(recorded: Trace, condition: Predicate) -> Trace:
    from opencwm.trace.filters import keep

    try:
        return keep(recorded, condition)
    except ValueError as error:
        raise Unusable(str(error)) from None


def _sandboxed(file: str, wanted: bool | None = None) -> bool:
    """Whether the program runs in a sandbox: as wanted; else if it does not come from this machine's own disk.

    Where nobody has asked for it and there is none, that is said, and the program runs as before.
    """
    if wanted is not None or file != "-":
        return bool(wanted)
    from opencwm.sandbox import InfraError, open_sandbox

    try:
        open_sandbox().close()
    except InfraError as error:
        typer.echo(f"cwm: running without a sandbox: {error}", err=True)
        return False
    return True


def _world(weights: Path | None, address: str | None, model: str | None, llama3: Path | None) -> World:
    """The world that the options name. Raises WorldError, WeightsError and Unusable."""
    if address is None:
        if model is not None or llama3 is not None:
            raise Unusable("--model and --llama3 belong to --world URL: give that too, or neither of them")
        from opencwm.world.local_cwm import load

        return load(weights)
    if weights is not None:
        raise Unusable("--weights and --world exclude each other: choose one")
    from opencwm.cli.learning import read_tokenizer
    from opencwm.world.endpoint import Endpoint
    from opencwm.world.remote import RemoteWorld

    tokenizer = read_tokenizer(llama3) if llama3 else None
    return RemoteWorld.connect(Endpoint(address, key=os.environ.get("CWM_API_KEY")), model=model, tokenizer=tokenizer)


def _as_json(
    predicted: Trace, predictions: list[Prediction], real: Trace | None, comparison: Comparison | None
) -> dict[str, object]:
    """What `cwm predict --json` prints."""
    guess = _trace_json(predicted)
    for record, prediction in zip(guess["frames"], predictions, strict=True):  # type: ignore[call-overload]
        values = {name: _known(chance) for name, chance in prediction.values.items()}
        record |= {
            "probability": _known(prediction.probability),
            "branch": _known(prediction.branch),
            "values": values,
        }
    result: dict[str, object] = {"predicted": guess}
    if real is not None and comparison is not None:
        parting = comparison.divergence
        result["real"] = _trace_json(real)
        result["check"] = {
            "frames_right": comparison.frames_right,
            "frames_real": comparison.frames_real,
            "output_right": comparison.output_right,
            "divergence": parting
            and {
                "frame": parting.index,
                "differences": [
                    {"kind": item.kind, "name": item.name, "real": item.real, "predicted": item.predicted}
                    for item in parting.differences
                ],
            },
        }
    return result


def _known(chance: float) -> float | None:
    return None if math.isnan(chance) else chance


def _trace_json(trace: Trace) -> dict[str, object]:
    header, *frames, outcome = map(json.loads, trace.to_jsonl().splitlines())
    return {**header, "frames": frames, **outcome}


class _Counted:
    """A run that says how far it is."""

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.context, self.entry_line, self.python, self.outcome = run.context, run.entry_line, run.python, run.outcome
        self._run, self._say, self._count = run, say, 0

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        self._say(f"predicting frame {self._count}")
        self._count += 1
        try:
            return next(self._run)
        finally:
            self.outcome = self._run.outcome


def _write(path: Path, text: str) -> None:
    """The whole file or none of it. Raises Unusable."""
    try:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise Unusable(f"cannot write {path}: {error.strerror}") from None
