"""Programs with a small class, and programs around a `match` statement."""

from __future__ import annotations

import random

from opencwm.programs.write import names
from opencwm.programs.write.idioms import item, local
from opencwm.programs.write.structures import Finish, begin
from opencwm.programs.write.writer import Variable, Writer


def small_class(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A class with state and one or two methods, driven by a function."""
    writer, over = begin(rng)
    kind, x = names.class_name(rng), item("x", over)
    x.name = rng.choice(("x", "value", "item", "n", "v"))
    inner = Writer(rng, depth=1, room=9, pool=writer.pool)
    inner.indent = 2
    numbers = x.type == "int"
    state = (
        rng.choice(("total", "count", "value", "size"))
        if rng.random() < 0.5
        else rng.choice(("items", "data", "parts", "log"))
    )
    listed = state in ("items", "data", "parts", "log")
    initial = "[]" if listed else rng.choice(("0", "0", "1", "start"))
    method, attribute = rng.choice(("add", "push", "feed", "update", "take", "record")), f"self.{state}"
    element = x.name if rng.random() < 0.4 else inner.about(x, "cell" if numbers else "shown")
    amount = inner.about(x, "cell", level=9)
    change = (
        rng.choice((f"{attribute}.append({element})", f"{attribute}.insert(0, {element})"))
        if listed
        else rng.choice(
            (
                f"{attribute} += {amount}",
                f"{attribute} -= {amount}",
                f"{attribute} = max({attribute}, {amount})",
                f"{attribute} += 1",
            )
        )
    )
    parameter = ", start" if initial == "start" else ""
    lines = [f"class {kind}:", f"    def __init__(self{parameter}):", f"        {attribute} = {initial}"]
    second = rng.random() < 0.4
    if second:
        lines.append("        self.calls = 0")
    lines += ["", f"    def {method}(self, {x.name}):"]
    if rng.random() < 0.5:
        lines += [f"        if {inner.about(x, 'bool')}:", f"            {change}"]
    else:
        lines.append(f"        {change}")
    if second:
        lines.append("        self.calls += 1")
    chained = rng.random() < 0.25
    if chained:
        lines.append("        return self")
    report = ""
    if rng.random() < 0.5:
        report = rng.choice(("result", "get", "report", "show"))
        shown = rng.choice(
            (f"{attribute}[::-1]", f"len({attribute})", f"sorted({attribute})", attribute)
            if listed
            else (attribute, f"{attribute} * 2", f"str({attribute})", f"{attribute} % 7")
        )
        lines += ["", f"    def {report}(self):", f"        return {shown}"]
    obj = rng.choice(("box", "obj", "c", "s", "acc", "store"))
    while obj in writer.used:
        obj += "_"
    loop_name = rng.choice(("x", "item", "e", "v"))
    while loop_name in writer.used or loop_name == obj:
        loop_name += "1"
    given = str(rng.randint(0, 10)) if parameter else ""
    name, sequence = names.function_name(rng, (*writer.used, obj, loop_name)), writer.read(over)
    lines += [
        "",
        f"def {name}({sequence}):",
        f"    {obj} = {kind}({given})",
        f"    for {loop_name} in {sequence}:",
        f"        {obj}.{method}({loop_name})",
    ]
    if chained and rng.random() < 0.5:
        lines[-1] += f".{method}({loop_name})"
    final = f"{obj}.{report}()" if report else f"{obj}.{state}"
    lines.append(f"    return {final}{f', {obj}.calls' if second else ''}")
    return "\n".join(lines), f"{name}({writer.arguments[0][1]})"


def matching(rng: random.Random, difficulty: float, finish: Finish) -> tuple[str, str]:
    """A `match` statement over a number, a word or the shape of a list."""
    writer = Writer(rng, depth=1, room=9)
    over = writer.argument(rng.choice(("ints", "strs", "str", "int", "ints")))
    name, subject = names.function_name(rng, writer.used), writer.read(over)
    first = local(writer, "int" if over.type == "ints" else "word", "item")
    rest = local(writer, over.type, "list")
    cases: list[tuple[str, Variable]] = []
    if over.type in ("ints", "strs"):
        cases = [
            ("[]", over),
            (f"[{first.name}]", first),
            (f"[{first.name}, *{rest.name}]", rest),
            (f"[{first.name}, _]", first),
            (f"[*{rest.name}, {first.name}]", first),
        ]
        rng.shuffle(cases)
        cases = cases[: rng.randint(2, 3)]
    else:
        options = [over.value, *(writer.literal("int" if over.type == "int" else "str")[0] for _ in range(2))]
        cases = [(str(o) if i else repr(o), over) for i, o in enumerate(options)]
        rng.shuffle(cases)
        if rng.random() < 0.4:
            cases[-1] = (f"{first.name} if {writer.about(Variable(first.name, over.type), 'bool')}", over)
    writer.open(f"match {subject}:")
    for pattern, about in cases:
        writer.open(f"case {pattern}:")
        writer.emit(f"return {writer.about(about, rng.choice(('str', 'int', 'bool', 'strs')), 1)}")
        writer.close()
    writer.open("case _:")
    writer.emit(f"return {writer.about(over, rng.choice(('str', 'int', 'bool')), 0)}")
    writer.close()
    writer.close()
    return f"def {name}({subject}):\n" + "\n".join(writer.lines), f"{name}({writer.arguments[0][1]})"
