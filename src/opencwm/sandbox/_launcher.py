"""The launcher: a small process beside ours that starts sandboxes, so that no big or threaded process need be forked.

Run as a script with the number of its control socket. For each sandbox it forks a keeper (`_keeper.py`). One spare
keeper stands ready, in control groups of its own where those are writable: to move a process there takes the kernel
some 10 ms, which nobody need wait for. The launcher ends with the process that started it, its keepers with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from opencwm.sandbox import _confine, _keeper, _wire, cgroups

_IDLE_MS = 50


class Launcher:
    """Forks keepers and clears up after them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._groups: dict[int, cgroups.Group | None] = {}
        self._spare: tuple[int, socket.socket] | None = None
        self._grouping = cgroups.Grouping()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            ready = poll.poll(_IDLE_MS if self._spare is None else 1000 if self._groups else None)
            self._reap()
            if ready:
                request = _wire.receive(self._control)
                if request is None:
                    break
                self._hand_over(*request)
            elif self._spare is None:
                self._spare = self._fork()
        self._end()

    def _hand_over(self, message: dict[str, object], descriptors: list[int]) -> None:
        """A new sandbox for the spare keeper."""
        _, channel = self._spare or self._fork()
        self._spare = None
        with contextlib.suppress(OSError):  # the spare has died: the other side sees its socket close
            _wire.send(channel, message, descriptors)
        channel.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _fork(self) -> tuple[int, socket.socket]:
        group = self._grouping.make()
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                if self._spare:
                    self._spare[1].close()
                self._control.close()
                _confine.die_with_parent(signal.SIGKILL)
                if group:
                    group.enter()
                _keeper.keep(theirs, group)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        theirs.close()
        self._groups[pid] = group
        return pid, ours

    def _reap(self) -> None:
        while self._groups:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            group = self._groups.pop(pid, None)
            if group:
                self._grouping.leave(group)
        self._grouping.sweep()

    def _end(self) -> None:
        if self._spare:
            self._spare[1].close()
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
