"""The container backend against a fake engine that speaks the API, and against a real one where there is one."""

import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace

import pytest

from opencwm.sandbox import (
    Finished,
    InfraError,
    LimitReached,
    Limits,
    Mount,
    SnippetPool,
    _relay,
    open_sandbox,
    seccomp,
)
from opencwm.sandbox._engine import Engine, Frames, Refused
from opencwm.sandbox.container import ContainerSandbox, find, specification
from opencwm.sandbox.doctor import examine

from .conftest import QUICK
from .engine import Server


@pytest.fixture
def server(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/engine.sock"
        with Server(path) as running:
            thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
            yield running
            running.shutdown()
            thread.join()


@pytest.fixture(params=["warded", "plain"])
def box(request, server):
    """A container whose image has Python for a warden, or none."""
    server.python = request.param == "warded"
    with open_sandbox("container", limits=QUICK) as sandbox:
        yield sandbox
    assert server.containers == {}


def test_streams_stdin_and_exit_codes(box):
    data = bytes(range(256)) * 400
    result = box.exec(["sh", "-c", "printf 'e\\000' >&2; cat; exit 7"], stdin=data)
    assert result == Finished(7, data, b"e\0")
    assert box.exec(["sh", "-c", "exec >&-; exec 2>&-; exit 3"]) == Finished(3, b"", b"")
    assert box.exec(["sh", "-c", "echo $A"], env={"A": "1 2"}).stdout == b"1 2\n"
    assert box.exec(["no-such-command"]).exit_code == 127


def test_limits(box):
    short = replace(QUICK, wall_seconds=0.3)
    result = box.exec(["sh", "-c", "echo x; setsid sleep 60 & sleep 60"], limits=short)
    assert isinstance(result, LimitReached) and (result.which, result.stdout) == ("wall", b"x\n")
    result = box.exec(["yes"], limits=replace(QUICK, output_bytes=1000))
    assert isinstance(result, LimitReached) and result.which == "output" and len(result.stdout) == 1000
    result = box.exec(["sh", "-c", "while :; do :; done"], limits=replace(QUICK, cpu_seconds=1))
    assert isinstance(result, LimitReached) and result.which == "cpu"


def test_no_command_of_the_fake_engine_signals_everything(server):
    server.python = True
    command = ["python3", "-c", "import os\ntry: os.kill(-1, 0)\nexcept PermissionError: print('refused')"]
    with open_sandbox("container", limits=QUICK) as box:
        assert box.exec(command).stdout == b"refused\n"
        assert box.exec(["sh", "-c", "kill -0 -1 || echo refused"]).stdout == b"refused\n"


def test_memory_is_told_by_the_engine(server):
    server.python = False
    with open_sandbox("container", limits=QUICK) as box:
        _memory_is_told(box, server)


def _memory_is_told(box, server):
    next(iter(server.containers.values()))["oom"] = True
    result = box.exec(["sh", "-c", "kill -9 $$"])
    assert isinstance(result, LimitReached) and result.which == "memory"


def test_files(box):
    box.write("a/b", b"x\0y")
    assert box.read("a/b") == b"x\0y"
    assert [(entry.name, entry.kind) for entry in box.list()] == [("a", "d")]
    with pytest.raises(FileNotFoundError):
        box.read("absent")


def test_shell(box):
    with box.shell() as shell:
        assert shell.run("cd a 2>/dev/null || mkdir a && cd a; x=1").ok
        assert shell.run("echo $x; exit 4") == Finished(4, b"1\n", b"")
        result = shell.run("sleep 60", limits=replace(QUICK, wall_seconds=0.3))
        assert isinstance(result, LimitReached) and result.which == "wall"
        assert shell.run("pwd").stdout.endswith(b"/a\n")


def test_what_is_asked_of_the_engine():
    limits = Limits(memory_bytes=100 << 20, disk_bytes=10 << 20, processes=7, files=100)
    body = specification(
        limits, [Mount("/usr/lib", "/l"), Mount("/var", "/v", writable=True)], False, {"A": "b"}, "image"
    )
    host = body["HostConfig"]
    assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["AutoRemove"] and body["User"] == "1000:1000"
    assert host["Memory"] == host["MemorySwap"] == 110 << 20 and "Memory" in host
    assert host["Binds"] == ["/usr/lib:/l:ro", "/var:/v:rw"] and body["Env"] == ["A=b"]
    assert host["Tmpfs"]["/box"] == "size=5242880,mode=1777,exec,nr_inodes=50" and host["ShmSize"] == 1310720
    assert specification(limits, [], True, {}, "image")["HostConfig"]["NetworkMode"] == "bridge"


def refused(box):
    """Whether a system call of our filter's is refused: keyctl, which asks for this session's keyring."""
    number = seccomp._DENIED["keyctl"][platform.machine() == "aarch64"]
    source = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.syscall({number}, 0, -3, 0), ctypes.get_errno())"
    return box.exec(["python3", "-c", source]).stdout == b"-1 1\n"


@pytest.mark.skipif(not seccomp.supported(), reason="there is no filter for this architecture")
def test_our_filter_is_laid_over_the_engines(server):
    with open_sandbox("container", limits=QUICK) as box:
        assert refused(box)


def test_a_warden_that_is_killed_is_no_result(server):
    with open_sandbox("container", limits=QUICK) as box:
        result = box.exec(["sh", "-c", "kill -9 $PPID; sleep 30"])
        assert isinstance(result, Finished) and result.signal == 9
        with pytest.raises(InfraError, match="open another"):
            box.exec(["true"])


def test_what_a_command_forges_costs_only_itself(server):
    """It writes to the engine's stream as if it were its relay, which it can where it is the relay's user."""
    facts = b'{"ended": {"exit_code": "0", "signal": null, "limit": null}}'
    forged = [_relay.pack(b"m", text).decode("latin-1") for text in (b'{"ended": [1]}', facts, b"[]", b"{")]
    for text in (*forged, "x\xff\xff\xff\xff", "mmmmmmmmmm"):
        with open_sandbox("container", limits=QUICK) as box, box.spawn(["sleep", "30"]) as process:
            frame = b"\1\0\0\0" + len(text).to_bytes(4, "big") + text.encode("latin-1")
            while not process._runs:
                process.receive(5)
            process._early = frame
            while process.receive(5) is not None:
                pass
            assert process.ending.signal == 9 and box.closed


def test_a_python_that_cannot_run_the_warden_is_told(server, monkeypatch):
    with open_sandbox("container", limits=QUICK) as box:
        monkeypatch.setattr(_relay, "command", lambda: ("python3", "-c", "raise SystemExit('too old')"))
        with pytest.raises(InfraError, match="too old"):
            box.exec(["true"])


def test_a_container_ends_with_the_process_that_opened_it(server):
    left = (
        "from opencwm.sandbox import open_sandbox; import os\nbox = open_sandbox('container'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", left]).returncode == -9
    deadline = time.monotonic() + 20
    while server.containers:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sandbox_that_is_dropped_ends(server):
    open_sandbox("container", limits=QUICK)
    deadline = time.monotonic() + 20
    while server.containers:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_image_that_is_not_there(server):
    with pytest.raises(InfraError, match=r"docker pull nothing:latest"):
        ContainerSandbox(image="nothing:latest")


def test_an_engine_that_breaks(box, server):
    server.broken = True
    with pytest.raises(InfraError, match="broken"):
        box.exec(["true"])
    server.broken = False
    assert box.exec(["true"]).ok
    next(iter(server.containers.values()))
    saved = dict(server.containers)
    server.containers.clear()
    with pytest.raises(InfraError, match="No such thing"):
        box.exec(["true"])
    server.containers |= saved


def test_no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(InfraError, match="install podman"):
        find()
    (tmp_path / "absent.sock").write_text("")
    with pytest.raises(InfraError, match="does not answer"):
        find()


def test_a_stream_that_is_none():
    frames = Frames()
    assert frames.feed(b"\1\0\0\0\0\0\0") == []
    assert frames.feed(b"\2ab\2\0\0\0\0\0\0\1c") == [("stdout", b"ab"), ("stderr", b"c")]
    with pytest.raises(InfraError, match="multiplexed"):
        frames.feed(b"HTTP/1.1")


def test_the_doctor_names_the_engine(server):
    finding = next(finding for finding in examine().findings if finding.name == "backend container")
    assert finding.good and "Fake Engine 1.0" in finding.found


@pytest.fixture
def real():
    """A sandbox of a real engine."""
    try:
        engine = find()
        with ContainerSandbox(limits=QUICK, engine=engine) as sandbox:
            yield sandbox
    except InfraError as error:
        pytest.skip(str(error))


def test_a_real_engine(real):
    assert isinstance(real, ContainerSandbox) and isinstance(real._engine, Engine)
    assert real.exec(["sh", "-c", "id -u; cat; exit 5"], stdin=b"x") == Finished(5, b"1000\nx", b"")
    assert real.exec(["sh", "-c", "echo x > /etc/x"]).exit_code != 0
    assert refused(real) or not seccomp.supported()
    result = real.exec(["sleep", "60"], limits=replace(QUICK, wall_seconds=0.5))
    assert isinstance(result, LimitReached) and result.which == "wall"
    for which, script, bound in (
        ("wall", "(setsid sleep 61 &); sleep 61", replace(QUICK, wall_seconds=0.5)),
        ("cpu", "while :; do :; done", replace(QUICK, cpu_seconds=1, wall_seconds=60)),
        ("file", "exec head -c 100000 /dev/zero > big", replace(QUICK, file_bytes=4096)),
    ):
        result = real.exec(["sh", "-c", script], limits=bound)
        assert isinstance(result, LimitReached) and result.which == which, (which, result)
    with SnippetPool(1, backend="container") as pool:
        assert pool.run("print(input()[::-1])", b"abc") == Finished(0, b"cba\n", b"")
    real.write("f", b"1")
    with real.fork() as twin:
        assert twin.read("f") == real.read("f") == b"1"
    left = "from opencwm.sandbox import open_sandbox; import os\nbox = open_sandbox('container'); print(box._id, flush=True); os.kill(os.getpid(), 9)"
    identity = subprocess.run([sys.executable, "-c", left], capture_output=True, text=True).stdout.strip()
    deadline = time.monotonic() + 30
    with pytest.raises(Refused):
        while time.monotonic() < deadline:
            real._engine.request("GET", f"/containers/{identity}/json")
            time.sleep(0.2)
    process = real.spawn(["sleep", "60"])
    real.close()
    while process.receive(5) is not None:
        pass
    assert process.ending.exit_code is None
    process.close()
