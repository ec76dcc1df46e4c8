"""`Program`: source and an entry call; what can be recorded or predicted.

Notable choice: a call expression becomes a `main` function below the source (`def main(): return f('r')`), CWM's own
convention, so that a program and a trace need only one text, the *context*, and one entry that takes no argument. The
source keeps its line numbers. Nothing here runs the program: everything is read off the syntax tree.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

START_MARK = "# << START_OF_TRACE"


class ProgramError(ValueError):
    """A program that can be neither recorded nor predicted; the message is one line and says what to do.

    `excerpt`: where the source is at fault, that line of it and a caret below; else "".
    """

    def __init__(self, message: str, excerpt: str = "") -> None:
        super().__init__(message)
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True)
class Program:
    """Source and entry.

    `source` is the text without any start mark. `call` is the entry call expression (`"f('r')"`), or None when `source`
    itself holds the entry, a function without arguments named by `function`. `tests` are assertion lines, `origin` says
    where it came from (a path, a data set's id, a writer's seed).
    """

    source: str
    call: str | None = None
    function: str | None = None
    tests: tuple[str, ...] = ()
    origin: str = ""

    @property
    def entry(self) -> str:
        """Name of the module-level function, without arguments, at which the run starts."""
        if self.call is None:
            if self.function is None:
                raise ProgramError("the program has no entry: give it a call or the name of a function")
            return self.function
        name = "main"
        while name in self.source and re.search(rf"(?<![\w.'\"]){name}(?![\w'\"])", self.source):
            name += "_"
        return name

    @property
    def context(self) -> str:
        """The text that is recorded and that a model reads: the source, then `main` if there is a call."""
        if self.call is None:
            return self.source
        return f"{self.source.rstrip()}\n\ndef {self.entry}():\n    return {self.call}\n"

    @property
    def entry_line(self) -> int:
        """1-based line of the entry's `def` in the context."""
        if self.call is not None:
            return self.source.rstrip().count("\n") + 3
        lines = [
            node.lineno
            for node in _parse(self.source, self.origin or "the source").body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == self.entry
        ]
        if not lines:
            raise ProgramError(f"no function {self.entry} at the top level of the source: name one that is there")
        return lines[-1]

    @classmethod
    def read(cls, path: str, call: str | None = None) -> Program:
        """A program from a file, or from standard input for `-`.

        The entry is `call` if given, else the function marked `# << START_OF_TRACE`. Raises ProgramError.
        """
        if path == "-":
            name = "standard input"
            try:
                text = sys.stdin.read()
            except UnicodeDecodeError:
                raise ProgramError("cannot read standard input: it is not UTF-8 text") from None
        else:
            name = path
            try:
                text = Path(path).read_text(encoding="utf-8-sig")
            except OSError as error:
                raise ProgramError(f"cannot read {path}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ProgramError(f"cannot read {path}: it is not UTF-8 text") from None
        return cls.parse(text, call, origin=name)

    @classmethod
    def parse(cls, text: str, call: str | None = None, *, origin: str = "") -> Program:
        """A checked program from source text that may hold a start mark. Raises ProgramError."""
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        marked = [index for index, line in enumerate(lines) if line.rstrip().endswith(START_MARK)]
        for index in marked:
            lines[index] = lines[index].rstrip().removesuffix(START_MARK).rstrip()
        source = "\n".join(lines)
        tree = _parse(source, origin or "the source")
        if call is not None:
            check_call(tree, call)
            program = cls(source, call=call.strip(), origin=origin)
            try:
                _compile(program.context)  # an `await` or a `yield` is an expression, yet does not fit in `main`
            except SyntaxError as error:
                raise ProgramError(f"the call {call!r} cannot stand in a plain function: {error.msg}") from None
            return program
        if len(marked) != 1:
            found = "no line" if not marked else f"{len(marked)} lines"
            raise ProgramError(f'{found} marked "{START_MARK}": mark one function, or name a call with --call "f(1)"')
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.lineno == marked[0] + 1:
                missing = _required(node.args)
                if missing:
                    raise ProgramError(
                        f'{node.name} needs {", ".join(missing)}: give them with --call "{node.name}(...)"'
                    )
                return cls(source, function=node.name, origin=origin)
        raise ProgramError(f'line {marked[0] + 1} is marked "{START_MARK}" but starts no top-level function')


def check_call(tree: ast.Module, call: str) -> None:
    """Raise ProgramError unless `call` is an expression that fits the signature of the function it names.

    Only a call of a plain top-level function with plain arguments is checked; whatever else is an expression passes,
    and an error in it is then an exception of the run.
    """
    try:
        expression = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = getattr(error, "msg", str(error))
        raise ProgramError(f"the call {call!r} is not a Python expression: {reason}") from None
    if not isinstance(expression, ast.Call) or not isinstance(expression.func, ast.Name):
        return
    name = expression.func.id
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name]
    if _may_be_rebound(tree, name):
        return
    if not functions:
        defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        if name in defined or hasattr(builtins, name):
            return
        raise ProgramError(f"the source has no function {name}; it has: {', '.join(defined) or 'none'}")
    function = functions[-1]
    if function.decorator_list or any(isinstance(a, ast.Starred) for a in expression.args):
        return
    if any(keyword.arg is None for keyword in expression.keywords):
        return
    _bind(function, expression)


def _bind(function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call) -> None:
    arguments = function.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    given = set(positional[: len(call.args)])
    signature = f"{function.name}({ast.unparse(arguments)})"
    if len(call.args) > len(positional) and arguments.vararg is None:
        raise ProgramError(f"the call gives {len(call.args)} positional arguments, but the signature is {signature}")
    by_keyword = {a.arg for a in (*arguments.args, *arguments.kwonlyargs)}
    for keyword in call.keywords:
        assert keyword.arg is not None
        if keyword.arg not in by_keyword and arguments.kwarg is None:
            raise ProgramError(f"the call names {keyword.arg!r}, but the signature is {signature}")
        if keyword.arg not in by_keyword:
            continue  # it goes to **, even if it has the name of a positional-only argument
        if keyword.arg in given:
            raise ProgramError(f"the call gives {keyword.arg!r} twice; the signature is {signature}")
        given.add(keyword.arg)
    missing = [name for name in _required(arguments) if name not in given]
    if missing:
        raise ProgramError(f"the call lacks {', '.join(missing)}; the signature is {signature}")


def _required(arguments: ast.arguments) -> list[str]:
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    required = positional[: len(positional) - len(arguments.defaults)]
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return required + [a.arg for a, default in keyword_only if default is None]


def _may_be_rebound(tree: ast.Module, name: str) -> bool:
    """Whether the module may bind `name` in some way other than a top-level `def` or `class`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == name and node not in tree.body:
                return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
        if isinstance(node, ast.alias) and (node.name == "*" or (node.asname or node.name).split(".")[0] == name):
            return True
    return False


def _parse(source: str, name: str) -> ast.Module:
    try:
        return _compile(source)
    except SyntaxError as error:
        message = f"{name}, line {error.lineno}: {error.msg}; fix the syntax first"
        raise ProgramError(message, _excerpt(source, error)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(f"{name} cannot be parsed: {error}") from None


def _excerpt(source: str, error: SyntaxError) -> str:
    """The line that is at fault, and carets below what is."""
    lines = source.split("\n")
    if not error.lineno or not 0 < error.lineno <= len(lines):
        return ""
    line = lines[error.lineno - 1].rstrip()
    start = min(max(error.offset or 1, 1), len(line) + 1)
    end = error.end_offset if error.end_offset and error.end_lineno == error.lineno else start + 1
    indent = "".join("\t" if character == "\t" else " " for character in line[: start - 1])
    return f"    {line}\n    {indent}{'^' * max(1, min(end, len(line) + 1) - start)}"


def _compile(source: str) -> ast.Module:
    """The tree of a source that also compiles (a `return` outside of a function parses); warnings are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
        compile(source, "<context>", "exec", dont_inherit=True)
    return tree
