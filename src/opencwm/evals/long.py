"""`cwm eval long`: runs of thousands of frames. Do predictions hold once a run has outgrown the context many times?

Notable choices:
- The programs are a few loops with a parameter for how long they go on, written here for this (so in no training set,
  though their idioms are common): arithmetic, searching, sorting, texts, a dict, nested calls.
- *True past*: next-frame accuracy by how deep the frame is. A model's context holds some fifty frames, so what is deep
  was predicted from snapshots; where depth costs nothing, the rows agree.
- *Running free*: the share of runs that are still exact at a depth. One error ends a run, so this falls with any rate
  of errors at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from opencwm.evals.frames import judged_frames
from opencwm.evals.report import Progress, Report, describe
from opencwm.evals.running import open_world
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.compare import same
from opencwm.world.protocol import World, WorldError

FRAMES = 5000
DEPTHS = (0, 100, 1000, 5000)
FREE = (10, 100, 1000, 5000)

# {n}: so large that the run has more than FRAMES frames.
PROGRAMS = (
    ("def f(n):\n    total = 0\n    for i in range(n):\n        total = total + i\n    return total", "f(3000)"),
    ("def f(n):\n    count = 0\n    while n > 0:\n        n = n - 1\n        count += 1\n    return count", "f(2000)"),
    (
        "def f(n):\n    a, b = 0, 1\n    for i in range(n):\n        a, b = b, (a + b) % 100\n    return a",
        "f(3000)",
    ),
    (
        "def f(limit):\n    found = 0\n    for n in range(2, limit):\n        d = 2\n        while d * d <= n:\n"
        "            if n % d == 0:\n                break\n            d += 1\n        else:\n            found += 1\n"
        "    return found",
        "f(400)",
    ),
    (
        "def f(start):\n    steps = 0\n    for n in range(1, start):\n        while n != 1:\n"
        "            n = n // 2 if n % 2 == 0 else 3 * n + 1\n            steps += 1\n    return steps",
        "f(100)",
    ),
    (
        "def f(items, times):\n    for t in range(times):\n        for i in range(len(items) - 1):\n"
        "            if items[i] > items[i + 1]:\n                items[i], items[i + 1] = items[i + 1], items[i]\n"
        "        items = items[::-1]\n    return items",
        "f([5, 2, 9, 1, 7, 3], 400)",
    ),
    (
        "def f(text, times):\n    seen = {}\n    for t in range(times):\n        for c in text:\n"
        "            seen[c] = seen.get(c, 0) + 1\n    return seen",
        "f('hello', 500)",
    ),
    (
        "def f(word, times):\n    for t in range(times):\n        out = ''\n        for c in word:\n"
        "            out = c + out\n        word = out\n    return word",
        "f('stressed', 300)",
    ),
    (
        "def step(x):\n    if x > 50:\n        return x - 50\n    return x * 2\n\ndef f(n):\n    x = 7\n"
        "    for i in range(n):\n        x = step(x)\n    return x",
        "f(1000)",
    ),
    (
        "def f(n):\n    queue = [1]\n    for i in range(n):\n        first = queue.pop(0)\n"
        "        queue.append((first * 3 + 1) % 17)\n        if len(queue) < 4:\n            queue.append(i % 5)\n"
        "    return queue",
        "f(1500)",
    ),
)  # fmt: skip


def evaluate(
    *,
    weights: str | Path | None = None,
    frames: int = FRAMES,
    world: World | None = None,
    progress: Progress | None = None,
    programs: Sequence[tuple[str, str]] = PROGRAMS,
) -> Report:
    """Predict the first `frames` frames of each run. `world` answers if given, else the model of `weights`."""
    world = world or open_world(weights)
    report = Report("long", describe(world, weights, programs=len(programs), frames=frames))
    by_depth: dict[int, list[tuple[int, int]]] = {}
    reached: list[tuple[int, int]] = []
    for done, (source, call) in enumerate(programs, 1):
        program = Program(source, call, origin=f"long:{done}")
        trace = record(program, limits=Limits(frames=frames), steps=True)
        judged = judged_frames(world, program, trace)
        for low, high in pairwise(DEPTHS):
            part = judged[low:high]
            if part:
                by_depth.setdefault(low, []).append((sum(one.right for one in part), len(part)))
        reached.append((_right(world, program, trace), len(trace.frames)))
        if progress:
            progress(done, len(programs))
    for low, high in pairwise(DEPTHS):
        report.clustered(f"next frame, frames {low} to {high}", by_depth.get(low, []))
    for depth in FREE:
        long_enough = [right >= depth for right, real in reached if real >= depth]
        report.share(f"running free, right to frame {depth}", sum(long_enough), len(long_enough))
    report.median("frames until the first error, median", [right for right, _ in reached], "frames")
    return report


def _right(world: World, program: Program, trace: Trace) -> int:
    """How many frames a free run gets right before its first wrong one."""
    right = 0
    try:
        for real, guess in zip(trace.frames, world.run(program), strict=False):
            if not same(real, guess.frame):
                break
            right += 1
    except WorldError:  # it gave up: what was right until then counts
        pass
    return right
