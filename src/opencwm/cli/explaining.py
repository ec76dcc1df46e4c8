"""`cwm why`: the first state of a failing test that is not as expected."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opencwm.cli import diffing, render
from opencwm.cli.errors import Unusable
from opencwm.cli.progress import progress
from opencwm.cli.runs import Address, Json, Llama3, Model, Weights, _world

if TYPE_CHECKING:
    from opencwm.debug.why import Call, Changed, TestRun, Unexpected
    from opencwm.world.protocol import World

Test = Annotated[str, typer.Argument(help="A pytest node id, such as tests/test_cart.py::test_total.", metavar="TEST")]


def why(
    test: Test,
    git: Annotated[
        str | None,
        typer.Option("--git", metavar="REV", help="Expect what happens at this revision (it passes there)."),
    ] = None,
    as_json: Json = False,
    weights: Weights = None,
    world: Address = None,
    model: Model = None,
    llama3: Llama3 = None,
) -> None:
    """Why does a test fail? The first state that is not as expected, and the lines that led to it.

    The test runs here, with pytest, and what it makes the project do is recorded. With --git that is compared with what
    the code did at a revision where the test passes. Without it, each call is compared with what the model predicts:
    what somebody would expect who has read the code. The shipped model is small: mind how sure it was.
    """
    from opencwm.debug.why import WhyError

    try:
        if git is not None:
            _by_revision(test, git, as_json)
        else:
            _by_model(test, partial(_world, weights, world, model, llama3), as_json)
    except WhyError as error:
        raise Unusable(str(error)) from None


def _by_revision(test: str, revision: str, as_json: bool) -> None:
    from opencwm.debug.why import against_revision

    with progress("running the test, then and now"):
        old, new, changed = against_revision(test, revision, folder=Path.cwd())
    if as_json:
        typer.echo(json.dumps({**_about(new), "then": _about(old), "changed": list(map(_changed_json, changed))}))
        return
    _heading(test, new)
    if not changed:
        typer.echo(f"nothing that was recorded of {len(new.calls)} calls runs otherwise than at {revision}")
        return
    first = changed[0]
    call = first.new or first.old
    assert call is not None
    typer.echo(f"{call.function} in {call.file}:")
    if first.found is None or first.old is None or first.new is None:
        typer.echo(f"is only called {'now' if first.old is None else f'at {revision}'}")
    else:
        diffing.show(first.old.trace, first.new.trace, first.found)
    if len(changed) > 1:
        typer.echo(f"{len(changed) - 1} later calls run otherwise too")


def _by_model(test: str, load: Callable[[], World], as_json: bool) -> None:
    from opencwm.debug.why import against_model, run_test

    with progress("running the test") as say:
        run = run_test(test, folder=Path.cwd())
        say("loading the model")
        world = load()
        found: list[tuple[Call, Unexpected | None]] = []
        for number, answer in enumerate(against_model(run, world), 1):
            say(f"predicting: {number} of {len(run.calls)} calls")
            found.append(answer)
    parted = [unexpected for _, unexpected in found if unexpected is not None]
    if as_json:
        typer.echo(json.dumps({**_about(run), "unexpected": list(map(_unexpected_json, parted))}))
        return
    _heading(test, run)
    for call, unexpected in found:
        told = "as expected"
        if unexpected is not None:
            parting = unexpected.comparison.divergence
            assert parting is not None
            told = f"parts at frame {parting.index}, where the model was {int(100 * unexpected.sure)}% sure"
        typer.echo(f"  {call.function}: {len(call.trace.frames)} frames, {told}")
    if not parted:
        typer.echo("every call that could be predicted runs as expected")
        if run.failure is not None and run.calls:
            typer.echo("so the model would fail this test too: look at what the test wants, and at what it is given")
        return
    screen = render.console()
    first = parted[0]
    blamed = _blamed(run)
    if blamed is not None:  # the call that gave the test its wrong value, if it parts
        first = next((unexpected for unexpected in parted if unexpected.call is blamed), first)
    typer.echo(f"\nthe first state that parts, in {first.call.function} ({first.call.file}):")
    error = render.first_error(first.comparison)
    assert error is not None
    screen.print(error, style="bold")
    for line in _way(first):
        screen.print(line)


def _way(unexpected: Unexpected) -> list[str]:
    """The lines that led to the parting, of its function and of those that called it."""
    from opencwm.debug.timeline import Timeline
    from opencwm.world.interpreter import RecordedRun

    parting = unexpected.comparison.divergence
    assert parting is not None
    trace = unexpected.call.trace
    timeline = Timeline(RecordedRun(trace))
    timeline.to_end()
    at = min(parting.index, timeline.known - 1)
    place = timeline.index.places[at]
    led = [place.previous if place.previous >= 0 else place.caller]
    while led[-1] >= 0 and len(led) < 5:
        led.append(timeline.index.places[led[-1]].previous)
    lines = ["led there by:"]
    for number in reversed([number for number in led if number >= 0]):
        frame = trace.frames[number]
        lines.append(f"  frame {number}, line {frame.line}: {render.printable(trace.source_line(frame.line).strip())}")
    return lines


def _heading(test: str, run: TestRun) -> None:
    typer.echo(f"{test} {'passes' if run.passed else 'fails'}; it makes {len(run.calls)} calls of the project's code")
    failure = run.failure
    if not run.calls and failure is None:
        raise Unusable(
            "nothing of the project was recorded: it is imported from elsewhere, or the test fails before it is called"
        )
    if failure is not None:
        for sentence in failure.sentences():
            typer.echo(f"  {render.printable(sentence)}")
        blamed = _blamed(run)
        if blamed is not None:
            typer.echo(f"  that value was returned by {blamed.function}, call {run.calls.index(blamed) + 1}")
        elif not run.calls:
            typer.echo("  no code of the project was called before: the failure is in the test itself")
    elif not run.passed:
        for line in [line for line in run.output.splitlines() if line.startswith("E ")][:3]:
            typer.echo(render.printable(line))


def _blamed(run: TestRun) -> Call | None:
    """The call that gave the test the value that it did not want."""
    return run.calls[run.failure.call] if run.failure is not None and run.failure.call is not None else None


def _about(run: TestRun) -> dict[str, Any]:
    failure = asdict(run.failure) if run.failure is not None else None
    return {"passed": run.passed, "calls": len(run.calls), "failure": failure}


def _changed_json(changed: Changed) -> dict[str, Any]:
    call = changed.new or changed.old
    assert call is not None
    answer: dict[str, Any] = {"function": call.function, "file": call.file, "only": None}
    if changed.found is None or changed.old is None or changed.new is None:
        return answer | {"only": "now" if changed.old is None else "then"}
    return answer | diffing.to_json(changed.old.trace, changed.new.trace, changed.found)


def _unexpected_json(unexpected: Unexpected) -> dict[str, Any]:
    parting = unexpected.comparison.divergence
    assert parting is not None
    return {
        "function": unexpected.call.function,
        "file": unexpected.call.file,
        "frame": parting.index,
        "sure": unexpected.sure,
        "differences": [str(item) for item in parting.differences],
        "way": _way(unexpected)[1:],
    }
