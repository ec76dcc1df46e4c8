"""Predicates over calls: what they select, how they combine, their text; and stepping over in a recorded trace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.programs.program import Program
from opencwm.trace.filters import Call, Predicate, keep, parse, where
from opencwm.trace.recorder import record

CALL = Call("shop.cart", "lib/shop/cart.py", "Cart.total", 12, depth=2, test="tests/test_cart.py::test_total")


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (where(), True),
        (where(module="shop.*"), True),
        (where(module="shop"), False),
        (where(module="Shop.*"), False),
        (where(file="*/cart.py", function="Cart.*"), True),
        (where(file="*/cart.py", function="total"), False),
        (where(test="*::test_total"), True),
        (where(depth_below=3), True),
        (where(depth_below=2), False),
        (where(module="x") | where(function="*.total"), True),
        (where(module="shop.*") & ~where(function="*.total"), False),
        (~where(module="x") & where(depth_below=9), True),
    ],
)
def test_what_is_selected(predicate: Predicate, expected: bool) -> None:
    assert predicate(CALL) is expected
    assert parse(str(predicate)) == predicate


def test_a_predicate_knows_whether_it_looks_at_the_code_alone() -> None:
    assert (where(module="a") & ~where(function="b")).fixed
    assert not (where(module="a") & where(depth_below=1)).fixed
    assert not (~where(test="a")).fixed
    assert not (where(module="a") | where(test="a")).fixed


_LEAVES = st.one_of(
    st.builds(lambda text: where(module=text), st.text("ab.*'\"\\")),
    st.builds(lambda text: where(test=text), st.text("ab.*")),
    st.builds(lambda depth: where(depth_below=depth), st.integers(0, 5)),
    st.just(where()),
)
_PREDICATES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
)
_CALLS = st.builds(
    Call,
    st.text("ab.", max_size=3),
    st.just("f"),
    st.just("g"),
    st.just(1),
    st.integers(0, 5),
    st.text("ab.", max_size=2),
)


@given(predicate=_PREDICATES, call=_CALLS)
def test_the_text_reads_back_as_the_same_condition(predicate: Predicate, call: Call) -> None:
    again = parse(str(predicate))
    assert again(call) is predicate(call)
    assert again.fixed is predicate.fixed


def test_other_spellings() -> None:
    assert parse("depth <= 2") == where(depth_below=3)
    assert parse("module != 'a'") == ~where(module="a")


@pytest.mark.parametrize(
    "text",
    ["", "module", "module == 3", "depth == 3", "line == 3", "f()", "module = 'a'", "'a' == module", "1 < depth < 2"],
)
def test_a_text_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it as in  module == 'shop"):
        parse(text)


def test_calls_are_stepped_over_in_a_recorded_trace() -> None:
    source = "def h(x):\n    return x + 1\n\ndef g(x):\n    return h(x) * 2\n\ndef f(x):\n    return g(x) + h(x)\n"
    trace = record(Program(source, call="f(1)"))

    def outline(text: str) -> list[tuple[str, str, int]]:
        return [(frame.event, frame.function, frame.depth) for frame in keep(trace, parse(text)).frames]

    assert outline("depth < 1") == [("call", "main", 0), ("line", "main", 0), ("return", "main", 0)]
    h, g = [(event, "h", 0) for event in ("call", "line", "return")], [("call", "g", 0), ("line", "g", 0)]
    assert outline("function == 'h'") == h + h
    inner = [(event, function, 1) for event, function, _ in h]
    assert outline("function == 'g' or function == 'h'") == [*g, *inner, ("return", "g", 0), *h]
    assert keep(trace, where()) == trace
    assert keep(trace, parse("function == 'g'")).entry_line == 4
