"""Whole programs: arguments, a body of statements and loops, a return value, a call."""

from __future__ import annotations

import random

from opencwm.programs.write.classes import matching, small_class
from opencwm.programs.write.drills import drill
from opencwm.programs.write.idioms import idiom
from opencwm.programs.write.loops import loop
from opencwm.programs.write.recursion import recursion
from opencwm.programs.write.statements import RESULT_TYPES, RESULT_WEIGHTS, simple
from opencwm.programs.write.structures import closure, generator, helper
from opencwm.programs.write.writer import Variable, Writer

_ARGUMENTS = (
    ("str", 46), ("ints", 20), ("strs", 12), ("counts", 9), ("int", 5), ("tints", 1.5), ("words", 2.5), ("names", 2),
    ("table", 1), ("groups", 1), ("pairs", 1), ("rows", 1), ("digits", 2), ("tstrs", 1), ("strset", 1),
    ("intset", 1.2),
)  # fmt: skip
_TYPES = tuple(name for name, _ in _ARGUMENTS)
_WEIGHTS = tuple(weight for _, weight in _ARGUMENTS)
_STRUCTURES = (helper, closure, generator, recursion, small_class, matching)
_STRUCTURE_WEIGHTS = (9, 4, 4, 5, 4, 1.5)
_EXTRA = ("int", "sub", "str", "ints", "strs", "bool", "counts")
_EXTRA_WEIGHTS = (30, 28, 14, 9, 6, 2, 3)


LONGEST = 350
"""Characters of source; a longer program is written anew."""


def compose(rng: random.Random, difficulty: float, only: str | None = None) -> tuple[str, str]:
    """Source and call of a program; `only` "drills" or "programs", or None for both."""
    while True:
        source, call = _any(rng, difficulty, only)
        if len(source) <= LONGEST:
            return source, call


def _any(rng: random.Random, difficulty: float, only: str | None) -> tuple[str, str]:
    if only == "drills" or (only is None and rng.random() < 0.45 - 0.5 * difficulty):
        return drill(rng, difficulty)
    if rng.random() < 0.06 + 0.24 * difficulty:
        return rng.choices(_STRUCTURES, _STRUCTURE_WEIGHTS)[0](rng, difficulty, finish)
    return function(rng, difficulty)


def function(rng: random.Random, difficulty: float) -> tuple[str, str]:
    """One function of a few statements."""
    room = _room(rng, difficulty)
    deep = rng.random() < (0.3 + 0.5 * difficulty if room > 2 else 0.8)
    writer = Writer(rng, depth=1 + deep, room=room)
    writer.argument(rng.choices(_TYPES, _WEIGHTS)[0])
    for _ in range(rng.choices((0, 1, 2), (40, 45, 15))[0]):
        writer.argument(rng.choices(_EXTRA, _EXTRA_WEIGHTS)[0])
    nest = int(rng.random() < difficulty * 0.5)
    while writer.room > 1:
        choice = rng.random()
        if choice < 0.24 and writer.room > 2 and idiom(writer):
            continue
        if choice < 0.44 and writer.room > 3:
            loop(writer, nest)
        elif len(writer.lines) > 1 and choice > 0.93:
            break
        else:
            simple(writer)
    finish(writer)
    return writer.signature()


def _room(rng: random.Random, difficulty: float) -> int:
    return 1 + int(rng.random() * (1.2 + 8.5 * difficulty) + difficulty * 2)


def finish(writer: Writer) -> None:
    """The return statement: what is pending goes into it."""
    pending = [v for v in writer.scope if v.pending and not v.argument]
    changed = [v for v in writer.scope if v.pending and v.argument and v.reads]
    waiting = (pending + changed)[-3:]
    rng = writer.rng
    if not waiting and not any(v.reads for v, _ in writer.arguments):
        writer.emit(f"return {writer.about(writer.arguments[0][0], rng.choice(('str', 'int', 'bool')), 1)}")
    elif not waiting:
        writer.emit(f"return {writer.value(rng.choices(RESULT_TYPES[:6], RESULT_WEIGHTS[:6])[0])}")
    elif len(waiting) == 1:
        variable = waiting[0]
        if variable.type == "strs" and rng.random() < 0.55:
            text = f"{writer.value('sep')}.join({writer.read(variable)})"
        elif writer.lines and rng.random() < 0.6:
            text = writer.read(variable)
            if variable.type in ("strset", "intset"):
                text = f"sorted({text})"
        else:
            text = writer.about(variable, rng.choices(RESULT_TYPES[:5], RESULT_WEIGHTS[:5])[0], writer.depth - 1)
        writer.emit(f"return {text}")
    else:
        writer.emit(f"return {_combined(writer, waiting)}")


def _combined(writer: Writer, waiting: list[Variable]) -> str:
    rng = writer.rng
    if rng.random() < 0.25:
        waiting = waiting[-1:]
        if waiting[0].type == "strs":
            return f"{writer.value('sep')}.join({writer.read(waiting[0])})"
    types = {v.type for v in waiting}
    texts = [f"sorted({writer.read(v)})" if v.type in ("strset", "intset") else writer.read(v) for v in waiting]
    if types == {"int"} and rng.random() < 0.6:
        return f" {writer.choose('+', '-', '*', '+')} ".join(texts[:2] if len(texts) > 2 else texts)
    if types <= {"str", "word", "char"} and rng.random() < 0.6:
        return " + ".join(texts)
    if len(types) == 1 and types <= {"ints", "strs"} and rng.random() < 0.6:
        return " + ".join(texts)
    if types <= {"strs", "str"} and rng.random() < 0.6:
        joined = (
            t if v.type == "str" else f"{writer.value('sep')}.join({t})" for v, t in zip(waiting, texts, strict=True)
        )
        return " + ".join(joined)
    if types <= {"int", "str"} and rng.random() < 0.5:
        pieces = writer.choose("-", " ", ":", "", "/").join("{" + text + "}" for text in texts)
        return f"f'{pieces}'"
    choice = rng.random()
    if choice < 0.75 or len(texts) != 2:
        return ", ".join(texts) if choice < 0.6 else f"[{', '.join(texts)}]"
    test = writer.value("bool", 1, level=1)
    return f"{texts[0]} if {test} else {texts[1]}"
