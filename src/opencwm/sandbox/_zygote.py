"""Inside the sandbox: a warm interpreter that forks itself per snippet. Its text is run with `python -c`.

A snippet sees what a fresh `python main.py` would show it: its own `__main__`, standard streams, folder and source
file, exit functions, traceback and exit code. What it leaves behind (processes, files) is removed before the next one;
if that fails, the zygote says so and is replaced. It imports nothing of ours, so it runs wherever a Python is.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import json
import math
import os
import resource
import select
import shutil
import signal
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

HEAD = struct.Struct("=I")
CHUNK = 1 << 16
QUIET_MS = 5
OWN_CALLS = 5 if sys.version_info < (3, 12) else 4  # below a snippet, so that its recursion ends where it would


def read_exactly(size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(CONTROL_IN, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive() -> dict[str, Any]:
    """A job: a JSON header, then its blobs, whose lengths the header gives."""
    header: dict[str, Any] = json.loads(read_exactly(HEAD.unpack(read_exactly(HEAD.size))[0]))
    header["blobs"] = [read_exactly(size) for size in header["sizes"]]
    return header


def send(header: dict[str, Any], *blobs: bytes) -> None:
    header["sizes"] = [len(blob) for blob in blobs]
    data = json.dumps(header).encode()
    data = b"".join([HEAD.pack(len(data)), data, *blobs])
    while data:
        data = data[os.write(CONTROL_OUT, data) :]


def run_main(path: str, source: bytes, call: str | None, answer: int) -> int:
    """Be the snippet: run its file, which holds the source, as `__main__`, then the call if there is one.

    Gives the exit code.
    """
    module = type(sys)("__main__")
    names = module.__dict__
    names.update(__file__=path, __cached__=None, __builtins__=__builtins__, __annotations__={})
    names["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
    sys.modules["__main__"] = module
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except BaseException as error:
        if call is None:  # how a file is refused differs by version: let the interpreter say it
            os.execv(sys.executable, [sys.executable, "main.py"])
        put(answer, {"error": type(error).__name__, "message": message_of(error)})
        return failed(error, None)
    sys.setrecursionlimit(sys.getrecursionlimit() + OWN_CALLS)
    try:
        exec(code, names)
        if call is not None:
            value = repr(eval(compile(call, "<call>", "eval", dont_inherit=True), names))
            put(answer, {"value": value})
    except SystemExit as error:
        return exit_code(error)
    except BaseException as error:
        if call is not None:
            put(answer, {"error": type(error).__name__, "message": message_of(error)})
        return failed(error, error.__traceback__ and error.__traceback__.tb_next)
    return 0


def message_of(error: BaseException | None) -> str:
    try:
        return str(error)
    except BaseException:
        return ""


def write_file(path: str, data: bytes) -> None:
    place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    while data:
        data = data[os.write(place, data) :]
    os.close(place)


def put(answer: int, record: dict[str, str]) -> None:
    data = json.dumps(record).encode()
    while data:
        data = data[os.write(answer, data) :]


def exit_code(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(1 << 31) <= code < 1 << 31 else 255
    print(code, file=sys.stderr)
    return 1


def failed(error: BaseException, traceback: TracebackType | None) -> int:
    """As the interpreter ends a program that raised."""
    error = error.with_traceback(traceback)
    try:
        sys.excepthook(type(error), error, traceback)
    except BaseException:
        sys.__excepthook__(type(error), error, traceback)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def finish(code: int) -> NoReturn:
    """As the interpreter shuts down: threads, exit functions, the main module's objects, buffers."""
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        sys.__excepthook__(*sys.exc_info())
    names = sys.modules["__main__"].__dict__
    for private in (True, False):
        for name in list(names):
            if name != "__builtins__" and (name[0] == "_" and name[1:2] != "_") >= private:
                names[name] = None
    gc.collect(2 if gc.get_count()[2] else 1)  # the oldest generation is empty unless it has been used
    for stream in (sys.stdout, sys.stderr):
        try:
            if not (stream is None or stream.closed):
                stream.flush()
        except BaseException as error:
            if stream is sys.stdout:
                line = f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}\n"
                os.write(2, line.encode("utf-8", "backslashreplace"))
                code = code or 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def become(job: dict[str, Any], streams: tuple[int, int, int], answer: int, call: str | None) -> NoReturn:
    """The forked child, up to its end."""
    os.setpgid(0, 0)  # a session of its own would cost a third of a millisecond
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.dup2(answer, 3)
    os.closerange(4, 64)
    cpu = math.ceil(job["cpu_seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    gc.enable()
    sys.argv[:] = ["main.py"]
    sys.path[0] = HOME
    for module in RESEED:
        if module in sys.modules:
            sys.modules[module].seed()
    finish(run_main(HOME + "/main.py", job["blobs"][0], call, 3))


def run_case(job: dict[str, Any], stdin: bytes, call: str | None) -> None:
    """One fork: its output, what it used, how it ended.

    While parent and child both live, each page that one of them writes to is copied. So most is done before the fork,
    and a short snippet is then let alone until it ends.
    """
    started = time.monotonic()
    write_file(HOME + "/main.py", job["blobs"][0])
    stdin_read, stdin_write = os.pipe()
    stdout_read, stdout_write = os.pipe()
    stderr_read, stderr_write = os.pipe()
    answer_read, answer_write = os.pipe()
    for descriptor in (stdin_write, stdout_read, stderr_read, answer_read):
        os.set_blocking(descriptor, False)
    if stdin:
        stdin = stdin[os.write(stdin_write, stdin[:CHUNK]) :]
    if not stdin:
        os.close(stdin_write)
        stdin_write = -1
    poll = select.poll()
    child = os.fork()
    if child == 0:
        become(job, (stdin_read, stdout_write, stderr_write), answer_write, call)
    ended = os.pidfd_open(child)
    poll.register(ended, select.POLLIN)
    running = stdin_write >= 0 or not poll.poll(min(QUIET_MS, job["wall_seconds"] * 1000))
    for descriptor in (stdin_read, stdout_write, stderr_write, answer_write):
        os.close(descriptor)
    kept: dict[int, list[bytes]] = {stdout_read: [], stderr_read: [], answer_read: []}
    room = job["output_bytes"]
    written = 0
    limit: str | None = None
    open_ends = set(kept)
    deadline = started + job["wall_seconds"]
    if running:
        for descriptor in kept:
            poll.register(descriptor, select.POLLIN)
        if stdin:
            poll.register(stdin_write, select.POLLOUT)
    while running:
        left = deadline - time.monotonic()
        if left <= 0:
            limit = "wall"
            break
        for descriptor, _ in poll.poll(left * 1000 + 1):
            if descriptor == ended:
                running = False
            elif descriptor == stdin_write:
                try:
                    stdin = stdin[os.write(stdin_write, stdin[:CHUNK]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    stdin = b""
                if not stdin:
                    poll.unregister(stdin_write)
                    os.close(stdin_write)
                    stdin_write = -1
            elif descriptor in open_ends:
                data = os.read(descriptor, CHUNK)
                if data:
                    kept[descriptor].append(data)
                    written += len(data)
                else:
                    poll.unregister(descriptor)
                    open_ends.discard(descriptor)
        if written > room:
            limit = "output"
            break
    status, seconds, memory = clear_processes(child)
    for descriptor in open_ends:
        try:
            while written <= room:
                data = os.read(descriptor, CHUNK)
                if not data:
                    break
                kept[descriptor].append(data)
                written += len(data)
        except BlockingIOError:
            pass
    if written > room:
        limit = "output"
    for descriptor in (*kept, ended, stdin_write):
        if descriptor >= 0:
            os.close(descriptor)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if limit is None and (number == signal.SIGXCPU or (number == signal.SIGKILL and seconds >= job["cpu_seconds"])):
        limit = "cpu"
    if limit is None and status and memory > job["memory_bytes"]:
        limit = "memory"
    if limit is None and number == signal.SIGXFSZ:
        limit = "file"
    if limit is None and status:
        disk = os.statvfs("/tmp")
        if disk.f_bavail == 0 or disk.f_favail == 0:
            limit = "disk"
    output = b"".join(kept[stdout_read])[:room]
    errors = b"".join(kept[stderr_read])[: room - len(output)]
    send(
        {
            "limit": limit,
            "exit_code": None if number else os.WEXITSTATUS(status),
            "signal": number or None,
            "wall_seconds": time.monotonic() - started,
            "cpu_seconds": seconds,
            "memory_bytes": memory,
            "dirty": not clear_files(),
        },
        output,
        errors,
        b"".join(kept[answer_read]),
    )


def clear_processes(child: int) -> tuple[int, float, int]:
    """End the child and all that it started. Gives its status, and what all of them used."""
    status, seconds, memory = 0, 0.0, 0
    killed = False
    while True:
        try:
            pid, code, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return status, seconds, memory
        if pid:
            seconds += used.ru_utime + used.ru_stime
            memory = max(memory, used.ru_maxrss * 1024)
            if pid == child:
                status = code
            continue
        if killed:
            time.sleep(0.0005)
        killed = True
        for pid, group in descendants():
            for kill, target in ((os.killpg, group), (os.kill, pid)):
                with contextlib.suppress(OSError):  # a whole group at once: a fork bomb outruns one by one
                    kill(target, signal.SIGKILL)


def descendants() -> list[tuple[int, int]]:
    """Pid and process group of each."""
    below: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/" + name + "/stat") as file:
                    _, parent, group = file.read().rpartition(")")[2].split()[:3]
                below.setdefault(int(parent), []).append((int(name), int(group)))
            except OSError:
                pass
    found: list[tuple[int, int]] = []
    ahead = [os.getpid()]
    while ahead:
        born = below.get(ahead.pop(), [])
        found += born
        ahead += [pid for pid, _ in born]
    return found


def clear_files() -> bool:
    """Remove all that was written; False if something cannot be removed."""
    for folder in WRITABLE:
        for name in os.listdir(folder):
            path = folder + "/" + name
            try:
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
            except OSError:
                return False
    return True


CONTROL_IN, CONTROL_OUT = os.dup(0), os.dup(1)
os.dup2(os.open(os.devnull, os.O_RDWR), 0)
os.dup2(2, 1)
START = receive()
HOME, WRITABLE = START["home"], START["writable"]
RESEED = ("numpy.random",)
os.chdir(HOME)
# Snippets can neither look into this process nor leave orphans elsewhere.
prctl = ctypes.CDLL(None).prctl
prctl(4, 0, 0, 0, 0)
prctl(36, 1, 0, 0, 0)
MISSING = []
for name in START["preload"]:
    try:
        importlib.import_module(name)
    except ImportError:
        MISSING.append(name)
gc.collect()
gc.freeze()
gc.disable()
send({"missing": MISSING, "python": sys.version.split()[0]})
while True:
    JOB = receive()
    CASES = JOB["blobs"][1:]
    for CASE in CASES:
        run_case(JOB, b"" if JOB["calls"] else CASE, CASE.decode() if JOB["calls"] else None)
