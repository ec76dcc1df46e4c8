"""The core in Python: turns the events of `sys.settrace` into frames.

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
- It is longer than most files here, for it is one state machine, and the specification of the core in C.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import CodeType, FrameType
from typing import Any, Literal

from opencwm.trace._bytecode import CodeInfo, Codes, class_namespace
from opencwm.trace._objects import shared
from opencwm.trace._stop import Stop
from opencwm.trace.frames import Event, Frame, Step
from opencwm.trace.limits import Limits
from opencwm.trace.values import Renderer

_Local = Callable[[FrameType, str, Any], Any]
_REPEATS = sys.version_info[:2] == (3, 12)  # one line event too many where a branch ends behind a call in Python
_PROXY = sys.version_info >= (3, 13)  # `f_locals` of a function is a view with slow lookups


class Engine:
    """Turns the events of one recording into frames.

    `on_frame` is called with each frame as it is complete, `on_stop` with the reason when a limit is crossed, before
    the program is stopped. A `gentle` engine never stops the program: at a limit it records no more. `on_leave` is
    called when no recorded activation is open: the recording has ended, or its coroutine is suspended.
    """

    def __init__(
        self,
        limits: Limits,
        codes: Codes,
        *,
        on_frame: Callable[[Frame], None] | None = None,
        on_stop: Callable[[str], None] | None = None,
        on_leave: Callable[[Engine], None] | None = None,
        gentle: bool = False,
        identity: bool = False,
    ) -> None:
        self.limits = limits
        self.stopped: str | None = None
        self.ended = False  # the entry's activation is over
        self.active = False  # whether values of sub-expressions are noted
        self.renderer = Renderer(limits.value_bytes)
        self.stack: list[_Visit] = []
        self.raised_last: _Visit | None = None  # the visit whose exception frame is the last frame
        self.leaving: _Leaving | None = None
        self.held: list[tuple[Frame, CodeInfo]] = []  # frames of a generator's resumption that may be a mere closing
        self.on_leave = on_leave
        self.tracer: Tracer | None = None
        self.gentle = gentle
        self.identity = identity
        self.thread = threading.get_ident()
        self.deadline = monotonic() + limits.seconds
        self._records: list[tuple[Frame, CodeInfo]] = []
        self._codes = codes
        self._on_frame = on_frame
        self._on_stop = on_stop
        self._steps: list[Step] = []
        self._bytes = 0
        self._process = os.getpid()  # a fork goes on recording for itself alone

    @property
    def depth(self) -> int:
        """Recorded activations that are open."""
        return len(self.stack)

    def make_frames(self) -> tuple[Frame, ...]:
        """The frames recorded so far."""
        return tuple(frame for frame, _ in self._records)

    @property
    def codes(self) -> tuple[CodeType, ...]:
        """The code object of each frame."""
        return tuple(info.code for _, info in self._records)

    def release(self) -> None:
        """Let go of the program's values."""
        self.stack.clear()

    def check(self) -> None:
        """Raise Stop if the program has to end, or its time is up."""
        if self.stopped is not None or (monotonic() > self.deadline and not self.ended):
            self.stop("seconds")

    def enter(self, frame: FrameType) -> _Local | None:
        """Record the call of a frame; the trace function for what happens in it."""
        if self.ended:
            return None
        info = self._codes.of(frame.f_code)
        if frame.f_lasti < info.start:
            return None  # a generator closed or thrown into before its first line
        visit = _Visit(self, info, len(self.stack))
        if self.gentle:
            with self.gently():
                self._enter(visit, frame)
            return visit.gentle_event
        self._enter(visit, frame)
        return visit.event

    def _enter(self, visit: _Visit, frame: FrameType) -> None:
        if self.leaving is not None:
            self.leaving.resolve(self, None, None)
        if len(self.stack) >= self.limits.depth:
            self.stop("depth")
        self.stack.append(visit)
        visit.enter(frame)

    @contextmanager
    def gently(self) -> Iterator[None]:
        """End the recording, not the program, at a limit or where the interpreter's stack is full."""
        try:
            yield
        except Stop:
            self.finish()
        except RecursionError:
            self.note_stop("recursion")
            self.finish()

    def finish(self) -> None:
        """Record no more."""
        if not self.ended:
            self.ended = True
            if self.on_leave is not None:
                self.on_leave(self)

    def settle(self, error: BaseException | None) -> None:
        """Emit what was held back when the program is over."""
        try:
            if self.leaving is not None:
                self.leaving.resolve(self, None, error)
            self.flush()
        except Stop:
            pass

    @property
    def noted_steps(self) -> bool:
        """Whether there are steps since the frame before."""
        return bool(self._steps)

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

    def emit(self, frame: Frame, info: CodeInfo) -> None:
        """Add a frame, after those held back. Raises Stop at a limit."""
        if self.held:
            self.flush()
        self.raised_last = None
        self._add(frame, info)

    def stop(self, reason: str) -> None:
        """End the recording: raise Stop, which goes on until the program has been left (if gentle: has reached us)."""
        self.note_stop(reason)
        raise Stop

    def note_stop(self, reason: str) -> None:
        """Note why the recording has to end, unless there is a reason already."""
        if self.stopped is None:
            self.stopped = reason
            if self._on_stop is not None and os.getpid() == self._process:
                self._on_stop(reason)

    def flush(self) -> None:
        """Add the frames held back."""
        held, self.held = self.held, []
        for frame, info in held:
            self._add(frame, info)

    def _add(self, frame: Frame, info: CodeInfo) -> None:
        limits = self.limits
        if len(self._records) >= limits.frames:
            self.stop("frames")
        used = len(frame.value or "")
        for name, text in frame.locals.items():
            used += len(name) + len(text)
        self._bytes += used
        if self._bytes > limits.total_bytes:
            self.stop("bytes")
        self._records.append((frame, info))
        if self._on_frame is not None and os.getpid() == self._process:
            self._on_frame(frame)


class Tracer:
    """Sends the calls of one thread, by `sys.settrace`, to the engines that `route` names for them."""

    def __init__(self, route: Callable[[FrameType], Engine | Literal[False] | None]) -> None:
        self._route = route

    @classmethod
    def of_file(cls, engine: Engine, filename: str, module_globals: dict[str, Any]) -> Tracer:
        """A tracer that sends the calls of one file's code with the given globals to one engine."""

        def route(frame: FrameType) -> Engine | None:
            engine.check()
            mine = frame.f_code.co_filename == filename and frame.f_globals is module_globals
            return engine if mine else None

        return cls(route)

    def start(self) -> None:
        """Begin in this thread."""
        sys.settrace(self)

    def __call__(self, frame: FrameType, event: str, arg: Any) -> _Local | None:
        """The trace function: every call of a Python function in this thread comes here first."""
        try:
            engine = self._route(frame)
        except RecursionError:
            return None
        if not engine:
            return None
        engine.tracer = self
        return engine.enter(frame)


class _Visit:
    """One activation on the stack: a call, or the stretch from a generator's resumption to its next suspension."""

    __slots__ = ("_memory", "core", "depth", "errors", "fresh", "handled", "info", "line", "raised_at", "since_raise")

    def __init__(self, core: Engine, info: CodeInfo, depth: int) -> None:
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
        record = self._state("call", frame)
        if self.fresh:
            if self.core.held:
                self.core.flush()
            self.core.held.append((record, self.info))
            self.core.raised_last = None
        else:
            self.core.emit(record, self.info)

    def event(self, frame: FrameType, event: str, arg: Any) -> _Local | None:
        """The local trace function."""
        core = self.core
        if core.ended or sys.gettrace() is not core.tracer:
            return None  # over, or another trace function has taken over, which leaves this one to its frame
        if core.stopped is not None:  # by the watch: this event may be that of its Stop
            if event == "line":
                raise Stop
            return None
        if core.leaving is not None:
            core.leaving.resolve(core, self, arg[1] if event == "exception" else None)
        if event == "line":
            if monotonic() > core.deadline:
                core.stop("seconds")
            if _REPEATS and core.noted_steps and self._repeats(frame):
                return self.event
            self.fresh = False
            self.since_raise = True
            self.line = self._line_of(frame)
            core.emit(self._state("line", frame), self.info)
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

    def _repeats(self, frame: FrameType) -> bool:
        """Whether a line event is only there because `__cwm_step__` is a function in Python."""
        return self._line_of(frame) == self.line and self.info.follows_call(frame.f_lasti)

    def gentle_event(self, frame: FrameType, event: str, arg: Any) -> _Local | None:
        """The local trace function in a program that is not to be stopped."""
        with self.core.gently():
            self.event(frame, event, arg)
        return self.gentle_event

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
            core.held.append((record, self.info))
            core.raised_last = self
            return
        self.fresh = False
        core.emit(record, self.info)
        core.raised_last = self

    def _left(self, frame: FrameType, value: Any) -> None:
        core = self.core
        core.stack.pop()
        suspended = False
        if not self._unwound(frame, value):
            if self.info.is_async_generator and type(value).__name__ == "async_generator_wrapped_value":
                value = gc.get_referents(value)[0]
            text = core.renderer.text(value)
            line = self._line_of(frame)
            suspended = self.info.is_generator and self.info.suspends_at(frame.f_lasti)
            record = Frame("return", line, self.info.function, self.depth, {}, text, self._steps())
            core.emit(record, self.info)
        elif self.fresh and core.held:
            core.held.clear()
        elif core.raised_last is not self:
            core.leaving = _Leaving(self, frame.f_lasti, core.stack[-1] if core.stack else None)
        if not core.stack:
            core.ended = not suspended
            if core.on_leave is not None:
                core.on_leave(core)

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

    def _state(self, event: Event, frame: FrameType) -> Frame:
        values = self._locals(frame)
        texts = {name: self._text(name, value) for name, value in values.items()}
        identity = shared(values) if self.core.identity else ()
        return Frame(event, self.line, self.info.function, self.depth, texts, None, self._steps(), identity)

    def _locals(self, frame: FrameType) -> dict[str, object]:
        """Names and values, in the order of the code object's names (of a class body: as they were bound)."""
        if not self.info.is_function:
            return class_namespace(frame)
        values: Any = frame.f_locals
        if _PROXY:
            values = dict(values)
        return {name: values[name] for name in self.info.names if name in values}

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

    def resolve(self, core: Engine, visit: _Visit | None, error: BaseException | None) -> None:
        """Emit the frame. `error` is the exception that came to `visit` (None: to the caller of the entry), if any."""
        core.leaving = None
        left = self._visit
        text = self._guess
        if error is not None and visit is self._parent:
            # Between here and there a library may have swallowed ours and raised another one. `except*` makes new ones.
            if not left.errors or id(error) in left.errors or issubclass(type(error), BaseExceptionGroup):
                text = core.renderer.text(error)
        frame = Frame("exception", left.line, left.info.function, left.depth, {}, text, self._steps)
        core.emit(frame, left.info)
