from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from opencwm.trace.frames import Frame, Outcome, Step, Trace
from opencwm.world.compare import compare, differences, same

CONTEXT = "def f(s):\n    t = s + s\n    return t\n\ndef main():\n    return f('a')\n"
FRAMES = (
    Frame("call", 5, "main", 0),
    Frame("line", 6, "main", 0),
    Frame("call", 1, "f", 1, {"s": "'a'"}),
    Frame("line", 2, "f", 1, {"s": "'a'"}),
    Frame("line", 3, "f", 1, {"s": "'a'", "t": "'aa'"}),
    Frame("return", 3, "f", 1, value="'aa'"),
    Frame("return", 6, "main", 0, value="'aa'"),
)


RETURNED = Outcome("return")


def trace(frames=FRAMES, outcome=RETURNED):
    return Trace(CONTEXT, 5, tuple(frames), outcome, "3.11")


def changed(index, **fields):
    frames = list(FRAMES)
    frames[index] = replace(frames[index], **fields)
    return trace(frames)


def test_equal_traces_have_no_divergence():
    result = compare(trace(), trace())
    assert result.frames_right == result.frames_real == 7
    assert result.divergence is None and result.output_right is True and result.complete


def test_a_wrong_local_is_named_with_both_values():
    result = compare(trace(), changed(4, locals={"s": "'a'", "t": "'a'"}))
    assert result.frames_right == 4 and not result.complete
    assert result.divergence.index == 4
    assert [str(item) for item in result.divergence.differences] == ["t: predicted 'a', really 'aa'"]
    assert result.output_right is True  # judged on the last frames alone


def test_missing_and_surplus_locals():
    real, predicted = FRAMES[4], replace(FRAMES[4], locals={"s": "'a'", "u": "1"})
    assert [(item.name, item.real, item.predicted) for item in differences(real, predicted)] == [
        ("t", "'aa'", None),
        ("u", None, "1"),
    ]


def test_control_flow_hides_the_state():
    result = compare(trace(), changed(4, line=2, locals={"s": "'b'"}))
    assert [str(item) for item in result.divergence.differences] == ["line: predicted 2, really 3"]


def test_a_wrong_event_and_value():
    result = compare(trace(), changed(5, event="exception", value="ValueError('a')"))
    assert result.divergence.differences[0].kind == "event"
    assert result.frames_right == 5


def test_steps_and_the_order_of_locals_are_not_compared():
    assert same(FRAMES[4], replace(FRAMES[4], steps=(Step(0, "1"),), locals={"t": "'aa'", "s": "'a'"}))


def test_a_truncated_prediction_contradicts_nothing_but_has_no_output():
    result = compare(trace(), trace(FRAMES[:4], Outcome("truncated", "frames")))
    assert (result.frames_right, result.divergence, result.output_right) == (4, None, False)
    assert not result.complete


def test_a_truncated_run_has_no_output_to_be_right_about():
    result = compare(trace(FRAMES[:4], Outcome("truncated", "seconds")), trace())
    assert (result.frames_right, result.frames_real, result.divergence, result.output_right) == (4, 4, None, None)
    assert result.complete


def test_ending_too_early_and_too_late():
    early = compare(trace(), trace(FRAMES[:6]))
    assert early.divergence.predicted is None and early.divergence.index == 6
    assert "the prediction ends here" in str(early.divergence.differences[0])
    late = compare(trace(FRAMES[:6]), trace())
    assert late.divergence.real is None and "really the run ended here" in str(late.divergence.differences[0])


def test_same_value_but_another_ending_is_a_wrong_output():
    raised = trace((*FRAMES[:6], Frame("exception", 6, "main", 0, value="'aa'")), Outcome("exception"))
    assert compare(trace(), raised).output_right is False


frames = st.builds(
    Frame,
    event=st.sampled_from(["call", "line", "return", "exception"]),
    line=st.integers(1, 3),
    function=st.sampled_from("fg"),
    depth=st.integers(0, 1),
    locals=st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
    value=st.sampled_from([None, "1"]),
)


@given(st.lists(frames, max_size=4), st.lists(frames, max_size=4))
def test_the_divergence_is_the_first_unequal_frame(ours, theirs):
    result = compare(trace(ours), trace(theirs))
    assert ours[: result.frames_right] == theirs[: result.frames_right]
    if result.divergence is None:
        assert ours == theirs
    else:
        assert result.divergence.index == result.frames_right
        assert result.divergence.differences


@given(frames, frames)
def test_differences_are_empty_exactly_for_the_same(one, other):
    assert (differences(one, other) == ()) == same(one, other)
