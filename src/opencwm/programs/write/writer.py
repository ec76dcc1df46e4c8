"""`Writer`: one function being written, and expressions for it.

A writer holds the arguments and their values, the lines so far, the typed variables in scope, and what a size limit
needs to know of them (least length, largest magnitude). `expression` expands the grammar's rules over that scope.

Notable choices:
- Variables that were written and not yet read are *pending* and picked first, so that results flow into the return
  value as in a person's code. An argument that no line read is dropped from the signature.
- Nothing is run: safety (indices in range, bounded loops, no growth) comes from what is known of the variables.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from opencwm.programs.write import names, values
from opencwm.programs.write.grammar import POSTFIX, Hole, Rule, accepted
from opencwm.programs.write.rules import FORMS, LEAVES, active

Text = tuple[str, int]
"""Source text of an expression and its level (see grammar.level)."""


@dataclass(slots=True, eq=False)
class Variable:
    """A name in scope.

    `low` is the least length that is certain, `bound` the largest magnitude of an int (or of a list's ints) if known.
    `of` is the sequence that this index variable is valid for. A `frozen` variable is being iterated over and must not
    be mutated; a `fixed` one (a loop's target) is not assigned to, a
    `grown` string is not made longer again.
    """

    name: str
    type: str
    low: int = 0
    bound: int | None = None
    of: Variable | None = None
    value: object = None
    reads: int = 0
    pending: bool = True
    frozen: bool = False
    fixed: bool = False
    grown: bool = False
    argument: bool = False


class Writer:
    """Random source of one function; `room` is the number of body lines that may still be written."""

    def __init__(self, rng: random.Random, *, depth: int, room: int, pool: Sequence[str] = ()) -> None:
        self.rng = rng
        self.grammar = active()
        self.depth = depth
        self.limit = room
        self.lines: list[str] = []
        self.indent = 1
        self.scope: list[Variable] = []
        self.arguments: list[tuple[Variable, str]] = []
        self.used: set[str] = set()
        self.pool: list[str] = list(pool)
        self.loops = 0
        self.on_demand = False
        self.recent: list[Variable] = []
        self._marks: list[int] = []

    # -- lines -------------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        return self.limit - len(self.lines)

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.indent + line)

    def open(self, header: str) -> None:
        """Start a block below `header`; variables made inside go out of scope at `close`."""
        self.emit(header)
        self.indent += 1
        self._marks.append(len(self.scope))

    def close(self) -> None:
        self.indent -= 1
        del self.scope[self._marks.pop() :]

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def choose(self, *options: str) -> str:
        return options[int(self.rng.random() * len(options))]

    def choose_one(self, options: Sequence[Variable]) -> Variable:
        return options[int(self.rng.random() * len(options))]

    def signature(self) -> tuple[str, str]:
        """Source and call of the function: the arguments that are read, in order, with their values."""
        arguments = [(v, text) for v, text in self.arguments if v.reads]
        name = names.function_name(self.rng, self.used)
        shown, given = [v.name for v, _ in arguments], [text for _, text in arguments]
        if len(arguments) > 1 and arguments[-1][0].type in ("int", "sub", "bool", "str") and self.chance(0.07):
            choice = self.rng.random()
            if choice < 0.5:
                given[-1] = f"{shown[-1]}={given[-1]}"
            else:
                shown[-1] += f"={self.literal(arguments[-1][0].type)[0] if choice < 0.7 else given[-1]}"
                if choice > 0.7:
                    given.pop()
        header = f"def {name}({', '.join(shown)}):"
        return "\n".join((header, *self.lines)), f"{name}({', '.join(given)})"

    # -- variables ---------------------------------------------------------------------------------------------------

    def argument(self, type_: str, role: str | None = None, value: object = None) -> Variable:
        """A new argument with a value; its letters, items and keys join the pool."""
        value = values.make(self.rng, type_, self.pool) if value is None else value
        variable = self.define(type_, role)
        variable.value, variable.argument = value, True
        if isinstance(value, int):
            variable.bound = abs(value)
        elif isinstance(value, float):
            variable.bound = 100
        else:
            variable.low = len(value)  # type: ignore[arg-type]
            self._learn(variable, value)
        self.arguments.append((variable, values.display(value)))
        return variable

    def _learn(self, variable: Variable, value: object) -> None:
        if isinstance(value, str):
            if value:
                self.pool.append(value)
        elif isinstance(value, list | tuple | dict | set):
            items = sorted(value) if isinstance(value, set) else list(value)
            self.pool += [item for item in items if isinstance(item, str) and item][:4]
            numbers = [abs(item) for item in items if isinstance(item, int)]
            if not isinstance(value, dict) and len(numbers) == len(items):
                variable.bound = max(numbers, default=0)

    def define(self, type_: str, role: str | None = None, *, low: int = 0, bound: int | None = None) -> Variable:
        """A new variable in the innermost block."""
        name = names.identifier(self.rng, role or type_, self.used)
        self.used.add(name)
        variable = Variable(name, type_, low, bound)
        self.scope.append(variable)
        return variable

    def read(self, variable: Variable) -> str:
        variable.reads += 1
        variable.pending = False
        self.recent.append(variable)
        return variable.name

    def find(self, symbol: str, *, mutable: bool = False, assignable: bool = False) -> Variable | None:
        """A variable that fits `symbol`: pending and recent ones first, those just read last."""
        types = accepted(symbol)
        fitting = [
            v for v in self.scope if v.type in types and not (mutable and v.frozen) and not (assignable and v.fixed)
        ]
        if not fitting:
            return None
        if len(fitting) == 1:
            return fitting[0]
        weights = [
            (4.0 if v.pending else 1.0) * (0.12 if v in self.recent else 1.0) * (1 + i / 4)
            for i, v in enumerate(fitting)
        ]
        return self.rng.choices(fitting, weights)[0]

    def has(self, symbol: str) -> bool:
        types = accepted(symbol)
        return any(v.type in types for v in self.scope)

    # -- expressions -------------------------------------------------------------------------------------------------

    def value(self, symbol: str, depth: int | None = None, *, level: int = 0) -> str:
        """A whole expression of a type, over the variables in scope."""
        self.recent.clear()
        depth = self.depth if depth is None else depth
        if depth > 0 and symbol not in LEAVES and self.chance(0.92):
            grown = self._grow(symbol, depth)
            if grown is not None:
                return _wrap(grown, level)
        return _wrap(self.expression(symbol, depth, needs=True), level)

    def about(self, variable: Variable, result: str, depth: int = 0, *, level: int = 0) -> str:
        """An expression of type `result` that works on `variable`."""
        self.recent.clear()
        choice = self.grammar.by_pair.get((result, variable.type))
        if choice is None:
            if variable.type in accepted(result):
                return self.read(variable)
            return _wrap(self.expression(result, depth + 1), level)
        rule = choice.rules[choice.pick(self.rng.random())]
        return _wrap(self.expand(rule, depth, variable), level)

    def expression(self, symbol: str, depth: int, *, needs: bool = False, plain: bool = False) -> Text:
        """Text for `symbol`; with `needs` a variable takes part, with `plain` it is nothing but a variable."""
        leaf = LEAVES.get(symbol)
        if leaf is not None and not plain:
            return leaf(self)
        variable = self.find(symbol)
        if self.on_demand and (variable is None or variable in self.recent) and (plain or needs or self.chance(0.5)):
            variable = self._demand(symbol)
        if plain and variable is not None:
            return self.read(variable), POSTFIX
        if (depth > 0 and self.chance(0.6)) or (needs and variable is None and depth > -2):
            grown = self._grow(symbol, depth)
            if grown is not None:
                return grown
        if variable is not None and (needs or self.chance(0.12 if variable in self.recent else 0.75)):
            return self.read(variable), POSTFIX
        return self.literal(symbol)

    def _demand(self, symbol: str) -> Variable:
        types = accepted(symbol)
        type_ = types[0] if len(types) < 4 or symbol == "str" else self.rng.choice(types)
        return self.argument({"word": "str", "row": "ints"}.get(type_, type_))

    def _grow(self, symbol: str, depth: int) -> Text | None:
        """A rule for `symbol` expanded: one whose first needed hole some variable fits, or one about a variable."""
        choice = self.grammar.by_result.get(symbol)
        if choice is None:
            return None
        if self.on_demand or self.chance(0.6):
            for _ in range(4):
                index = choice.pick(self.rng.random())
                need = choice.needs[index]
                if need is None or self.on_demand or self.has(need) or (need == "bool" and depth > 0):
                    return self.expand(choice.rules[index], depth - 1)
        options = [v for v in self.scope if (symbol, v.type) in self.grammar.by_pair]
        if not options:
            return None
        given = self.rng.choices(options, [4.0 if v.pending else 0.2 if v in self.recent else 1.0 for v in options])[0]
        pair = self.grammar.by_pair[symbol, given.type]
        return self.expand(pair.rules[pair.pick(self.rng.random())], depth - 1, given)

    def expand(self, rule: Rule, depth: int, given: Variable | None = None) -> Text:
        """A rule with its holes filled; `given` takes the first hole that must involve a variable."""
        if rule.form is not None:
            return FORMS[rule.form](self, rule.result, depth)
        texts: list[str] = []
        filled: list[str] = []
        for part in rule.parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            if part.repeats is not None:
                texts.append(filled[part.repeats])
                continue
            if given is not None and part.needs:
                text, given = self.read(given), None
            else:
                text = self._fill(part, depth)
            filled.append(text)
            texts.append(text)
        return "".join(texts), rule.level

    def _fill(self, hole: Hole, depth: int) -> str:
        if hole.level == POSTFIX and depth > 0 and self.chance(0.55):
            depth = 0
        return _wrap(self.expression(hole.symbol, depth, needs=hole.needs, plain=hole.plain), hole.level)

    def literal(self, symbol: str) -> Text:
        """A constant of a type, small as constants in code are."""
        rng = self.rng
        if symbol in ("int", "number"):
            number = rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, -1, -2, 12, 15, 20, 100))
            return str(number), POSTFIX if number >= 0 else 11
        if symbol in ("str", "word", "plainstr", "seq", "sized"):
            choice = rng.random()
            if choice < 0.5:
                return repr(values.word(rng)), POSTFIX
            return repr(values.short(rng, self.pool, empty=True) if choice < 0.9 else values.text(rng)), POSTFIX
        if symbol == "any":
            symbol = rng.choice(("int", "char"))
            return self.literal(symbol)
        symbol = {"row": "ints", "shown": "char", "steady": "str", "cell": "int"}.get(symbol, symbol)
        value = values.make(rng, symbol, self.pool)
        if isinstance(value, list | tuple):
            value = value[:4]
        if isinstance(value, dict):
            value = dict(list(value.items())[:3])
        if isinstance(value, float) and value < 0:
            return repr(value), 11
        return values.display(value), POSTFIX


def _wrap(text: Text, level: int) -> str:
    return f"({text[0]})" if text[1] < level else text[0]
