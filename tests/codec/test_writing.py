"""Wishes and their answers in tokens: both forms, read back, and what is refused."""

from __future__ import annotations

import pytest

from opencwm.codec import compact_reader, writing
from opencwm.codec.compact import Encoder
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import VOCABULARY, decode_source
from opencwm.codec.writing import Wish
from opencwm.programs.program import Program
from opencwm.trace.recorder import record

SOURCE = "def f(text):\n    out = ''\n    for c in text:\n        out = c + out\n    return out"
WISH = Wish("def f(text):", (("f('ab')", "'ba'"), ("f('')", "''")))
TRACE = record(Program(SOURCE, "f('ab')"), steps=True)


def test_a_direct_answer_golden() -> None:
    window = writing.window(WISH, SOURCE, "3.11")
    assert VOCABULARY.show(window.ids) == (
        "<begin><python 3.11><L1>def <bind>f<V0>(<bind>text<V1>):<L2><indent 1>...<L3><L4>assert <V0>('ab') == 'ba'"
        "<L5>assert <V0>('') == ''<L6><write><L1>def <bind>f<V0>(<bind>text<V1>):<L2><indent 1><bind>out<V2> = ''"
        "<L3><indent 1>for <bind>c<V3> in <V1>:<L4><indent 2><V2> = <V3> + <V2><L5><indent 1>return <V2><end>"
    )
    first = window.ids.index(writing.WRITE) + 1
    assert window.weights == [0.0] * first + [1.0] * (len(window.ids) - first)
    assert writing.read(window.ids) == writing.Answer(SOURCE)


def test_a_rehearsed_answer_golden() -> None:
    run = writing.rehearsal(WISH, TRACE)
    window = writing.window(WISH, SOURCE, "3.11", run)
    shown = VOCABULARY.show(window.ids)
    assert (
        "<write><trace><call><L1><V1>'ab'<L2><name>out<name>''<L3><name>c<name>'a'<L4><name>out<name>'a'<L3>"
        "<name>c<name>'b'<L4><name>out<name>'ba'<L3><L5><return>'ba'<end><L1>def "
    ) in shown
    answer = writing.read(window.ids)
    assert answer.source == SOURCE
    assert answer.rehearsed is not None
    text, names = decode_source(window.ids[2 : window.ids.index(writing.WRITE)])
    assert text == WISH.text
    reader = compact_reader.Reader(text, 1, "3.11", names)
    frames = [frame for token in answer.rehearsed for frame in reader.push(token)] + reader.finish()
    assert tuple(frames) == run.frames


def test_a_rehearsal_is_the_first_call_alone() -> None:
    run = writing.rehearsal(WISH, TRACE)
    assert [frame.depth for frame in run.frames] == [0] * len(run.frames)
    assert run.frames[0].event == "call"
    assert run.frames[-1].value == "'ba'"
    assert not any(frame.steps for frame in run.frames)
    assert Encoder(run).chunks


@pytest.mark.parametrize("call", ["f(1)", "f(None)"])
def test_a_run_that_raises_is_no_rehearsal(call: str) -> None:
    with pytest.raises(CodecError, match="did not return"):
        writing.rehearsal(WISH, record(Program(SOURCE, call)))


def test_what_is_no_answer() -> None:
    ids = writing.window(WISH, SOURCE, "3.11", writing.rehearsal(WISH, TRACE)).ids
    question = ids.index(writing.WRITE)
    for cut in (ids[:question], ids[: question + 1], ids[: question + 9], ids[:-1]):
        with pytest.raises(CodecError):
            writing.read(cut)


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (SOURCE, "def f(text):"),
        ("def f(a): return a", None),  # the signature has no line of its own
        ("import math\ndef f(a):\n    return a", None),
        ("def f(a):\n" + "    a += 1\n" * 6 + "    return a", None),
        ("def f(a:", None),
    ],
)
def test_which_functions_are_asked_for(source: str, first: str | None) -> None:
    assert writing.signature(source) == first
