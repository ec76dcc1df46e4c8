"""`Program`: reading, checking and laying out a program and its entry."""

import ast
import io
import sys
from pathlib import Path

import pytest

from opencwm.programs.program import START_MARK, Program, ProgramError, check_call


def run(program: Program) -> object:
    scope: dict[str, object] = {}
    exec(compile(program.context, "<context>", "exec", dont_inherit=True), scope)
    return scope[program.entry]()


def test_a_call_becomes_main_below_the_source() -> None:
    program = Program.parse("def f(x):\n    return x + 1\n\n\n", "f(2)")
    assert program.context == "def f(x):\n    return x + 1\n\ndef main():\n    return f(2)\n"
    assert (program.entry, program.entry_line) == ("main", 4)
    assert run(program) == 3


def test_a_marked_function_is_the_entry_and_the_mark_is_gone() -> None:
    program = Program.parse(f"x = 4\ndef go():  {START_MARK}\n    return x\n")
    assert program.source == "x = 4\ndef go():\n    return x\n"
    assert (program.entry, program.entry_line, program.context) == ("go", 2, program.source)


@pytest.mark.parametrize(
    "source",
    [
        "def main(n):\n    return n * 2",
        "def main (n):\n    return n * 2",
        "main = lambda n: n * 2",
        "class main(int):\n    def __eq__(self, other):\n        return other == 4",
    ],
)
def test_main_gives_way_to_a_name_of_the_source(source: str) -> None:
    program = Program.parse(source, "main(2)")
    assert program.entry == "main_"
    assert run(program) == 4


@pytest.mark.parametrize("source", ["def f():\n    return 'main'", "def f():\n    return __name__ == '__main__'"])
def test_main_stays_main_if_only_a_string_says_so(source: str) -> None:
    assert Program(source, "f()").entry == "main"


def test_entry_line_is_that_of_the_definition_that_counts() -> None:
    source = '"""\ndef go():\n"""\ndef go():\n    return 1\n\ndef go ():\n    return 2\n'
    assert Program(source, function="go").entry_line == 7
    program = Program(f'text = """\ndef main():\n"""\n{source}', "go()")
    assert program.context.split("\n")[program.entry_line - 1] == f"def {program.entry}():"
    assert run(program) == 2


def test_a_missing_entry_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ProgramError, match="give it a call or the name of a function"):
        _ = Program("x = 1").entry
    with pytest.raises(ProgramError, match="no function go"):
        _ = Program("x = 1", function="go").entry_line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(): pass", "no line marked"),
        (f"def f(): {START_MARK}\n    pass\ndef g(): {START_MARK}\n    pass", "2 lines marked"),
        (f"def f(x): {START_MARK}\n    pass", "f needs x"),
        (f"x = 1 {START_MARK}", "starts no top-level function"),
        ("def f(:", "line 1: "),
        ("return 1", "outside function"),
        ("x = '\0'", "null"),
    ],
)
def test_a_source_without_a_usable_entry_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        Program.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "call", "message"),
    [
        ("def f(x): pass", "g(1)", "no function g; it has: f"),
        ("def f(x): pass", "f()", "lacks x"),
        ("def f(x): pass", "f(1, 2)", "2 positional"),
        ("def f(x): pass", "f(y=1)", "names 'y'"),
        ("def f(x): pass", "f(1, x=2)", "gives 'x' twice"),
        ("def f(x, /): pass", "f(x=2)", "names 'x'"),
        ("def f(x, /, **more): pass", "f(x=2)", "lacks x"),
        ("def f(*, k): pass", "f()", "lacks k"),
        ("def f(x): pass", "f(", "not a Python expression"),
        ("def f(x): pass", "x = 1", "not a Python expression"),
        ("def f(x): pass", "", "not a Python expression"),
        ("async def f(): pass", "await f()", "plain function"),
    ],
)
def test_a_call_that_cannot_fit_is_refused(source: str, call: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Program.parse(source, call)


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("def f(x, y=2, *rest, k=3, **more): pass", "f(1, 2, 3, 4, k=5, z=6)"),
        ("def f(x, /, **more): pass", "f(1, x=2)"),
        ("def f(x): pass", "f(*[1])"),
        ("def f(x): pass", "f(**{'x': 1})"),
        ("def f(x): pass", "[f(1), f(2)]"),
        ("f = lambda: 1", "f()"),
        ("class F:\n    def __init__(self, x): pass", "F(1)"),
        ("try:\n    from math import f\nexcept ImportError:\n    def f(x): pass", "f(1)"),
        ("def f(x): pass\nimport functools\nf = functools.partial(f, 1)", "f()"),
        ("", "len('abc')"),
        ("from math import *", "sqrt(4)"),
        ("def f(a): pass", "f(\n    1,\n)"),
    ],
)
def test_a_call_that_may_fit_is_taken(source: str, call: str) -> None:
    program = Program.parse(source, call)
    assert program.call == call
    check_call(ast.parse(source), call)


def test_a_source_whose_compilation_warns_is_taken_silently() -> None:
    program = Program.parse("def f(x):\n    return x is 'a', '\\d'\n", "f(1)")
    assert program.source.endswith("'\\d'\n")


def test_reading_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(b"\xef\xbb\xbfdef f():\r\n    return 7\r\n")
    program = Program.read(str(path), "f()")
    assert program.source == "def f():\n    return 7\n"
    assert (program.origin, run(program)) == (str(path), 7)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProgramError, match="not UTF-8"):
        Program.read(str(path))
    with pytest.raises(ProgramError, match="No such file"):
        Program.read(str(tmp_path / "absent.py"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("def f():\n    return 8"))
    assert run(Program.read("-", "f()")) == 8
