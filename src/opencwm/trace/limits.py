"""`Limits`: how much of a run is recorded before it is cut off.

Crossing `value_bytes` elides a value; crossing any other limit ends the run with the outcome `truncated` and the
limit's name as its reason (`frames`, `bytes`, `depth`, `seconds`, and, in a child process, `memory` and `processes`).
"""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_VALUE = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one recording.

    `frames`: frames in the trace. `value_bytes`: UTF-8 bytes of one value's text (at least 32). `total_bytes`: UTF-8
    bytes of all names and values together, each frame counted in full. `depth`: recorded activations on the stack at
    once. `seconds`: wall time from the entry's call. `memory_bytes` (address space) and `processes` bind only
    `record_isolated`. Raises ValueError for a limit that is not positive.
    """

    frames: int = 10_000
    value_bytes: int = 2_000
    total_bytes: int = 5_000_000
    depth: int = 200
    seconds: float = 10.0
    memory_bytes: int = 2 << 30
    processes: int = 32

    def __post_init__(self) -> None:
        for name in ("frames", "total_bytes", "depth", "seconds", "memory_bytes", "processes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit {name} must be positive, not {getattr(self, name)!r}")
        if self.value_bytes < SMALLEST_VALUE:
            raise ValueError(f"the limit value_bytes must be at least {SMALLEST_VALUE}, not {self.value_bytes!r}")
