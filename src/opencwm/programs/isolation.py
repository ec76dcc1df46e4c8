"""Running a command on strangers' code: the one place that decides how it is kept from doing harm.

Notable choice: whoever needs isolation gives a folder (its only place to write) and a command, and reads the results out
of the folder. So what was written before a command was ended is kept, and any sandbox that can show a folder will do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str],
    *,
    folder: Path,
    seconds: float,
    start: Path | None = None,
    visible: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> str | None:
    """Run a command that may write in `folder` alone, for at most `seconds`; None if it ended by itself, else why not.

    It starts in `start` (`folder` without it). `visible` are further folders that it has to read.
    """
    variables = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONHASHSEED": "0",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    process = subprocess.Popen(
        list(command),
        cwd=start or folder,
        env={**variables, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = process.wait(seconds)
        return None if status >= 0 else f"killed by signal {-status}"
    except subprocess.TimeoutExpired:
        return "seconds"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
