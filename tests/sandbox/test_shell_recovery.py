"""A shell comes back from any command, with all its state, whatever limit it reached and when."""

import random
import time
from dataclasses import replace

import pytest

from opencwm.sandbox import LimitReached

from .conftest import QUICK, SHORT, out

STUBBORN = [
    "sleep 60",
    "while :; do :; done",
    "while true; do sleep 0.05; done",
    "f() { for ((;;)); do echo $((i++)) > /dev/null; done; }; f",
    "cat /dev/zero > /dev/null",
    "sh -c 'trap \"\" INT TERM; while :; do sleep 1; done'",
    "setsid sh -c 'trap \"\" INT TERM; while :; do sleep 1; done'",
    "for i in 1 2 3; do (trap '' INT; sleep 60); done",
    "read y < <(sleep 60)",
    "echo $(sleep 60)",
    "sleep 60 | sleep 60",
    # A loop whose children neither take SIGINT nor last: no moment at which they are all dead.
    "while :; do (trap '' INT TERM; sleep 0.02); done",
    "while :; do (:); done",
    "trap '' INT; sleep 60",
    "trap : INT; while :; do sleep 0.05; done",
    "trap 'sleep 60' INT; sleep 60",
    "(trap '' INT; sleep 60) & wait",
    "set -m; while :; do (trap '' INT; sleep 0.02); done",
    "kill -STOP $$; sleep 60",
    "while :; do for i in {1..300000}; do :; done; done",
]
MORE = [
    "while :; do (trap '' INT; sleep 0.02); done",
    "while :; do /bin/true; done",
    "while :; do z=$(echo a); done",
    "while :; do echo a | cat > /dev/null; done",
    "sleep 60 & wait",
    "wait $job",
    "time sleep 60",
    "! sleep 60",
    "sleep 60 || :",
    "if sleep 60; then :; fi",
    "sh -c 'kill -STOP $$; sleep 60'",
    "source <(echo sleep 60)",
    "eval 'sleep 60'",
    "command sleep 60",
    "coproc cat; sleep 60",
    "select x in 1 2; do :; done < <(sleep 60)",
    "bash -i -c 'sleep 60'",
    "bash -ic 'trap \"\" INT; sleep 60'",
    "trap 'echo int >/dev/null; sleep 60' INT; sleep 60",
    "trap : INT; while :; do sleep 0.05; done; trap - INT",
    "until false; do (trap '' INT TERM HUP; sleep 0.3); done",
    "set -m; sleep 60; set +m",
    "mapfile < <(sleep 60)",
    "cat < /dev/fd/0 | (trap '' INT; sleep 60)",
    "for i in 1 2 3; do (trap '' INT; sleep 60) | (trap '' INT; sleep 60); done",
    "trap '' INT; while :; do :; done",
    "trap 'while :; do :; done' INT; sleep 60",
    "i=0; while :; do for j in {1..300000}; do :; done; done",
    "f() { (trap '' INT; sleep 60); f; }; f",
    "while read -r l; do (trap '' INT; sleep 1); done < <(yes)",
    "rm -f p1; mkfifo p1; cat < p1",
    "z=(); for ((;;)); do z+=(1); done",
    ": $(trap '' INT; sleep 60)",
    "set -e; while :; do /bin/true; done; set +e",
    "while :; do env true; done | while :; do (trap '' INT TERM; sleep 0.01); done",
    "while :; do sleep 0.001; done",
]


@pytest.mark.parametrize("command", STUBBORN)
def test_recovery_after_a_timeout(shell, command):
    shell.run("cd /tmp; x=kept; g() { echo function; }; sleep 50 & job=$!; sleep 0.05")
    started = time.monotonic()
    result = shell.run(f"echo begun; {command}; echo never", limits=SHORT)
    assert isinstance(result, LimitReached) and (result.which, result.stdout) == ("wall", b"begun\n")
    assert time.monotonic() - started < 5
    assert out(shell.run("echo $x; g; pwd; kill -0 $job && echo alive")) == "kept\nfunction\n/tmp\nalive\n"
    assert out(shell.run("sleep 0.05 & wait $!; echo $?")) == "0\n"  # no trap of ours is left pending
    assert shell.restarted == 0


@pytest.mark.parametrize("moment", ["before", "at", "after"])
def test_a_limit_close_to_the_end_of_a_command(shell, moment):
    shell.run("x=kept")
    for _ in range(20):
        seconds = {"before": 0.12, "at": 0.1, "after": 0.08}[moment]
        result = shell.run("sleep 0.1", limits=replace(QUICK, wall_seconds=seconds))
        assert result.ok or (isinstance(result, LimitReached) and result.which == "wall")
        assert out(shell.run("echo $x")) == "kept\n"
    assert shell.restarted == 0


def test_a_delayed_warden_still_kills_the_first_process_of_a_command(any_box):
    if any_box.name == "container":
        pytest.skip("there the relay notes when a command begins")
    with any_box.shell() as shell:
        time.sleep(0.05)
        command = "sh -c 'trap \"\" INT; sleep 60; :'"
        tell = type(shell._process)._tell

        def late(what, **details):
            time.sleep(0.1)
            tell(shell._process, what, **details)

        shell._process._tell = late
        assert isinstance(shell.run(command, limits=SHORT), LimitReached)
        assert shell.restarted == 0


def test_a_trap_of_sigint_runs_when_a_command_is_interrupted(shell):
    shell.run("trap 'echo trapped > note' INT")
    assert isinstance(shell.run("sleep 60", limits=SHORT), LimitReached)
    assert out(shell.run("cat note; trap -p INT")) == "trapped\ntrap -- 'echo trapped > note' SIGINT\n"


def test_processor_time_of_each_command(shell):
    limits = replace(QUICK, cpu_seconds=0.5)
    loop = "for ((i = 0; i < n; i++)); do :; done"
    shell.run("x=kept; cd /tmp")
    for command in ("while :; do :; done", "sh -c 'while :; do :; done'", "sh -c 'while :; do :; done' & wait"):
        result = shell.run(command, limits=limits)
        assert isinstance(result, LimitReached) and result.which == "cpu", (command, result)
    assert shell.run(f"n=50000; {loop}", limits=limits).ok
    for _ in range(20):  # together more than the limit, each less
        assert shell.run(f"{loop}; sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'", limits=limits).ok
    assert out(shell.run("echo $x; pwd")) == "kept\n/tmp\n"
    assert shell.restarted == 0


def test_recovery_of_a_shell_that_cannot_be_interrupted(shell):
    shell.run("cd /tmp; x=1")
    result = shell.run("trap '' INT URG CONT; while :; do :; done", limits=SHORT)
    assert isinstance(result, LimitReached) and result.which == "wall"
    assert out(shell.run("echo ${x-lost}; pwd")) == "lost\n/tmp\n"
    assert shell.restarted == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_recovery_from_anything_at_any_moment(any_box, seed):
    draw = random.Random(seed)
    with any_box.shell() as shell:
        for _ in range(12):
            command = draw.choice(STUBBORN + MORE)
            limits = replace(QUICK, wall_seconds=draw.choice([0.02, 0.1, 0.3, draw.uniform(0.2, 0.5)]))
            shell.run("cd /tmp; x=kept; g() { echo function; }; trap - INT; set +em; sleep 50 & job=$!; sleep 0.05")
            result = shell.run(f"echo begun; {command}; echo never", limits=limits)
            assert isinstance(result, LimitReached) and result.which == "wall", command
            state = out(shell.run("echo $x; g; pwd; kill -0 $job && echo alive"))
            assert (state, shell.restarted) == ("kept\nfunction\n/tmp\nalive\n", 0), (command, limits)
            shell.run("kill -9 $(jobs -p); wait", limits=replace(QUICK, wall_seconds=1))
