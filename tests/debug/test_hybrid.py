"""Computed frames: each is what really happens, nothing uncertain is computed, and the model is asked for the rest."""

import itertools
from collections.abc import Sequence

import pytest

from opencwm.debug.hybrid import Computer, HybridWorld
from opencwm.programs.program import Program
from opencwm.programs.write import stream
from opencwm.trace.frames import Frame
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.compare import differences
from opencwm.world.interpreter import InterpreterWorld, RecordedRun
from opencwm.world.protocol import Run, Runnable, collect


def computed(program: Program) -> tuple[int, int]:
    """How many frames after the first are computed, and how many there are; each computed one must be the real one."""
    trace = record(program, limits=Limits(frames=400))
    computer = Computer(trace.context)
    computer.add(trace.frames[0])
    count = 0
    for frame in trace.frames[1:]:
        guess = computer.next_frame()
        if guess is not None:
            count += 1
            assert not differences(frame, guess), f"{program.context}\n{frame}\n{guess}"
        computer.add(frame)
    return count, len(trace.frames) - 1


def test_every_computed_frame_is_the_real_one() -> None:
    found = [computed(program) for _, program in itertools.islice(stream(0, namespace="hybrid"), 400)]
    count, total = (sum(parts) for parts in zip(*found, strict=True))
    assert count > total / 2


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("def f(n):\n    total = 0\n    for i in range(n):\n        total += i * i\n    return total\n", "f(4)"),
        ("def g(x):\n    return x + 1\ndef f(n):\n    y = g(n) * 2\n    return y\n", "f(4)"),
        ("def f(n):\n    while n > 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n    return n\n", "f(6)"),
        (
            "def f(s):\n    if s.isupper():\n        t = s.lower()\n    else:\n        t = s.upper()\n    return t\n",
            "f('aB')",
        ),
        (
            "def f():\n    d = {'a': 'xy', 'b': ''}\n    out = {}\n    for k, v in d.items():\n        out[k] = v[::-1]\n    return out\n",
            "f()",
        ),
    ],
)
def test_what_is_computed_whole(source: str, call: str) -> None:
    count, total = computed(Program.parse(source, call))
    assert count == total


@pytest.mark.parametrize(
    ("source", "call"),
    [
        # Two names for one object: what changes in place cannot be told from texts.
        ("def f():\n    a = [1]\n    b = a\n    b.append(2)\n    return a\n", "f()"),
        ("def f():\n    a = [[1]]\n    b = a[0]\n    b.append(2)\n    return a\n", "f()"),
        ("def g(xs):\n    xs.append(1)\n    return 0\ndef f():\n    a = []\n    n = g(a)\n    return a\n", "f()"),
        ("def f(s):\n    out = []\n    for x in s:\n        out.append(x)\n    return out\n", "f({'b', 'a'})"),
        ("def f(xs):\n    for x in xs:\n        xs = xs[1:]\n    return xs\n", "f([1, 2, 3])"),
        (
            "def f():\n    try:\n        return 1 // 0\n    except ZeroDivisionError:\n        return 2\n    finally:\n        x = 3\n",
            "f()",
        ),
        ("def f(x=[]):\n    x.append(1)\n    return len(x)\ndef g():\n    return f() + f()\n", "g()"),
        ("n = 0\ndef f():\n    global n\n    n = 1\n    return n\n", "f()"),
        ("def f(n):\n    return sum(i for i in range(n))\n", "f(3)"),
        ("def f(s):\n    return str(s), [*s]\n", "f({-2, -1, 0, 6})"),
        (
            "def f():\n    try:\n        x = 1 // 0\n    except ZeroDivisionError as e:\n        x = 2\n    return x\n",
            "f()",
        ),
        ("def f():\n    import math\n    return math.sqrt(4)\n", "f()"),
    ],
)
def test_what_is_uncertain_is_left_to_the_model(source: str, call: str) -> None:
    count, total = computed(Program.parse(source, call))
    assert count < total


class Asked(InterpreterWorld):
    """Answers with what happens, and counts how often it is asked to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.prefixes: list[int] = []

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        self.prefixes.append(len(prefix))
        return super().run(program, prefix=prefix)


def test_the_run_is_whole_and_says_what_was_computed() -> None:
    program = Program.parse(
        "import os\ndef f(n):\n    x = n * 2\n    y = os.path.join('a', 'b')\n    return y, x\n", "f(3)"
    )
    world = Asked()
    run = HybridWorld(world).run(program)
    trace, predictions = collect(run)
    assert trace == record(program)
    # The entry's first frame and the call of `join` are not computed; the world is asked to go on from there.
    assert run.predicted >= 2 and run.computed + run.predicted == len(trace.frames)
    assert world.prefixes[0] == 0 and len(world.prefixes) <= run.predicted
    assert trace.result == "('a/b', 6)"
    assert all(prediction.probability == 1.0 for prediction in predictions)


def test_going_on_after_computed_frames_reads_only_what_is_new() -> None:
    local = pytest.importorskip("opencwm.world.local")
    if not (local.SHIPPED / "model.safetensors").exists():
        pytest.skip("there are no shipped weights")
    world = local.LocalWorld.load()
    program = Program.parse(
        "def f(s):\n    n = len(s) * 2\n    t = [c for c in s]\n    m = n + 1\n    return t, m\n", "f('ab')"
    )

    class Anew:
        name = "anew"

        def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
            return world.run(program, prefix=prefix)

    read: list[int] = []
    session = __import__("opencwm.model.session", fromlist=["Session"]).Session
    whole, counted = session.feed, lambda self, ids: read.append(len(ids)) or whole(self, ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "feed", counted)
        first = collect(HybridWorld(Anew()).run(program), limit=12)[0]
        anew = sum(read)
        read.clear()
        again = collect(HybridWorld(world).run(program), limit=12)[0]
    assert first.frames == again.frames
    assert sum(read) < anew
