"""The system-call filter: a classic BPF program, assembled here, so that nothing need be installed for it.

It denies what sandboxed code has no business with: other processes' memory, new namespaces and mounts, keyrings, kernel
modules, clocks, typing into a terminal, odd socket families, foreign system-call tables. Everything else passes; the
namespaces around it do the rest. Numbers are those of the kernel's tables for x86-64 and aarch64; elsewhere there is no
filter, and `cwm sandbox doctor` says so.
"""

from __future__ import annotations

import errno
import platform
import struct

# name: (x86-64, aarch64), -1 where the architecture has no such call
_DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
    "ustat": (136, -1),
    "sysfs": (139, -1),
    "create_module": (174, -1),
    "_sysctl": (156, -1),
}
# Answered as a kernel without them would, so that libraries fall back: clone3 hides its flags behind a pointer.
_ABSENT = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
_CLONE, _SOCKET, _IOCTL, _PERSONALITY = (56, 220), (41, 198), (16, 29), (135, 92)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_NEW_NAMESPACES = 0x02000000 | 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_FAMILIES = (1, 2, 10, 16)  # unix, IPv4, IPv6, netlink
_TERMINAL = (0x5412, 0x541C, 0x541D)  # TIOCSTI types into a terminal, TIOCLINUX pastes, TIOCCONS takes the console
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16


def supported(machine: str | None = None) -> bool:
    """Whether there is a filter for this architecture."""
    return (machine or platform.machine()) in _ARCHITECTURES


def program(machine: str | None = None) -> bytes:
    """The filter as an array of `struct sock_filter`; empty for an architecture that has none."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return b""
    column, arch = _ARCHITECTURES[machine]
    steps: list[tuple[int, int, int, int]] = []  # code, jump if true, jump if false, value

    def refuse(code: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, _ERRNO | code)

    steps += [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), refuse(errno.ENOSYS), (_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), refuse(errno.ENOSYS)]
    for calls, code in ((_DENIED, errno.EPERM), (_ABSENT, errno.ENOSYS)):
        for numbers in calls.values():
            if numbers[column] >= 0:
                steps += [(_EQUAL, 0, 1, numbers[column]), refuse(code)]
    # Four calls are judged by an argument; only its lower half matters (the kernel takes it as 32 bits).
    steps += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _ARGUMENT), (_ANY_BIT, 0, 1, _NEW_NAMESPACES)]
    steps += [refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, len(_FAMILIES) + 3, _SOCKET[column]), (_LOAD, 0, 0, _ARGUMENT)]
    steps += [(_EQUAL, len(_FAMILIES) - place, 0, family) for place, family in enumerate(_FAMILIES)]
    steps += [refuse(errno.EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, len(_TERMINAL) + 3, _IOCTL[column]), (_LOAD, 0, 0, _ARGUMENT + 8)]
    steps += [(_EQUAL, len(_TERMINAL) - place, 0, request) for place, request in enumerate(_TERMINAL)]
    steps += [(_RETURN, 0, 0, _ALLOW), refuse(errno.EPERM)]
    steps += [(_EQUAL, 0, 4, _PERSONALITY[column]), (_LOAD, 0, 0, _ARGUMENT)]
    steps += [(_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, 0xFFFFFFFF), refuse(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
