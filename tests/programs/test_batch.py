"""Recording batches in the sandbox: the same traces as alone, and whatever a program does, the others are recorded."""

import pytest

from opencwm.programs.batch import LIMITS, record_batch
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

pytestmark = pytest.mark.usefixtures("sandbox_works")
QUICK = Limits(frames=200, seconds=0.5, memory_bytes=1 << 30)
GOOD = Program("def f(x):\n    y = x * 2\n    return y\n", "f(3)")


def test_the_same_as_alone_and_in_order():
    programs = [Program("def f(x):\n    return x * 2\n", f"f({n})") for n in range(20)]
    runs = record_batch(programs)
    assert [ran.trace() for ran in runs] == [record(program) for program in programs]


BAD = {
    "hangs in a loop": ("def f():\n    while True: pass\n", ("seconds", None)),
    "hangs in C": ("def f():\n    return sum(iter(int, 1))\n", ("seconds", None)),
    "hangs before the entry": ("while True: pass\ndef f(): pass\n", ("seconds",)),
    "catches everything": (
        "def f():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n",
        ("seconds", None),
    ),
    "kills itself": ("import os\ndef f():\n    os.kill(os.getpid(), 9)\n", ("killed by signal 9",)),
    "crashes": ("import ctypes\ndef f():\n    ctypes.string_at(0)\n", ("killed by signal 11",)),
    "leaves the interpreter": ("import os\ndef f():\n    os._exit(0)\n", ("exit",)),
    "kills its parent": ("import os, signal\ndef f():\n    os.kill(os.getppid(), signal.SIGKILL)\n", None),
    "kills everything it can": ("import os, signal\ndef f():\n    os.kill(-1, signal.SIGKILL)\n", None),
    "forks without end": ("import os\ndef f():\n    while True:\n        os.fork()\n", (None, "seconds", "processes")),
    "takes all memory": (
        "def f():\n    x = []\n    while True:\n        x.append(bytearray(10**8))\n",
        ("memory", None),
    ),
    "needs the network": (
        "import socket\ndef f():\n    return socket.create_connection(('192.0.2.1', 80), 2)\n",
        (None, "seconds"),
    ),
    "writes without end": (
        "def f():\n    with open('big', 'wb') as file:\n        while True: file.write(bytes(10**6))\n",
        (None, "killed by signal 25", "seconds"),
    ),
    "has a raise in repr": (
        "class A:\n    def __repr__(self): raise KeyboardInterrupt\ndef f():\n    a = A()\n    return a\n",
        (None,),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_program_costs_only_itself(name):
    source, reasons = BAD[name]
    before, bad, after = record_batch([GOOD, Program(source, "f()"), GOOD], limits=QUICK)
    assert before.trace() == after.trace() == record(GOOD)
    if reasons is None:
        assert bad.reason is not None
    else:
        assert bad.reason in reasons


def test_nothing_is_written_outside(tmp_path):
    target = tmp_path / "escaped"
    (ran,) = record_batch([Program(f"def f():\n    open({str(target)!r}, 'w').write('x')\n", "f()")])
    assert not target.exists()
    assert ran.reason is None and ran.trace().outcome.kind == "exception"


def test_a_huge_value_and_a_long_loop():
    source = "def f():\n    x = 'ab' * 50_000_000\n    y = [x] * 3\n    return len(x)\n"
    (ran,) = record_batch([Program(source, "f()")], limits=Limits(value_bytes=1000, seconds=20.0))
    assert ran.trace().result == "100000000" and len(ran.packed) < 10_000
    (ran,) = record_batch([Program("def f():\n    for i in range(10**7): j = i\n", "f()")])
    assert ran.trace().outcome.reason == "frames" and len(ran.trace().frames) == LIMITS.frames


def test_a_program_that_cannot_be_recorded_has_the_reason():
    syntax, missing, good = record_batch([Program("def f(:\n", "f()"), Program("import nothing_here\n", "1"), GOOD])
    assert "syntax" in (syntax.reason or "")
    assert "nothing_here" in (missing.reason or "")
    assert good.reason is None


def test_randomness_is_the_same_every_time():
    program = Program("import random\ndef f():\n    return random.random(), hash('a')\n", "f()")
    one, other = record_batch([program, program])
    assert one.packed == other.packed
