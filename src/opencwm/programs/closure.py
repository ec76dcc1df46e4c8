"""A self-contained source for one function: its text and just the helpers, imports and constants that it needs.

Notable choices:
- What a statement needs is read off its compiled code (global names loaded by it and by all code inside it), so it is
  what this interpreter would look up, no more.
- A helper imported from another module of the same package is copied in, and what it needs after it. Standard-library
  imports stay imports. Any other package, and a module of the package used as an object (`utils.f()`), cannot be
  copied: the import stays and its package is listed in `needs`, so that the caller can refuse or put it on the path.
- Of a class only the methods stay that the kept code can name: dunder methods and those whose names appear as an
  attribute somewhere in it, until nothing changes. Code that looks up attributes by computed names keeps whole classes.
- Docstrings are left out unless the code reads `__doc__`: they are most of the text and none of the behaviour.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import functools
import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

from opencwm.programs.packages import Module, Package, parse
from opencwm.trace.context import docstring_lines, first_line

MOST_LINES = 4000
_LOADS = frozenset(("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"))
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__doc__", "__package__", "__annotations__"}
_DYNAMIC = frozenset(
    ("getattr", "vars", "globals", "locals", "eval", "exec", "attrgetter", "methodcaller", "__getattr__")
)


class NotSelfContained(Exception):
    """Why a function cannot be made self-contained, in a few words that can be counted."""


@dataclass
class Context:
    """A self-contained source, and the packages that it needs beside the standard library."""

    source: str
    needs: tuple[str, ...]


def close(
    package: Package,
    module: Module,
    names: list[str],
    *,
    roots: frozenset[str] = frozenset(),
    whole: bool = False,
) -> Context:
    """The source in which `names` of `module` are defined with all that they need.

    `roots` are attribute names that the caller will use (the method to be called); with `whole`, classes keep all their
    methods. Raises NotSelfContained.
    """
    reachable: frozenset[str] | None = None if whole else roots
    while True:  # from the fewest methods upwards, until the kept code names no method that is not kept
        closure = _Closure(package, reachable)
        for name in names:
            closure.need(module, name)
        closure.finish()
        found = closure.attributes()
        if reachable is None or (found is not None and found <= reachable):
            return closure.emit()
        reachable = found if found is None else reachable | found


@dataclass
class _Closure:
    package: Package
    reachable: frozenset[str] | None  # names of methods that classes keep; None: all
    kept: dict[str, dict[int, ast.stmt]] = field(default_factory=dict)  # module -> line -> statement, in order of need
    imports: dict[str, None] = field(default_factory=dict)  # lines, in order of need
    aliases: dict[str, dict[str, None]] = field(default_factory=dict)  # module -> lines to follow its statements
    uses: dict[str, dict[str, None]] = field(default_factory=dict)  # module -> modules of the package that it needs
    needs: set[str] = field(default_factory=set)
    homes: dict[str, str] = field(default_factory=dict)  # name -> where it is defined
    waiting: list[tuple[Module, ast.stmt]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    postponed: bool = False
    lines: int = 0

    def need(self, module: Module, name: str) -> None:
        """Keep whatever binds a name in a module."""
        if (module.name, name) in self.seen:
            return
        self.seen.add((module.name, name))
        statements = [node for node in module.bindings.get(name, ()) if not _for_type_checkers(node)]
        if not statements:
            if self._from_star(module, name) or name in _BUILTINS:
                return
            if name in module.bindings:
                self.postponed = True  # bound for type checkers alone: annotations must not be evaluated
                return
            if module.stars or "globals()" in module.source:
                raise NotSelfContained("a global name is bound in a roundabout way")
            return  # looked up and not found in the original too
        for statement in statements:
            imports = _first_choice(statement, name)
            if imports:
                for each in imports:
                    self._import(module, each, name)
            else:
                self._claim(name, module.name)
                self._keep(module, statement)

    def finish(self) -> None:
        """Follow what the kept statements need."""
        while self.waiting:
            module, statement = self.waiting.pop(0)
            for name in _loads(_pruned(statement, self.reachable), module.postponed):
                self.need(module, name)

    def attributes(self) -> frozenset[str] | None:
        """Attribute names that occur in the kept code, or None if it computes names."""
        found: set[str] = set()
        for each in self.kept.values():
            for statement in each.values():
                names = _names(_pruned(statement, self.reachable))
                if names is None:
                    return None
                found |= names
        return frozenset(found)

    def _keep(self, module: Module, statement: ast.stmt) -> None:
        kept = self.kept.setdefault(module.name, {})
        if statement.lineno not in kept:
            kept[statement.lineno] = statement
            self.postponed |= module.postponed
            self.waiting.append((module, statement))
            self.lines += _height(_pruned(statement, self.reachable))
            if self.lines > 2 * MOST_LINES:
                raise NotSelfContained("needs too much source")

    def _claim(self, name: str, home: str) -> None:
        if self.homes.setdefault(name, home) != home:
            raise NotSelfContained("two modules define the same name")

    def _import(self, module: Module, node: ast.Import | ast.ImportFrom, name: str) -> None:
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) != name:
                continue
            if isinstance(node, ast.Import):
                self._outside(alias.name, name, f"import {_aliased(alias.name, alias.asname)}")
                continue
            source = module.absolute(node)
            if source == "__future__":
                continue
            target = self.package.module(source)
            if target is not None and _defines(target, alias.name, source):
                self._inside(module, target, alias.name, name)
            elif target is not None and self._through_star(module, target, alias.name, name):
                continue
            else:
                self._outside(source, name, f"from {source} import {_aliased(alias.name, alias.asname)}")

    def _inside(self, module: Module, target: Module, name: str, local: str) -> None:
        self.uses.setdefault(module.name, {})[target.name] = None
        self.need(target, name)
        if local != name:
            self._claim(local, f"{target.name} as {name}")
            self.aliases.setdefault(target.name, {})[f"{local} = {name}"] = None

    def _through_star(self, module: Module, target: Module, name: str, local: str) -> bool:
        for star in target.stars:
            further = self.package.module(target.absolute(star))
            if further is not None and name in further.bindings:
                self._inside(module, further, name, local)
                return True
        return False

    def _from_star(self, module: Module, name: str) -> bool:
        if self._through_star(module, module, name, name):
            return True
        for star in reversed(module.stars):  # the last one wins
            source = module.absolute(star)
            if source.partition(".")[0] in sys.stdlib_module_names and name in _public(source):
                self._outside(source, name, f"from {source} import {name}")
                return True
        return False

    def _outside(self, source: str, name: str, line: str) -> None:
        top = source.partition(".")[0]
        if top not in sys.stdlib_module_names:
            self.needs.add(top)
        self._claim(name, line)
        self.imports[line] = None

    def emit(self) -> Context:
        """The kept statements as one source, helpers' modules first."""
        texts = [node for each in self.kept.values() for node in each.values()]
        reads_doc = any("__doc__" in _attributes(node) or "__doc__" in _loads(node, True) for node in texts)
        parts: list[str] = ["\n".join(self.imports)] if self.imports else []
        for name in self._order():
            module = self.package.module(name)
            assert module is not None
            previous = None
            for line in sorted(self.kept[name]):
                statement = self.kept[name][line]
                text = self._text(module, statement, keep_doc=reads_doc)
                large = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                glue = "\n" if previous is not None and not large and not previous else "\n\n"
                parts.append(("" if glue == "\n\n" or not parts else "\n") + text)
                previous = large
            if name in self.aliases:
                parts.append("\n\n" + "\n".join(self.aliases[name]))
        source = "".join(
            part if part.startswith("\n") or not index else "\n\n" + part for index, part in enumerate(parts)
        )
        if self.postponed:
            source = f"from __future__ import annotations\n\n{source}"
        source += "\n"
        if source.count("\n") > MOST_LINES:
            raise NotSelfContained("needs too much source")
        if parse(source, "<context>") is None:
            raise NotSelfContained("the pieces do not make a module")
        return Context(source, tuple(sorted(self.needs)))

    def _order(self) -> list[str]:
        """The modules, each after those that it needs (as far as they do not need each other)."""
        found: dict[str, None] = {}
        open_: set[str] = set()

        def visit(name: str) -> None:
            if name in open_:
                return
            open_.add(name)
            for used in self.uses.get(name, ()):
                visit(used)
            found[name] = None

        for name in self.kept:
            visit(name)
        return [name for name in found if name in self.kept]

    def _text(self, module: Module, node: ast.stmt, *, keep_doc: bool) -> str:
        first, last = first_line(node), node.end_lineno or node.lineno
        relative = any(isinstance(inner, ast.ImportFrom) and inner.level for inner in ast.walk(node))
        if relative or _shares_a_line(module, node):
            return ast.unparse(self._absolute(module, node) if relative else node)
        dropped: set[int] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.ClassDef) and self.reachable is not None:
                for item in _unreachable(inner, self.reachable):
                    dropped |= set(range(first_line(item), (item.end_lineno or item.lineno) + 1))
        if not keep_doc:
            dropped |= docstring_lines(node)
        lines = [
            line.rstrip()
            for number, line in enumerate(module.lines, 1)
            if first <= number <= last and number not in dropped
        ]
        kept = "\n".join(lines)
        while "\n\n\n" in kept:
            kept = kept.replace("\n\n\n", "\n\n")
        if dropped and parse(kept, "<piece>") is None:  # nothing was left of a body
            return "\n".join(module.lines[first - 1 : last])
        return kept

    def _absolute(self, module: Module, node: ast.stmt) -> ast.stmt:
        """A copy whose relative imports are absolute."""
        copy = ast.parse(ast.unparse(node)).body[0]
        for inner in ast.walk(copy):
            if isinstance(inner, ast.ImportFrom) and inner.level:
                inner.module, inner.level = module.absolute(inner), 0
                self.needs.add(inner.module.partition(".")[0])
        return copy


def _height(node: ast.stmt) -> int:
    """Lines of a statement; of a class, without its own docstrings and what was pruned."""
    if isinstance(node, ast.ClassDef):
        return 1 + sum(_height(item) for item in node.body)
    return (node.end_lineno or node.lineno) - first_line(node) + 1 - len(docstring_lines(node))


@functools.cache
def _public(name: str) -> frozenset[str]:
    """What `from name import *` binds, of a module of the standard library."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return frozenset()
    return frozenset(getattr(module, "__all__", [each for each in vars(module) if not each.startswith("_")]))


def _aliased(name: str, alias: str | None) -> str:
    return f"{name} as {alias}" if alias and alias != name else name


def _first_choice(node: ast.stmt, name: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports that bind a name: a plain import, or the first branch of `try: import ... except ImportError: ...`.

    Of the latter only where it imports from the standard library or the package, which is always there.
    """
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [node]
    if not isinstance(node, ast.Try):
        return []
    found = [item for item in node.body if isinstance(item, ast.Import | ast.ImportFrom)]
    if len(found) < len(node.body) or not any(_binds(item, name) for item in found):
        return []
    for item in found:
        names = [item.module or ""] if isinstance(item, ast.ImportFrom) else [alias.name for alias in item.names]
        relative = isinstance(item, ast.ImportFrom) and item.level
        if not relative and any(each.partition(".")[0] not in sys.stdlib_module_names for each in names):
            return []
    return found


def _defines(target: Module, name: str, source: str) -> bool:
    """Whether a module binds a name to anything but its own submodule (`from . import name` in a package)."""
    found = target.bindings.get(name, [])
    own = [node for node in found if isinstance(node, ast.ImportFrom) and target.absolute(node) == source]
    return len(own) < len(found)


def _binds(node: ast.Import | ast.ImportFrom, name: str) -> bool:
    return any((alias.asname or alias.name.partition(".")[0]) == name for alias in node.names)


def _for_type_checkers(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING") or test.startswith("__name__ == ")


@functools.lru_cache(maxsize=4096)
def _loads(node: ast.stmt, postponed: bool) -> list[str]:
    """Global names that a statement, or code inside it, looks up."""
    module = ast.Module([node], [])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(
                module,
                "<piece>",
                "exec",
                flags=__future__.annotations.compiler_flag if postponed else 0,
                dont_inherit=True,
            )
    except (SyntaxError, ValueError, RecursionError):
        raise NotSelfContained("a piece does not compile on its own") from None
    return list(dict.fromkeys(_globals(code)))


def _globals(code: CodeType) -> Iterator[str]:
    """Names that code and the code inside it look up in the module; in order, for `limit = limit` in a class body."""
    bound: set[str] = set()
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, str(instruction.argval)
        if name in ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL") or (name in _LOADS and value not in bound):
            yield value
        elif name == "STORE_NAME" and code.co_name != "<module>":
            bound.add(value)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _attributes(node: ast.AST) -> set[str]:
    return {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}


def _unreachable(node: ast.ClassDef, reachable: frozenset[str]) -> list[ast.stmt]:
    """The methods that nothing names."""
    return [
        item
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        and item.name not in reachable
        and not (item.name.startswith("__") and item.name.endswith("__"))
    ]


def _pruned(node: ast.stmt, reachable: frozenset[str] | None) -> ast.stmt:
    """A class without the methods that nothing names; any other statement as it is."""
    if not isinstance(node, ast.ClassDef) or reachable is None:
        return node
    return _without(node, tuple(_unreachable(node, reachable)))


@functools.lru_cache(maxsize=4096)
def _without(node: ast.ClassDef, left_out: tuple[ast.stmt, ...]) -> ast.ClassDef:
    body = [item for item in node.body if item not in left_out] or [ast.copy_location(ast.Pass(), node.body[0])]
    kept = ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list)
    kept.type_params = getattr(node, "type_params", [])  # type: ignore[attr-defined]  # Python 3.12 on
    return ast.copy_location(kept, node)


@functools.lru_cache(maxsize=4096)
def _names(node: ast.stmt) -> frozenset[str] | None:
    """Names by which the code of a statement can reach a method, or None if it computes names."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute):
            found.add(inner.attr)
        elif (isinstance(inner, ast.Name) and inner.id in _DYNAMIC) or (
            isinstance(inner, ast.FunctionDef) and inner.name == "__getattr__"
        ):
            return None
        elif isinstance(inner, ast.ClassDef):  # `__add__ = add` and `@size.setter` name methods without a dot
            for item in inner.body:
                parts = getattr(item, "decorator_list", [item])
                found |= {i.id for part in parts for i in ast.walk(part) if isinstance(i, ast.Name)}
    return frozenset(found)


def _shares_a_line(module: Module, node: ast.stmt) -> bool:
    text = module.lines[node.lineno - 1]
    return bool(node.col_offset) or (isinstance(node, ast.Expr | ast.Assign | ast.AugAssign) and ";" in text)
