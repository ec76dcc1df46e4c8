"""The bubblewrap backend: rootless, on Linux; the default wherever it works.

What is inside: the system's programs and libraries and the Python interpreter, read-only; a private /proc and /dev; a
handful of files in /etc; one bounded file system for /box, /tmp and /dev/shm; no network; no other processes; nothing
of the home folder, of the environment, of /sys or of /run. Layers: user, mount, pid, network, ipc, uts and cgroup
namespaces, no capabilities, no new privileges, a seccomp filter, Landlock, resource limits, control groups where they
are writable.

Covered: everything in tests/sandbox/test_escape.py. Not covered: faults of the kernel itself, timing and cache side
channels, how much disk a writable mount takes, load on a processor within the time allowed.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence

from opencwm.sandbox import interpreter
from opencwm.sandbox.local import LocalSandbox
from opencwm.sandbox.protocol import InfraError, Limits, Mount

HOME = "/box"
INSTALL = (
    "install bubblewrap (Debian and Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap; "
    "Arch: pacman -S bubblewrap; Alpine: apk add bubblewrap)"
)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "ssl/certs")  # folders; the files are written by the keeper
_WRITABLE = (HOME, "/tmp", "/dev")


class BubblewrapSandbox(LocalSandbox):
    """A sandbox made by `bwrap`. Raises InfraError if it cannot be started."""

    name = "bubblewrap"
    home = HOME
    roots = ("/", ("box", "tmp", "dev/shm"))

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        mounts: Sequence[Mount] = (),
        network: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        limits = limits or Limits()
        self._settings = {"mounts": tuple(mounts), "network": network, "env": dict(env or {})}
        self.python = interpreter.executable()
        search = [os.path.dirname(self.python), "/usr/local/bin", "/usr/bin", "/bin"]
        environment = {
            "PATH": ":".join(dict.fromkeys(search)),
            "HOME": HOME,
            "TMPDIR": "/tmp",
            "LANG": "C.UTF-8",
            "USER": "sandbox",
            "PYTHONDONTWRITEBYTECODE": "1",
        } | dict(env or {})
        shown = [*interpreter.folders(), *(os.path.normpath(mount.inside) for mount in mounts)]
        self._kept = [path for path in shown if path.startswith(("/tmp/", "/dev/shm/", f"{HOME}/"))]
        specification = {
            "kept": self._kept,
            "bubblewrap": command(mounts, network=network),
            "home": HOME,
            "writable": [*_WRITABLE, *(mount.inside for mount in mounts if mount.writable)],
        }
        try:
            super().__init__(specification, limits, environment)
        except InfraError as error:
            raise InfraError(explain(str(error))) from error

    def _archive(self) -> Sequence[str]:
        """Without the places of mounts, which a twin has too, and may not write."""
        base, names = self.roots
        places = [f"--exclude={os.path.relpath(path, base)}" for path in self._kept]
        return ["tar", "-C", base, "--one-file-system", "--anchored", *places, "-cf", "-", "--", *names]

    def empty(self) -> BubblewrapSandbox:
        return BubblewrapSandbox(limits=self.limits, **self._settings)  # type: ignore[arg-type]


def find() -> str:
    """The path of bwrap. Raises InfraError."""
    if platform.system() != "Linux":
        raise InfraError(f"bubblewrap needs Linux, not {platform.system()}: use the container backend")
    found = shutil.which("bwrap")
    if found is None:
        raise InfraError(f"bwrap is not there: {INSTALL}")
    return found


def command(mounts: Sequence[Mount] = (), *, network: bool = False) -> list[str]:
    """The command line of bwrap up to the program to run. Raises InfraError if there is none.

    It makes the namespaces and the mounts that need this machine's files. The rest is the keeper's, who is faster at
    it: bwrap reads the whole mount table again for each.
    """
    words = [find(), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        words.append("--unshare-net")
    words += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", "--clearenv"]
    words += ["--uid", "1000", "--gid", "1000"]
    for folder in _SYSTEM:
        if os.path.islink(folder):
            words += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            words += ["--ro-bind", folder, folder]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    if network:
        words += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += ["--dir", "/tmp", "--dir", HOME]
    for folder in interpreter.folders():
        words += ["--ro-bind", folder, folder]
    for mount in mounts:
        bind = "--bind" if mount.writable else "--ro-bind"
        words += [bind, os.path.abspath(mount.host), os.path.normpath(mount.inside)]
    return [*words, "--chdir", "/"]


def explain(message: str) -> str:
    """What a failed start means and what to do about it."""
    if "namespace" in message or "uid map" in message or "setns user" in message:
        return (
            f"{message}. This kernel or container forbids user namespaces. Allow them "
            "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000, or on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0; in a container: --security-opt seccomp=unconfined), "
            "or use the container backend"
        )
    if "Resource temporarily unavailable" in message or "Cannot allocate memory" in message:
        return f"{message}. The machine or the user's limits are exhausted: open fewer sandboxes at once"
    return f"bubblewrap cannot start: {message}"
