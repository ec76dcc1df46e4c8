"""Statements that change a list, a dict or a set in place, from weighted templates.

In a template `{v}` is the variable, `{E}` an element, `{V}` a value, `{L}` and `{D}` another collection, `{O}` an
element or key that is there, `{K}` a sort key, `{i}` a small index, `{Z}` the zero of the type.
"""

from __future__ import annotations

from opencwm.programs.write.writer import Variable, Writer

LIST_CHANGES = """
    14 {v}.append({E})
    6 {v}.insert({i}, {E})
    6 {v}.pop()
    5 {v}.pop(0)
    2 {v}.pop(-1)
    3 {v}.reverse()
    4 {v}.sort()
    1.5 {v}.sort(reverse=True)
    1.5 {v}.sort(key={K})
    4 {v}.extend({L})
    2 {v} += {L}
    2 {v} += [{E}]
    1.5 {v}.remove({O})
    1 {v}.remove({E})
    1.5 {v}[0] = {E}
    1.5 {v}[-1] = {E}
    1 {v}[{i}:{i}] = {L}
    1 {v}[:2] = [{E}]
    1 {v}[0], {v}[-1] = {v}[-1], {v}[0]
    1 del {v}[0]
    1 del {v}[-1]
    1 del {v}[{i}:]
    0.6 del {v}[::2]
    0.4 {v}.clear()
    1 {v} *= 2
    """
DICT_CHANGES = """
    10 {v}[{key}] = {V}
    4 {v}.update({D})
    3 {v}.setdefault({key}, {V})
    4 {v}.pop({key}, None)
    2.5 {v}.pop({O})
    1.8 {v}.pop({key})
    1 del {v}[{key}]
    1 {v}[{key}] += {V}
    1.5 {v}.popitem()
    1 del {v}[{O}]
    0.5 {v}.clear()
    1.5 {v} |= {D}
    3 {v}[{key}] = {v}.get({key}, {Z}) + {V}
    """
SET_CHANGES = """
    6 {v}.add({E})
    3 {v}.discard({E})
    1 {v}.remove({E})
    2 {v}.update({L})
    1 {v} |= {L2}
    1 {v} &= {L2}
    1 {v}.difference_update({L})
    0.5 {v}.intersection_update({L})
    """


def _table(text: str) -> tuple[list[str], list[float]]:
    pairs = [line.strip().split(" ", 1) for line in text.strip().splitlines()]
    return [template for _, template in pairs], [float(weight) for weight, _ in pairs]


_LIST, _LIST_WEIGHTS = _table(LIST_CHANGES)
_DICT, _DICT_WEIGHTS = _table(DICT_CHANGES)
_SET, _SET_WEIGHTS = _table(SET_CHANGES)
_ELEMENT = {
    "ints": "int", "strs": "str", "counts": "int", "words": "str", "names": "str", "table": "int", "intset": "int",
    "strset": "sub",
}  # fmt: skip
MUTABLE = tuple(_ELEMENT)


def mutable(writer: Writer) -> Variable | None:
    """A list, dict or set that may be changed here, most often one that is pending."""
    options = [v for v in writer.scope if v.type in MUTABLE and not v.frozen]
    if not options:
        return None
    return writer.rng.choices(options, [3.0 if v.pending else 1.0 for v in options])[0]


def change(writer: Writer, variable: Variable) -> None:
    """A statement that changes a list, dict or set in place."""
    if variable.type in ("ints", "strs"):
        _change_list(writer, variable)
    elif variable.type in ("intset", "strset"):
        element = _ELEMENT[variable.type]
        template = writer.rng.choices(_SET, _SET_WEIGHTS)[0]
        text = template.replace("{v}", variable.name)
        if "{L2}" in text:
            text = text.replace("{L2}", f"set({writer.value('ints' if element == 'int' else 'str', 1)})")
        text = text.replace("{L}", writer.value("ints" if element == "int" else "str", 1)) if "{L}" in text else text
        writer.emit(text.replace("{E}", writer.value(element, 0)))
    else:
        _change_dict(writer, variable)
    variable.reads += 1
    variable.pending, variable.value = True, None


def _change_list(writer: Writer, variable: Variable) -> None:
    element = _ELEMENT[variable.type]
    template = writer.rng.choices(_LIST, _LIST_WEIGHTS)[0]
    shrinks = any(mark in template for mark in ("pop", "del", "remove", "clear", "[0]", "[-1]"))
    if (
        shrinks
        and variable.low == 0
        and "clear" not in template
        and "[::2]" not in template
        and not writer.chance(0.35)
    ):
        if writer.chance(0.5) and writer.room > 1:
            writer.open(writer.choose(f"if {variable.name}:", f"if len({variable.name}) > 0:"))
            _emit_list(writer, variable, template, element)
            writer.close()
            return
        template = "{v}.append({E})"
    _emit_list(writer, variable, template, element)
    if shrinks:
        variable.low = max(0, variable.low - 1) if "clear" not in template and ":" not in template else 0
    elif "append" in template or "insert" in template:
        variable.low += 1


def _emit_list(writer: Writer, variable: Variable, template: str, element: str) -> None:
    rng = writer.rng
    text = template.replace("{v}", variable.name).replace("{i}", str(rng.choice((0, 1, 1, 2, -1))))
    if "{E}" in text:
        value = writer.value(element, 1)
        if rng.random() < 0.08 and "append" in text and variable.low > 1:
            value = f"{variable.name}.pop(0)"
        text = text.replace("{E}", value)
    if "{L}" in text:
        other = writer.value(variable.type, 1)
        text = text.replace(
            "{L}", writer.literal(variable.type)[0] if other == variable.name and writer.loops else other
        )
    if "{K}" in text:
        text = text.replace("{K}", writer.value(f"key_{variable.type}"))
    if "{O}" in text:
        own = variable.value
        known = isinstance(own, list) and own and rng.random() < 0.97
        text = text.replace("{O}", repr(rng.choice(own)) if known else f"{variable.name}[0]")  # type: ignore[arg-type]
    writer.emit(text)


def _change_dict(writer: Writer, variable: Variable) -> None:
    rng = writer.rng
    template = rng.choices(_DICT, _DICT_WEIGHTS)[0]
    element = _ELEMENT[variable.type]
    if ("{O}" in template or "popitem" in template) and not (isinstance(variable.value, dict) and variable.value):
        template = "{v}[{key}] = {V}"
    keyed = "key" if variable.type in ("counts", "words") else "int"
    writer.recent[:] = [variable]
    own = list(variable.value) if isinstance(variable.value, dict) else []
    keys = writer.expression(keyed, 0)[0]
    if keyed == "int" and own and rng.random() < 0.6:
        keys = repr(rng.choice(own))
    text = template.replace("{v}", variable.name).replace("{key}", keys)
    text = text.replace("{Z}", "0" if element == "int" else "''")
    if "{V}" in text:
        text = text.replace("{V}", writer.value(element, 1, level=9))
    if "{D}" in text:
        text = text.replace("{D}", writer.literal(variable.type)[0])
    if "{O}" in text:
        text = text.replace("{O}", repr(rng.choice(own)))
    variable.low = 0
    writer.emit(text)
