"""A bash that stays: its folder, variables and functions outlive each command.

    with sandbox.shell() as shell:
        shell.run("cd /tmp && export A=1")
        shell.run("pwd; echo $A; exit 3")      # Finished(exit_code=3, stdout=b"/tmp\\n1\\n", ...)

How: bash runs as an interactive shell without a terminal, reading from a pipe. Interactive, because only then an
interrupt brings it back from any loop with all its state. Each command is sourced, which switches off everything that
an interactive shell would say (job numbers, "exit"). After each, a line with a random mark on both streams tells the
exit code and the folder; nothing else in the output is interpreted, so it may hold any bytes.

A command that reaches a limit is interrupted; if it ignores that, what it started is killed; if that does not help, the
shell itself is, and the next command starts a new one in the last known folder (`restarted` counts those).

An interrupt from outside would not do: while bash waits for a child, SIGINT ends bash's command only if the child dies
of it too, and a child that we must kill does not; while bash reads its next line, SIGINT makes it drop that line. So
two other signals are trapped, which a process that does not trap them never notices (SIGURG, SIGCONT): bash acts on a
trap as soon as its child is gone, before it starts another, and the trap, inside a command only, sends SIGINT to bash
itself, at a moment when it is heeded. `trap -p` shows the two; the second takes away a trap of SIGINT that a command
hides behind. SIGINT itself is left for a long step of bash's own in which it looks for no traps; the mark that it may
have dropped is asked for again.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from signal import SIGCONT, SIGINT, SIGURG
from time import monotonic
from typing import TYPE_CHECKING, Self

from opencwm.sandbox.protocol import Ending, Finished, InfraError, Limit, LimitReached, Limits, OnOutput, Result, Usage

if TYPE_CHECKING:
    from opencwm.sandbox.protocol import Process, Sandbox, Stream

_START_SECONDS = 30.0
_PATIENCE_SECONDS = 0.3
_ROUND_SECONDS = 0.1
_ROUNDS = 6
_SETTLE_SECONDS = 2.0
_END_SECONDS = 30.0
_FOREVER = 10**9
_TIME = re.compile(rb"(\d+)m(\d+)[.,](\d+)s")
_TIMES = re.compile(rb"(?:\d+m\d+[.,]\d+s[ \n]){4}")  # of bash, and of its children

# In a sourced command BASH_SOURCE has an entry, between commands it has none.
_INSIDE = "((${#BASH_SOURCE[@]}))"
_TRAPS = (
    f"trap '{_INSIDE} && builtin kill -INT $$' {SIGURG:d}; "
    f"trap '{_INSIDE} && {{ builtin trap - INT; builtin kill -INT $$; }}' {SIGCONT:d}"
)


class Shell:
    """One session; a context manager. One thread at a time may use it. Needs bash inside. Raises InfraError."""

    def __init__(
        self, sandbox: Sandbox, *, cwd: str | None = None, env: Mapping[str, str] | None = None, merged: bool = False
    ) -> None:
        self._sandbox = sandbox
        self._env = dict(env or {})
        self._merged = merged
        self._rest: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._process: Process | None = None
        self.cwd = os.path.join(sandbox.home, cwd or "")
        self.restarted = 0
        self._cpu_seconds = 0.0
        self._start()

    def run(self, command: str, *, limits: Limits | None = None, on_output: OnOutput | None = None) -> Result:
        """Run a command line, or several.

        Of the limits, `wall_seconds`, `cpu_seconds` (with what background jobs use meanwhile) and `output_bytes` count
        for this command alone; crossing those of memory or processes ends the shell. A command that exits the shell is
        finished with that code, and the next one starts a new shell. Merged, everything is in `stdout`, in the order in
        which it was written. Of the usage, processor time is that of bash and of what it has waited for; memory and
        processes are not known while the shell lives. Raises InfraError.
        """
        if "\0" in command:
            raise ValueError("a command cannot hold null characters")
        if self._process is None:
            self._start()
            self.restarted += 1
        # Sourced with its own copies of the streams (8 and 7 keep them): what it does to them ends with it.
        errors = "2>&8" if self._merged else "2>&7"
        line = f"{_TRAPS}; . /dev/fd/9 9<<<{_quoted(command)} </dev/null >&8 {errors} 7>&- 8>&-"
        result = self._turn(line, limits or self._sandbox.limits, on_output)
        if isinstance(result, LimitReached) and self._process is not None:
            self._settle(self._process)
        return result

    def close(self) -> None:
        """End the shell and all that it started."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> None:
        forever = replace(self._sandbox.limits, cpu_seconds=_FOREVER, wall_seconds=_FOREVER)
        self._rest = {"stdout": b"", "stderr": b""}
        self._cpu_seconds = 0.0
        self._process = self._sandbox.spawn(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=self.cwd,
            env=self._env | {"PS1": "", "PS2": ""},
            limits=forever,
        )
        limits = replace(self._sandbox.limits, wall_seconds=_START_SECONDS)
        result = self._turn(
            "set +o history; history -c; PS1= PS2=; unset PROMPT_COMMAND HISTFILE; exec 7>&2 8>&1", limits, None
        )
        if not result.ok:
            self.close()
            why = result.stderr.decode("utf-8", "replace").strip()
            raise InfraError(f"cannot start bash in the sandbox: {why or result}; install bash there")

    def _settle(self, process: Process) -> None:
        """Have a SIGINT taken that came when the command had ended already: it would end the next one instead.

        And have marks read that were asked for twice, and traps run that were pending when another one ended the
        command: bash would forget them, but let the next `wait` fail. Empty turns are tried until one comes back.
        """
        for _ in range(_ROUNDS):
            mark = secrets.token_hex(16)
            process.send(b"\nbuiltin kill -%d $$\n" % SIGCONT + _marking(mark))
            turn = _Turn(mark.encode(), self._sandbox.limits, None, self._rest)
            self._rest = {"stdout": b"", "stderr": b""}
            if turn.done_within(process, _SETTLE_SECONDS):
                self._rest = {stream: marked.after for stream, marked in turn.marked.items()}
                return
        self.close()

    def _turn(self, line: str, limits: Limits, on_output: OnOutput | None) -> Result:
        """Have bash run a line, and wait until it is through. Raises InfraError."""
        process = self._process
        assert process is not None
        mark = secrets.token_hex(16)
        process.begin(limits.cpu_seconds)
        process.send(os.fsencode(f"{line}\n") + _marking(mark))
        turn = _Turn(mark.encode(), limits, on_output, self._rest)
        try:
            ending = turn.follow(process, _stopping(process, mark))
        except BaseException:
            self.close()
            raise
        if ending is not None:
            self.close()
            used = max(0.0, ending.usage.cpu_seconds - self._cpu_seconds)
            return turn.result(replace(ending, usage=replace(ending.usage, cpu_seconds=used)))
        self._rest = {stream: marked.after for stream, marked in turn.marked.items()}
        code, _, rest = turn.marked["stdout"].note.partition(b":")
        times = _TIMES.match(rest)  # none, if a command has switched that builtin off
        self.cwd = os.fsdecode(rest[times.end() :] if times else rest)
        before = self._cpu_seconds
        self._cpu_seconds = _seconds(times[0]) if times else before
        return turn.result(Ending(exit_code=int(code), usage=Usage(cpu_seconds=self._cpu_seconds - before)))


class _Marked:
    """One stream up to a mark: the output, the note between the mark and a null character, and what comes after."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._held = b""  # output that may be the mark's beginning, or the mark and the note's beginning
        self._in_note = False
        self.note = b""
        self.after = b""
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """The output in the data."""
        if self.done:
            self.after += data
            return b""
        text = self._held + data
        output = b""
        if not self._in_note:
            place = text.find(self._mark)
            if place < 0:
                held = next(
                    (n for n in range(min(len(self._mark) - 1, len(text)), 0, -1) if self._mark.startswith(text[-n:])),
                    0,
                )
                self._held = text[len(text) - held :]
                return text[: len(text) - held]
            output, text = text[:place], text[place + len(self._mark) :]
            self._in_note = True
        self.note, self.done, self.after = _cut(text)
        self._held = text
        return output


def _cut(text: bytes) -> tuple[bytes, bool, bytes]:
    note, null, after = text.partition(b"\0")
    return note, bool(null), after


class _Turn:
    """What comes back of one line."""

    def __init__(self, mark: bytes, limits: Limits, on_output: OnOutput | None, rest: dict[Stream, bytes]) -> None:
        self.marked: dict[Stream, _Marked] = {"stdout": _Marked(mark), "stderr": _Marked(mark)}
        self._limits = limits
        self._on_output = on_output
        self._kept: dict[Stream, list[bytes]] = {"stdout": [], "stderr": []}
        self._room = limits.output_bytes
        self._limit: Limit | None = None
        self._started = monotonic()
        for stream, data in rest.items():
            self._take(stream, data)

    def follow(self, process: Process, stop: Iterator[float]) -> Ending | None:
        """Read until the marks have come; else how the shell ended. Raises InfraError.

        `stop` is taken up when a limit is reached: each step gives the seconds to wait for the marks before the next.
        """
        deadline = self._started + self._limits.wall_seconds
        while not all(marked.done for marked in self.marked.values()):
            now = monotonic()
            if self._limit is None and (self._room < 0 or process.spent or now >= deadline):
                self._limit = "output" if self._room < 0 else "cpu" if process.spent else "wall"
                deadline = now
            if now >= deadline:
                deadline = now + next(stop, _END_SECONDS)
            pieces = process.receive(deadline - now)
            if pieces is None:
                return process.ending
            for stream, data in pieces:
                self._take(stream, data)
        return None

    def done_within(self, process: Process, seconds: float) -> bool:
        """Read until the marks have come; False if they do not in that time, or the shell has ended."""
        deadline = self._started + seconds
        while not all(marked.done for marked in self.marked.values()):
            pieces = process.receive(max(0.0, deadline - monotonic()))
            for stream, data in pieces or ():
                self._take(stream, data)
            if pieces is None or monotonic() >= deadline:
                return False
        return True

    def _take(self, stream: Stream, data: bytes) -> None:
        output = self.marked[stream].feed(data)
        if output and self._limit is None:
            if self._room > 0:
                self._kept[stream].append(output[: self._room])
                if self._on_output:
                    self._on_output(stream, output[: self._room])
            self._room -= len(output)

    def result(self, ending: Ending) -> Result:
        stdout, stderr = b"".join(self._kept["stdout"]), b"".join(self._kept["stderr"])
        wall = monotonic() - self._started
        usage = replace(ending.usage, wall_seconds=wall, output_bytes=len(stdout) + len(stderr))
        limit = self._limit or ending.limit
        if limit is not None:
            return LimitReached(limit, stdout, stderr, usage)
        return Finished(ending.exit_code, stdout, stderr, usage, ending.signal)


def _stopping(process: Process, mark: str) -> Iterator[float]:
    """Ever harder ways to end the command before the mark; gives the seconds to wait after each."""
    process.interrupt(SIGURG)
    yield _PATIENCE_SECONDS
    for attempt in range(_ROUNDS):
        if attempt % 2:
            process.clear(SIGINT)
            process.send(b"\n" + _marking(mark))  # the empty line is for a SIGINT that comes late
        else:
            process.clear(SIGCONT)
        yield _ROUND_SECONDS * 2**attempt  # a busy machine needs longer
    process.kill()


def _marking(mark: str) -> bytes:
    """A line that tells, behind a mark on both streams, the last exit code, the time used so far, and the folder."""
    note = f"printf '%s%d:' {mark} \"$?\"; builtin times; printf '%s\\0' \"$PWD\""
    return f"{note}; printf '%s\\0' {mark} >&2\n".encode()


def _seconds(times: bytes) -> float:
    """The sum of times as bash writes them: minutes and seconds (`0m0.012s`), with the locale's decimal sign."""
    return sum(60 * int(minutes) + float(b"%s.%s" % (whole, part)) for minutes, whole, part in _TIME.findall(times))


def _quoted(command: str) -> str:
    """The command as one line and one word of bash."""
    escaped = command.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"$'{escaped}'"
