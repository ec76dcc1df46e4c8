"""The debugger's speed beside its limits: a predicted step, and jumps in a recorded run of 100,000 frames.

    python bench/debugger.py [--quick] [--json] [--threads N]

Step: the wall time of each frame that the shipped model predicts, and the tokens that the model reads for it, against
what re-sending the history at every step would read (as a debugger over a plain completion endpoint does). Jump: to a
random frame and what a front end then shows, over the timeline, the terminal, the Debug Adapter Protocol, the
full-screen view and the page in a browser. Medians, 95th percentiles, and the share of the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from opencwm.debug.session import Session
from opencwm.debug.sources import Sources
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun

EXAMPLES = Path(__file__).parents[1] / "examples"
STEP_LIMIT, JUMP_LIMIT, PAINT_LIMIT = 150.0, 50.0, 1000.0
PROGRAMS = [("rotate.py", "rotate([3, 1, 4, 1], 2)"), ("squeeze.py", "squeeze('aab')"), ("shout.py", "shout('abc')")]
PROGRAMS += [("count_letters.py", None), ("collatz.py", "collatz(6)")]
LONG = """def mix(a, b):
    c = a ^ b
    return c % 1000

def walk(n):
    seen = []
    total = 0
    for i in range(n):
        total = mix(total, i)
        if total % 7 == 0:
            seen.append(total)
            seen = seen[-5:]
    return total, seen
"""
Row = dict[str, Any]


def long_run(frames: int) -> tuple[Program, Trace]:
    """A real recording of that many frames."""
    program = Program.parse(LONG, f"walk({frames})")
    return program, record(program, limits=Limits(frames=frames, total_bytes=1 << 30, seconds=300))


def row(what: str, milliseconds: list[float], limit: float, **more: object) -> Row:
    ordered = sorted(milliseconds)
    median, high = statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"what": what, "median_ms": round(median, 2), "p95_ms": round(high, 2), "limit_ms": limit, **more}


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def steps(threads: int, frames: int) -> list[Row]:
    """Predicted frames: time, tokens read, and tokens that re-sending the history would read."""
    from opencwm.model.session import Session as Context
    from opencwm.world.local import LocalWorld

    world = LocalWorld.load(threads=threads)
    read = 0
    feed = Context.feed

    def counting(self: Context, ids: Any) -> Any:
        nonlocal read
        read += len(ids)
        return feed(self, ids)

    Context.feed = counting  # type: ignore[method-assign]
    taken: list[float] = []
    tokens: list[int] = []
    history: list[int] = []
    first: list[float] = []
    for file, call in PROGRAMS:
        run = world.run(Program.read(str(EXAMPLES / file), call))
        for number in range(frames):
            read = 0
            start = time.perf_counter()
            if next(run, None) is None:
                break
            elapsed = 1000 * (time.perf_counter() - start)
            (taken if number else first).append(elapsed)
            if number:
                tokens.append(read)
                history.append(run.decoder.session.length)  # type: ignore[union-attr]
    Context.feed = feed  # type: ignore[method-assign]
    more = {
        "frames": len(taken),
        "tokens_read": round(statistics.mean(tokens), 1),
        "tokens_resent": round(statistics.mean(history), 1),
    }
    return [
        row(f"step, {threads} thread{'s' * (threads > 1)}", taken, STEP_LIMIT, **more),
        row(f"first frame, {threads} thread{'s' * (threads > 1)}", first, STEP_LIMIT),
    ]


def session_of(program: Program, trace: Trace) -> Session:
    return Session(program, Sources(), "real", given=RecordedRun(trace))


def places(trace: Trace, count: int) -> list[int]:
    return random.Random(0).sample(range(len(trace.frames)), count)


def timeline_jumps(program: Program, trace: Trace, count: int) -> list[Row]:
    session: Session | None = None

    def open_it() -> None:
        nonlocal session
        session = session_of(program, trace)

    opening = timed(open_it)
    assert session is not None
    timeline = session.timeline

    def jump(at: int) -> None:
        timeline.go_to(at)
        timeline.stack()
        timeline.locals_at()
        timeline.changed_at()
        timeline.history("total")
        timeline.occurrence()
        timeline.next()
        timeline.back_out()
        timeline.run_to_line(12)
        timeline.back_to_line(2)

    rows = [row("jump, timeline", [timed(lambda at=at: jump(at)) for at in places(trace, count)], JUMP_LIMIT)]  # type: ignore[misc]
    rows[0]["opening_ms"] = round(opening)
    return rows


def terminal_jumps(program: Program, trace: Trace, count: int) -> list[Row]:
    from opencwm.debug.terminal.prompt import Prompt

    prompt = Prompt(session_of(program, trace), title="", input=io.StringIO(), output=io.StringIO())

    def jump(at: int) -> None:
        for command in (f"goto {at}", "where", "locals"):
            prompt.onecmd(command)

    return [row("jump, terminal", [timed(lambda at=at: jump(at)) for at in places(trace, count)], JUMP_LIMIT)]  # type: ignore[misc]


def adapter_jumps(program: Program, trace: Trace, count: int) -> list[Row]:
    """From the goto request to the variables of the frame that it leads to, over pipes."""
    from opencwm.debug.dap.adapter import Adapter

    theirs, ours = os.pipe(), os.pipe()
    out, into = os.fdopen(theirs[1], "wb"), os.fdopen(ours[0], "rb")
    adapter = Adapter(os.fdopen(theirs[0], "rb"), os.fdopen(ours[1], "wb"), lambda _: session_of(program, trace))
    threading.Thread(target=adapter.serve, daemon=True).start()
    seq = 0

    def read() -> dict[str, Any]:
        length = int(into.readline().split(b":")[1])
        into.readline()
        message: dict[str, Any] = json.loads(into.read(length))
        return message

    def ask(command: str, **arguments: Any) -> dict[str, Any]:
        nonlocal seq
        seq += 1
        body = json.dumps({"seq": seq, "type": "request", "command": command, "arguments": arguments}).encode()
        out.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        out.flush()
        while True:
            message = read()
            if message.get("request_seq") == seq:
                return message.get("body") or {}

    def stopped() -> None:
        while read().get("event") != "stopped":
            pass

    def jump(at: int) -> None:
        ask("goto", threadId=1, targetId=at)
        stopped()
        top = ask("stackTrace", threadId=1)["stackFrames"][0]["id"]
        scope = ask("scopes", frameId=top)["scopes"][0]["variablesReference"]
        ask("variables", variablesReference=scope)

    ask("initialize", adapterID="bench")
    ask("launch", program="")
    ask("configurationDone")
    stopped()
    taken = [timed(lambda at=at: jump(at)) for at in places(trace, count)]  # type: ignore[misc]
    ask("disconnect")
    return [row("jump, DAP", taken, JUMP_LIMIT)]


def screen_jumps(program: Program, trace: Trace, count: int) -> list[Row]:
    try:
        from opencwm.debug.terminal.fullscreen import FullScreen
    except ImportError:
        return []
    session = session_of(program, trace)
    taken: list[float] = []

    async def run() -> None:
        app = FullScreen(session, "bench")
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause(0.5)
            app.draw()
            for at in places(trace, count):
                painted = asyncio.Event()
                start = time.perf_counter()
                session.timeline.go_to(at)
                app.draw()
                app.screen.call_after_refresh(painted.set)
                await painted.wait()  # `pilot.pause` would sleep on for 20 ms or more
                taken.append(1000 * (time.perf_counter() - start))
                await pilot.pause()

    asyncio.run(run())
    return [row("jump, full screen", taken, JUMP_LIMIT)]


def page_jumps(program: Program, trace: Trace, count: int) -> list[Row]:
    """The live page over its server: first paint from a cold tab, then jumps until the next painted frame."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright

        from opencwm.debug.web import server
    except ImportError:
        return []
    if chromium is None:
        return []
    addresses: list[str] = []
    serving = {"title": "bench", "port": 0, "ready": addresses.append}
    threading.Thread(target=server.serve, args=(session_of(program, trace),), kwargs=serving, daemon=True).start()
    while not addresses:
        time.sleep(0.05)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags.split())
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        paints = []
        for _ in range(5):
            tab.goto(addresses[0])
            tab.wait_for_timeout(300)
            paints.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        for _ in range(600):
            if tab.evaluate("cwm.page.lane.rows.length") == len(trace.frames):
                break
            tab.wait_for_timeout(100)
        jump = """async (at) => {
            const start = performance.now();
            cwm.page.goTo(at);
            await new Promise(requestAnimationFrame);
            return performance.now() - start;
        }"""
        taken = [tab.evaluate(jump, at) for at in places(trace, count)]
        browser.close()
    return [row("first paint, page", paints, PAINT_LIMIT), row("jump, page", taken, JUMP_LIMIT)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    count = 40 if options.quick else 200
    rows = steps(options.threads, 8 if options.quick else 40)
    program, trace = long_run(100_000)
    for measure in (timeline_jumps, terminal_jumps, adapter_jumps, screen_jumps, page_jumps):
        rows += measure(program, trace, count)
    if options.json:
        print(json.dumps(rows))
        return
    table = Table(title=f"debugger: {len(trace.frames):,} frames recorded; shipped model")
    for name in ("what", "median ms", "p95 ms", "limit ms", "share of limit", "tokens read", "tokens re-sent"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=name == "what")
    for item in rows:
        share = f"{item['median_ms'] / item['limit_ms']:.2f}"
        tokens = [str(item.get(key, "")) for key in ("tokens_read", "tokens_resent")]
        times = str(item["median_ms"]), str(item["p95_ms"]), f"{item['limit_ms']:.0f}"
        table.add_row(item["what"], *times, share, *tokens)
    console = Console()
    console.print(table)
    opening = next(item["opening_ms"] for item in rows if "opening_ms" in item)
    console.print(f"opening the recorded run (its index): {opening} ms, once")


if __name__ == "__main__":
    main()
