"""A sandbox that runs nothing: for tests of what is built on sandboxes, and for trying it without one.

    box = FakeSandbox(lambda argv, stdin: Finished(0, b"hi\\n", b"") if argv[0] == "echo" else InfraError("no luck"))
    box.exec(["echo", "hi"])      # that result; box.commands == [["echo", "hi"]]

Files are kept in memory. A shell's commands come as `["bash", "-c", command]`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence

from opencwm.sandbox.protocol import (
    Ending,
    Entry,
    Finished,
    InfraError,
    Limits,
    OnOutput,
    Process,
    Result,
    Sandbox,
    Stream,
)
from opencwm.sandbox.shell import Shell
from opencwm.sandbox.snapshot import Snapshot

Answer = Callable[[list[str], bytes], Result | InfraError]


def succeed(argv: list[str], stdin: bytes) -> Result | InfraError:
    """Every command ends well and prints nothing."""
    return Finished(0, b"", b"")


class FakeSandbox(Sandbox):
    """`answer` says what a command with its standard input gives; an InfraError that it gives is raised."""

    name = "fake"
    python = "/usr/bin/python3"
    home = "/box"
    roots = ("/", ("box", "tmp"))

    def __init__(self, answer: Answer = succeed, *, limits: Limits | None = None) -> None:
        self.answer = answer
        self.limits = limits or Limits()
        self.commands: list[list[str]] = []
        self.files: dict[str, bytes] = {}
        self.closed = False

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Process:
        if self.closed:
            raise InfraError("this sandbox is closed: open another")
        self.commands.append(list(argv))
        return _FakeProcess(list(argv), self.answer)

    def empty(self) -> FakeSandbox:
        return FakeSandbox(self.answer, limits=self.limits)

    def close(self) -> None:
        self.closed = True

    def read(self, path: str) -> bytes:
        try:
            return self.files[self._place(path)]
        except KeyError:
            raise FileNotFoundError(2, "No such file in the sandbox", path) from None

    def write(self, path: str, content: bytes) -> None:
        self.files[self._place(path)] = content

    def list(self, path: str = ".") -> list[Entry]:
        folder = self._place(path).rstrip("/") + "/"
        found = {}
        for name, content in self.files.items():
            if name.startswith(folder):
                first, *deeper = name[len(folder) :].split("/")
                found[first] = Entry(first, "d", 0) if deeper else Entry(first, "f", len(content))
        return [found[name] for name in sorted(found)]

    def snapshot(self) -> Snapshot:
        files = {name: content.decode("latin-1") for name, content in self.files.items()}
        return Snapshot(io.BytesIO(json.dumps(files).encode()))

    def restore(self, snapshot: Snapshot) -> None:
        self.files |= {name: text.encode("latin-1") for name, text in json.loads(snapshot.read()).items()}

    def shell(self, *, cwd: str | None = None, env: Mapping[str, str] | None = None, merged: bool = False) -> Shell:
        return _FakeShell(self)

    def _place(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.home, path))


class _FakeShell(Shell):
    """Each command is an exec."""

    def __init__(self, sandbox: FakeSandbox) -> None:
        self._sandbox = sandbox
        self._process = None
        self.cwd = sandbox.home
        self.restarted = 0

    def run(self, command: str, *, limits: Limits | None = None, on_output: OnOutput | None = None) -> Result:
        return self._sandbox.exec(["bash", "-c", command], limits=limits, on_output=on_output)


class _FakeProcess(Process):
    """Answers once standard input has ended."""

    def __init__(self, argv: list[str], answer: Answer) -> None:
        self._argv = argv
        self._answer = answer
        self._stdin = b""
        self._ended = False
        self._ending: Ending | None = None

    @property
    def ending(self) -> Ending | None:
        return self._ending

    def send(self, data: bytes) -> None:
        self._stdin += data

    def close_stdin(self) -> None:
        self._ended = True

    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        if self._ending is not None:
            return None
        if not self._ended:
            return []
        result = self._answer(self._argv, self._stdin)
        if isinstance(result, InfraError):
            raise result
        if isinstance(result, Finished):
            self._ending = Ending(result.exit_code, result.signal, None, result.usage)
        else:
            self._ending = Ending(limit=result.which, usage=result.usage)
        pieces: list[tuple[Stream, bytes]] = [("stdout", result.stdout), ("stderr", result.stderr)]
        return [piece for piece in pieces if piece[1]]

    def begin(self, cpu_seconds: float) -> None:
        pass

    @property
    def spent(self) -> bool:
        return False

    def interrupt(self, number: int) -> None:
        self.kill()

    def clear(self, number: int) -> None:
        self.kill()

    def kill(self) -> None:
        self._ending = self._ending or Ending(signal=9)

    def close(self) -> None:
        self.kill()
