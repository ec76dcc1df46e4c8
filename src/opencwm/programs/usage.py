"""How a package is used: calls of its functions found in doctests, in its tests and in its own code.

Notable choice: only arguments that are whole by themselves are taken (literals, lambdas, builtins), so that a found
argument can stand in any other program. In a doctest, names that an earlier line bound to such a value are replaced by
it.
"""

from __future__ import annotations

import ast
import builtins
import doctest
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opencwm.programs.packages import Module, Package, parse

MOST_CALLS = 24
MOST_CHARACTERS = 200
_MOST_TEST_FILES = 400
_BUILTINS = frozenset(name for name in dir(builtins) if name[0].islower()) | {"ValueError", "KeyError", "Exception"}
_UNWELCOME = frozenset(
    ("open", "input", "exec", "eval", "exit", "quit", "breakpoint", "print", "help", "compile", "id")
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call, as source text."""

    positional: tuple[str, ...] = ()
    keyword: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return ", ".join((*self.positional, *(f"{name}={text}" for name, text in self.keyword)))


@dataclass(frozen=True, slots=True)
class Known:
    """Known calls of a function; for a method also known ways to make its object."""

    calls: tuple[Arguments, ...] = ()
    makes: tuple[Arguments, ...] = ()


class Usage:
    """The calls in one package's code, tests and doctests, by the last part of the name that is called."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def of(self, module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef, owner: ast.ClassDef | None) -> Known:
        """What is known of one function."""
        calls = tuple(self._calls.get(node.name, {}))[:MOST_CALLS]
        return Known(calls, tuple(self._calls.get(owner.name, {}))[:MOST_CALLS] if owner else ())

    @cached_property
    def _calls(self) -> dict[str, dict[Arguments, None]]:
        found: dict[str, dict[Arguments, None]] = {}
        for tree in self._trees():
            for name, arguments in _calls_in(tree):
                known = found.setdefault(name, {})
                if len(known) < MOST_CALLS:
                    known[arguments] = None
        return found

    def _trees(self) -> Iterator[ast.AST]:
        modules = list(self._package.modules())
        for module in modules:
            yield from _doctests(module)
        for path in _test_files(self._package.tests):
            try:
                tree = parse(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError):
                continue
            if tree is not None:
                yield tree
        for module in modules:
            yield module.tree


def whole(node: ast.expr) -> str | None:
    """The source of an argument that stands by itself, or None."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr | ast.Starred | ast.JoinedStr):
            return None
        if isinstance(inner, ast.Attribute) and not isinstance(inner.value, ast.Constant | ast.Name):
            return None
    if not _closed(node, frozenset()):
        return None
    text = ast.unparse(node)
    return text if len(text) <= MOST_CHARACTERS else None


def _closed(node: ast.AST, bound: frozenset[str]) -> bool:
    """Whether every name is a builtin or bound inside the expression."""
    match node:
        case ast.Name():
            return node.id in bound or (node.id in _BUILTINS and node.id not in _UNWELCOME)
        case ast.Lambda():
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            names += [a.arg for a in (node.args.vararg, node.args.kwarg) if a]
            return all(_closed(d, bound) for d in node.args.defaults) and _closed(node.body, bound | set(names))
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            names = [i.id for g in node.generators for i in ast.walk(g.target) if isinstance(i, ast.Name)]
            inside = bound | set(names)
            return all(_closed(child, inside) for child in ast.iter_child_nodes(node))
        case ast.Call(func=ast.Name(id=name)) if name not in bound and name[:1].isupper():
            return False
    return all(_closed(child, bound) for child in ast.iter_child_nodes(node))


def _calls_in(tree: ast.AST) -> Iterator[tuple[str, Arguments]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        positional = [whole(argument) for argument in node.args]
        keyword = [(each.arg, whole(each.value)) for each in node.keywords]
        if None in positional or any(part is None for pair in keyword for part in pair):
            continue
        yield name, Arguments(tuple(filter(None, positional)), tuple((a or "", b or "") for a, b in keyword))


def _doctests(module: Module) -> Iterator[ast.AST]:
    """The doctests of a module, one tree each, with bound names replaced by their values."""
    parser = doctest.DocTestParser()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node)
        if not text or ">>>" not in text:
            continue
        try:
            source = "\n".join(example.source for example in parser.get_examples(text))
        except ValueError:
            continue
        tree = parse(source, "<doctest>")
        if tree is not None:
            yield _Bound().visit(tree)


class _Bound(ast.NodeTransformer):
    """Replaces names that were assigned a value that stands by itself; later assignments count from there on."""

    def __init__(self) -> None:
        self._values: dict[str, ast.expr] = {}

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                if whole(node.value) is not None:
                    self._values[target.id] = node.value
                else:
                    self._values.pop(target.id, None)
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self._values:
            return self._values[node.id]
        return node


def _test_files(folders: tuple[Path, ...]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        found += [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    return found[:_MOST_TEST_FILES]
