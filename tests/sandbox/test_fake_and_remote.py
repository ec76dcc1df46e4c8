"""The fake that ships in the package, the backend on another node, and the choice among backends."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from opencwm.sandbox import Finished, InfraError, LimitReached, open_sandbox, remote
from opencwm.sandbox.fake import FakeSandbox
from opencwm.sandbox.remote import RemoteSandbox

from .conftest import QUICK


def test_a_fake_answers_as_told():
    def answer(argv, stdin):
        if argv[0] == "echo":
            return Finished(0, " ".join(argv[1:]).encode() + stdin, b"e")
        return LimitReached("wall", b"", b"") if argv[0] == "sleep" else InfraError("no luck")

    seen = []
    with FakeSandbox(answer) as box:
        assert box.exec(["echo", "a"], stdin=b"b", on_output=lambda *piece: seen.append(piece)) == Finished(
            0, b"ab", b"e"
        )
        assert box.exec(["sleep"]) == LimitReached("wall", b"", b"")
        with pytest.raises(InfraError, match="no luck"):
            box.exec(["other"])
        with box.shell() as shell, pytest.raises(InfraError, match="no luck"):
            shell.run("cd /")
    assert seen == [("stdout", b"ab"), ("stderr", b"e")]
    assert box.commands == [["echo", "a"], ["sleep"], ["other"], ["bash", "-c", "cd /"]]
    with pytest.raises(InfraError, match="closed"):
        box.exec(["echo"])


def test_a_fake_keeps_files():
    box = FakeSandbox()
    box.write("a/b", b"\xff")
    box.write("/tmp/c", b"2")
    assert box.read("/box/a/b") == b"\xff" and [entry.kind for entry in box.list()] == ["d"]
    twin = box.fork()
    twin.write("a/b", b"3")
    assert (box.read("a/b"), twin.read("a/b"), twin.read("/tmp/c")) == (b"\xff", b"3", b"2")
    with pytest.raises(FileNotFoundError):
        box.read("absent")


def test_the_choice():
    with pytest.raises(ValueError, match="there are bubblewrap, container and process"):
        open_sandbox("modal")


def test_nothing_falls_back_to_plain_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(InfraError, match=r"apt-get install bubblewrap.*cwm sandbox doctor"):
        open_sandbox()
    with pytest.raises(ValueError, match="takes no mounts"):
        from opencwm.sandbox import Mount

        open_sandbox("process", mounts=[Mount(tmp_path, "/x")])


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InfraError, match=r"pip install 'opencwm\[rl\]'"):
        RemoteSandbox()


class Near:
    """As much of ray as the backend uses, in this process."""

    class exceptions:
        class RayError(Exception): ...

        class RayTaskError(RayError): ...

    @staticmethod
    def remote(kind):
        def start():
            actor = kind()
            names = [name for name in dir(actor) if not name.startswith("_")]
            return SimpleNamespace(**{name: SimpleNamespace(remote=getattr(actor, name)) for name in names})

        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=start))

    @staticmethod
    def get(answer):
        return answer

    @staticmethod
    def kill(actor):
        pass


def test_a_remote_shell_comes_back_too(bubblewrap, monkeypatch):
    monkeypatch.setattr(remote, "_connected", lambda address: Near)
    with RemoteSandbox("bubblewrap", limits=QUICK) as box, box.shell() as shell:
        comes_back(shell)


def comes_back(shell):
    shell.run("x=kept; cd /tmp")
    for which, command, limits in (
        ("wall", "while :; do (trap '' INT; sleep 0.02); done", replace(QUICK, wall_seconds=0.3)),
        ("cpu", "while :; do :; done", replace(QUICK, cpu_seconds=0.3)),
    ):
        result = shell.run(command, limits=limits)
        assert isinstance(result, LimitReached) and result.which == which
        assert shell.run("echo $x; pwd").stdout == b"kept\n/tmp\n"
    assert shell.restarted == 0


@pytest.mark.slow
def test_on_a_ray_cluster(bubblewrap):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'opencwm[rl]'")
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with RemoteSandbox("bubblewrap", limits=QUICK) as box:
            seen = []
            result = box.exec(
                ["sh", "-c", "cat; echo e >&2; exit 3"], stdin=b"x" * 100_000, on_output=lambda *p: seen.append(p)
            )
            assert result == Finished(3, b"x" * 100_000, b"e\n") and seen
            box.write("f", b"1")
            with box.fork() as twin:
                assert twin.read("f") == b"1"
            with box.shell() as shell:
                shell.run("cd /tmp")
                assert shell.run("pwd").stdout == b"/tmp\n"
                comes_back(shell)
            stopped = box.exec(["sleep", "60"], limits=replace(QUICK, wall_seconds=0.3))
            assert isinstance(stopped, LimitReached) and stopped.which == "wall"
            ray.kill(box._host)
            with pytest.raises(InfraError, match="gone"):
                box.exec(["true"])
    finally:
        ray.shutdown()
