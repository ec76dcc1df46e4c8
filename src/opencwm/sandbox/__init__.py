"""Where anything that we did not write runs. The public names, loaded on first use; README.md has the parts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencwm.sandbox.choose import open_sandbox as open_sandbox
    from opencwm.sandbox.pool import Raised as Raised
    from opencwm.sandbox.pool import Returned as Returned
    from opencwm.sandbox.pool import SnippetPool as SnippetPool
    from opencwm.sandbox.protocol import Entry as Entry
    from opencwm.sandbox.protocol import Finished as Finished
    from opencwm.sandbox.protocol import InfraError as InfraError
    from opencwm.sandbox.protocol import LimitReached as LimitReached
    from opencwm.sandbox.protocol import Limits as Limits
    from opencwm.sandbox.protocol import Mount as Mount
    from opencwm.sandbox.protocol import Process as Process
    from opencwm.sandbox.protocol import Result as Result
    from opencwm.sandbox.protocol import Sandbox as Sandbox
    from opencwm.sandbox.protocol import Usage as Usage
    from opencwm.sandbox.snapshot import Snapshot as Snapshot

_HOMES = {
    "open_sandbox": "choose",
    "Raised": "pool",
    "Returned": "pool",
    "SnippetPool": "pool",
    "Snapshot": "snapshot",
} | dict.fromkeys(
    (
        "Entry",
        "Finished",
        "InfraError",
        "LimitReached",
        "Limits",
        "Mount",
        "Process",
        "Result",
        "Sandbox",
        "Usage",
    ),
    "protocol",
)
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'opencwm.sandbox' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"opencwm.sandbox.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
