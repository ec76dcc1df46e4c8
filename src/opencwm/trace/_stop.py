"""Stopping a recorded program for good.

A limit raises `Stop` out of the trace function. The interpreter drops a trace function that raises, so a program that
swallows the exception would run on unseen; and some loops (`while True: pass` on one line) send no events at all. So
one background thread watches all recordings of this process: it raises `Stop` in a program that is out of time, and in
one that was stopped but has not been left, again and again, soon very often. It ends when it has been idle for a while.

A loop in C cannot be stopped in this way. (A child process of `isolate.py` is killed instead.)
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from time import monotonic
from typing import Any, Protocol

_LOOK_SECONDS = 0.05
_IDLE_LOOKS = 40
_PATIENCE = 20


class Stop(BaseException):
    """Raised in the recorded program to end it; never seen by the caller."""


class Watched(Protocol):
    """A running program: its thread, the globals of its code, when it must end, and why it was stopped."""

    thread: int
    module_globals: dict[str, Any]
    deadline: float

    @property
    def stopped(self) -> str | None: ...

    def note_stop(self, reason: str) -> None: ...


class Watch:
    """The thread that watches the recordings of one process."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._runs: list[Watched] = []
        self._thread: threading.Thread | None = None
        self._switch_interval: float | None = None  # what it was before it was made short

    def enter(self, run: Watched) -> None:
        """Begin to watch."""
        with self._lock:
            self._runs.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="cwm-watch", daemon=True)
                self._thread.start()

    def leave(self, run: Watched) -> None:
        """Stop watching; to be called in the program's thread, again if it raises Stop. No Stop is raised after it."""
        with self._lock:
            if run in self._runs:
                self._runs.remove(run)
            if self._switch_interval is not None:
                sys.setswitchinterval(self._switch_interval)
                self._switch_interval = None
        if run.stopped is not None:
            for _ in range(10):  # jumping back is where the interpreter raises what is still due; it must not linger
                pass

    def _look(self) -> None:
        idle = rounds = 0
        pause = _LOOK_SECONDS
        while idle < _IDLE_LOOKS:
            threading.Event().wait(pause)
            with self._lock:
                idle = 0 if self._runs else idle + 1
                if idle == _IDLE_LOOKS:
                    self._thread = None
                stubborn = [run for run in self._runs if self._has_to_end(run)]
                rounds = rounds + 1 if stubborn else 0
                if rounds > 1:
                    for run in stubborn:
                        _raise_stop(run)
                pause = 0.01 if stubborn else _LOOK_SECONDS
                if rounds > _PATIENCE:  # it catches everything: do not let it get from one handler into the next
                    pause = 1e-5
                    if self._switch_interval is None:
                        self._switch_interval = sys.getswitchinterval()
                        sys.setswitchinterval(1e-5)

    def _has_to_end(self, run: Watched) -> bool:
        if run.stopped is None and monotonic() > run.deadline + _LOOK_SECONDS:
            run.note_stop("seconds")
        return run.stopped is not None


def _raise_stop(run: Watched) -> None:
    """Raise Stop in the program's thread if the program's code is still on its stack."""
    frame = sys._current_frames().get(run.thread)
    while frame is not None:
        if frame.f_globals is run.module_globals:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(run.thread), ctypes.py_object(Stop))
            return
        frame = frame.f_back


_watch = Watch()


def watch() -> Watch:
    """The watch of this process (a fork has none of its parent's threads)."""
    global _watch
    if _watch._process != os.getpid():
        _watch = Watch()
    return _watch
