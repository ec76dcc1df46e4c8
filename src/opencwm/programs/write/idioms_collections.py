"""Idioms over dicts, several lists and nested lists: merging, inverting, grouping, pruning, transposing."""

from __future__ import annotations

from opencwm.programs.write.idioms import bounded, changed, item, local, register, start
from opencwm.programs.write.loops import accumulator, update
from opencwm.programs.write.writer import Variable, Writer

_ELEMENTS = {
    "counts": ("word", "int"),
    "words": ("word", "word"),
    "names": ("int", "word"),
    "table": ("int", "int"),
    "groups": ("word", "row"),
}


def _pair(writer: Writer, over: Variable) -> tuple[Variable, Variable]:
    key, value = _ELEMENTS[over.type]
    return local(writer, key, "key"), local(writer, value, "val")


@register(4, "counts words names table groups", 3)
def prune(writer: Writer, over: Variable) -> None:
    """Delete the entries that fail a test, over a list of the keys."""
    d, (key, value) = over.name, _pair(writer, over)
    items = writer.chance(0.4)
    header = (
        f"{key.name}, {value.name} in list({d}.items())"
        if items
        else f"{key.name} in {writer.choose('list', 'sorted', 'list')}({d})"
    )
    writer.open(f"for {header}:")
    at = value if items else Variable(f"{d}[{key.name}]", value.type)
    writer.open(f"if {writer.about(at if writer.chance(0.65) else key, 'bool')}:")
    writer.emit(writer.choose(f"del {d}[{key.name}]", f"{d}.pop({key.name})", f"del {d}[{key.name}]"))
    writer.close()
    writer.close()
    changed(over)


@register(3, "counts words table names", 3)
def rewrite(writer: Writer, over: Variable) -> None:
    """Change the values of a dict in place."""
    d, (key, value) = over.name, _pair(writer, over)
    items = writer.chance(0.5)
    writer.open(f"for {key.name}, {value.name} in {d}.items():" if items else f"for {key.name} in {d}:")
    at = value if items else Variable(f"{d}[{key.name}]", value.type)
    text = writer.about(at, "cell" if value.type == "int" else "word")
    if writer.chance(0.4) and writer.room > 2:
        writer.open(f"if {writer.about(writer.rng.choice((at, key)), 'bool')}:")
        writer.emit(f"{d}[{key.name}] = {text}")
        writer.close()
    elif value.type == "int" and writer.chance(0.4):
        writer.emit(f"{d}[{key.name}] {writer.choose('+=', '-=', '*=', '%=')} {bounded(writer, 5)}")
    else:
        writer.emit(f"{d}[{key.name}] = {text}")
    writer.close()
    changed(over)


@register(3, "counts words names table groups", 4)
def invert(writer: Writer, over: Variable) -> None:
    """Values to keys, one or a list of them."""
    key, value = _pair(writer, over)
    out = start(writer, "groups" if over.type == "counts" else "words", "dict", "{}")
    writer.open(f"for {key.name}, {value.name} in {over.name}.items():")
    by = value.name if value.type != "row" else f"len({value.name})"
    if writer.chance(0.3):
        by = writer.about(value, "cell" if value.type != "word" else "shown")
    if out.type == "groups" or writer.chance(0.3):
        out.type = "inverted"
        form = writer.rng.random()
        if form < 0.6 or writer.room < 4:
            writer.emit(f"{out.name}.setdefault({by}, []).append({key.name})")
        else:
            writer.open(f"if {by} not in {out.name}:")
            writer.emit(f"{out.name}[{by}] = []")
            writer.close()
            writer.emit(f"{out.name}[{by}].append({key.name})")
    else:
        writer.emit(f"{out.name}[{by}] = {key.name}")
        out.type = "inverted"
    writer.close()
    out.pending = True


@register(3, "counts table", 3)
def merge(writer: Writer, over: Variable) -> None:
    """Add one dict's numbers to another's."""
    others = [v for v in writer.scope if v.type == over.type and v is not over]
    other = (
        writer.read(writer.rng.choice(others))
        if others
        else start(writer, over.type, "dict", writer.literal(over.type)[0]).name
    )
    key, value = _pair(writer, over)
    writer.open(f"for {key.name}, {value.name} in {other}.items():")
    d = over.name
    if writer.chance(0.6) or writer.room < 4:
        writer.emit(
            f"{d}[{key.name}] = {d}.get({key.name}, {writer.choose('0', '0', '1')}) "
            f"{writer.choose('+', '+', '-')} {value.name}"
        )
    else:
        writer.open(f"if {key.name} {writer.choose('in', 'not in')} {d}:")
        first, second = f"{d}[{key.name}] += {value.name}", f"{d}[{key.name}] = {value.name}"
        swap = "not in" in writer.lines[-1]
        writer.emit(second if swap else first)
        writer.close()
        if writer.chance(0.7):
            writer.open("else:")
            writer.emit(f"{d}[{key.name}] += {value.name}" if swap else second)
            writer.close()
    writer.close()
    changed(over)
    for variable in writer.scope:
        variable.pending = variable.pending and variable.name != other


@register(2.5, "counts table words names", 4)
def pop_all(writer: Writer, over: Variable) -> None:
    """`popitem` until the dict is empty or small."""
    over.frozen = True  # not to be collected into while it is emptied
    out, (key, value) = accumulator(writer, Variable("", "strs")), _pair(writer, over)
    over.frozen = False
    test = writer.choose(over.name, over.name, f"len({over.name}) > {writer.choose('1', '2')}")
    writer.open(f"while {test}:")
    writer.emit(f"{key.name}, {value.name} = {over.name}.popitem()")
    update(writer, out, writer.rng.choice((key, value)), [key, value])
    writer.close()
    changed(over)
    over.pending = writer.chance(0.3)
    out.pending = True


@register(2.5, "counts table", 4)
def best_key(writer: Writer, over: Variable) -> None:
    """The key with the largest or smallest value."""
    if writer.chance(0.5) and over.low > 0:
        form = writer.choose(
            "{1}({0}, key={0}.get)",
            "{1}({0}.items(), key=lambda x: x[1])[0]",
            "{1}({0}, key=lambda k: {0}[k])",
            "sorted({0}, key={0}.get)[{2}]",
        )
        key_type = _ELEMENTS[over.type][0]
        text = form.format(over.name, writer.choose("max", "max", "min"), writer.choose("0", "-1"))
        start(writer, "str" if key_type == "word" else "int", "key", text).pending = True
        return
    key, value = _pair(writer, over)
    best, top = local(writer, "word", "built"), local(writer, "int", "count")
    sign, low = writer.choose((">"), ("<")), "0"
    low = "-1" if sign == ">" and writer.chance(0.5) else "100" if sign == "<" else "0"
    writer.emit(f"{best.name}, {top.name} = {writer.choose('None', repr(''))}, {low}")
    writer.open(f"for {key.name}, {value.name} in {over.name}.items():")
    writer.open(f"if {value.name} {sign}{writer.choose('', '=')} {top.name}:")
    writer.emit(f"{best.name}, {top.name} = {key.name}, {value.name}")
    writer.close()
    writer.close()
    start(writer, "any_value", "any", writer.choose(best.name, f"({best.name}, {top.name})")).pending = True


@register(2.5, "ints strs", 6)
def merge_sorted(writer: Writer, over: Variable) -> None:
    """Two lists walked with two indices."""
    others = [v for v in writer.scope if v.type == over.type and v is not over]
    other = (
        writer.read(writer.rng.choice(others))
        if others
        else start(writer, over.type, "list", writer.literal(over.type)[0]).name
    )
    for variable in writer.scope:
        variable.pending = variable.pending and variable.name != other
    i, j, out = (
        local(writer, "int", "index").name,
        local(writer, "int", "index").name,
        start(writer, over.type, "list", "[]"),
    )
    a, b = over.name, other
    writer.emit(f"{i} = {j} = 0" if writer.chance(0.5) else f"{i}, {j} = 0, 0")
    writer.open(f"while {i} < len({a}) and {j} < len({b}):")
    writer.open(f"if {a}[{i}] {writer.choose('<', '<=', '<', '==', '>')} {b}[{j}]:")
    writer.emit(f"{out.name}.append({a}[{i}])")
    writer.emit(f"{i} += 1")
    writer.close()
    writer.open("else:")
    if writer.chance(0.8):
        writer.emit(f"{out.name}.append({b}[{j}])")
    writer.emit(f"{j} += 1")
    writer.close()
    writer.close()
    if writer.chance(0.6):
        writer.emit(f"{out.name} += {writer.choose(f'{a}[{i}:] + {b}[{j}:]', f'{a}[{i}:]', f'{b}[{j}:]')}")
    out.pending = True


@register(4, "rows", 4)
def matrix(writer: Writer, over: Variable) -> None:
    """Rows summed, flattened, transposed or reversed with nested loops."""
    out, row, x = start(writer, "ints", "list", "[]"), local(writer, "row", "row"), local(writer, "int", "item")
    writer.open(f"for {row.name} in {over.name}:")
    if writer.chance(0.5):
        if writer.chance(0.4):
            writer.open(f"if {writer.about(row, 'bool')}:")
            writer.emit(f"{out.name}.append({writer.about(row, 'cell')})")
            writer.close()
        else:
            writer.emit(
                writer.choose(
                    f"{out.name}.append({writer.about(row, 'cell')})",
                    f"{out.name}.extend({row.name})",
                    f"{out.name} += {row.name}[::-1]",
                    f"{out.name} = {row.name} + {out.name}",
                )
            )
    else:
        writer.open(f"for {x.name} in {row.name}:")
        if writer.chance(0.6):
            writer.open(f"if {writer.about(x, 'bool')}:")
            writer.emit(f"{out.name}.append({writer.about(x, 'cell')})")
            writer.close()
        else:
            writer.emit(f"{out.name}.append({writer.about(x, 'cell')})")
        writer.close()
    writer.close()
    out.pending = True


@register(3, "strs ints str", 2)
def common(writer: Writer, over: Variable) -> None:
    """Set algebra on two sequences, sorted."""
    others = [v for v in writer.scope if v.type == over.type and v is not over]
    other = (
        writer.read(writer.rng.choice(others))
        if others
        else writer.literal("ints" if over.type == "ints" else "str")[0]
    )
    if over.type == "strs" and not others:
        other = writer.literal("strs")[0]
    operator = writer.choose("&", "&", "-", "|", "^")
    text = f"sorted(set({over.name}) {operator} set({other}){writer.choose(')', ')', ', reverse=True)')}"
    start(writer, "ints" if over.type == "ints" else "strs", "list", text).pending = True


@register(3, "strs ints str", 3)
def zipped(writer: Writer, over: Variable) -> None:
    """A dict from two sequences, by `zip` or by hand."""
    others = [v for v in writer.scope if v.type in ("ints", "strs", "str", "tints") and v is not over]
    other = (
        writer.read(writer.rng.choice(others))
        if others
        else writer.choose(f"range(len({over.name}))", f"{over.name}[1:]", f"{over.name}[::-1]")
    )
    out = writer.define("zipped", "dict")
    if writer.chance(0.45):
        writer.emit(f"{out.name} = dict(zip({over.name}, {other}))")
    else:
        k, v = local(writer, "word", "key").name, local(writer, "word", "val").name
        writer.emit(f"{out.name} = {{}}")
        writer.open(f"for {k}, {v} in zip({over.name}, {other}):")
        if writer.chance(0.5) or writer.room < 3:
            writer.emit(f"{out.name}[{k}] = {v}")
        else:
            writer.open(f"if {k} not in {out.name}:")
            writer.emit(f"{out.name}[{k}] = {writer.choose(v, v, f'[{v}]', f'({v}, 1)')}")
            writer.close()
        writer.close()
    out.pending = True


@register(2.5, "ints strs str tints", 3)
def mapped(writer: Writer, over: Variable) -> None:
    """A lambda bound to a name, then used in `map`, `filter`, `sorted` or a comprehension."""
    x = item(writer.choose("x", "v", "e", "t"), over)
    operation = local(writer, "function", "any")
    result = "cell" if x.type == "int" else "shown"
    test = writer.chance(0.35)
    body = writer.about(x, "bool" if test else result)
    writer.emit(f"{operation.name} = lambda {x.name}: {body}")
    kind = "ints" if x.type == "int" else "strs"
    if test:
        text = writer.choose(
            f"list(filter({operation.name}, {over.name}))",
            f"[{x.name} for {x.name} in {over.name} if {operation.name}({x.name})]",
            f"[{x.name} for {x.name} in {over.name} if not {operation.name}({x.name})]",
        )
    else:
        text = writer.choose(
            f"list(map({operation.name}, {over.name}))",
            f"[{operation.name}({x.name}) for {x.name} in {over.name}]",
            f"sorted({over.name}, key={operation.name})",
            f"[{operation.name}({x.name}) for {x.name} in {over.name}[::-1]]",
        )
    start(writer, kind, "list", text).pending = True
