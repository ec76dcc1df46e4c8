"""Which `compact` tokens may legally come next: control flow, names in scope, whole literals.

`Constraint.allowed()` looks at the reader's state and answers with token ids; a decoder that picks only among them can
write no malformed trace. Where one token alone is legal the decoder needs no forward pass. Notable choices:
- The next line is one of the current line's successors in the bytecode's control flow (`codec/flow.py`), so a model
  cannot jump to a line that merely looks alike.
- A function may be called only from a line that names it, from anywhere if it is a method with a dunder name, is
  decorated, or is passed around as a value.
- Values that can only be copied (`copies.py`) are: the arguments of a call, `a = b`, `return name`.
- Answers are supersets of what can happen: a right model is never forced to be wrong (tests check that on real runs).
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable

from opencwm.codec.compact import Activation
from opencwm.codec.compact_reader import Reader
from opencwm.codec.flow import ControlFlow, Scope
from opencwm.codec.tokenizer import LINES_PER_PAGE, STEPS, VALUE_TOKENS, VOCABULARY, encode_value
from opencwm.model.copies import Copies
from opencwm.model.literals import LiteralState
from opencwm.trace.frames import Frame
from opencwm.trace.steps import STEP_FUNCTION, instrument

_IDS = VOCABULARY.ids
_NAME, _GO, _CALL = _IDS["<name>"], _IDS["<go>"], _IDS["<call>"]
_RETURN, _EXCEPTION, _RAISE = _IDS["<return>"], _IDS["<exception>"], _IDS["<raise>"]
_DELETE, _END = _IDS["<delete>"], _IDS["<end>"]
_ENDINGS = frozenset(("StopIteration", "StopAsyncIteration", "GeneratorExit"))
_DENIALS = frozenset(("IndexError", "KeyError", "AttributeError", "TypeError"))
_LONGEST_NAME = 40
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>")


class Constraint:
    """The legal next tokens of one reader; `push` feeds a token to both."""

    def __init__(self, reader: Reader, *, copies: bool = True) -> None:
        self.reader = reader
        self.literal = LiteralState()
        self.raised = False  # the last frame was an exception that left its activation
        self.lines = reader.context.split("\n")
        self.program = Facts(reader.context, reader.flow)
        self.copies = Copies(reader.context) if copies else None
        self._last: Frame | None = None
        self._copy: list[int] | None = None  # the tokens of the value that is due, where it can only be copied

    def clone(self) -> Constraint:
        """An independent constraint in the same state, for trying a continuation."""
        other = object.__new__(Constraint)
        other.reader, other.lines, other.program = self.reader.clone(), self.lines, self.program
        other.raised, other.copies, other._last, other._copy = self.raised, self.copies, self._last, self._copy
        other.literal = LiteralState()
        for slot in LiteralState.__slots__:
            setattr(other.literal, slot, getattr(self.literal, slot))
        return other

    def push(self, token: int) -> list[Frame]:
        """Take one token; returns the frames it completes. Raises CodecError for a token that cannot be read."""
        before = self.reader.state
        in_value = token in VALUE_TOKENS and before in ("value", "result")
        frames = self.reader.push(token)
        if in_value:
            self.literal.push(token)
        else:
            self.literal = LiteralState()
        if frames:
            self._last = frames[-1]
            self.raised = _goes_on(frames[-1]) and self.reader.mark == _RAISE
        if self.copies is not None and self.reader.state in ("value", "result") and not self.reader.value:
            text = self._copied(self.copies)
            self._copy = encode_value(text) if text is not None else None
        return frames

    def settle(self) -> list[Frame]:
        """Close what is complete at a frame's border, as `Reader.settle`; returns the frame that this gives."""
        frames = self.reader.settle()
        self.literal = LiteralState()
        if frames:
            self._last = frames[-1]
            self.raised = _goes_on(frames[-1]) and self.reader.mark == _RAISE
        return frames

    def _copied(self, copies: Copies) -> str | None:
        """The value that begins here, if it can only be a copy."""
        reader = self.reader
        if not reader.stack:
            return None
        top = reader.stack[-1]
        if reader.state == "result":
            return copies.returned(top, len(reader.stack) - 1, self._last) if reader.mark == _RETURN else None
        if reader.purpose != "change" or reader.value_name is None:
            return None
        if reader.call is not None:
            return copies.argument(top, reader.call, reader.value_name)
        return copies.assigned(top, reader.value_name)

    def allowed(self) -> frozenset[int] | set[int]:
        """Token ids that may come next; empty when the trace has ended."""
        reader = self.reader
        if reader.page:
            return {VOCABULARY.line_start + line % LINES_PER_PAGE for line in self._pages()}
        if self._copy is not None and reader.state in ("value", "result"):
            at = len(reader.value)
            if reader.value == self._copy[:at]:
                return {self._copy[at]} if at < len(self._copy) else self._after_value()
        if reader.state == "value":
            tokens = self.literal.allowed()
            return tokens | self._after_value() if self.literal.whole else tokens
        if reader.state == "frame":
            return self._frame(reader.stack, reader.call, set(reader.changes), bool(reader.deleted), bool(reader.steps))
        if reader.state == "function":
            return self._functions()
        if reader.state == "result":
            return self.literal.allowed()
        if reader.state == "spelling":
            return self._spelling()
        if reader.state == "deleted":
            return self._names(set(reader.stack[-1].locals) - reader.deleted)
        if reader.state == "line":
            return _line_tokens(range(1, len(self.lines) + 1))
        return {_END} if reader.state == "closing" else set()

    def forced(self) -> list[int]:
        """The next token where there is only one, for the engine to append without a forward pass."""
        allowed = self.allowed()
        return list(allowed) if len(allowed) == 1 else []

    def _after_value(self) -> set[int]:
        """What may follow a whole value: the rest of its frame, or the next frame."""
        reader = self.reader
        if reader.purpose == "result":
            if reader.mark == _EXCEPTION:
                return self._frame(reader.stack, None, set(), False, False, handled=True)
            text = bytes(token for token in reader.value[:_LONGEST_NAME] if token < 256).decode("utf-8", "replace")
            frame = Frame("exception", 0, reader.stack[-1].function, 0, {}, text)
            raised = reader.mark == _RAISE and _goes_on(frame)
            return self._frame(reader.stack[:-1], None, set(), False, False, raised=raised)
        if reader.purpose == "step":
            return self._frame(reader.stack, None, set(), False, True)
        assert reader.value_name is not None
        if reader.call is not None:
            call = reader.call
            known = {**call.locals, reader.value_name: ""}
            return self._frame(reader.stack, Activation(call.function, call.function_line, call.line, known), set())
        return self._frame(reader.stack, None, {*reader.changes, reader.value_name}, bool(reader.deleted))

    def _frame(
        self,
        stack: list[Activation],
        call: Activation | None,
        changed: set[str],
        deleted: bool = False,
        stepped: bool = False,
        *,
        raised: bool | None = None,
        handled: bool = False,
    ) -> set[int]:
        """Tokens within or at the start of a frame of the top activation (`call` if its locals are being read)."""
        if call is None and not stack:
            started = self.reader.mark is not None
            return {_END} if started else {_CALL}
        top = call or stack[-1]
        scope = self.program.scope(top)
        tokens: set[int] = set()
        if call is not None:
            fresh = scope is not None and scope.line == call.line
            wanted = [n for n in scope.arguments if n not in call.locals] if scope is not None and fresh else []
            if wanted:
                return self._names(wanted[:1])
            names = self._names(set(scope.names if scope else ()) - set(call.locals))
            if not fresh or (scope is not None and scope.is_generator):
                tokens |= {_GO, *names}
            elif scope is None or len(scope.names) > len(scope.arguments):
                tokens |= names
        if self.raised if raised is None else raised:
            return {_RAISE, *({_EXCEPTION} if self.program.handles(top) else ())}
        due = self.copies.due(top) if self.copies is not None and call is None else None
        if due is not None and (missing := [name for name in due if name not in changed]):
            tokens |= self._names(missing)
            if not changed and not deleted and not handled:
                tokens |= self._steps(top)  # of `-1`
                if scope is None or scope.may_return(top.line):
                    tokens.add(_RETURN)
            if self.program.deletes and not changed and set(top.locals) - self.reader.deleted:
                tokens.add(_DELETE)  # `except ... as name` takes its name away
            return tokens
        pending = bool(changed) or deleted
        following = scope.successors(top.line) if scope else frozenset(range(1, len(self.lines) + 1))
        if scope is not None and scope.line == top.line and (call is not None or not following):
            following = following | scope.entries()
        tokens |= _line_tokens(following)
        if call is None and self.reader.offset == self.reader.first:
            tokens.add(_GO)
        if call is None and following:
            known = set() if due is not None else {*(scope.names if scope else self.reader.names), *top.locals}
            tokens |= self._names(known - changed)
            if self.program.deletes and not changed and set(top.locals) - self.reader.deleted:
                tokens.add(_DELETE)
        if not pending:
            if call is None and not handled:
                tokens |= self._steps(top)
            if scope is None or scope.may_return(top.line):
                tokens.add(_RETURN)
            tokens.add(_RAISE)
            if self.program.handles(top):
                tokens.add(_EXCEPTION)
            if self.program.callees(top.line):
                tokens.add(_CALL)
        return tokens

    def _steps(self, top: Activation) -> set[int]:
        return {VOCABULARY.step_start + node for node in self.program.steps.get(top.line, ())}

    def _functions(self) -> set[int]:
        """After a call mark (and an index): the lines of what can be called from the current line."""
        reader = self.reader
        if not reader.stack:
            return _line_tokens([reader.entry_line])
        lines = self.program.callees(reader.stack[-1].line)
        flow = reader.flow
        if flow is None:
            return {_NAME, *_line_tokens(lines)}
        index = reader.index
        found = _line_tokens(line for line in lines if len(flow.callees(line)) > index)
        if not index:
            most = max((len(flow.callees(line)) for line in lines), default=0)
            found |= {VOCABULARY.step_start + i for i in range(1, min(most, STEPS))}
        return found

    def _pages(self) -> Iterable[int]:
        """Lines that a page token may be completed to."""
        reader = self.reader
        page = reader.page
        lines = range(page * LINES_PER_PAGE, min((page + 1) * LINES_PER_PAGE, len(self.lines) + 1))
        if reader.state == "function":
            return [n for n in self.program.callees(reader.stack[-1].line) if n in lines] if reader.stack else [
                reader.entry_line
            ]  # fmt: skip
        top = reader.call or reader.stack[-1]
        scope = self.program.scope(top)
        if scope is None:
            return lines
        fresh = reader.call is not None and scope.line == top.line
        return [n for n in (scope.entries() if fresh else scope.successors(top.line)) if n in lines]

    def _names(self, names: Iterable[str]) -> set[int]:
        return {self.reader.names.get(name, _NAME) for name in names}

    def _spelling(self) -> set[int]:
        top = self.reader.call or self.reader.stack[-1]
        scope = self.program.scope(top)
        names = {*(scope.names if scope else ()), *top.locals} - set(self.reader.names)
        taken = set(self.reader.call.locals) if self.reader.call else set(self.reader.changes)
        spelled = [name.encode() for name in names - taken]
        so_far = self.reader.spelling
        tokens = {name[len(so_far)] for name in spelled if name.startswith(so_far) and len(name) > len(so_far)}
        return tokens | ({_NAME} if so_far in spelled else set())


def _goes_on(frame: Frame) -> bool:
    """Whether an exception that has left a function is sure to be raised in its caller.

    What ends an iteration, and what a method that Python calls by itself raises to say "no", may be taken by library
    code in between: `list(it)`, `next(it, 0)`, `generator.close()`, `for x in obj`, `hasattr(obj, name)`.
    """
    if frame.event != "exception":
        return False
    kind = (frame.value or "").partition("(")[0]
    special = frame.function.rpartition(".")[2].startswith("__")
    return kind not in _ENDINGS and not (special and kind in _DENIALS)


class _Alike:
    """Scopes of one name on one line (two comprehensions), which no frame tells apart: what any of them may."""

    def __init__(self, scopes: list[Scope]) -> None:
        self._scopes = scopes
        self.line = scopes[0].line
        self.is_generator = any(scope.is_generator for scope in scopes)
        alike = all(scope.arguments == scopes[0].arguments for scope in scopes)
        self.arguments = scopes[0].arguments if alike else ()
        self.names = tuple(dict.fromkeys(name for scope in scopes for name in scope.names))

    def successors(self, line: int) -> frozenset[int]:
        return frozenset().union(*(scope.successors(line) for scope in self._scopes))

    def entries(self) -> frozenset[int]:
        return frozenset().union(*(scope.entries() for scope in self._scopes))

    def may_return(self, line: int) -> bool:
        return any(scope.may_return(line) for scope in self._scopes)


class Facts:
    """What the source alone says, computed once per program."""

    def __init__(self, context: str, flow: ControlFlow | None) -> None:
        self.flow = flow
        self.steps: dict[int, set[int]] = defaultdict(set)
        self.deletes = re.search(r"\bdel\b|\bas\b", context) is not None
        self.words: list[set[str]] = [set()]
        self._callees: dict[int, list[int]] = {}
        self._scopes: dict[tuple[str, int], Scope | _Alike | None] = {}
        self.guarded: set[int] = set()
        self.spans: list[tuple[int, int]] = []
        self.passed: set[str] = set()
        try:
            tree = ast.parse(context)
        except SyntaxError:
            tree = ast.Module([], [])
        self._read(tree)
        for line in context.split("\n"):
            self.words.append(set(re.findall(r"[^\W\d]\w*", line)))
        for node in ast.walk(instrument(tree)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == STEP_FUNCTION:
                assert isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, int)
                for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    self.steps[number].add(node.args[0].value)

    def _read(self, tree: ast.Module) -> None:
        called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Try | ast.With | ast.AsyncWith) or type(node).__name__ == "TryStar":
                self.guarded.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
            elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in called:
                self.passed.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
                self.passed.add(node.name)
            if isinstance(node, ast.stmt) and not hasattr(node, "body"):
                self.spans.append((node.lineno, node.end_lineno or node.lineno))

    def handles(self, top: Activation) -> bool:
        """Whether an exception at the current line may be handled within its function."""
        return top.line in self.guarded

    def scope(self, top: Activation) -> Scope | _Alike | None:
        key = (top.function, top.function_line)
        if key not in self._scopes:
            found = self.flow.scope(*key) if self.flow else None
            scopes = self.flow.scopes if self.flow and found else ()
            alike = [scope for scope in scopes if (scope.name, scope.line) == (key[0], key[1])]
            self._scopes[key] = _Alike(alike) if len(alike) > 1 else found
        return self._scopes[key]

    def callees(self, line: int) -> list[int]:
        """Lines that a call from `line` may point at."""
        if line not in self._callees:
            self._callees[line] = sorted(self._find_callees(line))
        return self._callees[line]

    def _find_callees(self, line: int) -> set[int]:
        if self.flow is None:
            return set(range(1, len(self.words)))
        first, last = next(((a, b) for a, b in self.spans if a <= line <= b), (line, line))
        words = set().union(*self.words[first : last + 1])
        found: set[int] = set()
        for scope in self.flow.scopes:
            name = scope.name.rsplit(".", 1)[-1]
            if name in _COMPREHENSIONS:
                near = first <= scope.line <= last or line <= scope.line <= line + 3
                if near or name in ("<lambda>", "<genexpr>"):
                    found |= {scope.line, *scope.suspension_lines}
            elif name in words or name in self.passed or name.startswith("__") or scope.is_generator:
                found |= {scope.line, *scope.suspension_lines}
            elif scope.name.split(".")[0] in words:  # a class: its methods, and its body
                found.add(scope.line)
        return found


def _line_tokens(lines: Iterable[int]) -> set[int]:
    tokens: set[int] = set()
    for line in lines:
        page, number = divmod(line, LINES_PER_PAGE)
        tokens.add(VOCABULARY.page_start + page if page else VOCABULARY.line_start + number)
    return tokens
