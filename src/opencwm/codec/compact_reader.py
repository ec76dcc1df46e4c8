"""Reads `compact` tokens one at a time into frames: the decoder, and the state that constrained decoding looks at.

Notable choice: the same reader serves `decode`, which feeds it a finished window, and a model's decoder, which asks
`state`, `stack` and `value` what may come next before it feeds the token that it picked. A frame comes out as soon as
the tokens so far say that it is complete: a line at its pointer, any other at the first token after it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from opencwm.codec.compact import Activation, is_name_start
from opencwm.codec.errors import CodecError
from opencwm.codec.flow import ControlFlow
from opencwm.codec.tokenizer import (
    LINES_PER_PAGE,
    PYTHONS,
    SIZE,
    VALUE_TOKENS,
    VOCABULARY,
    decode_source,
    decode_value,
)
from opencwm.trace.frames import Event, Frame, Outcome, Step

_IDS = VOCABULARY.ids
Purpose = Literal["change", "step", "result", "reason", "delete", "function"]
State = Literal["frame", "function", "line", "value", "spelling", "deleted", "result", "reason", "closing", "done"]


class Reader:
    """Frames out of tokens.

    `state` is what the next token belongs to: `frame` (a change, a step, or what ends the frame), `function` (after a
    call mark), `line` (after a page, a spelled function or a snapshot's function), `value`, `spelling` (of a name),
    `deleted` (the name after a delete mark), `result` (after a return or exception mark: a line, else the value),
    `reason` (of a cut), `closing` (the end after a reason), `done`. `value` holds the tokens of the value being read
    and `purpose` what it is for, `stack` the activations, outermost first, `call` the call frame whose locals are being
    read, `changes` the pending frame's names.
    """

    def __init__(self, context: str, entry_line: int, python: str, names: dict[str, int]) -> None:
        self.context, self.entry_line, self.python = context, entry_line, python
        self.names = names
        self.spelled = {token: name for name, token in names.items()}
        try:
            self.flow: ControlFlow | None = ControlFlow(context)
        except SyntaxError:
            self.flow = None
        self.offset = 0
        self.first = -1  # where the frames start after a snapshot
        self.state: State = "frame"
        self.stack: list[Activation] = []
        self.steps: list[Step] = []
        self.changes: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.value: list[int] = []
        self.value_name: str | None = None
        self.mark: int | None = None
        self.call: Activation | None = None
        self.snapshot = False
        self.outcome = Outcome("truncated", "window")
        self.page = 0
        self.node = 0
        self._spelling = b""
        self._function: str | None = None
        self.index = 0
        self._function_line: int | None = None
        self._line: int | None = None
        self.purpose: Purpose = "change"
        self._name_purpose: Purpose = "change"

    @classmethod
    def from_prompt(cls, ids: Sequence[int], size: int = SIZE) -> Reader:
        """A reader that has read the prompt (source, entry, snapshot); its `offset` is where the frames start.

        `size` is the vocabulary's, as it was when the prompt was written.
        """
        if len(ids) < 4 or ids[0] != _IDS["<begin>"]:
            raise CodecError("expected <begin>", 0)
        version = ids[1] - VOCABULARY.python_start
        if not 0 <= version < len(PYTHONS):
            raise CodecError("expected a Python version", 1)
        mark = _IDS["<trace>"]
        end = next((offset for offset, token in enumerate(ids) if token == mark), None)
        if end is None:
            raise CodecError("expected <trace>", len(ids))
        context, names = decode_source(ids[2:end], size)
        offset, page = end + 1, 0
        if offset < len(ids) and VOCABULARY.is_page(ids[offset]):
            page = ids[offset] - VOCABULARY.page_start
            offset += 1
        if offset >= len(ids) or not VOCABULARY.is_line(ids[offset]):
            raise CodecError("expected the entry's line", offset)
        entry_line = page * LINES_PER_PAGE + ids[offset] - VOCABULARY.line_start
        reader = cls(context, entry_line, PYTHONS[version], names)
        reader.offset = offset + 1
        if reader.offset < len(ids) and ids[reader.offset] == _IDS["<snapshot>"]:
            reader.read_snapshot(ids)
        return reader

    def read_snapshot(self, ids: Sequence[int]) -> None:
        """Take the call stack that starts at `offset`, up to the first token that does not belong to it."""
        self.snapshot = True
        self.offset += 1
        while self.offset < len(ids):
            token = ids[self.offset]
            within = self.state != "frame" and not (self.state == "value" and token not in VALUE_TOKENS)
            if not within and token != _IDS["<frame>"] and not (self.stack and is_name_start(token)):
                break
            self.push(token)
        self._close_value(self.offset)
        self.snapshot, self.first = False, self.offset
        if not self.stack or self.state != "frame":
            raise CodecError("expected <frame> with its function, line and locals", self.offset)

    def push(self, token: int) -> list[Frame]:
        """Take one token; returns the frames that it completes (at most two). Raises CodecError."""
        offset = self.offset
        self.offset += 1
        if not 0 <= token < VOCABULARY.size:
            raise CodecError(f"token {token} is not in the vocabulary of {VOCABULARY.size}", offset)
        frames: list[Frame] = []
        if self.state == "value" or self.state == "reason":
            if token in VALUE_TOKENS:
                self.value.append(token)
                return frames
            frames += self._close_value(offset)
        if self.state == "spelling":
            self._spell(token, offset)
            return frames
        if VOCABULARY.is_page(token) and self.state in ("frame", "function", "line", "result") and not self.page:
            self.page = token - VOCABULARY.page_start
            return frames
        if VOCABULARY.is_line(token) and self.state in ("frame", "function", "line", "result"):
            line = self.page * LINES_PER_PAGE + token - VOCABULARY.line_start
            self.page = 0
            return frames + self._take_line(line, offset)
        if self.page:
            raise CodecError("expected a line after its page", offset)
        return frames + self._take(token, offset)

    def finish(self) -> list[Frame]:
        """The frame that was complete but for the token after it, if the tokens end there. Raises CodecError."""
        if self.state == "done":
            return []
        frames = self._close_value(self.offset) if self.state in ("value", "reason") else []
        steps_due = bool(self.steps) and self.call is None  # an open call's steps are its own
        if self.state != "frame" or steps_due or self.changes or self.deleted or self.page:
            raise CodecError(f"the tokens end within a frame ({self.state})", self.offset)
        return frames + self._close_call()

    def settle(self) -> list[Frame]:
        """As `finish`, after which the next frame's tokens may follow: what was complete is given and closed."""
        frames = self.finish()
        self.first = self.offset
        return frames

    def _take(self, token: int, offset: int) -> list[Frame]:
        """One token that is neither of a value nor a line, in the states `frame`, `function`, `deleted`, `result`."""
        if self.state == "function":
            if VOCABULARY.is_step(token) and not self.index:
                self.index = token - VOCABULARY.step_start
                return []
            if token == _IDS["<name>"]:
                self._begin_spelling("function")
                return []
            raise CodecError("expected the function of a call", offset)
        if self.state == "deleted":
            self._take_name(token, offset, "delete")
            return []
        if self.state == "result":
            if token not in VALUE_TOKENS:
                raise CodecError("expected a value", offset)
            self._begin_value("result")
            self.value.append(token)
            return []
        if self.state == "closing" and token == _IDS["<end>"]:
            self.state = "done"
            return []
        if self.state != "frame":
            raise CodecError(f"expected the end, found {VOCABULARY.names[token]}", offset)
        if self.snapshot and token == _IDS["<frame>"]:
            self.state = "function"
            return []
        if is_name_start(token):
            self._take_name(token, offset, "change")
            return []
        opened = self.call is not None or offset == self.first
        if token == _IDS["<go>"] and not opened:
            raise CodecError("expected a frame, found <go>", offset)
        return self._close_call() + self._take_mark(token, offset)

    def _take_mark(self, token: int, offset: int) -> list[Frame]:
        if token == _IDS["<go>"]:
            return []
        if VOCABULARY.is_step(token):
            if self.changes or self.deleted:
                raise CodecError("expected steps before changes", offset)
            self.node = token - VOCABULARY.step_start
            self._begin_value("step")
        elif token == _IDS["<delete>"]:
            self.state = "deleted"
        elif token == _IDS["<call>"]:
            self._forbid_changes(offset)
            self.state = "function"
        elif token in (_IDS["<return>"], _IDS["<exception>"], _IDS["<raise>"]):
            self._forbid_changes(offset)
            if not self.stack:
                raise CodecError("expected a call before anything else", offset)
            self.mark, self.state, self._line = token, "result", None
        elif token in (_IDS["<end>"], _IDS["<truncated>"]):
            self._forbid_changes(offset)
            if self.steps:
                raise CodecError("expected a frame after its steps", offset)
            if token == _IDS["<end>"]:
                if self.stack or self.mark is None:
                    raise CodecError("expected the entry to return or raise before the end", offset)
                self.outcome = Outcome("return" if self.mark == _IDS["<return>"] else "exception")
                self.state = "done"
            else:
                self._begin_value("reason")
                self.state = "reason"
        else:
            raise CodecError(f"expected a frame, found {VOCABULARY.names[token]}", offset)
        return []

    def _take_line(self, line: int, offset: int) -> list[Frame]:
        if self.state in ("function", "line") and self._function_line is None:
            name = self._function or self._callee(line, offset)
            self._function, self.index = None, 0
            if self.snapshot:
                self._function, self._function_line, self.state = name, line, "line"
                return []
            self.call = Activation(name, line, line, {})
            self.state = "frame"
            return []
        if self.state == "line":  # the current line of a snapshot's activation
            assert self._function is not None and self._function_line is not None
            self.stack.append(Activation(self._function, self._function_line, line, {}))
            self._function, self._function_line, self.state = None, None, "frame"
            return []
        if self.state == "result":
            if self._line is not None:
                raise CodecError("expected a value", offset)
            self._line = line
            return []
        frames = self._close_call()
        if not self.stack:
            raise CodecError("expected a call before anything else", offset)
        top = self.stack[-1]
        known = {name: value for name, value in top.locals.items() if name not in self.deleted} | self.changes
        self.stack[-1] = Activation(top.function, top.function_line, line, known)
        self.changes, self.deleted = {}, set()
        return [*frames, self._frame("line", line, known, None)]

    def _callee(self, line: int, offset: int) -> str:
        callees = self.flow.callees(line) if self.flow else ()
        if self.index >= len(callees):
            raise CodecError(f"no function {self.index} can be called at line {line}", offset)
        return callees[self.index].name

    def _frame(self, event: Event, line: int, known: dict[str, str], value: str | None) -> Frame:
        steps, self.steps = tuple(self.steps), []
        return Frame(event, line, self.stack[-1].function, len(self.stack) - 1, known, value, steps)

    def _close_call(self) -> list[Frame]:
        if self.call is None:
            return []
        self.stack.append(self.call)
        self.call = None
        self.mark = None
        return [self._frame("call", self.stack[-1].line, self.stack[-1].locals, None)]

    def _begin_value(self, purpose: Purpose) -> None:
        self.state, self.value, self.purpose = "value", [], purpose

    def _close_value(self, offset: int) -> list[Frame]:
        if self.state not in ("value", "reason"):
            return []
        if not self.value and self.state == "value":
            raise CodecError("expected a value", offset)
        text = decode_value(self.value)
        self.value, self.state = [], "frame"
        if self.purpose == "result":
            return self._close_result(text)
        if self.purpose == "change":
            assert self.value_name is not None
            self._changed()[self.value_name] = text
            self.value_name = None
        elif self.purpose == "step":
            self.steps.append(Step(self.node, text))
        else:
            self.outcome = Outcome("truncated", text or None)
            self.state = "closing"
        return []

    def _changed(self) -> dict[str, str]:
        """Where the names being read belong: a call's locals, a snapshot's, or the pending frame's changes."""
        return self.call.locals if self.call else self.stack[-1].locals if self.snapshot else self.changes

    def _close_result(self, text: str) -> list[Frame]:
        event: Event = "return" if self.mark == _IDS["<return>"] else "exception"
        line = self.stack[-1].line if self._line is None else self._line
        frame = self._frame(event, line, {}, text)
        if self.mark == _IDS["<exception>"]:
            top = self.stack[-1]
            self.stack[-1] = Activation(top.function, top.function_line, line, top.locals)
        else:
            self.stack.pop()
        return [frame]

    def _take_name(self, token: int, offset: int, purpose: Purpose) -> None:
        if token == _IDS["<name>"]:
            self._begin_spelling(purpose)
        elif token in self.spelled:
            self._named(self.spelled[token], purpose)
        else:
            raise CodecError(f"expected a name, found {VOCABULARY.names[token]}", offset)

    def _named(self, name: str, purpose: Purpose) -> None:
        if purpose == "delete":
            self.deleted.add(name)
            self.state = "frame"
        elif purpose == "function":
            self._function, self.state = name, "line"
        else:
            if name in self._changed():
                raise CodecError(f"{name} is written twice in one frame", self.offset)
            self._begin_value("change")
            self.value_name = name

    def _begin_spelling(self, purpose: Purpose) -> None:
        self.state, self._name_purpose, self._spelling = "spelling", purpose, b""

    def _spell(self, token: int, offset: int) -> None:
        if token < 256:
            self._spelling += bytes([token])
        elif token == _IDS["<name>"] and self._spelling:
            try:
                name = self._spelling.decode("utf-8")
            except UnicodeDecodeError:
                raise CodecError("expected a name in UTF-8", offset) from None
            self._named(name, self._name_purpose)
        else:
            raise CodecError("expected the bytes of a name", offset)

    @property
    def spelling(self) -> bytes:
        """The bytes of the name being spelled."""
        return self._spelling

    def clone(self) -> Reader:
        """An independent reader in the same state (source and control flow are shared)."""
        other = copy.copy(self)
        other.stack = [replace(activation, locals=dict(activation.locals)) for activation in self.stack]
        other.call = None if self.call is None else replace(self.call, locals=dict(self.call.locals))
        other.steps, other.value = list(self.steps), list(self.value)
        other.changes, other.deleted = dict(self.changes), set(self.deleted)
        return other

    def _forbid_changes(self, offset: int) -> None:
        if self.changes or self.deleted:
            raise CodecError("expected a line after its changes", offset)
