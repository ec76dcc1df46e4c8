"""Derived tasks: questions about a recorded run that a debugger's user asks, and what-ifs, all answered by running.

Answers are read off the recorded run, except for a counterfactual: there the program runs again with one local variable
changed on the way (`counterfactual.py`), wherever it ran the first time: in this process or in a sandbox.
How a task is written as tokens is said in `codec/tasks.py`.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable
from typing import Protocol

from opencwm.codec import tasks
from opencwm.codec.compact import Encoder, Window
from opencwm.codec.errors import CodecError
from opencwm.programs.counterfactual import Change, rerun, shown
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError

KINDS = ("step over", "step out", "run to", "continue", "output", "count", "before", "change", "arguments")


class Rerun(Protocol):
    """Runs a program with a change; `counterfactual.rerun` does it in this process. Raises RecordError."""

    def __call__(self, program: Program, change: Change, *, limits: Limits, steps: bool) -> Trace: ...


def derive(
    kind: str,
    program: Program,
    encoder: Encoder,
    rng: random.Random,
    *,
    max_tokens: int,
    limits: Limits,
    steps: bool,
    again: Rerun = rerun,
) -> Window | None:
    """A window that asks for `kind` at a random point of a recorded run; None where the run has no such question.

    `again` runs the program a second time where the question is a what-if.
    """
    trace = encoder.trace
    try:
        if kind == "output":
            window = tasks.finish(encoder, 0)
        elif kind == "arguments":
            window = _arguments(program, trace, rng)
        else:
            at = _point(trace, rng, kind)
            if kind == "change":
                change = _change(encoder.trace, at, rng)
                after = shown(trace, again(program, change, limits=limits, steps=steps), change)
                if after is None:
                    return None
                window = tasks.change(encoder, Encoder(after), at, change.name, change.text, max_tokens)
            elif kind == "run to":
                window = tasks.run_to(encoder, at, _line(trace, at, rng))
            else:
                window = _BY_POINT[kind](encoder, at)
    except (tasks.Unanswerable, CodecError, RecordError):
        return None
    return window if len(window.ids) <= max_tokens else None


_BY_POINT: dict[str, Callable[[Encoder, int], Window]] = {
    "step over": tasks.step_over, "step out": tasks.step_out, "continue": tasks.finish, "count": tasks.count,
    "before": tasks.before,
}  # fmt: skip


def _point(trace: Trace, rng: random.Random, kind: str) -> int:
    """A number of frames after which a state is known; for a step over rather one where a function is called next."""
    frames = trace.frames
    points = [i + 1 for i, frame in enumerate(frames) if frame.event == "line" or (frame.event == "call" and i)]
    if kind == "change":
        points = [at for at in points if frames[at - 1].event == "line" and frames[at - 1].locals]
    if kind == "step over" and rng.random() < 0.6:
        calling = [at for at in points if at < len(frames) and frames[at].event == "call"]
        points = calling or points
    if not points:
        raise tasks.Unanswerable("no such point")
    return rng.choice(points)


def _line(trace: Trace, at: int, rng: random.Random) -> int:
    """A line to run to: three times in four one that is reached, else any line of the functions that run."""
    reached = sorted({frame.line for frame in trace.frames[at:] if frame.event == "line"})
    if reached and rng.random() < 0.75:
        return rng.choice(reached)
    first = min((frame.line for frame in trace.frames if frame.event == "line"), default=1)
    lines = [number for number in range(first, trace.context.count("\n") + 1) if trace.source_line(number).strip()]
    return rng.choice(lines or [first])


def _arguments(program: Program, trace: Trace, rng: random.Random) -> Window:
    if program.call is None:
        raise tasks.Unanswerable("the source itself holds the call")
    calls = [i for i, frame in enumerate(trace.frames) if frame.event == "call" and frame.locals and frame.depth == 1]
    if not calls:
        raise tasks.Unanswerable("nothing was called with arguments")
    return tasks.arguments(trace, rng.choice(calls), program.source.rstrip() + "\n")


def _change(trace: Trace, at: int, rng: random.Random) -> Change:
    frame = trace.frames[at - 1]
    options = {name: value for name, text in frame.locals.items() if (value := literal(text)) is not NO_LITERAL}
    if not options:
        raise tasks.Unanswerable("no variable can be changed")
    name = rng.choice(list(options))
    text = repr(other_value(options[name], rng))
    if text == frame.locals[name]:
        raise tasks.Unanswerable("the value is the same")
    return Change(at, name, text)


NO_LITERAL = object()
"""What `literal` gives for a text that is not a whole value."""


def literal(text: str) -> object:
    """The value that a variable's text stands for, if the text says it all; else a mark of its own."""
    if len(text) > 200 or "<" in text or "..." in text:
        return NO_LITERAL
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return NO_LITERAL
    return value if type(value) in _OTHERS else NO_LITERAL


def other_value(value: object, rng: random.Random) -> object:
    """Another value of the same type, near the old one."""
    return _OTHERS[type(value)](value, rng)


def _other_int(value: int, rng: random.Random) -> int:
    return rng.choice((value + 1, value - 1, -value, 0, value + rng.randint(2, 9), value // 2))


def _other_float(value: float, rng: random.Random) -> float:
    return rng.choice((value + 0.5, -value, 0.0, value / 2, value * 2))


def _other_str(value: str, rng: random.Random) -> str:
    letter = rng.choice("abcxyz019 -")
    place = rng.randrange(len(value) + 1)
    changed = value[:place] + letter + value[place:]
    return rng.choice((changed, value[:place] + value[place + 1 :], value.upper(), value[::-1], value + letter, ""))


def _other_list(value: list[object], rng: random.Random) -> list[object]:
    if not value:
        return [rng.randint(0, 9)]
    place = rng.randrange(len(value))
    item = value[place]
    new = other_value(item, rng) if type(item) in _OTHERS else item
    return rng.choice((
        value[:place] + value[place + 1 :], value[::-1], [*value, item], [*value[:place], new, *value[place + 1 :]],
    ))  # fmt: skip


def _other_dict(value: dict[object, object], rng: random.Random) -> dict[object, object]:
    if not value:
        return {rng.choice("abc"): rng.randint(0, 9)}
    key = rng.choice(list(value))
    rest = {k: v for k, v in value.items() if k != key}
    item = value[key]
    new = other_value(item, rng) if type(item) in _OTHERS else item
    return rng.choice((rest, {**value, key: new}))


_OTHERS: dict[type, Callable[..., object]] = {
    int: _other_int,
    bool: lambda value, rng: not value,
    float: _other_float,
    str: _other_str,
    list: _other_list,
    tuple: lambda value, rng: tuple(_other_list(list(value), rng)),
    dict: _other_dict,
}
