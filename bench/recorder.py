"""Frames per second of the recorder, and how that compares with the least and the naive that `sys.settrace` can do.

Three workloads (scalars, strings, containers), each under three tracers in the same process, taken in turns and
measured in processor time, so that what else the machine does matters little:
- `recorder`: `opencwm.trace.recorder.record`, whole traces;
- `naive`: a trace function that takes `repr` of all locals at every event and keeps those that changed;
- `counting`: a trace function that only counts events, what tracing costs before anything is recorded.

    python bench/recorder.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

WORKLOADS = {
    "scalars": """
def f(n):
    total, seed = 0, 7
    for i in range(n):
        seed = (seed * 1103515245 + 12345) % 2147483648
        if seed % 3 == 0:
            total += seed % 100
        else:
            total -= i
    return total
""",
    "strings": """
def f(n):
    text, seen = 'the quick brown fox jumps over the lazy dog', ''
    for i in range(n):
        word = text[i % 40:i % 40 + 5]
        word = word.upper().strip()
        if word not in seen:
            seen = (seen + word)[-60:]
    return seen
""",
    "containers": """
def f(n):
    counts, rows, seen = {}, [], set()
    for i in range(n):
        key = i * 7 % 23
        counts[key] = counts.get(key, 0) + 1
        rows.append((key, counts[key]))
        seen.add(key % 5)
        if len(rows) > 20:
            rows = rows[10:]
    return sorted(counts.items())
""",
}


def with_recorder(program: Program) -> tuple[int, float]:
    """Frames and seconds of one recording."""
    limits = Limits(frames=10**7, total_bytes=10**10, seconds=600)
    started = time.process_time()
    trace = record(program, limits=limits)
    seconds = time.process_time() - started
    if trace.outcome.kind != "return":
        raise SystemExit(f"the workload should return, but was {trace.outcome}")
    return len(trace.frames), seconds


def with_trace_function(program: Program, make: Callable[[list[int]], Any]) -> tuple[int, float]:
    """Events and seconds of one run of the program under a trace function of its own files."""
    code = compile(program.context, "<workload>", "exec")
    names: dict[str, Any] = {"__name__": "__workload__"}
    count = [0]
    started = time.process_time()
    exec(code, names)
    before = sys.gettrace()
    sys.settrace(_only(code, make(count)))
    try:
        names[program.entry]()
    finally:
        sys.settrace(before)
    return count[0], time.process_time() - started


def _only(code: CodeType, tracer: Any) -> Any:
    """A global trace function that traces the frames of one file."""

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        return tracer(frame, event, argument) if frame.f_code.co_filename == code.co_filename else None

    return begin


def counting(count: list[int]) -> Any:
    """Counts events."""

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        count[0] += 1
        return tracer

    return tracer


def naive(count: list[int]) -> Any:
    """Keeps what changed, by the `repr` of every local at every event."""
    last: dict[FrameType, dict[str, str]] = {}
    kept: list[tuple[str, int, dict[str, str]]] = []

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        count[0] += 1
        now = {name: repr(value) for name, value in frame.f_locals.items()}
        before = last.get(frame, {})
        kept.append((event, frame.f_lineno, {name: text for name, text in now.items() if before.get(name) != text}))
        last[frame] = now
        return tracer

    return tracer


def measure(rounds: int, iterations: int) -> list[dict[str, float | str]]:
    """Median frames (or events) per second of each tracer on each workload, and the recorder's ratio to the others."""
    rows: list[dict[str, float | str]] = []
    for name, source in WORKLOADS.items():
        program = Program.parse(source.strip() + "\n", f"f({iterations})")
        tracers: dict[str, Callable[[], tuple[int, float]]] = {
            "recorder": lambda p=program: with_recorder(p),  # type: ignore[misc]
            "naive": lambda p=program: with_trace_function(p, naive),  # type: ignore[misc]
            "counting": lambda p=program: with_trace_function(p, counting),  # type: ignore[misc]
        }
        speeds: dict[str, list[float]] = {tracer: [] for tracer in tracers}
        frames = 0
        for _ in range(rounds):
            for tracer, run in tracers.items():
                events, seconds = run()
                speeds[tracer].append(events / seconds)
                frames = events if tracer == "recorder" else frames
        medians = {tracer: statistics.median(values) for tracer, values in speeds.items()}
        rows.append(
            {"workload": name, "frames": frames}
            | {f"{tracer} per second": round(speed) for tracer, speed in medians.items()}
            | {
                "times naive": round(medians["recorder"] / medians["naive"], 3),
                "times counting": round(medians["recorder"] / medians["counting"], 3),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Recorder speed against a naive and a counting trace function.")
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of a minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    rows = measure(rounds=5 if arguments.quick else 9, iterations=2_000 if arguments.quick else 10_000)
    if arguments.json:
        print(json.dumps({"bench": "recorder", "python": platform.python_version(), "rows": rows}, indent=2))
        return
    print(f"recorder, Python {platform.python_version()}: frames (events) per second, medians")
    heads = list(rows[0])
    cells = [
        heads,
        *([f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in rows),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
