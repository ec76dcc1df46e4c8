"""The recorder's core in Python: turns the events of `sys.settrace` into frames.

Notable choices:
- A `return` event that comes from unwinding gives no frame. Instead every activation that an exception leaves ends with
  one `exception` frame. Where the interpreter sends no event for it (a bare `raise`, the end of a `finally`), the frame
  is made up, and it is held back until the next event tells which exception it was.
- An exception that only ends a `for`, `await` or `yield from` gives no frame.
- Making a generator gives no frame, nor does closing one that does nothing about it. (Python 3.11 and 3.12 send events
  for the latter, 3.13 does not; so all versions give the same trace.)
- Recording ends when the entry's activation ends: clearing its locals may still run code.
- An exception held by the recorder would live on in the program (frames, generators, `__del__`), so only its id and
  text are kept.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import CodeType, FrameType
from typing import Any

from opencwm.trace._bytecode import CodeInfo, shown_in_class
from opencwm.trace._stop import Stop, watch
from opencwm.trace.frames import Frame, Step
from opencwm.trace.limits import Limits
from opencwm.trace.values import Renderer

_Local = Callable[[FrameType, str, Any], Any]
_PROXY = sys.version_info >= (3, 13)  # `f_locals` of a function is a view with slow lookups


class Core:
    """Records one run of one program's code.

    Only code from `filename` whose globals are `module_globals` is recorded. `definition_lines` maps (line of the first
    decorator, name) to the line of the `def` or `class`. `on_frame` is called with each frame as it is complete,
    `on_stop` with the reason when a limit is crossed (before the program is stopped).
    """

    def __init__(
        self,
        limits: Limits,
        filename: str,
        module_globals: dict[str, Any],
        definition_lines: dict[tuple[int, str], int],
        on_frame: Callable[[Frame], None] | None = None,
        on_stop: Callable[[str], None] | None = None,
    ) -> None:
        self.limits = limits
        self.frames: list[Frame] = []
        self.stopped: str | None = None
        self.ended = False  # the entry's activation is over
        self.active = False
        self.renderer = Renderer(limits.value_bytes)
        self.stack: list[_Visit] = []
        self.raised_last: _Visit | None = None  # the visit whose exception frame is the last frame
        self.leaving: _Leaving | None = None
        self.held: list[Frame] = []  # the frames of a generator's resumption that may turn out to be a mere closing
        self._filename = filename
        self.module_globals = module_globals
        self._definition_lines = definition_lines
        self._on_frame = on_frame
        self._on_stop = on_stop
        self._codes: dict[int, CodeInfo] = {}
        self._steps: list[Step] = []
        self._bytes = 0
        self.deadline = 0.0
        self.thread = threading.get_ident()
        self._process = os.getpid()  # a fork goes on recording for itself alone
        self._entry: Callable[[], object] | None = None
        self.error: BaseException | None = None  # what the entry raised

    def run(self, entry: Callable[[], object]) -> BaseException | None:
        """Call the entry with tracing on; what it raised, or None. The trace function of before is put back."""
        previous = sys.gettrace()
        self._entry = entry
        self.deadline = monotonic() + self.limits.seconds
        self.active = True
        watch().enter(self)
        try:
            self._run_and_leave(previous)
        except Stop:  # raised again on its way out; with the program left, there cannot be a third
            self._run_and_leave(previous)
        self.active = False
        if self.stopped is None:
            self.settle(self.error)
        return self.error

    def _run_and_leave(self, previous: Any) -> None:
        while True:
            try:
                if self._entry is not None:
                    entry, self._entry = self._entry, None
                    sys.settrace(self._global)
                    entry()
                sys.settrace(previous)
                if os.getpid() == self._process:
                    watch().leave(self)
                return
            except Stop:
                sys.settrace(previous)
            except BaseException as error:
                sys.settrace(previous)
                self.error = error

    def settle(self, error: BaseException | None) -> None:
        """Emit what was held back when the program is over."""
        try:
            if self.leaving is not None:
                self.leaving.resolve(self, None, error)
            self._flush()
        except Stop:
            pass

    def step(self, node: int, value: Any) -> Any:
        """The function behind `__cwm_step__`: notes the value of a sub-expression and returns it."""
        if self.active and not self.ended and self.stopped is None and threading.get_ident() == self.thread:
            text = self.renderer.text(value)
            if not self.renderer.elided and not text.startswith("<"):
                self._steps.append(Step(node, text))
                self._bytes += len(text)
                if self._bytes > self.limits.total_bytes:
                    self.stop("bytes")
        return value

    def take_steps(self) -> tuple[Step, ...]:
        """The steps since the frame before."""
        if not self._steps:
            return ()
        steps, self._steps = tuple(self._steps), []
        return steps

    def emit(self, frame: Frame) -> None:
        """Add a frame, after those held back. Raises Stop at a limit."""
        if self.held:
            self._flush()
        self.raised_last = None
        self._add(frame)

    def stop(self, reason: str) -> None:
        """End the program: raise Stop, which goes on until the program has been left."""
        self.note_stop(reason)
        raise Stop

    def note_stop(self, reason: str) -> None:
        """Note why the program has to end, unless there is a reason already."""
        if self.stopped is None:
            self.stopped = reason
            if self._on_stop is not None and os.getpid() == self._process:
                self._on_stop(reason)

    def _flush(self) -> None:
        held, self.held = self.held, []
        for frame in held:
            self._add(frame)

    def _add(self, frame: Frame) -> None:
        limits = self.limits
        if len(self.frames) >= limits.frames:
            self.stop("frames")
        used = len(frame.value or "")
        for name, text in frame.locals.items():
            used += len(name) + len(text)
        self._bytes += used
        if self._bytes > limits.total_bytes:
            self.stop("bytes")
        self.frames.append(frame)
        if self._on_frame is not None and os.getpid() == self._process:
            self._on_frame(frame)

    def _global(self, frame: FrameType, event: str, arg: Any) -> _Local | None:
        """The trace function: every call of a Python function in this thread comes here first."""
        if self.stopped is not None or (monotonic() > self.deadline and not self.ended):
            self.stop("seconds")
        code = frame.f_code
        if code.co_filename != self._filename or frame.f_globals is not self.module_globals or self.ended:
            return None
        info = self._codes.get(id(code)) or self._info(code)
        if frame.f_lasti < info.start:
            return None  # a generator closed or thrown into before its first line
        if self.leaving is not None:
            self.leaving.resolve(self, None, None)
        if len(self.stack) >= self.limits.depth:
            self.stop("depth")
        visit = _Visit(self, info, len(self.stack))
        self.stack.append(visit)
        visit.enter(frame)
        return visit.event

    def _info(self, code: CodeType) -> CodeInfo:
        info = self._codes[id(code)] = CodeInfo(code, self._definition_lines)
        return info


class _Visit:
    """One activation on the stack: a call, or the stretch from a generator's resumption to its next suspension."""

    __slots__ = ("_memory", "core", "depth", "errors", "fresh", "handled", "info", "line", "raised_at", "since_raise")

    def __init__(self, core: Core, info: CodeInfo, depth: int) -> None:
        self.core = core
        self.info = info
        self.depth = depth
        self.line = info.line
        self.fresh = info.is_generator  # nothing has happened yet but the call, and perhaps a GeneratorExit
        self.errors: dict[int, str] = {}  # id and text of each exception seen here, the last one last
        self.handled: str | None = None  # text of the exception that a bare `raise` on this line would raise
        self.raised_at = -1  # the instruction at which the last exception was raised
        self.since_raise = False  # whether a line has run since
        self._memory: dict[str, tuple[object, str]] = {}

    def enter(self, frame: FrameType) -> None:
        self.line = self._line_of(frame)
        record = Frame("call", self.line, self.info.function, self.depth, self._locals(frame), None, self._steps())
        if self.fresh:
            if self.core.held:
                self.core._flush()
            self.core.held.append(record)
            self.core.raised_last = None
        else:
            self.core.emit(record)

    def event(self, frame: FrameType, event: str, arg: Any) -> _Local | None:
        """The local trace function."""
        core = self.core
        if core.ended:
            return None
        if core.stopped is not None:  # by the watch: this event may be that of its Stop
            if event == "line":
                raise Stop
            return None
        if core.leaving is not None:
            core.leaving.resolve(core, self, arg[1] if event == "exception" else None)
        if event == "line":
            if monotonic() > core.deadline:
                core.stop("seconds")
            self.fresh = False
            self.since_raise = True
            self.line = self._line_of(frame)
            core.emit(
                Frame("line", self.line, self.info.function, self.depth, self._locals(frame), None, self._steps())
            )
            if self.info.bare_raise:
                error = sys.exception()
                self.handled = None
                if error is not None:
                    self.handled = self.errors[id(error)] = core.renderer.text(error)
        elif event == "exception":
            self._raised(frame, arg[1])
        elif event == "return":
            self._left(frame, arg)
        return self.event

    def _raised(self, frame: FrameType, error: BaseException) -> None:
        if self.info.ends_iteration(error, frame.f_lasti):
            return
        core = self.core
        self.line = self._line_of(frame)
        self.raised_at, self.since_raise = frame.f_lasti, False
        text = core.renderer.text(error)
        self.errors.pop(id(error), None)
        self.errors[id(error)] = text
        record = Frame("exception", self.line, self.info.function, self.depth, {}, text, self._steps())
        if self.fresh and issubclass(type(error), GeneratorExit):
            core.held.append(record)
            core.raised_last = self
            return
        self.fresh = False
        core.emit(record)
        core.raised_last = self

    def _left(self, frame: FrameType, value: Any) -> None:
        core = self.core
        core.stack.pop()
        if not self._unwound(frame, value):
            if self.info.is_async_generator and type(value).__name__ == "async_generator_wrapped_value":
                value = gc.get_referents(value)[0]
            text = core.renderer.text(value)
            line = self._line_of(frame)
            core.emit(Frame("return", line, self.info.function, self.depth, {}, text, self._steps()))
        elif self.fresh and core.held:
            core.held.clear()
        elif core.raised_last is not self:
            core.leaving = _Leaving(self, frame.f_lasti, core.stack[-1] if core.stack else None)
        if not core.stack:
            core.ended = True

    def _unwound(self, frame: FrameType, value: Any) -> bool:
        """Whether an exception leaves the frame. Only a `yield` that may itself have raised needs a closer look."""
        at = frame.f_lasti
        if value is not None or self.info.returns_at(at):
            return False
        if not self.info.suspends_at(at):
            return True
        return self.raised_at == at and (not self.since_raise or self.line != self._line_of(frame))

    def _line_of(self, frame: FrameType) -> int:
        line = frame.f_lineno
        if line == self.info.first_line:
            return self.info.line
        return line or self.line  # some instructions have no line

    def _steps(self) -> tuple[Step, ...]:
        return self.core.take_steps()

    def _locals(self, frame: FrameType) -> dict[str, str]:
        """Names and texts, in the order of the code object's names (of a class body: as they were bound)."""
        values: Any = frame.f_locals
        if not self.info.is_function:
            if not issubclass(type(values), dict):
                return {}  # a mapping of the program's own making, as a metaclass may supply
            return {name: self._text(name, value) for name, value in dict.items(values) if shown_in_class(name)}
        if _PROXY:
            values = dict(values)
        return {name: self._text(name, values[name]) for name in self.info.names if name in values}

    def _text(self, name: str, value: Any) -> str:
        kind = type(value)
        if kind is str or kind is bytes or kind is float:
            known = self._memory.get(name)
            if known is not None and known[0] is value:
                return known[1]
            text = self.core.renderer.text(value)
            self._memory[name] = (value, text)
            return text
        return self.core.renderer.text(value)


class _Leaving:
    """An activation that an exception has left without an event: its frame waits until the exception is known."""

    def __init__(self, visit: _Visit, at: int, parent: _Visit | None) -> None:
        self._visit = visit
        self._parent = parent
        self._steps = visit.core.take_steps()
        guess = visit.handled if visit.info.reraises_at(at) else None
        self._guess = guess or next(reversed(visit.errors.values()), visit.handled or "BaseException()")

    def resolve(self, core: Core, visit: _Visit | None, error: BaseException | None) -> None:
        """Emit the frame. `error` is the exception that came to `visit` (None: to the caller of the entry), if any."""
        core.leaving = None
        left = self._visit
        text = self._guess
        if error is not None and visit is self._parent:
            # Between here and there a library may have swallowed ours and raised another one. `except*` makes new ones.
            if not left.errors or id(error) in left.errors or issubclass(type(error), BaseExceptionGroup):
                text = core.renderer.text(error)
        core.emit(Frame("exception", left.line, left.info.function, left.depth, {}, text, self._steps))
