"""Idioms that walk over text or lists by hand: runs, two indices, stacks of characters, windows."""

from __future__ import annotations

from opencwm.programs.write.idioms import bounded, changed, item, letter, local, register, start
from opencwm.programs.write.loops import accumulator, update
from opencwm.programs.write.writer import Variable, Writer


@register(3, "str", 6)
def runs(writer: Writer, over: Variable) -> None:
    """Run-length encoding with two indices."""
    s = over.name
    out = start(writer, "strs", "list", "[]") if writer.chance(0.5) else start(writer, "str", "built", "''")
    i, j = (local(writer, "int", "index") for _ in range(2))
    writer.emit(f"{i.name} = 0")
    writer.open(f"while {i.name} < len({s}):")
    writer.emit(f"{j.name} = {i.name} + 1" if writer.chance(0.5) else f"{j.name} = {i.name}")
    writer.open(f"while {j.name} < len({s}) and {s}[{j.name}] == {s}[{i.name}]:")
    writer.emit(f"{j.name} += 1")
    writer.close()
    count = writer.choose(f"str({j.name} - {i.name})", f"str({j.name} - {i.name})", f"'*' * ({j.name} - {i.name} - 1)")
    piece = writer.choose(
        f"{s}[{i.name}] + {count}",
        f"{count} + {s}[{i.name}]",
        f"{s}[{i.name}:{j.name}].upper()",
        f"{s}[{i.name}]",
        f"{s}[{i.name}:{j.name}]",
    )
    writer.emit(f"{out.name}.append({piece})" if out.type == "strs" else f"{out.name} += {piece}")
    writer.emit(f"{i.name} = {j.name}")
    writer.close()


@register(2, "str", 6)
def adjacent(writer: Writer, over: Variable) -> None:
    """Compare each character with the one before."""
    out = accumulator(writer, over)
    before = local(writer, "word", "char")
    writer.emit(f"{before.name} = {writer.choose(repr(''), repr(''), 'None', letter(writer))}")
    ch = local(writer, "char", "char")
    writer.open(f"for {ch.name} in {over.name}:")
    writer.open(f"if {ch.name} {writer.choose('!=', '==', '!=')} {before.name}:")
    update(writer, out, ch, [ch])
    writer.close()
    writer.emit(f"{before.name} = {ch.name}")
    writer.close()
    out.pending = True


@register(3, "str ints strs", 5)
def pointers(writer: Writer, over: Variable) -> None:
    """Two indices moving towards each other."""
    s = over.name
    i, j = (local(writer, "int", "index") for _ in range(2))
    count = None if writer.chance(0.4) else start(writer, "int", "count", "0")
    if writer.chance(0.6):
        writer.emit(f"{i.name}, {j.name} = 0, len({s}) - 1")
    else:
        writer.emit(f"{i.name} = {writer.choose('0', '0', '1')}")
        writer.emit(f"{j.name} = len({s}) - 1")
    writer.open(f"while {i.name} < {j.name}:")
    swaps = over.type != "str" and writer.chance(0.5)
    if swaps:
        writer.emit(f"{s}[{i.name}], {s}[{j.name}] = {s}[{j.name}], {s}[{i.name}]")
        if count is not None:
            writer.emit(f"{count.name} += {writer.choose('1', i.name, j.name)}")
        changed(over)
    else:
        left = f"{s}[{i.name}]" + (".lower()" if over.type == "str" and writer.chance(0.15) else "")
        writer.open(f"if {left} {writer.choose('!=', '!=', '==', '>', '<')} {s}[{j.name}]:")
        if count is None:
            writer.emit(
                f"return {writer.choose('False', i.name, 'None', f'{s}[{i.name}:]', j.name, f'{i.name} + {j.name}')}"
            )
        else:
            writer.emit(f"{count.name} += {writer.choose('1', '1', '2', f'{j.name} - {i.name}')}")
        writer.close()
    if writer.chance(0.3):
        writer.emit(f"{i.name}, {j.name} = {i.name} + 1, {j.name} - 1")
    else:
        writer.emit(f"{i.name} += {writer.choose('1', '1', '1', '2')}")
        writer.emit(f"{j.name} -= 1")
    writer.close()
    if count is not None:
        count.pending = True


@register(4, "str ints strs tints", 5)
def scan(writer: Writer, over: Variable) -> None:
    """`while i < len(s)` with a step, and perhaps an early exit."""
    out = accumulator(writer, over)
    i = local(writer, "int", "index")
    writer.emit(f"{i.name} = {writer.choose('0', '0', '0', '1')}")
    limit = writer.choose("", "", "", f" and {writer.about(item(f'{over.name}[{i.name}]', over), 'bool', level=3)}")
    writer.open(f"while {i.name} < len({over.name}){limit}:")
    at = item(f"{over.name}[{i.name}]", over)
    writer.loops += 1
    if writer.room > 3 and writer.chance(0.55):
        writer.open(f"if {writer.about(at, 'bool')}:")
        update(writer, out, at, [at])
        writer.close()
        if writer.chance(0.25) and writer.room > 3:
            writer.open("else:")
            writer.emit(f"{i.name} += 1" if writer.chance(0.6) else "break")
            writer.close()
    else:
        update(writer, out, at, [at])
    writer.loops -= 1
    writer.emit(f"{i.name} += {writer.choose('1', '1', '1', '2', '2', '3')}")
    writer.close()
    out.pending, out.low = True, 0


@register(2.5, "str", 3)
def peel(writer: Writer, over: Variable) -> None:
    """Take characters off an end while they match."""
    s = over.name
    front = writer.chance(0.5)
    sub = (
        writer.choose(repr(over.value[0] if front else over.value[-1]), letter(writer))
        if (isinstance(over.value, str) and over.value)
        else letter(writer)
    )
    count = start(writer, "int", "count", "0") if writer.chance(0.4) else None
    test = writer.choose(
        f"{s}.{'startswith' if front else 'endswith'}({sub})",
        f"{s} and {s}[{'0' if front else '-1'}] == {sub}",
        f"{s} and not {s}[{'0' if front else '-1'}].isalpha()",
        f"len({s}) > {writer.rng.randint(2, 6)}",
    )
    writer.open(f"while {test}:")
    writer.emit(f"{s} = {s}[1:]" if front else f"{s} = {s}[:-1]")
    if count is not None:
        writer.emit(f"{count.name} += 1")
    writer.close()
    changed(over)
    if count is not None:
        count.pending = True


@register(2.5, "str", 5)
def positions(writer: Writer, over: Variable) -> None:
    """Every position of a substring, by `find` from the last one on."""
    sub = writer.expression("sub", 0)[0]
    sub = sub if sub != "''" else "'a'"
    out = start(writer, "ints", "list", "[]") if writer.chance(0.6) else start(writer, "int", "count", "0")
    find = writer.choose("find", "find", "find", "rfind")
    pos = start(writer, "int", "index", f"{over.name}.{find}({sub})")
    writer.open(f"while {pos.name} {writer.choose('!= -1', '!= -1', '>= 0')}:")
    writer.emit(
        f"{out.name}.append({pos.name})" if out.type == "ints" else f"{out.name} += {writer.choose('1', pos.name)}"
    )
    again = f"{pos.name} + 1" if find == "find" else f"0, {pos.name}"
    writer.emit(f"{pos.name} = {over.name}.{find}({sub}, {again})")
    writer.close()
    pos.pending = False
    out.pending = True


@register(2, "str", 6)
def nesting(writer: Writer, over: Variable) -> None:
    """Depth of brackets, or of any two letters that open and close."""
    opening, closing = writer.rng.choice((("(", ")"), ("[", "]"), ("{", "}"), ("<", ">")))
    if isinstance(over.value, str) and len(over.value) > 1 and writer.chance(0.6) and "(" not in over.value:
        opening, closing = over.value[0], over.value[-1]
    depth, best = start(writer, "int", "int", "0"), start(writer, "int", "count", "0")
    ch = local(writer, "char", "char")
    writer.open(f"for {ch.name} in {over.name}:")
    writer.open(f"if {ch.name} == {opening!r}:")
    writer.emit(f"{depth.name} += 1")
    writer.close()
    writer.open(f"elif {ch.name} == {closing!r}:")
    writer.emit(f"{depth.name} -= 1")
    writer.close()
    writer.emit(f"{best.name} = {writer.choose('max', 'max', 'min')}({best.name}, {depth.name})")
    writer.close()
    depth.pending, best.pending = writer.chance(0.5), True


@register(2.5, "str", 6)
def cancel(writer: Writer, over: Variable) -> None:
    """A stack of characters: push, or pop on a match."""
    stack, ch = start(writer, "strs", "list", "[]"), local(writer, "char", "char")
    writer.open(f"for {ch.name} in {over.name}:")
    top = f"{stack.name}[-1]"
    test = writer.choose(
        f"{top} == {ch.name}",
        f"{top} == {ch.name}",
        f"{ch.name} == {letter(writer)}",
        f"{top} > {ch.name}",
        f"{top}.lower() == {ch.name}.lower()",
        f"{ch.name} < {top}",
    )
    writer.open(f"{writer.choose('if', 'if', 'while' if top in test else 'if')} {stack.name} and {test}:")
    writer.emit(f"{stack.name}.pop()")
    loops = writer.lines[-2].strip().startswith("while")
    writer.close()
    if loops:
        writer.emit(f"{stack.name}.append({ch.name})")
    else:
        writer.open("else:")
        writer.emit(f"{stack.name}.append({ch.name if writer.chance(0.7) else writer.about(ch, 'shown')})")
        writer.close()
    writer.close()
    stack.pending = True


@register(2, "str", 4)
def windows(writer: Writer, over: Variable) -> None:
    """Pieces of a fixed length."""
    size, i = bounded(writer, 5), local(writer, "int", "index")
    piece = Variable(f"{over.name}[{i.name}:{i.name} + {size}]", "word")
    if writer.chance(0.4):
        test = writer.choose("", "", f" if {writer.about(piece, 'bool')}")
        step = size if writer.chance(0.6) else "1"
        start(
            writer, "strs", "list", f"[{piece.name} for {i.name} in range(0, len({over.name}), {step}){test}]"
        ).pending = True
        return
    out = accumulator(writer, over)
    writer.open(
        f"for {i.name} in range({writer.choose(f'len({over.name}) - {size} + 1', f'0, len({over.name}), {size}')}):"
    )
    writer.loops += 1
    if writer.room > 2 and writer.chance(0.6):
        writer.open(f"if {writer.about(piece, 'bool')}:")
        update(writer, out, piece, [piece])
        writer.close()
    else:
        update(writer, out, piece, [piece])
    writer.loops -= 1
    writer.close()
    out.pending = True


@register(1.5, "str strs", 5)
def mismatch(writer: Writer, over: Variable) -> None:
    """Compare two sequences item by item."""
    other = next((v for v in writer.scope if v is not over and v.type == over.type), None)
    second = writer.read(other) if other is not None else f"{over.name}[::-1]"
    count = start(writer, "int", "count", "0")
    first_name, second_name = (local(writer, "word", "word").name for _ in range(2))
    writer.open(f"for {first_name}, {second_name} in zip({over.name}, {second}):")
    writer.open(f"if {first_name} {writer.choose('==', '!=', '<', '>')} {second_name}:")
    writer.emit(writer.choose(f"{count.name} += 1", f"{count.name} += 1", "break"))
    writer.close()
    if writer.lines[-1].strip() == "break":
        writer.emit(f"{count.name} += {writer.choose('1', '1', '2')}")
    writer.close()
    count.pending = True
