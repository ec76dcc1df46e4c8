"""The JSON lines that a recording child sends, taken in as they come, and the trace that they make in the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

from opencwm.trace.frames import Outcome, Trace, read_jsonl
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError


class Lines:
    """Whole lines only: a child that is killed may leave half of one."""

    def __init__(self, limits: Limits, job_bytes: int) -> None:
        self._lines: list[bytes] = []
        self._part = b""
        self._received = 0
        self._most = 3 * limits.total_bytes + 300 * limits.frames + 10 * job_bytes + 1_000_000
        self.done = False
        """The child has sent its outcome."""

    @property
    def begun(self) -> bool:
        """Something has come: the child has started, and the program runs."""
        return self._received > 0

    @property
    def too_many(self) -> bool:
        """More has come than any recording within the limits sends."""
        return not self.done and self._received > self._most

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._received += len(data)
        *lines, self._part = (self._part + data).split(b"\n")
        self._lines.extend(lines)
        if lines and lines[-1].startswith((b'{"outcome"', b'{"error"')):
            self.done = True

    def trace(self, why: Callable[[], str], absent: str) -> Trace:
        """What was recorded; `why` says how a run ended that sent no outcome, `absent` why nothing has come at all.

        Raises RecordError if there is nothing to record.
        """
        if self._lines and self._lines[-1].startswith(b'{"error"'):
            raise RecordError(json.loads(self._lines[-1])["error"])
        if not self._lines:
            raise RecordError(absent)
        trace = next(read_jsonl(line.decode() for line in self._lines))
        return trace if self.done else dataclasses.replace(trace, outcome=Outcome("truncated", why()))
