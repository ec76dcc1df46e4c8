"""What kind of value a parameter wants: read off annotations, defaults, names and what the body does with it.

A `Shape` is a kind with parts: `Shape("list", (Shape("int"),))`. Kinds are the writer's own value types (`int`, `str`,
`ints`, `counts`, ...: see `write/values.py`), and `list`, `set`, `dict`, `tuple` (of parts), `iterator`, `union`,
`literal` (of source texts), `callable` (with `size` parameters), `instance` (of a class by name), `none` and `any`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of value, its parts, the texts of a `literal`, and the number of parameters of a `callable`."""

    kind: str
    parts: tuple[Shape, ...] = ()
    texts: tuple[str, ...] = ()
    size: int = 1


ANY = Shape("any")
_SIMPLE = {
    "int": "int", "bool": "bool", "float": "float", "str": "str", "bytes": "bytes", "complex": "complex",
    "AnyStr": "str", "Text": "str", "LiteralString": "str", "Number": "int", "SupportsInt": "int",
    "SupportsIndex": "int", "bytearray": "bytes",
    "SupportsFloat": "float", "Real": "float", "Integral": "int", "Rational": "int", "Decimal": "int",
    "ByteString": "bytes", "ReadableBuffer": "bytes", "StrPath": "str", "PathLike": "str", "object": "any",
    "Any": "any",
    "Hashable": "any", "Sized": "ints", "range": "range",
}  # fmt: skip
_LISTS = frozenset(
    (
        "list",
        "List",
        "Sequence",
        "MutableSequence",
        "Collection",
        "Iterable",
        "Container",
        "deque",
        "Deque",
        "Reversible",
    )
)
_SETS = frozenset(("set", "Set", "frozenset", "FrozenSet", "AbstractSet", "MutableSet"))
_DICTS = frozenset(
    ("dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict", "SupportsKeysAndGetItem")
)
_ITERATORS = frozenset(("Iterator", "Generator"))

# Names of parameters, most telling first; the first row with the name or with one of its parts counts.
_BY_NAME: tuple[tuple[str, str], ...] = (
    ("int", "n k m i j x y z size count num number index idx length width height depth limit maxsize step start stop"
            " end offset pos position digits precision level indent base year month day hour minute second seconds"
            " times total amount low high lo hi left right first last nth degree order"),
    ("str", "s string text word name line prefix suffix path filename title label msg message pattern template token"
            " source code content value_str char letter sentence url html markup expr query identifier field"),
    ("sub", "sep separator delimiter delim sub substring old new chars fillchar glue joiner char quote"),
    ("ints", "items seq sequence iterable it xs lst list arr array nums numbers values data elements args coll"
             " collection population sample a b vector coordinates indices"),
    ("strs", "words lines names strings tokens columns keys fields texts parts"),
    ("rows", "matrix grid rows table board image"),
    ("counts", "d dict mapping dictionary kwargs options attrs counts weights config params mapping_or_iterable kw"),
    ("pairs", "pairs items_ edges intervals ranges"),
    ("callable", "f fn func function callback key keyfunc predicate pred factory mapper transform op operator"
                 " default_factory"),
    ("bool", "flag reverse strict verbose inplace copy ignore_case case_sensitive recursive include exclude"),
    ("float", "ratio rate probability p q alpha beta tolerance tol epsilon eps weight scale factor mu sigma"),
    ("bytes", "b_ buf buffer raw bytes blob"),
    ("any", "value default obj object item element target fillvalue initial fill sentinel other"),
)  # fmt: skip
_NAMES = {name: kind for kind, names in reversed(_BY_NAME) for name in names.split()}

_STR_METHODS = frozenset(
    [
        "split",
        "rsplit",
        "strip",
        "lstrip",
        "rstrip",
        "upper",
        "lower",
        "title",
        "capitalize",
        "startswith",
        "endswith",
        "replace",
        "splitlines",
        "isdigit",
        "isalpha",
        "isalnum",
        "isspace",
        "encode",
        "format",
        "casefold",
        "swapcase",
        "zfill",
        "ljust",
        "rjust",
        "center",
        "partition",
        "rpartition",
        "isupper",
        "islower",
        "translate",
        "expandtabs",
        "isidentifier",
    ]
)
_LIST_METHODS = frozenset(["append", "extend", "insert", "sort", "reverse"])
_DICT_METHODS = frozenset(["items", "keys", "values", "get", "setdefault", "popitem"])
_SET_METHODS = frozenset(
    ["add", "discard", "union", "intersection", "difference", "issubset", "issuperset", "symmetric_difference"]
)
_INT_CALLS = frozenset(("range", "chr", "bin", "hex", "oct", "bit_length", "islice"))
_LIST_CALLS = frozenset(("sum", "sorted", "min", "max", "enumerate", "zip", "map", "filter", "iter", "reversed", "list",
                         "tuple", "set", "all", "any", "len"))  # fmt: skip


def annotated(node: ast.expr | None) -> Shape | None:
    """The shape that an annotation asks for; None if it says nothing that is understood."""
    match node:
        case None:
            return None
        case ast.Constant(value=None):
            return Shape("none")
        case ast.Constant(value=str() as text):
            try:
                return annotated(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return None
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _named(name)
        case ast.BinOp(op=ast.BitOr()):
            return _union([node.left, node.right])
        case ast.Subscript():
            return _subscript(node)
    return None


def _named(name: str) -> Shape | None:
    if name in _SIMPLE:
        return Shape(_SIMPLE[name])
    if name in _LISTS:
        return Shape("list", (ANY,))
    if name in ("tuple", "Tuple"):
        return Shape("tints")
    if name in _SETS:
        return Shape("set", (ANY,))
    if name in _DICTS:
        return Shape("counts")
    if name == "Counter":
        return Shape("counts")
    if name in _ITERATORS:
        return Shape("iterator", (ANY,))
    if name == "Callable":
        return Shape("callable")
    if name.startswith("_") or (len(name) <= 2 and name.isupper()):
        return ANY  # type variables
    return Shape("instance", (), (name,)) if name[:1].isupper() else None


def _subscript(node: ast.Subscript) -> Shape | None:
    name = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name in ("Optional",):
        return _union([*parts, ast.Constant(None)])
    if name == "Union":
        return _union(parts)
    if name == "Literal":
        return Shape("literal", (), tuple(ast.unparse(part) for part in parts))
    if name in ("Annotated", "Final", "ClassVar", "type", "Type", "Required"):
        return (
            annotated(parts[0]) if name != "type" and name != "Type" else Shape("literal", (), ("int", "str", "list"))
        )
    if name == "Callable":
        size = len(parts[0].elts) if isinstance(parts[0], ast.List) else 1
        return Shape("callable", (annotated(parts[-1]) or ANY,), (), size)
    inner = tuple(annotated(part) or ANY for part in parts)
    if name in _LISTS:
        return Shape("list", inner[:1])
    if name in _SETS:
        return Shape("set", inner[:1])
    if name in _ITERATORS:
        return Shape("iterator", inner[:1])
    if name in _DICTS:
        return Shape("dict", inner if len(inner) == 2 else (Shape("str"), ANY))
    if name == "Counter":
        return Shape("dict", (inner[0], Shape("int")))
    if name in ("tuple", "Tuple"):
        if len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...:
            return Shape("list", inner[:1], ("tuple",))
        return Shape("tuple", inner)
    return _named(name)


def _union(parts: list[ast.expr]) -> Shape | None:
    shapes = [shape for part in parts if (shape := annotated(part)) is not None]
    return Shape("union", tuple(shapes)) if shapes else None


def defaulted(node: ast.expr | None) -> Shape | None:
    """The shape of a default value; None for `None` and what is not a literal."""
    if node is None:
        return None
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    kinds = {
        bool: "bool",
        int: "int",
        float: "float",
        str: "str",
        bytes: "bytes",
        tuple: "tints",
        list: "ints",
        dict: "counts",
    }
    kind = kinds.get(type(value))
    if kind == "str" and 0 < len(value) <= 2 and not value.isalnum():
        kind = "sub"
    return Shape(kind) if kind else None


def named(name: str) -> Shape | None:
    """The shape that a parameter's name suggests."""
    for part in (name, name.rstrip("0123456789_"), *reversed(name.split("_"))):
        if part in _NAMES:
            return Shape(_NAMES[part])
    if name.startswith(("is_", "has_", "use_", "allow_", "with_", "no_", "ignore_", "include_")):
        return Shape("bool")
    if name.endswith("s") and len(name) > 3 and name[:-1] in _NAMES:
        return Shape("strs" if _NAMES[name[:-1]] in ("str", "sub") else "ints")
    return None


def used(function: Function, name: str) -> list[Shape]:
    """Shapes that the body's use of a parameter suggests, one per hint."""
    found: list[Shape] = []
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id=who), attr=method) if who == name:
                for methods, kind in (
                    (_STR_METHODS, "str"), (_LIST_METHODS, "ints"), (_DICT_METHODS, "counts"), (_SET_METHODS, "intset"),
                ):  # fmt: skip
                    if method in methods:
                        found.append(Shape(kind))
            case ast.Call(func=ast.Name(id=who)) if who == name:
                found += [Shape("callable", (), (), max(1, len(node.args)))] * 2
            case ast.Call(func=ast.Name(id=who), args=[ast.Name(id=first), *_]) if first == name:
                if who in _INT_CALLS:
                    found.append(Shape("int"))
                elif who == "isinstance" and len(node.args) == 2 and (shape := annotated(node.args[1])):
                    found.append(shape)
                elif who == "ord":
                    found.append(Shape("char"))
                elif who in _LIST_CALLS:
                    found.append(Shape("strs" if who == "len" and len(found) % 2 else "ints"))
            case ast.For(iter=ast.Name(id=who)) | ast.comprehension(iter=ast.Name(id=who)) if who == name:
                found.append(_items_of(node))
            case ast.BinOp(left=ast.Name(id=who), op=op) | ast.AugAssign(target=ast.Name(id=who), op=op) if who == name:
                if isinstance(
                    op, ast.Mod | ast.FloorDiv | ast.Sub | ast.LShift | ast.RShift | ast.BitAnd | ast.BitOr | ast.Pow
                ):
                    found.append(Shape("int"))
            case ast.Compare(left=ast.Name(id=who), comparators=[ast.Constant(value=value), *_]) if who == name:
                if (shape := defaulted(ast.Constant(value))) is not None:
                    found.append(Shape("literal", (), (repr(value),)) if isinstance(value, str) else shape)
            case ast.Subscript(value=ast.Name(id=who), slice=index) if who == name:
                found.append(
                    Shape("words" if isinstance(index, ast.Constant) and isinstance(index.value, str) else "ints")
                )
    return found


def _items_of(node: ast.For | ast.comprehension) -> Shape:
    """What a loop over a parameter suggests: pairs where it unpacks two names."""
    if isinstance(node.target, ast.Tuple):
        return Shape("pairs")
    return Shape("ints")
