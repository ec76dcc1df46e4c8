"""Evaluate `xs[0]`, `point.x` or `len(rows) > 3` on the repr texts of a frame; no code of the program runs.

Notable choices: names, subscripts, slices and attributes are looked up in the texts, so that values which are no
literals (`[<function f>]`, elided ones) are still entered by their syntax as far as it goes. What else there is must be
an operation on builtin values (`pure.py`).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from typing import Any

from opencwm.debug.pure import Evaluator, Raises, Unknown, value_of
from opencwm.world.literals import literal


class LookupFailed(ValueError):
    """An expression without an answer in these values; the message is one line."""


def look_up(expression: str, names: Mapping[str, str]) -> str:
    """The repr text of `expression`, where `names` maps names to repr text. Raises LookupFailed."""
    if expression in names:
        return names[expression]
    return _text(_parse(expression.strip(), "not an expression"), names)


def _text(node: ast.expr, names: Mapping[str, str]) -> str:
    match node:
        case ast.Name(id=name):
            if name in names:
                return names[name]
            raise LookupFailed(f"no name {name!r} here; there are: {', '.join(names) or 'none'}")
        case ast.Attribute(value=value, attr=attribute):
            return _attribute(_text(value, names), attribute)
        case ast.Subscript(value=value, slice=index):
            return _item(_text(value, names), _index(index, names))
    try:
        return repr(Evaluator(names, attributes=lambda inner: value_of(_text(inner, names))).value(node))
    except (Unknown, Raises) as error:
        raise LookupFailed(f"{error}; nothing of the program is run here") from None


def holds(condition: str, names: Mapping[str, str]) -> bool:
    """Whether a condition is true of these values. Raises LookupFailed."""
    text = look_up(condition, names)
    try:
        return bool(value_of(text))
    except Unknown:
        return True  # an object that is no builtin value: true, unless its class says otherwise


def changed(target: str, expression: str, names: Mapping[str, str]) -> tuple[str, str]:
    """The name that an assignment to `target` (a name, or items of one) changes, and its new text. LookupFailed."""
    text = look_up(expression, names)
    node = _parse(target.strip(), "not a name or an item of one")
    path: list[ast.expr] = []
    while isinstance(node, ast.Subscript):
        path.insert(0, node.slice)
        node = node.value
    if not isinstance(node, ast.Name):
        raise LookupFailed(f"{target[:80]} is not a name or an item of one")
    if not path:
        return node.id, text
    try:
        root = inner = value_of(look_up(node.id, names))
        for part in path[:-1]:
            inner = inner[_index(part, names)]
        inner[_index(path[-1], names)] = value_of(text)
    except Unknown as error:
        raise LookupFailed(str(error)) from None
    except (LookupError, TypeError, ValueError) as error:
        raise LookupFailed(f"{type(error).__name__}: {error}") from None
    return node.id, repr(root)


def _index(node: ast.expr, names: Mapping[str, str]) -> Any:
    if isinstance(node, ast.Slice):
        return slice(*(_index(part, names) if part else None for part in (node.lower, node.upper, node.step)))
    text = _text(node, names)
    try:
        return literal(text)
    except ValueError:
        raise LookupFailed(f"cannot use {text} as an index") from None


def _item(text: str, index: Any) -> str:
    try:
        return repr(literal(text)[index])
    except ValueError:
        return _item_by_syntax(text, index)
    except (LookupError, TypeError) as error:
        raise LookupFailed(f"{type(error).__name__}: {error}") from None


def _item_by_syntax(text: str, index: Any) -> str:
    node = _parse(text, "cannot look into")
    found: ast.expr | None = None
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items) if isinstance(index, int):
            whole = not any(map(_is_elision, items))  # what follows `...+998` is not where it seems to be
            if -len(items) * whole <= index < len(items) and not _is_elision(items[index]):
                found = items[index]
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if key is not None and ast.unparse(key) == repr(index):
                    found = value
    if found is None:
        raise LookupFailed(f"cannot look up {index!r} in {text[:80]}")
    return ast.get_source_segment(text, found) or ast.unparse(found)


def _is_elision(node: ast.expr) -> bool:
    """Whether this is `...+N`, what stands for N items that were left out of a long value."""
    return isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and node.left.value is Ellipsis


def _attribute(text: str, attribute: str) -> str:
    node = _parse(text, "cannot look into")
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == attribute:
                return ast.get_source_segment(text, keyword.value) or ast.unparse(keyword.value)
    raise LookupFailed(f"no attribute {attribute!r} is shown in {text[:80]}")


def _parse(text: str, complaint: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise LookupFailed(f"{complaint}: {text[:80]}") from None
