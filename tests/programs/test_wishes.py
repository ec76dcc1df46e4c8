"""Wishes made from programs: their examples are true, and lessons hold both forms."""

from __future__ import annotations

import random
from itertools import islice

from opencwm.codec import writing
from opencwm.programs import wishes, write
from opencwm.programs.mix import Mix, MixConfig, Shares, TaskShares
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

LIMITS = Limits(frames=200)


def test_examples_are_what_the_program_returns() -> None:
    checked = 0
    for index, program in islice(write.stream(3, namespace="train"), 60):
        found = wishes.examples(program, random.Random(index), 4, lambda other: record(other, limits=LIMITS))
        for call, value in found:
            again = record(Program(program.source, call), limits=LIMITS)
            assert (again.outcome.kind, again.result) == ("return", value)
        if found:
            assert found[0][0] == program.call
            assert len({call for call, _ in found}) == len(found)
            checked += len(found) > 1
    assert checked > 20


def test_a_call_is_changed_but_keeps_its_function_and_types() -> None:
    rng = random.Random(0)
    changed = {wishes.other_call("f('abc', 3, flag=True)", rng) for _ in range(50)}
    assert len(changed) > 10
    for call in changed:
        assert call.startswith(("f('", 'f("'))
        assert call.endswith("flag=True)")
    assert wishes.other_call("f()", rng) == ""
    assert wishes.other_call("f(g)", rng) == ""


def test_the_mix_writes_lessons_of_both_forms() -> None:
    mix = Mix(MixConfig(shares=Shares(written=0.5, drills=0.5), tasks=TaskShares(write=200.0)))
    windows = [window for index in range(80) for window in mix(index) if window.name.endswith("/write")]
    answers = [writing.read(window.ids) for window in windows]
    rehearsed = sum(answer.rehearsed is not None for answer in answers)
    assert 0.2 * len(answers) < rehearsed < 0.8 * len(answers)
    for window, answer in zip(windows, answers, strict=True):
        assert writing.signature(answer.source) is not None
        first = window.ids.index(writing.WRITE) + 1
        assert window.weights == [0.0] * first + [1.0] * (len(window.ids) - first)
        assert len(window.ids) <= 512
