"""`QueuedProcess`: what the backends' processes share: standard input that waits until the command takes it."""

from __future__ import annotations

import abc

from opencwm.sandbox.protocol import Ending, Process


class QueuedProcess(Process):
    """A process whose input is queued here; a backend writes of it what can be written, in `_feed`."""

    def __init__(self) -> None:
        self._ending: Ending | None = None
        self._queue = bytearray()
        self._closing = False
        self._killed = False

    @property
    def ending(self) -> Ending | None:
        return self._ending

    def send(self, data: bytes) -> None:
        self._queue += data
        self._feed()

    def close_stdin(self) -> None:
        self._closing = True
        self._feed()

    @abc.abstractmethod
    def _feed(self) -> None:
        """Write what standard input takes now, and end it after that if `_closing`."""
