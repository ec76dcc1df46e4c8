"""Where runs come from: `Sources` makes predicted, recorded and hybrid ones; `Reality` records while one steps.

Notable choice: the model is loaded when it is first asked, so walking a recorded run needs no weights, and yet a change
in the middle of one can be predicted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from opencwm.programs.program import Program
from opencwm.trace.frames import Outcome, Trace
from opencwm.trace.recorder import RecordError
from opencwm.world.protocol import Prediction, Run, World, WorldError


@dataclass(slots=True)
class Sources:
    """How a session gets its runs: a function that loads a world, and one that records a program; None for neither."""

    load: Callable[[], World] | None = None
    record: Callable[[Program], Trace] | None = None
    _world: World | None = None

    @property
    def world(self) -> World:
        """The world, loaded when first asked. Raises WorldError."""
        if self._world is None:
            if self.load is None:
                raise WorldError(
                    "this session has no model to predict with: start it without --trace, or give --weights"
                )
            self._world = self.load()
        return self._world


class Continued:
    """A run that begins with given frames and goes on with another run."""

    def __init__(self, given: Sequence[Prediction], rest: Run) -> None:
        self.context, self.entry_line, self.python = rest.context, rest.entry_line, rest.python
        self._given, self._rest = list(given)[::-1], rest
        self.outcome: Outcome | None = None

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self._given:
            prediction = self._given.pop()
        else:
            prediction = next(self._rest)
        if not self._given:
            self.outcome = self._rest.outcome
        return prediction


class Played:
    """A run whose frames and outcome are known already."""

    def __init__(self, predictions: Sequence[Prediction], trace: Trace) -> None:
        self.context, self.entry_line, self.python = trace.context, trace.entry_line, trace.python
        self._rest, self._end = list(predictions)[::-1], trace.outcome
        self.outcome: Outcome | None = None if predictions else trace.outcome

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if not self._rest:
            raise StopIteration
        prediction = self._rest.pop()
        if not self._rest:
            self.outcome = self._end
        return prediction


class Reality:
    """A recording that runs in the background. `trace` is None until it has arrived, `error` what kept it away."""

    def __init__(self, record: Callable[[Program], Trace], program: Program) -> None:
        self.trace: Trace | None = None
        self.error: str | None = None
        self._thread = threading.Thread(target=self._record, args=(record, program), daemon=True)
        self._thread.start()

    def _record(self, record: Callable[[Program], Trace], program: Program) -> None:
        try:
            self.trace = record(program)
        except (RecordError, WorldError, OSError) as error:
            self.error = str(error)

    def wait(self, seconds: float | None = None) -> Trace | None:
        """The trace, waiting for it at most `seconds`."""
        self._thread.join(seconds)
        return self.trace
