"""Legal tokens: never less than what really happens, and never more than a reader can read."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tricky_programs import SOURCES

from opencwm.codec import compact
from opencwm.codec.compact_reader import Reader
from opencwm.codec.tokenizer import VALUE_TOKENS, VOCABULARY, encode_value
from opencwm.model.compact_constraint import Constraint
from opencwm.model.literals import LiteralState
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record


def check(trace: Trace) -> int:
    """Every true token is legal where it stands; returns how many were the only legal one."""
    if trace.outcome.kind == "truncated":
        return 0
    ids = compact.encode(trace).ids
    reader = Reader.from_prompt(ids)
    constraint = Constraint(reader)
    forced = 0
    for offset in range(reader.offset, len(ids)):
        allowed = constraint.allowed()
        assert ids[offset] in allowed, VOCABULARY.show(ids[max(0, offset - 20) : offset + 1])
        forced += len(allowed) == 1
        constraint.push(ids[offset])
    assert constraint.allowed() == set()
    return forced


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64), steps=st.booleans())
def test_what_really_happens_is_legal(seed: int, steps: bool) -> None:
    check(record(write(random.Random(seed)), steps=steps))


@pytest.mark.parametrize("name", SOURCES)
def test_statements_of_all_kinds_are_legal(name: str) -> None:
    check(record(Program(SOURCES[name], function="main")))
    check(record(Program(SOURCES[name], function="main"), steps=True))


def prompt(source: str) -> Constraint:
    program = Program(source, function="main")
    trace = record(program)
    ids = compact.encode(trace).ids
    reader = Reader.from_prompt(ids)
    return Constraint(Reader.from_prompt(ids[: reader.offset]))


def names(tokens: set[int] | frozenset[int]) -> set[str]:
    return {VOCABULARY.names[token] for token in tokens}


def test_the_start_is_forced() -> None:
    constraint = prompt("def main():\n    return 1\n")
    for expected in ("<call>", "<L1>"):
        assert names(constraint.allowed()) == {expected}
        constraint.push(VOCABULARY.ids[expected])
    assert "<L2>" in names(constraint.allowed())
    assert "<L1>" not in names(constraint.allowed())


def test_a_branch_has_its_two_lines_and_straight_code_one() -> None:
    constraint = prompt("def main():\n    x = abs(1)\n    if x:\n        y = 2\n    return x\n")
    for name in ("<call>", "<L1>", "<L2>"):
        constraint.push(VOCABULARY.ids[name])
    assert {n for n in names(constraint.allowed()) if n.startswith("<L")} == {"<L3>"}
    constraint.push(VOCABULARY.ids["<L3>"])
    assert {n for n in names(constraint.allowed()) if n.startswith("<L")} == {"<L4>", "<L5>"}
    assert "<return>" not in names(constraint.allowed())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64))
def test_random_legal_tokens_are_always_readable(seed: int) -> None:
    rng = random.Random(seed)
    constraint = prompt(rng.choice(list(SOURCES.values())))
    for _ in range(250):
        allowed = sorted(constraint.allowed())
        if not allowed:
            assert constraint.reader.state == "done"
            break
        structure = [token for token in allowed if token not in VALUE_TOKENS]
        constraint.push(rng.choice(structure if structure and rng.random() < 0.6 else allowed))


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text() | st.integers(), inner)
            | st.frozensets(st.integers() | st.text())
        ),
        max_leaves=8,
    )
)
def test_every_literal_is_legal_and_whole_at_its_end(value: object) -> None:
    state = LiteralState()
    for token in encode_value(repr(value)):
        assert token in state.allowed()
        state.push(token)
    assert state.whole


@pytest.mark.parametrize("text", ["[1, 2", "'ab", "{'a': ", "(", "-", "[(1]", "'a\\x4", "1, 2", "]"])
def test_unbalanced_text_is_not_whole_or_not_legal(text: str) -> None:
    state = LiteralState()
    for token in encode_value(text):
        if token not in state.allowed():
            return
        state.push(token)
    assert not state.whole


@pytest.mark.parametrize(
    "text", ["<function f>", "Point(x=1, y=[2])", "Counter({'a': 2})", "[1, 2, ...+9]", "'abc...+97'", "range(0, 3)",
             "dict_items([('a', 1)])", "deque([1], maxlen=3)", "ValueError('x')", "<class Foo>", "nan", "{1, 2}", "set()"]
)  # fmt: skip
def test_values_of_objects_are_legal(text: str) -> None:
    state = LiteralState()
    for token in encode_value(text):
        assert token in state.allowed(), text
        state.push(token)
    assert state.whole
