"""Sub-expression values: hidden operations are reported in order, and nothing else about a run changes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record

pytestmark = pytest.mark.usefixtures("core")


def steps_of(body: str) -> list[list[str]]:
    source = "def main():\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    trace = record(Program(source, function="main"), steps=True)
    return [[step.value for step in frame.steps] for frame in trace.frames if frame.steps]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = 1 + 2", []),
        ("x = len('abc') + 2", [["3"]]),
        ("return ' a b '.strip().split(' ')[0]", [["'a b'", "['a', 'b']"]]),
        ("x = [1]\nx.append(x[0] + 1)", [["1", "2"]]),
        ("for c in 'a,b'.split(','):\n    pass", [["['a', 'b']"]]),
        ("for i in range(2):\n    pass", []),
        ("if len('ab') > 1:\n    return 1", [["2"]]),
        ("s = 'ab'\nreturn f'{s.upper()}!'", [["'AB'"]]),
        ("d = {}\nd['k'] = 1 + 1", [["2"]]),
        ("return (lambda v: v * 2)(3) + 1", [["6", "6"]]),
    ],
)
def test_hidden_operations_are_reported(body: str, expected: list[list[str]]) -> None:
    flat = [value for values in steps_of(body) for value in values]
    assert flat == [value for values in expected for value in values]


def test_what_did_not_run_is_not_reported() -> None:
    assert steps_of("x = 0\nreturn x != 0 and len('abc') + 1 > 2") == [["False"]]


def without_steps(trace: Trace) -> Trace:
    return replace(trace, frames=tuple(replace(frame, steps=()) for frame in trace.frames))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64))
def test_a_run_with_steps_is_the_run_without(seed: int) -> None:
    program = write(random.Random(seed))
    assert without_steps(record(program, steps=True)) == record(program)


def test_multi_line_statements_report_the_same_lines() -> None:
    source = "def g(*a):\n    return sum(a)\n\ndef main():\n    x = g(\n        1 + 2,\n        g(3,\n          4 * 5),\n    )\n"
    program = Program(source + "    return [\n        x + 1,\n        abs(-x)]\n", function="main")
    assert without_steps(record(program, steps=True)) == record(program)
