"""What a process does to itself so that it can do less: namespaces, capabilities, Landlock, seccomp, by system calls.

Only Linux; everything here acts on the calling process and cannot be undone by it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterable

SET_DUMPABLE, SET_SECCOMP, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 4, 22, 24, 36, 38
READ_ONLY, NOSUID, NODEV, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 32, 4096, 16384

_PDEATHSIG = 1
_SECCOMP_FILTER = 2
_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 47, 4
_GET_USERNS = 0xB701
# The same on every architecture: the newer system calls share their numbers.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def prctl(option: int, *arguments: int) -> None:
    """prctl(2). Raises OSError."""
    _check(_libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4]), "prctl")


def hide_memory() -> None:
    """Nobody of the same user may look into this process's memory or descriptors, until it runs another program."""
    prctl(SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Descendants whose parent dies become this process's children."""
    prctl(SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal: int) -> None:
    """This process gets the signal when its parent ends."""
    prctl(_PDEATHSIG, signal)


def join_namespaces(pid: int) -> int:
    """Enter the namespaces of a process that this user made, as far as they belong to one user namespace.

    The mount namespace says which that is: there we have the rights to join the others, and to mount. Children, not
    this process, enter the pid namespace. The process itself may live in a further user namespace below: what is
    returned is for `join_user`, after which those rights are gone.
    """
    places = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in (*_SPACES, "user")}
    owner = fcntl.ioctl(places["mnt"], _GET_USERNS)
    try:
        _check(_libc.setns(owner, 0), "setns user")
        for name in _SPACES:
            if os.stat(places[name]).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:  # else it is shared with us
                _check(_libc.setns(places[name], 0), f"setns {name}")
        return -1 if os.path.sameopenfile(places["user"], owner) else os.dup(places["user"])
    finally:
        for descriptor in (*places.values(), owner):
            os.close(descriptor)


def join_user(inner: int) -> None:
    """Enter the user namespace that `join_namespaces` has left out."""
    if inner >= 0:
        _check(_libc.setns(inner, 0), "setns user")
        os.close(inner)


_SPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()),
        f"mount {target}",
    )


def drop_capabilities() -> None:
    """No capability is left in any set, and no program that is run can gain one."""
    for number in range(64):
        try:
            prctl(CAPBSET_DROP, number)
        except OSError:
            break
    with contextlib.suppress(OSError):
        prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=II", 0x20080522, 0)
    _check(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))), "capset")
    prctl(SET_NO_NEW_PRIVS, 1)


def install_filter(program: bytes) -> None:
    """Load a seccomp filter (an array of `struct sock_filter`); children inherit it. Raises OSError."""
    prctl(SET_NO_NEW_PRIVS, 1)
    steps = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack(
        "HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", len(program) // 8, ctypes.addressof(steps)
    )
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    prctl(SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(buffer))


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where it has none."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1)))


# Rights by the version that brought them. Reading and running stay free: the mounts already say what can be seen.
_WRITE_RIGHTS = {1: 0b1_1111_1111_0010, 2: 1 << 13, 3: 1 << 14}
_FILE_RIGHTS = (1 << 1) | (1 << 14)
_SCOPES = 0b11  # abstract unix sockets and signals stay inside, version 6


def restrict_writing(writable: Iterable[str]) -> int:
    """Landlock: files change below the paths `writable` alone, and signals and abstract sockets stay inside.

    Gives the kernel's version; 0 where nothing was restricted: version 1 would forbid renames between folders, so it is
    not used. Raises OSError.
    """
    abi = landlock_abi()
    if abi < 2:
        return 0
    rights = sum(bits for version, bits in _WRITE_RIGHTS.items() if version <= abi)
    # The second field is about TCP; without a network there is only the sandbox's own loopback, which may be used.
    attributes = struct.pack("=QQQ", rights, 0, _SCOPES)[: 24 if abi >= 6 else 8]
    rules = _check(_libc.syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), len(attributes), 0), "landlock")
    try:
        for path in writable:
            try:
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            allowed = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
            rule = struct.pack("=Qi", allowed, place)
            try:
                _check(_libc.syscall(_LANDLOCK_ADD, rules, 1, ctypes.c_char_p(rule), 0), "landlock rule")
            finally:
                os.close(place)
        prctl(SET_NO_NEW_PRIVS, 1)
        _check(_libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "landlock restrict")
    finally:
        os.close(rules)
    return abi


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return int(result)
