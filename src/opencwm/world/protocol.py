"""`World`: anything that answers "what is the next frame?"; the interpreter and a model answer in the same type.

Notable choice: a world is asked for a `Run`, an iterator that computes frames only as they are asked for, so that a
debugger pays for the steps that it takes. A run may start from given frames (a prefix), which the debugger uses to go
on after a change and the evaluation to give the true past.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from opencwm.trace.frames import Frame, Outcome, Trace

MAX_FRAMES = 1000
"""Frames that one run predicts: a model that has lost its way may loop without end."""


class WorldError(RuntimeError):
    """A world that cannot answer (no weights, server gone, context too long); the message says what to do."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A frame and how sure its source is, all probabilities in [0, 1].

    `probability` is that of the whole frame; `branch` that of its event and line (which way control goes); `values`
    maps each name written anew in this frame to the probability of its value, with the returned or raised value under
    `""`. The interpreter's frames have probability 1; NaN stands where a server does not tell.
    """

    frame: Frame
    probability: float = 1.0
    branch: float = 1.0
    values: dict[str, float] = field(default_factory=dict)
    source: Literal["model", "interpreter"] = "interpreter"


class Run(Protocol):
    """Frames one at a time; `outcome` is None until the last has been given."""

    context: str
    entry_line: int
    python: str
    outcome: Outcome | None

    def __iter__(self) -> Iterator[Prediction]: ...

    def __next__(self) -> Prediction: ...


class PieceByPiece(abc.ABC):
    """A run that is computed a piece at a time: `_advance` puts frames into `_ready`, or sets `outcome`, or both."""

    def __init__(self, given: Trace) -> None:
        self.context, self.entry_line, self.python = given.context, given.entry_line, given.python
        self.outcome: Outcome | None = None
        self._ready: list[Prediction] = []

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        while not self._ready:
            if self.outcome is not None:
                raise StopIteration
            self._advance()
        return self._ready.pop(0)

    @abc.abstractmethod
    def _advance(self) -> None: ...


class Runnable(Protocol):
    """What can be run: a `Program`, or anything that has its text and entry."""

    @property
    def context(self) -> str: ...
    @property
    def entry(self) -> str: ...
    @property
    def entry_line(self) -> int: ...


class World(Protocol):
    """The interpreter, a local model, or a remote one."""

    name: str

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        """Start (or, after `prefix`, continue) a run. Raises WorldError."""
        ...


def collect(run: Run, *, limit: int | None = None) -> tuple[Trace, list[Prediction]]:
    """The whole run as a trace, with its predictions; stops after `limit` frames with outcome `truncated (frames)`."""
    predictions: list[Prediction] = []
    for prediction in run:
        predictions.append(prediction)
        if limit is not None and len(predictions) >= limit and run.outcome is None:
            break
    outcome = run.outcome or Outcome("truncated", "frames")
    frames = tuple(prediction.frame for prediction in predictions)
    return Trace(run.context, run.entry_line, frames, outcome, run.python), predictions
