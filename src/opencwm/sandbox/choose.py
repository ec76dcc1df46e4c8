"""`open_sandbox`: a sandbox by the backend's name, or by the best one that this machine has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from opencwm.sandbox.protocol import InfraError, Limits, Mount, Sandbox

Backend = Literal["auto", "bubblewrap", "container", "process"]


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
    for mount in mounts:
        if not os.path.exists(mount.host):
            raise InfraError(f"cannot mount {mount.host}: there is no such file or folder")
    if backend == "auto":
        return _best(limits, mounts, network, env)
    if backend == "bubblewrap":
        from opencwm.sandbox.bubblewrap import BubblewrapSandbox

        return BubblewrapSandbox(limits=limits, mounts=mounts, network=network, env=env)
    if backend == "container":
        from opencwm.sandbox.container import ContainerSandbox

        return ContainerSandbox(limits=limits, mounts=mounts, network=network, env=env)
    if backend == "process":
        from opencwm.sandbox.process import ProcessSandbox

        return ProcessSandbox(limits=limits, mounts=mounts, network=network, env=env)
    raise ValueError(f"there is no sandbox backend {backend!r}; there are bubblewrap, container and process")


def _best(limits: Limits | None, mounts: Sequence[Mount], network: bool, env: Mapping[str, str] | None) -> Sandbox:
    """Bubblewrap; else, where there is an engine, a container. Raises InfraError with the remedies for both."""
    from opencwm.sandbox.bubblewrap import BubblewrapSandbox

    try:
        return BubblewrapSandbox(limits=limits, mounts=mounts, network=network, env=env)
    except InfraError as first:
        from opencwm.sandbox import container

        try:
            engine = container.find()
        except InfraError:
            raise InfraError(f"{first} (`cwm sandbox doctor` says more)") from first
        return container.ContainerSandbox(limits=limits, mounts=mounts, network=network, env=env, engine=engine)
