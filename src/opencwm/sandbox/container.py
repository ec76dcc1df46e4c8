"""The container backend: any engine that speaks Docker's API over a unix socket (docker, podman).

A container per sandbox: read-only root, no network, no capabilities, no new privileges, bounded memory and processes,
and everything that can be written in memory. It ends by itself when its lifetime is over, and is removed by the
engine. What the API cannot tell: a command that a signal N killed has exit code 128 + N, and what a command leaves
running lives as long as the sandbox. Limits of processor time, memory, processes, files and disk are the sandbox's, not
a command's.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Literal

from opencwm.sandbox._engine import Engine, Frames, Refused, sockets
from opencwm.sandbox.protocol import Ending, InfraError, Limit, Limits, Mount, Process, Sandbox, Stream, Usage
from opencwm.sandbox.queued import QueuedProcess

IMAGE = "python:3.11-slim"
HOME = "/box"

_CHUNK = 1 << 16
_USER = "1000:1000"
# The first line of standard error is the command's own pid, by which it can be signalled.
_SHIM = 'echo "$$" >&2; exec "$@"'
_LIMIT_CODES: dict[int, Limit] = {128 + 24: "cpu", 128 + 25: "file"}  # SIGXCPU, SIGXFSZ


class ContainerSandbox(Sandbox):
    """A container. `image` must be there already. Raises InfraError if it cannot be started."""

    name = "container"
    home = HOME
    roots = ("/", ("box", "tmp"))
    python = "python3"

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        mounts: Sequence[Mount] = (),
        network: bool = False,
        env: Mapping[str, str] | None = None,
        image: str = IMAGE,
        engine: Engine | None = None,
    ) -> None:
        self.limits = limits = limits or Limits()
        self._settings: dict[str, Any] = {
            "limits": limits,
            "mounts": tuple(mounts),
            "network": network,
            "env": dict(env or {}),
            "image": image,
        }
        self._engine = engine or find()
        self._ends = monotonic() + limits.lifetime_seconds
        self._closed = False
        environment = {"HOME": HOME, "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        body = specification(limits, mounts, network, environment | dict(env or {}), image)
        try:
            self._id: str = self._engine.request("POST", "/containers/create", body)["Id"]
        except Refused as error:
            if error.status == 404:
                raise InfraError(f"the image {image} is not there: pull it (docker pull {image})") from error
            raise InfraError(f"the container engine refuses a container: {error}") from error
        try:
            self._engine.request("POST", f"/containers/{self._id}/start")
        except BaseException:
            self._remove()
            raise

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
        if not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
            raise ValueError("a command is a list of one or more strings without null characters")
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "Cmd": ["sh", "-c", _SHIM, "sh", *argv],
            "Env": [f"{name}={value}" for name, value in (env or {}).items()],
            "WorkingDir": os.path.join(HOME, cwd or ""),
        }
        try:
            execution: str = self._engine.request("POST", f"/containers/{self._id}/exec", body)["Id"]
            stream, rest = self._engine.attach(f"/exec/{execution}/start", {"Detach": False, "Tty": False})
        except InfraError as error:
            raise InfraError(self._why_gone() or str(error)) from error
        return ContainerProcess(self, execution, stream, rest, limits or self.limits)

    def ending(self, execution: str, limit: Limit | None) -> Ending:
        """How a command ended. Raises InfraError."""
        if limit is not None:
            return Ending(limit=limit)
        try:
            code = self._engine.request("GET", f"/exec/{execution}/json")["ExitCode"]
        except InfraError as error:
            if monotonic() >= self._ends:
                return Ending(limit="lifetime")
            raise InfraError(self._why_gone() or str(error)) from error
        if monotonic() >= self._ends and code == 137:
            return Ending(limit="lifetime")
        if code == 137 and self._starved():
            return Ending(limit="memory")
        if code in _LIMIT_CODES:
            return Ending(limit=_LIMIT_CODES[code])
        return Ending(exit_code=code)

    def signal(self, name: Literal["INT", "KILL"], target: str) -> None:
        """Send a signal to a process or, with a minus before it, a group or all. A target that is gone is no error."""
        body = {"Cmd": ["sh", "-c", f"kill -{name} -- {target}"], "AttachStdout": False, "AttachStderr": False}
        with contextlib.suppress(InfraError):
            execution = self._engine.request("POST", f"/containers/{self._id}/exec", body)["Id"]
            self._engine.request("POST", f"/exec/{execution}/start", {"Detach": True, "Tty": False})

    def empty(self) -> ContainerSandbox:
        return ContainerSandbox(**self._settings, engine=self._engine)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(Refused):  # it has ended by itself, and was removed
            self._engine.request("DELETE", f"/containers/{self._id}", force="true")

    def _starved(self) -> bool:
        state = self._engine.request("GET", f"/containers/{self._id}/json").get("State", {})
        return bool(state.get("OOMKilled"))

    def _why_gone(self) -> str:
        if monotonic() >= self._ends:
            return f"the sandbox has reached its lifetime of {self.limits.lifetime_seconds:g} s: open another"
        return ""


def specification(
    limits: Limits, mounts: Sequence[Mount], network: bool, env: Mapping[str, str], image: str
) -> dict[str, Any]:
    """The body of the request that makes a container."""
    half = f"size={limits.disk_bytes // 2},nr_inodes={max(1, limits.files // 2)},mode=1777"
    cpu = math.ceil(limits.cpu_seconds)
    binds = [
        f"{os.path.abspath(mount.host)}:{os.path.normpath(mount.inside)}:{'rw' if mount.writable else 'ro'}"
        for mount in mounts
    ]
    bounds = {"cpu": cpu, "fsize": limits.file_bytes, "nofile": limits.open_files, "core": 0}
    return {
        "Image": image,
        "Cmd": ["sleep", str(math.ceil(limits.lifetime_seconds))],
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": _USER,
        "WorkingDir": HOME,
        "Hostname": "sandbox",
        "Labels": {"opencwm.sandbox": "1"},
        "HostConfig": {
            "AutoRemove": True,
            "Init": True,
            "ReadonlyRootfs": True,
            "NetworkMode": "bridge" if network else "none",
            "IpcMode": "private",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": limits.memory_bytes + limits.disk_bytes,
            "MemorySwap": limits.memory_bytes + limits.disk_bytes,
            "PidsLimit": limits.processes + 4,
            "ShmSize": limits.disk_bytes // 4,
            "Tmpfs": {HOME: f"{half},exec", "/tmp": f"{half},exec"},
            "Binds": binds,
            "Ulimits": [
                {"Name": name, "Soft": value, "Hard": value + (name == "cpu")} for name, value in bounds.items()
            ],
        },
    }


class ContainerProcess(QueuedProcess):
    """A command in a container: one socket, with the output multiplexed."""

    def __init__(
        self, sandbox: ContainerSandbox, execution: str, stream: socket.socket, rest: bytes, limits: Limits
    ) -> None:
        self._sandbox = sandbox
        self._execution = execution
        super().__init__()
        self._stream = stream
        self._frames = Frames()
        self._early = rest
        self._pid = b""
        self._limit: Limit | None = None
        self._started = monotonic()
        self._deadline = self._started + limits.wall_seconds
        stream.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(stream, selectors.EVENT_READ)

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        if self._ending is not None:
            return None
        data, self._early = self._early, b""
        if not data:
            left = self._deadline - monotonic()
            for _, events in self._selector.select(max(0.0, min(timeout, left))):
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
                        usage = Usage(wall_seconds=monotonic() - self._started)
                        ending = self._sandbox.ending(self._execution, self._limit)
                        self._ending = Ending(9 if self._killed else ending.exit_code, None, ending.limit, usage)
                        return None
            if monotonic() >= self._deadline and self._limit is None:
                self._limit = "wall"
                self._deadline = math.inf
                self.kill()
        return self._without_pid(self._frames.feed(data))

    def interrupt(self) -> None:
        if self._pid.endswith(b"\n"):
            self._sandbox.signal("INT", f"-{int(self._pid)}")

    def clear(self, seconds: float) -> None:
        """The API knows no ages: everything else of the command's group is killed by the command's own end."""

    def kill(self) -> None:
        self._killed = self._limit is None
        # First its group; then, for what has left it, all that runs in the container but its first process.
        if self._pid.endswith(b"\n"):
            self._sandbox.signal("KILL", f"-{int(self._pid)}")
        self._sandbox.signal("KILL", "-1")

    def close(self) -> None:
        if self._ending is None:
            self.kill()
            with contextlib.suppress(InfraError):
                while self.receive(1.0) is not None:
                    pass
        self._selector.close()
        self._stream.close()
        self._ending = self._ending or Ending(signal=9)

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
        if self._closing:
            self._closing = False
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_WR)


def find() -> Engine:
    """The first engine that answers. Raises InfraError."""
    tried = []
    for path in sockets():
        if os.path.exists(path):
            engine = Engine(path)
            try:
                engine.request("GET", "/_ping")
                return engine
            except InfraError as error:
                tried.append(str(error))
    raise InfraError(
        "; ".join(tried)
        or "no container engine listens here: install podman and run `systemctl --user start podman.socket`, "
        "or start docker, or set DOCKER_HOST=unix:///path/of/the/socket"
    )
