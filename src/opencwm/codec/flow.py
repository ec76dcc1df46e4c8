"""Which line can come next: the control flow of a context, read off its compiled, never executed, bytecode.

The interpreter reports a line when the next instruction's line differs from the last one's, or when it jumps backwards
on the same line. `ControlFlow` follows those rules over every path of instructions, with an edge to the handler of
each instruction that can raise, so its answers are a superset of what can happen in the version that runs it.

Notable choices:
- Answers depend on the current line alone, not on the path to it. A `finally` body that was entered by `return` may go
  where one entered by an exception goes. That is the price of an answer that is a set lookup.
- Bytecode is decoded here, not with `dis.get_instructions`, which is several times slower; a scope is analysed when it
  is first asked something.
- What runs only while the module is imported (module level, class bodies and comprehensions there) has no scope:
  it is never recorded.
"""

from __future__ import annotations

import ast
import dis
import opcode
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType

_GENERATOR = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_VARARGS, _VARKEYWORDS, _OPTIMIZED = 0x04, 0x08, 0x01


def _numbers(*names: str) -> frozenset[int]:
    """Numbers of the opcodes that this version has among `names`."""
    return frozenset(opcode.opmap[name] for name in names if name in opcode.opmap)


_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_RESUME = opcode.opmap["RESUME"]
_SEND = opcode.opmap["SEND"]
_CACHE = 0
_JUMPS = frozenset(dis.hasjrel)
_BACKWARD = frozenset(number for name, number in opcode.opmap.items() if "JUMP_BACKWARD" in name)
_ALWAYS_JUMPS = _numbers("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
_RETURNS = _numbers("RETURN_VALUE", "RETURN_CONST")
_YIELDS = _numbers("YIELD_VALUE")
_RERAISES = _numbers("RAISE_VARARGS", "RERAISE")
_STORES_NAME = _numbers("STORE_NAME")
_END_FOR = _numbers("END_FOR")
# What the interpreter itself binds in a class body.
_MACHINERY = frozenset(
    ("__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__classdict__", "__classdictcell__")
)
_CANNOT_RAISE = _numbers(
    *("NOP", "POP_TOP", "PUSH_NULL", "COPY", "SWAP", "LOAD_CONST", "STORE_FAST", "LOAD_CLOSURE", "MAKE_CELL", "IS_OP"),
    *("COPY_FREE_VARS", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "RETURN_VALUE", "RETURN_CONST"),
    *("PUSH_EXC_INFO", "POP_EXCEPT", "KW_NAMES", "PRECALL", "RETURN_GENERATOR", "STORE_DEREF", "END_FOR", "END_SEND"),
    *("POP_JUMP_FORWARD_IF_NONE", "POP_JUMP_FORWARD_IF_NOT_NONE", "POP_JUMP_BACKWARD_IF_NONE", "LOAD_ASSERTION_ERROR"),
    *("POP_JUMP_BACKWARD_IF_NOT_NONE", "POP_JUMP_IF_NONE", "POP_JUMP_IF_NOT_NONE", "LOAD_FAST_AND_CLEAR"),
    *("STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "EXTENDED_ARG", "MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"),
    *(("LOAD_FAST", "LOAD_FAST_LOAD_FAST") if sys.version_info >= (3, 12) else ()),
)


@dataclass(frozen=True, slots=True)
class Raised:
    """Where an exception raised at a line goes.

    `lines` are those whose `line` frame may come next in the same activation: its handlers. `silent`: a handler on the
    same line may go on without such a frame (`with a: b()`). `escapes`: it may leave the activation at once.
    """

    lines: frozenset[int]
    silent: bool
    escapes: bool


class Scope:
    """One code object: a function, lambda, comprehension, or a class body inside a function.

    `name` is its qualified name, `line` the line of its `def`, `class`, `lambda` or comprehension (not of a
    decorator), `parent` the scope around it (None at the top level). `names` are the locals, cells and free variables
    that frames may show, `arguments` those bound by a call, `free` those of an outer scope. `is_generator` holds for
    coroutines and asynchronous generators too. `is_eager`: it runs where its parent reaches it and nowhere else (a
    class body; a list, set or dict comprehension).
    """

    def __init__(self, code: CodeType, line: int, parent: Scope | None) -> None:
        self._code = code
        self.name: str = code.co_qualname
        self.line = line
        self.parent = parent
        self.is_eager = _is_eager(code)
        self.is_class = not code.co_flags & _OPTIMIZED
        self.free: tuple[str, ...] = _visible(code.co_freevars)
        self.is_generator = bool(code.co_flags & _GENERATOR)
        flags = code.co_flags
        count = code.co_argcount + code.co_kwonlyargcount + bool(flags & _VARARGS) + bool(flags & _VARKEYWORDS)
        self.arguments: tuple[str, ...] = _visible(code.co_varnames[:count])

    def __repr__(self) -> str:
        return f"<Scope {self.name} at line {self.line}>"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Locals, cells and free variables, in the interpreter's order, each once."""
        code = self._code
        names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
        if self.is_class:  # its locals are a mapping
            codes = code.co_code
            stored = {codes[i + 1] for i in range(0, len(codes), 2) if codes[i] in _STORES_NAME}
            names = (*names, *(name for i, name in enumerate(code.co_names) if i > 255 or i in stored))
            names = tuple(name for name in names if name not in _MACHINERY)
        return _visible(names)

    @cached_property
    def _bindings(self) -> tuple[dict[int | None, frozenset[str]], frozenset[str]]:
        """Names that the instructions of each line bind, and names that come and go without a line saying so."""
        bound: dict[int | None, set[str]] = {}
        fleeting = {*self._code.co_cellvars, *self._code.co_freevars}
        for instruction in dis.get_instructions(self._code):
            names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
            if instruction.opname.startswith("STORE_"):
                line = instruction.positions.lineno if instruction.positions else None
                bound.setdefault(line, set()).update(name for name in names if isinstance(name, str))
            elif instruction.opname.startswith("DELETE_"):
                fleeting.update(name for name in names if isinstance(name, str))
        return {line: frozenset(names) for line, names in bound.items()}, frozenset(fleeting)

    def bound(self, line: int) -> frozenset[str]:
        """Names that may be bound while `line` is current, and those that other activations may bind at any time."""
        bound, fleeting = self._bindings
        return bound.get(line, frozenset()) | bound.get(None, frozenset()) | fleeting

    @property
    def fleeting(self) -> frozenset[str]:
        """Names that may become unbound."""
        return self._bindings[1]

    @cached_property
    def lines(self) -> frozenset[int]:
        """Lines that can have a `line` frame."""
        return self.entries().union(*self._flow.successors.values())

    @property
    def suspension_lines(self) -> frozenset[int]:
        """Lines with a `yield` or `await`: where a suspended activation may be resumed."""
        return self._flow.yields if self.is_generator else frozenset()

    def entries(self) -> frozenset[int]:
        """Lines whose `line` frame may follow the first `call` frame."""
        return self._flow.entries

    def successors(self, line: int) -> frozenset[int]:
        """Lines whose `line` frame may come next in this activation after `line`; empty for a foreign line."""
        return self._flow.successors.get(line, frozenset())

    def may_return(self, line: int) -> bool:
        """Whether a `return` frame (a suspension too) may follow while `line` is current."""
        return line in self._flow.returns

    def raised(self, line: int) -> Raised:
        """Where an exception raised while `line` is current goes."""
        return self._flow.raised(line)

    @cached_property
    def _flow(self) -> _Flow:
        return _Flow(self._code, self.line)


class ControlFlow:
    """The control flow of a context. Raises SyntaxError for text that does not compile."""

    def __init__(self, context: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the context's own warnings ("\\d", `is 1`) are not ours to give
                code = compile(context, "<context>", "exec", dont_inherit=True)
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise SyntaxError(f"the context does not compile: {error}") from None
        self._context = context
        self.scopes: tuple[Scope, ...] = tuple(self._walk(code, None))

    def _walk(self, code: CodeType, parent: Scope | None) -> Iterator[Scope]:
        """Scopes inside `code`, outer before inner; `parent` is None while `code` runs only at import."""
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                scope = None
                if parent is not None or not _is_eager(constant):
                    scope = Scope(constant, self._definition_line(constant), parent)
                    yield scope
                yield from self._walk(constant, scope)

    def _definition_line(self, code: CodeType) -> int:
        line = code.co_firstlineno
        return self._decorated.get((line, code.co_name), line) if "@" in self._context else line

    @cached_property
    def _decorated(self) -> dict[tuple[int, str], int]:
        """(line of the first decorator, name) to the line of the `def` or `class`."""
        found = {}
        for node in ast.walk(ast.parse(self._context)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.decorator_list:
                found[min(d.lineno for d in node.decorator_list), node.name] = node.lineno
        return found

    def callees(self, line: int) -> tuple[Scope, ...]:
        """Scopes that a `call` frame at `line` can belong to.

        First those that start there, outer ones first; then those that may be suspended there, inner ones first.
        """
        started = [scope for scope in self.scopes if scope.line == line]
        resumed = [scope for scope in reversed(self.scopes) if line in scope.suspension_lines]
        return (*started, *(scope for scope in resumed if scope.line != line))

    def scope(self, name: str, line: int) -> Scope | None:
        """The scope of that qualified name; where the name repeats, the one that has `line`. None if there is none."""
        named = [scope for scope in self.scopes if scope.name == name]
        for scope in named:
            if scope.line == line:
                return scope
        for scope in named:
            if line in scope.lines:
                return scope
        return named[0] if len(named) == 1 else None


def _is_eager(code: CodeType) -> bool:
    comprehension = code.co_name in ("<listcomp>", "<setcomp>", "<dictcomp>")
    return comprehension or not code.co_flags & _OPTIMIZED or code.co_name.startswith("<generic parameters")


def _visible(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if not name.startswith(".")))


class _Flow:
    """Lines and what follows them, for one code object."""

    def __init__(self, code: CodeType, definition_line: int) -> None:
        self.code = code
        self._decode(definition_line)
        self._through: dict[int, tuple[frozenset[int], bool]] = {}
        self._raised: dict[int, Raised] = {}
        first = self.ops.index(_RESUME)
        successors: dict[int, set[int]] = {}
        returns: set[int] = set()
        yields: set[int] = set()
        for i in range(first + 1, len(self.ops)):
            line = self.lines[i]
            if line is None:
                continue
            following = successors.setdefault(line, set())
            if self.ops[i] in _RETURNS:
                returns.add(line)
            elif self.ops[i] in _YIELDS:
                returns.add(line)
                yields.add(line)
            for j in self.edges[i]:
                target = self.lines[j]
                if target is None:
                    lines, returned = self._beyond(j)
                    following |= lines
                    if returned:
                        returns.add(line)
                elif target != line or (j < i and self.ops[j] != _SEND):
                    following.add(target)
        entries: set[int] = set()
        for j in self.edges[first]:
            target = self.lines[j]
            entries |= self._beyond(j)[0] if target is None else {target}
        self.entries = frozenset(entries)
        self.successors = {line: frozenset(following) for line, following in successors.items()}
        self.returns = frozenset(returns)
        self.yields = frozenset(yields)

    def _beyond(self, start: int) -> tuple[frozenset[int], bool]:
        """Lines reached from `start` through instructions that have no line, and whether one of those returns."""
        if start not in self._through:
            lines: set[int] = set()
            returned = False
            seen, stack = {start}, [start]
            while stack:
                i = stack.pop()
                returned = returned or self.ops[i] in _RETURNS or self.ops[i] in _YIELDS
                for j in self.edges[i]:
                    target = self.lines[j]
                    if target is not None:
                        lines.add(target)
                    elif j not in seen:
                        seen.add(j)
                        stack.append(j)
            self._through[start] = frozenset(lines), returned
        return self._through[start]

    def raised(self, line: int) -> Raised:
        """See `Scope.raised`."""
        if line not in self._raised:
            lines: set[int] = set()
            silent = escapes = False
            seen: set[int] = set()
            stack: list[int] = []  # instructions reached without a line event

            def reach(i: int, j: int) -> None:
                target = self.lines[j]
                if target is not None and (target != self.lines[i] or (j < i and self.ops[j] != _SEND)):
                    lines.add(target)
                elif j not in seen:
                    seen.add(j)
                    stack.append(j)

            for i, at in enumerate(self.lines):
                if at == line and self.raises[i]:
                    handler = self.handlers[i]
                    if handler is None:
                        escapes = True
                    else:
                        reach(i, handler)
            while stack:
                i = stack.pop()
                silent = silent or self.lines[i] == line or self.ops[i] in _RETURNS or self.ops[i] in _YIELDS
                escapes = escapes or (self.raises[i] and self.handlers[i] is None)
                for j in self.edges[i]:
                    reach(i, j)
            self._raised[line] = Raised(frozenset(lines), silent, escapes)
        return self._raised[line]

    def _decode(self, definition_line: int) -> None:
        """Fill `ops`, `lines`, `edges`, `handlers`, `raises` by instruction, without caches and argument prefixes."""
        raw = self.code.co_code
        line_at: list[int | None] = [None] * len(raw)
        for start, end, line in self.code.co_lines():
            if line == self.code.co_firstlineno:  # of the first decorator, if there is one
                line = definition_line
            line_at[start:end] = [line] * (end - start)
        self.ops: list[int] = []
        self.lines: list[int | None] = []
        offsets: list[int] = []
        arguments: list[int] = []
        index_of: dict[int, int] = {}  # any offset of an instruction, its prefixes included
        argument = 0
        prefixes: list[int] = []
        for offset in range(0, len(raw), 2):
            op = raw[offset]
            if op == _CACHE:
                continue
            argument = argument << 8 | raw[offset + 1]
            if op == _EXTENDED_ARG:
                prefixes.append(offset)
                continue
            for prefix in (*prefixes, offset):
                index_of[prefix] = len(self.ops)
            self.ops.append(op)
            self.lines.append(line_at[offset])
            offsets.append(offset)
            arguments.append(argument)
            argument, prefixes = 0, []
        self.handlers = self._handlers(offsets, index_of)
        self.raises = [
            op not in _CANNOT_RAISE and not (op == _RESUME and argument & 3 == 0)
            for op, argument in zip(self.ops, arguments, strict=True)
        ]
        self.edges: list[list[int]] = []
        for i, op in enumerate(self.ops):
            following: list[int] = []
            if op not in _RETURNS and op not in _RERAISES and op not in _ALWAYS_JUMPS and i + 1 < len(self.ops):
                following.append(i + 1)
            if op in _JUMPS:
                # Jumps count from the next instruction, behind this one's cache entries.
                base = offsets[i] + 2
                while base < len(raw) and raw[base] == _CACHE:
                    base += 2
                distance = -2 * arguments[i] if op in _BACKWARD else 2 * arguments[i]
                target = index_of[base + distance]
                following.append(target + 1 if self.ops[target] in _END_FOR else target)  # FOR_ITER skips END_FOR
            handler = self.handlers[i]
            if handler is not None and self.raises[i]:
                following.append(handler)
            self.edges.append(following)

    def _handlers(self, offsets: list[int], index_of: dict[int, int]) -> list[int | None]:
        """The handler of each instruction, from the exception table (CPython's exception_handling_notes)."""
        handlers: list[int | None] = [None] * len(offsets)
        table = iter(self.code.co_exceptiontable)

        def number(byte: int) -> int:
            value = byte & 63
            while byte & 64:
                byte = next(table)
                value = value << 6 | byte & 63
            return value

        for byte in table:
            start = number(byte) * 2
            end = start + number(next(table)) * 2
            target = index_of[number(next(table)) * 2]
            number(next(table))  # stack depth
            for i, offset in enumerate(offsets):
                if start <= offset < end:
                    handlers[i] = target
        return handlers
