"""Statements of a source by line, and the simple ones executed on builtin values; used to compute frames."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from opencwm.debug.pure import Evaluator, Raises, Unknown, binary

Function = ast.FunctionDef


class Statements:
    """The statements of a syntax tree: by line, with the plain functions of the source by name."""

    def __init__(self, tree: ast.Module) -> None:
        self._at: defaultdict[int, list[ast.stmt]] = defaultdict(list)
        self._covered: defaultdict[int, int] = defaultdict(int)
        for node in ast.walk(tree):
            # Where a `finally` goes on depends on how it was entered; a handler deletes its name when it is left.
            unclear = getattr(node, "finalbody", [])
            if isinstance(node, ast.ExceptHandler) and node.name is not None:
                unclear = node.body
            for inner in unclear:
                for line in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1):
                    self._covered[line] += 1
            if isinstance(node, ast.stmt):
                self._at[node.lineno].append(node)
                for line in range(node.lineno, _head_end(node) + 1):
                    self._covered[line] += 1
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        self.functions = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and not node.decorator_list and node.name not in names
        }
        for name, function in list(self.functions.items()):
            if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)):
                del self.functions[name]

    def at(self, line: int) -> ast.stmt:
        """The one statement whose head is on this line alone. Raises Unknown."""
        found = self._at.get(line, [])
        if len(found) != 1 or self._covered[line] != 1 or _head_end(found[0]) != line:
            raise Unknown("not one statement on one line")
        return found[0]

    def own(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The nodes of a statement's head, those of statements inside left out."""
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            yield node
            stack += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]

    def program_calls(self, statement: ast.stmt) -> list[ast.Call]:
        """The calls of functions of the source in a statement's head."""
        calls = [node for node in self.own(statement) if isinstance(node, ast.Call)]
        return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in self.functions]

    def conditional(self, statement: ast.stmt, call: ast.Call) -> bool:
        """Whether a call may not be evaluated: behind `and`, `or` or a conditional expression."""
        return any(call in ast.walk(node) for node in self.own(statement) if isinstance(node, ast.BoolOp | ast.IfExp))

    @staticmethod
    def parameters(function: Function) -> list[str]:
        """The names of a function that takes positional arguments only. Raises Unknown for any other."""
        given = function.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.defaults:
            raise Unknown("a function with arguments of other kinds")
        return [argument.arg for argument in (*given.posonlyargs, *given.args)]


def body_line(body: list[ast.stmt]) -> int:
    """The line of the first statement of a body. Raises Unknown where it is on several or has no frame of its own."""
    first = body[0]
    if isinstance(first, ast.Global | ast.Nonlocal | ast.FunctionDef | ast.ClassDef | ast.With | ast.AsyncFunctionDef):
        raise Unknown("a body that starts otherwise")
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        raise Unknown("a body that starts with a constant")
    return first.lineno


def run_simple(statement: ast.stmt, evaluator: Evaluator) -> None:
    """Execute an assignment, an expression, `del`, `pass`, `break`, `continue`, `assert`. Raises Unknown and Raises."""
    try:
        _run(statement, evaluator)
    except (Unknown, Raises):
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Raises(error) from None


def _run(statement: ast.stmt, evaluator: Evaluator) -> None:
    match statement:
        case ast.Assign(targets=targets, value=value):
            result = evaluator.value(value)
            for target in targets:
                _store(target, result, evaluator)
        case ast.AnnAssign(target=target, value=value) if value is not None:
            _store(target, evaluator.value(value), evaluator)
        case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
            left = evaluator.name(name)
            if isinstance(left, list | dict | set):
                raise Unknown("an object that is changed in place")
            evaluator.bind(target, binary(op, left, evaluator.value(value)))
        case ast.AugAssign(target=ast.Subscript(value=container, slice=index), op=op, value=value):
            target, key = evaluator.value(container), evaluator.value(index)
            left = target[key]
            if isinstance(left, list | dict | set):
                raise Unknown("an object that is changed in place")
            target[key] = binary(op, left, evaluator.value(value))
        case ast.Expr(value=ast.Call() as call):
            evaluator.value(call)
        case ast.Delete(targets=[ast.Name(id=name)]):
            evaluator.name(name)
            evaluator.deleted.add(name)
        case ast.Delete(targets=[ast.Subscript(value=container, slice=index)]):
            del evaluator.value(container)[evaluator.value(index)]
        case ast.Pass() | ast.Break() | ast.Continue():
            pass
        case ast.Assert(test=test, msg=None) if evaluator.value(test):
            pass
        case _:
            raise Unknown("a statement that is not computed")


def _store(target: ast.expr, value: object, evaluator: Evaluator) -> None:
    if isinstance(target, ast.Subscript):
        container = evaluator.value(target.value)
        if not isinstance(container, list | dict):
            raise Raises(TypeError(f"'{type(container).__name__}' object does not support item assignment"))
        container[evaluator.value(target.slice)] = value
    else:
        evaluator.bind(target, value)


def _head_end(node: ast.stmt) -> int:
    """The last line of a statement without the statements inside it."""
    inner = [child.lineno for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    inner += [getattr(child, "lineno", 0) for child in getattr(node, "handlers", [])]
    end = node.end_lineno or node.lineno
    return end if not inner else max(node.lineno, min(end, min(inner) - 1 if min(inner) > node.lineno else node.lineno))
