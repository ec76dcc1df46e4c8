"""The structure of repr texts: children of containers and objects, and what type a text seems to be of.

Notable choice: texts are read as syntax, never evaluated, so elided values (`[1, 2, ...+998]`) and objects
(`Point(x=1, y=2)`) have children too.
"""

from __future__ import annotations

import ast
import re
import warnings

Child = tuple[str, str]
"""A label (an index, a key's text, an attribute) and the child's text."""

LONGEST = 2_000_000


def children(text: str, *, start: int = 0, limit: int = 100) -> list[Child]:
    """The children of a value from number `start` on, at most `limit`; none if it has none or cannot be read."""
    return [(label, _segment(text, node)) for label, node in _parts(_tree(text), start, limit) if not _is_elision(node)]


def count(text: str) -> int:
    """How many children `children` would give in all."""
    return _size(_tree(text))


def kind_of(text: str) -> str:
    """The type that a repr text seems to be of: `int`, `list of 3`, `Point`."""
    node = _tree(text)
    names = {ast.List: "list", ast.Tuple: "tuple", ast.Set: "set", ast.Dict: "dict"}
    match node:
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
            size = _size(node)
            parts = [part for _, part in _parts(node, max(0, size - 1), 1)]
            elided = next((p.right.value for p in parts if isinstance(p, ast.BinOp) and _is_elision(p)), 0)  # type: ignore[attr-defined]
            return f"{names[type(node)]} of {size - 1 + elided if elided else size}"
        case ast.Constant(value=value):
            return type(value).__name__
        case ast.UnaryOp(operand=ast.Constant(value=value)):
            return type(value).__name__
        case ast.BinOp():
            return "complex"
        case ast.Call(func=function):
            return ast.unparse(function)
    found = re.match(r"<([\w.<>]+)", text)
    return found[1] if found else {"nan": "float", "inf": "float"}.get(text.lstrip("-"), "unknown")


def _tree(text: str) -> ast.expr | None:
    if not text or len(text) > LONGEST or text[0] == "<":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return None


def _size(node: ast.expr | None) -> int:
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return len(items)
        case ast.Dict(keys=keys):
            return len(keys)
        case ast.Call(args=arguments, keywords=keywords):
            return len(arguments) + len(keywords)
    return 0


def _parts(node: ast.expr | None, start: int, limit: int) -> list[tuple[str, ast.expr]]:
    end = start + limit
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [(f"[{number}]", item) for number, item in enumerate(items[start:end], start)]
        case ast.Set(elts=items):
            return [(f"{{{number}}}", item) for number, item in enumerate(items[start:end], start)]
        case ast.Dict(keys=keys, values=values):
            pairs = list(zip(keys, values, strict=True))[start:end]
            return [(f"[{ast.unparse(key)}]" if key is not None else "**", value) for key, value in pairs]
        case ast.Call(args=arguments, keywords=keywords):
            named = [(keyword.arg or "**", keyword.value) for keyword in keywords]
            return [*((f"({number})", item) for number, item in enumerate(arguments)), *named][start:end]
    return []


def _segment(text: str, node: ast.expr) -> str:
    if "\n" in text:
        return ast.unparse(node)
    raw = text.encode()  # columns count bytes
    return raw[node.col_offset : node.end_col_offset].decode()


def _is_elision(node: ast.expr) -> bool:
    """Whether this is `...+N`, what stands for N items that were left out of a long value."""
    return isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and node.left.value is Ellipsis
