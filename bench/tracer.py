"""State frames per second of the recorder's two cores, beside other tracers and the limits of tracing itself.

Four workloads (scalars, strings, containers, and instances of a class), each under every tracer in the same process,
taken in turns and measured in processor time, so that what else the machine does matters little. A peer that is not
installed says so.

- `C core`: the state of every line recorded as compact records; `with Frames`: the same, and a `Frame` object of each;
- `Python core`: records, which are Frames;
- `naive script`: a trace function that takes `repr` of all locals at every event and keeps those that changed (of an
  object it keeps its address only);
- PySnooper, snoop, hunter (VarsSnooper): print the variables that changed, here into a buffer in memory;
- VizTracer: calls and returns only, no state;
- counting callbacks, in Python and in C: what tracing costs before anything is recorded; and the same by
  `sys.monitoring` (Python 3.12 on), line events alone.

    python bench/tracer.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import operator
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from types import CodeType, FrameType, ModuleType
from typing import Any

from opencwm.trace._bytecode import Codes
from opencwm.trace._run import Run
from opencwm.trace.core import CoreError, Engine, Name, choose
from opencwm.trace.limits import Limits

FILENAME = "<workload>"
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
    "objects": """
class Stack:
    def __init__(self):
        self.items = []
        self.count = 0
    def push(self, item):
        self.items.append(item)
        self.count += 1
        if len(self.items) > 8:
            self.items = self.items[4:]
    def top(self):
        return self.items[-1]
def f(n):
    stack, total = Stack(), 0
    for i in range(n):
        stack.push(i)
        total += stack.top()
    return total
""",
}
UNBOUNDED = Limits(frames=10**7, total_bytes=10**10, seconds=600)
SLOW = 20  # the peers that print run a twentieth of the iterations

Workload = Callable[[int], object]
Timed = Callable[[Workload, int], float]  # seconds for a number of iterations


class Absent(Exception):
    """A tracer that cannot be measured here, and why."""


def load(source: str, folder: str, name: str) -> Workload:
    """A workload's function, from a file (some peers read the source)."""
    path = os.path.join(folder, f"{name}.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(source)
    module = ModuleType(name)
    module.__file__ = path
    exec(compile(source, path, "exec"), module.__dict__)
    return module.__dict__["f"]  # type: ignore[no-any-return]


def recorded(name: Name, function: Workload, iterations: int) -> Engine:
    """A recording of one run."""
    names: dict[str, Any] = function.__globals__  # type: ignore[attr-defined]
    core = choose(name)
    engine = core.engine(UNBOUNDED, Codes(lambda code: code.co_firstlineno))
    tracer = core.tracer_of_file(engine, names["f"].__code__.co_filename, names)
    run = Run(engine, tracer, names)
    gc.disable()  # as `record` does
    try:
        if run.run(lambda: function(iterations)) is not None or run.stopped:
            raise SystemExit(f"the workload should return, but was stopped: {run.stopped}")
    finally:
        gc.enable()
    return engine


def c_core(function: Workload, iterations: int) -> float:
    started = time.process_time()
    recorded("c", function, iterations)
    return time.process_time() - started


def c_core_with_frames(function: Workload, iterations: int) -> float:
    started = time.process_time()
    recorded("c", function, iterations).make_frames()
    return time.process_time() - started


def python_core(function: Workload, iterations: int) -> float:
    started = time.process_time()
    recorded("python", function, iterations).make_frames()
    return time.process_time() - started


def traced(function: Workload, iterations: int, tracer: Any) -> float:
    """Seconds of one run under a trace function of its own file."""
    code: CodeType = function.__code__  # type: ignore[attr-defined]

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        return tracer(frame, event, argument) if frame.f_code.co_filename == code.co_filename else None

    started = time.process_time()
    before = sys.gettrace()
    sys.settrace(begin)
    try:
        function(iterations)
    finally:
        sys.settrace(before)
    return time.process_time() - started


def naive_tracer(kept: list[tuple[str, int, dict[str, str]]]) -> Any:
    last: dict[FrameType, dict[str, str]] = {}

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        now = {name: repr(value) for name, value in frame.f_locals.items()}
        before = last.get(frame, {})
        kept.append((event, frame.f_lineno, {name: text for name, text in now.items() if before.get(name) != text}))
        last[frame] = now
        return tracer

    return tracer


def naive(function: Workload, iterations: int) -> float:
    return traced(function, iterations, naive_tracer([]))


def counting(function: Workload, iterations: int) -> float:
    count = 0

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return tracer

    return traced(function, iterations, tracer)


def counting_in_c(function: Workload, iterations: int) -> float:
    choose("c")
    core: Any = importlib.import_module("opencwm.trace._core")
    started = time.process_time()
    core.count_events(lambda: function(iterations))
    return time.process_time() - started


def monitoring(function: Workload, iterations: int) -> float:
    if not hasattr(sys, "monitoring"):
        raise Absent("Python 3.12 on")
    tool, line = 3, sys.monitoring.events.LINE
    sys.monitoring.use_tool_id(tool, "bench")
    sys.monitoring.register_callback(tool, line, operator.is_)  # a function in C that does next to nothing
    sys.monitoring.set_events(tool, line)
    started = time.process_time()
    function(iterations)
    seconds = time.process_time() - started
    sys.monitoring.set_events(tool, 0)
    sys.monitoring.free_tool_id(tool)
    return seconds


def peer(name: str, package: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        raise Absent(f"not installed: pip install {package}") from None


def pysnooper(function: Workload, iterations: int) -> float:
    traced_function = peer("pysnooper", "PySnooper").snoop(io.StringIO(), depth=2)(function)
    started = time.process_time()
    traced_function(iterations)
    return time.process_time() - started


def snoop(function: Workload, iterations: int) -> float:
    traced_function = peer("snoop", "snoop").Config(out=io.StringIO(), color=False).snoop(depth=2)(function)
    started = time.process_time()
    traced_function(iterations)
    return time.process_time() - started


def hunter(function: Workload, iterations: int) -> float:
    module = peer("hunter", "hunter")
    code: CodeType = function.__code__  # type: ignore[attr-defined]
    started = time.process_time()
    with module.trace(filename=code.co_filename, action=module.VarsSnooper(stream=io.StringIO(), force_colors=False)):
        function(iterations)
    return time.process_time() - started


def viztracer(function: Workload, iterations: int) -> float:
    tracer = peer("viztracer", "viztracer").VizTracer(verbose=0)
    started = time.process_time()
    tracer.start()
    function(iterations)
    tracer.stop()
    seconds = time.process_time() - started
    tracer.clear()
    return seconds


TRACERS: dict[str, tuple[Timed, int]] = {
    "C core": (c_core, 1),
    "C core, with Frames": (c_core_with_frames, 1),
    "Python core": (python_core, 4),
    "naive script": (naive, 1),
    "PySnooper": (pysnooper, SLOW),
    "snoop": (snoop, SLOW),
    "hunter": (hunter, SLOW),
    "VizTracer (no state)": (viztracer, 1),
    "counting in Python": (counting, 1),
    "counting in C": (counting_in_c, 1),
    "monitoring in C": (monitoring, 1),
}


def measure(rounds: int, iterations: int) -> dict[str, dict[str, float | str]]:
    """Frames (line, call, return, exception) per second of each tracer on each workload: medians of rounds."""
    speeds: dict[str, dict[str, float | str]] = {name: {} for name in TRACERS}
    with tempfile.TemporaryDirectory() as folder:
        for workload, source in WORKLOADS.items():
            function = load(source, folder, workload)
            events = {
                share: frames_of(function, iterations // share) for share in {share for _, share in TRACERS.values()}
            }
            seconds: dict[str, list[float]] = {name: [] for name in TRACERS}
            for _ in range(rounds):
                for name, (run, share) in TRACERS.items():
                    try:
                        seconds[name].append(run(function, iterations // share))
                    except (Absent, CoreError) as error:
                        speeds[name][workload] = str(error)
            for name, (_, share) in TRACERS.items():
                if seconds[name]:
                    speeds[name][workload] = events[share] / statistics.median(seconds[name])
    return speeds


def frames_of(function: Workload, iterations: int) -> int:
    kept: list[int] = []

    def tracer(frame: FrameType, event: str, argument: object) -> Any:
        kept.append(0)
        return tracer

    traced(function, iterations, tracer)
    return len(kept)


def memory(iterations: int) -> dict[str, dict[str, float | str]]:
    """Bytes per frame that a recording holds, by tracemalloc."""
    holders: dict[str, Callable[[Workload], object]] = {
        "C core": lambda function: recorded("c", function, iterations),
        "C core, with Frames": lambda function: (lambda engine: (engine, engine.make_frames()))(
            recorded("c", function, iterations)
        ),
        "Python core": lambda function: recorded("python", function, iterations),
        "naive script": lambda function: hold_naive(function, iterations),
    }
    found: dict[str, dict[str, float | str]] = {name: {} for name in holders}
    with tempfile.TemporaryDirectory() as folder:
        for workload, source in WORKLOADS.items():
            function = load(source, folder, workload)
            count = frames_of(function, iterations)
            for name, hold in holders.items():
                try:
                    gc.collect()
                    tracemalloc.start()
                    before = tracemalloc.get_traced_memory()[0]
                    held = hold(function)
                    found[name][workload] = (tracemalloc.get_traced_memory()[0] - before) / count
                    del held
                except CoreError as error:
                    found[name][workload] = str(error)
                finally:
                    tracemalloc.stop()
    return found


def hold_naive(function: Workload, iterations: int) -> object:
    kept: list[tuple[str, int, dict[str, str]]] = []
    traced(function, iterations, naive_tracer(kept))
    return kept


def ratios(speeds: dict[str, dict[str, float | str]]) -> dict[str, dict[str, float]]:
    """How many times faster the C core is than each other tracer."""
    result: dict[str, dict[str, float]] = {}
    for name, row in speeds.items():
        for workload, speed in row.items():
            ours = speeds["C core"][workload]
            if isinstance(speed, float) and isinstance(ours, float):
                result.setdefault(name, {})[workload] = ours / speed
    return result


def cell(value: float | str, times: float | None = None) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" + (f"  {times:>6.2f}x" if times is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute instead of several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    speeds = measure(*((3, 2_000) if arguments.quick else (5, 10_000)))
    held = memory(2_000)
    if arguments.json:
        report = {"python": platform.python_version(), "frames per second": speeds, "times": ratios(speeds)}
        print(json.dumps({"bench": "tracer"} | report | {"bytes per frame": held}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(width=132)
    table = Table(
        title=f"Frames per second, Python {platform.python_version()}; behind them, how much faster the C core is"
    )
    times = ratios(speeds)
    sizes = Table(title="Bytes per frame that a recording holds")
    for shown in (table, sizes):
        shown.add_column("tracer")
        for workload in WORKLOADS:
            shown.add_column(workload, justify="right")
    for name, row in speeds.items():
        table.add_row(name, *(cell(row[workload], times.get(name, {}).get(workload)) for workload in WORKLOADS))
    for name, row in held.items():
        sizes.add_row(name, *(cell(row[workload]) for workload in WORKLOADS))
    console.print(table)
    console.print(sizes)


if __name__ == "__main__":
    main()
