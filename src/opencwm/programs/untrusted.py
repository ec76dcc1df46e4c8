"""Recording programs that nobody has read: `record_isolated`'s child, inside a sandbox.

`record_sandboxed` insists on a sandbox; `record_untrusted` takes one where there is one, and else says once, in the
log, that the program runs as a plain process. Both give the traces that `record_isolated` gives.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from time import monotonic
from typing import Unpack

import opencwm.trace
from opencwm.sandbox import InfraError, Mount, Process, open_sandbox
from opencwm.sandbox import Limits as SandboxLimits
from opencwm.trace._lines import Lines
from opencwm.trace.frames import Trace
from opencwm.trace.isolate import STARTUP_SECONDS, Options, describe_job, record_isolated
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import Printed, Recordable

_GRACE_SECONDS = 0.5  # so that the child's own clock is the first to notice
_CHILD = Path(opencwm.trace.__file__).with_name("_child.py")
_OWN_MEMORY = 256 << 20
# The frames leave by standard output, as descriptor 3; what the program prints, by standard error.
_RUN = 'exec 3>&1 1>&2; exec "$0" -s -P -u -X utf8 "$1" 3'

_said: set[str] = set()


def record_sandboxed(program: Recordable, **options: Unpack[Options]) -> Trace:
    """The trace of one run of the program's entry, in a sandbox of its own: no network, no files of this machine.

    Otherwise as `record_isolated`, with its outcomes. Raises RecordError as that does, and InfraError, with the remedy,
    if there is no sandbox.
    """
    limits = options.get("limits") or Limits()
    job = describe_job(program, **options)
    seconds = STARTUP_SECONDS + limits.seconds
    bounds = SandboxLimits(
        cpu_seconds=math.ceil(seconds),
        wall_seconds=seconds + _GRACE_SECONDS,
        memory_bytes=limits.memory_bytes + _OWN_MEMORY,
        processes=limits.processes + 1,
    )
    package = _CHILD.parents[1]
    with open_sandbox(limits=bounds, mounts=[Mount(package, str(package))]) as sandbox:
        command = ["sh", "-c", _RUN, sandbox.python, str(_CHILD)]
        with sandbox.spawn(command, env={"PYTHONHASHSEED": "0"}) as process:
            process.send(job)
            process.close_stdin()
            run = _Run(process, Lines(limits, len(job)), limits, Printed(options.get("output")))
            run.watch()
    return run.trace()


def record_untrusted(program: Recordable, **options: Unpack[Options]) -> Trace:
    """As `record_sandboxed`; where there is no sandbox, as `record_isolated`, after a warning. Raises RecordError."""
    try:
        return record_sandboxed(program, **options)
    except InfraError as error:
        if str(error) not in _said:
            _said.add(str(error))
            logging.getLogger("opencwm").warning("programs run without a sandbox, as this user: %s", error)
        return record_isolated(program, **options)


class _Run:
    """One child in the sandbox."""

    def __init__(self, process: Process, lines: Lines, limits: Limits, printed: Printed) -> None:
        self._process = process
        self._lines = lines
        self._limits = limits
        self._printed = printed
        self._reason: str | None = None

    def watch(self) -> None:
        """Read until the child has ended or a limit is crossed. Raises InfraError."""
        deadline = monotonic() + STARTUP_SECONDS
        stopped = False
        while (pieces := self._process.receive(max(0.0, deadline - monotonic()))) is not None:
            for stream, data in pieces:
                if stream == "stderr":
                    self._printed.feed(data)
                    continue
                if not self._lines.begun:
                    deadline = monotonic() + self._limits.seconds + _GRACE_SECONDS
                self._lines.feed(data)
            if self._reason is None and not self._lines.done:
                if self._lines.too_many:
                    self._reason = "bytes"
                elif monotonic() > deadline:
                    self._reason = "seconds"
            if not stopped and (self._reason or self._lines.done):
                stopped = True
                deadline = monotonic() + STARTUP_SECONDS
                self._process.kill()

    def trace(self) -> Trace:
        """What was recorded. Raises RecordError if there was nothing to record."""
        return self._lines.trace(self._why, f"the recording process did not start in the sandbox ({self._why()})")

    def _why(self) -> str:
        if self._reason is not None:
            return self._reason
        ending = self._process.ending
        assert ending is not None
        if ending.limit is not None:
            return {"wall": "seconds", "cpu": "seconds", "output": "bytes"}.get(ending.limit, ending.limit)
        return "exit" if ending.signal is None else f"killed by signal {ending.signal}"
