"""CWM's format: worked examples to the letter, round trips, and what malformed input gets."""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opencwm.codec import cwm
from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import IDS, REGULAR
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Step, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

HERE = Path(__file__).parent
GOLDEN = sorted((HERE / "golden").glob("*.py"))
FLOW = sorted((HERE / "flow").glob("*.txt"))
TRUNCATED = Outcome("truncated", "unknown")


class Bytes:
    """The smallest tokenizer: a token per byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


def golden_trace(path: Path) -> Trace:
    return record(Program.parse(path.read_text()))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_worked_examples(path: Path) -> None:
    if sys.version_info[:2] != (3, 11) and path.stem == "comprehension":
        pytest.skip("from Python 3.12 on, comprehensions are no calls: the text is that of 3.11")
    text = cwm.to_text(golden_trace(path))
    expected = path.with_suffix(".txt")
    if os.environ.get("OPENCWM_REGENERATE"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("path", GOLDEN + FLOW, ids=lambda path: path.stem)
def test_examples_come_back(path: Path) -> None:
    trace = golden_trace(path) if path in GOLDEN else record(Program(path.read_text(), function="main"))
    assert len(trace.frames) > 10
    assert cwm.from_text(cwm.to_text(trace)) == trace
    assert cwm.decode(cwm.encode(trace, Bytes()), Bytes()) == trace


@pytest.mark.parametrize("path", GOLDEN + FLOW, ids=lambda path: path.stem)
def test_every_prefix_of_a_run_comes_back_as_truncated(path: Path) -> None:
    trace = golden_trace(path) if path in GOLDEN else record(Program(path.read_text(), function="main"))
    for length in range(0, len(trace.frames), 1 + len(trace.frames) // 20):
        cut = replace(trace, frames=trace.frames[:length], outcome=Outcome("truncated", "frames"))
        back = cwm.from_text(cwm.to_text(cut))
        assert back.outcome == TRUNCATED
        assert cwm.same_up_to_identical_lines(back, cwm.carried(cut))


def trace_of(source: str, call: str = "f()") -> Trace:
    return record(Program(source, call))


def test_the_format_to_the_letter() -> None:
    trace = trace_of("def f(s, n):\n    t = s * n\n    n = None\n    return t\n", "f('é', 2)")
    assert cwm.to_text(trace) == (
        "<|begin_of_text|><|trace_context_start|>"
        "def f(s, n):\n    t = s * n\n    n = None\n    return t\n\n"
        "def main():  # << START_OF_TRACE\n    return f('é', 2)\n<|frame_sep|>"
        "<|call_sep|>{}<|action_sep|>def main():\n<|frame_sep|>"
        "<|line_sep|>{}<|action_sep|>    return f('é', 2)\n<|frame_sep|>"
        '<|call_sep|>{"s": "\'\\u00e9\'", "n": "2"}<|action_sep|>def f(s, n):\n<|frame_sep|>'
        '<|line_sep|>{"s": "\'\\u00e9\'", "n": "2"}<|action_sep|>    t = s * n\n<|frame_sep|>'
        '<|line_sep|>{"s": "..", "n": "..", "t": "\'\\u00e9\\u00e9\'"}<|action_sep|>    n = None\n<|frame_sep|>'
        '<|line_sep|>{"s": "..", "n": "None", "t": ".."}<|action_sep|>    return t\n<|frame_sep|>'
        "<|return_sep|><|action_sep|>    return t\n<|arg_sep|>\"'\\u00e9\\u00e9'\"<|frame_sep|>"
        "<|return_sep|><|action_sep|>    return f('é', 2)\n<|arg_sep|>\"'\\u00e9\\u00e9'\"<|frame_sep|>"
        "<|end_of_text|>"
    )


def test_special_tokens_have_cwms_ids() -> None:
    ids = cwm.encode(trace_of("def f():\n    pass\n"), Bytes())
    assert ids[:2] == [128000, 128107] and ids[-2:] == [128100, 128001]
    assert [i for i in ids if i >= REGULAR][2:8] == [128100, 128103, 128101, 128100, 128104, 128101]
    assert 128102 in ids and 128106 in ids and 128105 not in ids


def test_values_are_in_full_after_a_call_and_after_what_leaves_a_function() -> None:
    trace = trace_of(
        "def g(x):\n    if x:\n        raise ValueError\n    return x\n\n"
        "def f():\n    a = 1\n    g(0)\n    b = 2\n    try:\n        g(a)\n"
        "    except ValueError:\n        c = 3\n    return a\n"
    )
    lines = [json.loads(part.split("<|action_sep|>")[0]) for part in cwm.to_text(trace).split("<|line_sep|>")[1:]]
    f_lines = [values for values in lines if "a" in values]
    assert f_lines == [
        {"a": "1"},
        {"a": "1"},
        {"a": "..", "b": "2"},
        {"a": "..", "b": ".."},
        {"a": "1", "b": "2"},
        {"a": "..", "b": ".."},
        {"a": "..", "b": "..", "c": "3"},
    ]


def test_steps_and_the_reason_of_a_cut_are_not_carried() -> None:
    trace = record(Program("def f():\n    while True:\n        x = 1\n", "f()"), limits=Limits(frames=30))
    assert trace.outcome.kind == "truncated" and trace.outcome.reason != "unknown"
    frames = (*trace.frames[:-1], replace(trace.frames[-1], steps=(Step(0, "1"),)))
    back = cwm.from_text(cwm.to_text(replace(trace, frames=frames)))
    assert back == cwm.carried(replace(trace, frames=frames)) == replace(trace, outcome=TRUNCATED)
    assert not cwm.to_text(trace).endswith("<|end_of_text|>")


def test_the_python_version_is_the_readers_business() -> None:
    text = cwm.to_text(trace_of("def f():\n    pass\n"))
    assert cwm.from_text(text, python="3.13").python == "3.13"
    assert cwm.from_text(text).python == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_special_spellings() -> None:
    values = trace_of("def f(x):\n    y = x\n    return y\n", "f('<' + '|frame_sep|' + '>')")
    assert "\\u003c|frame_sep|>" in cwm.to_text(values)
    assert cwm.from_text(cwm.to_text(values)) == values
    assert cwm.decode(cwm.encode(values, Bytes()), Bytes()) == values
    source = trace_of("def f():\n    return '<|frame_sep|>'\n")
    with pytest.raises(CodecError, match="use tokens"):
        cwm.to_text(source)
    assert cwm.decode(cwm.encode(source, Bytes()), Bytes()) == source
    other = trace_of("def f():\n    return '<|x|>'\n")
    assert cwm.from_text(cwm.to_text(other)) == other


def test_lines_of_the_same_text_are_told_apart_by_what_follows() -> None:
    source = "def f(a):\n    if a:\n        a -= 1\n        a *= 3\n    else:\n        a -= 1\n        a *= 2\n"
    source += "    return a\n"
    for call in ("f(5)", "f(0)"):
        trace = trace_of(source, call)
        assert cwm.from_text(cwm.to_text(trace)) == trace


def test_what_control_flow_cannot_tell_apart_is_the_smallest_line() -> None:
    trace = trace_of("def f(a):\n    if a:\n        a -= 1\n    else:\n        a -= 1\n    return a\n", "f(0)")
    back = cwm.from_text(cwm.to_text(trace))
    assert back != trace and cwm.same_up_to_identical_lines(back, trace)
    assert [frame.line for frame in trace.frames][4] == 5 and [frame.line for frame in back.frames][4] == 3
    assert not cwm.same_up_to_identical_lines(back, trace_of(trace.context.split("\n\ndef main")[0], "f(1)"))


def test_methods_of_one_text_are_told_apart() -> None:
    source = (
        "class A:\n    def m(self):\n        return 1\nclass B:\n    def m(self):\n        return 1\n"
        "class C:\n    def m(self):\n        return 2\ndef f():\n    return C().m(), B().m(), A().m()\n"
    )
    trace = trace_of(source)
    back = cwm.from_text(cwm.to_text(trace))
    assert [f.function for f in back.frames if f.event == "call"] == ["main", "f", "C.m", "B.m", "A.m"]
    assert back == trace


def test_comprehensions_of_one_line_are_told_apart() -> None:
    trace = trace_of(
        "def f(a):\n    s = ','.join(str(x) for x in [x for x in a if x < 1])\n"
        "    return any(k for k in a) and [k for k in a], s, [{y for y in [z for z in a]} for _ in a]\n",
        "f([65, 25])",
    )
    assert cwm.from_text(cwm.to_text(trace)) == trace


def test_a_prediction_that_breaks_control_flow_is_read_by_its_text() -> None:
    trace = trace_of("def f(a):\n    b = a\n    c = b\n    return c\n", "f(1)")
    jumped = replace(trace, frames=trace.frames[:3] + trace.frames[5:])  # from `def f` straight to the return
    assert cwm.from_text(cwm.to_text(jumped)) == jumped
    doubled = replace(trace, frames=trace.frames[:5] + trace.frames[4:])
    assert cwm.from_text(cwm.to_text(doubled)) == doubled


def test_the_context_may_be_for_another_version() -> None:
    frames = (
        Frame("call", 3, "main", 0),
        Frame("line", 4, "main", 0),
        Frame("call", 1, "f", 1, {"x": "1"}),
        Frame("line", 2, "f", 1, {"x": "1"}),
        Frame("return", 2, "f", 1, value="1"),
        Frame("return", 4, "main", 0, value="1"),
    )
    context = "def f(x):\n    return x ?? 1\ndef main():\n    return f(1)\n"
    trace = Trace(context, 3, frames, Outcome("return"), "3.19")
    assert cwm.from_text(cwm.to_text(trace), python="3.19") == trace


def test_the_entrys_mark_may_be_repeated_and_stand_elsewhere_on_its_line() -> None:
    trace = trace_of("def f():\n    pass\n")
    text = cwm.to_text(trace)
    repeated = text.replace("<|action_sep|>def main():\n", "<|action_sep|>def main():  # << START_OF_TRACE\n", 1)
    assert repeated != text
    assert cwm.from_text(repeated) == trace
    assert cwm.from_text(text.replace("():  # <<", "(): # <<")) == trace


def test_after_a_call_unchanged_may_mean_the_calls_values() -> None:
    trace = trace_of("def f(x):\n    return x\n", "f(1)")
    text = cwm.to_text(trace).replace('<|line_sep|>{"x": "1"}', '<|line_sep|>{"x": ".."}')
    assert '".."' in text and cwm.from_text(text) == trace


CONTEXT = "def main():  # << START_OF_TRACE\n    x = 1\n    return x\n"
GOOD = f"<|begin_of_text|><|trace_context_start|>{CONTEXT}<|frame_sep|>"
CALL = "<|call_sep|>{}<|action_sep|>def main():\n<|frame_sep|>"
LINE = "<|line_sep|>{}<|action_sep|>    x = 1\n<|frame_sep|>"
RETURN = '<|return_sep|><|action_sep|>    return x\n<|arg_sep|>"1"<|frame_sep|>'


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, r"expected <\|begin_of_text\|>, found the end"),
        ("x" + GOOD, 0, "found the text 'x'"),
        ("<|begin_of_text|><|frame_sep|>", 17, "trace_context_start"),
        ("<|begin_of_text|><|trace_context_start|><|frame_sep|>", 40, "expected the source context"),
        ("<|begin_of_text|><|trace_context_start|>x = 1\n<|frame_sep|>", 40, "marked .* found none"),
        (GOOD.replace("x = 1", "x = 1  # << START_OF_TRACE"), 40, "found 2"),
        (GOOD + "junk", len(GOOD), "expected one of .*junk"),
        (GOOD + LINE, len(GOOD) + 28, "expected the call of the entry"),
        (GOOD + CALL[:-13], len(GOOD + CALL) - 13, r"expected <\|frame_sep\|>, found the end"),
        (GOOD + CALL.replace("{}", ""), len(GOOD) + 12, "expected a JSON object"),
        (GOOD + CALL.replace("{}", "{x}"), len(GOOD) + 13, "Expecting property name"),
        (GOOD + CALL.replace("{}", "[]"), len(GOOD) + 12, "expected a JSON object"),
        (GOOD + CALL.replace("{}", '{"x": 1}'), len(GOOD) + 12, "'x' is no string"),
        (GOOD + CALL.replace("{}", '{"x": "1", "x": "1"}'), len(GOOD) + 12, "'x' stands in it twice"),
        (GOOD + CALL.replace("{}", "[" * 100_000), len(GOOD) + 12, "expected a JSON object"),
        (GOOD + CALL.replace("{}", "9" * 10_000), len(GOOD) + 12, "expected a JSON object"),
        (GOOD + CALL.replace("def main", "def man"), len(GOOD) + 28, "expected a line of the context"),
        (GOOD + CALL + LINE.replace("{}", '{"x": ".."}'), len(GOOD + CALL), "expected the value of 'x'"),
        (GOOD + CALL + LINE + RETURN.replace('"1"', "1"), len(GOOD + CALL + LINE + RETURN) - 16, "JSON string"),
        (GOOD + CALL + LINE + "<|end_of_text|>", len(GOOD + CALL + LINE), "expected the return or exception"),
        (GOOD + CALL + LINE + RETURN + LINE, len(GOOD + CALL + LINE + RETURN) + 28, "expected the return or exc"),
        (GOOD + CALL + LINE + RETURN + "<|end_of_text|>x", len(GOOD + CALL + LINE + RETURN) + 15, "expected nothing"),
        (GOOD + "<|eot_id|>", len(GOOD), r"found <\|eot_id\|>"),
    ],
)
def test_malformed_text_is_named_with_its_place(text: str, offset: int, expected: str) -> None:
    with pytest.raises(CodecError, match=expected) as raised:
        cwm.from_text(text)
    assert raised.value.offset == offset


def test_malformed_tokens_are_named_with_their_place() -> None:
    ids = cwm.encode(trace_of("def f():\n    pass\n"), Bytes())
    damaged = [([-1], 0), ([300_000], 0), ([128000, 128107, 104, 0xFF, 128100], 2), ([*ids[:-1], 7], len(ids) - 1)]
    for bad, offset in damaged:
        with pytest.raises(CodecError) as raised:
            cwm.decode(bad, Bytes())
        assert raised.value.offset == offset


def test_what_cannot_be_written_is_refused() -> None:
    trace = trace_of("def f():\n    pass\n")
    call = trace.frames[0]
    for broken in (
        replace(trace, entry_line=99),
        replace(trace, context=trace.context + "# << START_OF_TRACE"),
        replace(trace, frames=(replace(call, line=0),)),
        replace(trace, frames=(replace(call, locals={"x": ".."}),)),
        replace(trace, frames=(replace(trace.frames[-1], value=None),)),
    ):
        with pytest.raises(CodecError):
            cwm.to_text(broken)


ATOMS = [*IDS, *(json.dumps({"x": v}) for v in ("1", "..", "'a'")), "{}", '"1"', "def main():\n", "    x = 1\n"]
ATOMS += ["\n", "x", "def main():  # << START_OF_TRACE\n    x = 1\n", "    return x\n", '"', "{", "\ud800", "\x00"]


@given(parts=st.lists(st.sampled_from(ATOMS) | st.text(max_size=5), max_size=25))
def test_random_text_is_a_trace_or_a_codec_error(parts: list[str]) -> None:
    for text in ("".join(parts), GOOD + CALL + "".join(parts), GOOD + CALL + LINE + "".join(parts) + RETURN):
        try:
            trace = cwm.from_text(text)
        except CodecError as error:
            assert error.offset is not None and 0 <= error.offset <= len(text)
        else:
            assert isinstance(trace, Trace)


TEXTS = [cwm.to_text(golden_trace(path)) for path in GOLDEN]


@given(data=st.data())
def test_damaged_text_is_a_trace_or_a_codec_error(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 60)))
        other = data.draw(st.integers(0, len(text)))
        insert = data.draw(st.sampled_from(["", text[other : other + stop - start], *ATOMS]))
        text = text[:start] + insert + text[stop:]
    try:
        trace = cwm.from_text(text)
    except CodecError as error:
        assert error.offset is not None and 0 <= error.offset <= len(text)
    else:
        again = cwm.from_text(cwm.to_text(trace))
        assert cwm.same_up_to_identical_lines(again, cwm.carried(trace))


@given(ids=st.lists(st.sampled_from([128000, 128001, 128009, *range(128100, 128108)]) | st.integers(-5, 200_000)))
def test_random_tokens_are_a_trace_or_a_codec_error(ids: list[int]) -> None:
    for prefix in ([], cwm.encode(trace_of_main, Bytes())[:-30]):
        try:
            cwm.decode(prefix + ids, Bytes())
        except CodecError as error:
            assert error.offset is not None


trace_of_main = record(Program("def f(x):\n    return x\n", "f(1)"))


def look_alikes(seed: int) -> str:
    """A program of few different lines, with many branches, loops, exceptions, generators and calls."""
    rng = random.Random(seed)
    simple = ["n -= 1", "n += 2", "n = call(n)", "n = call(n)", "use(n)", "raise ValueError(n)", "return n", "pass"]
    blocks = ["if n % 2:", "for _ in range(2):", "while n > 3:", "try:", "with quiet():"]

    def body(depth: int, loop: bool) -> list[str]:
        lines: list[str] = []
        for _ in range(rng.randint(1, 3)):
            if depth and rng.random() < 0.5:
                block = rng.choice(blocks)
                inside = loop or block.startswith(("for", "while"))
                lines += [block, *("    " + line for line in body(depth - 1, inside))]
                if block == "try:":
                    ending = rng.choice(["except ValueError:", "except KeyError as e:", "finally:"])
                    lines += [ending, *("    " + line for line in body(depth - 1, loop))]
                    if ending != "finally:" and rng.random() < 0.4:
                        lines += ["finally:", "    n -= 1"]
                elif block.startswith("while"):
                    lines.append("    n -= 3")
                elif not block.startswith("with") and rng.random() < 0.4:
                    lines += ["else:", *("    " + line for line in body(depth - 1, loop))]
            else:
                lines.append(rng.choice([*simple, "yield n", *(["break", "continue"] if loop else [])]))
        return lines

    parts = [
        "import contextlib",
        "budget = 12",
        "def quiet():\n    return contextlib.suppress(KeyError)",
        "def call(n):\n    global budget\n    budget -= 1\n    if budget < 0:\n        return n\n"
        "    r = TABLE[n % len(TABLE)](n)\n    return r if isinstance(r, int) else use(r)",
        "def use(g):\n    if isinstance(g, int):\n        return g\n"
        "    for v in g:\n        if v > 4:\n            break\n"
        "    return 1",
    ]
    for k in range(3):
        method = rng.random() < 0.4
        lines = body(3, False)
        if method:
            text = "\n".join(f"        {line}" for line in lines)
            parts.append(f"class C{k}:\n    def step(self, n):\n{text}\n        return n\nf{k} = C{k}().step")
        else:
            parts.append(f"def f{k}(n):\n" + "\n".join(f"    {line}" for line in lines) + "\n    return n")
    parts.append("TABLE = [f0, f1, f2]")
    parts.append("def main():\n    n = call(4)\n    return call(n)\n")
    return "\n".join(parts)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**32))
def test_programs_of_look_alike_lines_come_back(seed: int) -> None:
    trace = record(Program(look_alikes(seed), function="main"), limits=Limits(frames=400))
    back = cwm.from_text(cwm.to_text(trace))
    assert cwm.same_up_to_identical_lines(back, cwm.carried(trace))
