"""`cwm serve`: a model behind the HTTP interface that OpenAI's clients speak."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from opencwm.cli.errors import SETUP, Unusable
from opencwm.cli.progress import progress


class Precision(StrEnum):
    """How weights are held."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


def serve(
    model: Annotated[
        Path | None, typer.Argument(help="The model's folder. Without it: the shipped model.", metavar="MODEL")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    name: Annotated[str | None, typer.Option("--name", help="Name for clients; without it, the folder's.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="CWM_API_KEY", help="Key that clients must send. Better in the environment."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Replies that are generated at the same time.")] = 16,
    context: Annotated[
        int | None, typer.Option("--context", min=2, help="Most tokens of prompt and reply; without it, all that fit.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="How weights are held: on a CPU float32, on a GPU bfloat16.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...; without it, a GPU if there is one.")
    ] = None,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Have PyTorch compile short steps, for a GPU: takes a minute at first."),
    ] = False,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Most replies under way or waiting.")] = 512,
    body_limit: Annotated[int, typer.Option("--body-limit", min=1024, help="Most bytes of a request.")] = 16 * 2**20,
    grace: Annotated[float, typer.Option("--grace", min=0, help="Seconds for answers under way when stopped.")] = 30.0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; without it, as torch chooses.")
    ] = None,
) -> None:
    """Answer OpenAI's clients with a model: completions, chats, streams.

    Stop it with Ctrl-C: answers under way are finished first.
    """
    try:
        from opencwm.serve import running
    except ImportError as error:
        raise Unusable(f'{error}: a server needs more packages, pip install "opencwm[web]"', SETUP) from None
    from opencwm.codec.text import CompactText, TokenizerError
    from opencwm.serve.app import Limits
    from opencwm.world.local import SHIPPED

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    settings = running.Settings(
        folder=model or SHIPPED,
        name=name,
        key=api_key or None,
        batch=batch,
        context=context,
        weights=precision.value if precision else None,
        device=device,
        compile=compile,
        limits=Limits(body=body_limit, queue=queue),
    )
    try:
        listening = running.listen(host, port)
        try:
            with progress("loading the model"):
                loaded = running.load(settings)
        except BaseException:
            listening.close()
            raise
    except (running.ServeError, TokenizerError, ImportError) as error:
        raise Unusable(str(error), SETUP) from None
    url = running.address(listening)

    def ready() -> None:
        typer.echo(f"serving {loaded.name} at {url}/v1 (Ctrl-C stops)")
        if host not in running.LOOPBACK and not api_key:
            typer.echo("warning: anybody who reaches this address can use it; give --api-key", err=True)
        typer.echo("try: " + _curl(url, loaded.name, bool(api_key), isinstance(loaded.codec, CompactText)))

    running.server(loaded.app, grace=grace, ready=ready).run(sockets=[listening])


def _curl(url: str, name: str, keyed: bool, compact: bool) -> str:
    """A command to paste."""
    key = " -H 'Authorization: Bearer '\"$CWM_API_KEY\"" if keyed else ""
    if compact:
        body: dict[str, object] = {"model": name, "prompt": _prompt(), "max_tokens": 40, "temperature": 0}
        path = "completions"
    else:
        body = {"model": name, "messages": [{"role": "user", "content": "What is 2 + 2?"}], "max_tokens": 60}
        path = "chat/completions"
    return f"curl {url}/v1/{path}{key} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"


def _prompt() -> str:
    """A small program before its run, in the text form of compact tokens."""
    from opencwm.codec.compact import Encoder
    from opencwm.codec.tokenizer import VOCABULARY
    from opencwm.programs.program import Program
    from opencwm.trace.frames import Outcome, Trace

    program = Program.parse("def f(n):\n    return n + 1\n", "f(41)")
    before = Trace(program.context, program.entry_line, (), Outcome("truncated"), "3.11")
    return VOCABULARY.show(Encoder(before).prefix)
