"""Control groups, where this user may make them: exact bounds on memory and processes. Optional everywhere.

Version 1 (the `memory` and `pids` hierarchies) and version 2 (one hierarchy that delegates both). Without them the
sandbox counts by itself, a little later and less exactly. Few imports: the launcher loads this, and it should be small.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time

ROOT = "/sys/fs/cgroup"

_PREFIX = "cwm-"
_CONTROLLERS = ("memory", "pids")
_MEMORY = {1: ("memory.limit_in_bytes", "memory.oom_control"), 2: ("memory.max", "memory.events")}


class Group:
    """One sandbox's groups: a folder per controller, the same for both in version 2."""

    def __init__(self, folders: dict[str, str], version: int) -> None:
        self.folders = folders
        self._version = version
        self._kills = -1

    def enter(self) -> None:
        """Move the calling process in. A group that cannot be entered is given up."""
        for name, folder in list(self.folders.items()):
            try:
                _write(folder, "cgroup.procs", 0)
            except OSError:
                del self.folders[name]

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Set the bounds, and open what tells of kills, for a process that will no longer see the folders."""
        with contextlib.suppress(OSError, KeyError):
            _write(self.folders["pids"], "pids.max", processes)
        with contextlib.suppress(OSError, KeyError):
            folder = self.folders["memory"]
            bound, kills = _MEMORY[self._version]
            _write(folder, bound, memory_bytes)
            self._kills = os.open(f"{folder}/{kills}", os.O_RDONLY | os.O_CLOEXEC)
            if self._version == 1:
                _write(folder, "memory.memsw.limit_in_bytes", memory_bytes)
            else:
                _write(folder, "memory.swap.max", 0)

    def kills(self) -> int:
        """Processes that the kernel has killed for want of memory in the group."""
        if self._kills < 0:
            return 0
        text = os.pread(self._kills, 4096, 0).decode()
        return int(dict(line.split(None, 1) for line in text.splitlines()).get("oom_kill", 0))

    def remove(self) -> bool:
        """Whether all is gone; a group that still has a process stays."""
        for folder in set(self.folders.values()):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                return False
        return True


def places() -> tuple[int, dict[str, str]]:
    """The version, and the folder per controller below which this user can make groups; empty where none."""
    found = {name: f"{ROOT}/{name}" for name in _CONTROLLERS if _can_make(f"{ROOT}/{name}", name)}
    if found:
        return 1, found
    try:
        with open("/proc/self/cgroup") as file:
            own = file.read().split("0::", 1)[1].split("\n", 1)[0]
        folder = ROOT + own.rstrip("/")
        with open(f"{folder}/cgroup.subtree_control") as file:
            allowed = file.read().split()
    except (OSError, IndexError):
        return 0, {}
    found = {name: folder for name in _CONTROLLERS if name in allowed and _can_make(folder, name)}
    return (2, found) if found else (0, {})


def _can_make(folder: str, controller: str) -> bool:
    """Whether a group made here has the controller's limit."""
    trial = f"{folder}/{_PREFIX}{os.getpid()}-trial"
    try:
        os.mkdir(trial)
    except OSError:
        return False
    try:
        names = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max",)}[controller]
        return any(os.path.exists(f"{trial}/{name}") for name in names)
    finally:
        os.rmdir(trial)


class Grouping:
    """Makes groups for one launcher, and removes them once they are empty."""

    def __init__(self) -> None:
        self._version, self._places = places()
        self._count = 0
        self._leaving: list[Group] = []
        self._remove_orphans()

    def make(self) -> Group | None:
        """A group, or None where there can be none."""
        self._count += 1
        group = Group({}, self._version)
        for controller, place in self._places.items():
            folder = f"{place}/{_PREFIX}{os.getpid()}-{self._count}"
            with contextlib.suppress(OSError):
                if folder not in group.folders.values():
                    os.mkdir(folder)
                group.folders[controller] = folder
        return group if group.folders else None

    def leave(self, group: Group) -> None:
        """The group's keeper has ended."""
        self._leaving.append(group)

    def sweep(self) -> None:
        """Remove the groups that are empty by now."""
        self._leaving = [group for group in self._leaving if not group.remove()]

    def close(self, groups: list[Group]) -> None:
        """Remove all, waiting shortly for what is just dying."""
        self._leaving += groups
        for _ in range(100):
            self.sweep()
            if not self._leaving:
                break
            time.sleep(0.02)

    def _remove_orphans(self) -> None:
        """Groups of launchers that were killed and could not clear up."""
        for place in set(self._places.values()):
            for folder in glob.glob(f"{place}/{_PREFIX}*"):
                owner = os.path.basename(folder).removeprefix(_PREFIX).partition("-")[0]
                if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)


def _write(folder: str, name: str, value: int) -> None:
    with open(f"{folder}/{name}", "w") as file:
        file.write(str(value))
