"""Several futures side by side: drawn from the model, from any frame on, or from arguments that nobody has given.

Notable choices:
- A future's probability is the share of the draws that gave it: an estimate that needs no trust in the product of many
  small numbers.
- `f(?, 3)` starts the run at `f` itself; the model draws the unknown arguments as it draws everything else, and the
  known ones are put in their place.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from opencwm.debug.lookup import LookupFailed, look_up
from opencwm.debug.session import Lane, Session, SessionError
from opencwm.debug.sources import Played
from opencwm.programs.program import Program, ProgramError
from opencwm.trace.frames import Frame, Trace
from opencwm.world.protocol import Prediction, Run, Runnable, World, WorldError, collect

FRAMES = 200
"""Frames after which a drawn future is cut off."""

UNKNOWN = "__unknown__"


class Sampling(Protocol):
    """A world whose runs can be drawn."""

    name: str

    def run(
        self, program: Runnable, *, prefix: Sequence[Frame] = (), temperature: float = 0.0, seed: int = 0
    ) -> Run: ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """A future, how many of the draws gave it, and what they were drawn as."""

    trace: Trace
    predictions: list[Prediction]
    count: int


def sampling(world: World) -> Sampling:
    """The world, if it can draw. Raises SessionError."""
    if "temperature" not in inspect.signature(world.run).parameters:
        raise SessionError(f"the world {world.name!r} gives one run only: futures are drawn from a local model")
    return world  # type: ignore[return-value]


def draw_futures(
    session: Session, count: int, *, temperature: float = 1.0, seed: int = 0, frames: int = FRAMES
) -> list[Lane]:
    """Draw `count` futures from the current frame on; each different one becomes a lane, the most frequent first.

    Raises SessionError and WorldError; a future that cannot be drawn whole is left out.
    """
    world = sampling(session.sources.world)
    lane, at = session.lane, session.timeline.position
    past = session.timeline.predictions[: at + 1]
    prefix = [prediction.frame for prediction in past]
    drawn: list[tuple[Trace, list[Prediction]]] = []
    for number in range(count):
        session.check_interrupt()
        run = world.run(lane.program, prefix=prefix, temperature=temperature, seed=seed + number)
        drawn.append(collect(run, limit=frames))
    lanes = []
    for future in _grouped(drawn):
        trace = replace(future.trace, frames=(*prefix, *future.trace.frames))
        title = f"future of {future.count} of {count} draws"
        run = Played([*past, *future.predictions], trace)
        added = session.add(
            "sampled", lane.program, run, title=title, parent=lane.number, fork=at + 1, probability=future.count / count
        )
        added.timeline.go_to(at)
        lanes.append(added)
    return lanes


def unknown_arguments(source: str, call: str, *, origin: str = "") -> tuple[Program, dict[str, str]]:
    """The program that starts at the function of a call such as `f(?, 3)`, and its known arguments' texts.

    Raises ProgramError.
    """
    program = Program.parse(source, "None", origin=origin)
    try:
        node = ast.parse(_named(call).strip(), mode="eval").body
    except SyntaxError as error:
        raise ProgramError(f"the call {call!r} is not a Python expression: {error.msg}") from None
    functions = {item.name: item for item in ast.parse(program.source).body if isinstance(item, ast.FunctionDef)}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in functions:
        raise ProgramError(f"with ? the call must name a function of the source: {', '.join(functions) or 'none'}")
    given = functions[node.func.id].args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    if len(node.args) > len(names):
        raise ProgramError(f"the call gives {len(node.args)} arguments, {node.func.id} takes {len(names)}")
    pairs = [*zip(names, node.args, strict=False), *((str(word.arg), word.value) for word in node.keywords)]
    known: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, ast.Name) and value.id == UNKNOWN:
            continue
        try:
            known[name] = look_up(ast.unparse(value), {})
        except LookupFailed as error:
            raise ProgramError(f"the argument {name} is neither ? nor a value: {error}") from None
    return Program(program.source, function=node.func.id, origin=origin), known


def is_unknown(call: str | None) -> bool:
    """Whether a call leaves arguments open."""
    return call is not None and _named(call) != call


def draw_arguments(
    world: World, program: Program, known: dict[str, str], count: int, *, temperature: float = 1.0, seed: int = 0
) -> list[Frame]:
    """Different `call` frames of the entry, with arguments that the model has drawn; fewer where draws are alike."""
    found: dict[str, Frame] = {}
    function = next(
        node
        for node in ast.parse(program.source).body
        if isinstance(node, ast.FunctionDef) and node.name == program.function
    )
    names = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    for number in range(count):
        run = sampling(world).run(program, temperature=temperature, seed=seed + number)
        first = next(iter(run), None)
        if first is None or first.frame.event != "call" or set(first.frame.locals) != names:
            continue
        frame = replace(first.frame, locals={**first.frame.locals, **known})
        found.setdefault(str(frame.locals), frame)
    return list(found.values())


def open_unknown(session: Session, known: dict[str, str], count: int, *, seed: int = 0, frames: int = FRAMES) -> None:
    """Replace a session's lanes by futures of unknown arguments, each with the share of the draws that gave it."""
    world = sampling(session.sources.world)
    drawn: list[tuple[Trace, list[Prediction]]] = []
    for number in range(count):
        for frame in draw_arguments(world, session.program, known, 1, seed=seed + 1000 * number):
            run = world.run(session.program, prefix=[frame], temperature=1.0, seed=seed + 1000 * number)
            trace, predictions = collect(run, limit=frames)
            trace = replace(trace, frames=(frame, *trace.frames))
            drawn.append((trace, [Prediction(frame, source="model"), *predictions]))
    if not drawn:
        raise WorldError("the model has drawn no arguments for this function: give some with --call")
    session.lanes.clear()
    for future in _grouped(drawn):
        arguments = ", ".join(f"{name}={text}" for name, text in future.trace.frames[0].locals.items())
        session.add(
            "sampled",
            session.program,
            Played(future.predictions, future.trace),
            title=f"{session.program.function}({arguments})",
            probability=future.count / len(drawn),
        )
    session.current = 0


def _grouped(drawn: list[tuple[Trace, list[Prediction]]]) -> list[Drawn]:
    """Equal futures together, the most frequent first."""
    groups: list[Drawn] = []
    for trace, predictions in drawn:
        for number, group in enumerate(groups):
            if group.trace.frames == trace.frames and group.trace.outcome == trace.outcome:
                groups[number] = replace(group, count=group.count + 1)
                break
        else:
            groups.append(Drawn(trace, predictions, 1))
    return sorted(groups, key=lambda group: -group.count)


def _named(call: str) -> str:
    """The call with each `?` outside of texts replaced by a name."""
    parts: list[str] = []
    quote = ""
    skip = False
    for letter in call:
        if quote:
            if not skip and letter == quote:
                quote = ""
            skip = letter == "\\" and not skip
        elif letter in "'\"":
            quote = letter
        elif letter == "?":
            letter = UNKNOWN
        parts.append(letter)
    return "".join(parts)
