"""Where a trace contradicts itself: what a line says and what the frames around it hold, without running anything.

Only what can be read off the trace is checked, so that it says nothing about the real run and needs no interpreter:

    return NAME           returns what NAME holds                NAME = OTHER       NAME then holds what OTHER holds
    return LITERAL        returns that                           NAME = LITERAL     NAME then holds that
    for NAME in OTHER     NAME is one of a list's, tuple's or text's items, in their order

Loops of generators are left aside: they go on in the middle.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field

from opencwm.trace.frames import Frame, Trace
from opencwm.trace.values import render
from opencwm.world.literals import literal

_CUT = "...+"
_LIMIT = 100_000


@dataclass(slots=True)
class _Loop:
    over: str
    lines: range
    taken: int = 0
    known: bool = True


@dataclass(slots=True)
class _Activation:
    frame: Frame
    generator: bool = False
    loops: dict[int, _Loop] = field(default_factory=dict)  # by the line of their head


def contradiction(trace: Trace) -> str | None:
    """The first contradiction in words, or None where there is none to be found."""
    statements, generators = _statements(trace.context)
    stack: list[_Activation] = []
    for index, frame in enumerate(trace.frames):
        if frame.event == "call":
            stack.append(_Activation(frame, frame.function in generators))
            continue
        if len(stack) != frame.depth + 1:
            return None  # an exception that unwinds, or a generator: nothing is claimed about these
        top = stack[-1]
        ran = statements.get(top.frame.line) if top.frame.event == "line" else None
        found = _against(ran, top, frame)
        if found is not None:
            return f"frame {index}: {found}"
        if frame.event == "return":
            stack.pop()
            continue
        top.frame = frame
        for line in [line for line, loop in top.loops.items() if frame.line not in loop.lines]:
            del top.loops[line]
    return None


def _statements(source: str) -> tuple[dict[int, ast.stmt], set[str]]:
    """The statement of each line that begins one, and one alone, and the names of functions that hold a `yield`.

    Nothing of a source that cannot be read.
    """
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return {}, set()
    found = [node for node in nodes if isinstance(node, ast.stmt)]
    often = Counter(node.lineno for node in found)
    functions = [node for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    generators = {one.name for one in functions if any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(one))}
    return {node.lineno: node for node in found if often[node.lineno] == 1}, generators


def _against(ran: ast.stmt | None, top: _Activation, frame: Frame) -> str | None:
    """What speaks against `frame` after the statement that ran before it in the same activation."""
    before = top.frame.locals
    if frame.event == "return" and isinstance(ran, ast.Return):
        wanted = _value(ran.value, before)
        if _differ(wanted, frame.value):
            return f"line {ran.lineno} returns {frame.value}, not {wanted}"
    if frame.event != "line":
        return None
    if isinstance(ran, ast.Assign) and len(ran.targets) == 1 and isinstance(ran.targets[0], ast.Name):
        name, wanted = ran.targets[0].id, _value(ran.value, before)
        held = frame.locals.get(name)  # None of a global
        if held is not None and _differ(wanted, held):
            return f"line {ran.lineno} leaves {name}={held}, not {wanted}"
    if isinstance(ran, ast.For) and not top.generator:
        return _looped(ran, top, frame)
    return None


def _looped(ran: ast.For, top: _Activation, frame: Frame) -> str | None:
    if not isinstance(ran.target, ast.Name) or not isinstance(ran.iter, ast.Name):
        return None
    name, over = ran.target.id, top.frame.locals.get(ran.iter.id)
    body = range(ran.body[0].lineno, (ran.body[-1].end_lineno or ran.body[-1].lineno) + 1)
    if over is None or not over.startswith(("[", "(", "'", '"')) or _CUT in over or frame.line not in body:
        return None
    loop = top.loops.setdefault(ran.lineno, _Loop(over, range(ran.lineno, body.stop)))
    if loop.over != over:  # changed or bound anew while looping: its items are not those any more
        loop.known = False
    taken, loop.taken = loop.taken, loop.taken + 1
    held = frame.locals.get(name)
    if not loop.known or held is None:
        return None
    try:
        items = list(literal(over))
    except (ValueError, TypeError):
        return None
    if taken >= len(items):
        return f"line {ran.lineno} goes round {taken + 1} times over {len(items)} items"
    wanted = render(items[taken], _LIMIT)
    return f"line {ran.lineno} gives {name}={held}, not {wanted}" if _differ(wanted, held) else None


def _value(node: ast.expr | None, known: dict[str, str]) -> str | None:
    """repr text of a local's value or a literal; None for all else."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | bool):
        return render(node.value, _LIMIT)
    return "None" if node is None or (isinstance(node, ast.Constant) and node.value is None) else None


def _differ(wanted: str | None, held: str | None) -> bool:
    """Whether two repr texts contradict each other; one that is unknown or was cut for its length does not."""
    return wanted is not None and held is not None and wanted != held and _CUT not in wanted + held
