"""The relay: one process per command in a container, between the engine's stream and the command's warden.

Nothing of ours is installed in an image, and what lay in the container could be changed by the commands before. So the
source of the relay and of the warden travels with each command (`command`), for the image's own Python, 3.9 or newer.

The engine gives one stream in and one out. On them go frames: a letter, a length, and that many bytes. In: `i` input,
`c` its end, `m` a message to the warden. Out: `o` output, `e` errors, `m` a message from the warden; the last one is
`ended`. The first message in is the command itself.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from opencwm.sandbox import _wire, seccomp

HEAD = struct.Struct(">cI")
MOST_BYTES = 16 << 20  # in one frame, and of input that the command has not taken yet

_CHUNK = 1 << 16
_FULL_PIPE = 1024  # chunks: no pipe holds more
_CARRIED = ("_wire", "_confine", "seccomp", "_warden", "_relay")
_START = """
import base64, json, sys, types, zlib
for name in ("opencwm", "opencwm.sandbox"):
    sys.modules[name] = types.ModuleType(name)
for name, source in json.loads(zlib.decompress(base64.b85decode(sys.argv[1]))).items():
    module = sys.modules["opencwm.sandbox." + name] = types.ModuleType(name)
    setattr(sys.modules["opencwm.sandbox"], name, module)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""


@functools.cache
def command() -> tuple[str, ...]:
    """The command line that runs the relay, with all that it needs."""
    folder = Path(__file__).parent
    sources = {name: (folder / f"{name}.py").read_text() for name in _CARRIED}
    packed = base64.b85encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
    return ("python3", "-I", "-S", "-c", _START, packed)


def pack(kind: bytes, data: bytes = b"") -> bytes:
    """A frame, or several where the data is long."""
    frames = []
    for start in range(0, max(1, len(data)), MOST_BYTES):
        part = data[start : start + MOST_BYTES]
        frames.append(HEAD.pack(kind, len(part)) + part)
    return b"".join(frames)


class Unpacker:
    """Gives the frames in a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The whole frames that have come. Raises ValueError for a length that no frame has."""
        self._data += data
        frames = []
        while len(self._data) >= HEAD.size:
            kind, size = HEAD.unpack_from(self._data)
            if size > MOST_BYTES:
                raise ValueError("no frame is that long")
            if len(self._data) < HEAD.size + size:
                break
            frames.append((kind, bytes(self._data[HEAD.size : HEAD.size + size])))
            del self._data[: HEAD.size + size]
        return frames


class _Killed:
    """What the container's own control group tells of processes that the kernel has killed for want of memory."""

    _PLACES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

    def kills(self) -> int:
        for place in self._PLACES:
            with contextlib.suppress(OSError, ValueError), open(place) as file:
                return int(dict(line.split(None, 1) for line in file).get("oom_kill", 0))
        return 0


class _Relay:
    def __init__(self, connection: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self._connection = connection
        self._stdin = stdin
        self._outputs = {stdout: b"o", stderr: b"e"}
        self._queue = bytearray()
        self._closing = False
        self._poll = select.poll()
        for descriptor in (0, stdout, stderr, connection.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        for descriptor in (stdin, stdout, stderr):
            os.set_blocking(descriptor, False)

    def run(self, unpacker: Unpacker, frames: list[tuple[bytes, bytes]]) -> None:
        """Until the warden has told how the command ended, or nobody listens. Raises OSError, ValueError."""
        self._obey(frames)
        while True:
            ready = dict(self._poll.poll())
            if 0 in ready:
                data = os.read(0, _CHUNK)
                if not data:
                    return  # the warden sees that too, and ends the command
                self._obey(unpacker.feed(data))
            if self._stdin in ready:
                self._feed()
            for descriptor in [each for each in self._outputs if each in ready]:
                self._take(descriptor)
            if self._connection.fileno() in ready:
                answer = _wire.receive(self._connection)
                if answer is None or not {"did", "spent"} & answer[0].keys():
                    for descriptor in list(self._outputs):
                        for _ in range(_FULL_PIPE):
                            if not self._take(descriptor):
                                break
                    tell({"ended": answer and answer[0]})
                    return
                tell(answer[0])

    def _obey(self, frames: list[tuple[bytes, bytes]]) -> None:
        for kind, data in frames:
            if kind == b"m":
                message = json.loads(data)
                if message["do"] == "begin":
                    message["since"] = time.clock_gettime(time.CLOCK_BOOTTIME)
                with contextlib.suppress(OSError):
                    _wire.send(self._connection, message)
            elif kind == b"i":
                self._queue += data
            else:
                self._closing = True
        self._feed()

    def _feed(self) -> None:
        """Write what standard input takes now."""
        if self._stdin < 0:
            return
        try:
            while self._queue:
                del self._queue[: os.write(self._stdin, self._queue[:_CHUNK])]
        except BlockingIOError:
            self._poll.register(self._stdin, select.POLLOUT)
        except BrokenPipeError:
            self._queue.clear()
            self._closing = True
        # What is not taken waits with the engine, lest it fill the container's memory.
        self._poll.register(0, select.POLLIN if len(self._queue) < MOST_BYTES else 0)
        if not self._queue:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._stdin)
            if self._closing:
                os.close(self._stdin)
                self._stdin = -1

    def _take(self, descriptor: int) -> bool:
        """Hand on what has been written; False if there is nothing now."""
        if descriptor not in self._outputs:
            return False
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            _write(pack(self._outputs[descriptor], data))
        else:
            self._poll.unregister(descriptor)
            del self._outputs[descriptor]
        return bool(data)


def tell(message: dict[str, Any]) -> None:
    """Send a message to the caller. Raises OSError."""
    _write(pack(b"m", json.dumps(message).encode()))


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def main() -> None:
    """Run the command that comes first on standard input."""
    from opencwm.sandbox import _confine, _warden  # Linux only; our side of an engine need not be

    _confine.hide_memory()
    if program := seccomp.program():  # our own filter too: some engines come with a lax one, or with none
        _confine.install_filter(program)
    unpacker = Unpacker()
    frames: list[tuple[bytes, bytes]] = []
    while not frames:
        data = os.read(0, _CHUNK)
        if not data:
            return
        frames = unpacker.feed(data)
    message = json.loads(frames.pop(0)[1])
    message["env"] = dict(os.environ) | message["env"]
    ours, theirs = socket.socketpair()
    stdin, our_stdin = os.pipe()
    our_stdout, stdout = os.pipe()
    our_stderr, stderr = os.pipe()
    tell({"started": True})
    if os.fork() == 0:
        try:
            ours.close()
            for descriptor in (our_stdin, our_stdout, our_stderr):
                os.close(descriptor)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(nothing, descriptor)
            _warden.guard(
                message, [theirs.detach(), stdin, stdout, stderr], _Killed(), disks=[os.getcwd(), "/tmp"], alone=False
            )
        finally:
            os._exit(1)
    theirs.close()
    for descriptor in (stdin, stdout, stderr):
        os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):
        _Relay(ours, our_stdin, our_stdout, our_stderr).run(unpacker, frames)
    sys.exit(0)
