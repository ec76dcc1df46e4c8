"""Simple statements: assignments, mutations, branches, guards and `try`, each over what is in scope.

Every function here takes a writer, writes at least one line and returns nothing; `simple` picks one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from opencwm.programs.write.changes import change, mutable
from opencwm.programs.write.writer import Variable, Writer

_RESULTS = (
    ("str", 26), ("int", 20), ("strs", 16), ("ints", 14), ("bool", 5), ("counts", 5), ("pairs", 1.5), ("tints", 2),
    ("tstrs", 2.5), ("words", 1), ("names", 1), ("table", 1), ("intset", 1), ("strset", 1), ("rows", 1), ("float", 0.6),
    ("bytes", 0.4), ("groups", 0.4),
)  # fmt: skip
RESULT_TYPES = tuple(name for name, _ in _RESULTS)
RESULT_WEIGHTS = tuple(weight for _, weight in _RESULTS)


def assign(writer: Writer) -> None:
    """A new variable from an expression."""
    type_ = writer.rng.choices(RESULT_TYPES, RESULT_WEIGHTS)[0]
    text = writer.value(type_)
    variable = writer.define(type_)
    writer.emit(f"{variable.name} = {text}")


def reassign(writer: Writer) -> None:
    """A variable from an expression over it, or an augmented assignment."""
    variable = _assignable(writer, ("str", "int", "ints", "strs", "tints", "counts"))
    if variable is None:
        return assign(writer)
    if variable.type == "int" and writer.chance(0.6):
        operator = writer.choose("+=", "+=", "-=", "*=", "//=", "%=")
        operand = writer.value("int", 1) if operator in ("+=", "-=") else writer.value("modulus")
        writer.emit(f"{variable.name} {operator} {operand}")
        variable.reads += 1
    elif variable.type == "str" and not variable.grown and writer.chance(0.3):
        addition = writer.value("str" if not writer.loops else "sub", 1)
        writer.emit(f"{variable.name} += {addition}")
        variable.reads += 1
    elif variable.type == "str" and (writer.loops or variable.grown):
        writer.emit(f"{variable.name} = {writer.about(variable, 'steady')}")
    else:
        writer.emit(f"{variable.name} = {writer.about(variable, variable.type, writer.depth - 1)}")
    variable.pending, variable.low, variable.bound, variable.value, variable.grown = True, 0, None, None, True


def _assignable(writer: Writer, types: tuple[str, ...]) -> Variable | None:
    options = [v for v in writer.scope if v.type in types and not v.fixed and not v.frozen and v.of is None]
    return writer.rng.choice(options) if options else None


def mutate(writer: Writer) -> None:
    """A change in place, or a new value for a variable if nothing is mutable."""
    variable = mutable(writer)
    if variable is None:
        reassign(writer)
    else:
        change(writer, variable)


def unpack(writer: Writer) -> None:
    """Several names at once: a split, a partition, a divmod, a starred list, or a swap."""
    choice = writer.rng.random()
    if choice < 0.3 and writer.has("plainstr"):
        call = writer.choose("partition", "rpartition")
        text = f"{writer.value('plainstr', 0, level=12)}.{call}({writer.value('sepn')})"
        writer.emit(f"{', '.join([writer.define('str', 'word').name for _ in range(3)])} = {text}")
    elif choice < 0.5 and writer.has("int"):
        text = f"divmod({writer.value('int', 0)}, {writer.value('modulus')})"
        writer.emit(f"{', '.join([writer.define('int').name for _ in range(2)])} = {text}")
    elif choice < 0.7:
        over = next((v for v in writer.scope if v.type in ("ints", "strs") and v.low > 0), None)
        if over is None:
            return assign(writer)
        element = "int" if over.type == "ints" else "str"
        text = writer.read(over)
        first = writer.define(element, "item" if element == "int" else "word")
        rest = writer.define(over.type)
        ends = f"{first.name}, *{rest.name}" if writer.chance(0.6) else f"*{rest.name}, {first.name}"
        writer.emit(f"{ends} = {text}")
    elif choice < 0.85:
        options = [v for v in writer.scope if v.type in ("int", "str", "ints") and not v.fixed and not v.frozen]
        pairs = [(a, b) for a in options for b in options if a is not b and a.type == b.type]
        if not pairs:
            return assign(writer)
        first, rest = writer.rng.choice(pairs)
        writer.emit(f"{first.name}, {rest.name} = {writer.read(rest)}, {writer.read(first)}")
        for variable in (first, rest):
            variable.pending, variable.low, variable.bound, variable.value = True, 0, None, None
    else:
        types = [writer.rng.choices(RESULT_TYPES[:4], RESULT_WEIGHTS[:4])[0] for _ in range(2)]
        texts = ", ".join([writer.value(type_, 1, level=1) for type_ in types])
        writer.emit(f"{', '.join([writer.define(type_).name for type_ in types])} = {texts}")


def branch(writer: Writer) -> None:
    """`if`, at times with `elif` and `else`, around changes of what exists."""
    before = len(writer.lines)
    writer.open(f"if {writer.value('bool', writer.depth)}:")
    _inside(writer)
    writer.close()
    if writer.room > 2 and writer.chance(0.2):
        writer.open(f"elif {writer.value('bool', 1)}:")
        _inside(writer)
        writer.close()
    if writer.room > 1 and writer.chance(0.45):
        writer.open("else:")
        _inside(writer)
        writer.close()
    for variable in writer.scope:
        if any(variable.name in line for line in writer.lines[before:]):
            variable.low = 0


def _inside(writer: Writer) -> None:
    """One or two lines that matter outside of their block."""
    for _ in range(1 if writer.room < 4 or writer.chance(0.75) else 2):
        choice = writer.rng.random()
        variable = mutable(writer)
        if variable is not None and choice < 0.5:
            change(writer, variable)
        elif choice < 0.85 and _assignable(writer, ("str", "int", "ints", "strs", "tints", "counts")) is not None:
            reassign(writer)
        else:
            writer.emit(f"return {writer.value(returned(writer), 1)}")
            return


def returned(writer: Writer) -> str:
    """A type for an early return's value."""
    return writer.choose("str", "int", "bool", "strs", "ints", "str", "int")


def guard(writer: Writer) -> None:
    """An early return, or rarely a raise or an assertion, on a condition."""
    if writer.chance(0.05):
        message = writer.choose("", ", 'bad input'", ", 'unexpected'")
        writer.emit(f"assert {writer.value('bool', 1, level=1)}{message}")
        return
    writer.open(f"if {writer.value('bool', 1)}:")
    choice = writer.rng.random()
    if choice < 0.5:
        constant = writer.choose("None", "''", "0", "-1", "[]", "False", "True", "{}", "'no'", "'error'", "1")
        writer.emit(f"return {constant}")
    elif choice < 0.9:
        writer.emit(f"return {writer.value(returned(writer), 1)}")
    else:
        message = writer.choose("bad value", "empty", "too long", "not allowed", "negative")
        writer.emit(f"raise {writer.choose('ValueError', 'ValueError', 'KeyError', 'TypeError')}('{message}')")
    writer.close()


_RISKS = (
    ("int", "int({str})", "ValueError"), ("int", "{str}.index({sub})", "ValueError"),
    ("int", "{ints}[{large}]", "IndexError"), ("int", "{counts}[{key}]", "KeyError"),
    ("int", "{int} // {int}", "ZeroDivisionError"), ("str", "{str}[{large}]", "IndexError"),
    ("int", "{ints}.index({int})", "ValueError"), ("str", "{strs}[{small}]", "IndexError"),
    ("str", "{words}[{key}]", "KeyError"), ("int", "{ints}.pop()", "IndexError"), ("int", "max({ints})", "ValueError"),
    ("int", "{int} + {str}", "TypeError"), ("str", "{str} + {int}", "TypeError"),
    ("int", "{str}.size", "AttributeError"),
)  # fmt: skip


def attempt(writer: Writer) -> None:
    """`try` around something that may fail, with a fallback; sometimes with `else` or `finally`."""
    rng = writer.rng
    usable = [r for r in _RISKS if writer.has(r[1].split("{")[1].split("}")[0])]
    if not usable:
        return branch(writer)
    type_, template, error = rng.choice(usable)
    writer.recent.clear()
    text = re.sub(r"\{(\w+)\}", lambda hole: writer.expression(hole.group(1), 0, needs=True)[0], template)
    variable = None if writer.chance(0.3) else writer.define(type_, "count" if type_ == "int" else "built")
    start = "return " if variable is None else f"{variable.name} = "
    writer.open("try:")
    writer.emit(start + text)
    writer.close()
    caught = error if writer.chance(0.8) else writer.choose("Exception", f"({error}, TypeError)", "LookupError")
    named = writer.chance(0.12) and variable is None
    writer.open(f"except {caught}{' as e' if named else ''}:")
    fallback = "str(e)" if named else writer.literal(type_)[0]
    if not named and writer.chance(0.4):
        scope = writer.scope
        writer.scope = [v for v in scope if v is not variable]  # it has no value yet
        fallback = writer.value(type_, 0)
        writer.scope = scope
    writer.emit(start + fallback)
    writer.close()


_SIMPLE: tuple[tuple[float, Callable[[Writer], None]], ...] = (
    (30, assign), (14, reassign), (24, mutate), (6, unpack), (12, branch), (6, guard), (4, attempt),
)  # fmt: skip
_FUNCTIONS = tuple(function for _, function in _SIMPLE)
_WEIGHTS = tuple(weight for weight, _ in _SIMPLE)


def simple(writer: Writer) -> None:
    """A random statement of this module that fits the room left."""
    function = writer.rng.choices(_FUNCTIONS, _WEIGHTS)[0]
    if (function in (branch, guard) and writer.room < 2) or (function is attempt and writer.room < 4):
        function = assign
    function(writer)
