"""`outline`: a recorded run in short, one string per frame, for tests that say exactly what they expect."""

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record


def _outline(trace: Trace) -> list[str]:
    lines = []
    for frame in trace.frames:
        state = ", ".join(f"{name}={text}" for name, text in frame.locals.items())
        words = [". " * frame.depth + frame.event, str(frame.line), frame.function, frame.value or "", state]
        lines.append(" ".join(word for word in words if word))
    return lines


@pytest.fixture
def outline() -> Callable[..., list[str]]:
    """The outline of a run of `main` in a source text whose first line is line 1; how it ended comes last."""

    def run(source: str, **options: Any) -> list[str]:
        trace = record(Program(dedent(source).lstrip("\n"), function="main"), **options)
        return [*_outline(trace), str(trace.outcome)]

    return run
