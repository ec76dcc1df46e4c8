"""Skeletons: whole programs of a shape that the statement grammar does not write, with random holes.

A skeleton is Python with marks; its last line, after `>>> `, is the call::

    $x $xs2         a fresh name; the letters are its role (see `_ROLES`), digits tell several of one role apart
    ⟦a|b|c⟧         one of several texts, which may hold marks themselves; a `|` of Python's is written `¦` there
    ~               alone on its line: no line
    <<int>>         a literal of one of the writer's types, or a leaf of the grammar
    <<bool:$x:int>> an expression of a type about a variable of a type; `<<str:$x:word:1>>` one step deeper

Notable choice: what makes a skeleton's programs differ is its holes, which the whole grammar fills, so a skeleton is a
distribution over programs and not a program with other constants.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from opencwm.programs.write import names
from opencwm.programs.write.rules import LEAVES
from opencwm.programs.write.style import mark_modules
from opencwm.programs.write.writer import Variable, Writer

_CHOICE = re.compile(r"⟦([^⟦⟧]*)⟧")
_NAME = re.compile(r"\$([a-zA-Z]+)(\d*)")
_HOLE = re.compile(r"<<(\w+)(?::([^:>]+):(\w+))?(?::(\d))?>>")
_ROLES = {
    "x": "item", "i": "index", "n": "int", "s": "str", "w": "word", "c": "char", "xs": "ints", "ws": "strs",
    "d": "counts", "k": "key", "v": "val", "out": "list", "acc": "count", "b": "built", "t": "int", "fl": "float",
    "st": "intset", "row": "row", "rows": "rows", "ok": "bool", "by": "bytes",
}  # fmt: skip
_ATTRIBUTES = (
    "value", "total", "items", "name", "size", "data", "count", "level", "state", "price", "left", "parts", "score",
    "limit", "owner", "log", "start", "tag", "width", "stock",
)  # fmt: skip
_METHODS = (
    "add", "push", "feed", "update", "take", "record", "step", "move", "apply", "visit", "grow", "put", "use", "mark",
    "absorb", "result", "report", "show", "render", "drain", "check", "compute", "flip",
)  # fmt: skip
_CLASSES = (
    "Box", "Account", "Tracker", "Point", "Queue", "Buffer", "Node", "Meter", "Bag", "Cursor", "Shape", "Animal",
    "Item", "Stock", "Robot", "Player", "Timer", "Grid", "Range", "Money", "Card", "Team", "Token", "Parser", "Cell",
)  # fmt: skip
_ERRORS = ("ParseError", "LimitError", "EmptyError", "BadInput", "StateError", "RangeError", "CustomError", "NotReady")
_HELPERS = (
    "helper", "check", "step", "inner", "apply", "combine", "visit", "make", "outer", "wrap", "scale", "twice", "pick",
    "clean", "encode", "walk", "build", "solve", "go", "fold", "part", "score", "shift", "norm", "rank", "sift",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Skeleton:
    """`topic` is a rung of the ladder or a kind of drill."""

    topic: str
    weight: float
    text: str


SKELETONS: dict[str, list[Skeleton]] = {}


def add(topic: str, text: str, weight: float = 1.0) -> None:
    """Register the skeletons of a topic, separated by lines of `---`."""
    for part in text.split("\n---\n"):
        SKELETONS.setdefault(topic, []).append(Skeleton(topic, weight, part.strip("\n")))


def skeleton(rng: random.Random, topic: str) -> tuple[str, str]:
    """Source and call of a program out of a random skeleton of a topic."""
    options = SKELETONS[topic]
    return fill(rng, rng.choices(options, [option.weight for option in options])[0].text)


def fill(rng: random.Random, text: str) -> tuple[str, str]:
    """Source and call of a skeleton with its marks resolved."""
    text = mark_modules(_choose(rng, text))
    writer = Writer(rng, depth=1, room=9)
    text = _name(writer, text)
    lines = [line.rstrip() for line in text.split("\n") if line.strip() != "~"]
    source, _, call = "\n".join(lines).rpartition("\n>>> ")
    call = _fill(writer, call)  # first, so that what is filled in can look for what is there
    return _fill(writer, source), call


def _choose(rng: random.Random, text: str) -> str:
    """Choices resolved from the inside out."""
    while True:
        text, count = _CHOICE.subn(lambda match: rng.choice(match.group(1).split("|")), text)
        if not count:
            return text.replace("¦", "|")


def _name(writer: Writer, text: str) -> str:
    """The same fresh name for each mark."""
    given: dict[str, str] = {}

    def fresh(match: re.Match[str]) -> str:
        mark, role = match.group(), match.group(1)
        if mark not in given:
            given[mark] = name = _fresh(writer, role)
            writer.used.add(name)
        return given[mark]

    return _NAME.sub(fresh, text)


def _fresh(writer: Writer, role: str) -> str:
    rng, used = writer.rng, writer.used
    if role == "f":
        return names.function_name(rng, used)
    pools = {"g": _HELPERS, "m": _METHODS, "at": _ATTRIBUTES, "C": _CLASSES, "E": _ERRORS}
    if role not in pools:
        return names.identifier(rng, _ROLES[role], used)
    while True:
        name = rng.choice(pools[role])
        if rng.random() < 0.1:
            name += rng.choice(("s", "_all", "er", "2", "_one")) if role != "C" else rng.choice("ABXYZ")
        if name not in used:
            return name


def _fill(writer: Writer, text: str) -> str:
    def filled(match: re.Match[str]) -> str:
        result, name, type_, depth = match.groups()
        if name is not None:
            return writer.about(Variable(name, type_), result, int(depth or 0), level=_level(text, match))
        writer.recent.clear()
        if result in LEAVES:
            return LEAVES[result](writer)[0]
        return literal(writer, result)

    return _HOLE.sub(filled, text)


def literal(writer: Writer, type_: str) -> str:
    """A literal as arguments have them; its letters and items join the pool."""
    variable = writer.argument(type_)
    text = writer.arguments.pop()[1]
    writer.scope.remove(variable)
    writer.used.discard(variable.name)
    return text


def _level(text: str, match: re.Match[str]) -> int:
    """How tightly a hole's text has to bind: fully where an operator stands beside it."""
    before, after = text[: match.start()].rstrip(" ")[-1:], text[match.end() :].lstrip(" ")[:1]
    return 12 if (before and before in "+-*/%<>!") or (after and after in "+-*/%.[<>") else 1
