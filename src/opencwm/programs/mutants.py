"""Wrong solutions from right ones: one small change in the syntax tree, of the kinds that people make.

Whether a mutant is wrong is for the tests to say: some changes change nothing.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.Div: ast.Mult,
}  # fmt: skip
_CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "append": "extend",
    "pop": "popleft",
    "sorted": "list",
}


def mutants(source: str, *, rng: random.Random, count: int, inside: str = "") -> list[str]:
    """At most `count` different sources, each with one change; only in the class or function `inside` if given."""
    tree = ast.parse(source)
    scope = [node for node in tree.body if getattr(node, "name", "") == inside] if inside else [tree]
    changes = [
        (number, change) for root in scope for number, node in enumerate(ast.walk(root)) for change in _changes(node)
    ]
    rng.shuffle(changes)
    found: dict[str, None] = {}
    for number, change in changes:
        if len(found) >= count:
            break
        changed = copy.deepcopy(tree)
        root = next(node for node in changed.body if getattr(node, "name", "") == inside) if inside else changed
        change(list(ast.walk(root))[number])
        try:
            text = ast.unparse(ast.fix_missing_locations(changed))
            compile(text, "<mutant>", "exec")
        except (SyntaxError, ValueError):
            continue
        found[text] = None
    return list(found)


def _changes(node: ast.AST) -> list[Callable[[ast.AST], None]]:
    """The changes that apply to a node, each to be done to its copy."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            return [lambda n: setattr(n, "ops", [_COMPARISONS[type(op)]()])]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _OPERATORS:
            return [lambda n: setattr(n, "op", _OPERATORS[type(op)]())]
        case ast.Constant(value=value) if type(value) is int and abs(value) < 100:
            return [lambda n: setattr(n, "value", value + 1), lambda n: setattr(n, "value", max(0, value - 1))]
        case ast.Constant(value=value) if type(value) is bool:
            return [lambda n: setattr(n, "value", not value)]
        case ast.BoolOp(op=op):
            other = ast.Or if isinstance(op, ast.And) else ast.And
            return [lambda n: setattr(n, "op", other())]
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            return [lambda n: setattr(n.func, "id", _CALLS[name])]
        case ast.If():
            return [lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))]
        case ast.FunctionDef(body=body) | ast.For(body=body) | ast.While(body=body) if len(body) > 1:
            return [lambda n: n.body.pop(len(body) // 2)]
    return []
