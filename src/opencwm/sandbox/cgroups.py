"""Control groups, where this user may make them: exact bounds on memory and processes. Optional everywhere.

Version 1 (`memory`, `pids`, `cpuacct` hierarchies) and version 2 (one hierarchy that delegates `memory` and `pids`).
Without them the sandbox counts by itself, a little later and less exactly.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_PREFIX = "cwm-"


@dataclass
class Group:
    """One sandbox's groups: a folder per controller (`memory`, `pids`); both the same in version 2."""

    folders: dict[str, Path]
    version: int
    descriptors: dict[str, int] = field(default_factory=dict)

    def enter(self) -> None:
        """Move the calling process in. A group that cannot be entered is given up."""
        for name, folder in list(self.folders.items()):
            try:
                (folder / "cgroup.procs").write_text("0")
            except OSError:
                del self.folders[name]

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Set the bounds, and open what tells of kills, for a process that will no longer see the folders."""
        names = {1: ("memory.limit_in_bytes", "memory.oom_control"), 2: ("memory.max", "memory.events")}[self.version]
        if "memory" in self.folders:
            self._write("memory", names[0], memory_bytes)
            self._write(
                "memory",
                "memory.swap.max" if self.version == 2 else "memory.memsw.limit_in_bytes",
                0 if self.version == 2 else memory_bytes,
            )
            with contextlib.suppress(OSError):
                self.descriptors["kills"] = os.open(self.folders["memory"] / names[1], os.O_RDONLY | os.O_CLOEXEC)
        if "pids" in self.folders:
            self._write("pids", "pids.max", processes)

    def _write(self, controller: str, name: str, value: int) -> None:
        with contextlib.suppress(OSError):
            (self.folders[controller] / name).write_text(str(value))

    def kills(self) -> int:
        """Processes that the kernel has killed for want of memory in the group."""
        if "kills" not in self.descriptors:
            return 0
        text = os.pread(self.descriptors["kills"], 4096, 0).decode()
        return int(dict(line.split(None, 1) for line in text.splitlines()).get("oom_kill", 0))

    def remove(self) -> bool:
        """Whether all is gone; a group that still has a process stays."""
        for folder in set(self.folders.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return False
        return True


def places() -> tuple[int, dict[str, Path]]:
    """The version, and the folder per controller below which this user can make groups; empty where none."""
    found: dict[str, Path] = {}
    for controller in ("memory", "pids"):
        folder = ROOT / controller
        if os.access(folder / "cgroup.procs", os.W_OK) and _can_make(folder, controller):
            found[controller] = folder
    if found:
        return 1, found
    try:
        own = Path("/proc/self/cgroup").read_text().split("0::", 1)[1].split("\n", 1)[0].lstrip("/")
        folder = ROOT / own
        allowed = (folder / "cgroup.subtree_control").read_text().split()
    except (OSError, IndexError):
        return 0, {}
    for controller in ("memory", "pids"):
        if controller in allowed and _can_make(folder, controller):
            found[controller] = folder
    return (2, found) if found else (0, {})


def _can_make(folder: Path, controller: str) -> bool:
    """Whether a group made here has the controller's limit."""
    trial = folder / f"{_PREFIX}{os.getpid()}-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        names = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max",)}[controller]
        return any((trial / name).exists() for name in names)
    finally:
        trial.rmdir()


class Grouping:
    """Makes groups for one launcher, and removes them once they are empty."""

    def __init__(self) -> None:
        self._version, self._places = places()
        self._count = 0
        self._leaving: list[Group] = []
        self._remove_orphans()

    def make(self) -> Group | None:
        """A group, or None where there can be none."""
        if not self._places:
            return None
        self._count += 1
        group = Group({}, self._version)
        for controller, place in self._places.items():
            folder = place / f"{_PREFIX}{os.getpid()}-{self._count}"
            try:
                folder.mkdir(exist_ok=True)
                group.folders[controller] = folder
            except OSError:
                pass
        return group if group.folders else None

    def leave(self, group: Group) -> None:
        """The group's keeper has ended."""
        self._leaving.append(group)

    def sweep(self) -> None:
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
            for folder in place.glob(f"{_PREFIX}*"):
                owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
                if owner.isdigit() and not Path("/proc", owner).exists():
                    with contextlib.suppress(OSError):
                        folder.rmdir()
