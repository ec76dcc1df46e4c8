"""Drills of copying: calls whose arguments are long, repetitive or like each other, and bodies that hand them on.

The first frame of every run repeats the literals of its call, and most later values are pieces of earlier ones. A small
model errs there on what an ordinary program seldom has: one character thirty times, two texts of which one begins the
other, a dict with alike keys, a character that it has hardly seen. Notable choice: bodies are short and their parts are
slices, joins, loops over items, ranges that run down; what is hard is the operand, not the program.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import TypeVar

from opencwm.programs.write import names, values

_SCRIPTS = ((0xA1, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0x3041, 0x3090))
_MARKS = string.punctuation + string.digits + " "


def copying(rng: random.Random) -> tuple[str, str]:
    """Source and call of a function of one to three hard arguments."""
    first = _value(rng)
    given = [first]
    for _ in range(rng.choices((0, 1, 2), (40, 45, 15))[0]):
        given.append(_like(rng, rng.choice(given)) if rng.random() < 0.6 else _value(rng))
    rng.shuffle(given)
    used: set[str] = set()
    parameters: list[str] = []
    for value in given:
        parameters.append(names.identifier(rng, _role(value), used))
        used.add(parameters[-1])
    lines: list[str] = []
    subject = parameters[given.index(first)]
    if rng.random() < 0.25:
        lines.append(f"return {', '.join(rng.sample(parameters, len(parameters)))}")
    else:
        result = names.identifier(rng, _role(first), used)
        body = rng.choice(_TEXT_BODIES if isinstance(first, str) else _BODIES[type(first)])
        other = next((p for p, v in zip(parameters, given, strict=True) if p != subject and type(v) is type(first)), "")
        lines += body(rng, subject, other or subject, result, first)
    name = names.function_name(rng, used)
    source = "\n    ".join((f"def {name}({', '.join(parameters)}):", *lines))
    return source, f"{name}({', '.join(map(repr, given))})"


def _value(rng: random.Random) -> object:
    choice = rng.random()
    if choice < 0.55:
        return _text(rng)
    if choice < 0.8:
        return _list(rng)
    return _dict(rng) if choice < 0.92 else _integer(rng)


def _integer(rng: random.Random) -> int:
    return rng.randint(0, 9) if rng.random() < 0.4 else rng.randint(-(10**6), 10 ** rng.randint(2, 9))


def _text(rng: random.Random) -> str:
    choice = rng.random()
    if choice < 0.2:  # one character, many times, alone or within something
        run = rng.choice(string.ascii_letters + _MARKS + " " * 20) * rng.randint(3, 24)
        start, end = (values.word(rng) if rng.random() < 0.4 else "" for _ in range(2))
        return start + run + end
    if choice < 0.35:
        alphabet = rng.choices(string.ascii_letters + _MARKS, k=rng.randint(2, 4))
        return "".join(rng.choices(alphabet, k=rng.randint(6, 24)))
    if choice < 0.55:
        return "".join(rng.choices(string.ascii_letters * 2 + _MARKS, k=rng.randint(10, 40)))
    if choice < 0.8:
        separator = rng.choice((" ", " ", " ", "  ", ", ", "-", "\n", "_", "."))
        text = separator.join(values.word(rng) for _ in range(rng.randint(3, 7)))
        return text if rng.random() < 0.7 else text.title() + rng.choice(("", ".", "!", "  "))
    if choice < 0.9:
        first, last = rng.choice(_SCRIPTS)
        foreign = [chr(rng.randint(first, last)) for _ in range(rng.randint(1, 4))]
        parts = [*rng.choices(string.ascii_letters + " ", k=rng.randint(0, 12)), *foreign]
        rng.shuffle(parts)
        return "".join(part for part in parts if part.isprintable())
    return "".join(rng.choices(string.digits, k=rng.randint(1, 14)))


def _list(rng: random.Random) -> list[object]:
    size = rng.randint(0, 10)
    choice = rng.random()
    if choice < 0.35:
        few = [rng.randint(-2, 9) for _ in range(rng.randint(1, 3))]
        return [rng.choice(few) for _ in range(size)]
    if choice < 0.55:
        return [rng.randint(-99, 999) for _ in range(size)]
    if choice < 0.75:
        few_words = [values.word(rng) for _ in range(rng.randint(1, 4))]
        return [rng.choice(few_words) if rng.random() < 0.8 else _like(rng, few_words[0]) for _ in range(size)]
    if choice < 0.85:
        return [rng.choice((" ", "", ".")) * rng.randint(0, 5) for _ in range(min(size, 6))]
    if choice < 0.95:
        return [[rng.randint(0, 9) for _ in range(rng.randint(0, 3))] for _ in range(min(size, 5))]
    return [rng.choice((True, False, None, 0, 1, "", 2.5)) for _ in range(size)]


def _dict(rng: random.Random) -> dict[object, object]:
    stem = values.word(rng)
    draws: tuple[Callable[[], object], ...] = (
        lambda: stem[: rng.randint(1, len(stem))] + rng.choice(("", "", "s", "1")),
        lambda: rng.choice(string.ascii_lowercase),
        lambda: rng.randint(0, 20),
        lambda: rng.choice((1, "1", 2, "2", "a", "A")),
    )
    draw = rng.choice(draws)
    worths: tuple[Callable[[], object], ...] = (
        lambda: rng.randint(0, 99),
        lambda: rng.randint(0, 99999),
        lambda: values.word(rng),
    )
    worth = rng.choice(worths)
    return {draw(): worth() for _ in range(rng.randint(0, 5))}


def _like(rng: random.Random, value: object) -> object:
    """A value of the same type that is easily mistaken for the first: a part, a longer one, one that differs once."""
    if isinstance(value, int):
        return value + rng.choice((-10, -1, 0, 1, 10))
    if isinstance(value, dict):
        items = list(value.items())
        kept = dict(rng.sample(items, rng.randint(0, len(items))))
        return kept if rng.random() < 0.5 or not items else kept | {rng.choice(items)[0]: rng.choice(items)[1]}
    if isinstance(value, str):
        return value.swapcase() if rng.random() < 0.1 else _piece(rng, value)
    assert isinstance(value, list)
    return _piece(rng, value)


_Sequence = TypeVar("_Sequence", str, list[object])


def _piece(rng: random.Random, value: _Sequence) -> _Sequence:
    start, end = sorted((rng.randint(0, len(value)), rng.randint(0, len(value))))
    choice = rng.random()
    if choice < 0.25:
        return value[:end]
    if choice < 0.4:
        return value[start:]
    if choice < 0.5:
        return value[start:end]
    if choice < 0.6:
        return value
    if choice < 0.8:
        return value + value[start : start + 2]
    return value[:start] + value[start + 1 :]


def _role(value: object) -> str:
    if isinstance(value, list):
        return "strs" if value and isinstance(value[0], str) else "ints"
    if isinstance(value, str):
        return "str"
    return "counts" if isinstance(value, dict) else "int"


Body = Callable[[random.Random, str, str, str, object], list[str]]


def _expression(*options: str) -> Body:
    """A body that computes one of the options, of a subject `a`, another `b`, small numbers `n` and `m`, letter `c`."""

    def body(rng: random.Random, subject: str, other: str, result: str, value: object) -> list[str]:
        size = len(value) if isinstance(value, str | list) else 3
        letter = rng.choice(value) if isinstance(value, str) and value and rng.random() < 0.7 else rng.choice(" ,.ab-")
        text = rng.choice(options).format(
            a=subject, b=other, n=rng.randint(-2, size), m=rng.randint(1, max(2, size)), c=repr(letter), r=result
        )
        if rng.random() < 0.3:
            return [f"return {text}"]
        return [
            f"{result} = {text}",
            f"return {rng.choice((result, result, f'{result}, {subject}', f'len({result})'))}",
        ]

    return body


def _loop(*headers: str) -> Body:
    """A body that goes through the items and gathers them; a long operand is cut first."""

    def body(rng: random.Random, subject: str, other: str, result: str, value: object) -> list[str]:
        header = rng.choice(headers).format(a=subject, n=rng.randint(0, 3), m=rng.randint(2, 6))
        gather, start = rng.choice(
            (("{r}.append(x)", "[]"), ("{r} += x", "''"), ("{r} = x + {r}", "''"), ("{r}.insert(0, x)", "[]"))
            if isinstance(value, str) and "range" not in header
            else (("{r}.append(x)", "[]"), ("{r}.insert(0, x)", "[]"), ("{r} += [x, x]", "[]"))
        )
        lines = [f"{result} = {start}"]
        if isinstance(value, str | list | dict) and len(value) > 7:
            lines.insert(0, f"{subject} = {subject}[-{rng.randint(2, 7)}:]")
        return [*lines, header, "    " + gather.format(r=result), f"return {result}"]

    return body


_SEQUENCE = (
    "{a}[{n}:]", "{a}[:{n}]", "{a}[::-1]", "{a}[{n}:{m}]", "{a}[::2]", "{a} + {b}", "{a} == {b}", "{a} * 2",
    "len({a})", "len({a}) - len({b})", "list(range(len({a}) - 1, -1, -1))", "list(range({n}, {m}))",
    "list(range({m}, {n}, -1))", "list(enumerate({a}))[:3]", "list(zip({a}, {b}))[:3]",
)  # fmt: skip
_TEXT = (
    *_SEQUENCE, "list({a})", "{a}.split({c})", "{a}.split()", "{a}.replace({c}, '')", "{a}.replace({c}, {b}[:2])",
    "{a}.count({c})", "{a}.find({c})", "{a}.rfind({c})", "{a}.index({b})", "{b} in {a}", "{a}.startswith({b})",
    "{a}.endswith({b})", "{a}.strip({c})", "{a}.strip()", "{a}.upper()", "{a}.swapcase()", "{a}.title()",
    "{a}.partition({c})", "{a}.rpartition({c})", "{c}.join({a})", "{a}.removeprefix({b})", "{a}.isdigit()",
    "' ' + {a} + ' '", "{a}.rsplit({c}, 1)", "{a}.zfill({m} + 3)", "{a}.ljust({m} + 2, {c})", "{a}.splitlines()",
    "sorted({a})", "''.join(reversed({a}))", "list(map(int, {a}))", "set({a}) == set({b})",
)  # fmt: skip
_LIST = (
    *_SEQUENCE, "{a}[:]", "list({a})", "{a}.count({a}[0])", "{a}.index({a}[-1])", "{a}.pop({n})",
    "sorted({a}, key=str)", "list(map(str, {a}))", "{b} in {a}", "[{a}, {b}]", "{a}[0], {a}[-1]",
    "list(reversed({a}))",
)  # fmt: skip
_DICT = (
    "list({a})", "list({a}.items())", "list({a}.values())", "dict({a})", "{{**{a}, **{b}}}", "{a} == {b}",
    "{a} | {b}", "{a}.get({c}, {n})", "len({a})", "{{v: k for k, v in {a}.items()}}", "{a}.popitem()", "{c} in {a}",
)  # fmt: skip
_INT = (
    "{a} + {b}", "str({a})", "list(str({a}))", "{a} - {b}", "[int(d) for d in str(abs({a}))]", "{a} // 10",
    "{a} % 100", "{a} * {m}", "{a} == {b}", "-{a}", "[{a}] * {m}", "list(range({m}))", "str({a})[::-1]", "f'{{{a}}}'",
)  # fmt: skip
_TEXT_BODIES = (_expression(*_TEXT),) * 3 + (
    _loop("for x in {a}:", "for x in {a}[::-1]:", "for x in range(len({a})):"),
)
_BODIES: dict[type, tuple[Body, ...]] = {
    list: (*(_expression(*_LIST),) * 3, _loop("for x in {a}:", "for x in range(len({a}) - 1, -1, -1):")),
    dict: (*(_expression(*_DICT),) * 3, _loop("for x in list({a}):", "for x in list({a}.values()):")),
    int: (*(_expression(*_INT),) * 3, _loop("for x in range({m}):", "for x in range({n}, {m} * 2, 2):")),
}
