"""Commands, their limits and their typed results, the same on every local backend; files, snapshots, forks."""

import threading
import time
from dataclasses import replace

import pytest

from opencwm.sandbox import Entry, Finished, InfraError, LimitReached, Limits, Mount, open_sandbox

from .conftest import QUICK


def sh(box, script, **options):
    return box.exec(["sh", "-c", script], **options)


def py(box, source, **options):
    return box.exec([box.python, "-c", source], **options)


def limits(**changes):
    return replace(QUICK, **changes)


def test_streams_are_apart_and_binary(any_box):
    result = sh(any_box, r"printf 'a\000\377'; printf 'e\000\376' >&2; cat", stdin=bytes(range(256)))
    assert result == Finished(0, b"a\0\xff" + bytes(range(256)), b"e\0\xfe")


def test_all_exit_codes(any_box):
    assert [sh(any_box, f"exit {code}").exit_code for code in range(0, 256, 5)] == list(range(0, 256, 5))


@pytest.mark.slow
def test_each_exit_code(any_box):
    assert [sh(any_box, f"exit {code}").exit_code for code in range(256)] == list(range(256))


@pytest.mark.parametrize("number", [1, 6, 9, 11, 15])
def test_death_by_a_signal_is_no_exit_code(any_box, number):
    result = sh(any_box, f"kill -{number} $$")
    assert (result.exit_code, result.signal) == (None, number)
    assert sh(any_box, f"exit {128 + number}").exit_code == 128 + number


def test_commands_that_cannot_be_run(any_box):
    missing = any_box.exec(["no-such-command"])
    assert missing.exit_code == 127 and b"no-such-command" in missing.stderr
    assert any_box.exec(["/etc"]).exit_code == 126
    with pytest.raises(ValueError, match="list of one or more strings"):
        any_box.exec([])
    with pytest.raises(ValueError, match="null"):
        any_box.exec(["echo", "a\0b"])


def test_environment_and_folder(any_box):
    assert sh(any_box, "echo $A-$B; pwd; exit 3", env={"A": "1"}, cwd="/").stdout == b"1-\n/\n"
    assert sh(any_box, "pwd").stdout.decode().strip() == any_box.home


def test_output_comes_while_the_command_runs(any_box):
    seen = []
    result = sh(
        any_box, "echo 1; sleep 0.4; echo 2 >&2", on_output=lambda *piece: seen.append((*piece, time.monotonic()))
    )
    assert [piece[:2] for piece in seen] == [("stdout", b"1\n"), ("stderr", b"2\n")]
    assert seen[1][2] - seen[0][2] > 0.3
    assert result.ok


def test_megabytes_both_ways(any_box):
    data = bytes(range(256)) * 8192
    result = any_box.exec(["cat"], stdin=data)
    assert result.stdout == data
    assert any_box.exec(["true"], stdin=data).ok  # nobody reads it


def test_usage(any_box):
    usage = py(any_box, "x = bytearray(50_000_000); [None for _ in range(3_000_000)]; print('x')").usage
    assert 0.01 < usage.cpu_seconds < 10 and 50_000_000 < usage.memory_bytes < 256 << 20
    assert usage.output_bytes == 2 and usage.wall_seconds > 0.01


# Limits


def reached(result, which):
    assert isinstance(result, LimitReached) and result.which == which, result
    return result


def test_wall_time(any_box):
    started = time.monotonic()
    result = reached(sh(any_box, "echo begun; sleep 60", limits=limits(wall_seconds=0.3)), "wall")
    assert result.stdout == b"begun\n" and time.monotonic() - started < 10
    assert sh(any_box, "echo still here").stdout == b"still here\n"


def test_wall_time_of_a_command_that_ignores_signals_and_has_no_streams(any_box):
    script = "trap '' TERM INT HUP QUIT; exec >&- 2>&- <&-; while :; do sleep 1; done"
    reached(sh(any_box, script, limits=limits(wall_seconds=0.3)), "wall")


def test_processor_time(any_box):
    reached(py(any_box, "while True: pass", limits=limits(cpu_seconds=1)), "cpu")


def test_processor_time_of_many_processes_together(any_box):
    source = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    result = reached(py(any_box, source, limits=limits(cpu_seconds=1)), "cpu")
    assert result.usage.cpu_seconds < 4


def test_memory(any_box):
    source = "x = []\nwhile True: x.append(bytearray(1 << 20)); x[-1][::4096] = b'x' * 256"
    reached(py(any_box, source, limits=limits(memory_bytes=64 << 20)), "memory")


def test_memory_of_many_processes_together(any_box):
    source = "import os, time\nfor _ in range(3): os.fork()\nx = b'x' * (20 << 20)\ntime.sleep(30)"
    reached(py(any_box, source, limits=limits(memory_bytes=100 << 20)), "memory")


def test_address_space(any_box):
    result = py(any_box, "bytearray(10 << 30)")
    assert result.exit_code == 1 and b"MemoryError" in result.stderr


def test_processes(any_box):
    source = "import os, time\nfor _ in range(40): os.fork() or time.sleep(30)\ntime.sleep(30)"
    result = reached(py(any_box, source, limits=limits(processes=16)), "processes")
    assert result.usage.processes > 16


def test_file_size(any_box):
    reached(
        any_box.exec(["dd", "if=/dev/zero", "of=big", "bs=1M", "count=10"], limits=limits(file_bytes=1 << 20)), "file"
    )


def test_output(any_box):
    result = reached(any_box.exec(["yes"], limits=limits(output_bytes=100_000)), "output")
    assert len(result.stdout) == 100_000


def test_ten_gigabytes_of_output(any_box):
    script = "head -c 10000000000 /dev/zero; head -c 10000000000 /dev/zero >&2"
    result = reached(sh(any_box, script, limits=limits(output_bytes=1 << 20)), "output")
    assert len(result.stdout) + len(result.stderr) == 1 << 20


def test_disk_and_files(box):
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 8000000 /dev/zero > f$i || exit 1; done"
    reached(sh(box, script), "disk")
    assert box.exec(["rm", "-rf", *[f"f{n}" for n in range(9)]]).ok
    reached(sh(box, "i=0; while : > n$i; do i=$((i+1)); done; exit 1"), "disk")


def test_lifetime(bubblewrap):
    with open_sandbox("bubblewrap", limits=limits(lifetime_seconds=1.0)) as box:
        reached(box.exec(["sleep", "30"]), "lifetime")
        with pytest.raises(InfraError, match="lifetime of 1 s"):
            box.exec(["true"])


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="cpu_seconds must be positive"):
        Limits(cpu_seconds=0)


# What a command leaves behind


def test_daemons_die_with_their_command(any_box):
    source = (
        "import os, sys, time\n"
        "if os.fork(): sys.exit(3)\n"
        "os.setsid()\n"
        "if os.fork(): sys.exit()\n"
        "time.sleep(0.5); open('late', 'w')"
    )
    assert py(any_box, source).exit_code == 3
    time.sleep(0.8)
    assert any_box.list() == []


def test_a_command_may_kill_everything_that_it_sees(box):
    result = sh(box, "kill -9 -1")
    assert result.signal == 9
    with pytest.raises(InfraError, match="open another"):
        box.exec(["true"])


def test_others_are_not_disturbed(box):
    other = open_sandbox("bubblewrap", limits=QUICK)
    with other, other.spawn(["sh", "-c", "read x; echo got $x"]) as process:
        sh(box, "kill -9 -1; true")
        process.send(b"it\n")
        got = b""
        while (pieces := process.receive(5)) is not None:
            got += b"".join(data for _, data in pieces)
    assert got == b"got it\n"


def test_many_threads_share_a_sandbox(any_box):
    results = {}

    def work(number):
        results[number] = sh(any_box, f"sleep 0.1; echo {number}").stdout

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert results == {n: f"{n}\n".encode() for n in range(10)}


# Files


def test_files(any_box):
    data = bytes(range(256)) * 1000
    any_box.write("a/b/odd\nname\tä", data)
    assert any_box.read("a/b/odd\nname\tä") == data
    assert any_box.list("a/b") == [Entry("odd\nname\tä", "f", len(data))]
    assert any_box.list("a") == [Entry("b", "d", any_box.list("a")[0].size)]
    any_box.write("a/b/odd\nname\tä", b"")
    assert any_box.read("a/b/odd\nname\tä") == b""


def test_file_errors(any_box):
    with pytest.raises(FileNotFoundError):
        any_box.read("absent")
    with pytest.raises(IsADirectoryError):
        any_box.read(".")
    with pytest.raises(NotADirectoryError):
        any_box.list("absent")
    sh(any_box, "mkfifo pipe")
    with pytest.raises(OSError):
        any_box.read("pipe")


def test_a_full_disk_is_an_os_error(box):
    with pytest.raises(OSError):
        box.write("big", bytes(33 << 20))


def test_no_writing_outside(box):
    with pytest.raises(PermissionError):
        box.write("/usr/x", b"")


def test_snapshot_and_fork(any_box):
    sh(any_box, 'mkdir d; echo 1 > d/f; ln -s f d/link; chmod 750 d; echo 2 > "$TMPDIR/t"; mkfifo d/pipe')
    with any_box.fork() as twin:
        assert sh(twin, 'cat d/f d/link "$TMPDIR/t"; stat -c %a d').stdout == b"1\n1\n2\n750\n"
        twin.write("d/f", b"changed")
        assert any_box.read("d/f") == b"1\n"
    snapshot = any_box.snapshot()
    sh(any_box, "rm -rf d")
    any_box.restore(snapshot)
    assert any_box.read("d/f") == b"1\n"
    snapshot.close()


def test_mounts(bubblewrap, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/f").write_text("data")
    mounts = [Mount(tmp_path / "in", "/box/in"), Mount(tmp_path / "out", "/results", writable=True)]
    mounts.append(Mount(tmp_path / "in/f", "/tmp/one/f"))
    with open_sandbox("bubblewrap", mounts=mounts) as box:
        assert sh(box, "cat in/f /tmp/one/f; cp in/f /results/g; echo x > in/f").stdout == b"datadata"
        assert sorted(entry.name for entry in box.list()) == ["in"]
        box.write("/tmp/one/g", b"new")
        with box.fork() as twin:  # a clone of this project in /tmp is such a mount, too
            assert sh(twin, "cat in/f /tmp/one/f /tmp/one/g").stdout == b"datadatanew"
    assert (tmp_path / "out/g").read_text() == "data" and (tmp_path / "in/f").read_text() == "data"
    with pytest.raises(InfraError, match="no such file or folder"):
        open_sandbox("bubblewrap", mounts=[Mount(tmp_path / "absent", "/x")])
    with pytest.raises(ValueError, match="absolute path"):
        Mount(tmp_path, "x")


def test_a_working_tree_that_is_deleted(any_box):
    assert sh(any_box, 'rm -rf "$HOME"/* "$HOME"/.[!.]* "$TMPDIR"; echo done').stdout == b"done\n"
    assert sh(any_box, "echo again").stdout == b"again\n"


def test_closing_ends_what_runs(any_box):
    process = any_box.spawn(["sleep", "60"])
    any_box.close()
    any_box.close()
    while process.receive(5) is not None:
        pass
    assert process.ending.exit_code is None
    process.close()
    with pytest.raises(InfraError, match="closed"):
        any_box.exec(["true"])
