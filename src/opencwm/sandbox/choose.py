"""`open_sandbox`: a sandbox by the backend's name, or by the best one that this machine has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from opencwm.sandbox.protocol import InfraError, Limits, Mount, Sandbox

Backend = Literal["auto", "bubblewrap", "process"]


def open_sandbox(
    backend: Backend = "auto",
    *,
    limits: Limits | None = None,
    mounts: Sequence[Mount] = (),
    network: bool = False,
    env: Mapping[str, str] | None = None,
) -> Sandbox:
    """A new sandbox; use it as a context manager.

    `auto` takes one that holds code nobody has read, and never `process`, which does not. Raises InfraError with the
    remedy if there is none.
    """
    if backend in ("auto", "bubblewrap"):
        from opencwm.sandbox.bubblewrap import BubblewrapSandbox

        return BubblewrapSandbox(limits=limits, mounts=mounts, network=network, env=env)
    if backend == "process":
        from opencwm.sandbox.process import ProcessSandbox

        return ProcessSandbox(limits=limits, mounts=mounts, network=network, env=env)
    raise InfraError(f"there is no sandbox backend {backend!r}")
