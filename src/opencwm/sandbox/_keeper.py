"""The keeper: one process per sandbox, outside of its pid namespace, so that nothing inside can see or signal it.

It starts bubblewrap, whose only process inside waits for its input's end (pid 1, which the kernel shields from signals
of its own namespace); joins the namespaces; confines itself; and then forks a warden (`_warden.py`) per command.
Everything in the sandbox dies with pid 1; pid 1 with its standard input or with bubblewrap; bubblewrap with the keeper;
and the keeper with its control socket, with the process that opened the sandbox, or when the lifetime is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from opencwm.sandbox import _confine, _warden, _wire, cgroups, seccomp

# The line says that the mounts stand. Then a program that only its input's end ends: a shell's `read` is interrupted by
# SIGCHLD, which pid 1 gets when somebody in the sandbox kills a warden and its orphan ends.
HOLDER = "echo; exec cat"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_OWN_PROCESSES = 16  # of the keeper's, beside those that the limit is about
_SPARE_MEMORY = 32 << 20

# Files in the sandbox's /etc: a few of our own, and those of this machine that programs need and that tell nothing.
_OWN_ETC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "etc")
_ETC = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types")
# What the kernel tells in /proc about the whole machine.
MASKED_FILES = (
    "kcore", "keys", "timer_list", "latency_stats", "sched_debug", "kallsyms", "kmsg", "kpagecount", "kpageflags",
    "kpagecgroup", "interrupts", "key-users", "config.gz", "sysrq-trigger",
)  # fmt: skip
MASKED_FOLDERS = ("acpi", "asound", "scsi", "driver", "fs", "bus", "irq")
_EMPTY = "/etc/empty"


def _read_etc() -> dict[str, bytes]:
    places = {name: os.path.join(_OWN_ETC, name) for name in os.listdir(_OWN_ETC)}
    places |= {name: f"/etc/{name}" for name in _ETC}
    files = {}
    for name, place in places.items():
        with contextlib.suppress(OSError), open(place, "rb") as file:
            files[name] = file.read()
    return files


ETC = _read_etc()
_FILTER = seccomp.program()


class _Failed(Exception):
    """Why the sandbox could not be started."""


def keep(channel: socket.socket, group: cgroups.Group | None, command: list[str] | None) -> None:
    """Wait for a specification, then keep that sandbox until it ends. Never returns.

    `command` is the bubblewrap command line that the specification will have, if that is known: then bubblewrap is
    started already.
    """
    keeper = _Keeper(group)
    if command:
        with contextlib.suppress(_Failed, OSError):  # it fails again, and is told, when it is needed
            keeper.prepare(command)
    request = _wire.receive(channel)
    channel.close()
    if request is None:
        os._exit(0)
    specification, (descriptor,) = request
    control = socket.socket(fileno=descriptor)
    try:
        layers = keeper.start(specification)
        _wire.send(control, {"ready": layers})
    except _Failed as failure:
        _wire.send(control, {"error": str(failure)})
    except OSError as error:
        _wire.send(control, {"error": f"{error.strerror or error}", "errno": error.errno})
    else:
        with contextlib.suppress(ConnectionError):
            keeper.serve(control, specification)
    keeper.stop()
    control.close()  # tells that all is gone
    os._exit(0)


class _Keeper:
    def __init__(self, group: cgroups.Group | None) -> None:
        self._group = group
        self._holder = -1  # the write end of pid 1's standard input
        self._bubblewrap = -1  # its pidfd
        self._inner: int | None = None  # the user namespace still to be joined
        self._command: list[str] | None = None

    def prepare(self, command: list[str]) -> None:
        """Start bubblewrap and join its namespaces. Raises _Failed or OSError."""
        first = self._start_bubblewrap(command)
        self._inner = _confine.join_namespaces(first)
        self._command = command

    def start(self, specification: dict[str, Any]) -> dict[str, Any]:
        """Make the sandbox; gives the layers that protect it. Raises _Failed or OSError."""
        limits = specification["limits"]
        if self._group:
            self._group.limit(
                limits["memory_bytes"] + limits["disk_bytes"] + _SPARE_MEMORY, 2 * limits["processes"] + _OWN_PROCESSES
            )
        layers: dict[str, Any] = {"cgroup": sorted(self._group.folders) if self._group else []}
        if specification["bubblewrap"]:
            if self._inner is None:
                self.prepare(specification["bubblewrap"])
            assert self._inner is not None and self._command == specification["bubblewrap"]
            _mount(specification, limits)
            _confine.join_user(self._inner)
            _confine.drop_capabilities()
            layers["landlock"] = _confine.restrict_writing(specification["writable"])
            if _FILTER:
                _confine.install_filter(_FILTER)
            layers["seccomp"] = bool(_FILTER)
        else:
            _confine.adopt_orphans()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries wardens
        return layers

    def _start_bubblewrap(self, command: list[str]) -> int:
        """The pid of the sandbox's first process, once its mounts stand."""
        stdin, self._holder = os.pipe()
        ready, stdout = os.pipe()
        trouble, stderr = os.pipe()
        news, info = os.pipe()
        os.set_inheritable(info, True)
        actions = [(os.POSIX_SPAWN_DUP2, there, here) for here, there in enumerate((stdin, stdout, stderr))]
        try:
            process = os.posix_spawn(
                command[0],
                [command[0], "--info-fd", str(info), *command[1:], "--", "/bin/sh", "-c", HOLDER],
                {"PATH": os.defpath},
                file_actions=actions,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD],
            )
        finally:
            for descriptor in (stdin, stdout, stderr, info):
                os.close(descriptor)
        self._bubblewrap = os.pidfd_open(process)
        waiting = select.poll()
        waiting.register(ready, select.POLLIN)
        if not waiting.poll(_START_SECONDS * 1000):
            raise _Failed(f"bubblewrap did not start in {_START_SECONDS:.0f} s: the machine may be overloaded")
        if os.read(ready, 1) != b"\n":
            raise _Failed(os.read(trouble, 4096).decode("utf-8", "replace").strip() or "bubblewrap ended at once")
        facts = json.loads(os.read(news, 65536))
        for descriptor in (ready, trouble, news):
            os.close(descriptor)
        return int(facts["child-pid"])

    def serve(self, control: socket.socket, specification: dict[str, Any]) -> None:
        """Answer requests until there is a reason to end. Raises ConnectionError once nobody listens."""
        deadline = time.monotonic() + specification["limits"]["lifetime_seconds"]
        owner = os.pidfd_open(specification["owner"])
        inside = self._bubblewrap >= 0
        poll = select.poll()
        for descriptor in (control.fileno(), owner, *([self._bubblewrap] if inside else [])):
            poll.register(descriptor, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _ in poll.poll(min(left, 60.0) * 1000 + 1)]
            if any(descriptor != control.fileno() for descriptor in ready):
                return
            if ready:
                request = _wire.receive(control)
                if request is None:
                    return
                if "ask" not in request[0]:
                    self._guard(*request, closing=[control.fileno(), owner])
                elif inside and select.select([self._bubblewrap], [], [], 0)[0]:
                    return  # it ended between the poll and the question
                else:
                    _wire.send(control, {"stands": True})

    def _guard(self, message: dict[str, Any], descriptors: list[int], *, closing: list[int]) -> None:
        """Fork a warden for a command."""
        if os.fork() == 0:
            try:
                for descriptor in (*closing, self._holder, self._bubblewrap):
                    if descriptor >= 0:
                        os.close(descriptor)
                inside = self._bubblewrap >= 0
                _warden.guard(message, descriptors, self._group, disks=["/tmp"] if inside else [], alone=inside)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)

    def stop(self) -> None:
        """End everything inside and wait until it is gone."""
        if self._holder >= 0:
            os.close(self._holder)
        if self._bubblewrap >= 0:
            waiting = select.poll()
            waiting.register(self._bubblewrap, select.POLLIN)
            waiting.poll(_STOP_SECONDS * 1000)
        else:
            _warden.end_children()


def _mount(specification: dict[str, Any], limits: dict[str, Any]) -> None:
    """Fill /etc, hide parts of /proc, make all read-only; then one bounded file system for what can be written.

    That is the working folder, /tmp and /dev/shm. What is mounted below those (an interpreter in /tmp, say) is set
    aside and put back.
    """
    for name, content in ETC.items():
        with open(f"/etc/{name}", "wb") as file:
            file.write(content)
    os.mkdir(_EMPTY)
    flags = _confine.NOSUID | _confine.NODEV
    base = "/dev/shm"
    for place in ("/", "/dev"):
        _confine.mount("", place, "", flags | _confine.REMOUNT | _confine.BIND | _confine.READ_ONLY)
    for names, source in ((MASKED_FILES, "/dev/null"), (MASKED_FOLDERS, _EMPTY)):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                _confine.mount(source, f"/proc/{name}", "", _confine.BIND)
    options = f"size={limits['disk_bytes']},nr_inodes={limits['files']},mode=755"
    _confine.mount("tmpfs", base, "tmpfs", flags, options)
    for number, path in enumerate(specification["kept"]):
        _like(path, f"{base}/kept-{number}")
        _confine.mount(path, f"{base}/kept-{number}", "", _confine.BIND | _confine.RECURSIVE)
    for name, target in (("home", specification["home"]), ("tmp", "/tmp"), ("shm", base)):
        os.mkdir(f"{base}/{name}")
        os.chmod(f"{base}/{name}", 0o755 if name == "home" else 0o1777)
        if name == "shm":
            for number, path in enumerate(specification["kept"]):
                _like(f"{base}/kept-{number}", path)
                _confine.mount(f"{base}/kept-{number}", path, "", _confine.BIND | _confine.RECURSIVE)
        _confine.mount(f"{base}/{name}", target, "", _confine.BIND)


def _like(path: str, target: str) -> None:
    """Make an empty folder or file, as `path` is, to mount on."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
