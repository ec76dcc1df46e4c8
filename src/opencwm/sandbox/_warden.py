"""The warden: one process per command, inside the sandbox, the parent of all that the command starts.

As a child subreaper it adopts every process whose parent dies, so a daemon cannot slip away: when the command ends, or
crosses a limit, the warden kills whatever is left beneath it and reports. It watches what the kernel does not bound by
itself: the time, memory and number of processes of the whole tree. A command that kills or stops its warden gains
nothing by it: the keeper and the caller hold the deadlines too.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, Protocol

from opencwm.sandbox import _confine, _wire

_TICK_SECONDS = 0.05
_QUICK_TICK_SECONDS = 0.01
_BURY_SECONDS = 0.05
_CLEAR_SECONDS = 0.05
_ORPHANS = 256
_TICKS_PER_SCAN = 20
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_PAGE = resource.getpagesize()
_CLOCK = os.sysconf("SC_CLK_TCK")


class Kills(Protocol):
    """Whoever knows how many processes the kernel has killed for want of memory."""

    def kills(self) -> int: ...


def guard(
    message: dict[str, Any], descriptors: list[int], group: Kills | None, *, disks: Sequence[str], alone: bool
) -> None:
    """Run one command, report how it ended on the first of the descriptors, and end. Never returns.

    `disks` are folders whose file systems may be full when a command fails; `alone` says that no process outside of the
    sandbox has this user's number.
    """
    started = time.monotonic()
    kills = group.kills() if group else 0
    connection = socket.socket(fileno=descriptors[0])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _confine.adopt_orphans()
    try:
        child = _start(message, descriptors[1:], alone)
    except OSError as error:
        text = f"cwm: cannot run {message['argv'][0]} in {message['cwd']}: {error.strerror}\n"
        os.write(descriptors[3], text.encode("utf-8", "surrogateescape"))
        _report(connection, None, 127 if isinstance(error, FileNotFoundError) else 126, 0.0, 0, 0)
        os._exit(0)
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    warden = _Warden(message, connection, child, started)
    limit = warden.watch()
    cpu_seconds, memory_bytes = warden.finish()
    status = warden.status
    if limit is None:
        starved = bool(group and group.kills() > kills)
        limit = _crossed(status, message["limits"], cpu_seconds, memory_bytes, starved, disks)
    _report(connection, limit, os.waitstatus_to_exitcode(status), cpu_seconds, memory_bytes, warden.most)
    os._exit(0)


def _report(
    connection: socket.socket, limit: str | None, code: int, cpu_seconds: float, memory_bytes: int, processes: int
) -> None:
    """Tell the caller how the command ended; `code` is negative for a signal."""
    answer = {
        "limit": limit,
        "exit_code": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "cpu_seconds": cpu_seconds,
        "memory_bytes": memory_bytes,
        "processes": processes,
    }
    with contextlib.suppress(OSError):
        _wire.send(connection, answer)


def _start(message: dict[str, Any], streams: list[int], alone: bool) -> int:
    """Start the command; its pid. Raises OSError.

    This process takes the limits on itself and the command inherits them: so it can be spawned, which costs a fraction
    of a fork.
    """
    os.chdir(message["cwd"])
    os.umask(0o022)
    program = _find(message["argv"][0], message["env"].get("PATH", os.defpath))
    limits = message["limits"]
    cpu = math.ceil(limits["cpu_seconds"])
    _bound(resource.RLIMIT_CPU, cpu, cpu + 1)
    _bound(resource.RLIMIT_AS, 4 * limits["memory_bytes"])
    _bound(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _bound(resource.RLIMIT_NOFILE, limits["open_files"])
    _bound(resource.RLIMIT_CORE, 0)
    if alone:  # elsewhere it would count the user's other processes too
        _bound(resource.RLIMIT_NPROC, 2 * limits["processes"] + 16)  # we count; this stops what outruns us
    return os.posix_spawn(
        program,
        message["argv"],
        message["env"],
        file_actions=[(os.POSIX_SPAWN_DUP2, there, here) for here, there in enumerate(streams)],
        setsid=True,
        setsigmask=[],
        setsigdef=_SIGNALS,  # whatever our own starter ignored: `nohup` ignores SIGHUP, `&` in a script SIGINT
    )


def _find(name: str, path: str) -> str:
    """Where a program is, as execvpe has it. Raises OSError."""
    if "/" in name:
        return name
    refused = False
    for folder in path.split(":"):
        place = os.path.join(folder, name)
        if os.access(place, os.X_OK) and not os.path.isdir(place):
            return place
        refused = refused or os.path.exists(place)
    code = errno.EACCES if refused else errno.ENOENT
    raise OSError(code, os.strerror(code))


def _bound(kind: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


class _Warden:
    def __init__(self, message: dict[str, Any], connection: socket.socket, child: int, started: float) -> None:
        self._limits = message["limits"]
        self._connection = connection
        self._child = child
        self._started = started
        self._deadline = started + self._limits["wall_seconds"]
        self._over = False
        # The part of the command that runs now: its number, since when (in clock ticks), and the processor seconds of
        # all together that it may bring the tree to.
        self._part, self._since, self._allowed = 0, 0, math.inf
        self._others = 0.0
        self.status = 0
        self.most = 1

    def watch(self) -> str | None:
        """Until the command ends, or crosses the limit that is returned, or nobody wants it any more."""
        ended = os.pidfd_open(self._child)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(self._connection, select.POLLIN)
        next_tick = self._started + _TICK_SECONDS
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                return "wall"
            wait = min(self._deadline, next_tick) - now
            ready = [descriptor for descriptor, _ in poll.poll(max(0, math.ceil(wait * 1000)))]
            if ended in ready:
                return None
            if ready and not self._obey():
                return None
            if time.monotonic() >= next_tick:
                scan = time.process_time()  # what it costs; on a busy machine it may take far longer
                limit, close = self._crossed()
                if limit is not None:
                    return limit
                now = time.monotonic()
                next_tick = now + (
                    _QUICK_TICK_SECONDS if close else max(_TICK_SECONDS, _TICKS_PER_SCAN * (time.process_time() - scan))
                )
                buried, until = 0, now + _BURY_SECONDS
                while self._bury():
                    buried += 1
                    if time.monotonic() > until:  # a fork bomb makes more than one can bury
                        if buried > max(_ORPHANS, 10 * self._limits["processes"]):
                            return "processes"
                        break

    def _obey(self) -> bool:
        """Do what the caller asks; False to end the command."""
        received = _wire.receive(self._connection)
        if received is None:
            return False
        request = received[0]
        if request["do"] == "begin":
            self._part, self._since = request["part"], math.floor(request["since"] * _CLOCK)
            self._allowed = self._used() + request["cpu_seconds"]
            return True
        if request["do"] not in ("interrupt", "clear"):
            return False
        # First the command itself: a shell that waits for a child then has the signal before it sees the child end.
        _kill(self._child, request["signal"])
        if request["do"] == "interrupt":
            for pid, fields in _below(os.getpid()).items():
                if pid != self._child and int(fields[2]) == self._child:
                    _kill(pid, signal.SIGINT)
        else:
            self._clear()
        self._say({"did": request["do"]})
        return True

    def _clear(self) -> None:
        """Kill what has been started since the part began, and what that starts meanwhile."""
        until = time.monotonic() + _CLEAR_SECONDS
        while time.monotonic() < until:
            new = [
                pid
                for pid, fields in _below(os.getpid()).items()
                if pid != self._child and int(fields[19]) >= self._since
            ]
            if not new:
                return
            for pid in new:
                _kill(pid)
            select.select([], [], [], 0.0005)

    def _used(self) -> float:
        """The processor seconds of the whole tree, of processes beside the command as the last scan saw them."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + _cpu(_stat(self._child)) + self._others

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            _wire.send(self._connection, message)

    def _crossed(self) -> tuple[str | None, bool]:
        """The limit that the tree has crossed, and whether it is near one."""
        tree = _below(os.getpid())
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime
        memory = threads = 0
        self._others = 0.0
        for pid, fields in tree.items():
            cpu += _cpu(fields)
            self._others += _cpu(fields) if pid != self._child else 0.0
            threads += int(fields[17]) if fields[0] != "Z" else 0  # a dead one waits to be buried, and runs nothing
            memory += int(fields[21]) * _PAGE
        self.most = max(self.most, threads)
        if cpu > self._limits["cpu_seconds"]:
            return "cpu", True
        if cpu > self._allowed:
            self._allowed = math.inf
            self._say({"spent": self._part})
        if threads > self._limits["processes"]:
            return "processes", True
        if memory > self._limits["memory_bytes"] and sum(map(_share, tree)) > self._limits["memory_bytes"]:
            return "memory", True
        return None, threads > self._limits["processes"] // 2 or memory > self._limits["memory_bytes"] // 2

    def _bury(self) -> bool:
        """Wait for one orphan that has ended, never for the command itself."""
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if ended is None or ended.si_pid == self._child:
            return False
        os.waitpid(ended.si_pid, 0)
        return True

    def finish(self) -> tuple[float, int]:
        """Kill whatever is left; the processor seconds of all, and the resident bytes of the largest."""
        end_children(self)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024

    def kill(self) -> None:
        """SIGKILL to the command's group, while the command has not been buried: then the number may be another's."""
        if not self._over:
            _kill(-self._child)

    def buried(self, pid: int, status: int) -> None:
        if pid == self._child:
            self.status = status
            self._over = True


def end_children(warden: _Warden | None = None) -> None:
    """Kill all descendants of this process, those that are born meanwhile too, and wait for them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if warden:
            warden.kill()  # its group at once, without looking around: a fork bomb makes more than one can bury
        until = time.monotonic() + _BURY_SECONDS
        try:
            while time.monotonic() < until:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if warden:
                    warden.buried(pid, status)
        except ChildProcessError:
            return
        tree = _below(os.getpid())
        for group in {int(fields[2]) for fields in tree.values()} - {0, os.getpgrp()}:
            _kill(-group)  # a whole group at once: one by one, a fork bomb would outrun us
        for pid in tree:
            _kill(pid)
        select.select([], [], [], 0.0005)


def _below(root: int) -> dict[int, list[str]]:
    """The descendants of a process: the fields of their `stat` from the state on."""
    children: dict[int, list[int]] = {}
    fields: dict[int, list[str]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                record = _stat(int(name))
            except OSError:
                continue
            if record[0] != "Z":
                fields[int(name)] = record
            children.setdefault(int(record[1]), []).append(int(name))
    found: dict[int, list[str]] = {}
    ahead = [root]
    while ahead:
        for pid in children.get(ahead.pop(), ()):
            ahead.append(pid)
            if pid in fields:
                found[pid] = fields[pid]
    return found


def _share(pid: int) -> int:
    """A process's part of memory in bytes, what it shares counted in proportion."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _stat(pid: int) -> list[str]:
    """The fields of a process's `stat` from the state on. Raises OSError."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def _cpu(fields: list[str]) -> float:
    """The processor seconds of a process and of those of its children that it has waited for."""
    return sum(map(int, fields[11:15])) / _CLOCK


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _crossed(
    status: int, limits: dict[str, Any], cpu_seconds: float, memory_bytes: int, starved: bool, disks: Sequence[str]
) -> str | None:
    """The limit that a command's end speaks of."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds >= limits["cpu_seconds"]):
        return "cpu"
    if number == signal.SIGXFSZ:
        return "file"
    if (number == signal.SIGKILL and starved) or (status and memory_bytes > limits["memory_bytes"]):
        return "memory"
    if status:
        with contextlib.suppress(OSError):
            for disk in map(os.statvfs, disks):
                if disk.f_bavail == 0 or (disk.f_files and disk.f_favail == 0):
                    return "disk"
    return None
