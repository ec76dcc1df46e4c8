"""What a function is wanted to do, made from one that does it: its signature, and examples from running it.

Notable choice: further examples are the program's own call with one or two arguments changed a little
(`derived.other_value`), so that they tell apart what one example leaves open; they run wherever the program ran.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable

from opencwm.codec import writing
from opencwm.codec.compact import Window
from opencwm.codec.errors import CodecError
from opencwm.codec.writing import Wish
from opencwm.programs.derived import NO_LITERAL, literal, other_value
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

_LONGEST = 80
"""Characters of the longest value in an example."""
Recording = Callable[[Program], Trace]


def examples(program: Program, rng: random.Random, count: int, recording: Recording) -> list[tuple[str, str]]:
    """At most `count` calls, the program's own first, and what they return; none that raises or returns much.

    `recording` runs a program; where it raises RecordError, that call is left out.
    """
    found: dict[str, str] = {}
    calls = [program.call or "", *(other_call(program.call or "", rng) for _ in range(3 * count))]
    for call in calls:
        if not call or call in found or len(found) == count:
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


def other_call(call: str, rng: random.Random) -> str:
    """The call with one or two of its arguments changed; "" where it has none that can be."""
    try:
        node = ast.parse(call, mode="eval").body
    except SyntaxError:
        return ""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return ""
    texts = [ast.unparse(argument) for argument in node.args]
    values = {place: value for place, text in enumerate(texts) if (value := literal(text)) is not NO_LITERAL}
    if not values:
        return ""
    for place in rng.sample(list(values), min(len(values), rng.choice((1, 1, 2)))):
        texts[place] = repr(other_value(values[place], rng))
    texts += [ast.unparse(keyword) for keyword in node.keywords]
    return f"{node.func.id}({', '.join(texts)})"


def lesson(program: Program, trace: Trace, rng: random.Random, *, limits: Limits, max_tokens: int) -> Window | None:
    """A window that asks for the program's function, half of the time with its run first; None where it does not fit.

    Runs the program again in this process, so it must be one that may.
    """
    first = writing.signature(program.source)
    if first is None or program.call is None or trace.outcome.kind != "return":
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
