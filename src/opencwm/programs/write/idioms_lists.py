"""Idioms over lists: stacks and queues, removing, partitioning, pairs, sorting by swaps, searching."""

from __future__ import annotations

from opencwm.programs.write.idioms import bounded, changed, item, local, register, start
from opencwm.programs.write.loops import accumulator, length, update
from opencwm.programs.write.writer import Variable, Writer


@register(3, "ints strs", 4)
def drain(writer: Writer, over: Variable) -> None:
    """Pop a list empty (or to a length)."""
    out = accumulator(writer, over)
    x = local(writer, "int" if over.type == "ints" else "word", "item")
    test = writer.choose(over.name, over.name, f"len({over.name}) > {writer.choose('1', '2', '0')}")
    writer.open(f"while {test}:")
    writer.emit(f"{x.name} = {over.name}.pop({writer.choose('', '', '0', '-1')})")
    writer.loops += 1
    if writer.room > 2 and writer.chance(0.55):
        writer.open(f"if {writer.about(x, 'bool')}:")
        update(writer, out, x, [x])
        writer.close()
    else:
        update(writer, out, x, [x])
    if writer.room > 2 and writer.chance(0.12):
        writer.open(f"if {writer.about(x, 'bool')}:")
        writer.emit("break")
        writer.close()
    writer.loops -= 1
    writer.close()
    changed(over)
    over.pending = writer.chance(0.3)
    out.pending = True


@register(2, "ints strs", 2)
def rotate_queue(writer: Writer, over: Variable) -> None:
    """Move items from one end to the other."""
    if over.low == 0:
        writer.open(f"if {over.name}:")
    i = writer.choose("_", "_", "i", "_")
    writer.open(f"for {i} in range({bounded(writer, 6)}):")
    form = writer.choose(
        "{0}.append({0}.pop(0))", "{0}.insert(0, {0}.pop())", "{0}.append({0}[0])", "{0}.insert(1, {0}.pop())"
    )
    writer.emit(form.format(over.name))
    writer.close()
    if over.low == 0:
        writer.close()
    changed(over)


@register(2.5, "ints strs", 4)
def remove_some(writer: Writer, over: Variable) -> None:
    """Remove items while running over a copy (or, a classic mistake, over the list itself)."""
    x = local(writer, "int" if over.type == "ints" else "word", "item")
    copied = writer.choose("{}[:]", "{}[:]", "{}.copy()", "list({})", "{}")
    writer.open(f"for {x.name} in {copied.format(over.name)}:")
    writer.open(f"if {writer.about(x, 'bool')}:")
    writer.emit(f"{over.name}.remove({x.name})")
    writer.close()
    writer.close()
    changed(over)


@register(2.5, "ints strs str tints", 4)
def unique(writer: Writer, over: Variable) -> None:
    """Keep first occurrences, or collect the repeated ones."""
    stand = item("x", over)
    kind = "ints" if stand.type == "int" else "strs"
    seen, out = local(writer, "set", "strset"), start(writer, kind, "list", "[]")
    writer.emit(f"{seen.name} = {writer.choose('set()', 'set()', '[]')}")
    add = "append" if writer.lines[-1].endswith("[]") else "add"
    x = local(writer, stand.type, "item" if kind == "ints" else "word")
    key = x.name if writer.chance(0.75) else writer.about(x, "cell" if kind == "ints" else "shown")
    writer.open(f"for {x.name} in {over.name}:")
    if writer.chance(0.6):
        writer.open(f"if {key} not in {seen.name}:")
        writer.emit(f"{seen.name}.{add}({key})")
        writer.emit(f"{out.name}.append({x.name if writer.chance(0.6) else key})")
        writer.close()
    else:
        writer.open(f"if {key} in {seen.name}:")
        writer.emit(writer.choose("continue", f"{out.name}.append({x.name})"))
        skip = writer.lines[-1].strip() == "continue"
        writer.close()
        writer.emit(f"{seen.name}.{add}({key})")
        if skip:
            writer.emit(f"{out.name}.append({x.name})")
    writer.close()
    out.pending = True


@register(2, "ints tints strs", 5)
def partition(writer: Writer, over: Variable) -> None:
    """Two lists, by a test."""
    kind = "strs" if over.type == "strs" else "ints"
    first, second = (writer.define(kind, "list") for _ in range(2))
    writer.emit(f"{first.name}, {second.name} = [], []")
    x = local(writer, "int" if kind == "ints" else "word", "item")
    writer.open(f"for {x.name} in {over.name}:")
    test = writer.about(x, "bool", level=1)
    if writer.chance(0.25):
        writer.emit(f"({first.name} if {test} else {second.name}).append({x.name})")
    else:
        writer.open(f"if {test}:")
        writer.emit(f"{first.name}.append({x.name})")
        writer.close()
        writer.open("else:")
        writer.emit(f"{second.name}.append({x.name})")
        writer.close()
    writer.close()
    first.pending = second.pending = True
    if writer.room > 1 and writer.chance(0.4):
        first.pending = False
        writer.emit(f"{second.name} = {first.name} + {second.name}{writer.choose('', '[::-1]')}")


@register(2.5, "ints tints str", 6)
def pairs(writer: Writer, over: Variable) -> None:
    """All pairs i < j."""
    if length(over) > 7:
        writer.emit(f"{over.name} = {over.name}[:{writer.rng.randint(3, 6)}]")
    s, i, j = over.name, local(writer, "int", "index"), local(writer, "int", "index")
    out = start(writer, "int", "count", "0") if writer.chance(0.6) else start(writer, "tints", "list", "[]")
    writer.open(f"for {i.name} in range(len({s})):")
    writer.open(f"for {j.name} in range({i.name} + 1, len({s})):")
    tests = [f"{s}[{i.name}] == {s}[{j.name}]", f"{s}[{i.name}] > {s}[{j.name}]", f"{s}[{i.name}] < {s}[{j.name}]"]
    if over.type != "str":
        tests += [
            f"{s}[{i.name}] + {s}[{j.name}] == {writer.rng.randint(3, 15)}",
            f"({s}[{i.name}] - {s}[{j.name}]) % 2 == 0",
        ]
    writer.open(f"if {writer.rng.choice(tests)}:")
    if out.type == "int":
        writer.emit(
            writer.choose(f"{out.name} += 1", f"{out.name} += {j.name} - {i.name}", f"return {i.name}, {j.name}")
        )
    else:
        writer.emit(f"{out.name}.append({writer.choose(f'({i.name}, {j.name})', f'[{s}[{i.name}], {s}[{j.name}]]')})")
    for _ in range(3):
        writer.close()
    out.pending = True


@register(2, "ints strs", 4)
def swap_sort(writer: Writer, over: Variable) -> None:
    """One or more rounds of neighbour swaps, or a selection sort."""
    s, i, j = over.name, local(writer, "int", "index"), local(writer, "int", "index")
    sign, base = writer.choose(">", ">", "<"), writer.indent
    if writer.chance(0.5) or not 0 < length(over) < 6 or over.value is None or writer.room < 5:
        writer.open(f"for {i.name} in range(len({s}) - 1):")
        left, right = f"{s}[{i.name}]", f"{s}[{i.name} + 1]"
    else:
        writer.open(f"for {i.name} in range(len({s})):")
        if writer.chance(0.5):
            writer.open(f"for {j.name} in range({i.name} + 1, len({s})):")
            left, right = f"{s}[{i.name}]", f"{s}[{j.name}]"
        else:
            writer.open(f"for {j.name} in range(len({s}) - 1 - {i.name}):")
            left, right = f"{s}[{j.name}]", f"{s}[{j.name} + 1]"
    writer.open(f"if {left} {sign} {right}:")
    writer.emit(f"{left}, {right} = {right}, {left}")
    writer.close()
    while writer.indent > base:
        writer.close()
    changed(over)


@register(2, "ints strs str tints", 4)
def search(writer: Writer, over: Variable) -> None:
    """The first item that passes a test: `break` and `for`-`else`, or an early return."""
    stand = item("x", over)
    x = local(writer, stand.type, "item" if stand.type == "int" else "word")
    i = local(writer, "int", "index")
    indexed = writer.chance(0.5)
    if writer.room > 5 and writer.chance(0.55):
        found = writer.define("int" if indexed else stand.type, "count")
        writer.scope.remove(found)
        if writer.chance(0.5):
            writer.emit(f"{found.name} = {'-1' if indexed else 'None'}")
            fallback = False
        else:
            fallback = True
        writer.open(
            f"for {f'{i.name}, ' if indexed else ''}{x.name} in {f'enumerate({over.name})' if indexed else over.name}:"
        )
        writer.open(f"if {writer.about(x, 'bool')}:")
        writer.emit(f"{found.name} = {i.name if indexed else x.name}")
        writer.emit("break")
        writer.close()
        writer.close()
        if fallback:
            writer.open("else:")
            writer.emit(f"{found.name} = {writer.choose('-1', '0', 'None', f'len({over.name})')}")
            writer.close()
        result = start(writer, "strs", "list", f"[{found.name}]") if writer.chance(0.2) else None
        if result is None:
            name = found.name
            text = writer.choose(f"{name}, {over.name}", name, f"str({name})", f"[{name}, len({over.name})]")
            writer.emit(f"return {text}")
        else:
            result.pending = True
        return
    writer.open(
        f"for {f'{i.name}, ' if indexed else ''}{x.name} in {f'enumerate({over.name})' if indexed else over.name}:"
    )
    writer.open(f"if {writer.about(x, 'bool')}:")
    plain = i.name if indexed and writer.chance(0.6) else x.name
    writer.emit(f"return {plain if indexed or writer.chance(0.5) else writer.about(x, 'shown')}")
    writer.close()
    writer.close()
