"""Variation: statements of the grammar added to a finished program, so that programs of one shape differ in more.

The types of the arguments are read off the call's literals. A statement about an argument goes before the body (the
argument has another value from there on), or an expression about one beside what is returned at the end.
"""

from __future__ import annotations

import ast
import random
import re

from opencwm.programs.write.writer import Variable, Writer

_HEAD = r"^def {}\(([\w, ]+)\):$"


def vary(rng: random.Random, source: str, call: str, most: int = 2) -> str:
    """The source with up to `most` statements added to the function that is called, and perhaps a second result."""
    name = call[: call.index("(")]
    head = re.search(_HEAD.format(re.escape(name)), source, re.MULTILINE)
    if head is None or len(re.findall(rf"\b{re.escape(name)}\(", source)) > 1:  # recursive: it may never end
        return source
    types = _types(head.group(1).split(", "), call)
    if not types:
        return source
    writer = Writer(rng, depth=1, room=9)
    writer.pool += [value for _, value in types.values() if isinstance(value, str) and value]
    lines = source.split("\n")
    start = source[: head.start()].count("\n")
    last = start
    while last + 1 < len(lines) and (not lines[last + 1] or lines[last + 1].startswith(" ")):
        last += 1
    while not lines[last]:
        last -= 1
    if writer.chance(0.6) and lines[last].startswith("    return ") and "yield" not in source[head.start() :]:
        text = writer.about(_pick(writer, types), writer.choose("int", "str", "bool", "strs", "ints"), 1, level=1)
        lines[last] += f", {text}"
    for _ in range(rng.randint(0, most)):
        variable = _pick(writer, types)
        text = writer.about(variable, variable.type, 1)
        if writer.chance(0.3):
            text = f"{text} if {writer.about(variable, 'bool', 0, level=1)} else {variable.name}"
        lines.insert(start + 1, f"    {variable.name} = {text}")
    return "\n".join(lines)


def _pick(writer: Writer, types: dict[str, tuple[str, object]]) -> Variable:
    name, (type_, value) = writer.rng.choice(list(types.items()))
    return Variable(name, type_, value=value)


def _types(parameters: list[str], call: str) -> dict[str, tuple[str, object]]:
    """The writer's type and the value of each parameter that is given a literal of a known type."""
    try:
        tree = ast.parse(call, mode="eval").body
    except SyntaxError:
        return {}
    if not isinstance(tree, ast.Call) or tree.keywords or any(isinstance(arg, ast.Starred) for arg in tree.args):
        return {}
    found: dict[str, tuple[str, object]] = {}
    for name, node in zip(parameters, tree.args, strict=False):
        try:
            value = ast.literal_eval(node)
        except ValueError:
            continue
        type_ = _type(value)
        if type_ is not None:
            found[name] = type_, value
    return found


def _type(value: object) -> str | None:
    plain = {int: "int", str: "str", float: "float", bytes: "bytes"}.get(type(value))
    if plain is not None:
        return plain
    if isinstance(value, list | set) and value:
        kinds = {type(item) for item in value}
        if isinstance(value, set):
            return "intset" if kinds == {int} else None
        if kinds == {list}:
            return "rows" if all(type(item) is int for row in value for item in row) else None
        return {int: "ints", str: "strs", float: "floats"}.get(kinds.pop()) if len(kinds) == 1 else None
    if isinstance(value, dict) and value:
        keys, items = {type(key) for key in value}, {type(item) for item in value.values()}
        return "counts" if (keys, items) == ({str}, {int}) else None
    return None
