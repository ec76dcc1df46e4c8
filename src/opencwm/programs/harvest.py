"""Functions of any package as programs: each with a self-contained source where one can be made.

    for function in functions("toolz"):
        if function.problem is None:
            for call in inputs.calls(function, seed=0, count=5):
                program = function.program(call)

Notable choices:
- Everything is static: nothing of the package runs here, so harvesting is safe and the same on every machine. The
  programs that come out are strangers' code and are run in isolation only.
- Top-level functions and the methods, class methods, static methods and properties of top-level classes. Inner
  functions are recorded when the outer one runs them.
- A function that cannot be used is yielded too, with the `problem` in a few words, so that a corpus can count reasons.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from opencwm.programs.closure import Context, NotSelfContained, close
from opencwm.programs.packages import Module, Package, find
from opencwm.programs.program import Program
from opencwm.programs.usage import Known, Usage

Kind = Literal["function", "method", "classmethod", "staticmethod", "property"]
Definition = ast.FunctionDef | ast.AsyncFunctionDef

_SPECIAL = frozenset(("__init__", "__new__", "__del__", "__init_subclass__", "__class_getitem__", "__getattr__"))
_SPECIAL_TOO = frozenset(
    ("__getattribute__", "__setattr__", "__delattr__", "__reduce__", "__reduce_ex__", "__set_name__")
)


@dataclass(frozen=True, slots=True)
class HarvestedFunction:
    """One function of a package.

    `source` is self-contained text that defines it (`""` if `problem` says why there is none); `needs` are packages
    that it imports beside the standard library (empty for a truly self-contained one), to be found in the folders
    `search`. `name` is qualified (`Stack.push`); `node` is its definition and `owner` its class. `known` are calls of
    it seen in doctests, tests and the package itself.
    """

    package: str
    module: str
    name: str
    path: str
    line: int
    kind: Kind
    node: Definition
    owner: ast.ClassDef | None
    source: str
    needs: tuple[str, ...]
    search: tuple[str, ...]
    problem: str | None
    known: Known

    @property
    def origin(self) -> str:
        """Package, module and name: where a program made of it came from."""
        return f"{self.package} {self.module}:{self.name}"

    def program(self, call: str) -> Program:
        """The program that makes one call."""
        return Program(self.source, call, origin=self.origin)


def functions(
    where: str | Package, *, library: bool = False, only: str | None = None, usage: Usage | None = None
) -> Iterator[HarvestedFunction]:
    """Every function of a package (see `packages.find` for `where`), module by module, in source order.

    With `library`, sources may import the package itself and others (`needs`), otherwise that is a problem. `only`
    names one module, `usage` is the package's if the caller has it. Raises HarvestError if there is no such package.
    """
    package = find(where) if isinstance(where, str) else where
    usage = usage or Usage(package)
    for module in package.modules() if only is None else filter(None, [package.module(only)]):
        for node, owner in _definitions(module):
            yield _harvest(package, module, node, owner, usage, library)


def _definitions(module: Module) -> Iterator[tuple[Definition, ast.ClassDef | None]]:
    for node in module.tree.body:
        if isinstance(node, Definition):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, Definition):
                    yield item, node


def _harvest(
    package: Package, module: Module, node: Definition, owner: ast.ClassDef | None, usage: Usage, library: bool
) -> HarvestedFunction:
    kind = kind_of(node, owner)
    problem = _unusable(module, node, owner, kind)
    context = Context("", ())
    if problem is None:
        try:
            names = [owner.name] if owner else [node.name]
            context = close(package, module, names, roots=frozenset((node.name,)) if owner else frozenset())
            if context.needs and not library:
                problem, context = "imports other packages", Context("", context.needs)
        except NotSelfContained as error:
            problem = str(error)
    return HarvestedFunction(
        package=package.label,
        module=module.name,
        name=f"{owner.name}.{node.name}" if owner else node.name,
        path=str(module.path),
        line=node.lineno,
        kind=kind,
        node=node,
        owner=owner,
        source=context.source,
        needs=context.needs,
        search=package.search if context.needs else (),
        problem=problem,
        known=usage.of(module, node, owner) if problem is None else Known(),
    )


def kind_of(node: Definition, owner: ast.ClassDef | None) -> Kind:
    """How a function is called, by its class and decorators."""
    if owner is None:
        return "function"
    for decorator in node.decorator_list:
        match decorator:
            case ast.Name(id="staticmethod" | "classmethod" as name):
                return name
            case ast.Name(id="property" | "cached_property") | ast.Attribute(attr="cached_property"):
                return "property"
    return "method"


def _unusable(module: Module, node: Definition, owner: ast.ClassDef | None, kind: Kind) -> str | None:
    statements = module.bindings.get(owner.name if owner else node.name, [])
    if not statements or statements[-1] is not (owner or node):
        return "its name is bound anew"
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if "overload" in decorators or "abstractmethod" in decorators:
        return "overload or abstract"
    if decorators & {"setter", "deleter", "getter"}:
        return "property setter"
    if any(isinstance(inner, ast.AsyncFor | ast.AsyncWith) for inner in ast.walk(node)) or _is_async_generator(node):
        return "asynchronous iteration"
    if owner is not None:
        if node.name in _SPECIAL or node.name in _SPECIAL_TOO:
            return "special method"
        if not node.args.args and not node.args.posonlyargs and kind in ("method", "classmethod", "property"):
            return "method without self"
        bases = {ast.unparse(base) for base in owner.bases} | {ast.unparse(keyword.value) for keyword in owner.keywords}
        if bases & {"Protocol", "typing.Protocol", "ABCMeta", "abc.ABCMeta", "ABC", "abc.ABC"}:
            return "overload or abstract"
    body = [item for item in node.body if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))]
    if not body or (len(body) == 1 and isinstance(body[0], ast.Pass)):
        return "empty body"
    if len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0]):
        return "empty body"
    return None


def _is_async_generator(node: Definition) -> bool:
    return isinstance(node, ast.AsyncFunctionDef) and any(
        isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)
    )
