"""`outline`: a recorded run in short, one string per frame; `core`: a module's tests under both cores of the recorder."""

from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pytest

from opencwm.programs.program import Program
from opencwm.trace import core as cores
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record


@pytest.fixture(scope="module", params=["python", "c"])
def core(request: pytest.FixtureRequest) -> Iterator[cores.Name]:
    """The name of the core that the test's recordings use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cores.VARIABLE, request.param)
        try:
            cores.choose()
        except cores.CoreError as error:
            pytest.skip(str(error))
        yield request.param


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
