"""Ways out, each tried from inside, each with the backend's answer.

An attack prints what it has got hold of; every attack here would print something without the sandbox, or its effect would
be seen from outside.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.sandbox import Finished, LimitReached, open_sandbox

from .conftest import QUICK, WALLED, bubblewrap_or_skip

TRY = "def attempt(name, f):\n    try:\n        print(name, f())\n    except OSError as e:\n        print(name, type(e).__name__)\n"


def attack(box, source, *, limits=QUICK, **options):
    result = box.exec([box.python, "-c", TRY + source], limits=limits, **options)
    assert isinstance(result, Finished) and result.exit_code == 0, result
    return result.stdout.decode()


def raw(call, *arguments):
    """Python source that makes a system call by its x86-64 number, and prints its errno (0: it was allowed)."""
    numbers = ", ".join(map(str, (call, *arguments)))
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print('errno', ctypes.get_errno() if libc.syscall({numbers}) < 0 else 0)\n"
    )


@pytest.fixture(params=WALLED)
def box(request):
    """One sandbox per backend that keeps strangers in."""
    if request.param == "bubblewrap":
        bubblewrap_or_skip()
    with open_sandbox(request.param, limits=QUICK) as sandbox:
        yield sandbox


# What a container shows of its engine, its image and its files differs; what matters holds for the others.
only_bubblewrap = pytest.mark.parametrize("box", ["bubblewrap"], indirect=True)
x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="raw system calls are written for x86-64")


@pytest.fixture
def server():
    """A listener on this machine, which nothing inside may reach; gives its port, and fails if it was reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


# Network


def test_network(box, server):
    seen = attack(
        box,
        "import socket\n"
        f"attempt('local', lambda: socket.create_connection(('127.0.0.1', {server}), 2))\n"
        "attempt('far', lambda: socket.create_connection(('1.1.1.1', 53), 2))\n"
        "attempt('far 6', lambda: socket.create_connection(('2606:4700:4700::1111', 53), 2))\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "attempt('udp', lambda: u.sendto(b'x', ('1.1.1.1', 53)))\n"
        "attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))\n"
        "attempt('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))\n"
        "attempt('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))\n"
        "attempt('alg', lambda: socket.socket(38, socket.SOCK_SEQPACKET))\n"
        "print(sorted(n for _, n in socket.if_nameindex()))\n",
    )
    *answers, interfaces = seen.splitlines()
    assert all(line.endswith(("Error", "error")) for line in answers) and len(answers) == 8
    assert interfaces == "['lo']"


@only_bubblewrap
def test_dns(box):
    seen = attack(
        box,
        "import socket\n"
        "attempt('name', lambda: socket.gethostbyname('example.com'))\n"
        "attempt('resolver', lambda: open('/etc/resolv.conf').read())\n"
        "print(socket.gethostname())",
    )
    assert seen.splitlines() == ["name gaierror", "resolver FileNotFoundError", "sandbox"]


def test_network_only_when_allowed(bubblewrap):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = (
            f"import socket; print(socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 5) and 'in')"
        )
        with open_sandbox("bubblewrap", network=True, limits=QUICK) as box:
            assert attack(box, source) == "in\n"


# Files


@only_bubblewrap
def test_host_files(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("TOP")
    seen = attack(
        box,
        f"attempt('file', lambda: open({str(secret)!r}).read())\n"
        "import os\n"
        "for p in ('/etc/shadow', '/etc/ssh', '/var', '/run', '/sys', '/boot', '/mnt', '/srv', '/opt', '/proc/1/root' + '/etc/shadow'):\n"
        "    if os.path.exists(p) and os.access(p, os.R_OK): print('sees', p, sorted(os.listdir(p)))\n"
        "print(sorted(set(os.listdir('/')) - {'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'usr', 'etc', 'proc', 'dev', 'tmp', 'box'}))",
    )
    lines = seen.splitlines()
    assert lines[0] == "file FileNotFoundError"
    # What is left at the top are only the folders in which the interpreter lies, and there only the way to it.
    homes = [Path(sys.prefix).parts, Path(sys.base_prefix).parts]
    roots = {parts[1] for parts in homes}
    ways = [
        f"sees /{root} {sorted({parts[2] for parts in homes if parts[1] == root and len(parts) > 2})}" for root in roots
    ]
    assert [line for line in lines[1:-1] if not line.endswith(" []") and line not in ways] == []
    assert set(eval(lines[-1])) <= roots


@only_bubblewrap
def test_home(box):
    home = Path.home()
    seen = attack(
        box,
        f"import os\nprint(os.environ['HOME'], sorted(os.listdir({str(home)!r})) if os.path.isdir({str(home)!r}) else [])",
    )
    inside, listing = seen.split(" ", 1)
    assert inside == "/box"
    # Only what leads to the interpreter, if it lies there.
    allowed = {
        Path(p).relative_to(home).parts[0] for p in (sys.prefix, sys.base_prefix) if Path(p).is_relative_to(home)
    }
    assert set(eval(listing)) <= allowed


def test_environment_secrets(bubblewrap, monkeypatch):
    monkeypatch.setenv("API_KEY", "TOP-SECRET")
    with open_sandbox("bubblewrap", env={"GIVEN": "yes"}, limits=QUICK) as box:
        seen = attack(
            box,
            "import os, glob\nprint(sorted(os.environ))\n"
            "for p in glob.glob('/proc/[0-9]*/environ'):\n"
            "    try: print(b'TOP-SECRET' in open(p, 'rb').read())\n"
            "    except OSError: pass",
        )
    assert "GIVEN" in seen and "API_KEY" not in seen and "True" not in seen


def test_the_system_cannot_be_written(box):
    seen = attack(
        box,
        "import os\n"
        "for p in ('/', '/usr', '/usr/bin', '/etc', '/dev', '/proc', '/bin', '/lib', '/proc/sys'):\n"
        "    attempt(p, lambda: open(os.path.join(p, 'x'), 'w'))\n"
        "for p in ('/etc/passwd', '/usr/bin/env', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger'):\n"
        "    attempt(p, lambda: open(p, 'a'))\n"
        "attempt('mkdir', lambda: os.mkdir('/x'))\n"
        "attempt('unlink', lambda: os.unlink('/etc/passwd'))\n"
        "attempt('rename', lambda: os.rename('/etc', '/etc2'))\n"
        "attempt('chmod', lambda: os.chmod('/usr/bin/env', 0o777))\n"
        "attempt('chown', lambda: os.chown('/tmp', 0, 0))\n"
        "attempt('mknod', lambda: os.mknod('/tmp/d', 0o60666, os.makedev(8, 0)))\n",
    )
    assert len(seen.splitlines()) == 19
    assert all(line.endswith(("PermissionError", "OSError", "FileNotFoundError")) for line in seen.splitlines()), seen


def test_symlink_tricks(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("TOP")
    box.exec(["ln", "-s", str(secret), "link"])
    box.exec(["ln", "-s", "/etc/shadow", "shadow"])
    box.exec(["ln", "-s", str(tmp_path), "folder"])
    for path in ("link", "shadow", "folder/secret", "../../../../" + str(secret)):
        with pytest.raises((FileNotFoundError, PermissionError)):
            box.read(path)
    with pytest.raises(OSError):
        box.write("folder/new", b"x")
    snapshot = box.snapshot()
    assert b"TOP" not in snapshot.read()
    assert os.listdir(tmp_path) == ["secret"]


def test_hardlink_tricks(bubblewrap, tmp_path):
    from opencwm.sandbox import Mount

    (tmp_path / "in").mkdir()
    (tmp_path / "in/f").write_text("data")
    (tmp_path / "out").mkdir()
    mounts = [Mount(tmp_path / "in", "/in"), Mount(tmp_path / "out", "/out", writable=True)]
    with open_sandbox("bubblewrap", mounts=mounts, limits=QUICK) as box:
        seen = attack(
            box,
            "import os\n"
            "for a, b in (('/in/f', '/out/f'), ('/etc/passwd', '/tmp/p'), ('/usr/bin/env', '/out/env'), ('/in/f', '/box/f')):\n"
            "    attempt(a, lambda: os.link(a, b))\n",
        )
    assert seen.count("OSError") + seen.count("PermissionError") == 4
    assert os.listdir(tmp_path / "out") == []


def test_site_packages(box):
    seen = attack(
        box,
        "import os, sys, sysconfig, json\n"
        "for p in {sysconfig.get_path('purelib'), sysconfig.get_path('stdlib'), os.path.dirname(sys.executable), sys.prefix, os.path.dirname(json.__file__)}:\n"
        "    attempt('new', lambda: open(os.path.join(p, 'sitecustomize.py'), 'w'))\n"
        "attempt('old', lambda: open(json.__file__, 'a'))\n"
        "attempt('unlink', lambda: os.unlink(json.__file__))\n"
        "attempt('python', lambda: open(os.path.realpath(sys.executable), 'r+b'))\n",
    )
    assert all(line.endswith(("OSError", "PermissionError")) for line in seen.splitlines()) and seen.count("\n") >= 6


def test_ld_preload(box):
    """A library of one's own is loaded into one's own processes, and into none of ours."""
    shared = Path("/usr/lib")
    box.write("evil.so", next(shared.rglob("libm.so.6")).read_bytes())
    box.exec(["sh", "-c", "echo /box/evil.so > /etc/ld.so.preload"])
    with pytest.raises(FileNotFoundError):
        box.read("/etc/ld.so.preload")
    assert box.exec(["true"], env={"LD_PRELOAD": "/box/evil.so"}).ok
    maps = b"".join(Path(f"/proc/{pid}/maps").read_bytes() for pid in ours())
    assert b"evil.so" not in maps


# Processes


def ours():
    """This process and the sandbox's helpers outside: launcher and keepers."""
    found, pids = [os.getpid()], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pids[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    ahead = [os.getpid()]
    while ahead:
        parent = ahead.pop()
        children = [pid for pid, above in pids.items() if above == parent]
        found += [pid for pid in children if b"_launcher" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        ahead += children
    return found


@only_bubblewrap
def test_other_processes_cannot_be_seen(box):
    other = subprocess.Popen(["sleep", "60"])
    try:
        seen = attack(
            box,
            "import os, glob\n"
            "names = [open(p).read().split(chr(0))[0] for p in glob.glob('/proc/[0-9]*/cmdline')]\n"
            "print(len(names), [n for n in names if 'sleep' in n or 'pytest' in n])\n"
            f"attempt('kill', lambda: os.kill({other.pid}, 9))\n"
            f"attempt('host', lambda: os.kill({os.getpid()}, 0))",
        )
        lines = seen.splitlines()
        assert int(lines[0].split()[0]) <= 4 and lines[0].endswith("[]")
        assert all(line.endswith("ProcessLookupError") for line in lines[1:])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_signals_to_the_parent(box):
    """pid 1 does not mind; the warden may be killed, and then the command ends with it."""
    assert box.exec(["sh", "-c", "kill -9 1; kill -TERM 1; kill -STOP 1; sleep 0.1; echo still"]).stdout == b"still\n"
    result = box.exec(["sh", "-c", "kill -9 $PPID; sleep 30"])
    assert isinstance(result, Finished) and result.signal == signal.SIGKILL


def test_a_stopped_warden_does_not_stop_the_clock(box):
    started = time.monotonic()
    result = box.exec(["sh", "-c", "kill -STOP $PPID; sleep 60"], limits=replace(QUICK, wall_seconds=0.5))
    assert isinstance(result, LimitReached) and result.which == "wall"
    assert time.monotonic() - started < 15


def test_fork_bomb(box):
    for script in (":(){ :|:& };:; sleep 30", "while :; do sh -c 'sleep 30' & done"):
        with open_sandbox(box.name, limits=replace(QUICK, processes=20)) as own:
            result = own.exec(["bash", "-c", script], limits=replace(QUICK, processes=20))
            # The system refuses the 57th process, but bash tries again for longer than it takes to count them.
            assert isinstance(result, LimitReached) and result.which == "processes", result
            # Nothing of it is left, not even dead. (`usage.processes` of a bomb is no count: it changes while we look.)
            left = own.exec(["sh", "-c", "ls /proc | grep -c '^[0-9]'"])
            assert left.ok and int(left.stdout) <= 8, left
    assert box.exec(["true"]).ok


def test_thread_bomb(box):
    source = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(30,), daemon=True).start()"
    result = box.exec([box.python, "-c", source], limits=replace(QUICK, processes=20))
    # Whichever comes first: we count them, or the system refuses the next.
    refused = isinstance(result, Finished) and b"can't start new thread" in result.stderr
    assert refused or (isinstance(result, LimitReached) and result.which == "processes")


def test_memory_bomb(box):
    source = "x = []\nwhile True: x.append(b'x' * (10 << 20))"
    result = box.exec([box.python, "-c", source], limits=replace(QUICK, memory_bytes=64 << 20))
    assert isinstance(result, LimitReached) and result.which == "memory"
    assert result.usage.memory_bytes < 400 << 20


def test_memory_in_files(box):
    """Files live in memory: they are bounded by the disk limit, wherever they are put."""
    script = "for f in /tmp/a /box/b /dev/shm/c; do head -c 60000000 /dev/zero > $f; done; du -sm /tmp/a /box/b /dev/shm/c | cut -f 1"
    result = box.exec(["sh", "-c", script + "; exit 1"])
    assert isinstance(result, LimitReached) and result.which == "disk"
    assert sum(map(int, result.stdout.split())) <= 34


@only_bubblewrap
def test_inode_flood(box):
    source = "import os\nn = 0\ntry:\n    while True: open(f'/tmp/{n}', 'w').close(); n += 1\nexcept OSError as e: print(n, e.errno)"
    count, number = map(int, attack(box, source).split())
    assert count < 2000 and number == 28


def test_output_flood(box):
    result = box.exec(["sh", "-c", "yes & yes >&2 & cat /dev/zero"], limits=replace(QUICK, output_bytes=1 << 20))
    assert isinstance(result, LimitReached) and result.which == "output"
    assert len(result.stdout) + len(result.stderr) == 1 << 20


def test_double_fork_and_time_bombs(box, tmp_path):
    """Nothing that a command leaves behind runs on, nor does anything of a sandbox after it is closed."""
    script = "(setsid sh -c 'sleep 0.4; echo x > /tmp/late' &) ; (trap '' TERM HUP; sleep 0.4; echo x > /tmp/later) & nohup sh -c 'sleep 0.4; echo x > /tmp/last' &"
    before = box.list("/tmp")  # nothing, but for an interpreter that lives there
    assert box.exec(["sh", "-c", script]).ok
    time.sleep(0.8)
    assert box.list("/tmp") == before
    assert not box.exec(["sh", "-c", "echo 'touch /tmp/x' | at now || crontab -l || systemctl list-units"]).ok
    marker = f"sleep 61.{os.getpid()}"
    own = open_sandbox(box.name, limits=QUICK)
    own.spawn(["sh", "-c", marker])
    own.close()
    assert marker.split()[1].encode() not in b"".join(commands())


def commands():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield (entry / "cmdline").read_bytes()


# The kernel's other doors


@only_bubblewrap
def test_proc_and_sys(box):
    seen = attack(
        box,
        "import os, glob\n"
        "for p in ('kcore', 'kallsyms', 'keys', 'kmsg', 'timer_list', 'interrupts', 'sched_debug', 'config.gz', 'kpageflags'):\n"
        "    try: print(p, open('/proc/' + p, 'rb').read(10))\n"
        "    except OSError: pass\n"
        "print(os.path.exists('/sys/kernel'), os.path.exists('/proc/acpi/wakeup'))\n"
        "written = []\n"
        "for root, _, names in os.walk('/proc/sys'):\n"
        "    for n in names:\n"
        "        p = os.path.join(root, n)\n"
        "        try: os.close(os.open(p, os.O_WRONLY)); written.append(p)\n"
        "        except OSError: pass\n"
        "print(written)\n"
        "try: open('/proc/1/mem', 'rb'); print('mem')\n"
        "except OSError: pass\n",
    )
    lines = seen.splitlines()
    assert all(line.endswith(" b''") for line in lines[:-2]), seen
    assert lines[-2:] == ["False False", "[]"]


@x86
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("ptrace", (101, 0, 0, 0, 0)),
        ("process_vm_readv", (310, 1, 0, 0, 0, 0, 0)),
        ("keyctl", (250, 0, -3, 0)),
        ("add_key", (248, 0, 0, 0, 0, 0)),
        ("request_key", (249, 0, 0, 0, 0)),
        ("mount", (165, 0, 0, 0, 0, 0)),
        ("unshare a user namespace", (272, 0x10000000)),
        ("unshare mounts", (272, 0x20000)),
        ("setns", (308, 0, 0)),
        ("pivot_root", (155, 0, 0)),
        ("open_by_handle_at", (304, 0, 0, 0)),
        ("bpf", (321, 0, 0, 0)),
        ("perf_event_open", (298, 0, 0, -1, -1, 0)),
        ("userfaultfd", (323, 0)),
        ("kexec_load", (246, 0, 0, 0, 0)),
        ("init_module", (175, 0, 0, 0)),
        ("reboot", (169, 0xFEE1DEAD, 672274793, 0, 0)),
        ("settimeofday", (164, 0, 0)),
        ("swapon", (167, 0, 0)),
        ("personality without address randomisation", (135, 0x40000)),
        ("clone into a user namespace", (56, 0x10000000 | 17, 0, 0, 0, 0)),
    ],
)
def test_system_calls_that_are_refused(box, name, call):
    assert attack(box, raw(*call)) == "errno 1\n"


@x86
@pytest.mark.parametrize(
    ("name", "call"), [("io_uring_setup", (425, 8, 0)), ("clone3", (435, 0, 0)), ("x32", (0x40000000 + 39,))]
)
def test_system_calls_that_seem_absent(box, name, call):
    assert attack(box, raw(*call)) == "errno 38\n"


@x86
def test_the_32_bit_table_is_closed(box):
    """`int 0x80` reaches the system calls of 32-bit programs, whose numbers mean something else."""
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid of that table); int 0x80; ret
    source = (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        f"m.write({code!r})\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "print(f())\n"
    )
    result = box.exec([box.python, "-c", source])
    assert result.stdout == b"-38\n" or result.signal == signal.SIGSEGV  # refused, or the kernel has no such table


def test_setuid(bubblewrap, tmp_path):
    from opencwm.sandbox import Mount

    shell = tmp_path / "id"
    shell.write_bytes(Path("/usr/bin/id").read_bytes())
    shell.chmod(0o6755)
    with open_sandbox("bubblewrap", mounts=[Mount(tmp_path, "/m")], limits=QUICK) as box:
        assert box.exec(["/m/id", "-u"]).stdout == b"1000\n"
        seen = attack(
            box,
            "import os\n"
            "attempt('setuid', lambda: os.setuid(0))\n"
            "attempt('setgid', lambda: os.setgid(0))\n"
            "attempt('groups', lambda: os.setgroups([0]))\n"
            "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')], [l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')])\n"
            "import subprocess, shutil\n"
            "for p in ('sudo', 'su', 'mount', 'passwd', 'newgrp'):\n"
            "    if shutil.which(p) and subprocess.run([p, 'root'], stdin=-3, capture_output=True).returncode == 0: print(p)\n",
        )
    lines = seen.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["OSError", "OSError", "PermissionError"]
    assert lines[3:] == [f"{['0' * 16] * 5} ['1']"]


@x86
def test_keyring(box):
    """A key of this session cannot be seen inside."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(248, b"user", b"cwm-test", b"TOP", 3, -4)
    seen = attack(
        box, raw(250, 10, -4, "b'user'", "b'cwm-test'", 0) + "attempt('list', lambda: open('/proc/keys').read())"
    )
    assert seen == "errno 1\nlist \n"
    if key >= 0:
        libc.syscall(250, 21, key, -4)


def test_unix_sockets(box, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        seen = attack(
            box,
            "import socket\n"
            f"attempt('path', lambda: socket.socket(socket.AF_UNIX).connect({path!r}))\n"
            "for p in ('/run/docker.sock', '/var/run/docker.sock', '/run/dbus/system_bus_socket', '/run/systemd/private'):\n"
            "    attempt(p, lambda: socket.socket(socket.AF_UNIX).connect(p))",
        )
    assert all(line.endswith("FileNotFoundError") for line in seen.splitlines()) and seen.count("\n") == 5


def test_abstract_sockets(box):
    name = f"\0cwm-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        seen = attack(
            box,
            f"import socket\nattempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect({name!r}))\n"
            "print(open('/proc/net/unix').read().count('@'))",
        )
    assert seen in ("abstract ConnectionRefusedError\n0\n", "abstract PermissionError\n0\n")


AT_A_TERMINAL = """
import os, pty, sys
from opencwm.sandbox import open_sandbox
source = '''
import fcntl, os
for fd in (0, 1, 2):
    try: fcntl.ioctl(fd, 0x5412, b"x"); print("typed")
    except OSError: pass
try: fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), 0x5412, b"x"); print("typed")
except OSError: pass
m, s = os.openpty()
try: fcntl.ioctl(s, 0x5412, b"x"); print("typed")
except OSError as e: print("refused", e.errno)
'''
child, terminal = pty.fork()
if child == 0:
    with open_sandbox("bubblewrap") as box:
        os._exit(box.exec([box.python, "-c", source]).stdout != b"refused 1\\n")
try:
    while os.read(terminal, 1000): pass
except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_terminal_injection(bubblewrap):
    """A sandbox that is opened at a terminal cannot type into it."""
    done = subprocess.run([sys.executable, "-c", AT_A_TERMINAL], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_messages_between_sandboxes(box):
    """Two sandboxes share no memory, no queue, no file and no network."""
    with open_sandbox(box.name, limits=QUICK) as other:
        source = "import socket, time, os\nopen('/dev/shm/x', 'w'); s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'a'); s.listen(); t = socket.create_server(('127.0.0.1', 5555)); print('up', flush=True); time.sleep(20)"
        with other.spawn([other.python, "-c", source]) as process:
            while not (pieces := process.receive(10)):
                pass
            assert pieces == [("stdout", b"up\n")]
            seen = attack(
                box,
                "import socket, os\nprint(os.listdir('/dev/shm'))\n"
                "attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + 'a'))\n"
                "attempt('tcp', lambda: socket.create_connection(('127.0.0.1', 5555), 2))",
            )
    assert seen.splitlines()[0] == "[]" and "None" not in seen


def test_concurrent_attacks_do_not_disturb_others(bubblewrap):
    results = {}

    def work(number, script):
        with open_sandbox("bubblewrap", limits=replace(QUICK, processes=20, wall_seconds=3)) as own:
            results[number] = own.exec(["bash", "-c", script])

    bombs = [":(){ :|:& };:", "yes > /tmp/x", "yes", "kill -9 -1", "while :; do :; done"]
    quiet = ["sleep 1; echo fine"] * 3
    threads = [threading.Thread(target=work, args=item) for item in enumerate(bombs + quiet)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [results[n].stdout for n in range(len(bombs), len(bombs) + 3)] == [b"fine\n"] * 3
