"""The launcher: a small process beside ours that starts sandboxes, so that no big or threaded process need be forked.

Run as a script with the number of its control socket. For each sandbox it forks a keeper (`_keeper.py`). One spare
keeper stands ready, in control groups of its own where those are writable (to move a process there takes the kernel
some 10 ms), and with bubblewrap started if the last sandboxes were of one kind. The launcher ends with the process that
started it, and its keepers with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from opencwm.sandbox import _confine, _keeper, _wire, cgroups

_SWEEP_MS = 1000


class _Spare(NamedTuple):
    """A keeper that waits for a sandbox to keep; with `command`, bubblewrap runs already."""

    pid: int
    channel: socket.socket
    command: list[str] | None


class Launcher:
    """Forks keepers and clears up after them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._groups: dict[int, cgroups.Group | None] = {}
        self._spare: _Spare | None = None
        self._grouping = cgroups.Grouping()
        self._last: list[str] | None = None

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        self._spare = self._fork(None)
        while True:
            ready = poll.poll(_SWEEP_MS)
            self._reap()
            if ready:
                request = _wire.receive(self._control)
                if request is None:
                    break
                self._hand_over(*request)
        self._end()

    def _hand_over(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """A new sandbox for the spare keeper, or for a new one if that is prepared for another kind."""
        command = message["bubblewrap"]
        spare = self._spare
        if spare is None or spare.command not in (None, command):
            if spare:
                spare.channel.close()  # it ends
            spare = self._fork(None)
        with contextlib.suppress(OSError):  # it has died: the other side sees its socket close
            _wire.send(spare.channel, message, descriptors)
        spare.channel.close()
        for descriptor in descriptors:
            os.close(descriptor)
        self._spare = None
        # Two of a kind in a row: most likely the next is of that kind too.
        self._spare = self._fork(command if command == self._last else None)
        self._last = command

    def _fork(self, command: list[str] | None) -> _Spare:
        group = self._grouping.make()
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                if self._spare:
                    self._spare.channel.close()
                self._control.close()
                _confine.die_with_parent(signal.SIGKILL)
                if group:
                    group.enter()
                _keeper.keep(theirs, group, command)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        theirs.close()
        self._groups[pid] = group
        return _Spare(pid, ours, command)

    def _reap(self) -> None:
        while self._groups:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if self._spare and pid == self._spare.pid:
                self._spare.channel.close()
                self._spare = None
            group = self._groups.pop(pid, None)
            if group:
                self._grouping.leave(group)
        self._grouping.sweep()

    def _end(self) -> None:
        if self._spare:
            self._spare.channel.close()
        # The keepers saw the same process end. Whoever is slower than this dies with us.
        for pid in self._groups:
            os.waitpid(pid, 0)
        self._grouping.close(list(filter(None, self._groups.values())))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the process that started us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    os.chdir("/")
    _confine.hide_memory()
    gc.disable()
    Launcher(control).run()


if __name__ == "__main__":
    main()
