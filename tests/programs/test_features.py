"""Features of programs: what they use, with the types that the run shows."""

from __future__ import annotations

import ast

import pytest

from opencwm.programs import features
from opencwm.programs.program import Program
from opencwm.trace.recorder import record

SOURCE = """import math

def f(text, items):
    counts = {}
    for c in text.lower():
        counts[c] = counts.get(c, 0) + 1
    items.append(math.floor(2.5))
    try:
        items.index(9)
    except ValueError:
        pass
    finally:
        text += '!'
    return sorted(counts.items(), key=lambda p: -p[1])[::2], items.count(1), text.count('a')
"""


def test_features_of_a_run() -> None:
    found = features.of_run(record(Program(SOURCE, "f('Abca', [1])")))
    for name in (
        "statement For", "statement Try finally", "statement AugAssign", "operator Add=", "expression Lambda",
        "expression Slice step", "operator USub", "builtin sorted", "method str.lower", "method dict.get",
        "method list.append", "method list.index", "method list.count", "method str.count", "method dict.items",
        "module math.floor", "exception ValueError",
    ):  # fmt: skip
        assert found[name] >= 1, name
    assert not [name for name in found if name.startswith("method ?")]


@pytest.mark.parametrize(
    ("text", "type_"),
    [("'a'", "str"), ("b'a'", "bytes"), ("[1]", "list"), ("(1,)", "tuple"), ("{}", "dict"), ("{1: 2}", "dict"),
     ("{1}", "set"), ("set()", "set"), ("-3", "int"), ("2.5", "float"), ("True", "bool"), ("None", "NoneType"),
     ("range(0, 3)", "range"), ("Counter({'a': 1})", None), ("(1+2j)", "complex")],
)  # fmt: skip
def test_types_of_texts(text: str, type_: str | None) -> None:
    assert features.type_of_text(text) == type_


def test_the_universe_is_pythons_own() -> None:
    assert "For" in features.UNIVERSE["statement"] and "NamedExpr" in features.UNIVERSE["expression"]
    assert {"str.join", "dict.popitem", "float.is_integer", "set.add"} <= set(features.UNIVERSE["method"])
    assert "MatchStar" in features.UNIVERSE["pattern"] and "KeyError" in features.UNIVERSE["exception"]
    assert "print" not in features.UNIVERSE["builtin"] and "len" in features.UNIVERSE["builtin"]


def test_bigrams_and_shares() -> None:
    found = features.bigrams(ast.parse("for x in f(y):\n    pass\n"))
    assert found["For>Call"] == found["For>Pass"] == 1
    assert features.share(["a", "b", "c"], {"a": 1, "b": 5}, least=2) == (1, 3, ["a", "c"])
