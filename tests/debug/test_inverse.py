"""Inputs that reach a line or give a value: found by trying, each verified, questions without sense refused."""

from collections.abc import Sequence

import pytest

from opencwm.debug.inverse import Found, inputs_reaching
from opencwm.debug.session import SessionError
from opencwm.debug.sources import Sources
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Run, Runnable

SOURCE = """def f(words, limit):
    total = 0
    for word in words:
        if len(word) > limit and word.startswith('x'):
            return word
        total += len(word)
    if total > 3:
        return 'long'
    return total

def g(n):
    if n * 7 == 343:
        return 'found'
    return n

def never(x):
    if x != x + 0:
        return 1
    return 0
"""


def asked(function: str, **question: object) -> Found:
    try:
        return inputs_reaching(SOURCE, function, **question)  # type: ignore[arg-type]
    except SessionError as error:
        if "cannot be verified" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("line", [pytest.param(5, marks=pytest.mark.slow), 8, 9])
def test_inputs_that_reach_a_line_really_do(line: int) -> None:
    found = asked("f", line=line, tries=400 if line == 5 else 80)
    assert found.verified and found.tried > 0
    for one in found.verified:
        trace = record(Program.parse(SOURCE, one.call))
        assert trace.frames[one.frame].line == line and trace.result == one.value


def test_inputs_that_give_a_value_really_do() -> None:
    for value in ("0", "TypeError"):
        found = asked("f", value=value, tries=80)
        assert found.verified
        for one in found.verified:
            assert (record(Program.parse(SOURCE, one.call)).result or "").partition("(")[0] == value


@pytest.mark.slow
def test_a_value_is_approached_by_changing_what_came_nearest() -> None:
    found = asked("g", value="48", tries=400)
    assert [one for one in found.verified if record(Program.parse(SOURCE, one.call)).result == "48"] == list(
        found.verified
    )


def test_none_found_proves_nothing_and_says_so() -> None:
    found = asked("never", value="'no such value'", tries=20)
    assert found.verified == () and "does not prove" in found.note


def test_what_the_model_draws_is_tried_too() -> None:
    class Knows:
        name = "knows"

        def run(
            self, program: Runnable, *, prefix: Sequence[Frame] = (), temperature: float = 0.0, seed: int = 0
        ) -> Run:
            frame = Frame("call", 10, "g", 0, {"n": "49"})
            return RecordedRun(Trace(program.context, 10, (frame,), Outcome("return"), "3.11"))

    found = asked("g", line=13, tries=8, sources=Sources(Knows))
    assert "g(n=49)" in [one.call for one in found.verified]


@pytest.mark.parametrize(
    ("function", "question", "reason"),
    [
        ("h", {"line": 2}, "no function 'h'"),
        ("f", {}, "one of the two"),
        ("f", {"line": 2, "value": "1"}, "one of the two"),
        ("f", {"line": 99}, "not in the source"),
    ],
)
def test_questions_without_sense(function: str, question: dict[str, object], reason: str) -> None:
    with pytest.raises(SessionError, match=reason):
        asked(function, **question)
    with pytest.raises(SessionError, match="fix the syntax"):
        inputs_reaching("def f(:", "f", line=1)
