"""`record`: run a program's entry in this process and note every call, line, return and exception.

Notable choices:
- The module body runs untraced, in a fresh module `__cwm__`; then the entry is called with tracing on. Only the
  context's own code is recorded, library code is stepped over.
- The program's output goes to a bounded sink, its standard input is empty (`input()` raises EOFError).
- Garbage collection is off while the program runs, so that finalizers run when the program makes them run.
- The program is given this process's standard streams, `sys.modules` and the like: one recording at a time.
- This is for programs that are trusted to be harmless: a loop in C, `os._exit` or a crash takes this process with it.
  `record_isolated` (`trace/isolate.py`) is for all others.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import io
import os
import sys
import warnings
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol, TextIO

from opencwm.trace._bytecode import CodeInfo, Codes, definition_lines
from opencwm.trace._run import Run
from opencwm.trace.core import Name, choose
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.values import render

MODULE = "__cwm__"
FILENAME = "<context>"
OUTPUT_BYTES = 1_000_000
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class RecordError(ValueError):
    """A program of which no trace can be made; the message is one line and says what to do."""


class Recordable(Protocol):
    """What can be recorded: a text, and the name and the line of the argument-less function at which the run starts."""

    @property
    def context(self) -> str: ...
    @property
    def entry(self) -> str: ...
    @property
    def entry_line(self) -> int: ...


def record(
    program: Recordable,
    *,
    limits: Limits | None = None,
    steps: bool = False,
    identity: bool = False,
    output: TextIO | None = None,
    tree: ast.Module | None = None,
    on_frame: Callable[[Frame], None] | None = None,
    on_stop: Callable[[str], None] | None = None,
    core: Name | None = None,
) -> Trace:
    """The trace of one run of the program's entry, in this process.

    `steps` records the values of sub-expressions too, `identity` which names share an object. What the program prints
    goes to `output`, up to 1 MB, and is dropped without it. `tree` is the context's syntax tree, if the caller has it
    (with `steps` it is rewritten in place). `on_frame` is called with each frame when it is recorded, `on_stop` with
    the reason when a limit is crossed. `core` chooses between the core in C and that in Python (`trace/core.py`).

    An uncaught `SystemExit` gives the outcome `truncated (exit)`; a KeyboardInterrupt of the user is raised. Raises
    RecordError if the context does not compile, its module body fails, or it has no such entry.
    """
    limits = limits or Limits()
    process = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, lines = _compile(program.context, steps, tree)
        module = ModuleType(MODULE)
        codes = Codes(lambda code: lines.get((code.co_firstlineno, code.co_name), code.co_firstlineno))
        chosen = choose(core)
        engine = chosen.engine(limits, codes, on_frame=on_frame, on_stop=on_stop, identity=identity)
        tracer = chosen.tracer_of_file(engine, FILENAME, module.__dict__)
        if steps:
            module.__dict__["__cwm_step__"] = engine.step
        surroundings = _Surroundings(module, limits, output)
        try:
            outcome = _run(Run(engine, tracer, module.__dict__), code, module, program.entry)
        finally:
            if os.getpid() != process:
                os._exit(0)  # the program has forked, and this is the child: the caller goes on in the parent alone
            surroundings.leave()
    return Trace.with_frames_later(program.context, program.entry_line, engine.make_frames, outcome, PYTHON)


def _run(run: Run, code: CodeType, module: ModuleType, entry: str) -> Outcome:
    return _outcome(run, run.run(_entry(code, module, entry)))


class _Surroundings:
    """The state of the process that a program may see or change: entered when made, put back by `leave`."""

    def __init__(self, module: ModuleType, limits: Limits, output: TextIO | None) -> None:
        self._module = module
        self._before = sys.modules.get(MODULE)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._hook = sys.unraisablehook
        self._collecting = gc.isenabled()
        self._recursion = sys.getrecursionlimit()
        self._sink = _sink(output)
        sys.modules[MODULE] = module
        sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
        sys.stdout = sys.stderr = self._sink
        sys.unraisablehook = sys.__unraisablehook__  # it writes to the sink
        sys.setrecursionlimit(max(self._recursion, 3 * limits.depth + 300))  # so that `depth` is met first
        gc.disable()

    def leave(self) -> None:
        """Let go of the program's objects, while what their finalizers print still goes to the sink; restore."""
        self._module.__dict__.clear()
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.unraisablehook = self._hook
        sys.setrecursionlimit(self._recursion)
        if self._collecting:
            gc.enable()
        if self._before is None:
            sys.modules.pop(MODULE, None)
        else:
            sys.modules[MODULE] = self._before
        _close(self._sink)


def _compile(context: str, steps: bool, tree: ast.Module | None) -> tuple[CodeType, dict[tuple[int, str], int]]:
    """The module's code, and the lines of its decorated definitions."""
    lines: dict[tuple[int, str], int] = {}
    try:
        if tree is None and (steps or "@" in context):
            tree = ast.parse(context, FILENAME)
        if tree is not None and "@" in context:
            lines = definition_lines(tree)
        if steps:
            from opencwm.trace.steps import instrument

            assert tree is not None
            tree = instrument(tree)
        return compile(tree or context, FILENAME, "exec", dont_inherit=True), lines
    except SyntaxError as error:
        raise RecordError(f"line {error.lineno}: {error.msg}; fix the syntax first") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise RecordError(f"the program cannot be compiled: {error}") from None


def _entry(code: CodeType, module: ModuleType, name: str) -> Callable[[], object]:
    """Run the module body; the entry it defines."""
    try:
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILENAME:
                where = trace.tb_lineno
            trace = trace.tb_next
        text = render(error, 300)
        raise RecordError(f"the module failed before the entry: {text} at line {where}; fix it first") from None
    entry: Any = module.__dict__.get(name)
    if not callable(entry):
        raise RecordError(f"the module defines no function {name}")
    if type(entry) is FunctionType and CodeInfo(entry.__code__).is_generator:
        raise RecordError(
            f"calling {name} only makes a generator or a coroutine: let the entry be a plain function that runs it"
            f" (`return list({name}())`, `return asyncio.run({name}())`)"
        )
    return entry  # type: ignore[no-any-return]


def _outcome(run: Run, error: BaseException | None) -> Outcome:
    if run.stopped is not None:
        return Outcome("truncated", run.stopped)
    if issubclass(type(error), SystemExit):
        return Outcome("truncated", "exit")
    if issubclass(type(error), KeyboardInterrupt) and not _raised_by_program(error):
        assert error is not None
        raise error
    if not run.engine.ended:
        return Outcome("truncated", "tracing was switched off")
    return Outcome("return" if error is None else "exception")


def _raised_by_program(error: BaseException | None) -> bool:
    """Whether a `raise` statement in the context raised the exception."""
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename != FILENAME:
        return False
    return CodeInfo(trace.tb_frame.f_code).raises_at(trace.tb_lasti)


class Printed:
    """Takes all that a program prints, passes on the first `OUTPUT_BYTES` of it, if there is somewhere to pass it."""

    def __init__(self, output: TextIO | None) -> None:
        self._output = output
        self._left = OUTPUT_BYTES if output is not None else 0

    @property
    def full(self) -> bool:
        """Whether whatever comes now is dropped."""
        return self._left <= 0

    def feed(self, data: bytes | memoryview) -> None:
        if self._left > 0 and self._output is not None:
            self._output.write(bytes(data[: self._left]).decode("utf-8", "replace"))
            self._left -= len(data)


class _RawSink(io.RawIOBase):
    """`Printed` as a raw stream."""

    def __init__(self, output: TextIO | None) -> None:
        self._printed = Printed(output)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._printed.feed(data)
        return len(data)


def _sink(output: TextIO | None) -> io.TextIOWrapper:
    raw = _RawSink(output)
    buffer: Any = raw if output is not None else io.BufferedWriter(raw, 8192)
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", write_through=True)


def _close(sink: io.TextIOWrapper) -> None:
    with contextlib.suppress(ValueError):  # the program may have closed it
        sink.flush()
