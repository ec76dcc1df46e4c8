"""Nothing is left behind, whatever dies and however often: no process, mount, descriptor, file or control group."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from opencwm.sandbox import InfraError, SnippetPool, cgroups, local, open_sandbox

from .conftest import QUICK

BUSY = """
import os, sys, threading
from opencwm.sandbox import SnippetPool, open_sandbox
box, pool = open_sandbox("bubblewrap"), SnippetPool(1, backend="bubblewrap")
shell = box.shell()
shell.run("sleep {mark} & setsid sleep {mark} &")
one = box.spawn(["sh", "-c", "(setsid sleep {mark} &); sleep {mark}"])
threading.Thread(target=pool.run, args=("import time, os; os.fork(); time.sleep({mark})",), daemon=True).start()
trusted = open_sandbox("process")
two = trusted.spawn(["sh", "-c", "(setsid sleep {mark} &); sleep {mark}"])
print("up", flush=True)
sys.stdin.read()
"""


def processes(text):
    """Command lines on this machine that hold the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if text in line:
                    found.append((int(entry.name), line))
    return found


def gone(look, seconds=30):
    """Wait until there is nothing to see any more; what is still there."""
    deadline = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def children():
    """Descendants of this process, with their command lines; zombies too."""
    parents, found, ahead = {}, [], [os.getpid()]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                    int(entry.name)
                )
    while ahead:
        below = parents.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def groups(launcher=None):
    """Control groups of a launcher, this process's own by default."""
    launcher = launcher or local._launcher._process.pid
    _, places = cgroups.places()
    return sorted(str(folder) for place in places.values() for folder in Path(place).glob(f"cwm-{launcher}-*"))


def state():
    """What can be leaked: descriptors, mounts, threads, temporary files."""
    descriptors = len(os.listdir("/proc/self/fd"))
    mounts = Path("/proc/self/mountinfo").read_text().count("\n")
    return descriptors, mounts, threading.active_count(), os.listdir(tempfile.gettempdir())


def work():
    with open_sandbox("bubblewrap", limits=QUICK) as box:
        box.write("f", b"x")
        assert box.exec(["sh", "-c", "(sleep 60 &); exit 3"]).exit_code == 3
        box.spawn(["sleep", "60"])
        with box.shell() as shell:
            shell.run("sleep 60 &")
        with box.snapshot(), box.fork() as twin:
            assert twin.read("f") == b"x"
    with open_sandbox("process", limits=QUICK) as box:
        box.exec(["true"])


@pytest.fixture
def settled(bubblewrap, tmp_path, monkeypatch):
    """The launcher runs and has its spare keeper. Temporary files go where nobody else's are."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    work()
    time.sleep(0.3)
    return state(), len(children()), groups()


def test_nothing_is_left_of_sandboxes(settled):
    before, processes_before, groups_before = settled
    for _ in range(5):
        work()
    assert gone(lambda: len(children()) > processes_before) is False
    assert gone(lambda: len(groups()) > len(groups_before)) is False
    assert gone(lambda: state() != before, 10) is False, (before, state())


def test_nothing_is_left_of_pools(settled):
    before, processes_before, groups_before = settled
    for _ in range(2):
        with SnippetPool(2, backend="bubblewrap", limits=replace(QUICK, wall_seconds=5)) as pool:
            assert pool.run("print(1)").ok
            pool.run("import os; os.kill(os.getppid(), 9)")
    assert gone(lambda: len(children()) > processes_before) is False
    assert gone(lambda: len(groups()) > len(groups_before)) is False
    assert gone(lambda: state() != before, 10) is False, (before, state())


def test_a_failed_start_leaves_nothing(settled, tmp_path):
    from opencwm.sandbox import Mount

    before, processes_before, _ = settled
    (tmp_path / "f").write_text("")
    for _ in range(5):
        with pytest.raises(InfraError):
            open_sandbox("bubblewrap", mounts=[Mount(tmp_path / "f", "/usr/x/y")])  # no place to mount it
    assert gone(lambda: len(children()) > processes_before) is False
    assert gone(lambda: state() != before, 10) is False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_parent_is_killed(bubblewrap, number):
    mark = f"{os.getpid()}.{int(number)}"
    with subprocess.Popen(
        [sys.executable, "-c", BUSY.format(mark=mark)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout.readline() == b"up\n"
        assert gone(lambda: len(processes(f"sleep {mark}")) < 6, 10) is False
        launchers = [pid for pid in descendants(parent.pid) if "_launcher.py" in cmdline(pid)]
        assert len(launchers) >= 3
        parent.send_signal(number)
        parent.wait()
        assert gone(lambda: processes(f"sleep {mark}")) == []
        assert gone(lambda: [pid for pid in launchers if "_launcher.py" in cmdline(pid)]) == []
        assert gone(lambda: groups(launchers[0])) == []


def cmdline(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def descendants(root):
    found, ahead = [], [root]
    while ahead:
        pid = ahead.pop()
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                below = list(map(int, (task / "children").read_text().split()))
                found += below
                ahead += below
    return found


def test_a_killed_launcher_is_an_infrastructure_failure(bubblewrap):
    box = open_sandbox("bubblewrap", limits=QUICK)
    process = box.spawn(["sleep", "60"])
    local._launcher._process.kill()
    with pytest.raises(InfraError, match="open another"):
        while process.receive(5) is not None:
            pass
    with pytest.raises(InfraError, match="open another"):
        box.exec(["true"])
    process.close()
    box.close()
    with open_sandbox("bubblewrap", limits=QUICK) as again:
        assert again.exec(["true"]).ok


@pytest.mark.parametrize("victim", ["keeper", "bwrap"])
def test_one_that_is_killed_does_not_disturb_others(bubblewrap, victim):
    with open_sandbox("bubblewrap", limits=QUICK) as other, open_sandbox("bubblewrap", limits=QUICK) as box:
        bystander = other.spawn(["sh", "-c", "read x; echo got $x"])
        process = box.spawn(["sh", "-c", f"sleep {os.getpid()}.77; true"])
        assert gone(lambda: not processes(f"sleep {os.getpid()}.77"), 10) is False
        pid = next(pid for pid, _ in processes(f"sleep {os.getpid()}.77") if "sh" in cmdline(pid).split("\0")[0])
        warden = parent_of(pid)
        keeper = parent_of(warden)
        bwrap = next(
            child
            for child in descendants(keeper)
            if cmdline(child).startswith("/") and "bwrap" in cmdline(child).split("\0")[0]
        )
        os.kill(keeper if victim == "keeper" else bwrap, signal.SIGKILL)
        with pytest.raises(InfraError, match="open another"):
            while process.receive(5) is not None:
                pass
        process.close()
        assert gone(lambda: processes(f"sleep {os.getpid()}.77")) == []
        bystander.send(b"it\n")
        got = b""
        while (pieces := bystander.receive(5)) is not None:
            got += b"".join(data for _, data in pieces)
        assert got == b"got it\n"
        bystander.close()


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_many_at_once_on_a_busy_machine(bubblewrap):
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    results = {}

    def one(number):
        with open_sandbox("bubblewrap", limits=QUICK) as box:
            results[number] = box.exec(["sh", "-c", f"echo {number}"]).stdout

    try:
        threads = [threading.Thread(target=one, args=(n,)) for n in range(30)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        [burner.kill() for burner in burners]
        [burner.wait() for burner in burners]
    assert results == {n: f"{n}\n".encode() for n in range(30)}


@pytest.mark.slow
def test_ten_thousand_sandboxes(settled):
    before, processes_before, groups_before = settled
    for number in range(10_000):
        with open_sandbox("bubblewrap", limits=QUICK) as box:
            assert box.exec(["sh", "-c", "(sleep 60 &); exit 3"]).exit_code == 3, number
    assert gone(lambda: len(children()) > processes_before) is False
    assert gone(lambda: len(groups()) > len(groups_before)) is False
    assert gone(lambda: state() != before, 10) is False, (before, state())
