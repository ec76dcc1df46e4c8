"""Snippets in warm interpreters: results equal those of a fresh process, whatever a snippet does to its worker."""

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from opencwm.sandbox import Finished, InfraError, LimitReached, open_sandbox
from opencwm.sandbox.pool import SNIPPET_LIMITS, Raised, Returned, SnippetPool

LIMITS = replace(SNIPPET_LIMITS, wall_seconds=10, memory_bytes=128 << 20, processes=16, disk_bytes=8 << 20)


@pytest.fixture(scope="module")
def pool(bubblewrap):
    with SnippetPool(2, limits=LIMITS, backend="bubblewrap") as snippets:
        yield snippets


# Equal to a fresh process

PROGRAMS = {
    "output": "import sys; print('out'); print('err', file=sys.stderr); sys.stdout.write('no newline')",
    "input": "for line in open(0): print(line.upper(), end='')",
    "input by name": "a, b = map(int, input().split()); print(a + b, file=open('sum', 'w')); print(open('sum').read())",
    "binary": "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1] + bytes(range(256)))",
    "exception": "def f(x):\n    return g(x)\ndef g(x):\n    return 1 / x\nf(0)",
    "chained": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('ä') from e",
    "syntax error": "x = (1,\ny = 2",
    "indentation": "if 1:\nx",
    "null byte": "x = 1\0",
    "exit code": "raise SystemExit(7)",
    "exit text": "import sys; sys.exit('why')",
    "exit none": "import sys; sys.exit()",
    "exit huge": "import sys; sys.exit(257)",
    "exit at once": "import os; print('lost'); os._exit(9)",
    "killed": "import os; os.kill(os.getpid(), 11)",
    "interrupted": "raise KeyboardInterrupt",
    "exit functions": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "threads": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('late'))).start()\nprint('main')",
    "destructor": "class A:\n    def __del__(self): print('gone')\na = A()\nb = [a]; b.append(b)",
    "name": "print(__name__, __file__[-7:], __doc__, sorted(globals()))",
    "arguments": "import sys, os; print(sys.argv, os.listdir(), sys.path[0] == os.getcwd(), sys.flags.dont_write_bytecode)",
    "itself": "import main; print(main.__name__)",
    "own source": "import inspect, sys\ndef f(): return 1\nprint(inspect.getsource(f), inspect.getsource(sys.modules['__main__']))",
    "pickle": "import pickle\nclass A: x = 1\nprint(pickle.loads(pickle.dumps(A())).x)",
    "hash": "print(hash('a'), {'b', 'a', 'c'})",
    "streams": "import sys; print([(s.name, s.mode, s.encoding, s.errors, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)])",
    "closed output": "import sys, os; sys.stdout.write('x'); os.close(1)",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1/0",
    "generator": "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nx = g(); next(x)",
    "subprocess": "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(6)'], capture_output=True).stdout)",
    "multiprocessing": "import multiprocessing as m\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0); return 3\nprint(asyncio.run(f()))",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))",
    "annotations": "x: int = 1\nprint(__annotations__)",
    "signals": "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGTERM))",
    "garbage": "import gc; print(gc.isenabled(), gc.get_threshold())",
    "warnings": "import warnings; warnings.warn('careful')",
    "environment": "import os; print(sorted(os.environ))",
    "encoding": "print('ä€😀', ascii(input()))",
    "recursion": "def f(n):\n    global d\n    d = n\n    f(n + 1)\ntry: f(0)\nexcept RecursionError: print(d)\nf(0)",
    "closed stdin": "import sys; print(sys.stdin.read(3)); sys.stdin.close()",
}
STDIN = "3 4\nü\n".encode()


@pytest.fixture(scope="module")
def fresh(bubblewrap):
    """What a fresh `python main.py` in a sandbox of the same kind gives."""
    with open_sandbox("bubblewrap", limits=LIMITS) as box:

        def run(source):
            box.exec(["sh", "-c", "rm -rf /box/* /tmp/*"])
            box.write("main.py", source.encode())
            return box.exec([box.python, "main.py"], stdin=STDIN, env={"PYTHONHASHSEED": "0"})

        yield run


@pytest.mark.parametrize("name", PROGRAMS)
def test_equal_to_a_fresh_process(pool, fresh, name):
    assert pool.run(PROGRAMS[name], STDIN) == fresh(PROGRAMS[name])


def test_random_numbers_differ_between_snippets(pool):
    source = "import random; print(random.random())"
    assert len({pool.run(source).stdout for _ in range(5)}) == 5


# Cases and calls


def test_many_cases_do_not_see_each_other(pool):
    source = "import os\nn = int(input())\nprint(n * n, os.path.exists('left'))\nopen('left', 'w')"
    results = pool.run_cases(source, [str(n).encode() for n in range(30)])
    assert [result.stdout for result in results] == [f"{n * n} False\n".encode() for n in range(30)]
    assert pool.run_cases(source, []) == []


def test_calls(pool):
    source = "import sys\nprint('body')\ndef f(x):\n    if x < 0: raise ValueError('no')\n    return [x]\nn = []"
    calls = ["f(1)", "f(-1)", "n.append(1) or n", "n", "f(", "sys.exit(4)", "undefined"]
    results = pool.call(source, calls)
    body = b"body\n"
    assert results[0] == Returned("[1]", body)
    assert results[1] == Raised("ValueError", "no", body, results[1].stderr)
    assert results[2:4] == [Returned("[None]", body), Returned("[]", body)] or results[2].value == "[1]"
    assert results[3] == Returned("[]", body)
    assert results[4].error == "SyntaxError"
    assert results[5] == Finished(4, body, b"")
    assert results[6].error == "NameError"
    assert pool.call("1/0", ["1"])[0].error == "ZeroDivisionError"


def test_a_hostile_repr(pool):
    source = "class A:\n    def __repr__(self): raise RuntimeError('r')\nclass B:\n    def __repr__(self): return 5"
    assert [result.error for result in pool.call(source, ["A()", "B()"])] == ["RuntimeError", "TypeError"]


def test_a_forged_answer_is_no_more_than_an_answer(pool):
    result = pool.call("import os\nos.write(3, b'nonsense')", ["1"])[0]
    assert result == Finished(0, b"", b"")


# Limits


@pytest.mark.parametrize(
    ("source", "changes", "which"),
    [
        ("while True: pass", {"cpu_seconds": 1}, "cpu"),
        ("import time; print('x', flush=True); time.sleep(60)", {"wall_seconds": 0.3}, "wall"),
        ("while True: print('x' * 1000)", {"output_bytes": 100_000}, "output"),
        ("x = []\nwhile True: x.append(b'x' * (1 << 20))", {}, "memory"),
        ("f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))", {}, "disk"),
    ],
)
def test_limits(pool, source, changes, which):
    result = pool.run(source, limits=replace(LIMITS, **changes))
    assert isinstance(result, LimitReached) and result.which == which
    assert pool.run("print(1)").stdout == b"1\n"


def test_a_fork_bomb(pool):
    """Whichever comes first: we count the processes, or the system refuses the next."""
    result = pool.run("import os\nwhile True: os.fork()")
    refused = isinstance(result, Finished) and b"BlockingIOError" in result.stderr
    assert refused or (isinstance(result, LimitReached) and result.which == "processes")
    assert pool.run("print(1)").stdout == b"1\n"


# Whatever a snippet does to its worker

HOSTILE = {
    "kill all": "import os; os.kill(-1, 9)",
    "kill parent": "import os, time; os.kill(os.getppid(), 9); time.sleep(30)",
    "kill parent and live": "import os, time\nos.kill(os.getppid(), 9)\nwhile True: time.sleep(1)",
    "write to all descriptors": "import os\nfor n in range(3, 64):\n    try: os.write(n, b'x' * 100)\n    except OSError: pass",
    "leave files": "import os\nos.makedirs('a/b'); os.chmod('a', 0); open('/tmp/x', 'w'); os.symlink('/', '/tmp/l')",
    "leave a daemon": "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n        time.sleep(.3); open('/tmp/late', 'w'); time.sleep(60)\n    os._exit(0)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "close all": "import os; os.closerange(0, 1000)",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_survives(pool, name):
    look = "import os, glob\nprint(os.listdir('/box'), os.listdir('/tmp'), len(glob.glob('/proc/[0-9]*')) < 7)"
    before = pool.run(look)
    assert before.stdout.startswith(b"['main.py'] [") and before.stdout.endswith(b"] True\n")
    result = pool.run(HOSTILE[name])
    assert isinstance(result, Finished | LimitReached)
    for _ in range(2):  # both workers; /tmp has nothing, or what the interpreter's own folder makes necessary
        assert pool.run(look).stdout == before.stdout


def test_a_stopped_worker_is_replaced(pool):
    limits = replace(LIMITS, wall_seconds=0.5)
    result = pool.run("import os, time; os.kill(os.getppid(), 19); time.sleep(60)", limits=limits)
    assert isinstance(result, LimitReached) and result.which == "wall"
    assert pool.run("print(1)").stdout == b"1\n"


def test_nothing_of_the_zygote_can_be_read(pool):
    source = "import os\nfor p in ('mem', 'fd/0', 'environ', 'maps'):\n    try: open(f'/proc/{os.getppid()}/{p}', 'rb'); print(p)\n    except OSError: pass"
    assert pool.run(source) == Finished(0, b"", b"")


# The interface


def test_threads_share_a_pool(pool):
    results = {}

    def work(number):
        results[number] = pool.run(f"print({number})").stdout

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert results == {n: f"{n}\n".encode() for n in range(20)}


def test_asyncio(pool):
    async def main():
        runs = [pool.run_async("print(input())", str(n).encode()) for n in range(20)]
        calls = pool.call_async("def f(x): return x", ["f(1)", "f(2)"])
        return await asyncio.gather(*runs), await calls

    results, calls = asyncio.run(main())
    assert [result.stdout for result in results] == [f"{n}\n".encode() for n in range(20)]
    assert [call.value for call in calls] == ["1", "2"]


def test_back_pressure(bubblewrap):
    with SnippetPool(1, limits=LIMITS, waiting=2) as small:
        slow = "import time; time.sleep(0.2)"
        first = [small.submit(slow, [b""]) for _ in range(2)]
        third = []
        thread = threading.Thread(target=lambda: third.append(small.submit(slow, [b""])))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive() and third == []  # there is no room yet
        thread.join()
        assert all(future.result()[0].ok for future in first + third)

        async def many():
            return await asyncio.gather(*(small.run_async("print(1)") for _ in range(20)))

        assert all(result.ok for result in asyncio.run(many()))


def test_a_closed_pool(bubblewrap):
    small = SnippetPool(1, limits=LIMITS)
    assert small.run("print(1)").ok
    small.close()
    small.close()
    with pytest.raises(InfraError, match="closed"):
        small.run("print(1)")


def test_a_module_that_is_not_there_is_no_failure(bubblewrap):
    with SnippetPool(1, preload=["json", "no_such_module"]) as small:
        assert small.run("import json; print(json.dumps(1))").ok


def test_the_process_backend_runs_trusted_snippets():
    with SnippetPool(1, backend="process", limits=LIMITS) as trusted:
        assert trusted.run("print(input())", b"x").stdout == b"x\n"
        assert trusted.call("", ["1 + 1"]) == [Returned("2")]


def test_another_process_after_a_fork(pool):
    """A child of a process that has sandboxes opens its own."""
    code = (
        "import os\nfrom opencwm.sandbox import open_sandbox\n"
        "box = open_sandbox()\n"
        "pid = os.fork()\n"
        "other = open_sandbox()\n"
        "ok = other.exec(['echo', 'x']).stdout == b'x\\n'\n"
        "other.close()\n"
        "if pid == 0: os._exit(not ok)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 and ok\n"
        "assert box.exec(['echo', 'y']).stdout == b'y\\n'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
