"""Stopping a recorded program for good.

A limit raises `Stop` out of the trace function. The interpreter drops a trace function that raises, so a program that
swallows the exception would run on unseen. Therefore a thread raises `Stop` again and again, soon very often, until the
program is left. (A child process needs none of this: it exits at the limit.)
"""

from __future__ import annotations

import sys
import threading
from typing import Any


class Stop(BaseException):
    """Raised in the recorded program to end it; never seen by the caller."""


class Insistence:
    """Raises Stop in the program's thread over and over, beginning a little later, until it is ended."""

    def __init__(self, thread: int, module_globals: dict[str, Any]) -> None:
        self._target = thread
        self._globals = module_globals
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._insist, name="cwm-stop", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """To be called in the target thread, again if it raises Stop."""
        self._done.set()
        self._thread.join()
        for _ in range(10):  # jumping back is where the interpreter raises what is still due; it must not linger
            pass

    def _insist(self) -> None:
        if self._done.wait(0.05):
            return
        import ctypes

        target = ctypes.c_ulong(self._target)
        interval = sys.getswitchinterval()
        pause = 0.01
        rounds = 0
        while not self._done.wait(pause):
            if self._inside():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(Stop))
            rounds += 1
            if rounds == 20:  # it catches everything: do not let it get from one handler into the next
                pause = 1e-5
                sys.setswitchinterval(1e-5)
        sys.setswitchinterval(interval)

    def _inside(self) -> bool:
        """Whether the program's code is still on the thread's stack."""
        frame = sys._current_frames().get(self._target)
        while frame is not None:
            if frame.f_globals is self._globals:
                return True
            frame = frame.f_back
        return False
