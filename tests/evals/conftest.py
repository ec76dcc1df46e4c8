"""A small file in CRUXEval's layout, and worlds that are right or wrong in known ways."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.interpreter import InterpreterWorld, RecordedRun
from opencwm.world.protocol import Prediction, Runnable, WorldError

ROWS = [
    {"code": "def f(n):\n    return n + 1", "input": "3", "output": "4", "id": "int"},
    {"code": "def f(s):\n    t = s * 2\n    return t", "input": "'ab'", "output": "'abab'", "id": "str"},
    {"code": "def f(s):\n    return set(s)", "input": "'cab'", "output": "{'c', 'b', 'a'}", "id": "set"},
    {"code": "def f(n):\n    x = 0\n    for i in range(n):\n        x += i\n    return x", "input": "3", "output": "3"},
]


class Corrupted(InterpreterWorld):
    """The interpreter, with another value in the frame numbered `at` of every run, or another line."""

    name = "corrupted"

    def __init__(self, at: int, *, line: bool = False, probability: float = 0.75) -> None:
        super().__init__()
        self.at, self.line, self.probability = at, line, probability

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        run = super().run(program, prefix=prefix)
        return _Altered(run, self, len(prefix))

    def alter(self, frame: Frame) -> Frame:
        """The frame as this world believes it to be."""
        if self.line:
            return replace(frame, line=frame.line + 1)
        if frame.value is not None:
            return replace(frame, value="'wrong'")
        return replace(frame, locals={**frame.locals, "wrong": "0"})


class _Altered(RecordedRun):
    def __init__(self, run: RecordedRun, world: Corrupted, index: int) -> None:
        self.__dict__.update(run.__dict__)
        self.world, self.index = world, index

    def __next__(self) -> Prediction:
        prediction = super().__next__()
        self.index += 1
        if self.index - 1 == self.world.at:
            return replace(prediction, frame=self.world.alter(prediction.frame), probability=self.world.probability)
        return prediction


class Replaced(InterpreterWorld):
    """The interpreter, whose last frame holds what `results` says for the program's origin."""

    name = "replaced"
    tokens = 7

    def __init__(self, results: dict[str, str], *, outcome: Outcome | None = None) -> None:
        super().__init__()
        self.results, self.end = results, outcome

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        run = super().run(program, prefix=prefix)
        trace = self._record(program)
        result = self.results.get(getattr(program, "origin", ""), trace.result)
        frames = (*trace.frames[:-1], replace(trace.frames[-1], value=result))
        replaced = RecordedRun(Trace(trace.context, trace.entry_line, frames, self.end or trace.outcome, trace.python))
        replaced.tokens = self.tokens  # type: ignore[attr-defined]
        assert run.context == replaced.context
        return replaced


class Foreseeing(Corrupted):
    """Predicts every next frame in one pass, and refuses to do it one by one."""

    name = "foreseeing"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        if prefix:
            raise WorldError("ask for all next frames at once")
        return super().run(program)

    def next_frames(self, program: Runnable, trace: Trace) -> list[Prediction]:
        """Prediction n is made from frames 0 to n-1."""
        frames = enumerate(trace.frames)
        return [Prediction(self.alter(f), self.probability) if i == self.at else Prediction(f) for i, f in frames]


class Gone:
    """A world whose server is gone."""

    name = "gone"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        raise WorldError("the server does not answer: start it")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "four.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def worlds() -> type:
    """The worlds above, by name."""

    class Worlds:
        corrupted, replaced, foreseeing, gone = Corrupted, Replaced, Foreseeing, Gone

    return Worlds
