"""Shell sessions: what outlives a command, exact exit codes, binary output, and coming back from anything."""

import time
from dataclasses import replace

import pytest

from opencwm.sandbox import Finished, InfraError, LimitReached, open_sandbox

from .conftest import QUICK, out


def test_state_outlives_commands(shell):
    assert shell.run("mkdir -p a/b; cd a/b; x=1; export Y=2; f() { echo f$1; }; alias g='echo g'; set -u") == Finished(
        0, b"", b""
    )
    assert out(shell.run("echo $x $Y; f 3; g; pwd | tail -c 5; sh -c 'echo $Y'; echo $-")).split("\n")[:5] == [
        "1 2",
        "f3",
        "g",
        "/a/b",
        "2",
    ]
    assert shell.cwd.endswith("/a/b")
    assert shell.run("echo ${nothing}").exit_code == 1
    assert out(shell.run("echo $x")) == "1\n"


def test_every_exit_code(shell):
    assert [shell.run(f"(exit {code})").exit_code for code in range(256)] == list(range(256))
    assert [
        shell.run(command).exit_code for command in ("true", "false", "no-such-command", "kill -9 $BASHPID &\nwait $!")
    ] == [0, 1, 127, 137]


def test_streams(any_box):
    command = "echo 1; echo 2 >&2; sh -c 'echo 3; echo 4 >&2'; no-such-command"
    with any_box.shell() as apart, any_box.shell(merged=True) as merged:
        result = apart.run(command)
        assert result.stdout == b"1\n3\n" and result.stderr.startswith(b"2\n4\n") and b"not found" in result.stderr
        result = merged.run(command)
        assert result.stdout.startswith(b"1\n2\n3\n4\n") and b"not found" in result.stdout and result.stderr == b""


def test_binary_output_without_newlines(shell):
    everything = bytes(range(256)) * 3
    octal = "".join(f"\\{byte:03o}" for byte in everything)
    result = shell.run(f"printf '{octal}'; printf '{octal}x' >&2")
    assert result == Finished(0, everything, everything + b"x")
    assert shell.run("printf ''") == Finished(0, b"", b"")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ('echo "it\'s"', "it's\n"),
        ("echo 'a\\nb'; echo \"\\\\\"", "a\\nb\n\\\n"),
        ("cat <<END\n$((1 + 1)) 'x'\nEND", "2 'x'\n"),
        ("for i in 1 2\ndo\n  echo $i # comment\ndone # end", "1\n2\n"),
        ("echo ä€😀 \t! !! $'\\x41'", "ä€😀 ! !! A\n"),
        ("echo a \\\n  b", "a b\n"),
        ('cat; read x; echo "[$x]"', "[]\n"),
        ("", ""),
        ("# nothing", ""),
        ("echo %s %d '%'", "%s %d %\n"),
        ("x=$(printf 'a\\nb'); echo \"$x\"", "a\nb\n"),
        ("\r", None),
    ],
)
def test_any_text_is_a_command(shell, command, output):
    result = shell.run(command)
    assert output is None or (result.stdout.decode(), result.stderr) == (output, b"")
    assert out(shell.run("echo fine")) == "fine\n"


def test_a_syntax_error_harms_nothing(shell):
    shell.run("x=7")
    for command in ("if", "echo 'open", ")", "cat <<END", "${", "for"):
        assert isinstance(shell.run(command), Finished)
    assert out(shell.run("echo $x")) == "7\n"
    assert shell.restarted == 0


def test_exit_ends_the_shell_with_its_code(shell):
    shell.run("cd /tmp; x=1")
    for code in (0, 3, 255):
        assert shell.run(f"echo bye; exit {code}") == Finished(code, b"bye\n", b"")
    assert out(shell.run("echo ${x-gone}; pwd")) == "gone\n/tmp\n"
    assert shell.restarted == 3
    assert shell.run("kill -9 $$").signal == 9
    assert shell.run("exec sh -c 'echo other; exit 5'") == Finished(5, b"other\n", b"")


def test_background_jobs_are_silent_and_live_as_long_as_the_shell(any_box):
    with any_box.shell() as shell:
        assert shell.run("(sleep 0.2; echo x > late) & sleep 60 &") == Finished(0, b"", b"")
        assert out(shell.run("jobs -r | wc -l")).strip() == "2"
        time.sleep(0.4)
        assert out(shell.run("cat late; wait %1; kill %2")) == "x\n"
        shell.run("(sleep 0.3; echo x > later) &")
    time.sleep(0.6)
    assert [entry.name for entry in any_box.list()] == ["late"]


def test_usage_of_each_command(shell):
    loop = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    for command in (loop, f"sh -c '{loop}'"):
        used = shell.run(command).usage
        assert 0.02 < used.cpu_seconds < 5 and used.wall_seconds >= 0.02 and used.output_bytes == 0
        assert shell.run("echo x").usage.cpu_seconds < 0.02
    assert shell.run(f"LC_ALL=de_DE.UTF-8; times() {{ echo mine; }}; {loop}").usage.cpu_seconds > 0.02
    shell.run("cd /tmp; enable -n times")
    assert shell.run(loop).ok and shell.cwd == "/tmp"
    assert shell.run(f"{loop}; exit 3").usage.cpu_seconds > 0.02


def test_output_limit(shell):
    limits = replace(QUICK, output_bytes=10_000)
    result = shell.run("x=1; yes", limits=limits)
    assert isinstance(result, LimitReached) and result.which == "output" and len(result.stdout) == 10_000
    assert out(shell.run("echo $x")) == "1\n"
    assert len(shell.run("head -c 10000 /dev/zero", limits=limits).stdout) == 10_000


def test_memory_limit_ends_the_shell(any_box):
    with any_box.shell() as shell:
        source = "x = []\nwhile True: x.append(b'x' * (1 << 20))"
        result = shell.run(f'{any_box.python} -c "{source}"')
        # The kernel's control group may be first; then the command alone is killed.
        assert (isinstance(result, LimitReached) and result.which == "memory") or result.exit_code == 137
        assert out(shell.run("echo back")) == "back\n"


def test_what_a_command_does_to_the_streams_ends_with_it(shell):
    assert shell.run("exec > /dev/null 2>&1; echo lost") == Finished(0, b"", b"")
    assert shell.run("exec >&- 2>&-") == Finished(0, b"", b"")
    assert out(shell.run("echo here")) == "here\n"


def test_output_comes_while_the_command_runs(shell):
    seen = []
    shell.run("echo 1; sleep 0.3; echo 2 >&2", on_output=lambda *piece: seen.append((*piece, time.monotonic())))
    assert [piece[:2] for piece in seen] == [("stdout", b"1\n"), ("stderr", b"2\n")]
    assert seen[1][2] - seen[0][2] > 0.2


def test_a_large_output_and_a_long_command(shell):
    assert len(shell.run("head -c 5000000 /dev/zero").stdout) == 5_000_000
    assert out(shell.run(f"x={'y' * 50_000}; echo ${{#x}}")) == "50000\n"


def test_nothing_of_ours_is_in_the_environment_or_the_descriptors(shell):
    assert "CWM" not in out(shell.run("env"))
    assert out(shell.run("ls /proc/self/fd | tr '\\n' ' '")).split()[:4] == ["0", "1", "2", "3"]
    assert out(shell.run("history | wc -l")).strip() == "0"


def test_no_bash_is_told(tmp_path):
    with open_sandbox("process", env={"PATH": str(tmp_path)}) as box, pytest.raises(InfraError, match="install bash"):
        box.shell()


def test_null_characters_are_refused(shell):
    with pytest.raises(ValueError, match="null"):
        shell.run("a\0b")
