"""Where anything that we did not write runs. The public names; see README.md for the parts."""

from __future__ import annotations

from opencwm.sandbox.choose import open_sandbox
from opencwm.sandbox.protocol import (
    Entry,
    Finished,
    InfraError,
    LimitReached,
    Limits,
    Mount,
    Process,
    Result,
    Sandbox,
    Snapshot,
    Usage,
)

__all__ = [
    "Entry",
    "Finished",
    "InfraError",
    "LimitReached",
    "Limits",
    "Mount",
    "Process",
    "Result",
    "Sandbox",
    "Snapshot",
    "Usage",
    "open_sandbox",
]
