"""What a sandbox is: `Sandbox` runs commands that nobody has read, within `Limits`, and answers with a typed result.

Three answers, never confused: `Finished` (the program ended by itself, whatever its exit code), `LimitReached` (we
ended it, and which limit it crossed), and the exception `InfraError` (we could not run it; the message holds the
remedy). A backend supplies `spawn`, `empty` and `close`; everything else is written once, here, on top of them.

An exec ends when its command ends: whatever the command started and left behind is killed with it, also what has
daemonised itself. What must outlive a command belongs in a `shell`, whose background jobs live as long as it does.
"""

from __future__ import annotations

import abc
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Literal, Self

from opencwm.sandbox.snapshot import Snapshot

if TYPE_CHECKING:
    from opencwm.sandbox.shell import Shell

Stream = Literal["stdout", "stderr"]
Limit = Literal["cpu", "wall", "memory", "processes", "file", "disk", "output", "lifetime"]
OnOutput = Callable[[Stream, bytes], None]


class InfraError(Exception):
    """The sandbox itself failed, not the program in it; the message says what to do. Never a result, never a reward."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a sandbox and of each command in it. Raises ValueError for one that is not positive.

    Per command: `cpu_seconds` (all its processes together), `wall_seconds`, `output_bytes` (standard output and error
    together), `memory_bytes` (resident memory of all together; four times that for each one's addresses), `processes`
    (threads counted), `file_bytes` (one file), `open_files`. Per sandbox: `disk_bytes` and `files` (everything written
    outside of mounts), `lifetime_seconds`, after which the whole sandbox is ended.
    """

    cpu_seconds: float = 60.0
    wall_seconds: float = 60.0
    memory_bytes: int = 2 << 30
    processes: int = 64
    file_bytes: int = 64 << 20
    disk_bytes: int = 256 << 20
    files: int = 20_000
    output_bytes: int = 8 << 20
    open_files: int = 256
    lifetime_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit {name} must be positive, not {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of this machine that the sandbox sees at `inside`; read-only unless `writable`.

    What is written to a writable mount lands on this machine and is not counted against `disk_bytes`.
    """

    host: str | os.PathLike[str]
    inside: str
    writable: bool = False

    def __post_init__(self) -> None:
        if not os.path.isabs(self.inside) or os.path.normpath(self.inside) in ("/", "/proc", "/dev"):
            raise ValueError(f"a mount needs an absolute path inside the sandbox, below /, not {self.inside!r}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command used: seconds, resident bytes of its largest process, bytes of output, most processes seen."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    output_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The command ended by itself: with `exit_code`, or killed by `signal` (then `exit_code` is None)."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    usage: Usage = field(default=Usage(), compare=False)
    signal: int | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The command was ended because it crossed the limit `which`; the output is what it had written by then."""

    which: Limit
    stdout: bytes
    stderr: bytes
    usage: Usage = field(default=Usage(), compare=False)

    @property
    def ok(self) -> bool:
        return False


Result = Finished | LimitReached


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: one of `exit_code`, `signal`, `limit` is set."""

    exit_code: int | None = None
    signal: int | None = None
    limit: Limit | None = None
    usage: Usage = Usage()


class Process(abc.ABC):
    """A running command with three streams. One thread at a time may use it."""

    @abc.abstractmethod
    def send(self, data: bytes) -> None:
        """Queue bytes for standard input; `receive` delivers them. Dropped once nobody reads."""

    @abc.abstractmethod
    def close_stdin(self) -> None:
        """End standard input after what was queued."""

    @abc.abstractmethod
    def receive(self, timeout: float) -> list[tuple[Stream, bytes]] | None:
        """What has been written, waiting at most `timeout` seconds for something; None once all has been given.

        Raises InfraError.
        """

    @abc.abstractmethod
    def begin(self, cpu_seconds: float) -> None:
        """A new part of the command begins, before what is sent next: from here `spent` and `clear` count."""

    @property
    @abc.abstractmethod
    def spent(self) -> bool:
        """Whether the command and all that it started have used more than the part's processor time."""

    @abc.abstractmethod
    def interrupt(self, number: int) -> None:
        """That signal to the command itself, then SIGINT to the rest of its process group; sent when this returns."""

    @abc.abstractmethod
    def clear(self, number: int) -> None:
        """That signal to the command itself, then SIGKILL to all that it has started since `begin`."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End the command and all that it started. `receive` then gives what is left, and `ending` is set."""

    @property
    @abc.abstractmethod
    def ending(self) -> Ending | None:
        """How it ended; None until `receive` has given None."""

    @abc.abstractmethod
    def close(self) -> None:
        """Kill it if it still runs, and free what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder; `kind` is find's letter: `f` file, `d` folder, `l` link, else special. `size` in bytes."""

    name: str
    kind: str
    size: int


_READ = (
    'if [ -d "$1" ]; then exit 21; elif [ -f "$1" ]; then exec cat -- "$1"; elif [ -e "$1" ]; then exit 22; fi; exit 44'
)
_WRITE = 'if [ -d "$1" ]; then exit 21; fi; mkdir -p -- "$(dirname -- "$1")" && exec cat > "$1"'
_LIST = '[ -d "$1" ] || exit 20; exec find "$1" -mindepth 1 -maxdepth 1 -printf "%y %s %f\\0"'


class Sandbox(abc.ABC):
    """A place to run commands. A context manager; safe to use from several threads."""

    name: str
    """The backend's name."""
    python: str
    """Path of the Python interpreter inside."""
    home: str
    """The working folder inside: where commands start unless told otherwise, and what HOME says."""
    roots: tuple[str, tuple[str, ...]]
    """A folder inside, and the names below it that hold all that a command can write: what a snapshot takes."""
    limits: Limits

    @abc.abstractmethod
    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Process:
        """Start a command; to close what is returned, or to drop it, ends the command.

        `env` is added to the sandbox's own, `cwd` is taken from `home`. Raises InfraError.
        """

    @abc.abstractmethod
    def empty(self) -> Sandbox:
        """Another sandbox with the same settings and nothing written in it. Raises InfraError."""

    @abc.abstractmethod
    def close(self) -> None:
        """End everything in it and take it down. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        on_output: OnOutput | None = None,
    ) -> Result:
        """Run a command to its end; `on_output` gets each piece of output as it comes.

        A command that is not there finishes with exit code 127, one that cannot be run with 126, as in a shell. Raises
        InfraError.
        """
        limits = limits or self.limits
        with self.spawn(argv, cwd=cwd, env=env, limits=limits) as process:
            process.send(stdin)
            process.close_stdin()
            return collect(process, limits, on_output)

    def read(self, path: str) -> bytes:
        """The content of a file inside. Raises FileNotFoundError, IsADirectoryError, PermissionError or InfraError."""
        limits = replace(self.limits, output_bytes=self.limits.disk_bytes + self.limits.file_bytes)
        result = self.exec(["sh", "-c", _READ, "sh", path], limits=limits)
        _check(result, path)
        return result.stdout

    def write(self, path: str, content: bytes) -> None:
        """Make a file inside, with the folders above it. Raises as `read`, and OSError where a limit forbids it."""
        _check(self.exec(["sh", "-c", _WRITE, "sh", path], stdin=content), path)

    def list(self, path: str = ".") -> list[Entry]:
        """The entries of a folder inside, sorted by name. Raises NotADirectoryError, PermissionError or InfraError."""
        result = self.exec(["sh", "-c", _LIST, "sh", path if path.startswith("/") else f"./{path}"])
        _check(result, path)
        entries = []
        for record in result.stdout.split(b"\0")[:-1]:
            kind, size, name = record.split(b" ", 2)
            entries.append(Entry(os.fsdecode(name), kind.decode(), int(size)))
        return sorted(entries, key=lambda entry: entry.name)

    def snapshot(self) -> Snapshot:
        """All that has been written so far. Raises InfraError."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        errors: list[bytes] = []

        def keep(stream: Stream, data: bytes) -> None:
            file.write(data) if stream == "stdout" else errors.append(data)

        limits = replace(self.limits, output_bytes=2 * self.limits.disk_bytes + 1024 * self.limits.files)
        try:
            with self.spawn(self._archive(), limits=limits) as process:
                process.close_stdin()
                ending = drain(process, limits, keep)
        except BaseException:
            file.close()
            raise
        if ending.exit_code != 0:
            file.close()
            raise InfraError(
                f"cannot take a snapshot: {_last_line(b''.join(errors)) or ending}; is tar in the sandbox?"
            )
        return Snapshot(file)

    def _archive(self) -> Sequence[str]:
        """The command that writes all of `roots` to its output as a tar file."""
        base, names = self.roots
        return ["tar", "-C", base, "--one-file-system", "-cf", "-", "--", *names]

    def restore(self, snapshot: Snapshot) -> None:
        """Write a snapshot's files into this sandbox. Raises InfraError."""
        result = self.exec(["tar", "-C", self.roots[0], "-xpf", "-"], stdin=snapshot.read())
        if not result.ok:
            raise InfraError(f"cannot restore a snapshot: {_last_line(result.stderr) or result}")

    def fork(self) -> Sandbox:
        """A new sandbox that starts with a copy of what has been written here; processes are not copied."""
        with self.snapshot() as snapshot:
            twin = self.empty()
            try:
                twin.restore(snapshot)
            except BaseException:
                twin.close()
                raise
        return twin

    def shell(self, *, cwd: str | None = None, env: Mapping[str, str] | None = None, merged: bool = False) -> Shell:
        """A bash that stays: its folder, variables and functions outlive each command. Raises InfraError."""
        from opencwm.sandbox.shell import Shell

        return Shell(self, cwd=cwd, env=env, merged=merged)


def drain(process: Process, limits: Limits, on_output: OnOutput) -> Ending:
    """Hand on all output of a process until it ends or has written more than it may. Raises InfraError."""
    started, written, over = monotonic(), 0, False
    while (pieces := process.receive(1.0)) is not None:
        for stream, data in pieces:
            room = limits.output_bytes - written
            written += len(data)
            if room > 0:
                on_output(stream, data[:room])
        if written > limits.output_bytes and not over:
            over = True
            process.kill()
    ending = process.ending
    assert ending is not None
    usage = replace(ending.usage, output_bytes=min(written, limits.output_bytes), wall_seconds=monotonic() - started)
    return Ending(limit="output", usage=usage) if over else replace(ending, usage=usage)


def collect(process: Process, limits: Limits, on_output: OnOutput | None = None) -> Result:
    """The result of a process, its output in full. Raises InfraError."""
    kept: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}

    def keep(stream: Stream, data: bytes) -> None:
        kept[stream].append(data)
        if on_output:
            on_output(stream, data)

    ending = drain(process, limits, keep)
    stdout, stderr = b"".join(kept["stdout"]), b"".join(kept["stderr"])
    if ending.limit is not None:
        return LimitReached(ending.limit, stdout, stderr, ending.usage)
    return Finished(ending.exit_code, stdout, stderr, ending.usage, ending.signal)


def _check(result: Result, path: str) -> None:
    """Raise what a file operation's exit code stands for."""
    if result.ok:
        return
    message = _last_line(result.stderr)
    code = result.exit_code if isinstance(result, Finished) else None
    if code == 44 or "No such file" in message:
        raise FileNotFoundError(2, "No such file in the sandbox", path)
    if code == 21:
        raise IsADirectoryError(21, "Is a folder in the sandbox", path)
    if code == 20:
        raise NotADirectoryError(20, "No such folder in the sandbox", path)
    if "Permission denied" in message or "Read-only file system" in message:
        raise PermissionError(13, "Not permitted in the sandbox", path)
    raise OSError(5, message or f"cannot be done in the sandbox: {result}", path)


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
