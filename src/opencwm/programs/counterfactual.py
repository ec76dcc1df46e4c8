"""What would have happened: a program runs again, and in mid-run one local variable is given another value.

The value is put into the running frame itself when the chosen point is reached, and what happens then is recorded.
Standard library and our recorder only: the recording process in the sandbox imports it.
"""

from __future__ import annotations

import ast
import ctypes
import sys
from dataclasses import dataclass
from types import FrameType

from opencwm.trace.frames import Frame, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import FILENAME, Recordable, RecordError, record


@dataclass(frozen=True, slots=True)
class Change:
    """Once `at` frames have happened, local variable `name` gets the value of the literal `text`."""

    at: int
    name: str
    text: str


def rerun(program: Recordable, change: Change, *, limits: Limits, steps: bool = False) -> Trace:
    """The run of a program with a change. Raises RecordError, also where the variable cannot be set."""
    value = ast.literal_eval(change.text)
    happened = 0
    done = False

    def inject(frame: Frame) -> None:
        nonlocal happened, done
        happened += 1
        if happened != change.at:
            return
        running = _running_frame()
        if running is not None and change.name in running.f_code.co_varnames + running.f_code.co_cellvars:
            running.f_locals[change.name] = value
            if sys.version_info < (3, 13):  # there `f_locals` is a copy, which has to be written back
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(running), ctypes.c_int(0))
            done = True

    after = record(program, limits=limits, steps=steps, on_frame=inject)
    if not done:
        raise RecordError(f"{change.name} cannot be changed after {change.at} frames: no such variable there")
    return after


def shown(before: Trace, after: Trace, change: Change) -> Trace | None:
    """`after`, the run with a change, where the frame at which it was made shows the new value.

    `before` is the run without it; frame `at - 1` must be a `line` frame. None where the two part before that frame.
    """
    at = change.at
    if after.frames[:at] != before.frames[:at]:
        return None
    changed = after.frames[at - 1]
    state = Frame(
        changed.event,
        changed.line,
        changed.function,
        changed.depth,
        {**changed.locals, change.name: change.text},
        None,
        changed.steps,
    )
    frames = (*after.frames[: at - 1], state, *after.frames[at:])
    return Trace(after.context, after.entry_line, frames, after.outcome, after.python)


def _running_frame() -> FrameType | None:
    """The innermost frame of the program that is being recorded."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != FILENAME:
        frame = frame.f_back
    return frame
