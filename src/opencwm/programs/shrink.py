"""Just the source that a run touches: drop what it never entered, then make sure by running that nothing changed.

A model reads the whole context for every frame, so a class of forty methods around a run that enters two costs twenty
times what it teaches. What is dropped may matter in ways that no reading shows (`hasattr`, an operator looked up on the
type), so `same_run` compares the run of the small source with the first one, frame by frame.
"""

from __future__ import annotations

import ast
from pathlib import Path

from opencwm.programs.closure import NotSelfContained, close
from opencwm.programs.packages import Module, Package, parse
from opencwm.programs.program import Program
from opencwm.trace.context import first_line
from opencwm.trace.frames import Trace

_WORTHWHILE = 0.9  # of the lines


def shrunk(program: Program, trace: Trace) -> Program | None:
    """The program with only the functions that the run entered and what they name; None if that saves little."""
    tree = parse(program.source, "<context>")
    if tree is None or program.call is None:
        return None
    entered = {frame.function for frame in trace.frames}
    dropped: set[int] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in entered:
            dropped |= _lines(node)
        elif isinstance(node, ast.ClassDef):
            dropped |= _methods_not_entered(node, entered)
    lines = program.source.split("\n")
    text = "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped)
    tree = parse(text, "<context>")
    if tree is None:
        return None
    module = Module("context", Path("context"), "context", text, tree, False)
    package = Package("context", "", {}, (), (), {"context": module})
    try:
        names = [node.id for node in ast.walk(ast.parse(program.call, mode="eval")) if isinstance(node, ast.Name)]
        source = close(
            package, module, [name for name in dict.fromkeys(names) if name in module.bindings], whole=True
        ).source
    except (NotSelfContained, SyntaxError):
        return None
    if source.count("\n") > _WORTHWHILE * program.source.count("\n"):
        return None
    return Program(source, program.call, program.function, program.tests, program.origin)


def same_run(first: Trace, second: Trace) -> bool:
    """Whether two runs did the same on lines of the same text, whatever their numbers."""
    if len(first.frames) != len(second.frames) or first.outcome != second.outcome:
        return False
    lines, others = first.context.split("\n"), second.context.split("\n")
    return all(
        one.event == other.event
        and one.function == other.function
        and one.depth == other.depth
        and one.locals == other.locals
        and one.value == other.value
        and lines[one.line - 1] == others[other.line - 1]
        for one, other in zip(first.frames, second.frames, strict=True)
    )


def _methods_not_entered(node: ast.ClassDef, entered: set[str]) -> set[int]:
    named = {inner.id for item in node.body for inner in _outside_of_methods(item) if isinstance(inner, ast.Name)}
    found: set[int] = set()
    left = len(node.body)
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and left > 1:
            if f"{node.name}.{item.name}" not in entered and item.name not in named:
                found |= _lines(item)
                left -= 1
    return found


def _outside_of_methods(item: ast.stmt) -> list[ast.AST]:
    parts: list[ast.AST] = list(getattr(item, "decorator_list", ())) if isinstance(item, ast.FunctionDef) else [item]
    return [inner for part in parts for inner in ast.walk(part)]


def _lines(node: ast.stmt) -> set[int]:
    return set(range(first_line(node), (node.end_lineno or node.lineno) + 1))
