"""Programs in which a function calls itself on less: a shorter sequence, a smaller number, fewer digits."""

from __future__ import annotations

import random

from opencwm.programs.write import names
from opencwm.programs.write.structures import Finish
from opencwm.programs.write.writer import Variable, Writer


def recursion(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A function that calls itself on less."""
    name = names.function_name(rng)
    writer = Writer(rng, depth=0, room=6)
    writer.used.add(name)
    kind = rng.choice(("int", "int", "seq", "seq", "seq", "digits", "two"))
    if kind == "seq":
        over = writer.argument(rng.choice(("ints", "str", "strs")))
        s = writer.read(over)
        head = Variable(
            f"{s}[0]" if rng.random() < 0.7 else f"{s}[-1]", {"ints": "int", "str": "char", "strs": "word"}[over.type]
        )
        rest = f"{name}({s}[1:])" if head.name.endswith("[0]") else f"{name}({s}[:-1])"
        base = writer.choose(f"if not {s}:", f"if len({s}) == 0:")
        counting = rng.random() < 0.5
        empty = "0" if counting else "''" if over.type != "ints" else "[]"
        writer.open(base)
        writer.emit(f"return {empty}")
        writer.close()
        piece = (
            writer.about(head, "cell", level=9)
            if counting
            else (f"[{writer.about(head, 'cell')}]" if over.type == "ints" else writer.about(head, "shown", level=9))
        )
        if rng.random() < 0.5:
            writer.open(f"if {writer.about(head, 'bool')}:")
            writer.emit(f"return {f'{piece} + {rest}' if counting or rng.random() < 0.6 else f'{rest} + {piece}'}")
            writer.close()
            writer.emit(f"return {rest}")
        else:
            writer.emit(f"return {f'{piece} + {rest}' if counting or rng.random() < 0.5 else f'{rest} + {piece}'}")
        return f"def {name}({s}):\n" + "\n".join(writer.lines), f"{name}({writer.arguments[0][1]})"
    if kind == "two":
        a, b = writer.define("int").name, writer.define("int").name
        form = rng.choice(
            (
                (f"if {b} == 0:", f"return {a}", f"return {name}({b}, {a} % {b})"),
                (
                    f"if {a} <= 0:",
                    f"return {b}",
                    f"return {name}({a} - {rng.randint(1, 3)}, {b} + {rng.choice((a, '1', '2'))})",
                ),
                (
                    f"if {b} <= 0:",
                    f"return {rng.choice(('1', '0', a))}",
                    f"return {a} {rng.choice('+*-')} {name}({a}, {b} - 1)",
                ),
                (
                    f"if {a} > {rng.randint(20, 60)}:",
                    f"return {a} - {b}",
                    f"return {name}({a} + {rng.randint(3, 9)}, {b} + {a} % 3)",
                ),
            )
        )
        source = "\n".join((f"def {name}({a}, {b}):", f"    {form[0]}", f"        {form[1]}", f"    {form[2]}"))
        return source, f"{name}({rng.randint(0, 12)}, {rng.randint(0, 6)})"
    n = writer.define("int", bound=9).name
    first = rng.choice(("0", "1", n, "'.'")) if kind == "int" else n
    if kind == "int":
        less = f"{n} - {rng.choice((1, 1, 2))}" if rng.random() < 0.7 else f"{n} // 2"
        call = f"{name}({less})"
        step = rng.choice(
            (
                f"{n} + {call}",
                f"{n} * {call}",
                f"{call} - {n}",
                f"{n} % 3 + {call}",
                f"{call} * 2 + 1",
                f"{n} ** 2 - {call}",
                f"{name}({n} - 1) + {name}({n} - 2)",
            )
        )
        if first == "'.'":
            step = rng.choice((f"str({n}) + {call}", f"{call} + str({n})", f"{call} + {call}", f"'<' + {call} + '>'"))
        base, value = f"if {n} {rng.choice(('<=', '<='))} {rng.choice((0, 1, 1))}:", rng.randint(0, 6)
    else:
        base, value = f"if {n} < 10:", rng.choice((rng.randint(0, 99), rng.randint(100, 99999)))
        first = rng.choice((n, n, f"str({n})", f"[{n}]", "1"))
        digit = {"s": f"str({n} % 10)", "[": f"[{n} % 10]"}.get(first[0] if first != n else "", f"{n} % 10")
        step = rng.choice((f"{digit} + {name}({n} // 10)", f"{name}({n} // 10) + {digit}"))
    lines = [f"def {name}({n}):", f"    {base}", f"        return {first}", f"    return {step}"]
    if rng.random() < 0.25 and kind == "int" and first != "'.'":
        lines[3:3] = [f"    if {n} % {rng.choice((2, 3))} == {rng.choice((0, 1))}:", f"        return {name}({n} - 1)"]
    return "\n".join(lines), f"{name}({value})"
