"""Sub-expression values: rewrites a syntax tree so that each operation within a statement reports its value.

`instrument` wraps operations as `__cwm_step__(node, operation)`; the recorder supplies that function, which notes the
value and returns it. Notable choices:
- An operation whose value the trace shows anyway is left alone: what is assigned to a plain name, returned, or tested,
  and the call of an expression statement.
- Operations are numbered per statement in the order in which they finish; beyond `MAX_STEPS` they are left alone.
- Every wrapper has its operation's own position, so the lines that the interpreter reports do not change.
"""

from __future__ import annotations

import ast

STEP_FUNCTION = "__cwm_step__"
MAX_STEPS = 32

_OPERATIONS = (
    ast.Call,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.BoolOp,
    ast.Subscript,
    ast.IfExp,
    ast.JoinedStr,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
)
# Iterables that a `for` consumes one value at a time: their repr says nothing.
_LAZY = frozenset({"range", "enumerate", "zip", "reversed", "map", "filter", "iter", "open"})


def instrument(tree: ast.Module) -> ast.Module:
    """The module with every statement's hidden operations wrapped, in place."""
    for node in tree.body:
        _statement(node)
    return tree


def _statement(node: ast.stmt | ast.excepthandler | ast.match_case) -> None:
    """Wrap the operations in a statement's own expressions, then go into the statements below it."""
    wrapper = _Wrapper()
    match node:
        case ast.Return() | ast.Expr() if node.value is not None:
            node.value = wrapper.shown(node.value)
        case ast.Assign():
            if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                node.value = wrapper.shown(node.value)
            else:
                node.value = wrapper.hidden(node.value)
                node.targets = [wrapper.hidden(target) for target in node.targets]
        case ast.AnnAssign() if node.value is not None:
            node.value = wrapper.shown(node.value)
        case ast.AugAssign():
            node.target = wrapper.generic_visit(node.target)  # type: ignore[assignment]
            node.value = wrapper.hidden(node.value)
        case ast.If() | ast.While() | ast.Assert():
            node.test = wrapper.shown(node.test)
        case ast.For() | ast.AsyncFor():
            lazy = isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name)
            lazy = lazy and node.iter.func.id in _LAZY  # type: ignore[attr-defined]
            node.iter = wrapper.shown(node.iter) if lazy else wrapper.hidden(node.iter)
        case ast.With() | ast.AsyncWith():
            for item in node.items:
                item.context_expr = wrapper.shown(item.context_expr)
        case ast.Raise() if node.exc is not None:
            node.exc = wrapper.shown(node.exc)
        case ast.Delete():
            node.targets = [wrapper.hidden(target) for target in node.targets]
        case ast.Match():
            node.subject = wrapper.hidden(node.subject)
        case ast.match_case() if node.guard is not None:
            node.guard = wrapper.shown(node.guard)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            _statement(child)


class _Wrapper(ast.NodeTransformer):
    """Wraps the operations of one statement, innermost first."""

    def __init__(self) -> None:
        self.count = 0

    def shown(self, node: ast.expr) -> ast.expr:
        """The expression with its inner operations wrapped, itself left alone."""
        visited = self.generic_visit(node)
        assert isinstance(visited, ast.expr)
        return visited

    def hidden(self, node: ast.expr) -> ast.expr:
        """The expression with all its operations wrapped."""
        visited = self.visit(node)
        assert isinstance(visited, ast.expr)
        return visited

    def visit(self, node: ast.AST) -> ast.AST:
        visited = self.generic_visit(node)
        if not isinstance(visited, _OPERATIONS) or isinstance(getattr(visited, "ctx", None), ast.Store | ast.Del):
            return visited
        if isinstance(visited, ast.UnaryOp) and isinstance(visited.operand, ast.Constant):
            return visited
        if self.count >= MAX_STEPS:
            return visited
        arguments: list[ast.expr] = [ast.Constant(self.count), visited]
        self.count += 1
        call = ast.Call(ast.Name(STEP_FUNCTION, ast.Load()), arguments, [])
        for new in (call, call.func, arguments[0]):
            ast.copy_location(new, visited)
        return call

    def generic_visit(self, node: ast.AST) -> ast.AST:
        match node:
            case ast.JoinedStr():  # only what is formatted; the literal parts and specifications stay as they are
                for part in node.values:
                    if isinstance(part, ast.FormattedValue):
                        part.value = self.hidden(part.value)
                return node
            case ast.Lambda():
                node.body = self.hidden(node.body)
                return node
            case ast.AnnAssign() | ast.arguments():
                return node
            case ast.GeneratorExp() | ast.ListComp() | ast.SetComp() | ast.DictComp() if node.end_lineno != node.lineno:
                # A condition on a line of its own: the interpreter gives the jump behind a wrapped one another line.
                kept = [(clause, clause.ifs) for clause in node.generators]
                for clause in node.generators:
                    clause.ifs = []
                super().generic_visit(node)
                for clause, conditions in kept:
                    clause.ifs = conditions
                return node
        return super().generic_visit(node)
