"""The source that a run touches, gathered from its files into one short context, and where its lines went.

Notable choices:
- Kept are the functions that ran, the headers of the classes around them, and the module's and classes' short
  statements that bind a name which the kept code uses (imports, constants). Everything else is left out, docstrings
  too.
- Lines keep their text and their order, so a line of the context is a line of the file; several files stand under
  `# file: PATH` headings. Nothing is unparsed.
"""

from __future__ import annotations

import ast
import linecache
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType

from opencwm.trace.frames import Trace
from opencwm.trace.live import Episode, short_name

_SHORT = 8  # lines of a statement that is kept for a name it binds


def gather(episode: Episode, files: Files) -> Trace | None:
    """The episode's trace in the context of what it touched; None where a source cannot be found or has changed."""
    touched: dict[str, list[CodeType]] = {}
    for code in dict.fromkeys(episode.codes):
        touched.setdefault(code.co_filename, []).append(code)
    parts: list[str] = []
    places: dict[tuple[str, int], int] = {}
    lines = 0
    for name, codes in touched.items():
        kept = files.kept(name, codes)
        if kept is None:
            return None
        heading = [f"# file: {short_name(name)}"] if len(touched) > 1 else []
        text = [*heading, *_spaced(files.lines(name), kept, places, name, lines + len(heading))]
        parts += text
        lines += len(text)
    if any(
        (code.co_filename, frame.line) not in places for frame, code in zip(episode.frames, episode.codes, strict=True)
    ):
        return None  # a line outside of its own function: the file is not the one that was imported
    return episode.trace("\n".join(parts) + "\n", lambda code, line: places[code.co_filename, line])


def _spaced(lines: list[str], kept: list[int], places: dict[tuple[str, int], int], name: str, before: int) -> list[str]:
    """The kept lines with one empty line where something was left out; `places` gets where each went."""
    text: list[str] = []
    previous = None
    for number in kept:
        line = lines[number - 1].rstrip()
        if previous is not None and number != previous + 1 and line and text and text[-1]:
            if not (line.startswith((" ", "\t")) and _inside(text[-1])):
                text.append("")
        if line or (text and text[-1]):
            text.append(line)
            places[name, number] = before + len(text)
        previous = number
    return [*text, ""] if text and text[-1] else text


def _inside(line: str) -> bool:
    return line.rstrip().endswith((":", "(", ","))


class Files:
    """Syntax trees of source files, kept for the next episode."""

    def __init__(self) -> None:
        self._trees: dict[str, ast.Module | None] = {}

    def lines(self, name: str) -> list[str]:
        """The lines of a file."""
        return [line.rstrip("\n") for line in linecache.getlines(name)]

    def kept(self, name: str, codes: Iterable[CodeType]) -> list[int] | None:
        """Numbers of the lines to keep so that some code objects of a file are whole; None without a source."""
        if name not in self._trees:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._trees[name] = ast.parse("\n".join(self.lines(name)) + "\n")
            except (SyntaxError, ValueError, RecursionError):
                self._trees[name] = None
        tree = self._trees[name]
        codes = list(codes)
        if tree is None or not tree.body:
            return None
        found: set[int] = set()
        _keep(tree.body, {code.co_firstlineno for code in codes}, _names(codes), found)
        return sorted(found)


def _keep(body: list[ast.stmt], firsts: set[int], names: set[str], found: set[int]) -> bool:
    """Keep what is needed of a module's or a class's statements; whether code that ran is among it."""
    ran = False
    for node in body:
        span = range(first_line(node), (node.end_lineno or node.lineno) + 1)
        touched = any(line in span for line in firsts)
        if isinstance(node, ast.ClassDef) and touched and node.lineno not in firsts and span.start not in firsts:
            inner: set[int] = set()
            if _keep(node.body, firsts, names, inner):
                header = range(span.start, first_line(node.body[0]))
                found |= inner | set(header)
                ran = True
                continue
        if touched:
            found |= set(span) - docstring_lines(node)
            ran = True
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and len(span) <= _SHORT:
            if names & set(_bound(node)):
                found |= set(span)
    return ran


def _names(codes: list[CodeType]) -> set[str]:
    """Names that code objects and the code inside them look up, attributes included."""
    found: set[str] = set()
    left = list(codes)
    while left:
        code = left.pop()
        found.update(code.co_names)
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def _bound(node: ast.stmt) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, ast.alias):
            yield inner.asname or inner.name.partition(".")[0]


def first_line(node: ast.stmt) -> int:
    """First line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def docstring_lines(node: ast.AST) -> set[int]:
    """Lines that hold nothing but a docstring, of a definition and those inside it, where something follows it."""
    found: set[int] = set()
    for inner in ast.walk(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or len(inner.body) < 2:
            continue
        doc = inner.body[0]
        if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str):
            if doc.lineno > inner.lineno:
                last = min((doc.end_lineno or doc.lineno) + 1, first_line(inner.body[1]))
                found |= set(range(doc.lineno, last))
    return found
