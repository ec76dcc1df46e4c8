"""Forms of the grammar: expressions that bind names or pick an index, written by functions.

`sources` are what a loop or a comprehension runs over, with the typed targets that it binds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opencwm.programs.write.grammar import POSTFIX
from opencwm.programs.write.rules import FORMS

if TYPE_CHECKING:
    from opencwm.programs.write.writer import Variable, Writer

_ITEMS = {
    "str": ("char", "char"), "word": ("char", "char"), "digits": ("char", "char"), "ints": ("int", "item"),
    "tints": ("int", "item"), "row": ("int", "item"), "strs": ("word", "word"), "tstrs": ("word", "word"),
    "rows": ("row", "row"), "counts": ("word", "key"), "words": ("word", "key"), "names": ("int", "item"),
    "table": ("int", "item"), "groups": ("word", "key"), "floats": ("float", "float"), "bytes": ("int", "item"),
    "intset": ("int", "item"),
}  # fmt: skip
_VALUES = {"counts": ("int", "val"), "words": ("word", "val"), "names": ("word", "val"), "table": ("int", "val"),
           "groups": ("row", "val"), "pairs": ("int", "val")}  # fmt: skip
_ITERABLE = (
    "str", "ints", "strs", "tints", "tstrs", "counts", "words", "names", "table", "groups", "pairs", "rows", "floats",
    "bytes",
)  # fmt: skip


def iterable(writer: Writer, types: tuple[str, ...] = _ITERABLE, *, without: Variable | None = None) -> Variable | None:
    """A variable to run over, other than `without`."""
    options = [v for v in writer.scope if v.type in types and v is not without]
    if not options:
        return None
    return writer.rng.choices(options, [4.0 if v.pending else 1.0 for v in options])[0]


def target(writer: Writer, type_: str, role: str, bound: int | None = None) -> Variable:
    """A loop's variable."""
    variable = writer.define(type_, role, bound=bound)
    variable.fixed, variable.pending = True, True
    return variable


def source(
    writer: Writer, over: Variable, *, plain: bool = False, without: Variable | None = None
) -> tuple[list[Variable], str]:
    """Targets and `TARGETS in ITERABLE` for a loop over a variable; the targets are in scope from here on.

    `plain` leaves out `enumerate`, `zip` and the like; `without`, which the loop makes longer, is not run over.
    """
    name = writer.read(over)
    choice = writer.rng.random()
    if over.type in _VALUES:
        value_type, value_role = _VALUES[over.type]
        if over.type == "pairs" or choice < 0.62:
            key_type, key_role = ("word", "key") if over.type == "pairs" else _ITEMS[over.type]
            key = target(writer, key_type, key_role)
            value = target(writer, value_type, value_role, over.bound)
            items = name if over.type == "pairs" else f"{name}.items()"
            if choice < 0.1 and over.type in ("counts", "names", "table", "pairs"):
                items = f"sorted({items})"
            return [key, value], f"{key.name}, {value.name} in {items}"
        if choice < 0.75:
            value = target(writer, value_type, value_role, over.bound)
            return [value], f"{value.name} in {name}.values()"
        key = target(writer, *_ITEMS[over.type])
        return [key], f"{key.name} in " + (name if choice < 0.9 else f"sorted({name})")
    item_type, role = _ITEMS[over.type]
    bound = over.bound if item_type == "int" else None
    if not plain and choice < 0.17:
        index = target(writer, "int", "index", 12)
        item = target(writer, item_type, role, bound)
        index.of = over
        start = f", {writer.choose('1', '1', '2')}" if choice < 0.03 else ""
        if start:
            index.of = None
        return [index, item], f"{index.name}, {item.name} in enumerate({name}{start})"
    if not plain and choice < 0.3 and over.type in ("str", "ints", "strs", "tints"):
        other = iterable(writer, ("str", "ints", "strs", "tints"), without=without)
        if other is not None and other is not over:
            writer.read(other)
            first = target(writer, item_type, role, bound)
            second = target(writer, *_ITEMS[other.type], other.bound)
            return [first, second], f"{first.name}, {second.name} in zip({name}, {other.name})"
        if over.type != "tints":
            tail = writer.choose("1", "1", "2")
            first, second = target(writer, item_type, role, bound), target(writer, item_type, role, bound)
            return [first, second], f"{first.name}, {second.name} in zip({name}, {name}[{tail}:])"
    item = target(writer, item_type, role, bound)
    if not plain and choice > 0.78:
        wrapped = "reversed({})", "sorted({})", "{}[::-1]", "{}[1:]", "{}[::2]", "{}[:-1]"
        way = wrapped[int((choice - 0.78) / 0.22 * 6)]
        if way == "sorted({})" and over.type == "rows":
            way = "{}"
        name = way.format(name)
        if over.type == "str" and choice > 0.965:
            name = f"{over.name}.{writer.choose('lower()', 'upper()', 'strip()')}"
        if over.type == "str" and choice > 0.985:
            item.type = "word"
            name = f"{over.name}.split()"
    return [item], f"{item.name} in {name}"


def indices(writer: Writer, over: Variable) -> tuple[list[Variable], str]:
    """A target that is an index into `over`: `i in range(len(over))`, at times with a start or a step."""
    name = writer.read(over)
    index = target(writer, "int", "index", 12)
    index.of = over
    ends = writer.choose(
        f"len({name})", f"len({name})", f"len({name})", f"0, len({name}), 2", f"1, len({name})", f"len({name}) - 1",
        f"len({name}) - 1, -1, -1", f"len({name}) // 2",
    )  # fmt: skip
    return [index], f"{index.name} in range({ends})"


def item_at(writer: Writer, over: Variable) -> str | None:
    """`over[i]` with an index that is very likely valid, or None if none is known."""
    valid = [v for v in writer.scope if v.of is over]
    if valid and writer.chance(0.85):
        index = writer.read(writer.rng.choice(valid))
        if writer.chance(0.12):
            index = writer.choose(f"-{index} - 1", f"-{index}", f"{index} - 1", f"{index} // 2", f"~{index}")
        return f"{writer.read(over)}[{index}]"
    low = over.low + (2 if writer.chance(0.25) else 0)
    if low <= 0:
        return None
    bounded = [v for v in writer.scope if v.type == "int" and not v.of and v not in writer.recent]
    if bounded and writer.chance(0.25):
        name = writer.read(over)
        return f"{name}[{writer.read(writer.rng.choice(bounded))} % len({name})]"
    position = writer.rng.choice((0, 0, 0, -1, -1, 1, 1, 2, -2, 3, writer.rng.randint(-low, low - 1)))
    if not -low <= position < low:
        position = 0 if position > 0 else -1
    return f"{writer.read(over)}[{position}]"


def _item(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    types = {"int": ("ints", "tints", "table"), "str": ("strs", "tstrs", "str"), "char": ("str",)}[result]
    options = [v for v in writer.scope if v.type in types]
    writer.rng.shuffle(options)
    for over in options:
        if over.type == "table":
            if isinstance(over.value, dict) and over.value and over.low:
                return f"{writer.read(over)}[{writer.rng.choice(list(over.value))}]", POSTFIX
            continue
        text = item_at(writer, over)
        if text is not None:
            return text, POSTFIX
    if result == "char":
        return writer.expression("sub", 0)
    return writer.expression(result, 0, needs=True)


def _parts(writer: Writer, depth: int, shown: str) -> tuple[str, str] | None:
    """An element of type `shown` and `TARGETS in SOURCE [if TEST]`; its targets are gone from scope afterwards."""
    over = iterable(writer)
    if over is None:
        return None
    mark, recent, used = len(writer.scope), list(writer.recent), set(writer.used)
    if writer.chance(0.12) and over.type in ("str", "ints", "strs"):
        targets, loop = indices(writer, over)
        element = item_at(writer, over) or "0"
        if shown == "shown" and over.type == "ints":
            element = f"str({element})"
        elif shown == "cell" and over.type != "ints":
            element = f"ord({element})" if over.type == "str" else f"len({element})"
    else:
        targets, loop = source(writer, over)
        focus = writer.rng.choice(targets)
        element = focus.name
        plain = ("int",) if shown == "cell" else ("char", "word")
        if focus.type not in plain or writer.chance(0.55):
            element = writer.about(focus, shown)
    if writer.chance(0.5 if depth > 0 else 0.35):
        focus = writer.rng.choice(targets)
        loop += f" if {writer.about(focus, 'bool', 0, level=1)}"
    for variable in writer.scope[mark:]:
        writer.used.discard(variable.name)
    writer.used |= used
    del writer.scope[mark:]
    writer.recent[:] = [*recent, over]
    return element, loop


def _comprehension(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    parts = _parts(writer, depth, "cell" if result == "ints" else "shown")
    if parts is None:
        return writer.literal(result)
    return f"[{parts[0]} for {parts[1]}]", POSTFIX


def _join(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    parts = _parts(writer, depth, "shown")
    if parts is None:
        return writer.literal(result)
    brackets = ("[", "]") if writer.chance(0.3) else ("", "")
    return f"{writer.expression('sep', 0)[0]}.join({brackets[0]}{parts[0]} for {parts[1]}{brackets[1]})", POSTFIX


def _sum(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    parts = _parts(writer, depth, "cell")
    if parts is None:
        return writer.literal(result)
    element, loop = parts
    if writer.chance(0.3):
        element = "1"
    if element != "1" and writer.chance(0.2):
        return f"{writer.choose('max', 'min')}(({element} for {loop}), default=0)", POSTFIX
    return f"sum({element} for {loop})", POSTFIX


def _dict(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    over = iterable(writer, ("str", "strs", "counts", "tstrs"))
    if over is None:
        return writer.literal(result)
    mark, recent, used = len(writer.scope), list(writer.recent), set(writer.used)
    targets, loop = source(writer, over, plain=True)
    key = targets[0].name if writer.chance(0.7) else writer.about(targets[0], "shown")
    value = writer.about(targets[-1], "cell")
    if writer.chance(0.3):
        loop += f" if {writer.about(targets[-1], 'bool', 0, level=1)}"
    writer.used = used
    del writer.scope[mark:]
    writer.recent[:] = [*recent, over]
    return f"{{{key}: {value} for {loop}}}", POSTFIX


def _quantifier(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    over = iterable(writer, ("str", "ints", "strs", "counts", "tints"))
    if over is None:
        return writer.expression(result, 0)
    mark, recent, used = len(writer.scope), list(writer.recent), set(writer.used)
    targets, loop = source(writer, over)
    test = writer.about(writer.rng.choice(targets), "bool")
    writer.used = used
    del writer.scope[mark:]
    writer.recent[:] = [*recent, over]
    return f"{writer.choose('any', 'all')}({test} for {loop})", POSTFIX


def _shown(writer: Writer) -> list[str]:
    found: list[str] = []
    for _ in range(writer.rng.choice((1, 2, 2, 2, 3))):
        variable = writer.find("any")
        if variable is None or variable.name in found:
            break
        found.append(writer.read(variable))
    return found


def _fstring(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    texts = _shown(writer)
    if not texts:
        return writer.literal(result)
    pieces = [writer.choose("", "", "", "[", "<", "x=", "(")]
    types = {v.name: v.type for v in writer.scope}
    for text in texts:
        mark = ""
        if types.get(text) == "int" and writer.chance(0.3):
            mark = writer.choose(":02d", ":03d", ":>4", ":x", ":b", ":+d", ":,", ":<3")
        elif types.get(text) in ("str", "word", "char", "sub") and writer.chance(0.3):
            mark = writer.choose(":>6", ":<8", ":^7", "!r", ":*^9", ":.2", "[0:2]", ".upper()", "[::-1]", ":-<5")
        elif writer.chance(0.08):
            mark = "="
        pieces += ["{" + text + mark + "}", writer.choose("-", " ", ":", ", ", "", "_", "/", "=", " and ")]
    pieces[-1] = writer.choose("", "", "", "]", "!", ">", ";")
    return "f'" + "".join(pieces) + "'", POSTFIX


def _percent(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    texts = _shown(writer)
    if not texts:
        return writer.literal(result)
    types = {v.name: v.type for v in writer.scope}
    marks = [
        writer.choose("%d", "%s", "%02d", "%3d", "%x")
        if types.get(t) == "int"
        else writer.choose("%s", "%s", "%s", "%r")
        for t in texts
    ]
    template = writer.choose("-", " ", ":", ", ", "", "=").join(marks)
    plain = len(texts) == 1 and types.get(texts[0]) not in ("tints", "tstrs")
    return f"'{template}' % " + (texts[0] if plain else f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"), 10


def _format(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    texts = _shown(writer)
    if not texts:
        return writer.literal(result)
    separator = writer.choose("-", " ", ":", ", ", "", "/")
    if writer.chance(0.25):
        order = list(range(len(texts)))
        writer.rng.shuffle(order)
        return repr(separator.join(f"{{{i}}}" for i in order)) + f".format({', '.join(texts)})", POSTFIX
    return repr(separator.join("{}" for _ in texts)) + f".format({', '.join(texts)})", POSTFIX


def _set_comprehension(writer: Writer, result: str, depth: int) -> tuple[str, int]:
    parts = _parts(writer, depth, "cell" if result == "intset" else "shown")
    if parts is None:
        return writer.literal(result)
    return f"{{{parts[0]} for {parts[1]}}}", POSTFIX


FORMS.update(
    setcomp=_set_comprehension,
    item=_item, comprehension=_comprehension, join=_join, sum=_sum, dict=_dict, quantifier=_quantifier,
    fstring=_fstring, percent=_percent, format=_format,
)  # fmt: skip
