"""`ControlFlow` against what the interpreter's own line events say, and how tight its answers are."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from opencwm.codec.flow import ControlFlow, Raised, Scope

EVENTS = tuple[str, int, Any]
PROGRAMS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "flow").glob("*.txt"))}


def run(context: str) -> list[tuple[str, int, list[EVENTS]]]:
    """(qualified name, definition line, settrace events) of each activation of a run of `main()`."""
    module = sys.modules["__cwm__"] = ModuleType("__cwm__")  # dataclasses look their module up
    space = vars(module)
    exec(compile(context, "<flow test>", "exec"), space)
    activations: dict[int, tuple[str, int, list[EVENTS]]] = {}
    frames: list[FrameType] = []  # kept alive, so that ids are not reused

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != "<flow test>":
            return None
        if id(frame) not in activations:
            frames.append(frame)
            activations[id(frame)] = (frame.f_code.co_qualname, frame.f_code.co_firstlineno, [])
        activations[id(frame)][2].append((event, frame.f_lineno, argument))
        return trace

    sys.settrace(trace)
    try:
        space["main"]()
    except Exception:
        pass
    finally:
        sys.settrace(None)
        del sys.modules["__cwm__"]
    return list(activations.values())


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_recorded_step_is_a_predicted_one(name: str) -> None:
    context = PROGRAMS[name]
    flow = ControlFlow(context)
    checked = 0
    for function, first_line, events in run(context):
        scope = flow.scope(function, events[0][1]) or flow.scope(function, events[-1][1])
        assert scope is not None, f"no scope {function}"
        raised: Raised | None = None
        started, line, clean = False, 0, True
        for event, at, argument in events:
            at = scope.line if at == first_line else at  # the interpreter names a decorated one's first decorator
            where = f"{function}: {event} at {at} after {line}"
            if event == "line":
                allowed = scope.successors(line) if started else scope.entries()
                assert at in allowed, f"{where}, allowed {sorted(allowed)}"
                assert at in scope.lines
                if raised is not None:
                    assert at in raised.lines or raised.silent, f"{where}, an exception"
                raised = None
                started, line, clean = True, at, True
                checked += 1
            elif event == "exception":
                clean = False
                internal = issubclass(argument[0], StopIteration | StopAsyncIteration | GeneratorExit)
                raised = None if internal or raised is not None else scope.raised(line)
            elif event == "return" and argument is None and raised is not None:
                assert raised.escapes or raised.silent, f"{where}, an exception"
                raised = None
            elif event == "return" and argument is not None and clean:
                assert scope.may_return(line), where
            elif event == "call" and started:
                assert line in scope.suspension_lines, where
                assert scope in flow.callees(line)
    assert checked > 5


def function(body: str) -> Scope:
    flow = ControlFlow("def f(a, b):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n")
    return flow.scopes[0]


def test_straight_lines_have_one_successor() -> None:
    scope = function("a = 1\nb = 2\na = b + 1\nreturn a")
    assert scope.entries() == {2}
    assert [scope.successors(line) for line in (2, 3, 4, 5)] == [{3}, {4}, {5}, frozenset()]
    assert [scope.may_return(line) for line in (2, 3, 4, 5)] == [False, False, False, True]


def test_a_branch_has_two_successors() -> None:
    scope = function("if a:\n    b = 1\nelse:\n    b = 2\nreturn b")
    assert scope.successors(2) == {3, 5}
    assert scope.successors(3) == scope.successors(5) == {6}
    assert not scope.may_return(2)


def test_loops_go_back_or_on() -> None:
    scope = function("for x in a:\n    b = 1\nwhile b:\n    b = 0\nreturn b")
    assert scope.successors(2) == {3, 4}
    assert scope.successors(3) == {2}
    assert scope.successors(4) == {5, 6}
    assert scope.successors(5) == {4}


def test_handlers_follow_only_what_can_raise_inside_their_try() -> None:
    scope = function(
        """
        a = b + 1
        try:
            a = 1
            a = b()
        except ValueError:
            b = 2
        a = b()
        return a
        """
    )
    assert scope.successors(2) == {3}
    assert scope.successors(4) == {5}
    assert scope.successors(5) == {6, 8}
    assert scope.successors(6) == {7}  # or the exception goes on and leaves the function
    assert scope.successors(8) == {9}


def test_one_line_loops_and_comprehensions_follow_themselves() -> None:
    assert 2 in function("while a: a -= 1\nreturn a").successors(2)
    flow = ControlFlow("def f(a):\n    return [x for x in a]\n")
    assert flow.scopes[-1].successors(2) == {2}


def test_a_decorated_definition_starts_at_its_def() -> None:
    flow = ControlFlow("def d(f):\n    return f\n\n@d\n@d\ndef g(x):\n    return x\n")
    scope = flow.scope("g", 6)
    assert scope is not None
    assert (scope.line, scope.arguments) == (6, ("x",))
    assert flow.callees(6) == (scope,)
    assert flow.callees(4) == ()


def test_names_and_arguments() -> None:
    flow = ControlFlow(
        "def f(a, /, b, *c, d, **e):\n    g = 1\n    def h():\n        return g, a\n    return h\n"
        "def k(z):\n    class C:\n        q = z\n    return sum(x for x in z)\n"
    )
    f, h, k, c, lazy = flow.scopes
    assert f.arguments == ("a", "b", "d", "c", "e")
    assert set(f.names) == {"a", "b", "c", "d", "e", "g", "h"}
    assert set(h.names) == {"a", "g"}
    assert {"q", "z"} <= set(c.names) and (c.name, c.line, c.arguments) == ("k.<locals>.C", 7, ())
    assert lazy.arguments == () and lazy.names == ("x",) and lazy.is_generator
    assert not k.is_generator


def test_callees_are_started_then_resumed_scopes() -> None:
    flow = ControlFlow("def f(n):\n    yield n\n    g = lambda: (yield)\n    return g\n\ndef h(): yield 1\n")
    names = [[scope.name for scope in flow.callees(line)] for line in range(1, 7)]
    assert names == [["f"], ["f"], ["f.<locals>.<lambda>"], [], [], ["h"]]


def test_what_runs_at_import_has_no_scope() -> None:
    flow = ControlFlow("x = [i for i in range(3)]\nclass C:\n    y = {k for k in x}\n    def m(self): return [1]\n")
    assert [scope.name for scope in flow.scopes] == ["C.m"]


def test_scopes_of_one_name_are_told_apart_by_line() -> None:
    flow = ControlFlow("def f():\n    return 1\n\ndef f(a):\n    return 2\n")
    first, second = flow.scopes
    assert flow.scope("f", 2) is first and flow.scope("f", 5) is second and flow.scope("f", 4) is second
    assert flow.scope("g", 1) is None


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\0'", "return 1\n", "\ud800 = 1", "(" * 500 + ")" * 500])
def test_text_that_does_not_compile_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SyntaxError):
        ControlFlow(text)


def test_warnings_of_the_context_are_not_raised() -> None:
    assert ControlFlow('def f(x):\n    return x is 1, "\\d"\n').scopes


def test_twenty_lines_take_less_than_two_milliseconds() -> None:
    context = PROGRAMS["loops"]
    best = 1.0
    for _ in range(5):
        start = time.perf_counter()
        for scope in ControlFlow(context).scopes:
            assert scope.lines
        best = min(best, time.perf_counter() - start)
    assert best < 0.004  # 34 lines, and a machine may be busy
