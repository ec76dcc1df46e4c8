"""`InterpreterWorld`: the run that really happens, given frame by frame like a prediction.

Notable choices: the program runs whole, in a process of its own, before its first frame is given, so a debugger over it
steps through a recording and nothing of the program runs in our process. That process is in a sandbox, as with
`cwm trace -`: a world is given a text and cannot tell whose it is. The last recording is kept, so that asking again
with a longer prefix costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opencwm.programs.untrusted import record_sandboxed, record_untrusted
from opencwm.sandbox import InfraError
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.isolate import record_isolated
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError
from opencwm.world.compare import differences, same
from opencwm.world.protocol import Prediction, Runnable, WorldError


class RecordedRun:
    """A recorded trace as a `Run`, from frame `start` on; every probability is 1."""

    def __init__(self, trace: Trace, start: int = 0) -> None:
        self.context = trace.context
        self.entry_line = trace.entry_line
        self.python = trace.python
        self._trace = trace
        self._next = start
        self.outcome: Outcome | None = trace.outcome if start >= len(trace.frames) else None

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self._next >= len(self._trace.frames):
            raise StopIteration
        frame = self._trace.frames[self._next]
        self._next += 1
        if self._next == len(self._trace.frames):
            self.outcome = self._trace.outcome
        return Prediction(frame)


class InterpreterWorld:
    """Answers with what the interpreter did, within `limits`.

    Programs run in a sandbox where there is one, and else, after a warning in the log, as plain processes; with
    `sandbox` true only in a sandbox, with false (for programs of one's own) always as plain processes.
    """

    name = "interpreter"

    def __init__(self, limits: Limits | None = None, *, sandbox: bool | None = None) -> None:
        self.limits = limits or Limits()
        self._recorder = {None: record_untrusted, True: record_sandboxed, False: record_isolated}[sandbox]
        self._last: tuple[tuple[str, str], Trace] | None = None

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        """Record the program, then give the frames that follow `prefix`.

        Raises WorldError if `prefix` is not how the run begins, if the program cannot be recorded, or if a sandbox is
        insisted on and there is none.
        """
        trace = self._record(program)
        for index, given in enumerate(prefix):
            if index >= len(trace.frames):
                raise WorldError(f"the prefix has {len(prefix)} frames, but the run has only {len(trace.frames)}")
            if not same(trace.frames[index], given):
                what = "; ".join(map(str, differences(trace.frames[index], given)))
                raise WorldError(
                    f"frame {index} of the prefix is not what happens ({what}); "
                    "the interpreter cannot continue a changed run yet: use a model"
                )
        return RecordedRun(trace, len(prefix))

    def _record(self, program: Runnable) -> Trace:
        key = (program.context, program.entry)
        if self._last is None or self._last[0] != key:
            try:
                self._last = key, self._recorder(program, limits=self.limits)
            except (RecordError, InfraError) as error:
                raise WorldError(str(error)) from error
        return self._last[1]
