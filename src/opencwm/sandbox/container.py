"""The container backend: any engine that speaks Docker's API over a unix socket (docker, podman).

A container per sandbox: read-only root, no network, no capabilities, no new privileges, bounded memory and processes,
and everything that can be written in memory. It ends by itself when its lifetime is over, or a few seconds after this
process has died, and is removed by the engine.

Where the image has Python 3.9 or newer, each command runs under the same warden as in the other backends (`_relay.py`),
with the same limits and results. Elsewhere a shell starts it, and what the API cannot tell is not known: a command that
a signal N killed (its exit code is 128 + N), what it used, and what it leaves running, which lives as long as the
sandbox; limits of memory, processes, files and disk are then the sandbox's; those of processor time and file size hold
for each process of a command.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Any

from opencwm.sandbox import _relay
from opencwm.sandbox._contained import PlainProcess, WardedProcess
from opencwm.sandbox._engine import Engine, Refused, sockets
from opencwm.sandbox.protocol import Ending, InfraError, Limit, Limits, Mount, Process, Sandbox

IMAGE = "python:3.11-slim"
HOME = "/box"

_PID_MAX = 32768  # the kernel's usual one
_USER = "1000:1000"
# The first line of standard error is the command's own pid, by which it can be signalled. POSIX counts files in
# blocks of 512 bytes; a soft limit alone gives SIGXCPU, which tells what happened.
_SHIM = 'ulimit -S -t "$1"; ulimit -f "$2"; shift 2; echo "$$" >&2; exec "$@"'
# The first process: nothing inside can kill it, it buries orphans, and it ends when the lifetime is over, or when
# whoever holds the other end of its standard input is gone (then cat ends well; that it was killed is no reason).
_HOLDER = """
exec 3<&0; cat <&3 >/dev/null & input=$!
end=$(($(date +%s) + $1))
while [ "$(date +%s)" -lt "$end" ]; do
  sleep 5 & wait $!
  kill -0 $input 2>/dev/null || { wait $input && exit; }
done
"""
_TRY_PYTHON = ("python3", "-I", "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 9))")
_TRY_SECONDS = 30.0
_OWN_PROCESSES = 16  # beside those that the limit is about
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
        self._hold: socket.socket | None = None
        environment = {"HOME": HOME, "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        body = specification(limits, mounts, network, environment | dict(env or {}), image)
        self._warded = self._engine.has_python.get(image, True)
        self._start(body)
        if image not in self._engine.has_python:
            try:
                self._warded = self._run(_TRY_PYTHON) == 0
            except BaseException:
                self._remove()
                raise
            self._engine.has_python[image] = self._warded
            if not self._warded:
                self._remove()
                self._start(body)

    def _start(self, body: dict[str, Any]) -> None:
        """Make the container and start it. Raises InfraError."""
        most = self.limits.processes
        # A warden counts by itself; this stops what outruns it.
        body["HostConfig"]["PidsLimit"] = 2 * most + _OWN_PROCESSES if self._warded else most + 4
        try:
            self._id = self._create(body)
        except Refused as error:
            if "nr_inodes" not in str(error):
                raise
            body["HostConfig"]["Tmpfs"] = _tmpfs(self.limits, inodes=False)
            self._id = self._create(body)
        try:
            # Its standard input ends with this process.
            self._hold, _ = self._engine.attach(f"/containers/{self._id}/attach?stream=1&stdin=1", {})
            self._engine.request("POST", f"/containers/{self._id}/start")
        except BaseException:
            self._remove()
            raise

    def _run(self, argv: Sequence[str]) -> int:
        """Run a short command of ours that says nothing; its exit code. Raises InfraError."""
        where = f"/containers/{self._id}/exec"
        body = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        execution = self._engine.request("POST", where, body)["Id"]
        stream, _ = self._engine.attach(f"/exec/{execution}/start", {"Detach": False, "Tty": False})
        with stream:
            stream.settimeout(_TRY_SECONDS)
            with contextlib.suppress(OSError):
                while stream.recv(4096):
                    pass
        code = self._engine.request("GET", f"/exec/{execution}/json")["ExitCode"]
        return 1 if code is None else int(code)

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
        folder = os.path.join(HOME, cwd or "")
        body: dict[str, Any] = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False}
        if self._warded:
            body |= {"Cmd": list(_relay.command()), "WorkingDir": HOME}
        else:
            bounds = (str(math.ceil(limits.cpu_seconds)), str(math.ceil(limits.file_bytes / 512)))
            body |= {
                "Cmd": ["sh", "-c", _SHIM, "sh", *bounds, *argv],
                "Env": [f"{name}={value}" for name, value in (env or {}).items()],
                "WorkingDir": folder,
            }
        try:
            execution: str = self._engine.request("POST", f"/containers/{self._id}/exec", body)["Id"]
            stream, rest = self._engine.attach(f"/exec/{execution}/start", {"Detach": False, "Tty": False})
        except InfraError as error:
            raise InfraError(self.why_gone() or str(error)) from error
        if not self._warded:
            return PlainProcess(self, execution, stream, rest, limits)
        # The relay starts at home, wherever the engine has that.
        place = os.path.relpath(folder, HOME) if folder.startswith(f"{HOME}/") else folder
        message = {"argv": list(argv), "cwd": place, "env": dict(env or {}), "limits": asdict(limits)}
        return WardedProcess(self, message, stream, rest, limits)

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
            raise InfraError(self.why_gone() or str(error)) from error
        if monotonic() >= self._ends and code == 137:
            return Ending(limit="lifetime")
        if code == 137 and self._starved():
            return Ending(limit="memory")
        if code in _LIMIT_CODES:
            return Ending(limit=_LIMIT_CODES[code])
        return Ending(exit_code=code)

    def signal(self, number: int, target: str) -> None:
        """Send a signal to a process or, with a minus before it, a group or all. A target that is gone is no error."""
        # By number and without "--", which dash's own kill does not know.
        kill = f"kill -{number:d} {target}"
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
        try:
            with contextlib.suppress(Refused):  # it has ended by itself, and was removed
                self._engine.request("DELETE", f"/containers/{self._id}", force="true")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def __del__(self) -> None:
        if hasattr(self, "_hold"):
            self._let_go()

    def _starved(self) -> bool:
        state = self._engine.request("GET", f"/containers/{self._id}/json").get("State", {})
        return bool(state.get("OOMKilled"))

    @property
    def closed(self) -> bool:
        """Whether `close` was called, by a caller or because the sandbox could not be trusted any more."""
        return self._closed

    @property
    def expired(self) -> bool:
        """Whether the sandbox's lifetime is over."""
        return monotonic() >= self._ends

    def stands(self) -> bool:
        """Whether the container runs."""
        try:
            state = self._engine.request("GET", f"/containers/{self._id}/json")["State"]
        except InfraError:
            return False
        return bool(state["Running"])

    def why_gone(self) -> str:
        """What to say when the container has ended by itself; empty if it need not have."""
        if self.expired:
            return f"the sandbox has reached its lifetime of {self.limits.lifetime_seconds:g} s: open another"
        return ""


def specification(
    limits: Limits, mounts: Sequence[Mount], network: bool, env: Mapping[str, str], image: str
) -> dict[str, Any]:
    """The body of the request that makes a container."""
    binds = [
        f"{os.path.abspath(mount.host)}:{os.path.normpath(mount.inside)}:{'rw' if mount.writable else 'ro'}"
        for mount in mounts
    ]
    bounds = {"fsize": limits.file_bytes, "nofile": limits.open_files, "core": 0}
    # Where nothing is said podman asks for more processes than a service without CAP_SYS_RESOURCE may give.
    most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    bounds["nproc"] = _PID_MAX if most == resource.RLIM_INFINITY else min(most, _PID_MAX)
    return {
        "Image": image,
        "Cmd": ["sh", "-c", _HOLDER, "sh", str(math.ceil(limits.lifetime_seconds))],
        "Env": [f"{name}={value}" for name, value in env.items()],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
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
            "ShmSize": limits.disk_bytes // 8,
            "Tmpfs": _tmpfs(limits),
            "Binds": binds,
            "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in bounds.items()],
        },
    }


def _tmpfs(limits: Limits, *, inodes: bool = True) -> dict[str, str]:
    """What can be written; without a bound on the number of files for podman, which knows no such option."""
    options = "mode=1777,exec"
    if inodes:
        options += f",nr_inodes={max(1, limits.files // 2)}"
    return {place: f"size={limits.disk_bytes * eighths // 8},{options}" for place, eighths in ((HOME, 4), ("/tmp", 3))}


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
