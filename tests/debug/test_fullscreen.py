"""The full-screen view, driven by keys without a terminal: movements, breakpoints, lanes, changes, hostile texts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

pytest.importorskip("textual", reason="pip install 'opencwm[tui]'")
from textual.widgets import Static

from opencwm.debug.session import Session
from opencwm.debug.sources import Sources
from opencwm.debug.terminal.fullscreen import FullScreen
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.interpreter import InterpreterWorld, RecordedRun

SOURCE = "def g(k):\n    return k + 1\n\ndef f(n):\n    total = 0\n    for i in range(n):\n        total += g(i)\n    return total\n"
Press = Callable[..., Awaitable[None]]


def walk(session: Session, keys: Callable[[FullScreen, Press], Awaitable[None]]) -> None:
    async def run() -> None:
        app = FullScreen(session, "a run")
        async with app.run_test(size=(110, 32)) as pilot:

            async def press(*names: str) -> None:
                for name in names:
                    await pilot.press(name)
                    await pilot.pause()  # what the key has posted
                    for _ in range(200):
                        await pilot.pause(0.01)
                        if not app.moving:
                            break

            await press()
            await pilot.pause(0.1)
            await keys(app, press)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def shown(app: FullScreen, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


def real(source: str = SOURCE, call: str = "f(3)") -> Session:
    return Session(Program.parse(source, call), Sources(InterpreterWorld, record), "real")


def test_keys_walk_both_ways() -> None:
    async def keys(app: FullScreen, press: Press) -> None:
        assert "frame 0 of" in shown(app, "status")
        await press("s", "s", "n")
        assert "frame 3 of" in shown(app, "status") and "line 5" in shown(app, "status")
        assert "▶" in shown(app, "source").splitlines()[4]
        await press("S")
        assert "frame 2 of" in shown(app, "status")
        assert shown(app, "stack").splitlines() == ["f, line 4", "main, line 11"]
        await press("end")
        assert "the run ends here: return" in shown(app, "status") and "▲" in shown(app, "timeline")
        await press("home", "S")
        assert "frame 0 of" in shown(app, "status")

    walk(real(), keys)


def test_breakpoints_and_lanes_and_changes() -> None:
    session = real()

    async def keys(app: FullScreen, press: Press) -> None:
        await press("s", "s", "s", "s", "s")
        await press("b")
        assert "●" in shown(app, "source").splitlines()[session.timeline.frame.line - 1]
        await press("end", "C")
        assert session.timeline.reason == "interrupt"
        await press("d")
        assert "no difference is known" in shown(app, "status")
        await press("e", *"total=2+3", "enter")
        await until(lambda: "cannot continue a changed run yet" in shown(app, "status") or len(session.lanes) == 2)
        await press("l")
        assert "> 0: real" in shown(app, "lanes")

    walk(session, keys)


def test_hostile_texts_are_shown_as_they_are() -> None:
    hostile = "'[bold]\x1b[2J[/nothing]'"
    frames = (Frame("call", 1, "f", 0, {"[red]x": hostile}), Frame("return", 1, "f", 0, {}, hostile))
    run = RecordedRun(Trace(f"def f(): pass  # {hostile}\n", 1, frames, Outcome("return"), "3.11"))
    session = Session(Program(run.context, function="f"), Sources(), "real", given=run)

    async def keys(app: FullScreen, press: Press) -> None:
        assert "[/nothing]" in shown(app, "source") and "\x1b" not in shown(app, "source")
        await press("s")
        assert "frame 1 of 1" in shown(app, "status")

    walk(session, keys)
