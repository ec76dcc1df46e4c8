"""Compute Python expressions of builtin values, and nothing else: no name of a program is ever called.

Notable choices:
- The values are those that a frame's repr texts stand for (`value_of`); operators, comparisons, f-strings, slices,
  comprehensions, the builtin functions in `FUNCTIONS` and the methods in `METHODS` work on them. All of those are pure
  or change only a copy that nobody else sees.
- What could take long or much memory is refused before it starts: numbers have at most `DIGITS` bits, series at most
  `ITEMS` items, one evaluation `STEPS` operations.
- `Unknown` says that this cannot be computed here; an exception that the program itself would raise is `Raises`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opencwm.world.literals import literal

DIGITS, ITEMS, STEPS = 20_000, 100_000, 20_000


class Unknown(ValueError):
    """Not computable without running the program; the message is one line."""


class Raises(Exception):
    """The expression raises `error`, a builtin exception."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.error = error


EXACT = (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset, range, type(None), slice)

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (abs, all, any, bin, bool, chr, dict, divmod, float, frozenset, hex, int, len, list)},
    **{f.__name__: f for f in (max, min, oct, ord, range, repr, round, set, sorted, str, sum, tuple, complex)},
    "enumerate": lambda *a, **k: list(enumerate(*a, **k)),
    "zip": lambda *a: list(zip(*a, strict=False)),
    "reversed": lambda value: list(reversed(value)),
}
ORDERLESS = frozenset(("len", "bool", "sorted", "min", "max", "any", "all", "set", "frozenset"))
"""Functions whose result does not depend on the order of a set's items."""

_TEXT = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper center ljust rjust zfill"
)
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT.split()),
    bytes: frozenset(("count", "find", "startswith", "endswith", "split", "strip", "hex", "upper", "lower")),
    list: frozenset(("count", "index", "copy")),
    tuple: frozenset(("count", "index")),
    dict: frozenset(("get", "copy", "keys", "values", "items")),
    set: frozenset(
        ["copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset", "symmetric_difference", "union"]
    ),
    frozenset: frozenset(["copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset", "union"]),
    int: frozenset(("bit_length", "bit_count")),
    float: frozenset(("is_integer",)),
}
CHANGING: dict[type, frozenset[str]] = {
    list: frozenset(["append", "extend", "insert", "pop", "remove", "clear", "reverse", "sort"]),
    dict: frozenset(["pop", "clear", "update", "setdefault", "popitem"]),
    set: frozenset(["add", "discard", "remove", "clear", "update", "difference_update", "intersection_update"]),
}
"""Methods that change their object: computed only where the caller says that no one else can see it (`changing`)."""


def value_of(text: str) -> Any:
    """The builtin value that a repr text stands for. Raises Unknown."""
    try:
        return literal(text)
    except ValueError:
        pass
    try:
        node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("range", "frozenset"):
            return Evaluator({}).value(node)
    except (SyntaxError, ValueError, Raises, MemoryError, RecursionError):
        pass
    special = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan"), "set()": set()}
    if text in special:
        return special[text]
    raise Unknown(f"{text[:80]} is not a value that can be computed with")


class Evaluator:
    """Evaluates expressions on values, within a budget.

    `changing` allows methods that change their object, `results` has the values of calls that were made elsewhere,
    `attributes` answers for attributes. `certain` refuses what depends on the order of a set's items, which its text
    does not tell.
    `values` holds the names used so far, `bound` and `deleted` which of them were given a value or taken away.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        *,
        changing: bool = False,
        results: Mapping[ast.Call, Any] | None = None,
        attributes: Callable[[ast.Attribute], Any] | None = None,
        certain: bool = False,
    ) -> None:
        self._texts = names
        self.values: dict[str, Any] = {}
        self.bound: set[str] = set()
        self.deleted: set[str] = set()
        self.changing = changing
        self._results = results or {}
        self._attributes = attributes
        self._certain = certain
        self._own: set[str] = set()
        self._left = STEPS

    def value(self, node: ast.expr) -> Any:
        """The value of an expression. Raises Unknown and Raises."""
        try:
            return self._value(node)
        except (Unknown, Raises):
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Raises(error) from None
        except (MemoryError, RecursionError):
            raise Unknown("too deep or too large") from None

    def name(self, name: str) -> Any:
        """The value of a name. Raises Unknown."""
        if name not in self.values:
            if name not in self._texts:
                raise Unknown(f"no name {name!r} here; there are: {', '.join(self._texts) or 'none'}")
            self.values[name] = value_of(self._texts[name])
        return self.values[name]

    def known(self, name: str) -> bool:
        """Whether the frame has this name."""
        return name in self._texts or name in self.values

    def _value(self, node: ast.expr) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Unknown(f"more than {STEPS} operations")
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.name(name)
            case ast.BinOp(left=left, op=op, right=right):
                return binary(op, self._value(left), self._value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return UNARY[type(op)](self._value(operand))
            case ast.BoolOp(op=op, values=values):
                result: Any = None
                for part in values:
                    result = self._value(part)
                    if bool(result) is isinstance(op, ast.Or):
                        break
                return result
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compare(self._value(left), ops, others)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._value(body if self._value(test) else orelse)
            case ast.List(elts=items):
                return self._items(items)
            case ast.Tuple(elts=items):
                return tuple(self._items(items))
            case ast.Set(elts=items):
                return set(self._items(items))
            case ast.Dict(keys=keys, values=values):
                return self._dict(keys, values)
            case ast.Subscript(value=value, slice=index):
                return self._value(value)[self._value(index)]
            case ast.Slice(lower=lower, upper=upper, step=step):
                return slice(*(self._value(part) if part else None for part in (lower, upper, step)))
            case ast.JoinedStr(values=values):
                return self._bounded("".join(self._value(part) for part in values))
            case ast.FormattedValue(value=value, conversion=conversion, format_spec=spec):
                return self._formatted(self._value(value), conversion, self._value(spec) if spec else "")
            case ast.Call():
                return self._call(node)
            case ast.Attribute() if self._attributes is not None:
                return self._attributes(node)
            case ast.ListComp(elt=element, generators=clauses):
                return [self._value(element) for _ in self._loops(clauses)]
            case ast.SetComp(elt=element, generators=clauses):
                return {self._value(element) for _ in self._loops(clauses)}
            case ast.GeneratorExp(elt=element, generators=clauses):
                return [self._value(element) for _ in self._loops(clauses)]
            case ast.DictComp(key=key, value=value, generators=clauses):
                return {self._value(key): self._value(value) for _ in self._loops(clauses)}
        raise Unknown(f"only operations on builtin values are computed here, not {ast.unparse(node)[:60]}")

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items = self._value(node.value)
                self._ordered(items)
                found.extend(items)
            else:
                found.append(self._value(node))
        return found

    def _dict(self, keys: list[ast.expr | None], values: list[ast.expr]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            if key is None:
                found.update(self._value(value))
            else:
                found[self._value(key)] = self._value(value)
        return found

    def _compare(self, left: Any, ops: list[ast.cmpop], others: list[ast.expr]) -> Any:
        result: Any = True
        for op, node in zip(ops, others, strict=True):
            right = self._value(node)
            if isinstance(op, ast.Is | ast.IsNot):
                if not any(side is None or isinstance(side, bool) for side in (left, right)):
                    raise Unknown("identity is not known from a value's text")
                result = (left is right) is isinstance(op, ast.Is)
            else:
                result = COMPARE[type(op)](left, right)
            if not result:
                return result
            left = right
        return result

    def _ordered(self, *values: Any) -> None:
        """Raise Unknown if the order of the items of a value matters and is not known."""
        for value in values:
            if self._certain and isinstance(value, set | frozenset) and len(value) > 1:
                raise Unknown("the order of a set is not known from its text")

    def _formatted(self, value: Any, conversion: int, spec: str) -> str:
        self._ordered(value)
        if any(int(run) > 1000 for run in "".join(c if c.isdigit() else " " for c in spec).split()):
            raise Unknown("a format of more than 1000 characters")
        convert: dict[int, Callable[[Any], str]] = {115: str, 114: repr, 97: ascii}
        return format(convert[conversion](value) if conversion in convert else value, spec)

    def _loops(self, clauses: list[ast.comprehension]) -> Iterator[None]:
        clause, rest = clauses[0], clauses[1:]
        if clause.is_async:
            raise Unknown("asynchronous comprehensions are not computed")
        names = {node.id for node in ast.walk(clause.target) if isinstance(node, ast.Name)}
        if any(self.known(name) for name in names - self._own):
            raise Unknown("a name of the comprehension's own")
        self._own |= names
        for item in self._value(clause.iter):
            self._left -= 1
            self.bind(clause.target, item)
            self.bound -= names
            if all(self._value(test) for test in clause.ifs):
                if rest:
                    yield from self._loops(rest)
                else:
                    yield None

    def bind(self, target: ast.expr, value: Any) -> None:
        """Give a value to a name or a tuple of names."""
        match target:
            case ast.Name(id=name):
                self.values[name] = value
                self.bound.add(name)
            case ast.Tuple(elts=items) | ast.List(elts=items) if not any(isinstance(i, ast.Starred) for i in items):
                self._ordered(value)
                parts = list(value)
                if len(parts) != len(items):
                    few = len(parts) < len(items)
                    got = f"not enough values to unpack (expected {len(items)}, got {len(parts)})"
                    raise ValueError(got if few else f"too many values to unpack (expected {len(items)})")
                for item, part in zip(items, parts, strict=True):
                    self.bind(item, part)
            case _:
                raise Unknown(f"cannot bind {ast.unparse(target)[:60]} here")

    def _call(self, node: ast.Call) -> Any:
        if node in self._results:
            return self._results[node]
        arguments = self._items(node.args)
        if any(keyword.arg is None for keyword in node.keywords):
            raise Unknown("** arguments are not computed")
        keywords = {str(keyword.arg): self._value(keyword.value) for keyword in node.keywords}
        if "key" in keywords:
            raise Unknown("key functions are not computed")
        match node.func:
            case ast.Name(id=name) if name in FUNCTIONS and not self.known(name):
                if name not in ORDERLESS:
                    self._ordered(*arguments, *keywords.values())
                return self._bounded(_function(name, arguments, keywords))
            case ast.Attribute(value=target, attr=method):
                return self._bounded(self._method(self._value(target), method, arguments, keywords))
        raise Unknown(f"{ast.unparse(node.func)[:60]} is not a builtin that can be computed")

    def _method(self, target: Any, method: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        kind = type(target)
        allowed = method in METHODS.get(kind, ()) or (self.changing and method in CHANGING.get(kind, ()))
        if not allowed:
            raise Unknown(f"the method {method} of {kind.__name__} is not computed")
        if kind is str:
            if method in ("center", "ljust", "rjust", "zfill") and any(type(a) is int and a > 1000 for a in arguments):
                raise Unknown("a text of more than 1000 characters")
            if method == "replace" and len(target) * max(1, max(map(len, arguments[:2]))) > 10 * ITEMS:
                raise Unknown("too long a text")
        if kind not in (set, frozenset) or method == "pop":
            self._ordered(target, *arguments)
        result = getattr(target, method)(*arguments, **keywords)
        return list(result) if method in ("keys", "values", "items") else result

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, str | bytes | list | tuple | dict | set | frozenset) and len(value) > ITEMS:
            raise Unknown(f"more than {ITEMS} items")
        return value


def binary(op: ast.operator, left: Any, right: Any) -> Any:
    """An operator applied to two builtin values; refuses what would be huge. Raises Unknown."""
    compute = BINARY.get(type(op))
    if compute is None:
        raise Unknown("this operator is not computed")
    if isinstance(op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() * abs(right) > DIGITS:
            raise Unknown(f"a number of more than {DIGITS} bits")
    elif isinstance(op, ast.LShift) and isinstance(right, int) and right > DIGITS:
        raise Unknown(f"a number of more than {DIGITS} bits")
    elif isinstance(op, ast.Mult):
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | bytes | list | tuple) and isinstance(other, int) and len(one) * other > ITEMS:
                raise Unknown(f"more than {ITEMS} items")
            if isinstance(one, int) and isinstance(other, int) and one.bit_length() + other.bit_length() > DIGITS:
                raise Unknown(f"a number of more than {DIGITS} bits")
    elif isinstance(op, ast.Mod) and isinstance(left, str | bytes):
        raise Unknown("formatting with % is not computed")
    return compute(left, right)


def _function(name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    for argument in arguments:
        if isinstance(argument, range) and len(argument) > ITEMS and name not in ("len", "bool", "repr", "str"):
            raise Unknown(f"more than {ITEMS} items")
    return FUNCTIONS[name](*arguments, **keywords)
