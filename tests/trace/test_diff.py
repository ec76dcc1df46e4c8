"""Two runs aligned: the first state that parts, and the chain of lines that led there."""

import random

import pytest

from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.diff import diff
from opencwm.trace.recorder import record

OLD = """def price(items, rate):
    total = 0
    for name, cost in items:
        total += cost
    return total * (1 + rate)

def receipt(items):
    lines = []
    for name, cost in items:
        lines.append(f"{name}: {cost}")
    net = price(items, 0.2)
    lines.append(f"total: {net:.2f}")
    return lines
"""
CALL = 'receipt([("tea", 2), ("bun", 3)])'


def compare(change, call=CALL, old=OLD):
    one, other = record(Program(old, call)), record(Program(change(old), call))
    return other, diff(one, other)


def replacing(what, by):
    def change(source):
        assert what in source
        return source.replace(what, by, 1)

    return change


def chain(trace, found):
    return [(trace.source_line(link.line).strip(), link.edited) for link in found.chain]


def test_equal_runs_do_not_part():
    _, found = compare(lambda source: source)
    assert found.parting is None and found.chain == ()
    assert all(i == j for i, j in found.pairs)


def test_an_edit_that_changes_nothing_does_not_part():
    for change in (
        replacing("    total = 0\n", "    # from nothing\n    total = 0\n"),
        replacing("total += cost", "total = total + cost"),
        replacing("    lines = []\n", "    lines = []\n    spare = 1\n"),
    ):
        trace, found = compare(change)
        assert found.parting is None, chain(trace, found)


def test_a_value_that_an_inserted_line_changes():
    trace, found = compare(replacing("total = 0\n", "total = 0\n    rate = min(rate, 0.1)\n"))
    assert found.parting.kind == "state"
    (change,) = found.parting.changes
    assert (change.name, change.old, change.new) == ("rate", "0.2", "0.1")
    assert chain(trace, found) == [("rate = min(rate, 0.1)", True)]


def test_an_argument_that_an_edited_call_changes():
    trace, found = compare(replacing("price(items, 0.2)", "price(items[1:], 0.2)"))
    assert trace.frames[found.parting.new].event == "call"
    assert chain(trace, found) == [("net = price(items[1:], 0.2)", True)]


def test_a_returned_value():
    trace, found = compare(replacing("(1 + rate)", "(1 - rate)"))
    assert found.parting.kind == "value"
    assert chain(trace, found) == [("return total * (1 - rate)", True)]


def test_a_branch_not_taken_is_the_cause_of_a_value_that_was_not_written():
    trace, found = compare(replacing("        total += cost", "        if cost > 2:\n            total += cost"))
    assert [change.name for change in found.parting.changes] == ["total"]
    assert chain(trace, found)[-1] == ("if cost > 2:", True)


def test_a_chain_through_several_lines_and_a_call():
    old = "def g(x):\n    y = x + 1\n    return y\n\ndef f(n):\n    a = 1\n    b = g(a)\n    c = b * n\n    if c > 4:\n        return 'big'\n    return 'small'\n"
    trace, found = compare(replacing("a = 1", "a = 2"), "f(2)", old)
    assert found.parting.changes[0].name == "a"
    assert chain(trace, found) == [("a = 2", True)]
    # The default is nobody's local: the first state that parts is what it made of c, and the way follows from that.
    old = "LIMIT = [4]\n\ndef f(n):\n    c = n * 2\n    if c > LIMIT[0]:\n        return 'big'\n    return 'small'\n"
    trace, found = compare(replacing("[4]", "[9]"), "f(3)", old)
    assert found.parting.kind == "way"
    assert chain(trace, found) == [("if c > LIMIT[0]:", False)]


def test_an_edited_condition_that_decides_alike_does_not_part():
    old = "def f(n):\n    if n > 3:\n        r = 1\n    else:\n        r = 2\n    return r\n"
    trace, found = compare(replacing("else:", "elif n < 9:"), "f(2)", old)
    assert found.parting is None, chain(trace, found)
    trace, found = compare(replacing("else:", "elif n < 1:"), "f(2)", old)
    assert found.parting.kind == "way" and chain(trace, found) == [("elif n < 1:", True)]


def test_one_run_ends_early():
    trace, found = compare(replacing("    net = ", "    raise ValueError(len(lines))\n    net = "))
    assert found.parting is not None
    assert trace.outcome.kind == "exception"


@pytest.mark.parametrize("seed", range(30))
def test_pairs_hold_every_frame_in_order(seed):
    rng = random.Random(seed)
    program = write(rng)
    lines = program.source.split("\n")
    at = rng.randrange(1, len(lines))
    indent = len(lines[at]) - len(lines[at].lstrip())
    edited = Program("\n".join([*lines[:at], " " * indent + "pass", *lines[at:]]), program.call)
    try:
        one, other = record(program), record(edited)
    except ValueError:
        return  # the line stands where none can
    found = diff(one, other)
    for side, trace in ((0, one), (1, other)):
        assert [pair[side] for pair in found.pairs if pair[side] is not None] == list(range(len(trace.frames)))
    assert found.parting is None or found.parting.kind != "end"
