"""The container backend: any engine that speaks Docker's API over a unix socket (docker, podman).

A container per sandbox: read-only root, no network, no capabilities, no new privileges, bounded memory and processes,
and everything that can be written in memory. It ends by itself when its lifetime is over, and is removed by the
engine. What the API cannot tell: a command that a signal N killed (its exit code is 128 + N), what it used, and what it
leaves running, which lives as long as the sandbox. Limits of memory, processes, files and disk are the sandbox's; those
of processor time and file size also hold for each process of a command.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import selectors
import socket
from collections.abc import Mapping, Sequence
from signal import Signals
from time import monotonic
from typing import Any, Literal

from opencwm.sandbox._engine import Engine, Frames, Refused, sockets
from opencwm.sandbox.protocol import Ending, InfraError, Limit, Limits, Mount, Process, Sandbox, Stream, Usage
from opencwm.sandbox.queued import QueuedProcess

IMAGE = "python:3.11-slim"
HOME = "/box"

_CHUNK = 1 << 16
_PID_MAX = 32768  # the kernel's usual one
_USER = "1000:1000"
# The first line of standard error is the command's own pid, by which it can be signalled. POSIX counts files in
# blocks of 512 bytes; a soft limit alone gives SIGXCPU, which tells what happened.
_SHIM = 'ulimit -S -t "$1"; ulimit -f "$2"; shift 2; echo "$$" >&2; exec "$@"'
# The first process: nothing inside can kill it, it buries orphans, and it ends when the lifetime is over.
_HOLDER = 'end=$(($(date +%s) + $1)); while [ "$(date +%s)" -lt "$end" ]; do sleep 5 & wait; done'
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
            self._id = self._create(body)
        except Refused as error:
            if "nr_inodes" not in str(error):
                raise
            body["HostConfig"]["Tmpfs"] = _tmpfs(limits, inodes=False)
            self._id = self._create(body)
        try:
            self._engine.request("POST", f"/containers/{self._id}/start")
        except BaseException:
            self._remove()
            raise

    def _create(self, body: dict[str, Any]) -> str:
        """Ask for a container; its id. Raises InfraError, Refused where it may help to ask for less."""
        try:
            return str(self._engine.request("POST", "/containers/create", body)["Id"])
        except Refused as error:
            if error.status == 404:
                image = body["Image"]
                raise InfraError(f"the image {image} is not there: pull it (docker pull {image})") from error
            raise Refused(error.status, f"the container engine refuses a container: {error}") from error

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
        limits = limits or self.limits
        cpu = math.ceil(limits.cpu_seconds)
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "Cmd": ["sh", "-c", _SHIM, "sh", str(cpu), str(math.ceil(limits.file_bytes / 512)), *argv],
            "Env": [f"{name}={value}" for name, value in (env or {}).items()],
            "WorkingDir": os.path.join(HOME, cwd or ""),
        }
        try:
            execution: str = self._engine.request("POST", f"/containers/{self._id}/exec", body)["Id"]
            stream, rest = self._engine.attach(f"/exec/{execution}/start", {"Detach": False, "Tty": False})
        except InfraError as error:
            raise InfraError(self._why_gone() or str(error)) from error
        return ContainerProcess(self, execution, stream, rest, limits)

    def ending(self, execution: str, limit: Limit | None) -> Ending:
        """How a command ended. Raises InfraError."""
        if limit is not None:
            return Ending(limit=limit)
        try:
            code = self._engine.request("GET", f"/exec/{execution}/json")["ExitCode"]
        except InfraError as error:
            if monotonic() >= self._ends:
                return Ending(limit="lifetime")
            if self._closed:
                return Ending(signal=9)
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
        # By number and without "--", which dash's own kill does not know.
        kill = f"kill -{Signals[f'SIG{name}'].value} {target}"
        body = {"Cmd": ["sh", "-c", kill], "AttachStdout": False, "AttachStderr": False}
        with contextlib.suppress(InfraError):
            execution = self._engine.request("POST", f"/containers/{self._id}/exec", body)["Id"]
            self._engine.request("POST", f"/exec/{execution}/start", {"Detach": True, "Tty": False})

    def _archive(self) -> Sequence[str]:
        """Without the folders themselves, which are the engine's: nobody inside could write their modes back."""
        base, names = self.roots
        script = 'cd "$0" && find "$@" -xdev -mindepth 1 -print0 | tar --null --no-recursion -cf - -T -'
        return ["sh", "-c", script, base, *names]

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
    cpu = math.ceil(limits.cpu_seconds)
    binds = [
        f"{os.path.abspath(mount.host)}:{os.path.normpath(mount.inside)}:{'rw' if mount.writable else 'ro'}"
        for mount in mounts
    ]
    bounds = {"cpu": cpu, "fsize": limits.file_bytes, "nofile": limits.open_files, "core": 0}
    # Where nothing is said podman asks for more processes than a service without CAP_SYS_RESOURCE may give.
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    bounds["nproc"] = _PID_MAX if most == resource.RLIM_INFINITY else min(most, _PID_MAX)
    return {
        "Image": image,
        "Cmd": ["sh", "-c", _HOLDER, "sh", str(math.ceil(limits.lifetime_seconds))],
        "Env": [f"{name}={value}" for name, value in env.items()],
        "User": _USER,
        "WorkingDir": HOME,
        "Hostname": "sandbox",
        "Labels": {"opencwm.sandbox": "1"},
        "HostConfig": {
            "AutoRemove": True,
            "Init": False,  # an init ends with its child, which inside can be killed
            "ReadonlyRootfs": True,
            "NetworkMode": "bridge" if network else "none",
            "IpcMode": "private",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": limits.memory_bytes + limits.disk_bytes,
            "MemorySwap": limits.memory_bytes + limits.disk_bytes,
            "PidsLimit": limits.processes + 4,
            "ShmSize": limits.disk_bytes // 4,
            "Tmpfs": _tmpfs(limits),
            "Binds": binds,
            "Ulimits": [
                {"Name": name, "Soft": value, "Hard": value + (name == "cpu")} for name, value in bounds.items()
            ],
        },
    }


def _tmpfs(limits: Limits, *, inodes: bool = True) -> dict[str, str]:
    """What can be written; without a bound on the number of files for podman, which knows no such option."""
    half = f"size={limits.disk_bytes // 2},mode=1777,exec"
    if inodes:
        half += f",nr_inodes={max(1, limits.files // 2)}"
    return {HOME: half, "/tmp": half}


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
                        code, number = (None, 9) if self._killed else (ending.exit_code, ending.signal)
                        self._ending = Ending(code, number, ending.limit, usage)
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
