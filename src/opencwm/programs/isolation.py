"""Running a command on strangers' code: one command, one sandbox, one folder that it may write to.

Notable choice: whoever needs isolation gives a folder and a command, and reads the results out of the folder
afterwards. So what was written before a command was ended is kept, and a sandbox is never used twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opencwm.sandbox import Finished, Limits, Mount, open_sandbox

PROCESSES = 256
FILE_BYTES = 256 << 20
MEMORY_BYTES = 4 << 30
_TAIL = 2_000


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: by itself with an exit `code`, or `cut` off, and the end of what it printed."""

    code: int | None
    cut: str | None
    tail: str


def run(
    command: Sequence[str],
    *,
    folder: Path,
    seconds: float,
    start: Path | None = None,
    visible: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command that may write in `folder` alone, for at most `seconds`, without a network.

    It starts in `start` (`folder` without it); `visible` are further folders that it may read. All have the same paths
    inside. Raises InfraError if there is no sandbox.
    """
    limits = Limits(
        wall_seconds=seconds,
        cpu_seconds=2 * seconds,
        memory_bytes=MEMORY_BYTES,
        processes=PROCESSES,
        file_bytes=FILE_BYTES,
        lifetime_seconds=seconds + 60,
    )
    mounts = [Mount(folder, str(folder), writable=True)]
    mounts += [Mount(path, path) for path in dict.fromkeys(visible)]
    variables = {"PYTHONHASHSEED": "0", **(environment or {})}
    with open_sandbox(limits=limits, mounts=mounts) as sandbox:
        result = sandbox.exec(command, cwd=str(start or folder), env=variables)
    tail = (result.stdout + result.stderr)[-_TAIL:].decode("utf-8", "replace")
    if not isinstance(result, Finished):
        return Ended(None, {"wall": "seconds", "cpu": "seconds"}.get(result.which, result.which), tail)
    return Ended(result.exit_code, f"killed by signal {result.signal}" if result.signal else None, tail)
