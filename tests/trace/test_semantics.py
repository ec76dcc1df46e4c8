"""What happens around a program's own lines: threads, finalizers, signals, exec, C frames, other tracers. Both cores."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from opencwm.programs.program import Program
from opencwm.trace.recorder import record

pytestmark = pytest.mark.usefixtures("core")

Outline = Callable[..., list[str]]


def test_each_thread_of_a_program_is_its_own(outline: Outline) -> None:
    lines = outline(
        """
        import threading
        def work(found):
            found.append(1)
        def main():
            found = []
            threads = [threading.Thread(target=work, args=(found,)) for _ in range(3)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            work(found)
            return len(found)
        """
    )
    assert sum("call 2 work" in line for line in lines) == 1  # in the thread that was recorded
    assert lines[-2:] == ["return 10 main 4", "return"]


def test_tasks_take_turns(outline: Outline) -> None:
    lines = outline(
        """
        import asyncio
        async def step(name):
            await asyncio.sleep(0)
            return name
        async def both():
            return await asyncio.gather(step('a'), step('b'))
        def main():
            return asyncio.run(both())
        """
    )
    calls = [line.strip(". ") for line in lines if " step" in line and "call" in line]
    assert calls == [f"call {line} step name='{name}'" for line, name in [(2, "a"), (2, "b"), (3, "a"), (3, "b")]]
    assert lines[-2:] == ["return 8 main ['a', 'b']", "return"]


def test_an_exception_through_frames_in_c(outline: Outline) -> None:
    lines = outline(
        """
        def key(x):
            return 1 / x
        def main():
            try:
                sorted([1, 0], key=key)
            except ZeroDivisionError as error:
                return str(error)
        """
    )
    assert lines[5:] == [
        ". return 2 key 1.0",
        ". call 1 key x=0",
        ". line 2 key x=0",
        ". exception 2 key ZeroDivisionError('division by zero')",
        "exception 5 main ZeroDivisionError('division by zero')",
        "line 6 main",
        "line 7 main error=ZeroDivisionError('division by zero')",
        "return 7 main 'division by zero'",
        "return",
    ]


def test_exec_and_eval_are_stepped_over_and_what_they_call_is_not(outline: Outline) -> None:
    lines = outline(
        """
        def twice(x):
            return 2 * x
        def main():
            names = {'twice': twice}
            exec('y = twice(3)', names)
            return eval('twice(y)', names)
        """
    )
    assert [line for line in lines if "twice" in line and "main" not in line] == [
        *[". call 1 twice x=3", ". line 2 twice x=3", ". return 2 twice 6"],
        *[". call 1 twice x=6", ". line 2 twice x=6", ". return 2 twice 12"],
    ]
    assert lines[-2:] == ["return 6 main 12", "return"]


def test_a_finalizer_runs_where_the_object_dies(outline: Outline) -> None:
    lines = outline(
        """
        class Noisy:
            def __del__(self):
                print('gone')
        def make():
            Noisy()
            return 1
        def main():
            x = make()
            return x
        """
    )
    at = lines.index(". . call 2 Noisy.__del__ self=Noisy()")
    assert lines[at - 1] == ". line 5 make" and lines[at + 3] == ". line 6 make"


@pytest.mark.skipif(os.name != "posix", reason="signals are sent on POSIX systems only")
def test_a_signal_handler_is_a_call(outline: Outline) -> None:
    lines = outline(
        """
        import os, signal
        def handler(number, frame):
            raise TimeoutError('too long')
        def main():
            before = signal.signal(signal.SIGUSR1, handler)
            try:
                os.kill(os.getpid(), signal.SIGUSR1)
                for _ in range(10):
                    pass
            except TimeoutError:
                return 'stopped'
            finally:
                signal.signal(signal.SIGUSR1, before)
        """
    )
    assert any("call 2 handler number=10" in line for line in lines) or signal.SIGUSR1 != 10
    assert any("exception 3 handler TimeoutError('too long')" in line for line in lines)
    assert lines[-2:] == ["return 13 main 'stopped'", "return"]


def test_a_tracer_of_before_is_put_back() -> None:
    seen = []

    def spy(frame: Any, event: str, argument: object) -> None:
        seen.append(frame.f_code.co_name)

    program = Program("def f():\n    return 1\n", call="f()")
    sys.settrace(spy)
    try:
        trace = record(program)
        after = sys.gettrace()
        os.path.join("a", "b")
    finally:
        sys.settrace(None)
    assert after is spy and str(trace.outcome) == "return" and len(trace.frames) == 6
    assert "f" not in seen and "join" in seen


def test_a_program_that_traces_itself(outline: Outline) -> None:
    source = """
        import sys
        def inner(x):
            return x + 1
        def main():
            before = sys.gettrace()
            sys.settrace(None)
            inner(1)
            sys.settrace(before)
            return inner(2)
    """
    lines = outline(source)
    assert [line for line in lines if "inner" in line] == [
        *[". call 2 inner x=2", ". line 3 inner x=2", ". return 3 inner 3"],
    ]
    taken = outline(source.replace("sys.settrace(before)", "sys.settrace(lambda *event: None)"))
    assert taken[-1] == "truncated (tracing was switched off)"


def test_names_that_share_an_object() -> None:
    source = "def f(rows):\n    first = rows[0]\n    grid = rows\n    n = m = 1000\n    first = grid\n    return n\n"
    trace = record(Program(source, call="f([[1], [2]])"), identity=True)
    groups = [frame.identity for frame in trace.frames if frame.function == "f"]
    assert groups == [(), (), (), (("rows", "grid"),), (("rows", "grid"),), (("rows", "first", "grid"),), ()]
    assert all(frame.identity == () for frame in record(Program(source, call="f([[1], [2]])")).frames)


def test_a_half_made_object_is_shown(outline: Outline) -> None:
    lines = outline(
        """
        import fractions, pathlib, decimal
        def main():
            half = object.__new__(fractions.Fraction)
            path = object.__new__(pathlib.PurePosixPath)
            return 1
        """
    )
    assert lines[-1] == "return" and "half=Fraction(...+2)" in lines[-3]
