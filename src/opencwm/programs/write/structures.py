"""Programs of more than one scope: a helper, a closure, a generator.

Every function here takes a random state and a difficulty and gives the source and the call of a whole program.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from opencwm.programs.write import names
from opencwm.programs.write.idioms import item, local, start
from opencwm.programs.write.loops import accumulator, update
from opencwm.programs.write.statements import simple
from opencwm.programs.write.writer import Variable, Writer

_SEQUENCES = ("ints", "ints", "ints", "strs", "strs", "str", "str", "tints")
Finish = Callable[[Writer], None]


def begin(rng: random.Random, used: str = "") -> tuple[Writer, Variable]:
    """A writer with a sequence as its first argument, and perhaps a second argument."""
    writer = Writer(rng, depth=1, room=8)
    writer.used.add(used)
    over = writer.argument(rng.choice(_SEQUENCES))
    if rng.random() < 0.35:
        writer.argument(rng.choice(("int", "sub", "int")))
    return writer, over


def _use(writer: Writer, over: Variable, call: str, result: str) -> None:
    """Lines that apply `call` (with a hole for the item) to the items of a sequence."""
    x = local(writer, item("x", over).type, "item")
    name = writer.read(over)
    made = Variable(call.format(x.name), result)
    choice = writer.rng.random()
    if choice < 0.2:
        text = (
            f"list(map({call.split('(')[0]}, {name}))"
            if call.endswith("({})")
            else f"[{made.name} for {x.name} in {name}]"
        )
        start(writer, "strs" if result == "word" else "ints", "list", text).pending = True
    elif choice < 0.45:
        test = f" if {writer.about(writer.choose_one((x, made)), 'bool', level=1)}" if writer.chance(0.5) else ""
        start(
            writer, "strs" if result == "word" else "ints", "list", f"[{made.name} for {x.name} in {name}{test}]"
        ).pending = True
    else:
        into = accumulator(writer, over)
        writer.open(f"for {x.name} in {name}:")
        writer.loops += 1
        if result == "bool" or writer.chance(0.3):
            writer.open(f"if {made.name if result == 'bool' else writer.about(made, 'bool')}:")
            update(writer, into, x if writer.chance(0.6) or result == "bool" else made, [x])
            writer.close()
        else:
            update(writer, into, made, [made])
        writer.loops -= 1
        writer.close()
        into.pending = True


def _step(writer: Writer, x: Variable, result: str) -> None:
    """The body of a helper over one item: one expression, or two by a test."""
    first = ""
    wanted = {"word": "shown", "int": "cell"}.get(result, result)
    if writer.chance(0.55):
        writer.open(f"if {writer.about(x, 'bool', 0)}:")
        first = writer.about(x, wanted, 1)
        writer.emit(f"return {first}")
        writer.close()
    elif writer.chance(0.25):
        extra = local(writer, "word" if result == "word" else "int", "val")
        writer.emit(f"{extra.name} = {writer.about(x, 'shown' if result == 'word' else 'cell', 1)}")
        writer.emit(f"return {writer.about(extra, wanted, 0)}")
        return
    for _ in range(4):
        text = writer.about(x, wanted, 1) if writer.chance(0.8) or result == "bool" else x.name
        if text != first:
            break
    writer.emit(f"return {text}")


def _result(x: Variable, rng: random.Random) -> str:
    return (
        rng.choice(("int", "int", "bool", "word")) if x.type == "int" else rng.choice(("word", "word", "bool", "int"))
    )


def helper(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A second top-level function, applied to the items of a sequence."""
    writer, over = begin(rng)
    name = names.helper_name(rng, writer.used)
    writer.used.add(name)
    inner = Writer(rng, depth=1, room=4, pool=writer.pool)
    x = inner.define(item("x", over).type, "item" if over.type in ("ints", "tints") else "word")
    inner.used.add(name)
    result = _result(x, rng)
    extra = ""
    if rng.random() < 0.3:
        second = inner.define("int", "int", bound=5)
        inner.loops = 1
        extra = second.name
    _step(inner, x, result)
    others = [v for v in writer.scope if v.type == "int"]
    given = writer.read(others[0]) if extra and others else str(rng.randint(1, 5))
    call = f"{name}({{}}, {given})" if extra else f"{name}({{}})"
    _use(writer, over, call, result)
    if rng.random() < difficulty:
        simple(writer)
    finish(writer)
    head = f"def {name}({x.name}{', ' + extra if extra else ''}):"
    source, entry = writer.signature()
    first, second_part = "\n".join((head, *inner.lines)), source
    return first + rng.choice(("\n\n", "\n")) + second_part, entry


def closure(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A nested function that uses, or with `nonlocal` changes, a name of the function around it."""
    writer, over = begin(rng)
    name = names.helper_name(rng, writer.used)
    writer.used.add(name)
    x = local(writer, item("x", over).type, "item")
    if rng.random() < 0.35:
        count = start(writer, "int", "count", rng.choice(("0", "0", "1", "10")))
        writer.open(f"def {name}({x.name}):")
        writer.emit(f"nonlocal {count.name}")
        writer.emit(f"{count.name} {rng.choice(('+=', '+=', '-='))} {rng.choice(('1', '2', writer.about(x, 'cell')))}")
        writer.emit(
            f"return {rng.choice((count.name, x.name, writer.about(x, 'shown' if x.type != 'int' else 'cell')))}"
        )
        writer.close()
        collected = f"[{name}({x.name}) for {x.name} in {writer.read(over)}]"
        start(writer, "ints" if x.type == "int" else "any_list", "list", collected).pending = True
        count.pending = True
    else:
        result = _result(x, rng)
        writer.open(f"def {name}({x.name}):")
        outer = [v for v in writer.scope if v.type == "int"]
        if outer and x.type == "int" and rng.random() < 0.7:
            writer.emit(f"return {x.name} {rng.choice('+-*')} {writer.read(outer[0])}")
            result = "int"
        else:
            _step(writer, x, result)
        writer.close()
        _use(writer, over, f"{name}({{}})", result)
    finish(writer)
    return writer.signature()


def generator(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A generator function, and what consumes it."""
    name = rng.choice(("gen", "walk", "stream", "each", "produce", "emit", "visit"))
    inner, over = begin(rng, used=name)
    x = local(inner, item("x", over).type, "item")
    numbers = x.type == "int"
    wanted = "cell" if numbers else "shown"
    i = local(inner, "int", "index")
    indexed = rng.random() < 0.25
    header = (
        f"for {i.name}, {x.name} in enumerate({inner.read(over)}):"
        if indexed
        else f"for {x.name} in {inner.read(over)}:"
    )
    inner.open(header)
    if rng.random() < 0.6:
        inner.open(f"if {inner.about(i if indexed and rng.random() < 0.5 else x, 'bool')}:")
        inner.emit(f"yield {x.name if rng.random() < 0.4 else inner.about(x, wanted)}")
        inner.close()
        if rng.random() < 0.25:
            inner.open("else:")
            inner.emit(rng.choice(("return", f"yield {inner.about(x, wanted)}")))
            inner.close()
    else:
        inner.emit(f"yield {inner.about(x, wanted)}")
        if rng.random() < 0.25:
            inner.emit(f"yield {x.name}")
    inner.close()
    if rng.random() < 0.2:
        inner.emit(f"yield {inner.literal('int' if numbers else 'sub')[0]}")
    arguments = [(v.name, text) for v, text in inner.arguments if v.reads]
    shown = ", ".join(argument for argument, _ in arguments)
    call = f"{name}({shown})"
    consumed = rng.choice(
        ("list({})", "list({})", "sum({})", "max({}, default=0)", "sorted({})", "next({}, None)", "len(list({}))")
        if numbers
        else ("list({})", "''.join({})", "'-'.join({})", "sorted({})", "next({}, '')", "list(enumerate({}))")
    ).format(call)
    outer = names.function_name(rng, inner.used)
    body = [f"    return {consumed}"]
    if rng.random() < 0.4:
        out, y = rng.choice(("result", "out", "res", "got")), rng.choice(("v", "y", "got_item", "value1"))
        body = [f"    {out} = []", f"    for {y} in {call}:"]
        if rng.random() < 0.5:
            body += [f"        if len({out}) {rng.choice(('>', '>=', '=='))} {rng.randint(1, 4)}:", "            break"]
        body += [f"        {out}.{rng.choice((f'append({y})', f'insert(0, {y})'))}", f"    return {out}"]
    source = "\n".join((f"def {name}({shown}):", *inner.lines, "", f"def {outer}({shown}):", *body))
    return source, f"{outer}({', '.join(text for _, text in arguments)})"
