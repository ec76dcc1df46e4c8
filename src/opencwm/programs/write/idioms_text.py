"""Idioms that rewrite text: shifting letters, replacing, splitting and joining, padding, rotating."""

from __future__ import annotations

from opencwm.programs.write.idioms import bounded, changed, item, letter, local, register, start
from opencwm.programs.write.writer import Variable, Writer


@register(2, "str", 2)
def squeeze(writer: Writer, over: Variable) -> None:
    """Replace until nothing is left to replace; each round makes the string shorter."""
    s, one = over.name, letter(writer)
    one = one if one[1].isalnum() else "'a'"
    double = f"'{one[1] * 2}'"
    forms = [
        (one, "''"),
        (double, one),
        (f"'{one[1]}{writer.choose('a', 'b', 'e', '-', ' ')}'", writer.choose("''", one)),
    ]
    old, new = writer.rng.choice(forms)
    writer.open(f"while {old} in {s}:")
    writer.emit(f"{s} = {s}.replace({old}, {new}{writer.choose('', '', ', 1')})")
    writer.close()
    changed(over)


@register(2.5, "str", 5)
def caesar(writer: Writer, over: Variable) -> None:
    """Shift letters of the alphabet."""
    out = start(writer, "str", "built", "''") if writer.chance(0.7) else start(writer, "strs", "list", "[]")
    ch = local(writer, "char", "char")
    shift = bounded(writer)
    writer.open(f"for {ch.name} in {over.name}:")
    test = writer.choose("isalpha()", "islower()", "islower()", "isupper()")
    base, size = ("65", "26") if test == "isupper()" else ("97", "26")
    base = writer.choose(base, base, f"ord('{'A' if base == '65' else 'a'}')")
    writer.open(f"if {ch.name}.{test}:")
    form = f"chr((ord({ch.name}) - {base} {writer.choose('+', '+', '-')} {shift}) % {size} + {base})"
    put = "{} += {}" if out.type == "str" else "{}.append({})"
    writer.emit(put.format(out.name, form))
    writer.close()
    if writer.chance(0.7):
        writer.open("else:")
        writer.emit(put.format(out.name, ch.name))
        writer.close()
    writer.close()
    out.pending = True


@register(2, "str", 2)
def substitute(writer: Writer, over: Variable) -> None:
    """Look characters up in a dict."""
    letters = list(dict.fromkeys(writer.rng.choices((over.value if isinstance(over.value, str) else "") or "abc", k=3)))
    others = [writer.choose("1", "x", "", "*", "Z", "ee", "_") for _ in letters]
    table = start(writer, "words", "words", repr(dict(zip(letters, others, strict=True))))
    table.pending = False
    ch = writer.choose("c", "ch", "x", "k")
    while ch in writer.used:
        ch += "_"
    default = writer.choose(f", {ch}", f", {ch}", ", ''", f", {ch}.upper()", ", '?'")
    test = writer.choose("", "", "", f" if {ch} in {table.name}", f" if {ch} != {letter(writer)}")
    text = f"''.join({table.name}.get({ch}{default}) for {ch} in {over.name}{test})"
    writer.emit(f"{over.name} = {text}")
    changed(over)


@register(3, "str", 4)
def words_in_place(writer: Writer, over: Variable) -> None:
    """Split, change some words, join."""
    separator = writer.expression("sepn", 0)[0] if writer.chance(0.5) else ""
    words = start(writer, "strs", "strs", f"{over.name}.split({separator})")
    i = local(writer, "int", "index")
    at = item(f"{words.name}[{i.name}]", words)
    if writer.chance(0.5):
        w = local(writer, "word", "word")
        writer.open(f"for {i.name}, {w.name} in enumerate({words.name}):")
        at = w
    else:
        writer.open(f"for {i.name} in range({writer.choose('', '', '1, ', '0, ')}len({words.name})):")
    if writer.room > 2 and writer.chance(0.5):
        index = Variable(i.name, "int")
        writer.open(f"if {writer.about(writer.rng.choice((at, index)), 'bool')}:")
        writer.emit(f"{words.name}[{i.name}] = {writer.about(at, 'word')}")
        writer.close()
    else:
        writer.emit(f"{words.name}[{i.name}] = {writer.about(at, 'word')}")
    writer.close()
    changed(words)
    if writer.room > 1 and writer.chance(0.6):
        words.pending = False
        start(
            writer,
            "str",
            "built",
            f"{separator if separator and writer.chance(0.5) else writer.expression('sep', 0)[0]}.join({words.name})",
        )


@register(2, "str", 5)
def fields(writer: Writer, over: Variable) -> None:
    """Parse `key=value` pairs."""
    value = over.value if isinstance(over.value, str) else ""
    outer = next((c for c in ";,&| \n" if c in value), ",")
    inner = next((c for c in "=:-" if c in value), "=")
    table = start(writer, "words", "dict", "{}")
    part, key, val = (local(writer, "word", role) for role in ("word", "key", "val"))
    writer.open(f"for {part.name} in {over.name}.split({outer!r}):")
    if writer.chance(0.75):
        writer.open(f"if {inner!r} in {part.name}:")
        writer.emit(f"{key.name}, {val.name} = {part.name}.split({inner!r}, 1)")
        tail = writer.about(val, "word") if writer.chance(0.4) else val.name
        writer.emit(f"{table.name}[{writer.choose(key.name, key.name, f'{key.name}.strip()')}] = {tail}")
        writer.close()
    else:
        writer.emit(f"{key.name}, {writer.choose('_', 'sep')}, {val.name} = {part.name}.partition({inner!r})")
        writer.emit(f"{table.name}[{key.name}] = {val.name}")
    writer.close()
    table.pending = True


@register(2.5, "str digits", 4)
def digit_sum(writer: Writer, over: Variable) -> None:
    """Sum or collect the digits in a text."""
    ch = local(writer, "char", "char")
    total = start(writer, "int", "count", writer.choose("0", "0", "1"))
    writer.open(f"for {ch.name} in {over.name}:")
    writer.open(f"if {ch.name}.{writer.choose('isdigit()', 'isdigit()', 'isnumeric()', 'isdecimal()')}:")
    writer.emit(
        f"{total.name} "
        + writer.choose(
            f"+= int({ch.name})",
            f"+= int({ch.name}) * {bounded(writer, 5)}",
            f"= max({total.name}, int({ch.name}))",
            f"-= int({ch.name})",
            f"= {total.name} * 10 + int({ch.name})" if over.type == "digits" else "+= 1",
        )
    )
    writer.close()
    if writer.chance(0.3) and writer.room > 2:
        writer.open(f"elif {writer.about(ch, 'bool')}:")
        writer.emit(f"{total.name} {writer.choose('+=', '-=')} {bounded(writer, 5)}")
        writer.close()
    writer.close()
    total.pending = True


@register(2, "str strs", 4)
def pad(writer: Writer, over: Variable) -> None:
    """Grow to a length."""
    size = writer.rng.randint(3, 9)
    addition = letter(writer) if over.type == "str" else None
    writer.open(f"while len({over.name}) < {size}:")
    if addition is not None:
        form = writer.choose("{0} += {1}", "{0} = {1} + {0}", "{0} = {1} + {0} + {1}", "{0} = {0} + {0}[:1] + {1}")
        writer.emit(form.format(over.name, addition))
    else:
        writer.emit(f"{over.name}.{writer.choose('append({})', 'insert(0, {})').format(letter(writer))}")
    writer.close()
    changed(over)


@register(2, "str", 4)
def alternate(writer: Writer, over: Variable) -> None:
    """Treat characters at even and odd places differently."""
    out = start(writer, "str", "built", "''")
    i, ch = local(writer, "int", "index"), local(writer, "char", "char")
    writer.open(f"for {i.name}, {ch.name} in enumerate({over.name}):")
    test = f"{i.name} % {writer.choose('2', '2', '3')}" + writer.choose(" == 0", " == 1", "")
    first, second = writer.about(ch, "shown", level=1), writer.about(ch, "shown", level=0)
    writer.emit(f"{out.name} += {first} if {test} else {second if writer.chance(0.6) else ch.name}")
    writer.close()
    out.pending = True


@register(2, "str ints strs", 2)
def rotate(writer: Writer, over: Variable) -> None:
    """Cut and swap the two parts."""
    s, k = over.name, bounded(writer, 20)
    if writer.room > 2 and writer.chance(0.6):
        cut = start(
            writer,
            "int",
            "index",
            f"{k} % {writer.choose(f'len({s})', f'max(len({s}), 1)')}" if over.low else f"{k} % max(len({s}), 1)",
        )
        cut.pending = False
        k = cut.name
    sign = writer.choose("", "-")
    writer.emit(f"{s} = {s}[{sign}{k}:] + {s}[:{sign}{k}]")
    changed(over)
