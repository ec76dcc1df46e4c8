"""`record_isolated`: run a program in a process of its own, record it, and get the frames whatever becomes of it.

The child streams each frame as a JSON line the moment it is recorded, so a run that is killed keeps all its frames. The
parent watches the clock, the stream, the output and the number of processes, and in the end kills the child's whole
process group. Strings hash with a fixed seed, so sets iterate in the same order every time.

This keeps an accident from hurting: an endless loop, a fork bomb, a gigabyte of output, memory that runs out. It is
*not* a security sandbox. The child has the user's rights: it can read and write the user's files and use the network,
and a program that means harm can leave the process group. Code that may be hostile is for `programs/untrusted.py`,
which has the same child run in a sandbox.

POSIX only. As root, the number of processes is bounded by watching, not by the kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import TextIO, TypedDict, Unpack

from opencwm.trace._lines import Lines
from opencwm.trace.core import Name, choose
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import Printed, Recordable, RecordError

STARTUP_SECONDS = 60.0
_GRACE_SECONDS = 0.5  # so that the child's own clock is the first to notice
_WATCH_SECONDS = 0.1


class Options(TypedDict, total=False):
    """How to record in another process: all as in `record`."""

    limits: Limits | None
    steps: bool
    identity: bool
    output: TextIO | None
    core: Name | None


def record_isolated(program: Recordable, **options: Unpack[Options]) -> Trace:
    """The trace of one run of the program's entry, in a child process.

    As `recorder.record`, but the outcome may be `truncated` with one of these reasons too: `memory`, `processes`,
    `exit` (also for `os._exit`), `killed by signal N`. `seconds` binds the module body and the entry together. What the
    program and its own children print goes to `output`, up to 1 MB. Raises RecordError as `record` does, and if the
    child cannot be started.
    """
    limits, output = options.get("limits") or Limits(), options.get("output")
    if os.name != "posix":
        raise RecordError("programs can be isolated on POSIX systems only: use record() for programs you trust")
    job = describe_job(program, **options)
    folder = tempfile.mkdtemp(prefix="cwm-")
    try:
        run = _Run(job, folder, limits, output)
        try:
            run.watch()
        finally:
            run.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return run.trace()


def describe_job(program: Recordable, **options: Unpack[Options]) -> bytes:
    """What the child reads on standard input."""
    job = {
        "context": program.context,
        "entry": program.entry,
        "entry_line": program.entry_line,
        "limits": dataclasses.asdict(options.get("limits") or Limits()),
        "steps": options.get("steps", False),
        "identity": options.get("identity", False),
        "core": choose(options.get("core")).name,
        "output": options.get("output") is not None,
    }
    return json.dumps(job).encode()


class _Run:
    """One child process: its stream of JSON lines, its output, and how it ended."""

    def __init__(self, job: bytes, folder: str, limits: Limits, output: TextIO | None) -> None:
        self._limits = limits
        self._printed = Printed(output)
        self._lines = Lines(limits, len(job))
        self._reason: str | None = None
        stream, child_end = os.pipe()
        self._stream = stream
        program = Path(__file__).with_name("_child.py")
        sink = subprocess.PIPE if output is not None else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-u", "-X", "utf8", str(program), str(child_end)],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0", "HOME": folder},
                pass_fds=[child_end],
                start_new_session=True,
            )
        except OSError as error:
            os.close(stream)
            raise RecordError(f"cannot start {sys.executable}: {error.strerror}") from error
        finally:
            os.close(child_end)
        self._deadline = monotonic() + STARTUP_SECONDS
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(job)

    def watch(self) -> None:
        """Read until the child has ended or a limit is crossed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stream, selectors.EVENT_READ)
            if self._process.stdout is not None:
                os.set_blocking(self._process.stdout.fileno(), False)
                selector.register(self._process.stdout, selectors.EVENT_READ)
            next_look = monotonic() + _WATCH_SECONDS
            while not self._lines.done and self._reason is None:
                for key, _ in selector.select(_WATCH_SECONDS):
                    if key.fd == self._stream:
                        if not self._receive():
                            return
                    elif not self._pass_on():
                        selector.unregister(key.fileobj)
                now = monotonic()
                if now > self._deadline:
                    self._reason = "seconds"
                elif now > next_look:
                    next_look = now + _WATCH_SECONDS
                    if _group_size(self._process.pid) > self._limits.processes:
                        self._reason = "processes"
                    elif self._process.poll() is not None and not _readable(self._stream):
                        return

    def end(self) -> None:
        """Kill what is left of the process group and collect what it printed."""
        if not self._lines.done and self._reason is None:  # it is ending by itself: its own status counts
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        for _ in range(20):  # a process that forks while it is killed may escape one round
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                break
            if self._process.poll() is not None and _group_size(self._process.pid) == 0:
                break
        self._process.wait()
        if self._process.stdout is not None:
            self._pass_on()
            self._process.stdout.close()
        os.close(self._stream)

    def trace(self) -> Trace:
        """What was recorded. Raises RecordError if there was nothing to record."""
        status = "in time" if self._reason == "seconds" else f"(status {self._process.returncode})"
        absent = f"the recording process did not start {status}: check that {sys.executable} runs"
        return self._lines.trace(self._why, absent)

    def _why(self) -> str:
        if self._reason is not None:
            return self._reason
        status = self._process.returncode
        if status >= 0:
            return "exit"
        return "seconds" if -status == signal.SIGXCPU else f"killed by signal {-status}"

    def _receive(self) -> bool:
        """Take lines from the stream; False at its end."""
        data = os.read(self._stream, 1 << 16)
        if not data:
            return False
        if not self._lines.begun:  # the header: from now on the program runs
            self._deadline = monotonic() + self._limits.seconds + _GRACE_SECONDS
        self._lines.feed(data)
        if self._lines.too_many:
            self._reason = "bytes"
        return True

    def _pass_on(self) -> bool:
        """Pass on what the program has printed so far; False when no more can come."""
        assert self._process.stdout is not None
        try:
            while data := os.read(self._process.stdout.fileno(), 1 << 16):
                if self._printed.full and not self._lines.done:
                    return True  # a program that prints without end must not keep us here
                self._printed.feed(data)
        except BlockingIOError:
            return True
        return False


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))


def _group_size(group: int) -> int:
    """Processes in a process group, dead ones that nobody has waited for left out; 0 where there is no /proc."""
    count = 0
    try:
        names = os.listdir("/proc")
    except OSError:
        return 0
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, _, its_group = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
                count += int(its_group) == group and state != "Z"
    return count
