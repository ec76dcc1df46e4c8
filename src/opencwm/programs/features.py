"""What of Python a program uses: statements, operators, builtins, methods, exceptions, and pairs of syntax nodes.

A feature is a text, `KIND NAME`: `statement For`, `expression ListComp`, `operator Add`, `builtin len`,
`method str.join`, `module math.floor`, `exception KeyError`, `format >6`. Notable choices:
- The receiver's type of a method comes from the run (a local variable's text) or the syntax (a literal, a call whose
  type is known); where neither tells and several types have the method it is `method ?.count`.
- `UNIVERSE` is made by asking the running Python, not by a list, so that nothing is forgotten.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from opencwm.trace.frames import Trace

TYPES = (str, list, dict, set, frozenset, tuple, int, float, bool, complex, bytes, bytearray, range)
_INHERITED = {bool: int}
_LEFT_OUT = frozenset(
    """
    hash id input open print breakpoint help exit quit copyright credits license globals locals vars dir exec eval
    compile memoryview __import__ __build_class__ __debug__ __doc__ __loader__ __name__ __package__ __spec__ aiter anext
    """.split()  # noqa: SIM905
)
"""Builtins that print, read, or show what a process happens to be like."""
_METHODS_LEFT_OUT = frozenset({"__init__"})


def _methods(type_: type) -> list[str]:
    inherited = set(dir(_INHERITED[type_])) if type_ in _INHERITED else set()
    return [name for name in dir(type_) if not name.startswith("_") and name not in inherited]


METHODS: dict[str, tuple[str, ...]] = {t.__name__: tuple(_methods(t)) for t in TYPES}
_OWNERS: dict[str, list[str]] = {}
for _type, _names in METHODS.items():
    for _name in _names:
        _OWNERS.setdefault(_name, []).append(_type)
BUILTINS = tuple(
    name
    for name in dir(builtins)
    if name not in _LEFT_OUT and not name.startswith("_") and name not in ("True", "False", "None")
)
EXCEPTIONS = tuple(
    name
    for name in BUILTINS
    if isinstance(getattr(builtins, name), type) and issubclass(getattr(builtins, name), BaseException)
)


def _nodes(base: type[ast.AST]) -> list[str]:
    old = {
        "Index",
        "ExtSlice",
        "Suite",
        "AugLoad",
        "AugStore",
        "Param",
        "Num",
        "Str",
        "Bytes",
        "NameConstant",
        "Ellipsis",
    }
    return sorted(c.__name__ for c in base.__subclasses__() if c.__module__ == "ast" and c.__name__ not in old)


UNIVERSE: dict[str, tuple[str, ...]] = {
    "statement": tuple(n for n in _nodes(ast.stmt) if not n.startswith(("Async", "TypeAlias"))),
    "expression": tuple(n for n in _nodes(ast.expr) if n not in ("Await", "TemplateStr", "Interpolation")),
    "operator": tuple(
        n for b in (ast.operator, ast.unaryop, ast.cmpop, ast.boolop) for n in _nodes(b) if n != "MatMult"
    ),
    "pattern": tuple(_nodes(ast.pattern)),
    "builtin": tuple(name for name in BUILTINS if name not in EXCEPTIONS),
    "method": tuple(f"{type_}.{name}" for type_, names in METHODS.items() for name in names),
    "exception": EXCEPTIONS,
}
"""Every feature of plain Python by kind, without `async`."""


def parse(source: str) -> ast.Module:
    """The tree of a source. Raises SyntaxError."""
    return ast.parse(source)


def bigrams(tree: ast.AST) -> Counter[str]:
    """Pairs of syntax nodes, parent and child, by type: `For>Call`."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        parent = type(node).__name__
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr_context | ast.Load):
                found[f"{parent}>{type(child).__name__}"] += 1
    return found


def by_line(tree: ast.AST, values: Mapping[int, Mapping[str, str]] | None = None) -> dict[int, Counter[str]]:
    """The features of each line. `values` are texts of local variables by line, which tell types of receivers."""
    found: dict[int, Counter[str]] = {}
    modules = _imported(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", None)
        if line is None:
            continue
        features = found.setdefault(line, Counter())
        for feature in _of_node(node, modules, (values or {}).get(line, {})):
            features[feature] += 1
    return found


def _imported(tree: ast.AST) -> dict[str, str]:
    """Names that are bound to modules and to what comes out of them."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(a.asname or a.name).split(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _of_node(node: ast.AST, modules: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    name = type(node).__name__
    if isinstance(node, ast.stmt):
        yield f"statement {name}"
        if isinstance(node, ast.AugAssign):
            yield f"operator {type(node.op).__name__}="
        elif isinstance(node, ast.For | ast.While) and node.orelse:
            yield f"statement {name} else"
        elif isinstance(node, ast.Try):
            if node.finalbody:
                yield "statement Try finally"
            if node.orelse:
                yield "statement Try else"
    elif isinstance(node, ast.pattern):
        yield f"pattern {name}"
    elif isinstance(node, ast.expr):
        yield f"expression {name}"
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp):
            yield f"operator {type(node.op).__name__}"
        elif isinstance(node, ast.Compare):
            for operator in node.ops:
                yield f"operator {type(operator).__name__}"
        elif isinstance(node, ast.Slice):
            yield "expression Slice step" if node.step else "expression Slice plain"
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            yield "expression FormattedValue spec"
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node, modules, values)
        elif isinstance(node, ast.Name):
            if node.id in modules and "." in modules[node.id]:
                yield f"module {modules[node.id]}"
            elif node.id in _BUILTIN_NAMES and node.id not in values:
                yield f"exception {node.id}" if node.id in _EXCEPTION_NAMES else f"builtin {node.id}"


_BUILTIN_NAMES, _EXCEPTION_NAMES = frozenset(BUILTINS), frozenset(EXCEPTIONS)


def _attribute(node: ast.Attribute, modules: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    if isinstance(node.value, ast.Name) and node.value.id in modules:
        yield f"module {modules[node.value.id]}.{node.attr}"
        return
    owners = _OWNERS.get(node.attr)
    if owners is None:
        return
    type_ = type_of(node.value, values)
    if type_ in _INHERITED_NAMES and type_ not in owners:
        type_ = _INHERITED_NAMES[type_]
    if type_ is not None and type_ not in owners:
        return  # a method of something else (a Counter, an object)
    if type_ is None:
        type_ = owners[0] if len(owners) == 1 else None
    yield f"method {type_ or '?'}.{node.attr}"


_INHERITED_NAMES = {child.__name__: parent.__name__ for child, parent in _INHERITED.items()}
_RESULTS = {
    "str": "str", "repr": "str", "chr": "str", "bin": "str", "hex": "str", "oct": "str", "ascii": "str",
    "format": "str", "sorted": "list", "list": "list", "dict": "dict", "set": "set", "tuple": "tuple", "int": "int",
    "len": "int", "ord": "int", "float": "float", "bytes": "bytes", "bytearray": "bytearray", "frozenset": "frozenset",
    "range": "range", "divmod": "tuple", "bool": "bool", "complex": "complex", "input": "str",
}  # fmt: skip
_TEXT_METHODS = frozenset(
    """
    join replace lower upper title capitalize swapcase casefold strip lstrip rstrip zfill center ljust rjust
    removeprefix removesuffix expandtabs translate format
    """.split()  # noqa: SIM905
)
_LIST_METHODS = frozenset({"split", "rsplit", "splitlines"})


def type_of(node: ast.expr, values: Mapping[str, str]) -> str | None:
    """The name of an expression's type, if the syntax or a local variable's text tells it."""
    match node:
        case ast.Constant():
            return type(node.value).__name__
        case ast.JoinedStr():
            return "str"
        case ast.List() | ast.ListComp():
            return "list"
        case ast.Dict() | ast.DictComp():
            return "dict"
        case ast.Set() | ast.SetComp():
            return "set"
        case ast.Tuple():
            return "tuple"
        case ast.Name():
            if node.id in values:
                return type_of_text(values[node.id])
            return node.id if node.id in METHODS else None
        case ast.Call(func=ast.Name()):
            return _RESULTS.get(node.func.id)  # type: ignore[attr-defined]
        case ast.Call(func=ast.Attribute()):
            method: str = node.func.attr  # type: ignore[attr-defined]
            if method in _LIST_METHODS:
                return "list"
            of = type_of(node.func.value, values)  # type: ignore[attr-defined]
            if method in _TEXT_METHODS:
                return of if of in ("bytes", "bytearray") else "str"
            if method == "encode":
                return "bytes"
            if method == "decode":
                return "str"
            return of if method in ("copy", "union", "intersection", "difference", "symmetric_difference") else None
        case ast.Subscript() if isinstance(node.slice, ast.Slice):
            return type_of(node.value, values)
        case ast.BinOp(op=ast.Add()):
            return type_of(node.left, values) or type_of(node.right, values)
    return None


@cache
def type_of_text(text: str) -> str | None:
    """The name of the type whose repr text this is, for plain types."""
    head = text[:1]
    if head in "'\"":
        return "str"
    if text[:2] in ("b'", 'b"'):
        return "bytes"
    if head == "[":
        return "list"
    if head == "(":
        return "complex" if text.endswith("j)") else "tuple"
    if head == "{":
        if text == "{}":
            return "dict"
        try:
            return type(ast.literal_eval(text)).__name__
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    if text in ("True", "False"):
        return "bool"
    if text == "None":
        return "NoneType"
    for start in ("set(", "frozenset(", "bytearray(", "range("):
        if text.startswith(start):
            return start[:-1]
    try:
        float(text)
    except ValueError:
        return None
    return "int" if text.lstrip("-").isdigit() else "float"


def values_by_line(trace: Trace) -> dict[int, dict[str, str]]:
    """Local variables' texts by line, as they were when the line first ran."""
    found: dict[int, dict[str, str]] = {}
    for frame in trace.frames:
        if frame.event in ("line", "call"):
            for name, text in frame.locals.items():
                found.setdefault(frame.line, {}).setdefault(name, text)
    return found


def raised(trace: Trace) -> set[str]:
    """Names of the exception types that the run shows."""
    values = (frame.value or "" for frame in trace.frames if frame.event == "exception")
    return {value.split("(", 1)[0] for value in values}


def of_run(trace: Trace) -> Counter[str]:
    """The features of a program, with types as its run shows them, and the exceptions that were raised."""
    total: Counter[str] = Counter()
    for features in by_line(parse(trace.context), values_by_line(trace)).values():
        total.update(features)
    total.update(f"exception {name}" for name in raised(trace) if name in _EXCEPTION_NAMES)
    return total


def share(wanted: Iterable[str], have: Mapping[str, int], least: int = 1) -> tuple[int, int, list[str]]:
    """How many of the wanted are had at least `least` times, of how many, and which are not."""
    names = sorted(set(wanted))
    missing = [name for name in names if have.get(name, 0) < least]
    return len(names) - len(missing), len(names), missing
