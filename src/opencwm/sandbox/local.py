"""Sandboxes of this machine, seen from our process: the launcher's other side, and a running command's streams."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from opencwm.sandbox import _wire
from opencwm.sandbox.protocol import Ending, InfraError, Limits, Process, Sandbox, Stream, Usage
from opencwm.sandbox.queued import QueuedProcess

_CHUNK = 1 << 16
_GRACE_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
"""What a warden may be late before its sandbox is ended: it was stopped, or the machine is very busy."""


class _Launcher:
    """The launcher of this process (not of its parent, after a fork), started when first needed."""

    def __init__(self) -> None:
        self.sandboxes: weakref.WeakSet[LocalSandbox] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._owner = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def open(self, specification: dict[str, Any]) -> tuple[socket.socket, dict[str, Any]]:
        """A new sandbox's control socket, and the layers that protect it. Raises InfraError."""
        ours, theirs = socket.socketpair()
        try:
            for attempt in (1, 2):
                try:
                    with self._lock:
                        _wire.send(self._connected(), specification, [theirs.fileno()])
                    break
                except OSError as error:
                    self.stop()
                    if attempt == 2:
                        raise InfraError(f"the sandbox launcher does not answer: {error}") from error
            theirs.close()
            answer = _wire.receive(ours)
            if answer is None:
                raise InfraError("the sandbox's keeper died while it started; standard error may say why")
            if "error" in answer[0]:
                raise InfraError(answer[0]["error"])
        except BaseException:
            ours.close()
            theirs.close()
            raise
        return ours, answer[0]["ready"]

    def _connected(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid():
            assert self._process is not None
            if self._process.poll() is None:
                return self._control
            self._control.close()
        ours, theirs = socket.socketpair()
        program = Path(__file__).with_name("_launcher.py")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise InfraError(f"cannot start {sys.executable}: {error.strerror}") from error
        finally:
            theirs.close()
        self._owner, self._control = os.getpid(), ours
        return ours

    def stop(self) -> None:
        """End every sandbox of this process, and the launcher."""
        if self._owner == os.getpid():
            for sandbox in list(self.sandboxes):
                sandbox.close()
        with self._lock:
            if self._control is None:
                return
            self._control.close()
            self._control = None
            if self._owner == os.getpid() and self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(20)
                self._process = None


_launcher = _Launcher()
atexit.register(lambda: _launcher.stop())


def _after_fork() -> None:
    """In a child process: its own launcher, and no hold on the parent's."""
    global _launcher
    if _launcher._control is not None:
        _launcher._control.close()
    if _launcher._process is not None:
        _launcher._process.returncode = 0  # it is not ours to wait for
    _launcher = _Launcher()


os.register_at_fork(after_in_child=_after_fork)


class LocalSandbox(Sandbox):
    """What the bubblewrap and the process backend share: a keeper, and wardens for the commands."""

    def __init__(self, specification: dict[str, Any], limits: Limits, environment: Mapping[str, str]) -> None:
        self.limits = limits
        self.environment = dict(environment)
        self._closed = True
        self._lock = threading.Lock()
        self._ends = monotonic() + limits.lifetime_seconds
        specification |= {"owner": os.getpid(), "limits": asdict(limits)}
        self._control, self.layers = _launcher.open(specification)
        self._closed = False
        _launcher.sandboxes.add(self)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Process:
        if self._closed:
            raise InfraError("this sandbox is closed: open another")
        if self.expired:
            raise InfraError(self.why_gone())
        if not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
            raise ValueError("a command is a list of one or more strings without null characters")
        limits = limits or self.limits
        message = {
            "argv": list(argv),
            "cwd": os.path.join(self.home, cwd or ""),
            "env": self.environment | dict(env or {}),
            "limits": asdict(limits),
        }
        return LocalProcess(self, message, limits)

    def request(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Hand a command to the keeper. Raises InfraError."""
        try:
            with self._lock:
                _wire.send(self._control, message, descriptors)
        except OSError as error:
            raise InfraError(self.why_gone()) from error

    def why_gone(self) -> str:
        """What to say when the keeper does not answer any more."""
        if self.expired:
            return f"the sandbox has reached its lifetime of {self.limits.lifetime_seconds:g} s: open another"
        return "the sandbox is gone: it was closed, or its keeper was killed; open another"

    @property
    def closed(self) -> bool:
        """Whether `close` was called, by a caller or because the sandbox could not be trusted any more."""
        return self._closed

    def stands(self) -> bool:
        """Ask the keeper whether the sandbox is whole: False if it does not answer.

        Its socket alone cannot tell: when the keeper or bubblewrap is killed, wardens may die before it closes.
        """
        with self._lock:
            if self._closed:
                return False
            try:
                _wire.send(self._control, {"ask": "stands"})
                self._control.settimeout(_ANSWER_SECONDS)
                return _wire.receive(self._control) is not None
            except OSError:
                return False
            finally:
                self._control.settimeout(None)

    @property
    def expired(self) -> bool:
        """Whether the sandbox's lifetime is over."""
        return monotonic() >= self._ends

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_WR)
                self._control.settimeout(30)
                while self._control.recv(_CHUNK):
                    pass
            self._control.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._control.close()


class LocalProcess(QueuedProcess):
    """A command under a warden: three pipes, and a socket that says how it ended."""

    def __init__(self, sandbox: LocalSandbox, message: dict[str, Any], limits: Limits) -> None:
        super().__init__()
        self._sandbox = sandbox
        self._answer: tuple[dict[str, Any], list[int]] | None = None  # how it ended
        self._part = 0
        self._spent = False
        self._deadline = monotonic() + limits.wall_seconds + _GRACE_SECONDS
        self._connection, theirs = socket.socketpair()
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, Stream] = {self._stdout: "stdout", self._stderr: "stderr"}
        try:
            sandbox.request(message, [theirs.fileno(), stdin, stdout, stderr])
        except BaseException:
            self._free()
            raise
        finally:
            theirs.close()
            for descriptor in (stdin, stdout, stderr):
                os.close(descriptor)
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._selector.register(self._connection, selectors.EVENT_READ)

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        if self._ending is not None:
            return None
        pieces: list[tuple[Stream, bytes]] = []
        if self._answer is not None:
            self._end(pieces)
            return pieces
        wait = max(0.0, min(timeout, self._deadline - monotonic()))
        for key, _ in self._selector.select(wait):
            if key.fd == self._stdin:
                self._feed()
            elif key.fileobj is self._connection:
                self._end(pieces)
            else:
                self._take(key.fd, pieces)
        if self._ending is None and monotonic() >= self._deadline:
            self._abandon()
        return pieces if pieces or self._ending is None else None

    def begin(self, cpu_seconds: float) -> None:
        self._part += 1
        self._spent = False
        self._tell("begin", part=self._part, since=time.clock_gettime(time.CLOCK_BOOTTIME), cpu_seconds=cpu_seconds)

    @property
    def spent(self) -> bool:
        return self._spent

    def interrupt(self, number: int) -> None:
        self._tell("interrupt", signal=number)
        self._await("interrupt")

    def clear(self, number: int) -> None:
        self._tell("clear", signal=number)
        self._await("clear")

    def kill(self) -> None:
        self._killed = True
        self._tell("kill")

    def close(self) -> None:
        if self._ending is None and not self._killed:
            self.kill()
            while self.receive(1.0) is not None:
                pass
        self._free()

    def _tell(self, what: str, **details: float) -> None:
        with contextlib.suppress(OSError):
            _wire.send(self._connection, {"do": what, **details})

    def _await(self, what: str) -> None:
        """Wait until the warden has done it: a signal under way would hit what comes next."""
        while self._answer is None and select.select([self._connection], [], [], _ANSWER_SECONDS)[0]:
            answer = _wire.receive(self._connection)
            if answer is None or answer[0].get("did") == what:
                return
            self._hear(answer)

    def _hear(self, answer: tuple[dict[str, Any], list[int]]) -> None:
        """Keep what the warden says."""
        if "spent" in answer[0]:
            self._spent = self._spent or answer[0]["spent"] == self._part
        elif "did" not in answer[0]:  # else later than we waited for it
            self._answer = answer

    def _feed(self) -> None:
        """Write what standard input takes now."""
        if self._stdin < 0:
            return
        try:
            while self._queue:
                del self._queue[: os.write(self._stdin, self._queue[:_CHUNK])]
        except BlockingIOError:
            if self._stdin not in self._selector.get_map():
                self._selector.register(self._stdin, selectors.EVENT_WRITE)
            return
        except BrokenPipeError:
            self._queue.clear()
            self._closing = True
        if self._stdin in self._selector.get_map():
            self._selector.unregister(self._stdin)
        if self._closing:
            os.close(self._stdin)
            self._stdin = -1

    def _take(self, descriptor: int, pieces: list[tuple[Stream, bytes]]) -> bool:
        """Read once from a stream; False if there is nothing more now."""
        if descriptor not in self._open:
            return False
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            pieces.append((self._open[descriptor], data))
        else:
            self._selector.unregister(descriptor)
            del self._open[descriptor]
        return bool(data)

    def _end(self, pieces: list[tuple[Stream, bytes]]) -> None:
        """The warden has spoken or died: all writers are dead, so what the pipes hold is the rest."""
        if self._answer is None:
            answer = _wire.receive(self._connection)
            if answer is not None:
                self._hear(answer)
                if self._answer is None:
                    return
        answer = self._answer
        if answer is None:
            stands = self._sandbox.stands()
            if self._sandbox.expired:
                self._ending = Ending(limit="lifetime")
            else:
                self._ending = Ending(signal=9)
                if stands:
                    # Killed by its own command, which may live on as an orphan: nothing in here can be trusted.
                    self._sandbox.close()
                elif not self._sandbox.closed:
                    raise InfraError(self._sandbox.why_gone())
        else:
            facts = answer[0]
            usage = Usage(
                cpu_seconds=facts["cpu_seconds"], memory_bytes=facts["memory_bytes"], processes=facts["processes"]
            )
            self._ending = Ending(facts["exit_code"], facts["signal"], facts["limit"], usage)
        for descriptor in list(self._open):
            for _ in range(1024):  # 64 MB: no pipe holds more
                if not self._take(descriptor, pieces):
                    break

    def _abandon(self) -> None:
        """The warden does not keep its deadline: end the sandbox."""
        self._sandbox.close()
        self._ending = Ending(limit="wall")

    def _free(self) -> None:
        self._selector.close()
        self._connection.close()
        for descriptor in (self._stdin, self._stdout, self._stderr):
            if descriptor >= 0:
                os.close(descriptor)
        self._stdin = self._stdout = self._stderr = -1
        if self._ending is None:
            self._ending = Ending(signal=9)

    def __del__(self) -> None:
        if hasattr(self, "_selector") and self._stderr >= 0:
            self._free()  # the warden sees that, and ends the command
