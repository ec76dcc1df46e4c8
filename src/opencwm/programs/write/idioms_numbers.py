"""Idioms over numbers: digits, running sums, recurrences, divisors, bisection."""

from __future__ import annotations

from opencwm.programs.write.idioms import bounded, changed, item, local, register, start
from opencwm.programs.write.writer import Variable, Writer


@register(4, "int", 5)
def digit_loop(writer: Writer, over: Variable) -> None:
    """Take the digits off a number, in base ten or another."""
    base = writer.choose("10", "10", "10", "2", "3", "16")
    out = writer.rng.choice(("int", "int", "ints", "str"))
    into = start(
        writer,
        out,
        "count" if out == "int" else "list" if out == "ints" else "built",
        {"int": "0", "ints": "[]", "str": "''"}[out],
    )
    n = over.name
    if over.bound is None or writer.chance(0.4):
        n = local(writer, "int", "int").name
        writer.emit(f"{n} = abs({over.name})")
    else:
        changed(over)
        over.pending = writer.chance(0.1)
    writer.open(f"while {n} > {writer.choose('0', '0', '0', '1')}:")
    digit = Variable(f"{n} % {base}", "int")
    if writer.chance(0.4):
        digit = local(writer, "int", "val")
        if writer.chance(0.5):
            writer.emit(f"{n}, {digit.name} = divmod({n}, {base})")
        else:
            writer.emit(f"{digit.name} = {n} % {base}")
            writer.emit(f"{n} //= {base}")
    elif out == "str":
        digit = Variable(f"({digit.name})", "int")
    if out == "int":
        operator = writer.choose("+=", "+=", "+=", "-=", "^=")
        plain = f"{into.name} {operator} {digit.name}"
        writer.emit(plain if writer.chance(0.7) else f"{into.name} = {into.name} * {base} + {digit.name}")
    elif out == "ints":
        writer.emit(f"{into.name}.{writer.choose('append({})', 'insert(0, {})').format(digit.name)}")
    else:
        text = f"str{digit.name}" if digit.name.startswith("(") else f"str({digit.name})"
        writer.emit(writer.choose(f"{into.name} = {text} + {into.name}", f"{into.name} += {text}"))
    if not any(f"{n} //=" in line or "divmod" in line for line in writer.lines[-4:]):
        writer.emit(f"{n} {writer.choose('//=', '//=')} {base}" if writer.chance(0.8) else f"{n} = {n} // {base}")
    writer.close()
    into.pending = True


@register(3, "ints tints", 4)
def running(writer: Writer, over: Variable) -> None:
    """Prefix sums, running maxima and the like."""
    out, state, x = start(writer, "ints", "list", "[]"), local(writer, "int", "count"), local(writer, "int", "item")
    writer.emit(f"{state.name} = {writer.choose('0', '0', '1', '-1')}")
    writer.open(f"for {x.name} in {over.name}:")
    step = writer.choose(
        "{0} += {1}",
        "{0} += {1}",
        "{0} = max({0}, {1})",
        "{0} = min({0}, {1})",
        "{0} -= {1}",
        "{0} = {1} - {0}",
        "{0} = ({0} + {1}) % 10",
        "{0} += {1} * 2",
    )
    guard = writer.room > 3 and writer.chance(0.35)
    if guard:
        writer.open(f"if {writer.about(x, 'bool')}:")
    writer.emit(step.format(state.name, x.name))
    if guard:
        writer.close()
    writer.emit(f"{out.name}.{writer.choose('append({})', 'append({})', 'insert(0, {})').format(state.name)}")
    writer.close()
    out.pending = True


@register(1.5, "ints", 6)
def bisection(writer: Writer, over: Variable) -> None:
    """Binary search in a sorted list."""
    s, wanted = over.name, writer.expression("int", 0)[0]
    lo, hi, mid = local(writer, "int", "index"), local(writer, "int", "index"), local(writer, "int", "index")
    if not (isinstance(over.value, list) and over.value == sorted(over.value)):
        writer.emit(f"{s}.sort()")
    writer.emit(f"{lo.name}, {hi.name} = 0, len({s})")
    writer.open(f"while {lo.name} < {hi.name}:")
    writer.emit(f"{mid.name} = ({lo.name} + {hi.name}) // 2")
    writer.open(f"if {s}[{mid.name}] {writer.choose('<', '<', '<=')} {wanted}:")
    writer.emit(f"{lo.name} = {mid.name} + 1")
    writer.close()
    writer.open("else:")
    writer.emit(f"{hi.name} = {mid.name}")
    writer.close()
    writer.close()
    start(writer, "int", "index", lo.name).pending = True


@register(2, "int", 3)
def euclid(writer: Writer, over: Variable) -> None:
    """Greatest common divisor, or counting its rounds."""
    a, b = local(writer, "int", "int").name, local(writer, "int", "int").name
    writer.emit(f"{a}, {b} = {over.name}, {writer.expression('int', 0)[0]}")
    steps = start(writer, "int", "count", "0") if writer.room > 3 and writer.chance(0.4) else None
    writer.open(f"while {b}:")
    writer.emit(f"{a}, {b} = {b}, {a} % {b}")
    if steps is not None:
        writer.emit(f"{steps.name} += 1")
        steps.pending = True
    writer.close()
    start(writer, "int", "count", a if writer.chance(0.6) else f"abs({a})").pending = True


@register(2.5, "int", 5)
def recurrence(writer: Writer, over: Variable) -> None:
    """A number changed by a rule for a bounded number of rounds."""
    x, rounds = over.name, start(writer, "int", "count", "0")
    limit = writer.rng.randint(3, 10)
    writer.open(
        f"while {x} {writer.choose('!= 1', '> 1', f'< {writer.rng.randint(10, 60)}', '% 7 != 0')} "
        f"and {rounds.name} < {limit}:"
    )
    if writer.chance(0.6):
        writer.open(f"if {x} % {writer.choose('2', '2', '3')} == 0:")
        writer.emit(f"{x} //= {writer.choose('2', '3')}")
        writer.close()
        writer.open("else:")
        writer.emit(writer.choose(f"{x} = 3 * {x} + 1", f"{x} += {bounded(writer)}", f"{x} -= 1", f"{x} = {x} * 2 - 1"))
        writer.close()
    else:
        writer.emit(
            writer.choose(
                f"{x} += {rounds.name} + 1",
                f"{x} = {x} // 2 + {bounded(writer)}",
                f"{x} += {bounded(writer)}",
                f"{x} = {x} * 2",
                f"{x} = ({x} * 3 + 1) % 20",
            )
        )
    writer.emit(f"{rounds.name} += 1")
    writer.close()
    changed(over)
    rounds.pending = writer.chance(0.7)


@register(2, "int", 4)
def fibonacci(writer: Writer, over: Variable) -> None:
    """Two numbers that step together, some of them collected."""
    a, b = local(writer, "int", "int").name, local(writer, "int", "int").name
    out = start(writer, "ints", "list", "[]") if writer.chance(0.5) else None
    writer.emit(f"{a}, {b} = {writer.choose('0, 1', '0, 1', '1, 1', '1, 2', '2, 1', f'{over.name}, 1')}")
    writer.open(f"for _ in range({bounded(writer)}):")
    step = writer.choose(
        f"{b}, {a} + {b}", f"{b}, {a} + {b}", f"{a} + {b}, {b} + 1", f"{b}, {b} - {a}", f"{b}, 2 * {a} + {b}"
    )
    if out is not None:
        writer.emit(f"{out.name}.append({a})")
    writer.emit(f"{a}, {b} = {step}")
    writer.close()
    if out is None:
        start(writer, "int", "count", writer.choose(a, a, b, f"{a} * {b}")).pending = True
    else:
        out.pending = True


@register(2, "ints tints", 5)
def best_index(writer: Writer, over: Variable) -> None:
    """Index of the largest or smallest item, by hand."""
    s, i = over.name, local(writer, "int", "index")
    best = start(writer, "int", "index", "0")
    writer.open(f"for {i.name} in range({writer.choose('1, ', '')}len({s})):")
    at, top = item(f"{s}[{i.name}]", over), item(f"{s}[{best.name}]", over)
    left, right = at.name, top.name
    if writer.chance(0.3):
        left, right = f"abs({left})", f"abs({right})"
    elif writer.chance(0.2):
        left, right = f"{left} % 5", f"{right} % 5"
    writer.open(f"if {left} {writer.choose('>', '<', '>=', '<=')} {right}:")
    writer.emit(f"{best.name} = {i.name}")
    writer.close()
    writer.close()
    best.pending = True


@register(2, "int", 3)
def divisors(writer: Writer, over: Variable) -> None:
    """Numbers below a small one that pass a test."""
    n = over.name if over.bound is not None and over.bound <= 12 else f"{over.name} % {writer.choose('10', '8', '12')}"
    x = local(writer, "int", "index")
    test = writer.choose(
        f"{over.name} % {x.name} == 0", f"{x.name} % {writer.choose('2', '3')}", f"{x.name} ** 2 > {bounded(writer)}"
    )
    if writer.chance(0.5):
        element = x.name if writer.chance(0.6) else writer.about(x, "cell")
        start(writer, "ints", "list", f"[{element} for {x.name} in range(1, {n} + 1) if {test}]").pending = True
        return
    out = start(writer, "int", "count", "0")
    writer.open(f"for {x.name} in range(1, {n} + 1):")
    writer.open(f"if {test}:")
    writer.emit(f"{out.name} += {writer.choose('1', x.name)}")
    writer.close()
    writer.close()
    out.pending = True
