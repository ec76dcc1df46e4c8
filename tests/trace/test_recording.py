"""Recording as an operation: limits, what a program may do to the process, steps, errors, JSON lines."""

import copy
import gc
import io
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Step, Trace, read_jsonl
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

pytestmark = pytest.mark.usefixtures("core")

Outline = Callable[..., list[str]]


def program(source: str) -> Program:
    return Program(dedent(source).lstrip("\n"), function="main")


LOOP = """
    def main():
        x = 0
        while True:
            x += 1
"""


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(frames=50), "frames"),
        (Limits(total_bytes=200), "bytes"),
        (Limits(seconds=0.05, frames=10**9, total_bytes=10**9), "seconds"),
    ],
)
def test_a_loop_is_cut_off(limits: Limits, reason: str) -> None:
    trace = record(program(LOOP), limits=limits)
    assert trace.outcome == Outcome("truncated", reason)
    assert trace.result is None
    assert len(trace.frames) == 50 if reason == "frames" else len(trace.frames) > 10
    assert trace.frames[:4] == record(program(LOOP), limits=Limits(frames=4)).frames


def test_a_run_that_just_fits_is_not_truncated() -> None:
    source = program("def main():\n    return 1")
    assert str(record(source, limits=Limits(frames=3)).outcome) == "return"
    assert str(record(source, limits=Limits(frames=2)).outcome) == "truncated (frames)"


def test_endless_recursion_is_cut_off() -> None:
    trace = record(program("def main():\n    return main()"))
    assert str(trace.outcome) == "truncated (depth)"
    assert max(frame.depth for frame in trace.frames) == Limits().depth - 1
    deeper = record(program("def main():\n    return main()"), limits=Limits(depth=1500))
    assert str(deeper.outcome) == "truncated (depth)"


def test_a_value_is_elided(outline: Outline) -> None:
    lines = outline("def main():\n    x = list(range(10**6))\n    return len(x)\n", limits=Limits(value_bytes=40))
    assert lines[2] == "line 3 main x=[0, 1, 2, 3, 4, 5, 6, 7, 8, ...+999991]"


@pytest.mark.parametrize(
    "source",
    [
        """
        def main():
            x = 0
            while True:
                try:
                    x += 1
                except BaseException:
                    pass
        """,
        """
        def deeper(n):
            try:
                return deeper(n + 1)
            except BaseException:
                return n
        def main():
            while True:
                deeper(0)
        """,
        """
        import contextlib
        def main():
            for i in iter(int, 1):
                with contextlib.suppress(BaseException):
                    j = i
        """,
    ],
)
def test_a_program_that_swallows_everything_is_stopped(source: str) -> None:
    start = time.monotonic()
    trace = record(program(source), limits=Limits(frames=100, depth=20))
    assert trace.outcome.kind == "truncated"
    assert time.monotonic() - start < 10


def test_a_loop_without_events_is_out_of_time() -> None:
    source = "import random\ndef main():\n    random.choices(range(10**9), k=10**9)"
    start = time.monotonic()
    trace = record(program(source), limits=Limits(seconds=0.2))
    assert str(trace.outcome) == "truncated (seconds)"
    assert len(trace.frames) == 2
    assert time.monotonic() - start < 5
    assert "x" in (record(program("def main():\n    return 'x'")).result or "")


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="value_bytes must be at least 32"):
        Limits(value_bytes=3)
    with pytest.raises(ValueError, match="frames must be positive"):
        Limits(frames=0)


def test_exit_and_interrupt() -> None:
    trace = record(program("import sys\ndef main():\n    sys.exit(2)"))
    assert str(trace.outcome) == "truncated (exit)"
    assert trace.frames[-1].value == "SystemExit(2)"
    trace = record(program("def main():\n    raise KeyboardInterrupt"))
    assert str(trace.outcome) == "exception"
    source = "import _thread\ndef main():\n    _thread.interrupt_main()\n    for i in range(10**9): pass"
    with pytest.raises(KeyboardInterrupt):
        record(program(source))
    assert sys.gettrace() is None or "settrace" not in repr(sys.gettrace())


def test_output_is_taken_and_bounded() -> None:
    source = """
        import sys
        def main():
            print("out", 1)
            print("err", file=sys.stderr)
            sys.stdout.buffer.write(b"raw\\n")
            for i in range(300):
                print("x" * 100_000)
    """
    sink = io.StringIO()
    assert str(record(program(source), output=sink).outcome) == "return"
    assert sink.getvalue().startswith("out 1\nerr\nraw\nxxx")
    assert len(sink.getvalue()) == 1_000_000
    stdout = sys.stdout
    record(program(source))
    record(program("import sys\ndef main():\n    sys.stdout.close()\n    sys.stdout = None"))
    assert sys.stdout is stdout


def test_standard_input_is_empty(outline: Outline) -> None:
    assert outline("def main():\n    return input('? ')\n")[-2:] == [
        "exception 2 main EOFError('EOF when reading a line')",
        "exception",
    ]


def test_the_process_is_as_before() -> None:
    calls: list[str] = []

    def tracer(frame: Any, event: str, arg: Any) -> None:
        calls.append(event)

    before = sys.gettrace()
    state = (gc.isenabled(), sys.getrecursionlimit(), sys.stdin, sys.stdout, sys.stderr, sys.unraisablehook)
    sys.settrace(tracer)
    try:
        record(program("import sys, gc\ndef main():\n    sys.setrecursionlimit(5000)\n    gc.enable()\n    return 1"))
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert state == (gc.isenabled(), sys.getrecursionlimit(), sys.stdin, sys.stdout, sys.stderr, sys.unraisablehook)
    assert "__cwm__" not in sys.modules


def test_a_program_that_switches_tracing_off() -> None:
    trace = record(program("import sys\ndef main():\n    sys.settrace(None)\n    return f()\ndef f():\n    return 1"))
    assert str(trace.outcome) == "truncated (tracing was switched off)"
    assert trace.frames


def test_the_module_is_registered_while_it_runs(outline: Outline) -> None:
    assert outline("""
        import sys, pickle
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int
        def main():
            return __name__, pickle.loads(pickle.dumps(Point(1)))
    """)[-2:] == ["return 7 main ('__cwm__', Point(x=1))", "return"]


def test_hostile_reprs_change_nothing(outline: Outline) -> None:
    assert outline("""
        log = []
        class Raises:
            def __repr__(self): raise RuntimeError
        class Loops:
            def __repr__(self):
                while True: pass
        class Mutates:
            def __repr__(self): log.append(self); return 'x'
        def main():
            a, b, c = Raises(), Loops(), Mutates()
            return len(log), [a, b, c]
    """)[-3:] == [
        "line 11 main a=Raises(), b=Loops(), c=Mutates()",
        "return 11 main (0, [Raises(), Loops(), Mutates()])",
        "return",
    ]


def test_finalizers_run_while_the_output_is_taken(outline: Outline) -> None:
    sink = io.StringIO()
    lines = outline(
        """
        class Loud:
            def __init__(self, name): self.name = name
            def __del__(self): print('gone', self.name)
        keep = Loud('late')
        def fail():
            held = Loud('held')
            raise ValueError(1)
        def main():
            try:
                fail()
            except ValueError:
                pass
            x = Loud('early')
            x = None
        """,
        output=sink,
    )
    assert sink.getvalue() == "gone held\ngone early\ngone late\n"
    assert ". call 3 Loud.__del__ self=Loud(name='held')" in lines


def test_nothing_is_recorded_of_threads_or_after_the_end(outline: Outline) -> None:
    lines = outline("""
        import threading
        def work():
            x = 1
        def gen():
            try:
                yield 1
            finally:
                y = 2
        def main():
            t = threading.Thread(target=work)
            t.start()
            t.join()
            it = gen()
            return next(it)
    """)
    assert not any(" work" in line.replace("function work", "") for line in lines)
    assert lines[-3:] == [". return 6 gen 1", "return 14 main 1", "return"]


def test_a_fork_in_this_process_ends_in_the_child(tmp_path: Path) -> None:
    source = f"""
        import os
        def main():
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                return 'parent'
            with open({str(tmp_path / "child")!r}, 'w') as file:
                file.write('ran')
    """
    pid = os.getpid()
    trace = record(program(source))
    assert os.getpid() == pid
    assert trace.result == "'parent'"
    assert (tmp_path / "child").read_text() == "ran"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def main(:\n    pass", "line 1: invalid syntax; fix the syntax first"),
        ("x = 1\ny = z\ndef main(): pass", "the module failed before the entry: NameError(.*) at line 2; fix it first"),
        ("raise SystemExit(3)\ndef main(): pass", r"the module failed before the entry: SystemExit\(3\) at line 1"),
        ("x = 1", "the module defines no function main"),
        ("def main():\n    yield 1", "calling main only makes a generator"),
        ("async def main(): pass", "calling main only makes a generator"),
        ("def main(): \0", "source code string cannot contain null bytes"),
    ],
)
def test_programs_that_cannot_be_recorded(source: str, message: str) -> None:
    job = Program(source, function="main")
    with pytest.raises(RecordError, match=message) as caught:
        record(_WithLine(job))
    assert "\n" not in str(caught.value)


class _WithLine:
    """A program whose entry line is not looked for."""

    def __init__(self, job: Program) -> None:
        self.context, self.entry, self.entry_line = job.context, job.entry, 1


def test_a_trace_whose_frames_are_made_later_is_like_any_other() -> None:
    recorded = record(program("def main():\n    x = [1]\n    return x\n"))
    again = pickle.loads(pickle.dumps(recorded))
    assert again == copy.deepcopy(recorded) == replace(recorded) == recorded
    assert type(recorded.frames) is tuple and recorded.frames is recorded.frames
    assert recorded == Trace(
        recorded.context, recorded.entry_line, tuple(list(recorded.frames)), recorded.outcome, recorded.python
    )
    assert "locals={'x': '[1]'}" in repr(record(program("def main():\n    x = [1]\n    return x\n")))
    with pytest.raises(AttributeError, match="a Trace has no attribute 'frame'"):
        getattr(recorded, "frame")  # noqa: B009


def test_frames_are_handed_on_as_they_come() -> None:
    frames: list[Frame] = []
    reasons: list[str] = []
    trace = record(program(LOOP), limits=Limits(frames=9), on_frame=frames.append, on_stop=reasons.append)
    assert tuple(frames) == trace.frames
    assert reasons == ["frames"]


def test_steps_are_the_values_inside_a_line() -> None:
    source = """
        def f(n):
            return n * 2 + 1
        def main():
            x = [f(i) + 1 for i in (1,)][0] + len('ab')
            return object() is not None and x
    """
    with_steps = record(program(source), steps=True)
    without = record(program(source))
    assert tuple(replace(frame, steps=()) for frame in with_steps.frames) == without.frames
    by_line = {frame.line: frame.steps for frame in with_steps.frames if frame.event == "return"}
    assert [step.value for step in by_line[2]] == ["2"]
    assert all(not step.value.startswith("<") for frame in with_steps.frames for step in frame.steps)
    assert not any("__cwm_" in name for frame in with_steps.frames for name in frame.locals)


frames = st.builds(
    Frame,
    event=st.sampled_from(["call", "line"]),
    line=st.integers(1, 99),
    function=st.text(max_size=5),
    depth=st.integers(0, 9),
    locals=st.dictionaries(st.text(max_size=3), st.text(max_size=9)),
    steps=st.lists(st.builds(Step, st.integers(0, 9), st.text(max_size=5))).map(tuple),
) | st.builds(
    Frame,
    event=st.sampled_from(["return", "exception"]),
    line=st.integers(1, 99),
    function=st.text(max_size=5),
    depth=st.integers(0, 9),
    value=st.text(max_size=9),
)
traces = st.builds(
    Trace,
    context=st.text(),
    entry_line=st.integers(1, 9),
    frames=st.lists(frames, max_size=5).map(tuple),
    outcome=st.sampled_from([Outcome("return"), Outcome("exception"), Outcome("truncated", "exit")]),
    python=st.just("3.11"),
)


@given(st.lists(traces, max_size=3))
def test_json_lines_come_back_equal(items: list[Trace]) -> None:
    text = "".join(trace.to_jsonl() for trace in items)
    assert list(read_jsonl(io.StringIO(text))) == items


@given(st.data())
def test_a_file_that_was_cut_off_reads_as_far_as_it_goes(data: st.DataObject) -> None:
    trace = record(program("def main():\n    x = 'äöü'\n    return x * 2"))
    text = trace.to_jsonl()
    header = text.index("\n") + 1
    cut = text[: data.draw(st.integers(header, len(text) - 2))]
    (found,) = read_jsonl(cut.splitlines())
    complete = cut.count("\n") - 1  # and perhaps one that lacks only its newline
    assert found.frames == trace.frames[: len(found.frames)]
    assert len(found.frames) in (complete, complete + 1)
    assert str(found.outcome) == "truncated (recording cut off)"
