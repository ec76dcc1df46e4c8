"""Whole programs: arguments, a body of statements and loops, a return value, a call; and the ladder of structures."""

from __future__ import annotations

import random

from opencwm.programs.write import (
    micro,
    skeletons_classes,
    skeletons_everyday,
    skeletons_exceptions,
    skeletons_flow,
    skeletons_functions,
)
from opencwm.programs.write.classes import matching, small_class
from opencwm.programs.write.copying import copying
from opencwm.programs.write.drills import drill
from opencwm.programs.write.idioms import idiom
from opencwm.programs.write.loops import loop
from opencwm.programs.write.recursion import recursion
from opencwm.programs.write.skeletons import skeleton
from opencwm.programs.write.statements import RESULT_TYPES, RESULT_WEIGHTS, simple
from opencwm.programs.write.structures import closure, generator, helper
from opencwm.programs.write.style import dress
from opencwm.programs.write.variation import vary
from opencwm.programs.write.writer import Variable, Writer

# importing these fills the register of skeletons
_REGISTERED = (
    micro, skeletons_classes, skeletons_everyday, skeletons_exceptions, skeletons_flow, skeletons_functions,
)  # fmt: skip
_ARGUMENTS = (
    ("str", 46), ("ints", 20), ("strs", 12), ("counts", 9), ("int", 6), ("tints", 2.5), ("words", 2.5), ("names", 2),
    ("table", 1), ("groups", 1.5), ("pairs", 1), ("rows", 2), ("digits", 2), ("tstrs", 1.5), ("strset", 2),
    ("intset", 2.5), ("float", 2), ("floats", 2), ("bytes", 1.2),
)  # fmt: skip
_TYPES = tuple(name for name, _ in _ARGUMENTS)
_WEIGHTS = tuple(weight for _, weight in _ARGUMENTS)
_STRUCTURES = (helper, closure, generator, recursion, small_class, matching)
_STRUCTURE_WEIGHTS = (9, 4, 4, 5, 4, 1.5)
_TOPICS = ("everyday", "functions", "flow", "classes", "exceptions", "endless")
_TOPIC_WEIGHTS = (22, 22, 20, 18, 14, 0.5)
_EXTRA = ("int", "sub", "str", "ints", "strs", "bool", "counts", "float", "intset")
_EXTRA_WEIGHTS = (30, 28, 14, 9, 6, 2, 3, 1.5, 1)
_LONGEST = 350
_LONGEST_OF_ALL = 1100
"""Characters of source; a longer program is written anew."""


def compose(rng: random.Random, difficulty: float, only: str | None = None) -> tuple[str, str]:
    """Source and call of a program; `only` "drills", "programs" or "exceptions", or None for all."""
    while True:
        longest, source, call = _any(rng, difficulty, only)
        if len(source) <= longest:
            return dress(rng, source, call)


def _any(rng: random.Random, difficulty: float, only: str | None) -> tuple[int, str, str]:
    if only == "exceptions":
        return _varied(rng, _LONGEST_OF_ALL, *skeleton(rng, "exceptions"))
    if only == "drills" or (only is None and rng.random() < 0.45 - 0.5 * difficulty):
        choice = rng.random()
        if choice < 0.25:
            return _varied(rng, _LONGEST_OF_ALL, *skeleton(rng, "micro"))
        if choice < 0.5:
            return _LONGEST_OF_ALL, *copying(rng)
        return _LONGEST, *drill(rng, difficulty)
    choice = rng.random()
    if choice < 0.06 + 0.2 * difficulty:
        structure = rng.choices(_STRUCTURES, _STRUCTURE_WEIGHTS)[0]
        return _varied(rng, _LONGEST, *structure(rng, difficulty, finish))
    if choice < 0.12 + 0.36 * difficulty:
        return _varied(rng, _LONGEST_OF_ALL, *skeleton(rng, rng.choices(_TOPICS, _TOPIC_WEIGHTS)[0]))
    if choice < 0.13 + 0.43 * difficulty:
        return _LONGEST_OF_ALL, *function(rng, difficulty, rng.randint(10, 24))
    source, call = function(rng, difficulty, _room(rng, difficulty))
    if source.count("\n") < 4 and rng.random() < 0.3 + 0.4 * difficulty:
        return _varied(rng, _LONGEST, source, call)
    return _LONGEST, source, call


def _varied(rng: random.Random, longest: int, source: str, call: str) -> tuple[int, str, str]:
    return longest + 100, vary(rng, source, call), call


def function(rng: random.Random, difficulty: float, room: int) -> tuple[str, str]:
    """One function of a few statements, or many: about `room` lines."""
    deep = rng.random() < (0.3 + 0.5 * difficulty if room > 2 else 0.8)
    writer = Writer(rng, depth=1 + deep, room=room)
    writer.argument(rng.choices(_TYPES, _WEIGHTS)[0])
    for _ in range(rng.choices((0, 1, 2), (40, 45, 15) if room < 10 else (10, 50, 40))[0]):
        writer.argument(rng.choices(_EXTRA, _EXTRA_WEIGHTS)[0])
    nest = int(rng.random() < difficulty * 0.5) + int(room > 9)
    while writer.room > 1:
        choice = rng.random()
        if choice < 0.24 and writer.room > 2 and idiom(writer):
            continue
        if choice < 0.44 and writer.room > 3:
            loop(writer, nest)
        elif len(writer.lines) > 1 and choice > (0.93 if room < 10 else 0.99):
            break
        else:
            simple(writer)
    if writer.lines or writer.chance(0.2):
        finish(writer)
    else:
        types = [rng.choices(RESULT_TYPES[:8], RESULT_WEIGHTS[:8])[0] for _ in range(rng.choice((2, 2, 3)))]
        texts = ", ".join([writer.value(type_, 1 if type_ != types[0] else 2, level=1) for type_ in types])
        writer.emit(f"return {texts if writer.chance(0.7) else f'[{texts}]'}")
    return writer.signature()


def _room(rng: random.Random, difficulty: float) -> int:
    return 1 + int(rng.random() * (2.4 + 8.0 * difficulty) + difficulty * 2)


def finish(writer: Writer) -> None:
    """The return statement: what is pending goes into it."""
    pending = [v for v in writer.scope if v.pending and not v.argument]
    changed = [v for v in writer.scope if v.pending and v.argument and v.reads]
    waiting = (pending + changed)[-3:]
    rng = writer.rng
    if not any(v.reads for v, _ in writer.arguments):
        texts = [writer.about(writer.arguments[0][0], rng.choice(("str", "int", "bool")), 1)]
        texts += [f"sorted({writer.read(v)})" if v.type in ("strset", "intset") else writer.read(v) for v in waiting]
        writer.emit(f"return {', '.join(texts)}")
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
