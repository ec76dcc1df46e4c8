"""`Maker`: argument texts by shape, objects of the program's own classes, and mutations of known values."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence

from opencwm.programs.shapes import ANY, Shape, annotated, defaulted, named
from opencwm.programs.usage import Arguments
from opencwm.programs.write import values

_DEEPEST = 3
_POOL = 12
_ANY = ("int", "int", "str", "ints", "strs", "counts", "float", "bool", "tints", "none", "pairs")
_FLOATS = ("0.0", "1.0", "0.5", "-1.5", "2.25", "10.0", "3.75", "100.0", "1e-3", "float('inf')")
_UNARY = (
    "lambda x: x", "lambda x: x > 2", "lambda x: x % 2 == 0", "lambda x: not x", "lambda x: (x, x)", "lambda x: x * 2",
    "str", "len", "bool", "lambda x: -x", "lambda x: None", "lambda x: str(x)[:1]", "lambda x: [x]", "abs", "repr",
)  # fmt: skip
_BINARY = (
    "lambda x, y: x + y",
    "lambda x, y: (x, y)",
    "lambda x, y: x < y",
    "max",
    "min",
    "lambda x, y: x",
    "lambda x, y: y",
)
_WHOLE = frozenset((
    "int", "bool", "str", "digits", "sub", "char", "bytes", "ints", "strs", "rows", "pairs", "tints", "tstrs",
    "counts", "names", "words", "table", "groups", "strset", "intset",
))  # fmt: skip


class Maker:
    """Makes argument texts with one random state for one program (`tree`), whose classes it can instantiate."""

    def __init__(self, rng: random.Random, tree: ast.Module) -> None:
        self.rng = rng
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self._pool = _strings(tree)

    def value(self, shape: Shape, depth: int = 0) -> str:
        """The source text of a value of a shape."""
        rng = self.rng
        match shape.kind:
            case "union":
                return self.value(rng.choice(shape.parts), depth)
            case "literal":
                return rng.choice(shape.texts)
            case "none":
                return "None"
            case "float":
                return (
                    rng.choice(_FLOATS)
                    if rng.random() < 0.6
                    else repr(round(rng.uniform(-50, 50), rng.choice((1, 2, 4))))
                )
            case "complex":
                return repr(complex(values.integer(rng), rng.randint(-5, 5)))
            case "range":
                return f"range({rng.randint(0, 8)})"
            case "callable":
                return self._callable(shape.size)
            case "list" | "set" | "iterator" | "tuple" | "dict":
                return self._container(shape, depth)
            case "instance":
                owner = self._classes.get(shape.texts[0])
                made = self.instance(owner, (), depth + 1) if owner is not None and depth < _DEEPEST else None
                return made if made is not None else self.value(ANY, depth)
            case kind if kind in _WHOLE:
                return values.display(values.make(rng, kind, self._pool))
        if depth >= _DEEPEST:
            return repr(values.integer(rng))
        kinds = _ANY[:3] if depth else _ANY
        return self.value(Shape(rng.choice(kinds)), depth + 1)

    def instance(self, owner: ast.ClassDef, known: Sequence[Arguments], depth: int = 0) -> str | None:
        """The text of an object of a class; None if nothing shows how one is made."""
        rng = self.rng
        if known and rng.random() < 0.6:
            base = rng.choice(known)
            texts = [self.mutated(text) for text in base.positional]
            texts += [f"{name}={self.mutated(text)}" for name, text in base.keyword]
            return f"{owner.name}({', '.join(texts)})"
        parameters = self._constructor(owner, set())
        if parameters is None:
            return None
        given = []
        for name, annotation, default, required in parameters:
            if not required and rng.random() < 0.6:
                continue
            shape = annotated(annotation) or defaulted(default) or named(name) or ANY
            text = self.value(shape, depth + 1)
            given.append(text if required else f"{name}={text}")
        return f"{owner.name}({', '.join(given)})"

    def _constructor(
        self, owner: ast.ClassDef, seen: set[str]
    ) -> list[tuple[str, ast.expr | None, ast.expr | None, bool]] | None:
        """(name, annotation, default, required) of what makes an object: `__init__`, `__new__`, dataclass fields."""
        if owner.name in seen:
            return []
        seen.add(owner.name)
        for wanted in ("__init__", "__new__"):
            for item in owner.body:
                if isinstance(item, ast.FunctionDef) and item.name == wanted:
                    return _parameters(item)
        decorators = " ".join(ast.unparse(decorator) for decorator in owner.decorator_list)
        bases = [ast.unparse(base) for base in owner.bases]
        if "dataclass" in decorators or "NamedTuple" in bases or "typing.NamedTuple" in bases:
            fields = [
                item for item in owner.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            ]
            return [
                (item.target.id, item.annotation, item.value, item.value is None)
                for item in fields
                if isinstance(item.target, ast.Name) and "ClassVar" not in ast.unparse(item.annotation)
            ]
        if any(base.rpartition(".")[2] in ("Enum", "IntEnum", "Flag", "IntFlag", "StrEnum") for base in bases):
            return None
        for base in bases:
            if base in self._classes:
                return self._constructor(self._classes[base], seen)
            if base in ("list", "tuple", "set", "frozenset", "dict", "str", "int", "float"):
                shape = {"dict": "dict[str, int]", "str": "str", "int": "int", "float": "float"}.get(base, "list[int]")
                return [("value", ast.parse(shape, mode="eval").body, None, True)]
        return []

    def _container(self, shape: Shape, depth: int) -> str:
        rng = self.rng
        if depth >= _DEEPEST:
            return {"dict": "{}", "tuple": "()", "set": "set()"}.get(shape.kind, "[]")
        if shape.kind == "tuple":
            items = [self.value(part, depth + 1) for part in shape.parts]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        size = values.length(rng) if depth == 0 else rng.randint(0, 3)
        part = self._concrete(shape.parts[0]) if shape.parts else Shape("int")
        if shape.kind == "dict":
            inner = self._concrete(shape.parts[1])
            pairs = {self.value(part, depth + 1): self.value(inner, depth + 1) for _ in range(size)}
            return "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
        items = [self.value(part, depth + 1) for _ in range(size)]
        if shape.kind == "set":
            return "{" + ", ".join(dict.fromkeys(items)) + "}" if items else "set()"
        if shape.kind == "iterator":
            return f"iter([{', '.join(items)}])"
        if shape.texts == ("tuple",):
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        return f"[{', '.join(items)}]"

    def _concrete(self, shape: Shape) -> Shape:
        """One kind for all items of a container whose items may be anything: mixed ones rarely make sense."""
        return Shape(self.rng.choice(("int", "int", "str"))) if shape.kind == "any" else shape

    def _callable(self, size: int) -> str:
        if size == 0:
            return self.rng.choice(("lambda: 0", "list", "dict", "int", "lambda: None"))
        if size == 1:
            return self.rng.choice(_UNARY)
        if size == 2:
            return self.rng.choice(_BINARY)
        names = ", ".join("abcdefgh"[:size])
        return f"lambda {names}: ({names})"

    def mutated(self, text: str) -> str:
        """A known argument, most often changed a little; what is not a literal stays."""
        if self.rng.random() < 0.35:
            return text
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text
        try:
            return values.display(self._changed(value))
        except TypeError:  # a set of mixed items has no order
            return text

    def _changed(self, value: object) -> object:
        rng = self.rng
        if isinstance(value, bool) or value is None:
            return value if rng.random() < 0.5 or value is None else not value
        if isinstance(value, int):
            return rng.choice((value + 1, value - 1, value * 2, -value, 0, value + rng.randint(2, 9), value // 2))
        if isinstance(value, float):
            return rng.choice((value + 1.0, value / 2, -value, 0.0, round(value, 1)))
        if isinstance(value, str):
            return self._changed_text(value)
        if isinstance(value, bytes):
            return self._changed_text(value.decode("latin-1")).encode("latin-1", "replace")
        if isinstance(value, list | tuple):
            items = self._changed_items(list(value))
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, set):
            return set(self._changed_items(sorted(value)))
        if isinstance(value, dict):
            keys = self._changed_items(list(value), inner=False)
            return {key: self._changed(value[key]) if rng.random() < 0.3 else value[key] for key in keys}
        return value

    def _changed_text(self, text: str) -> str:
        rng = self.rng
        if not text:
            return values.word(rng)
        at = rng.randrange(len(text))
        return rng.choice((
            text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], text[at:], text[: at + 1], text.swapcase(),
            text + rng.choice(self._pool or (" ",)), text[::-1], text[:at] + values.short(rng, self._pool) + text[at:],
        ))  # fmt: skip

    def _changed_items(self, items: list[object], *, inner: bool = True) -> list[object]:
        rng = self.rng
        if not items:
            return items
        at = rng.randrange(len(items))
        choice = rng.randrange(6 if inner else 4)
        if choice == 0:
            return items[:at] + items[at + 1 :]
        if choice == 1:
            return items[at:] + items[:at]
        if choice == 2:
            return items[: at + 1]
        if choice == 3:
            return items[::-1]
        if choice == 4:
            return [*items, items[at]]
        return [*items[:at], self._changed(items[at]), *items[at + 1 :]]


def _parameters(node: ast.FunctionDef) -> list[tuple[str, ast.expr | None, ast.expr | None, bool]]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    found = [(a.arg, a.annotation, d, d is None) for a, d in zip(positional, defaults, strict=True)][1:]
    return [item for item in found if item[3] or item[0] not in {a.arg for a in arguments.posonlyargs}]


def _strings(tree: ast.Module) -> list[str]:
    """Short string literals of a program, so that made-up texts can hit what it looks for."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) <= 8:
            found[node.value] = None
            if len(found) >= _POOL:
                break
    return list(found)
