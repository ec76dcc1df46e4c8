"""One run of a program's entry with tracing on, until it ends or is stopped for good."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from opencwm.trace._stop import Stop, watch
from opencwm.trace.core import Engine, Tracer, put_back


class Run:
    """Calls an entry of the module `module_globals` while `tracer` sends its calls to `engine`."""

    def __init__(self, engine: Engine, tracer: Tracer, module_globals: dict[str, Any]) -> None:
        self.engine = engine
        self.module_globals = module_globals
        self.thread = threading.get_ident()
        self.deadline = 0.0
        self._tracer = tracer
        self._process = os.getpid()
        self._entry: Callable[[], object] | None = None
        self._error: BaseException | None = None

    @property
    def stopped(self) -> str | None:
        """Why the program had to end, if it had to."""
        return self.engine.stopped

    def note_stop(self, reason: str) -> None:
        """Note why the program has to end, unless there is a reason already."""
        self.engine.note_stop(reason)

    def run(self, entry: Callable[[], object]) -> BaseException | None:
        """Call the entry with tracing on; what it raised, or None. The trace function of before is put back."""
        previous = sys.gettrace()
        self._entry = entry
        self.deadline = self.engine.deadline = monotonic() + self.engine.limits.seconds
        self.engine.active = True
        watch().enter(self)
        try:
            self._run_and_leave(previous)
        except Stop:  # raised again on its way out; with the program left, there cannot be a third
            self._run_and_leave(previous)
        self.engine.active = False
        if self.stopped is None:
            self.engine.settle(self._error)
        self.engine.release()
        return self._error

    def _run_and_leave(self, previous: Any) -> None:
        while True:
            try:
                if self._entry is not None:
                    entry, self._entry = self._entry, None
                    self._tracer.start()
                    entry()
                put_back(previous)
                if os.getpid() == self._process:
                    watch().leave(self)
                return
            except Stop:
                put_back(previous)
            except BaseException as error:
                put_back(previous)
                self._error = error
