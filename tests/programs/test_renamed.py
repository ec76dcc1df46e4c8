"""Renamed programs do what they did: the same frames under other names."""

from __future__ import annotations

from itertools import islice

import pytest

from opencwm.programs.program import Program
from opencwm.programs.renamed import renamed
from opencwm.programs.write import stream
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record


def test_written_programs_run_as_before() -> None:
    changed = 0
    for _, program in islice(stream(5, namespace="held-out"), 150):
        other = renamed(program)
        changed += other.source != program.source
        before, after = (record(each, limits=Limits(frames=300)) for each in (program, other))
        assert (before.outcome.kind, len(before.frames)) == (after.outcome.kind, len(after.frames)), program.source
        for one, two in zip(before.frames, after.frames, strict=True):
            assert (one.event, one.line, one.depth) == (two.event, two.line, two.depth)
            # PEP 667 and cells may order locals by name: compare what they hold.
            assert sorted(one.locals.values()) == sorted(two.locals.values())
            if one.event == "return":
                assert one.value == two.value
    assert changed > 130


def test_the_same_seed_gives_the_same_names() -> None:
    program = Program("def f(text):\n    out = text.text\n    return out", "f('a')")
    assert renamed(program) == renamed(program)
    assert renamed(program, 1) != renamed(program)
    assert ".text" in renamed(program).source
    assert "def f(" in renamed(program).source


@pytest.mark.parametrize(
    "source",
    [
        "def g(key):\n    return key\ndef f(a):\n    return g(key=1)",
        "def f(a):\n    b = 1\n    return f'{b}'",
        "def f(b):\n    return eval('b')",
        "b = 1\ndef f(a):\n    global b\n    b = 2",
    ],
)
def test_names_that_something_else_knows_stay(source: str) -> None:
    name = "key" if "key" in source else "b"
    assert f"{name}" in renamed(Program(source, "f(1)")).source.replace("def", "").split("\n", 1)[-1]


def test_what_cannot_be_read_is_left_alone() -> None:
    program = Program("def f(:", "f()")
    assert renamed(program) is program
