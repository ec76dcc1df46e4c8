"""Recording in a child process: equal to recording in this one, and every bad program ends cleanly with its frames."""

import io
import os
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from opencwm.programs.program import Program
from opencwm.trace.isolate import record_isolated
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

pytestmark = pytest.mark.skipif(os.name != "posix", reason="programs are isolated on POSIX systems only")

# Before Python 3.12 a loop on one line sends no events.
ONE_LINE_LOOP = ("seconds", 2) if sys.version_info < (3, 12) else ("frames", 10_000)
SHORT = Limits(seconds=0.5)


def program(source: str) -> Program:
    return Program(dedent(source).lstrip("\n"), function="main")


def test_the_trace_is_that_of_recording_here() -> None:
    source = program("""
        import asyncio
        def gen(n):
            yield from range(n)
        async def work(text):
            await asyncio.sleep(0)
            return text.upper()
        def main():
            total = [x * 2 for x in gen(3)]
            try:
                {}[asyncio.run(work('ä😀'))]
            except KeyError as error:
                total.append(error)
            return total, 'x' * 5000
    """)
    for steps in (False, True):
        assert record_isolated(source, steps=steps) == record(source, steps=steps)


def test_strings_hash_the_same_every_time() -> None:
    source = program("def main():\n    return list({'a', 'b', 'c', 'd', 'e', 'f'}), hash('a')")
    assert record_isolated(source).result == record_isolated(source).result


@pytest.mark.parametrize(
    ("source", "reason", "frames"),
    [
        pytest.param("def main():\n    while True:\n        pass", "frames", 10_000, id="a loop in Python"),
        pytest.param("def main():\n    while True: pass", *ONE_LINE_LOOP, id="a loop on one line"),
        pytest.param("def main():\n    x = 1\n    sum(range(10**12))", "seconds", 3, id="a loop in C"),
        pytest.param("while True: pass\ndef main(): pass", "seconds", 0, id="a loop in the module body"),
        pytest.param("import os\ndef main():\n    while True: os.fork()", "processes", None, id="a fork bomb"),
        pytest.param("import os\ndef main():\n    x = 1\n    os._exit(3)", "exit", 3, id="os._exit"),
        pytest.param("import sys\ndef main():\n    sys.exit(3)", "exit", 3, id="sys.exit"),
        pytest.param("def main():\n    return main()", "depth", 400, id="endless recursion"),
        pytest.param("def main():\n    return 'x' * (8 << 30)", "memory", 3, id="too much memory"),
        pytest.param("import ctypes\ndef main():\n    ctypes.string_at(0)", "killed by signal 11", 2, id="a crash"),
        pytest.param("import os\ndef main():\n    os.killpg(0, 15)", "killed by signal 15", 2, id="a signal to itself"),
        pytest.param(
            "def main():\n  while True:\n    try:\n      x = 1\n    except BaseException:\n      pass",
            "frames",
            10_000,
            id="one that swallows every exception",
        ),
        pytest.param(
            "def main():\n    x = 'y' * 1000\n    while True:\n        z = x", "bytes", None, id="too many bytes"
        ),
    ],
)
def test_a_run_that_never_ends_well_is_truncated(source: str, reason: str, frames: int | None) -> None:
    start = time.monotonic()
    trace = record_isolated(program(source), limits=Limits(seconds=0.5 if reason == "seconds" else 8))
    assert str(trace.outcome) == f"truncated ({reason})"
    assert frames is None or len(trace.frames) == frames
    assert trace.result is None
    assert time.monotonic() - start < 15


def test_a_fork_does_not_touch_the_stream() -> None:
    trace = record_isolated(
        program("""
            import os
            def work(n):
                return n + 1
            def main():
                child = os.fork() and 1
                y = work(child)
                if child:
                    os.wait()
                return y
        """)
    )
    assert str(trace.outcome) == "return"
    assert trace.result == "2"
    assert [frame.line for frame in trace.frames if frame.event == "line"] == [5, 6, 3, 7, 8, 9]


def test_children_that_outlive_the_run_are_killed(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    source = f"""
        import os, time
        def main():
            if os.fork() == 0:
                time.sleep(1)
                open({str(mark)!r}, 'w').close()
            return 1
    """
    assert record_isolated(program(source)).result == "1"
    time.sleep(1.5)
    assert not mark.exists()


def test_a_gigabyte_of_output_is_dropped() -> None:
    sink = io.StringIO()
    source = program("def main():\n    for i in range(1000): print('x' * 10**6)\n    return i")
    trace = record_isolated(source, output=sink, limits=Limits(seconds=120))
    assert trace.result == "999"
    assert sink.getvalue() == "x" * 1_000_000
    assert record_isolated(source, limits=Limits(seconds=120)).result == "999"


def test_output_of_every_kind_is_taken() -> None:
    sink = io.StringIO()
    source = """
        import os, subprocess, sys
        def main():
            print('one ä')
            os.write(1, b'two\\n')
            subprocess.run(['echo', 'three'])
            print('four', file=sys.stderr)
            os._exit(0)
    """
    record_isolated(program(source), output=sink)
    assert sink.getvalue() == "one ä\ntwo\nthree\nfour\n"


def test_standard_input_is_empty() -> None:
    source = "import os\ndef main():\n    x = os.read(0, 10)\n    return input()"
    trace = record_isolated(program(source))
    assert trace.frames[-2].locals == {"x": "b''"}
    assert trace.result == "EOFError('EOF when reading a line')"


def test_files_are_written_in_a_folder_that_goes_away() -> None:
    here = set(os.listdir())
    trace = record_isolated(program("import os\ndef main():\n    open('f', 'w').close()\n    return os.getcwd()"))
    assert trace.result is not None
    assert not Path(trace.result.strip("'")).exists()
    assert set(os.listdir()) == here


@pytest.mark.parametrize("body", ["raise RuntimeError", "while True: pass", "changed.append(1); return 'x'"])
def test_a_hostile_repr_is_never_called(body: str) -> None:
    hostile = f"changed = []\nclass R:\n    def __repr__(self):\n        {body}\n"
    source = hostile + "def main():\n    r = R()\n    return r, changed"
    assert record_isolated(program(source), limits=SHORT).result == "(R(), [])"


def test_huge_values_cost_little() -> None:
    trace = record_isolated(
        program("""
            def down(n, x):
                return n and down(n - 1, x)
            def main():
                x = ['y' * 1000] * 10**7
                return down(100, x)
        """)
    )
    assert trace.result == "0"
    assert all(len(text) <= 2000 for frame in trace.frames for text in frame.locals.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def main(:", "line 1: invalid syntax"),
        ("x = y\ndef main(): pass", r"the module failed before the entry: NameError\(.*\) at line 1"),
    ],
)
def test_programs_that_cannot_be_recorded(source: str, message: str) -> None:
    class Job:
        context, entry, entry_line = source, "main", 1

    with pytest.raises(RecordError, match=message):
        record_isolated(Job())
