"""What a function is wanted to do, made from one that does it: its signature, and examples from running it.

Further examples are calls as `inputs.py` makes them: the program's own with an argument changed, edge cases, and what
the source says of the types. They run wherever the program ran.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from opencwm.codec import writing
from opencwm.codec.compact import Window
from opencwm.codec.errors import CodecError
from opencwm.codec.writing import Wish
from opencwm.programs import inputs
from opencwm.programs.derived import NO_LITERAL, literal
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

_LONGEST = 80
"""Characters of the longest value in an example."""
_TRIES = 3
"""Calls that are made for each example wanted: some raise, or return much."""
Recording = Callable[[Program], Trace]


def examples(program: Program, rng: random.Random, count: int, recording: Recording) -> list[tuple[str, str]]:
    """At most `count` calls, the program's own first, and what they return; none that raises or returns much.

    `recording` runs a program; where it raises RecordError, that call is left out.
    """
    name, opening, arguments = (program.call or "").partition("(")
    if not opening:
        return []
    known, seed = [arguments.removesuffix(")")], rng.getrandbits(32)
    others = inputs.for_source(program.source, name, seed=seed, count=_TRIES * count, known=known)
    found: dict[str, str] = {}
    for call in (program.call or "", *others):
        if call in found or len(found) == count:
            continue
        try:
            trace = recording(Program(program.source, call, origin=program.origin))
        except RecordError:
            continue
        value = trace.result or ""
        if trace.outcome.kind == "return" and len(value) <= _LONGEST and literal(value) is not NO_LITERAL:
            found[call] = value
        elif call == program.call:
            return []
    return list(found.items())


def lesson(program: Program, trace: Trace, rng: random.Random, *, limits: Limits, max_tokens: int) -> Window | None:
    """A window that asks for the program's function, half of the time with its run first; None where it does not fit.

    Runs the program again in this process, so it must be one that may.
    """
    first = writing.signature(program.source)
    if first is None or trace.outcome.kind != "return":
        return None
    shown = examples(program, rng, rng.choice((2, 3, 3, 4)), lambda other: record(other, limits=limits))
    if not shown:
        return None
    wish = Wish(first, tuple(shown))
    try:
        run = writing.rehearsal(wish, trace) if rng.random() < 0.5 else None
        window = writing.window(wish, program.source.strip(), trace.python, run)
    except CodecError:
        return None
    return window if len(window.ids) <= max_tokens else None
