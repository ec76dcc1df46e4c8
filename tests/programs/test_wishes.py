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


def test_what_cannot_be_called_or_raises_gives_no_examples() -> None:
    for source, call in (("def f(a):\n    return a", None), ("def f(a):\n    return 1 / a", "f(0)")):
        program = Program(source, call, function="f" if call is None else None)
        assert wishes.examples(program, random.Random(0), 3, lambda other: record(other, limits=LIMITS)) == []


def test_further_examples_differ_in_what_they_return() -> None:
    program = Program("def f(text, n=2):\n    return text.upper() * n", "f('ab', n=3)")
    found = wishes.examples(program, random.Random(0), 6, lambda other: record(other, limits=LIMITS))
    assert found[0] == ("f('ab', n=3)", "'ABABAB'")
    assert len(found) > 3 and len(set(dict(found).values())) > 2


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
