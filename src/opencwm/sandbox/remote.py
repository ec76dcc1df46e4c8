"""The Ray backend: any other backend, on another node of a Ray cluster (`pip install 'opencwm[rl]'`).

An actor there opens the sandbox and holds it; commands, files, shells and snapshots go through it. Mounts name paths of
that node. If the node or the actor dies, that is an InfraError, as everything that is not the program's own doing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from opencwm.sandbox.choose import Backend, open_sandbox
from opencwm.sandbox.protocol import Ending, InfraError, Limits, Mount, Process, Sandbox, Stream

INSTALL = "ray is not installed: pip install 'opencwm[rl]'"
_WAIT_SECONDS = 0.5
"""How long the actor waits for output before it answers that there is none: it serves other commands meanwhile."""


class RemoteSandbox(Sandbox):
    """A sandbox of the kind `backend` on a node of the cluster. Raises InfraError.

    `resources` are Ray's, to choose a node by (`{"sandbox": 1}`); `address` is the cluster's, unless this process is
    connected to one already.
    """

    name = "ray"

    def __init__(
        self,
        backend: Backend = "auto",
        *,
        limits: Limits | None = None,
        mounts: Sequence[Mount] = (),
        network: bool = False,
        env: Mapping[str, str] | None = None,
        address: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "backend": backend,
            "limits": limits,
            "mounts": tuple(mounts),
            "network": network,
            "env": dict(env or {}),
            "address": address,
            "resources": dict(resources or {}),
        }
        self._ray = _connected(address)
        self._closed = False
        options = {"num_cpus": 0, "max_concurrency": 64, "resources": self._settings["resources"]}
        self._host = self._ray.remote(_Host).options(**options).remote()
        try:
            facts = self.ask("open", backend, limits, tuple(mounts), network, dict(env or {}))
            self.python, self.home, self.roots, self.limits = facts
        except BaseException:
            self._ray.kill(self._host)
            raise

    def ask(self, method: str, *arguments: object) -> Any:
        """Call the actor. Raises what it raises, and InfraError if it is gone."""
        try:
            return self._ray.get(getattr(self._host, method).remote(*arguments))
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, InfraError | ValueError) else InfraError(str(error)) from None
        except self._ray.exceptions.RayError as error:
            raise InfraError(f"the sandbox's node or actor is gone: {error}; open another") from error

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
        return _RemoteProcess(self, self.ask("spawn", list(argv), cwd, dict(env or {}), limits))

    def empty(self) -> RemoteSandbox:
        return RemoteSandbox(**self._settings)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(InfraError):
                self.ask("close")
            self._ray.kill(self._host)


class _RemoteProcess(Process):
    def __init__(self, sandbox: RemoteSandbox, number: int) -> None:
        self._sandbox = sandbox
        self._number = number
        self._ending: Ending | None = None
        self._spent = False

    @property
    def ending(self) -> Ending | None:
        return self._ending

    def _tell(self, method: str, *arguments: object) -> Any:
        return self._sandbox.ask("tell", self._number, method, *arguments)

    def send(self, data: bytes) -> None:
        self._tell("send", data)

    def close_stdin(self) -> None:
        self._tell("close_stdin")

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        if self._ending is not None:
            return None
        pieces, self._spent, self._ending = self._sandbox.ask("receive", self._number, min(timeout, _WAIT_SECONDS))
        return pieces  # type: ignore[no-any-return]

    def begin(self, cpu_seconds: float) -> None:
        self._spent = False
        self._tell("begin", cpu_seconds)

    @property
    def spent(self) -> bool:
        return self._spent

    def interrupt(self, number: int) -> None:
        self._tell("interrupt", number)

    def clear(self, number: int) -> None:
        self._tell("clear", number)

    def kill(self) -> None:
        self._tell("kill")

    def close(self) -> None:
        with contextlib.suppress(InfraError):
            self._sandbox.ask("forget", self._number)
        self._ending = self._ending or Ending(signal=9)


class _Host:
    """The actor: one sandbox on its node, and the commands that run in it."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._numbers = itertools.count()

    def open(
        self, backend: Backend, limits: Limits | None, mounts: tuple[Mount, ...], network: bool, env: dict[str, str]
    ) -> tuple[str, str, tuple[str, tuple[str, ...]], Limits]:
        self._sandbox = sandbox = open_sandbox(backend, limits=limits, mounts=mounts, network=network, env=env)
        return sandbox.python, sandbox.home, sandbox.roots, sandbox.limits

    def spawn(self, argv: list[str], cwd: str | None, env: dict[str, str], limits: Limits | None) -> int:
        process = self._sandbox.spawn(argv, cwd=cwd, env=env, limits=limits)
        number = next(self._numbers)
        self._processes[number] = process
        return number

    def tell(self, number: int, method: str, *arguments: object) -> None:
        getattr(self._processes[number], method)(*arguments)

    def receive(self, number: int, timeout: float) -> tuple[list[tuple[Stream, bytes]] | None, bool, Ending | None]:
        process = self._processes[number]
        pieces = process.receive(timeout)
        return pieces, process.spent, process.ending if pieces is None else None

    def forget(self, number: int) -> None:
        self._processes.pop(number).close()

    def close(self) -> None:
        self._sandbox.close()


def _connected(address: str | None) -> Any:
    """The ray module, connected to a cluster. Raises InfraError."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise InfraError(INSTALL) from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InfraError(f"cannot connect to Ray at {address}: {error}") from error
    return ray
