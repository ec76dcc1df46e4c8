"""Calls of a function with made-up arguments, directed by what is known of its types: seeded and reproducible.

Arguments come, in this order of trust, from known calls (doctests, tests, call sites, calls observed in a suite) and
mutations of them, annotations, defaults, what the body does with a parameter, and its name. The same function, seed and
count give the same calls on every machine; nothing runs here.

    calls(function, seed=0, count=5)   # ["chunks([3, 1, 2], 2)", ...]
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from opencwm.programs.arguments import Maker
from opencwm.programs.shapes import ANY, Shape, annotated, defaulted, named, used
from opencwm.programs.usage import Arguments, Known, whole
from opencwm.trace.frames import Trace

if TYPE_CHECKING:
    from opencwm.programs.harvest import HarvestedFunction

MOST_CHARACTERS = 400
ITEMS = 20  # taken of an iterator
_PASSES = 6


def calls(function: HarvestedFunction, *, seed: int, count: int, observed: Sequence[Arguments] = ()) -> list[str]:
    """At most `count` different call expressions, known ones first; `observed` adds calls that were seen to happen.

    A method's call makes its object too. Iterators are listed (their first 20 items), coroutines run.
    """
    rng = random.Random(f"{seed}:{function.module}:{function.name}")
    known = Known((*observed, *function.known.calls), function.known.makes)
    maker = Maker(rng, ast.parse(function.source))
    found: dict[str, None] = {}
    for arguments in known.calls[: count // 2 + 1]:
        _add(found, _call(function, arguments, known, maker))
    for _ in range(_PASSES * count):
        if len(found) >= count:
            break
        arguments = _arguments(function.node, _skips_first(function), known.calls, maker)
        _add(found, _call(function, arguments, known, maker))
    return list(found)[:count]


def for_source(source: str, name: str, *, seed: int, count: int, known: Iterable[str] = ()) -> list[str]:
    """Calls of a top-level function of any source text; `known` are argument lists as text (`"[1, 2], 3"`).

    Raises ValueError if the source defines no such function.
    """
    tree = ast.parse(source)
    nodes = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    if not nodes:
        raise ValueError(f"the source defines no function {name}: name one at its top level")
    rng = random.Random(f"{seed}:{name}")
    maker = Maker(rng, tree)
    pool = [parsed for text in known if (parsed := parse_arguments(text)) is not None]
    found: dict[str, None] = {}
    for _ in range(_PASSES * count):
        if len(found) >= count:
            break
        _add(found, _wrapped(nodes[-1], f"{name}({_arguments(nodes[-1], False, pool, maker)})"))
    return list(found)[:count]


def parse_arguments(text: str) -> Arguments | None:
    """The arguments in `1, x=[2]`; None if they do not stand by themselves."""
    try:
        node = ast.parse(f"f({text})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    assert isinstance(node, ast.Call)
    positional = [whole(argument) for argument in node.args]
    keyword = [(each.arg, whole(each.value)) for each in node.keywords]
    if None in positional or any(part is None for pair in keyword for part in pair):
        return None
    return Arguments(tuple(filter(None, positional)), tuple((a or "", b or "") for a, b in keyword))


def observed(traces: Iterable[Trace]) -> dict[str, list[Arguments]]:
    """The calls in recorded runs whose arguments are literals, by qualified function name."""
    found: dict[str, list[Arguments]] = {}
    for trace in traces:
        for frame in trace.frames:
            if frame.event != "call" or not frame.locals or "<" in frame.function:
                continue
            values = {name: text for name, text in frame.locals.items() if name not in ("self", "cls")}
            if values and all(_is_literal(text) for text in values.values()):
                arguments = Arguments((), tuple(values.items()))
                known = found.setdefault(frame.function, [])
                if arguments not in known:
                    known.append(arguments)
    return found


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return "...+" not in text


def _add(found: dict[str, None], call: str | None) -> None:
    if call is not None and len(call) <= MOST_CHARACTERS:
        found[call] = None


def _skips_first(function: HarvestedFunction) -> bool:
    return function.kind in ("method", "classmethod", "property")


def _call(function: HarvestedFunction, arguments: Arguments, known: Known, maker: Maker) -> str | None:
    owner = function.owner
    if owner is None:
        return _wrapped(function.node, f"{function.node.name}({arguments})")
    if function.kind in ("classmethod", "staticmethod"):
        return _wrapped(function.node, f"{owner.name}.{function.node.name}({arguments})")
    made = maker.instance(owner, known.makes)
    if made is None:
        return None
    if function.kind == "property":
        return f"{made}.{function.node.name}"
    return _wrapped(function.node, f"{made}.{function.node.name}({arguments})")


def _wrapped(node: ast.FunctionDef | ast.AsyncFunctionDef, call: str) -> str:
    if isinstance(node, ast.AsyncFunctionDef):
        return f"__import__('asyncio').run({call})"
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if _yields(node) and not decorators & {"contextmanager", "coroutine"}:
        return f"[item for _, item in zip(range({ITEMS}), {call})]"
    return call


def _yields(node: ast.AST) -> bool:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef) and _yields(child):
            return True
    return False


def _arguments(
    node: ast.FunctionDef | ast.AsyncFunctionDef, skip_first: bool, known: Sequence[Arguments], maker: Maker
) -> Arguments:
    """Arguments for one call: a mutation of a known call, or made up parameter by parameter."""
    rng = maker.rng
    if known and rng.random() < 0.5:
        base = rng.choice(known)
        return Arguments(
            tuple(maker.mutated(text) for text in base.positional),
            tuple((name, maker.mutated(text)) for name, text in base.keyword),
        )
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    if skip_first:
        positional, defaults = positional[1:], defaults[1:]
    given: list[str] = []
    named_ones: list[tuple[str, str]] = []
    skipped = False
    for index, (parameter, default) in enumerate(zip(positional, defaults, strict=True)):
        if default is not None and rng.random() < 0.6:
            skipped = True
            continue
        text = _value(node, parameter, default, index, known, maker)
        if skipped and parameter not in arguments.posonlyargs:
            named_ones.append((parameter.arg, text))
        elif not skipped:
            given.append(text)
    if arguments.vararg is not None and not skipped:
        shape = annotated(arguments.vararg.annotation) or named(arguments.vararg.arg.rstrip("s")) or ANY
        given += [maker.value(shape) for _ in range(rng.choice((0, 1, 1, 2, 2, 3)))]
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None or rng.random() < 0.4:
            named_ones.append((parameter.arg, _value(node, parameter, default, -1, known, maker)))
    return Arguments(tuple(given), tuple(named_ones))


def _value(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    parameter: ast.arg,
    default: ast.expr | None,
    index: int,
    known: Sequence[Arguments],
    maker: Maker,
) -> str:
    """The text of one argument, from one of the sources of knowledge, the better ones more often."""
    choices: list[tuple[float, Shape]] = []
    if (shape := annotated(parameter.annotation)) is not None and shape.kind != "any":
        choices.append((10, shape))
    if (shape := defaulted(default)) is not None:
        choices.append((5, shape))
    if not choices or choices[0][0] < 10:  # an annotation is believed; the rest are guesses
        hints = used(node, parameter.arg)
        choices += [(6 / len(hints), shape) for shape in hints]
        if (shape := named(parameter.arg)) is not None:
            choices.append((3, shape))
        choices.append((0.4 if choices else 1, ANY))
    seen = [each.positional[index] for each in known if 0 <= index < len(each.positional)]
    seen += [text for each in known for name, text in each.keyword if name == parameter.arg]
    if seen and maker.rng.random() < 0.5:
        return maker.mutated(maker.rng.choice(seen))
    shape = maker.rng.choices([shape for _, shape in choices], [weight for weight, _ in choices])[0]
    return maker.value(shape)
