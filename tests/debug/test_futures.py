"""Futures drawn from a model, unknown arguments, and whether a run ends."""

from collections.abc import Iterator, Sequence

import pytest

from opencwm.debug.futures import draw_futures, is_unknown, open_unknown, unknown_arguments
from opencwm.debug.loops import Ending, loop_around, will_end
from opencwm.debug.session import Session, SessionError
from opencwm.debug.sources import Sources
from opencwm.debug.timeline import Timeline
from opencwm.programs.program import Program, ProgramError
from opencwm.trace.frames import Frame, Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.interpreter import InterpreterWorld, RecordedRun
from opencwm.world.protocol import Prediction, Run, Runnable

SOURCE = "def f(xs, k):\n    total = 0\n    for x in xs:\n        total += x * k\n    return total\n"


class Drawing:
    """Draws `total` after the loop by the seed: three draws of four give 1, the fourth 2; arguments are [seed]."""

    name = "drawing"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = (), temperature: float = 0.0, seed: int = 0) -> Run:
        if program.entry == "f" and not prefix:
            return Given(
                [Prediction(Frame("call", 1, "f", 0, {"xs": f"[{seed % 3}]", "k": "9"}), source="model")], program
            )
        value = "2" if temperature and seed % 4 == 3 else "1"
        return Given([Prediction(Frame("return", 5, "f", 0, value=value), 0.5, source="model")], program)


class Given(RecordedRun):
    def __init__(self, predictions: list[Prediction], program: Runnable) -> None:
        from opencwm.trace.frames import Outcome

        super().__init__(Trace(program.context, 1, tuple(p.frame for p in predictions), Outcome("return"), "3.11"))

    def __iter__(self) -> Iterator[Prediction]:
        return self


def test_each_different_future_is_a_lane_with_its_share() -> None:
    session = Session(Program.parse(SOURCE, "f([1], 1)"), Sources(Drawing, record), "real")
    session.timeline.run_to_line(5)
    at = session.timeline.position
    lanes = draw_futures(session, 8)
    assert [(lane.probability, lane.title) for lane in lanes] == [
        (0.75, "future of 6 of 8 draws"),
        (0.25, "future of 2 of 8 draws"),
    ]
    assert [lane.timeline.predictions[-1].frame.value for lane in lanes] == ["1", "2"]
    assert all(lane.fork == at + 1 and lane.timeline.position == at and lane.timeline.outcome for lane in lanes)
    assert session.lane is session.lanes[0]


def test_a_world_that_cannot_draw_says_so() -> None:
    session = Session(Program.parse(SOURCE, "f([1], 1)"), Sources(InterpreterWorld, record), "real")
    with pytest.raises(SessionError, match="gives one run only"):
        draw_futures(session, 2)


def test_unknown_arguments_are_drawn_and_known_ones_kept() -> None:
    assert (
        is_unknown("f(?, 3)") and not is_unknown("f('?', 3)") and not is_unknown("f('\\'?')") and not is_unknown(None)
    )
    program, known = unknown_arguments(SOURCE, "f(?, k=1 + 1)")
    assert program.function == "f" and known == {"k": "2"}
    session = Session(program, Sources(Drawing), "predicted")
    open_unknown(session, known, 8)
    assert session.timeline.frame.locals["k"] == "2"
    assert sum(lane.probability or 0 for lane in session.lanes) == pytest.approx(1)
    assert len({lane.title for lane in session.lanes}) == 3 and session.lanes[0].title.startswith("f(xs=[")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("g(?)", "must name a function"),
        ("f(?, 1, 2)", "takes 2"),
        ("f(?, open('x'))", "neither"),
        ("f(?", "not a Python expression"),
        ("?", "must name"),
    ],
)
def test_calls_that_cannot_be_left_open(call: str, reason: str) -> None:
    with pytest.raises(ProgramError, match=reason):
        unknown_arguments(SOURCE, call)


def ending(body: str, frames: int = 400) -> Ending:
    source = "def f():\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    trace = record(Program.parse(source, "f()"), limits=Limits(frames=frames))
    return will_end(Timeline(RecordedRun(trace)), limit=300)


def test_whether_a_run_ends() -> None:
    assert ending("x = 1\nreturn x").ends is True
    stuck = ending("x = 1\nwhile x:\n    x = 3 - x")
    assert stuck.ends is False and stuck.frame > stuck.since > 0
    assert ending("x = 1\nwhile x:\n    x += 1").ends is None
    # The same values in the next round of an outer loop prove nothing.
    assert ending("for _ in [7, 7]:\n    x = 2\n    while x:\n        x -= 1\nreturn x").ends is True


def test_a_state_in_another_call_is_not_the_same() -> None:
    source = "def g(n):\n    while n > 0:\n        n -= 1\n    return n\ndef f():\n    return g(2) + g(2)\n"
    trace = record(Program.parse(source, "f()"))
    assert will_end(Timeline(RecordedRun(trace)), limit=300).ends is True


def test_the_innermost_loop_around_a_line() -> None:
    source = "def f(n):\n    for i in range(n):\n        while i:\n            i -= 1\n        def g():\n            return 1\n    else:\n        n = 0\n    return n\n"
    loops = {line: loop_around(source, line) for line in range(1, 10)}
    assert [(found.first, found.last) if found else None for found in loops.values()] == [
        None, (2, 6), (3, 4), (3, 4), (2, 6), None, None, None, None,
    ]  # fmt: skip
    assert loop_around("def f(:", 1) is None


def test_the_shipped_model_draws_the_same_future_for_the_same_seed() -> None:
    local = pytest.importorskip("opencwm.world.local")
    if not (local.SHIPPED / "model.safetensors").exists():
        pytest.skip("there are no shipped weights")
    world = local.LocalWorld.load()
    program = Program.parse("def f(n):\n    x = n + 1\n    return x\n", "f(3)")

    def frames(seed: int, temperature: float) -> list[Frame]:
        run = world.run(program, temperature=temperature, seed=seed)
        return [prediction.frame for prediction, _ in zip(run, range(8), strict=False)]

    assert frames(1, 5.0) == frames(1, 5.0)
    assert frames(1, 0.0) == frames(2, 0.0) == [p.frame for p, _ in zip(world.run(program), range(8), strict=False)]
    assert len({str(frames(seed, 5.0)) for seed in range(4)}) > 1
