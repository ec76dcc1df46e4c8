"""Expression rules: templates with typed holes, parsed once into `Rule`s.

A template is Python with holes, `{str!}.replace({sub}, {sub})`. A hole names a type or a leaf; marks after the name:
`!` the sub-expression must involve a variable, `$` it is a plain variable; `{=0}` repeats the text of hole 0. A literal
brace is doubled. A template that starts with `@` names a function of `forms.py`.

Notable choice: precedence is read off the syntax tree of the template itself, so that no rule states it and parentheses
come out where a person would put them.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from opencwm.programs.write.style import mark_modules

POSTFIX = 12
"""Level of names, calls, subscripts, displays: what needs no parentheses as a receiver."""

_HOLE = re.compile(r"\{\{|\}\}|\{(=?)(\w+)([!$]?)\}")
_BINARY: dict[type, int] = {
    ast.BitOr: 5, ast.BitXor: 6, ast.BitAnd: 7, ast.LShift: 8, ast.RShift: 8, ast.Add: 9, ast.Sub: 9, ast.Mult: 10,
    ast.Div: 10, ast.FloorDiv: 10, ast.Mod: 10, ast.Pow: 12,
}  # fmt: skip
_ACCEPTED: dict[str, tuple[str, ...]] = {
    "str": ("str", "char", "digits", "sub", "word"),
    "sub": ("sub", "char"),
    "word": ("word", "str"),
    "int": ("int",),
    "number": ("int",),
    "row": ("row", "ints"),
    "any": ("int", "str", "ints", "strs", "counts", "bool", "char", "tints", "word", "digits", "names", "sub", "float"),
    "sized": (
        "str",
        "ints",
        "strs",
        "counts",
        "names",
        "words",
        "tints",
        "groups",
        "strset",
        "rows",
        "word",
        "pairs",
        "intset",
        "floats",
        "bytes",
    ),
    "seq": ("str", "ints", "strs", "tints", "tstrs", "word"),
    "plainstr": ("str", "word", "digits"),
}


def accepted(symbol: str) -> tuple[str, ...]:
    """Types of the variables that may stand where `symbol` is asked for."""
    return _ACCEPTED.get(symbol, (symbol,))


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a template: what fits, the level below which it needs parentheses, and what it must be."""

    symbol: str
    level: int = 0
    needs: bool = False
    plain: bool = False
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to make an expression of type `result`. `form` names a function instead of `parts`."""

    result: str
    weight: float
    level: int
    parts: tuple[str | Hole, ...]
    form: str | None
    template: str

    @property
    def need(self) -> str | None:
        """Symbol of the first hole that must involve a variable."""
        return next((part.symbol for part in self.parts if isinstance(part, Hole) and part.needs), None)


@dataclass(slots=True)
class Choice:
    """Rules with their weights summed up, for picking in logarithmic time."""

    rules: list[Rule] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    needs: list[str | None] = field(default_factory=list)

    def add(self, rule: Rule) -> None:
        self.rules.append(rule)
        self.needs.append(rule.need)
        self.sums.append((self.sums[-1] if self.sums else 0.0) + rule.weight)

    def pick(self, uniform: float) -> int:
        """Index of the rule at a number in [0, 1)."""
        return bisect(self.sums, uniform * self.sums[-1])


class Grammar:
    """All rules, by the type of their result and by the variable that they are about."""

    def __init__(self, tables: Iterable[dict[str, str]]) -> None:
        """`tables` map a result type to lines `WEIGHT TEMPLATE`."""
        self.by_result: dict[str, Choice] = {}
        self.by_pair: dict[tuple[str, str], Choice] = {}
        self.rules: list[Rule] = []
        for table in tables:
            for result, lines in table.items():
                for line in lines.strip().splitlines():
                    weight, template = line.strip().split(" ", 1)
                    self._add(parse(result, float(weight), mark_modules(template)))

    def reweighted(self, weight: Callable[[Rule], float]) -> Grammar:
        """A grammar of the same rules with other weights."""
        other = Grammar(())
        for rule in self.rules:
            other._add(replace(rule, weight=weight(rule)))
        return other

    def _add(self, rule: Rule) -> None:
        self.rules.append(rule)
        self.by_result.setdefault(rule.result, Choice()).add(rule)
        if rule.need is not None:
            for type_ in accepted(rule.need):
                self.by_pair.setdefault((rule.result, type_), Choice()).add(rule)


def parse(result: str, weight: float, template: str) -> Rule:
    """A rule from its template."""
    if template.startswith("@"):
        return Rule(result, weight, POSTFIX, (), template[1:], template)
    parts: list[str | Hole] = []
    marked: list[str] = []
    holes: dict[str, tuple[str, str, str]] = {}
    position = 0
    for match in _HOLE.finditer(template):
        before = template[position : match.start()]
        position = match.end()
        if match.group(2) is None:
            before += match.group()[0]
            marked.append(before)
            parts.append(before)
            continue
        name = f"hole_{len(holes)}"
        holes[name] = (match.group(1), match.group(2), match.group(3))
        marked += [before, "*" if match.group(2) == "arith" else name]  # an operator, whichever it will be
        parts += [before, Hole(name)]
    marked.append(template[position:])
    parts.append(template[position:])
    tree = ast.parse("".join(marked).strip(), mode="eval").body
    levels = {child.id: wanted for child, wanted in _wanted(tree) if isinstance(child, ast.Name)}
    receivers = {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    final: list[str | Hole] = []
    for part in parts:
        if isinstance(part, Hole):
            repeat, symbol, mark = holes[part.symbol]
            if repeat:
                final.append(Hole(symbol, repeats=int(symbol)))
            else:
                needs = bool(mark) or part.symbol in receivers
                final.append(Hole(symbol, levels.get(part.symbol, 0), needs, mark == "$"))
        elif part:
            final.append(part)
    return Rule(result, weight, level(tree), tuple(final), None, template)


def level(node: ast.expr) -> int:
    """How tightly an expression binds: 0 for a conditional or lambda, up to POSTFIX."""
    if isinstance(node, ast.IfExp | ast.Lambda | ast.NamedExpr):
        return 0
    if isinstance(node, ast.BoolOp):
        return 1 if isinstance(node.op, ast.Or) else 2
    if isinstance(node, ast.UnaryOp):
        return 3 if isinstance(node.op, ast.Not) else 11
    if isinstance(node, ast.Compare):
        return 4
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)]
    return POSTFIX


def _wanted(tree: ast.AST) -> Iterable[tuple[ast.AST, int]]:
    """Every node below `tree` with the lowest level that stands there without parentheses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript):
            yield node.value, POSTFIX
        elif isinstance(node, ast.Call):
            yield node.func, POSTFIX
        elif isinstance(node, ast.BinOp):
            own = _BINARY[type(node.op)]
            yield node.left, own + (1 if isinstance(node.op, ast.Pow) else 0)
            yield node.right, own + 1 if own < POSTFIX else POSTFIX
        elif isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                yield operand, 5
        elif isinstance(node, ast.BoolOp):
            for operand in node.values:
                yield operand, 2 if isinstance(node.op, ast.Or) else 3
        elif isinstance(node, ast.UnaryOp):
            yield node.operand, 5 if isinstance(node.op, ast.Not) else POSTFIX
        elif isinstance(node, ast.IfExp):
            yield node.body, 1
            yield node.test, 1
        elif isinstance(node, ast.comprehension):
            yield node.iter, 1
            for test in node.ifs:
                yield test, 1
        elif isinstance(node, ast.Starred):
            yield node.value, 5
