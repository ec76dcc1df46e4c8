"""`cwm debug`: a run, predicted or real, walked at a prompt, from an editor, on a page, or by an agent.

Notable choice: all front ends walk the same `Session`; what differs is only who types.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opencwm.cli.errors import SETUP, Unusable
from opencwm.cli.progress import progress
from opencwm.cli.runs import (
    Address,
    Call,
    FrameLimit,
    Llama3,
    Model,
    Seconds,
    Weights,
    _limits,
    _program,
    _record,
    _sandboxed,
    _world,
    _write,
)

if TYPE_CHECKING:
    from opencwm.debug.dap.adapter import Opener
    from opencwm.debug.session import Mode, Session
    from opencwm.debug.sources import Sources
    from opencwm.programs.program import Program
    from opencwm.trace.frames import Trace
    from opencwm.world.protocol import World

FRAMES = 10_000

FileOrNone = Annotated[
    str | None, typer.Argument(help="A Python file, or - for standard input.", metavar="FILE", show_default=False)
]


def debug(
    file: FileOrNone = None,
    call: Call = None,
    real: Annotated[bool, typer.Option("--real", help="Walk the run that really happens.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Walk the predicted run, the real one beside it.")] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Compute what is known, predict only the rest.")] = False,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="RUN.JSONL", help="Walk a run recorded by cwm trace --json.")
    ] = None,
    stop_below: Annotated[
        float | None,
        typer.Option("--stop-below", metavar="P", min=0.0, max=1.0, help="Stop where the model is less sure than P."),
    ] = None,
    dap: Annotated[
        bool, typer.Option("--dap", help="Serve an editor: the Debug Adapter Protocol over standard input and output.")
    ] = False,
    screen: Annotated[bool, typer.Option("--screen", help="Show the run on the whole terminal.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve a page on this machine, and print its address.")] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="RUN.HTML", help="Write the whole run as one HTML file to share.")
    ] = None,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Serve a coding agent: MCP over standard input and output.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="Listen there instead; 0: any free one."),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=1, max=1000, help="Futures to draw where --call has a ?.")
    ] = 8,
    weights: Weights = None,
    world: Address = None,
    model: Model = None,
    llama3: Llama3 = None,
    limit_frames: FrameLimit = FRAMES,
    seconds: Seconds = 10.0,
) -> None:
    """Walk a run at a prompt like pdb's, forwards and backwards: the predicted one, without running anything.

    Type help at the prompt. With --real the program runs (in a process of its own), with the same commands.

    In --call a ? stands for an argument that nobody knows: the model draws some, and each future is a lane with its
    share of the draws.
    """
    from opencwm.debug.terminal import prompt

    mode = _mode(real, both, hybrid, trace)
    sources = _sources(
        partial(_world, weights, world, model, llama3),
        limit_frames,
        seconds,
        sandbox=_sandboxed("-" if mcp else file or ""),
    )
    if port is not None and not (dap or web):
        raise Unusable("--port goes with --dap or --web")
    if sum((dap, web, mcp, screen, export is not None)) > 1:
        raise Unusable("--dap, --web, --mcp, --screen and --export exclude each other: choose one")
    if mcp:
        _serve_agent(sources)
        return
    if dap:
        _serve_editor(_opener(file, call, mode, sources, trace, stop_below), port)
        return
    session = _session(file, call, mode, sources, trace, samples)
    if file == "-" and not web and export is None:
        _read_from_terminal()
    if stop_below is not None:
        session.breakpoints.add("unsure", below=stop_below)
    kinds = {"real": "recorded", "hybrid": "computed and predicted", "both": "predicted"}
    title = f"{session.program.origin or trace}: the {kinds.get(mode, mode)} run"
    if mode == "both":
        title += ", the real one beside it"
    if export is not None:
        _export(session, title, export)
    elif screen:
        _show_screen(session, title)
    elif web:
        _serve_page(session, title, port or 0)
    elif prompt.serve(session, title=title):
        raise typer.Exit(SETUP)


def _mode(real: bool, both: bool, hybrid: bool, trace: Path | None) -> Mode:
    chosen = [name for name, given in (("real", real), ("both", both), ("hybrid", hybrid)) if given]
    if trace is not None:
        chosen.append("trace")
    if len(chosen) > 1:
        raise Unusable(f"--{chosen[0]} and --{chosen[1]} exclude each other: choose one")
    modes: dict[str, Mode] = {"real": "real", "both": "both", "hybrid": "hybrid", "trace": "real"}
    return modes[chosen[0]] if chosen else "predicted"


def _opener(
    file: str | None, call: str | None, mode: Mode, sources: Sources, trace: Path | None, stop_below: float | None
) -> Opener:
    """What opens a session for an editor: its launch arguments, with the command line's as defaults."""
    from opencwm.debug.dap.base import RequestError
    from opencwm.debug.session import MODES

    def text(arguments: dict[str, Any], name: str, default: str | None) -> str | None:
        value = arguments.get(name, default)
        if value is not None and not isinstance(value, str):
            raise RequestError(f"{name!r} is a text, not {value!r}")
        return value or None

    def opener(arguments: dict[str, Any]) -> Session:
        wanted = text(arguments, "mode", mode)
        if wanted not in MODES:
            raise RequestError(f'"mode" is one of {", ".join(MODES)}, not {wanted!r}')
        given = text(arguments, "trace", str(trace) if trace else None)
        program = text(arguments, "program", file)
        entry = text(arguments, "call", call)
        try:
            if given:
                session = _session(None, None, wanted, sources, Path(given))
            else:
                session = _session(program, entry, wanted, sources, None)
        except Unusable as error:
            raise RequestError(str(error)) from None
        if stop_below is not None and "stopBelow" not in arguments:
            session.breakpoints.add("unsure", below=stop_below)
        return session

    return opener


def _serve_editor(opener: Opener, port: int | None) -> None:
    from opencwm.debug.dap import server

    if port is None:
        server.serve_stdio(opener)
        return

    def ready(number: int, token: str) -> None:
        typer.echo(f'listening on {server.HOST}:{number}; launch needs "token": "{token}"', err=True)

    try:
        server.serve_socket(opener, port, ready=ready)
    except server.PortInUse as error:
        raise Unusable(str(error)) from None


def _export(session: Session, title: str, path: Path) -> None:
    from opencwm.debug.web.page import Page

    with progress("predicting"):
        for lane in list(session.lanes):
            lane.timeline.to_end()
        if session.reality is not None:
            session.reality.wait()
        text = Page(session, title).html(token=None, rows=None)
    _write(path, text)
    typer.echo(f"{path}: {title}", err=True)


def _show_screen(session: Session, title: str) -> None:
    try:
        from opencwm.debug.terminal import fullscreen
    except ImportError as error:
        raise Unusable(f"the full-screen view needs {error.name}: pip install 'opencwm[tui]'") from None
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise Unusable("the full-screen view needs a terminal: leave --screen out in a pipe")
    fullscreen.show(session, title)


def _serve_page(session: Session, title: str, port: int) -> None:
    from opencwm.debug.dap.server import PortInUse

    try:
        from opencwm.debug.web import server
    except ImportError as error:
        raise Unusable(f"the page needs {error.name}: pip install 'opencwm[web]'") from None
    try:
        server.serve(session, title=title, port=port, ready=lambda address: typer.echo(f"open {address}", err=True))
    except PortInUse as error:
        raise Unusable(str(error)) from None


def _serve_agent(sources: Sources) -> None:
    try:
        from opencwm.debug.agents import Agents
    except ImportError as error:
        raise Unusable(f"the server for agents needs {error.name}: pip install 'opencwm[mcp]'") from None
    Agents(sources).server().run("stdio")


def _sources(world: Callable[[], World], frames: int, seconds: float, *, sandbox: bool) -> Sources:
    """Where runs come from: a model, and the interpreter, inside of a sandbox if wanted."""
    from opencwm.debug.sources import Sources
    from opencwm.sandbox import InfraError
    from opencwm.trace.recorder import RecordError

    limits = _limits(frames, seconds)

    def record(program: Program) -> Trace:
        try:
            return _record(program, sandbox=sandbox, limits=limits)
        except InfraError as error:
            raise RecordError(str(error)) from None

    return Sources(world, record)


def _session(
    file: str | None, call: str | None, mode: Mode, sources: Sources, trace: Path | None, samples: int = 8
) -> Session:
    """A session over a program or a recorded run. Raises Unusable, ProgramError, RecordError and WorldError."""
    from opencwm.debug.futures import is_unknown
    from opencwm.debug.session import Session

    if trace is not None:
        if file is not None or call is not None:
            raise Unusable("--trace has its program with it: leave FILE and --call out")
        return _recorded(trace, sources)
    if file is None:
        raise Unusable("which program? name a FILE, or a recorded run with --trace")
    if is_unknown(call):
        if mode != "predicted":
            raise Unusable(f"a call with ? can only be predicted, not {mode}: leave --{mode} out")
        return _unknown(file, call or "", sources, samples)
    program = _program(file, call)
    with progress("loading the model" if mode != "real" else "running"):
        return Session(program, sources, mode, path=Path(file) if file != "-" else None, call=call)


def _unknown(file: str, call: str, sources: Sources, samples: int) -> Session:
    from opencwm.debug.futures import open_unknown, unknown_arguments
    from opencwm.debug.session import Session

    program, known = unknown_arguments(_program(file, "None").source, call, origin=file)
    with progress("drawing futures"):
        session = Session(program, sources, "predicted")
        open_unknown(session, known, samples)
    return session


def _recorded(path: Path, sources: Sources) -> Session:
    from opencwm.debug.session import Session
    from opencwm.programs.program import Program
    from opencwm.trace.frames import read_jsonl
    from opencwm.world.interpreter import RecordedRun

    try:
        recorded = next(read_jsonl(path), None)
    except OSError as error:
        raise Unusable(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: {error}") from None
    if recorded is None or not recorded.frames:
        raise Unusable(f"{path} holds no run: write one with cwm trace FILE --json -o {path}")
    program = Program(recorded.context, function=recorded.frames[0].function, origin=str(path))
    return Session(program, sources, "real", given=RecordedRun(recorded))


def _read_from_terminal() -> None:
    """The program came by standard input, so the prompt's commands must come from the terminal. Raises Unusable."""
    try:
        sys.stdin = open("/dev/tty", encoding="utf-8")  # noqa: SIM115
    except OSError:
        raise Unusable("the program came by standard input and there is no terminal to type at: name a file") from None
