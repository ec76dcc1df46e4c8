"""Which core turns the interpreter's events into frames: the one in C (`_core.c`) or the one in Python (`_pycore.py`).

Both give equal traces; the one in C is many times faster. It is built when the package is installed, if there is a C
compiler; where it is missing the Python core serves, and `choose` says why. `OPENCWM_CORE=c|python|auto` chooses for
code that does not name a core.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Literal, Protocol

from opencwm.trace import _pycore
from opencwm.trace._bytecode import class_namespace
from opencwm.trace._objects import shared
from opencwm.trace._stop import Stop
from opencwm.trace.frames import Frame, Step
from opencwm.trace.limits import Limits
from opencwm.trace.values import Renderer

Name = Literal["auto", "c", "python"]
NAMES: tuple[Name, ...] = ("auto", "c", "python")
VARIABLE = "OPENCWM_CORE"
PYTHON = ".".join(platform.python_version_tuple()[:2])


class CoreError(ValueError):
    """A core that was asked for by name cannot be used; the message says why and what to do."""


class Engine(Protocol):
    """Turns the events of one recording into frames (`_pycore.Engine` says how)."""

    limits: Limits
    ended: bool
    active: bool
    deadline: float

    @property
    def stopped(self) -> str | None: ...
    @property
    def depth(self) -> int: ...
    def make_frames(self) -> tuple[Frame, ...]: ...
    @property
    def codes(self) -> tuple[CodeType, ...]: ...
    def note_stop(self, reason: str) -> None: ...
    def settle(self, error: BaseException | None) -> None: ...
    def release(self) -> None: ...
    def step(self, node: int, value: Any) -> Any: ...


class Tracer(Protocol):
    """The trace function of one thread."""

    def start(self) -> None: ...
    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any: ...


Route = Callable[[FrameType], "Engine | Literal[False] | None"]


@dataclass(frozen=True)
class Core:
    """One of the two, and why it is the one.

    `engine(limits, codes, *, on_frame, on_stop, on_leave, gentle, identity)` makes an Engine, `tracer(route)` a Tracer
    that asks `route` for each call which engine records it (None: not this call, False: never this code object), and
    `tracer_of_file(engine, filename, module_globals)` one that sends one file's code to one engine.
    """

    name: Literal["c", "python"]
    reason: str
    engine: Callable[..., Engine]
    tracer: Callable[[Route], Tracer]
    tracer_of_file: Callable[[Engine, str, dict[str, Any]], Tracer]
    fell_back: bool = False  # from the C core, which was wanted

    def __str__(self) -> str:
        return f"the {'C' if self.name == 'c' else 'Python'} core: {self.reason}"


def choose(name: Name | None = None) -> Core:
    """The core of a name, or without one of the environment's choice. Raises CoreError if it cannot be had."""
    wanted: str = name or os.environ.get(VARIABLE, "") or "auto"
    if wanted not in NAMES:
        raise CoreError(f"{VARIABLE} is {wanted!r}: set it to one of {', '.join(NAMES)}, or unset it")
    if wanted == "python":
        return _python("it was asked for")
    module, problem = _load()
    if module is None:
        if wanted == "c":
            raise CoreError(f"the C core cannot be used: {problem}")
        return _python(f"the C core cannot be used: {problem}", fell_back=True)
    reason = "it was asked for" if wanted == "c" else f"it is built for Python {PYTHON}, and the faster one"
    return Core("c", reason, module.Engine, module.Tracer, module.Tracer.of_file)


def _python(reason: str, *, fell_back: bool = False) -> Core:
    module: Any = _pycore
    return Core("python", reason, module.Engine, module.Tracer, module.Tracer.of_file, fell_back)


def put_back(tracer: Any) -> None:
    """Make a trace function that was `sys.gettrace()` this thread's again."""
    if type(tracer).__module__.startswith("opencwm.trace."):
        tracer.start()  # `settrace` would have it wait for the next call
    else:
        sys.settrace(tracer)


_loaded: tuple[Any, str] | None = None


def _load() -> tuple[Any, str]:
    """The C module, or None and why it is not to be had."""
    global _loaded
    if _loaded is None:
        _loaded = _import()
    return _loaded


def _import() -> tuple[Any, str]:
    if sys.implementation.name != "cpython":
        return None, f"it is for CPython, and this is {sys.implementation.name}"
    try:
        _core: Any = importlib.import_module("opencwm.trace._core")
    except ModuleNotFoundError:
        problem = f"it is not built for Python {PYTHON}"
        return None, f"{problem}; with a C compiler and Python's headers, install the package anew (pip install -e .)"
    except ImportError as error:
        return None, f"it does not load ({error}); install the package anew (pip install -e .)"
    _core.configure(Frame, Step, Stop, Renderer, class_namespace, shared, _unwrap)
    return _core, ""


def _unwrap(value: object) -> object:
    """What an asynchronous generator has yielded, out of the interpreter's wrapper."""
    return gc.get_referents(value)[0]
