"""The page in a real browser: keys, movements equal to the timeline's, no error, readable by assistive technology."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
from opencwm.debug.session import Session  # noqa: E402
from opencwm.debug.sources import Sources  # noqa: E402
from opencwm.debug.timeline import Timeline  # noqa: E402
from opencwm.debug.web.page import Page  # noqa: E402
from opencwm.programs.program import Program  # noqa: E402
from opencwm.trace.frames import Frame, Outcome, Trace  # noqa: E402
from opencwm.trace.recorder import record  # noqa: E402
from opencwm.world.interpreter import RecordedRun  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
SOURCE = """def pairs(n):
    for i in range(n):
        yield i, i * i

def fact(n):
    if n < 2:
        return 1
    return n * fact(n - 1)

def f():
    total = 0
    for i, square in pairs(3):
        total += square + fact(i)
    try:
        [][0]
    except IndexError:
        total = -total
    return total
"""
Tab = Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs a browser (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A tab in which an error on the console or in a script fails the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 760})
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert errors == []


def until(tab: Tab, condition: str) -> None:
    """Wait for something on the page; its content security policy forbids the library's own way of waiting."""
    for _ in range(300):
        if tab.evaluate(f"() => {condition}"):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"not within 15 seconds: {condition}")


def session() -> Session:
    return Session(Program.parse(SOURCE, "f()"), Sources(None, record), "real")


def exported(tab: Tab, walked: Session, folder: Path) -> None:
    path = folder / "run.html"
    path.write_text(Page(walked, "a run").html(token=None, rows=None))
    tab.goto(path.as_uri())


def test_movements_are_the_timelines(tab: Tab, tmp_path: Path) -> None:
    walked = session()
    exported(tab, walked, tmp_path)
    names = {
        "step": "step",
        "over": "next",
        "out": "out",
        "back": "back",
        "backOver": "back_over",
        "backOut": "back_out",
    }
    moves = "async ([name, points]) => { const { page, MOVES, destination } = cwm; const found = []; for (let at = 0; at < page.lane.rows.length; at++) found.push(await destination(page.lane, at, MOVES[name], new Set(points), async () => false)); return found; }"
    timeline = Timeline(RecordedRun(record(walked.program)))
    timeline.to_end()
    for theirs, ours in names.items():
        expected = []
        for at in range(timeline.known):
            timeline.go_to(at)
            getattr(timeline, ours)()
            expected.append(timeline.position)
        assert tab.evaluate(moves, [theirs, []]) == expected, theirs
    points = walked.breakpoints
    points.add("line", line=13)
    stopping = walked.timeline
    for theirs, ours in {"continue": "proceed", "reverse": "reverse", "over": "next"}.items():
        expected = []
        for at in range(stopping.known):
            stopping.go_to(at)
            getattr(stopping, ours)()
            expected.append(stopping.position)
        assert tab.evaluate(moves, [theirs, [13]]) == expected, theirs


def test_states_stacks_and_histories_are_the_timelines(tab: Tab, tmp_path: Path) -> None:
    walked = session()
    exported(tab, walked, tmp_path)
    timeline = walked.timeline
    states = tab.evaluate("() => cwm.page.lane.rows.map((row, at) => [...cwm.page.lane.locals(at)])")
    assert [dict(state) for state in states] == [timeline.locals_at(at) for at in range(timeline.known)]
    stacks = tab.evaluate("() => cwm.page.lane.rows.map((row, at) => cwm.page.lane.stack(at))")
    assert stacks == [[entry.index for entry in timeline.stack(at)] for at in range(timeline.known)]
    history = tab.evaluate("() => cwm.page.lane.history(cwm.page.lane.rows.length - 2, 'total')")
    assert [tuple(item) for item in history] == timeline.history("total", timeline.known - 2)


def test_keys_walk_and_the_status_says_where(tab: Tab, tmp_path: Path) -> None:
    exported(tab, session(), tmp_path)
    status = tab.locator("#status")
    assert status.inner_text().startswith("Frame 0 of")
    tab.keyboard.press("s")
    assert "Frame 1 of" in status.inner_text()
    tab.keyboard.press("End")
    assert "returns" in status.inner_text() and tab.locator("#frame").inner_text().endswith("The run ends here: return")
    tab.keyboard.press("Home")
    for _ in range(4):
        tab.keyboard.press("s")
    tab.keyboard.press("b")
    assert tab.locator("#source li.here .gutter").get_attribute("aria-pressed") == "true"
    here = tab.locator("#source li.here .code").inner_text()
    tab.keyboard.press("End")
    tab.keyboard.press("C")
    assert tab.locator("#source li.here .code").inner_text() == here
    tab.keyboard.press("?")
    assert tab.locator("dialog").is_visible() and "over, backwards" in tab.locator("dialog").inner_text()
    tab.keyboard.press("Escape")
    assert not tab.locator("dialog").is_visible()
    before = tab.evaluate("document.documentElement.dataset.theme")
    tab.keyboard.press("t")
    assert tab.evaluate("document.documentElement.dataset.theme") != before


def test_it_can_be_used_without_sight_or_mouse(tab: Tab, tmp_path: Path) -> None:
    exported(tab, session(), tmp_path)
    tree = tab.locator("body").aria_snapshot()
    for part in (
        'toolbar "Movements"',
        'button "Step"',
        'region "Source"',
        'region "Locals"',
        'region "Call stack"',
        'slider "Frame"',
        "status",
    ):
        assert part in tree, part
    nameless = "() => [...document.querySelectorAll('button, input, svg')].filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    assert tab.evaluate(nameless) == 0
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    order = []
    for _ in range(9):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("document.activeElement.id"))
    assert order[:2] == ["move-step", "move-over"]
    tab.locator("#scrubber").focus()
    tab.keyboard.press("ArrowRight")
    assert "frame 1 of" in tab.locator("#scrubber").get_attribute("aria-valuetext")


def test_hostile_texts_do_nothing(tab: Tab, tmp_path: Path) -> None:
    hostile = "<img src=x onerror='document.title=1'></script><script>document.title=2</script>"
    frames = (Frame("call", 1, hostile, 0, {hostile: hostile}), Frame("return", 1, hostile, 0, {}, hostile))
    run = RecordedRun(Trace(f"def f(): pass  # {hostile}\n", 1, frames, Outcome("return"), "3.11"))
    walked = Session(Program(f"def f(): pass  # {hostile}\n", function="f"), Sources(), "real", given=run)
    path = tmp_path / "run.html"
    path.write_text(Page(walked, hostile).html(token=None, rows=None))
    tab.goto(path.as_uri())
    tab.keyboard.press("s")
    assert tab.title() == hostile and tab.locator("img").count() == 0
    assert hostile in tab.locator("#frame").inner_text()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a page over a predicted and a real run, by the real command and the shipped model."""
    pytest.importorskip("starlette", reason="pip install 'opencwm[web]'")
    file = tmp_path / "double.py"
    file.write_text("def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n")
    command = [sys.executable, "-m", "opencwm.cli", "debug", str(file), "--call", "f(2)", "--both", "--web"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as process:
        try:
            assert process.stderr is not None
            yield process.stderr.readline().removeprefix("open ").strip()
        finally:
            process.terminate()


def test_live_futures(tab: Tab, served: str) -> None:
    tab.goto(served)
    until(tab, "cwm.page.lanes.length === 2 && cwm.page.real.rows.length > 0")
    assert tab.locator("#lanes .lane").count() == 2
    for _ in range(5):
        tab.keyboard.press("s")
        until(tab, "!cwm.page.busy")
    until(tab, "cwm.page.lane.rows.length > 5")
    tab.keyboard.press("e")
    tab.locator("#value").fill("7")
    tab.keyboard.press("Enter")
    until(tab, "cwm.page.lanes.length === 3 && cwm.page.lane.number === 2 && !cwm.page.busy")
    assert "7" in tab.locator("#locals tr.changed").inner_text()
    assert "from frame 5" in tab.locator("#futures").inner_text()
    tab.keyboard.press("e")
    tab.locator("#value").fill("f(")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelector('#status').textContent.includes('cannot change')")
    with socket.create_connection(("127.0.0.1", int(served.split(":")[2].split("/")[0]))):
        pass
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save page").click()
    with tempfile.TemporaryDirectory() as folder:
        download.value.save_as(Path(folder, "run.html"))
        saved = Path(folder, "run.html").read_text()
    assert "connect-src 'none'" in saved and " = 7" in saved
