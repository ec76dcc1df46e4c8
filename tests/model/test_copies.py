"""What can only be a copy is the only legal value; where it might be something else, nothing is forced."""

import random

import pytest

from opencwm.codec import compact
from opencwm.codec.compact_reader import Reader
from opencwm.codec.tokenizer import VALUE_TOKENS, VOCABULARY, decode_value
from opencwm.model.compact_constraint import Constraint
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

LIMITS = Limits(frames=200, value_bytes=400)


def copied(program: Program, *, copies: bool = True) -> list[str]:
    """The values of the real run that no other could have been written for, in order; all tokens must be legal."""
    trace = record(program, limits=LIMITS)
    if trace.outcome.kind == "truncated":
        return []
    ids = compact.encode(trace).ids
    constraint = Constraint(Reader.from_prompt(ids), copies=copies)
    found: list[str] = []
    value: list[int] = []
    sure = False
    for token in ids[constraint.reader.offset :]:
        allowed = constraint.allowed()
        assert token in allowed, VOCABULARY.show(ids)
        state = constraint.reader.state
        begins = token in VALUE_TOKENS and (state == "result" or (state == "value" and not constraint.reader.value))
        ends = token not in VALUE_TOKENS or begins
        if value and ends:
            found += [decode_value(value)] if sure else []
            value = []
        if token in VALUE_TOKENS and state in ("value", "result"):
            sure = len(allowed) == 1 and (sure or begins)
            value.append(token)
        constraint.push(token)
    return found + ([decode_value(value)] if value and sure else [])


def of(source: str, call: str) -> list[str]:
    return copied(Program.parse(source, call))


def test_arguments_assignments_and_results() -> None:
    source = "def f(text, n=2, *, flag=True):\n    a = text\n    b, c = a, -1.5\n    return a\n"
    expected = ["'it\\'s'", "2", "True", "'it\\'s'", "'it\\'s'", "-1.5", "'it\\'s'", "'it\\'s'"]
    assert of(source, """f("it's")""") == [one.replace("'it\\'s'", '"it\'s"') for one in expected]


def test_names_are_copied_where_nothing_can_change_them() -> None:
    source = "def g(x):\n    return 1\n\ndef f(a):\n    b = g(a)\n    return b\n"
    assert of(source, "f([1, 2])") == ["[1, 2]", "[1, 2]", "1", "1", "1"]
    source = "def g(x, y):\n    return 1\n\ndef f(a):\n    b = g(a.pop(), a)\n    return b\n"
    assert of(source, "f([1, 2])") == ["[1, 2]", "1", "1", "1"]  # not `y`: by then `a` has one item less


def test_a_function_that_ends_returns_none() -> None:
    assert of("def f(a):\n    for x in a:\n        a = x\n", "f('ab')") == ["'ab'", "'a'", "'b'", "None", "None"]


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("def f(a):\n    try:\n        return a\n    finally:\n        a = [2]\n", "f([1])"),
        ("def g(a):\n    yield a\n    return 3\n\ndef f(a):\n    return list(g(a))\n", "f([1])"),
        ("import functools\n\ndef f(a, b=0):\n    return b\n\ng = f\n\nf = functools.partial(g, 1)\n", "f(2)"),
        ("def f(a, *rest, **more):\n    return rest, more\n", "f(1, 2, 3, k=4)"),
        ("def f(a):\n    global z\n    z = a\n    return z\n", "f([1])"),
        ("def f(n):\n    x = 0\n    def g():\n        nonlocal x\n        x = n\n    g()\n    return x\n", "f(3)"),
        ("def f(a):\n    return sorted(a, key=lambda x: -x)\n", "f([1, 3, 2])"),
        (
            "def f(a):\n    try:\n        b = a[3]\n    except IndexError as e:\n        b = 'none'\n    return b\n",
            "f([1])",
        ),
        ("def f(n):\n    return n if n < 2 else f(n - 1)\n", "f(4)"),
        ("def f(a): return a\n", "f({'b', 'a', 'c'})"),
        ("def f(a):\n    b = (a, -1, {})\n    b = {}\n    return\n", "f('x' 'y')"),
        ("from contextlib import suppress\n\ndef f(a):\n    with suppress(KeyError):\n        return a\n", "f(1)"),
        ("def f(a):\n    return a\n", f"f({'x' * 600!r})"),
    ],
)
def test_the_truth_is_never_forbidden(source: str, call: str) -> None:
    of(source, call)


def test_programs_of_the_writer_and_a_model_alone() -> None:
    total = 0
    for seed in range(60):
        program = write(random.Random(seed))
        total += len(copied(program))
        assert len(copied(program, copies=False)) <= len(copied(program))
    assert total > 200


@pytest.mark.slow
def test_many_programs_of_the_writer() -> None:
    for seed in range(20_000):
        copied(write(random.Random(f"copies {seed}")))
