"""`Recording`: record a program that is running anyway (a test suite, a server) as many short episodes.

    with Recording(where(module="shop.*")) as recording:
        run_the_tests()
    for episode in recording.episodes: ...

Notable choices:
- The program is never stopped and its values are never touched. At a limit an episode ends as `truncated`, and the
  program goes on unrecorded.
- An episode is one call of a selected function, with the selected calls below it: each is stepped into with the
  probability `step_in`, else it is stepped over and is an episode of its own (CWM §3.3). Lambdas, comprehensions, class
  bodies and generators belong to the episode that runs them.
- A coroutine's episode holds the stretches in which that coroutine runs, however the event loop interleaves them.
- Each thread has its own episodes. Threads that ran before `start` are not recorded.
- The choice depends on the seed and the name of the test, not on what ran before, so it does not matter how tests are
  spread over processes.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from types import CodeType, FrameType, TracebackType
from typing import Any, Literal

from opencwm.trace._bytecode import Codes, definition_lines
from opencwm.trace.core import Engine, Name, choose
from opencwm.trace.filters import Call, Predicate
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.others import describe
from opencwm.trace.recorder import PYTHON, RecordError


@dataclass(frozen=True, slots=True)
class Quota:
    """How many episodes are kept: of one function, of one test (or of the time between two), in all. None: no bound."""

    per_function: int | None = None
    per_test: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One recorded call, before its sources are gathered: `frames[i].line` counts in the file of `codes[i]`."""

    call: Call
    entry_line: int
    frames: tuple[Frame, ...]
    codes: tuple[CodeType, ...]
    outcome: Outcome
    thread: str

    def trace(self, context: str, line_of: Callable[[CodeType, int], int]) -> Trace:
        """The trace in a context; `line_of` gives the line there of a line in the file of a code object."""
        pairs = zip(self.frames, self.codes, strict=True)
        frames = tuple(replace(frame, line=line_of(code, frame.line)) for frame, code in pairs)
        return Trace(context, line_of(self.codes[0], self.entry_line), frames, self.outcome, PYTHON)

    def whole_trace(self) -> Trace:
        """The trace in the context of all its files; several are joined under `# file: PATH` headings."""
        files = list(dict.fromkeys(code.co_filename for code in self.codes))
        texts, offsets, lines = [], {}, 0
        for name in files:
            heading = f"# file: {short_name(name)}\n" if len(files) > 1 else ""
            text = "".join(linecache.getlines(name))
            offsets[name] = lines + heading.count("\n")
            texts.append(heading + text + ("" if text.endswith("\n") else "\n"))
            lines += texts[-1].count("\n")
        return self.trace("".join(texts), lambda code, line: offsets[code.co_filename] + line)


def short_name(file: str) -> str:
    """A file's path below the folder that it was imported from."""
    folders = [folder.rstrip("/\\") for folder in sys.path if folder]
    within = [folder for folder in folders if file.startswith((folder + "/", folder + "\\"))]
    return file[len(max(within, key=len)) + 1 :].replace("\\", "/") if within else file


class Recording:
    """Records the calls that `select` selects, between `start` and `stop` or as a context manager.

    `select` says which functions' calls are episodes; `show` which code is shown inside one (without it, what `select`
    selects). `limits` bind each episode, `quota` their number. `identity` notes which names share an object.
    `on_episode` takes each episode as it ends, inside the program: it should be quick; an error of its own is raised by
    `stop`. Without it they are collected in `episodes`. Raises RecordError on `start` if somebody else traces this
    thread: that tracer is left intact.
    """

    def __init__(
        self,
        select: Predicate,
        *,
        show: Predicate | None = None,
        step_in: float = 1.0,
        seed: int = 0,
        limits: Limits | None = None,
        quota: Quota | None = None,
        identity: bool = False,
        core: Name | None = None,
        on_episode: Callable[[Episode], None] | None = None,
    ) -> None:
        if not 0 <= step_in <= 1:
            raise ValueError(f"step_in is a probability between 0 and 1, not {step_in!r}")
        self.episodes: list[Episode] = []
        self._select = select
        self._show = show or select
        self._step_in = step_in
        self._seed = seed
        self._limits = limits or Limits()
        self._quota = quota or Quota()
        self._identity = identity
        self._core = choose(core)
        self._on_episode = on_episode or self.episodes.append
        self._codes = Codes(DefinitionLines())
        self._choices: dict[int, _Choice] = {}
        self._threads: list[_Thread] = []
        self._own: _Thread | None = None
        self._test = ""
        self._begun: Counter[object] = Counter()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._hook_before: Any = None

    @property
    def test(self) -> str:
        """The name of the running test, which predicates see and the choice of episodes depends on."""
        return self._test

    @test.setter
    def test(self, name: str) -> None:
        with self._lock:
            self._test = name
            self._begun[_TEST] = 0
            for thread in self._threads:
                thread.reseed()

    def start(self) -> None:
        """Begin to record, in this thread and in those started from now on."""
        present = sys.gettrace()
        if present is not None:
            whose, advice = describe(present)
            raise RecordError(f"{whose} is tracing this thread, and a thread has one tracer only: {advice}")
        self._hook_before = threading.gettrace()
        threading.settrace(self._begin_thread)
        self._own = self._thread()
        self._own.tracer.start()

    def stop(self) -> None:
        """End the recording; episodes that are open are truncated. Raises what `on_episode` has raised."""
        if self._own is None:
            return
        reason = "the recording ended"
        present = sys.gettrace()
        if present is self._own.tracer:
            sys.settrace(None)
        elif present is not None:
            reason = f"{describe(present)[0]} took over the tracing"
        if threading.gettrace() == self._begin_thread:
            threading.settrace(self._hook_before)
        self._own = None
        for thread in self._threads:
            thread.close(reason)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Recording:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _thread(self) -> _Thread:
        thread = _Thread(self)
        self._threads.append(thread)
        return thread

    def _begin_thread(self, frame: FrameType, event: str, arg: object) -> Any:
        """The trace function of a new thread, until it makes its first call."""
        if self._own is None:
            sys.settrace(None)
            return None
        with self._lock:
            tracer = self._thread().tracer
        tracer.start()
        return tracer(frame, event, arg)

    def _choice(self, frame: FrameType) -> _Choice:
        choice = self._choices.get(id(frame.f_code))
        if choice is None:
            choice = self._choices[id(frame.f_code)] = _Choice(frame, self._select, self._show)
        return choice

    def _may_begin(self, code: CodeType) -> bool:
        """Count an episode of a function, if there may be one more."""
        quota = self._quota
        bounds = ((code, quota.per_function), (_TEST, quota.per_test), (_TOTAL, quota.total))
        with self._lock:
            if any(most is not None and self._begun[key] >= most for key, most in bounds):
                return False
            for key, _ in bounds:
                self._begun[key] += 1
        return True

    def _deliver(self, episode: Episode) -> None:
        try:
            self._on_episode(episode)
        except BaseException as error:  # it must not come up in the program
            self._error = self._error or error


_TEST, _TOTAL = "test", "total"


class _Choice:
    """What is known about a code object's selection: `begins` and `shown` are None where it depends on the call."""

    __slots__ = ("begins", "call", "code", "never", "resumes", "shown")

    def __init__(self, frame: FrameType, select: Predicate, show: Predicate) -> None:
        code = self.code = frame.f_code
        module = frame.f_globals.get("__name__")
        self.call = Call(module if type(module) is str else "", code.co_filename, code.co_qualname, code.co_firstlineno)
        suspends = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
        self.resumes = bool(code.co_flags & suspends)
        whole = bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")
        whole = whole and not code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
        self.begins: bool | None = (select(self.call) if select.fixed else None) if whole else False
        self.shown: bool | None = show(self.call) if show.fixed else None
        self.never = self.begins is False and self.shown is False


class _Thread:
    """The episodes of one thread: those open, the innermost last, and those whose coroutine is suspended."""

    def __init__(self, recording: Recording) -> None:
        self.tracer = recording._core.tracer(self.route)
        self._recording = recording
        self._name = threading.current_thread().name
        self._open: list[_Open] = []
        self._suspended: dict[int, _Open] = {}
        self.reseed()

    def reseed(self) -> None:
        """Let the choice depend on the test that begins."""
        self._random = Random(f"{self._recording._seed}/{self._recording.test}/{self._name}")

    def route(self, frame: FrameType) -> Engine | Literal[False] | None:
        """The engine that records a call, if any does; False for code of which no call is recorded."""
        recording = self._recording
        choice = recording._choice(frame)
        if choice.never:
            return False
        current = self._open[-1].engine if self._open else None
        if choice.resumes and frame.f_lasti > recording._codes.of(choice.code).start:
            suspended = self._suspended.pop(id(frame), None)
            if suspended is not None and suspended.call.line == choice.call.line:
                self._open.append(suspended)
                return suspended.engine
            begins = False
        else:
            begins = self._asks(choice.begins, recording._select, choice)
        if begins and (current is None or self._random.random() >= recording._step_in):
            return self._begin(frame, choice) if recording._may_begin(choice.code) else None
        if current is not None and self._asks(choice.shown, recording._show, choice):
            return current
        return None

    def _asks(self, known: bool | None, predicate: Predicate, choice: _Choice) -> bool:
        return known if known is not None else predicate(self._call(choice))

    def _call(self, choice: _Choice) -> Call:
        depth = sum(item.engine.depth for item in self._open)
        return replace(choice.call, depth=depth, test=self._recording.test)

    def _begin(self, frame: FrameType, choice: _Choice) -> Engine:
        recording = self._recording
        engine = recording._core.engine(
            recording._limits, recording._codes, gentle=True, on_leave=self._left, identity=recording._identity
        )
        self._open.append(_Open(engine, self._call(choice), id(frame), recording._codes.of(choice.code).line))
        return engine

    def _left(self, engine: Engine) -> None:
        """No recorded call of an episode is open: it is over, or its coroutine is suspended."""
        found = next(item for item in reversed(self._open) if item.engine is engine)
        self._open.remove(found)
        if engine.ended:
            self._end(found)
        else:
            self._suspended[found.frame] = found

    def _end(self, item: _Open) -> None:
        engine = item.engine
        if engine.stopped is None:
            engine.settle(None)
        frames = engine.make_frames()
        if frames:
            episode = Episode(item.call, item.line, frames, engine.codes, _outcome(engine, frames[-1]), self._name)
            self._recording._deliver(episode)

    def close(self, reason: str) -> None:
        """End the episodes that are open."""
        left = [*self._open, *self._suspended.values()]
        self._open.clear()
        self._suspended.clear()
        for item in left:
            item.engine.ended = True
            item.engine.note_stop(reason)
            self._end(item)


@dataclass(slots=True, eq=False)
class _Open:
    engine: Engine
    call: Call
    frame: int
    line: int


def _outcome(engine: Engine, last: Frame) -> Outcome:
    if engine.stopped is not None:
        return Outcome("truncated", engine.stopped)
    if last.event == "exception":
        return Outcome("truncated", "exit") if (last.value or "").startswith("SystemExit(") else Outcome("exception")
    return Outcome("return")


class DefinitionLines:
    """Where the `def` of a code object is, below its decorators, read off its source file if that can be found."""

    def __init__(self) -> None:
        self._files: dict[str, dict[tuple[int, str], int]] = {}

    def __call__(self, code: CodeType) -> int:
        first = code.co_firstlineno
        if not linecache.getline(code.co_filename, first).lstrip().startswith("@"):
            return first
        lines = self._files.get(code.co_filename)
        if lines is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    lines = definition_lines(ast.parse("".join(linecache.getlines(code.co_filename))))
            except (SyntaxError, ValueError, RecursionError):
                lines = {}
            self._files[code.co_filename] = lines
        return lines.get((first, code.co_name), first)
