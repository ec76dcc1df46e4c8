"""What a frame can only have copied: literals and names that a statement hands on as they are.

    def f(text, n=2): ...        f('ab', 3)      the call's frame has text 'ab' and n 3
    a = b                        the next frame has in a what b held
    return name, return 'x'      and the end of a function without a `return`: what is returned
    return f(x)                  what f has just returned

Small models slip where they copy: in one of five runs the first wrong frame was that of the call, which repeats its
literals. Nothing is computed here. What is copied stands in the source or in the frames that were written before.

Notable choice: only where no program can tell otherwise. A literal is taken wherever it is an argument; a name only
where nothing in its statement can change it first; a returned value only where no `with` or `finally` comes between.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from opencwm.codec.compact import Activation
from opencwm.trace.frames import Frame
from opencwm.trace.values import Renderer

LONGEST = 256
"""Bytes of the longest literal that is copied: a recording may cut longer ones."""
_DELAYS = (ast.Try, ast.TryStar, ast.With, ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith)
_INNER = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_HARMLESS = (
    ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.List, ast.Tuple, ast.Dict, ast.Set,
    ast.Call, ast.keyword, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context, ast.Return, ast.Assign,
    ast.Expr,
)  # fmt: skip
_OPERATORS = (ast.BinOp, ast.UnaryOp, ast.Compare)  # which classes of the program may define


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a copy comes from: `text`, if it is a literal, else the caller's or own local `name`."""

    text: str | None = None
    name: str = ""

    def value(self, known: dict[str, str]) -> str | None:
        return self.text if self.text is not None else known.get(self.name)


@dataclass(slots=True)
class _Statement:
    """What one line hands on: names that it assigns (`whole`: and does nothing else), what it returns, its calls."""

    targets: dict[str, _Source] = field(default_factory=dict)
    whole: bool = False
    returned: _Source | None = None
    handed: str = ""
    """The function whose result is returned as it is."""
    calls: dict[str, ast.Call] = field(default_factory=dict)
    quiet: bool = False
    """Whether nothing in it but its calls can change what a name holds."""
    returns: bool = False


class Copies:
    """The copies of one program, by line. Activations are those before the frame that is being written."""

    def __init__(self, context: str) -> None:
        self._lines: dict[int, _Statement | None] = {}
        self._functions: dict[int, ast.FunctionDef | None] = {}
        self._delayed: set[int] = set()
        self._shared = False
        try:
            tree = ast.parse(context)
        except (SyntaxError, ValueError, RecursionError):
            return
        nodes = list(ast.walk(tree))
        self._shared = any(isinstance(node, ast.Global | ast.Nonlocal) for node in nodes)
        classes = any(isinstance(node, ast.ClassDef) for node in nodes)
        bound = _bound(nodes)
        for node in nodes:
            if isinstance(node, ast.stmt):
                known = node.lineno in self._lines
                self._lines[node.lineno] = None if known else _statement(node, classes)
            if isinstance(node, ast.FunctionDef) and not node.decorator_list:
                again = node.lineno in self._functions or bound[node.name] > 1
                self._functions[node.lineno] = None if again else node
                if any(isinstance(inner, _DELAYS) for inner in ast.walk(node)):
                    self._delayed.add(node.lineno)

    def argument(self, caller: Activation, callee: Activation, name: str) -> str | None:
        """What the local `name` of a call's frame holds, where it can only be copied."""
        function, statement = self._functions.get(callee.function_line), self._of(caller)
        if function is None or statement is None or callee.line != callee.function_line:
            return None
        call = statement.calls.get(function.name)
        if call is None or callee.function.rpartition(".")[2] != function.name:
            return None
        given = _given(function, call).get(name)
        source = _source(given) if given is not None else None
        if source is None or (source.text is None and not statement.quiet):
            return None
        return source.value(caller.locals)

    def assigned(self, top: Activation, name: str) -> str | None:
        """What the current line assigns to `name`, where it can only be copied."""
        statement = self._of(top)
        source = statement.targets.get(name) if statement is not None else None
        return source.value(top.locals) if source is not None else None

    def due(self, top: Activation) -> dict[str, str] | None:
        """The changes of the current line, where it does nothing but copy; None where it may do more."""
        statement = self._of(top)
        if statement is None or not statement.whole or self._shared:
            return None
        found = {name: source.value(top.locals) for name, source in statement.targets.items()}
        if any(value is None for value in found.values()):
            return None
        return {name: value for name, value in found.items() if value is not None and top.locals.get(name) != value}

    def returned(self, top: Activation, depth: int, last: Frame | None) -> str | None:
        """What the activation at `depth` returns from its current line, after the frame `last`; if only a copy."""
        statement = self._of(top)
        if statement is None:
            return None
        if statement.returned is not None:
            return statement.returned.value(top.locals)
        if statement.handed:
            came = last is not None and last.event == "return" and last.depth == depth + 1
            own = came and last is not None and last.function.rpartition(".")[2] == statement.handed
            return last.value if own and last is not None else None
        function = self._functions.get(top.function_line)
        ends = function is not None and top.function_line not in self._delayed and not statement.returns
        return "None" if ends else None

    def _of(self, top: Activation) -> _Statement | None:
        """The one statement of the current line, unless a comprehension or lambda runs there."""
        return None if top.function.endswith(">") else self._lines.get(top.line)


def _bound(nodes: Iterable[ast.AST]) -> Counter[str]:
    """How often each name is bound, wherever that is."""
    found: Counter[str] = Counter()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] += 1
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.arg):
            found[node.arg] += 1
        elif isinstance(node, ast.alias):
            found[node.asname or node.name.partition(".")[0]] += 1
    return found


def _statement(node: ast.stmt, classes: bool) -> _Statement:
    found = _Statement(returns=isinstance(node, ast.Return))
    if node.lineno != (node.end_lineno or 0) and not isinstance(node, ast.If | ast.While | ast.For):
        return found
    header: ast.AST = node
    if isinstance(node, ast.If | ast.While | ast.For):
        header = node.iter if isinstance(node, ast.For) else node.test
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        found.targets, found.whole = _targets(node.targets[0], node.value)
    if isinstance(node, ast.Return):
        if node.value is None:
            found.returned = _Source("None")
        else:
            found.returned = _source(node.value)
            if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
                nested = [inner for inner in ast.walk(node.value) if isinstance(inner, ast.Call)]
                found.handed = node.value.func.id if len(nested) == 1 else ""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return found
    inner = [each for each in ast.walk(header) if isinstance(each, _INNER)]
    names = [each.id for each in ast.walk(header) if isinstance(each, ast.Name)]
    calls = [each for each in ast.walk(header) if isinstance(each, ast.Call)]
    if not inner:
        found.calls = {
            call.func.id: call for call in calls if isinstance(call.func, ast.Name) and names.count(call.func.id) == 1
        }
    # With one call alone, and operators around it, no name changes before its arguments are read.
    harmless = tuple(each for each in _HARMLESS if not (classes and each in _OPERATORS))
    found.quiet = len(calls) == 1 and all(isinstance(each, harmless) for each in ast.walk(header))
    return found


def _targets(target: ast.expr, value: ast.expr) -> tuple[dict[str, _Source], bool]:
    """The names that an assignment copies something to, and whether that is all it does."""
    if isinstance(target, ast.Name):
        source = _source(value)
        return ({target.id: source}, True) if source is not None else ({}, False)
    if not isinstance(target, ast.Tuple) or not isinstance(value, ast.Tuple) or len(target.elts) != len(value.elts):
        return {}, False
    names = [each.id for each in target.elts if isinstance(each, ast.Name)]
    if len(set(names)) < len(target.elts):
        return {}, False
    sources = [_source(each) for each in value.elts]
    if all(source is not None for source in sources):
        return {name: source for name, source in zip(names, sources, strict=True) if source is not None}, True
    return {}, False


def _source(value: ast.expr) -> _Source | None:
    if isinstance(value, ast.Name):
        return _Source(name=value.id)
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    renderer = Renderer(LONGEST)
    text = renderer.text(literal)
    return None if renderer.elided else _Source(text)


def _given(function: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr]:
    """The expression for each parameter that a call gives, or the default that it leaves; none with stars."""
    if any(isinstance(each, ast.Starred) for each in call.args) or any(each.arg is None for each in call.keywords):
        return {}
    arguments = function.args
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    found: dict[str, ast.expr] = dict(zip(positional, call.args, strict=False))
    found |= {each.arg: each.value for each in call.keywords if each.arg is not None}
    for name, default in _defaults(arguments):
        if name not in found and isinstance(default, ast.Constant):
            found[name] = default
    own = {*positional, *(each.arg for each in arguments.kwonlyargs)}
    return {name: value for name, value in found.items() if name in own}


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    yield from zip(reversed(positional), reversed(arguments.defaults), strict=False)
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield each.arg, default
