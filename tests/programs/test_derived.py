"""Derived tasks: every answer is what really happens, and reads back from its tokens."""

from __future__ import annotations

import ast
import itertools
import random
from dataclasses import replace

import pytest

from opencwm.codec import tasks
from opencwm.codec.compact import Encoder, Window
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.programs import counterfactual, derived
from opencwm.programs.program import Program
from opencwm.programs.write import stream
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

LIMITS = Limits(frames=300)
LOOP = Program(
    "def half(n):\n    return n // 2\n\n"
    "def f(xs, n):\n    total = 0\n    for x in xs:\n        total += half(x)\n        if total > n:\n            break\n"
    "    return total",
    "f([4, 6, 8], 10)",
)


def point(trace: Trace, line: int, turn: int = 0) -> int:
    """How many frames have happened when a line is about to run for the (turn + 1)-th time."""
    return [i for i, frame in enumerate(trace.frames) if frame.event == "line" and frame.line == line][turn] + 1


def changed(program: Program, before: Trace, at: int, name: str, text: str, *, steps: bool = False) -> Trace | None:
    change = counterfactual.Change(at, name, text)
    return counterfactual.shown(before, counterfactual.rerun(program, change, limits=LIMITS, steps=steps), change)


def asked(kind: str, at: int = 0, line: int | None = None) -> tasks.Answer:
    encoder = Encoder(record(LOOP))
    questions = {
        "step over": tasks.step_over, "step out": tasks.step_out, "continue": tasks.finish, "count": tasks.count,
        "before": tasks.before, "output": tasks.finish,
    }  # fmt: skip
    window = tasks.run_to(encoder, at, line) if line is not None else questions[kind](encoder, at)
    answer = tasks.read(window.ids)
    assert answer.kind == kind
    return answer


def test_a_step_over_passes_the_call_and_a_step_out_leaves_the_function() -> None:
    trace = record(LOOP)
    over = asked("step over", point(trace, 7))
    assert over.stack[-1].locals == {"xs": "[4, 6, 8]", "n": "10", "total": "0", "x": "4"}
    (frame,) = over.frames
    assert (frame.event, frame.line, frame.locals["total"]) == ("line", 8, "2")
    (frame,) = asked("step out", point(trace, 2)).frames
    assert (frame.event, frame.value, frame.function) == ("return", "2", "half")
    (frame,) = asked("step out", point(trace, 7)).frames
    assert (frame.event, frame.value, frame.line) == ("return", "9", 10)


def test_a_run_to_a_line_gives_the_whole_call_stack_or_how_the_run_ends() -> None:
    trace = record(LOOP)
    answer = asked("run to", point(trace, 6), line=2)
    assert [a.function for a in answer.reached] == ["main", "f", "half"]
    assert answer.reached[-1].locals == {"n": "4"} and answer.reached[1].line == 7
    answer = asked("run to", point(trace, 6), line=9)
    assert answer.reached == [] and answer.outcome is not None
    assert (answer.outcome.kind, answer.value) == ("return", "9")


def test_endings_and_counts() -> None:
    trace = record(LOOP)
    at = point(trace, 8, 1)
    for kind, answer in (("continue", asked("continue", at)), ("output", asked("output"))):
        assert answer.outcome is not None and (answer.outcome.kind, answer.value) == ("return", "9"), kind
    assert asked("count", at).count == len(trace.frames) - at


def test_the_state_before_is_the_line_before_with_its_values() -> None:
    trace = record(LOOP)
    at = point(trace, 10)
    answer = asked("before", at)
    assert answer.earlier_line == trace.frames[at - 2].line == 6
    assert answer.locals == trace.frames[at - 2].locals


def test_a_question_beyond_a_cut_has_no_answer() -> None:
    cut = record(LOOP, limits=Limits(frames=8))
    encoder = Encoder(cut)
    for ask in (tasks.finish, tasks.count, tasks.step_out):
        with pytest.raises(tasks.Unanswerable):
            ask(encoder, 3)


@pytest.mark.parametrize(
    ("source", "never"),
    [
        ("def f(n):\n    while n != 3:\n        n = (n + 1) % 2\n    return n", True),
        ("def f(n):\n    while n != 3:\n        n = n + 2\n    return n", False),  # it may well end some day
        (
            "def f(n):\n    for x in iter(int, 1):\n        n = 0\n    return n",
            False,
        ),  # the iterator is not in the state
    ],
)
def test_only_what_repeats_itself_never_ends(source: str, never: bool) -> None:
    trace = record(Program(source, "f(0)"), limits=Limits(frames=60))
    assert tasks.endless(trace) == never
    if never:
        assert tasks.read(tasks.finish(Encoder(trace), 3).ids).outcome is None
        assert tasks.read(tasks.count(Encoder(trace), 3).ids).count is None


def test_arguments_come_from_a_source_without_the_call() -> None:
    trace = record(LOOP)
    call = next(i for i, frame in enumerate(trace.frames) if frame.function == "f")
    answer = tasks.read(tasks.arguments(trace, call, LOOP.source + "\n").ids)
    assert "main" not in answer.trace.context and answer.returned == "9"
    assert answer.locals == {"xs": "[4, 6, 8]", "n": "10"}
    arguments = ", ".join(answer.locals.values())
    again = record(Program(LOOP.source, f"f({arguments})"))
    assert again.result == answer.returned


def test_a_counterfactual_is_the_run_with_the_variable_set_by_hand() -> None:
    trace = record(LOOP)
    at = point(trace, 8, 1)
    after = changed(LOOP, trace, at, "total", "99")
    assert after is not None and after.frames[: at - 1] == trace.frames[: at - 1]
    assert after.frames[at - 1].locals["total"] == "99" and after.frames[at].line == 9 and after.result == "99"
    window = tasks.change(Encoder(trace), Encoder(after), at, "total", "99", 512)
    answer = tasks.read(window.ids)
    assert answer.changed == ("total", "99")
    assert answer.stack[-1].locals["total"] == trace.frames[at - 1].locals["total"]
    assert tuple(replace(frame, steps=()) for frame in answer.frames) == after.frames[at:]


def test_a_change_reaches_closures_and_generators() -> None:
    source = "def f(n):\n    k = 1\n    def add(x):\n        return x + k\n    y = add(n)\n    return y\n"
    program = Program(source, "f(5)")
    trace = record(program)
    after = changed(program, trace, point(trace, 5), "k", "10")
    assert after is not None and after.result == "15"
    source = "def g(n):\n    while n:\n        yield n\n        n -= 1\n\ndef f(m):\n    return list(g(m))\n"
    program = Program(source, "f(3)")
    trace = record(program)
    after = changed(program, trace, point(trace, 4, 1), "n", "1")
    assert after is not None and after.result == "[3, 2]"


def test_what_cannot_be_changed_is_said() -> None:
    program = Program("class A:\n    x = 1\n\ndef f(n):\n    return n", "f(2)")
    trace = record(program)
    with pytest.raises(RecordError, match="missing cannot be changed"):
        changed(program, trace, point(trace, 5), "missing", "1")
    other = record(Program(program.source, "f(3)"))
    assert changed(program, other, point(trace, 5), "n", "1") is None


def windows(count: int) -> list[tuple[str, Program, Trace, Window]]:
    """Tasks of written programs, of all kinds."""
    found = []
    for index, program in itertools.islice(stream(0, namespace="tasks"), count):
        trace = record(program, limits=LIMITS, steps=True)
        encoder = Encoder(trace)
        for kind in derived.KINDS:
            window = derived.derive(
                kind, program, encoder, random.Random(index), max_tokens=512, limits=LIMITS, steps=True
            )
            if window is not None:
                found.append((kind, program, trace, window))
    return found


def test_tasks_of_written_programs_are_true() -> None:
    kinds = set()
    for kind, program, trace, window in windows(150):
        kinds.add(kind)
        answer = tasks.read(window.ids)
        assert answer.kind == kind and len(window.ids) == len(window.weights) <= 512
        at = window.start
        if kind in ("step over", "step out"):
            depth = len(answer.stack) - 1
            later = [f for f in trace.frames[at:] if f.depth <= depth and (kind == "step over" or f.event != "line")]
            if kind == "step out":
                later = [f for f in later if f.event == "return" or f == answer.frames[0] or f.depth < depth]
            assert replace(later[0], steps=()) == answer.frames[0]
        elif kind in ("continue", "output"):
            assert answer.value == trace.result
        elif kind == "count" and answer.count is not None:
            assert answer.count == len(trace.frames) - at
        elif kind == "run to" and answer.reached:
            reached = next(f for f in trace.frames[at:] if f.event == "line" and f.line == answer.line)
            assert answer.reached[-1].locals == reached.locals and len(answer.reached) == reached.depth + 1
        elif kind == "before":
            assert answer.locals == trace.frames[at - 2].locals
        elif kind == "change":
            assert answer.changed is not None
            after = changed(program, trace, at, *answer.changed, steps=True)
            assert after is not None and list(after.frames[at : at + len(answer.frames)]) == answer.frames
        elif kind == "arguments" and trace.outcome.kind == "return":
            for text in answer.locals.values():
                ast.literal_eval(text)
    assert kinds == set(derived.KINDS)


def test_weights_are_on_the_answer_alone() -> None:
    for _, _, _, window in windows(30):
        first = window.weights.index(1.0)
        assert set(window.weights[:first]) == {0.0} and set(window.weights[first:]) == {1.0}
        assert any(VOCABULARY.is_task(token) for token in window.ids[:first])


def test_broken_answers_are_refused() -> None:
    rng = random.Random(1)
    refused = 0
    for _, _, _, window in windows(40):
        ids = list(window.ids)
        place = rng.randrange(len(ids))
        ids[place] = rng.randrange(VOCABULARY.size)
        try:
            tasks.read(ids)
        except CodecError:
            refused += 1
    assert refused > 20
