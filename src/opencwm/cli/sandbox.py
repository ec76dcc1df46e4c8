"""`cwm sandbox`: what this machine can do, and one command in a sandbox."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opencwm.cli.errors import SETUP, Unusable

if TYPE_CHECKING:
    from opencwm.sandbox.protocol import Stream

REST = {"allow_interspersed_args": False}
_LIMIT_REACHED = 124  # as timeout(1) has it


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Say what this machine can do, what is missing and how to get it, and which backend is chosen and why.

    Exits with 3 if nothing here can hold code that nobody has read.
    """
    from opencwm.sandbox.doctor import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(report), ensure_ascii=False))
    else:
        width = max(len(finding.name) for finding in report.findings)
        for finding in report.findings:
            typer.echo(f"{'ok' if finding.good else '--'}  {finding.name:<{width}}  {finding.found}")
            if finding.remedy:
                typer.echo(f"    {'':<{width}}  -> {finding.remedy}")
        typer.echo(f"\nchosen: {report.backend or 'none'}: {report.why}")
    if report.backend is None:
        raise typer.Exit(SETUP)


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run.", show_default=False)],
    mount: Annotated[
        list[str] | None,
        typer.Option(
            "--mount", metavar="HOST:INSIDE[:rw]", help="Show a file or folder inside; read-only without :rw."
        ),
    ] = None,
    network: Annotated[bool, typer.Option("--network", help="Leave the network on.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.01, help="Stop after S seconds.")] = 60.0,
    megabytes: Annotated[int, typer.Option("--memory", metavar="MB", min=16, help="Memory, in megabytes.")] = 2048,
) -> None:
    """Run a command in a sandbox, with this command's standard streams.

    Exits as the command does: with 128 + N if signal N killed it, with 124 if it reached a limit.
    """
    from opencwm.sandbox import Limits, Mount, open_sandbox
    from opencwm.sandbox.protocol import drain

    mounts = []
    for text in mount or []:
        host, _, rest = text.partition(":")
        inside, _, mode = rest.partition(":")
        try:
            if mode not in ("", "ro", "rw"):
                raise ValueError(f"the mount {text!r} ends in neither :ro nor :rw")
            mounts.append(Mount(Path(host).absolute(), inside or os.path.abspath(host), writable=mode == "rw"))
        except ValueError as error:
            raise Unusable(str(error)) from None

    def show(stream: Stream, data: bytes) -> None:
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.buffer.write(data)
        target.flush()

    limits = Limits(wall_seconds=seconds, cpu_seconds=seconds, memory_bytes=megabytes << 20, output_bytes=1 << 40)
    stdin = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    with open_sandbox(limits=limits, mounts=mounts, network=network) as sandbox, sandbox.spawn(command) as process:
        process.send(stdin)
        process.close_stdin()
        ending = drain(process, limits, show)
    if ending.limit is not None:
        typer.echo(f"cwm: limit on {ending.limit} reached", err=True)
        raise typer.Exit(_LIMIT_REACHED)
    raise typer.Exit(ending.exit_code if ending.exit_code is not None else 128 + (ending.signal or 0))
