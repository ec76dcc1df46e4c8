"""A command in a container, seen from our process: under a warden (`WardedProcess`), or as the engine starts it."""

from __future__ import annotations

import contextlib
import json
import math
import selectors
import socket
from signal import SIGINT, SIGKILL
from time import monotonic
from typing import TYPE_CHECKING, Any, get_args

from opencwm.sandbox import _relay
from opencwm.sandbox._engine import Frames
from opencwm.sandbox.protocol import Ending, InfraError, Limit, Limits, Stream, Usage
from opencwm.sandbox.queued import QueuedProcess

if TYPE_CHECKING:
    from opencwm.sandbox.container import ContainerSandbox

_CHUNK = 1 << 16
_GRACE_SECONDS = 10.0
"""What a warden may be late before its sandbox is ended: it was stopped, or the machine is very busy."""
_ANSWER_SECONDS = 5.0
_STREAMS: dict[bytes, Stream] = {b"o": "stdout", b"e": "stderr"}


class _Streamed(QueuedProcess):
    """What both kinds share: one socket, with the output multiplexed by the engine."""

    def __init__(self, sandbox: ContainerSandbox, stream: socket.socket, rest: bytes) -> None:
        super().__init__()
        self._sandbox = sandbox
        self._stream = stream
        self._frames = Frames()
        self._early = rest
        self._started = monotonic()
        stream.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(stream, selectors.EVENT_READ)

    def _receive(self, timeout: float) -> list[tuple[str, bytes]] | None:
        """What the engine's stream gives, waiting at most that long; None at its end. Raises InfraError."""
        data, self._early = self._early, b""
        if data:
            return self._frames.feed(data)
        for _, events in self._selector.select(max(0.0, timeout)):
            if events & selectors.EVENT_WRITE:
                self._feed()
            if events & selectors.EVENT_READ:
                try:
                    data = self._stream.recv(_CHUNK)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    data = b""
                if not data:
                    return None
        return self._frames.feed(data)

    def _feed(self) -> None:
        try:
            while self._queue:
                del self._queue[: self._stream.send(self._queue[:_CHUNK])]
        except BlockingIOError:
            self._selector.modify(self._stream, selectors.EVENT_READ | selectors.EVENT_WRITE)
            return
        except OSError:
            self._queue.clear()
        self._selector.modify(self._stream, selectors.EVENT_READ)
        self._fed()

    def _fed(self) -> None:
        """All that was queued has been written."""

    def close(self) -> None:
        if self._ending is None:
            self.kill()
            with contextlib.suppress(InfraError):
                while self.receive(1.0) is not None:
                    pass
        self._free()
        self._ending = self._ending or Ending(signal=9)

    def _free(self) -> None:
        self._selector.close()
        self._stream.close()

    def __del__(self) -> None:
        if hasattr(self, "_selector"):
            self._free()  # where there is a warden, it sees that and ends the command


class WardedProcess(_Streamed):
    """A command under a warden in the container; a relay in there speaks for it (`_relay.py`)."""

    def __init__(
        self, sandbox: ContainerSandbox, message: dict[str, Any], stream: socket.socket, rest: bytes, limits: Limits
    ) -> None:
        super().__init__(sandbox, stream, rest)
        self._deadline = self._started + limits.wall_seconds + _GRACE_SECONDS
        self._unpacker = _relay.Unpacker()
        self._held: list[tuple[Stream, bytes]] = []  # output that came while an answer was waited for
        self._did = ""
        self._part = 0
        self._spent = False
        self._runs = False
        self._trouble = b""
        self._say(message)

    def send(self, data: bytes) -> None:
        if data:
            self._queue += _relay.pack(b"i", data)
            self._feed()

    def close_stdin(self) -> None:
        self._queue += _relay.pack(b"c")
        self._feed()

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        pieces, self._held = self._held, []
        if pieces or self._ending is not None:
            return pieces or None
        pieces = self._read(min(timeout, self._deadline - monotonic()))
        if self._ending is None and monotonic() >= self._deadline:
            self._sandbox.close()
            self._ending = Ending(limit="wall")
        return pieces if pieces or self._ending is None else None

    def begin(self, cpu_seconds: float) -> None:
        self._part += 1
        self._spent = False
        self._say({"do": "begin", "part": self._part, "cpu_seconds": cpu_seconds})

    @property
    def spent(self) -> bool:
        return self._spent

    def interrupt(self, number: int) -> None:
        self._order("interrupt", number)

    def clear(self, number: int) -> None:
        self._order("clear", number)

    def kill(self) -> None:
        self._say({"do": "kill"})

    def _order(self, what: str, number: int) -> None:
        """Have the warden do it, and wait until it has: a signal under way would hit what comes next."""
        self._did = ""
        self._say({"do": what, "signal": number})
        until = monotonic() + _ANSWER_SECONDS
        while self._did != what and self._ending is None and monotonic() < until:
            self._held += self._read(until - monotonic())

    def _say(self, message: dict[str, Any]) -> None:
        self._queue += _relay.pack(b"m", json.dumps(message).encode())
        self._feed()

    def _read(self, timeout: float) -> list[tuple[Stream, bytes]]:
        """The output that has come; messages are heard. Raises InfraError."""
        pieces: list[tuple[Stream, bytes]] = []
        received = self._receive(timeout)
        if received is None:
            self._lose()
            return pieces
        try:
            for stream, data in received:
                if stream == "stderr":
                    self._trouble = (self._trouble + data)[-4096:]
                    continue
                for kind, content in self._unpacker.feed(data):
                    if kind in _STREAMS:
                        pieces.append((_STREAMS[kind], content))
                    else:
                        self._hear(json.loads(content))
        except (ValueError, KeyError, TypeError):  # the command has taken hold of the relay, and writes what it likes
            self._lose()
        return pieces

    def _hear(self, message: Any) -> None:
        """Raises ValueError, KeyError or TypeError for what no warden says."""
        if not isinstance(message, dict):
            raise TypeError("a message is an object")
        if "ended" in message:
            facts = message["ended"]
            if facts is None:
                self._lose()
                return
            self._ending = self._ending or _ending(facts)
        elif "did" in message:
            self._did = message["did"]
        elif "spent" in message:
            self._spent = self._spent or message["spent"] == self._part
        else:
            self._runs = True

    def _lose(self) -> None:
        """The warden or the relay is gone without a word. Raises InfraError unless the command did that."""
        if self._sandbox.expired:
            self._ending = Ending(limit="lifetime")
            return
        self._ending = Ending(signal=9)
        if self._sandbox.closed:
            return
        stands = self._sandbox.stands()
        # Killed by its own command, which may live on: nothing in there can be trusted.
        self._sandbox.close()
        if not stands:
            raise InfraError(self._sandbox.why_gone() or "the container has ended: open another")
        if not self._runs:
            why = self._trouble.decode("utf-8", "replace").strip()
            raise InfraError(f"the container's Python cannot run a command: {why or 'it ended at once'}")


def _ending(facts: dict[str, Any]) -> Ending:
    """What a warden tells of a command's end. Raises ValueError, KeyError or TypeError."""
    code, number, limit = facts["exit_code"], facts["signal"], facts["limit"]
    if not (isinstance(code, int | None) and isinstance(number, int | None) and limit in (None, *get_args(Limit))):
        raise ValueError("a warden says nothing like that")
    usage = Usage(
        cpu_seconds=float(facts["cpu_seconds"]),
        memory_bytes=int(facts["memory_bytes"]),
        processes=int(facts["processes"]),
    )
    return Ending(code, number, limit, usage)


class PlainProcess(_Streamed):
    """A command that a shell in the container starts, where there is no Python for a warden."""

    def __init__(
        self, sandbox: ContainerSandbox, execution: str, stream: socket.socket, rest: bytes, limits: Limits
    ) -> None:
        super().__init__(sandbox, stream, rest)
        self._execution = execution
        self._pid = b""
        self._limit: Limit | None = None
        self._deadline = self._started + limits.wall_seconds

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        if self._ending is not None:
            return None
        received = self._receive(min(timeout, self._deadline - monotonic()))
        if received is None:
            usage = Usage(wall_seconds=monotonic() - self._started)
            ending = self._sandbox.ending(self._execution, self._limit)
            code, number = (None, 9) if self._killed else (ending.exit_code, ending.signal)
            self._ending = Ending(code, number, ending.limit, usage)
            return None
        if monotonic() >= self._deadline and self._limit is None:
            self._limit = "wall"
            self._deadline = math.inf
            self.kill()
        return self._without_pid(received)

    def begin(self, cpu_seconds: float) -> None:
        """The API tells neither processor time nor ages."""

    @property
    def spent(self) -> bool:
        return False

    def interrupt(self, number: int) -> None:
        if self._pid.endswith(b"\n"):
            self._sandbox.signal(number, str(int(self._pid)))
            self._sandbox.signal(SIGINT, f"-{int(self._pid)}")

    def clear(self, number: int) -> None:
        """What the command has started is killed by its own end alone."""
        if self._pid.endswith(b"\n"):
            self._sandbox.signal(number, str(int(self._pid)))

    def kill(self) -> None:
        self._killed = self._limit is None
        # First its group; then, for what has left it, all that runs in the container but its first process.
        if self._pid.endswith(b"\n"):
            self._sandbox.signal(SIGKILL, f"-{int(self._pid)}")
        self._sandbox.signal(SIGKILL, "-1")

    def _without_pid(self, pieces: list[tuple[str, bytes]]) -> list[tuple[Stream, bytes]]:
        """The pieces, without the first line of standard error."""
        rest: list[tuple[Stream, bytes]] = []
        for stream, data in pieces:
            if stream == "stdout":
                rest.append(("stdout", data))
                continue
            if not self._pid.endswith(b"\n"):
                line, newline, data = data.partition(b"\n")
                self._pid += line + newline
            if data:
                rest.append(("stderr", data))
        return rest

    def _fed(self) -> None:
        if self._closing:
            self._closing = False
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_WR)
