"""Which input reaches this line, or gives this value? Made up, drawn, tried; only what was verified is told.

Notable choices:
- Every candidate is run in the sandbox, and only those that really reach the line or give the value count. Finding none
  proves nothing, and the answer says so.
- Candidates come from types, literals, names and uses (`programs/inputs.py`) and, where a model is at hand, from its
  own idea of arguments. Later rounds change the arguments that came nearest.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opencwm.debug.futures import draw_arguments
from opencwm.debug.pure import Unknown, value_of
from opencwm.debug.session import SessionError
from opencwm.debug.sources import Sources
from opencwm.programs.batch import record_batch
from opencwm.programs.inputs import for_source
from opencwm.programs.program import Program, ProgramError
from opencwm.sandbox import InfraError
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.world.protocol import WorldError

ROUNDS = 4
ENOUGH = 5
DRAWN = 8
NEAREST = 6
LIMITS = Limits(frames=5000, value_bytes=500, total_bytes=500_000, seconds=2.0, memory_bytes=1 << 30)


@dataclass(frozen=True, slots=True)
class Verified:
    """A call that does what was asked, the value that it gives, and the frame at which it does it."""

    call: str
    value: str | None
    frame: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, how many candidates were run, and what that means."""

    verified: tuple[Verified, ...]
    tried: int
    note: str


def inputs_reaching(
    source: str,
    function: str,
    *,
    line: int | None = None,
    value: str | None = None,
    tries: int = 200,
    sources: Sources | None = None,
    seed: int = 0,
) -> Found:
    """Calls of a top-level function that reach a line, or return (or raise) a value, each verified in the sandbox.

    `sources` with a model that can draw adds candidates. Raises SessionError for a question that makes no sense and
    where there is no sandbox.
    """
    _check(source, function, line, value)
    verified: dict[str, Verified] = {}
    seen: dict[str, None] = {}
    nearest: list[tuple[float, str]] = []
    drawn = _drawn(source, function, sources, seed) if sources is not None else []
    for number in range(ROUNDS):
        count = max(1, tries // ROUNDS)
        known = [*drawn, *(_arguments(call) for _, call in nearest[:NEAREST])]
        calls = [call for call in drawn if call not in seen] if number == 0 else []
        made = for_source(source, function, seed=seed + number, count=2 * count, known=map(_arguments, known))
        calls += [call for call in made if call not in seen]
        calls = calls[:count]
        seen |= dict.fromkeys(calls)
        for call, trace in _run(source, calls):
            frame = _hit(trace, line, value)
            if frame is not None:
                verified.setdefault(call, Verified(call, trace.result, frame))
            else:
                nearest.append((_distance(trace, line, value), call))
        nearest.sort(key=lambda item: (item[0], len(item[1])))
        if len(verified) >= ENOUGH:
            break
    best = sorted(verified.values(), key=lambda one: (len(one.call), one.call))[:ENOUGH]
    if best:
        note = f"{len(verified)} of {len(seen)} candidates do it, run in the sandbox; the shortest are told"
    else:
        note = f"none of {len(seen)} candidates does it; that does not prove that no input does"
    return Found(tuple(best), len(seen), note)


def _check(source: str, function: str, line: int | None, value: str | None) -> None:
    if (line is None) == (value is None):
        raise SessionError("ask for a line or for a value, one of the two")
    try:
        Program.parse(source, "None")
    except ProgramError as error:
        raise SessionError(str(error)) from None
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if function not in names:
        raise SessionError(f"no function {function!r} at the top level; there are: {', '.join(names) or 'none'}")
    if line is not None and not 0 < line <= source.count("\n") + 1:
        raise SessionError(f"line {line} is not in the source")


def _drawn(source: str, function: str, sources: Sources, seed: int) -> list[str]:
    """Calls with arguments that the model has drawn; none where no model can."""
    program = Program(source, function=function)
    try:
        frames = draw_arguments(sources.world, program, {}, DRAWN, seed=seed)
    except (WorldError, SessionError):
        return []
    calls = []
    for frame in frames:
        try:
            parts = [f"{name}={value_of(text)!r}" for name, text in frame.locals.items()]
        except Unknown:
            continue
        calls.append(f"{function}({', '.join(parts)})")
    return calls


def _run(source: str, calls: Sequence[str]) -> Iterable[tuple[str, Trace]]:
    programs = []
    for call in calls:
        try:
            programs.append((call, Program.parse(source, call)))
        except ProgramError:
            continue
    try:
        results = record_batch([program for _, program in programs], limits=LIMITS)
    except InfraError as error:
        raise SessionError(f"candidates cannot be verified: {error}") from None
    for (call, _), ran in zip(programs, results, strict=True):
        if ran.reason is None:
            yield call, ran.trace()


def _hit(trace: Trace, line: int | None, value: str | None) -> int | None:
    """The frame at which a run does what was asked."""
    if line is not None:
        return next((n for n, f in enumerate(trace.frames) if f.line == line and f.event in ("call", "line")), None)
    if trace.result is not None and (trace.result == value or trace.result.partition("(")[0] == value):
        return len(trace.frames) - 1
    return None


def _distance(trace: Trace, line: int | None, value: str | None) -> float:
    """How far a run was from it: lines between, or how unlike the value is."""
    if line is not None:
        return min((abs(frame.line - line) for frame in trace.frames), default=10_000)
    assert value is not None
    try:
        one, other = value_of(trace.result or ""), value_of(value)
        if isinstance(one, int | float) and isinstance(other, int | float):
            return min(float(abs(one - other)), 1e9)
    except (Unknown, OverflowError):
        pass
    return 1e9 + abs(len(trace.result or "") - len(value))


def _arguments(call: str) -> str:
    return call.partition("(")[2].removesuffix(")")
