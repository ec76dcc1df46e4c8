"""`cwm sandbox`: what is missing is said with the remedy, on machines that lack it and for users without rights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.sandbox import seccomp
from opencwm.sandbox.bubblewrap import explain
from opencwm.sandbox.doctor import examine

SOURCE = Path(__file__).parents[2] / "src"
SYSTEM_PYTHON = "/usr/bin/python3"


def cwm(*arguments, stdin=None):
    result = CliRunner().invoke(app, ["sandbox", *arguments], input=stdin, prog_name="cwm")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_machine_that_has_all(bubblewrap):
    result = cwm("doctor")
    assert result.exit_code == 0 and "chosen: bubblewrap: it works here" in result.stdout
    report = json.loads(cwm("doctor", "--json").stdout)
    assert report["backend"] == "bubblewrap"
    assert {finding["name"] for finding in report["findings"]} >= {
        "bwrap",
        "user namespaces",
        "seccomp",
        "landlock",
        "cgroups",
    }
    assert all(finding["good"] or finding["remedy"] for finding in report["findings"])


def test_a_missing_bwrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    result = cwm("doctor")
    assert result.exit_code == 3
    assert "apt-get install bubblewrap" in result.stdout and "chosen: none" in result.stdout
    refused = cwm("run", "true")
    assert (
        refused.exit_code == 3
        and refused.stderr.startswith("cwm: bwrap is not there: install")
        and refused.stderr.count("\n") == 1
    )


def test_a_bwrap_that_does_not_work(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    report = examine()
    finding = next(finding for finding in report.findings if finding.name == "backend bubblewrap")
    assert report.backend is None and not finding.good
    assert "No permissions" in finding.remedy and "kernel.unprivileged_userns_clone=1" in finding.remedy


def test_a_kernel_without_user_namespaces(bubblewrap):
    """In a user namespace of our own, where no further one may be made."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = [
        "unshare",
        "-Ur",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-m",
        "opencwm.cli",
        "sandbox",
        "run",
        "true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"DOCKER_HOST": "unix:///absent"})
    if "unshare" in done.stderr or "cannot create" in done.stderr.lower():
        pytest.skip(f"no user namespace to try it in: {done.stderr.strip()}")
    assert done.returncode == 3 and done.stdout == ""
    assert "forbids user namespaces. Allow them" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: Can't mkdir: Resource temporarily unavailable", "open fewer sandboxes"),
        ("anything else", "bubblewrap cannot start: anything else"),
    ],
)
def test_what_a_failed_start_means(message, says):
    assert says in explain(message)


def test_an_unprivileged_user(bubblewrap, tmp_path):
    """Everything works without root too; as root, this is tried as user 65534."""
    if os.getuid() != 0:
        pytest.skip("these tests run without root already")
    if shutil.which("setpriv") is None or not os.path.exists(SYSTEM_PYTHON):
        pytest.skip("install util-linux and python3 to try it as another user")
    version = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, text=True
    )
    if version.stdout != "True\n":
        pytest.skip(f"{SYSTEM_PYTHON} is older than 3.11")
    package = tmp_path / "package"
    shutil.copytree(SOURCE / "opencwm", package / "opencwm", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o005 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o005)
    code = (
        "import os\n"
        "from dataclasses import replace\n"
        "from opencwm.sandbox import LimitReached, Limits, SnippetPool, open_sandbox\n"
        "limits = Limits(wall_seconds=20, processes=20, memory_bytes=128 << 20)\n"
        "with open_sandbox(limits=limits) as box:\n"
        "    assert box.exec(['id', '-u']).stdout == b'1000\\n'\n"
        "    assert not box.exec(['sh', '-c', 'cat /etc/shadow; echo x > /usr/x; kill -0 1 && unshare -r true']).ok\n"
        "    bomb = box.exec(['bash', '-c', ':(){ :|:& };:; sleep 9'])\n"
        "    assert bomb == LimitReached('processes', b'', bomb.stderr) or b'fork' in bomb.stderr, bomb\n"
        "    big = box.exec([box.python, '-c', 'x = []\\nwhile True: x.append(bytes(1 << 20)); x[-1] += b\"x\"'])\n"
        "    assert isinstance(big, LimitReached) and big.which == 'memory', big\n"
        "    with box.shell() as shell: assert shell.run('cd /tmp; pwd').stdout == b'/tmp\\n'\n"
        "with SnippetPool(1) as pool: assert pool.run('print(2)').stdout == b'2\\n'\n"
        "print(os.getuid(), 'ok')\n"
    )
    identity = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*identity, SYSTEM_PYTHON, "-c", code], capture_output=True, text=True, timeout=120, cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "HOME": "/nonexistent"},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("65534 ok\n", "")


def test_run(bubblewrap, tmp_path):
    (tmp_path / "f").write_text("data")
    seen = cwm("run", "--mount", f"{tmp_path}:/m", "--", "sh", "-c", "cat /m/f; cat; exit 7", stdin="typed")
    assert (seen.exit_code, seen.stdout) == (7, "datatyped")
    assert cwm("run", "--", "sh", "-c", "kill -9 $$").exit_code == 137
    stopped = cwm("run", "--seconds", "0.3", "--", "sleep", "9")
    assert stopped.exit_code == 124 and stopped.stderr == "cwm: limit on wall reached\n"
    assert cwm("run", "--mount", "x:relative", "--", "true").exit_code == 2
    assert cwm("run", "--mount", f"{tmp_path}/absent:/m", "--", "true").exit_code == 3
    assert cwm("run", "--mount", f"{tmp_path}:/m:wr", "--", "true").exit_code == 2


def test_the_filter_knows_its_architectures():
    programs = [seccomp.program(machine) for machine in ("x86_64", "aarch64")]
    assert (
        all(len(program) % 8 == 0 and 100 < len(program) // 8 < 4096 for program in programs)
        and programs[0] != programs[1]
    )
    assert seccomp.program("riscv64") == b"" and not seccomp.supported("riscv64")
