"""What ran and what was predicted: `Frame`, `Step`, `Outcome` and `Trace`, and their JSON-lines form.

Notable choices:
- A frame's `line` counts in `Trace.context`, the one text that a reader (or a model) is given. Several files are joined
  into one context under `# file: PATH` headings, so every format has one line numbering.
- The state in a `call` or `line` frame is the state *before* that line runs; its locals are always in full. What is
  left out of a text or of tokens because it did not change is the codecs' business.
- `return` and `exception` frames hold a value and no locals. A suspended generator or coroutine is a `return` frame,
  and its resumption a `call` frame whose line is the one it was suspended on.
- Every function left by an exception has an `exception` frame at the line where it was left, re-raised ones too, and
  no `return` frame.
- JSON lines hold one object per frame between a header and an outcome, so a recording cut off at any point reads back
  as a trace whose outcome is `truncated`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

FORMAT = "opencwm.trace/1"

Event = Literal["call", "line", "return", "exception"]
EVENTS: tuple[Event, ...] = ("call", "line", "return", "exception")


@dataclass(frozen=True, slots=True)
class Step:
    """The value of one sub-expression, computed since the frame before.

    `node` numbers the operations of a statement in evaluation order (see `trace/steps.py`); `value` is repr text.
    """

    node: int
    value: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a run.

    `line` is 1-based in the trace's context. `function` is the qualified name (`f`, `Stack.push`,
    `f.<locals>.<listcomp>`). `depth` is 0 for the entry. `locals` maps names to repr text, in the order in which the
    interpreter lists them (empty for `return` and `exception`); frames may share it, so it is to be left as it is.
    `value` is repr text of what was returned or raised (None for `call` and `line`). `identity` holds groups of names
    that are one and the same object that can change; it is recorded on demand only, and no codec carries it.
    """

    event: Event
    line: int
    function: str
    depth: int
    locals: dict[str, str] = field(default_factory=dict)
    value: str | None = None
    steps: tuple[Step, ...] = ()
    identity: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `return`, `exception`, or `truncated` with the reason (a limit's name, `exit`, ...)."""

    kind: Literal["return", "exception", "truncated"]
    reason: str | None = None

    def __str__(self) -> str:
        return f"truncated ({self.reason})" if self.kind == "truncated" else self.kind


class _FramesLater:
    """Holds what makes a trace's frames until somebody looks at them."""

    __slots__ = ("_make_frames",)
    _make_frames: Callable[[], tuple[Frame, ...]]


@dataclass(frozen=True, slots=True)
class Trace(_FramesLater):
    """Context source, frames, how it ended, and the Python version (`"3.11"`) that ran it or is imitated."""

    context: str
    entry_line: int
    frames: tuple[Frame, ...]
    outcome: Outcome
    python: str

    @classmethod
    def with_frames_later(
        cls, context: str, entry_line: int, make_frames: Callable[[], tuple[Frame, ...]], outcome: Outcome, python: str
    ) -> Trace:
        """A trace whose frames are made when they are first looked at: a recording's compact records take less room."""
        trace = cls.__new__(cls)
        fields = {"context": context, "entry_line": entry_line, "outcome": outcome, "python": python}
        for name, value in (fields | {"_make_frames": make_frames}).items():
            object.__setattr__(trace, name, value)
        return trace

    def __getattr__(self, name: str) -> tuple[Frame, ...]:
        if name != "frames":
            raise AttributeError(f"a Trace has no attribute {name!r}")
        frames = self._make_frames()
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "_make_frames", None)
        return frames

    def source_line(self, line: int) -> str:
        """The text of a 1-based context line, without its newline; `""` beyond the end."""
        lines = self.context.split("\n")
        return lines[line - 1] if 0 < line <= len(lines) else ""

    @property
    def result(self) -> str | None:
        """repr text of what the entry returned or raised; None if the run was truncated."""
        if self.outcome.kind == "truncated" or not self.frames:
            return None
        return self.frames[-1].value

    def to_jsonl(self) -> str:
        """The trace as JSON lines: a header, a line per frame, the outcome."""
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in self._records())

    def _records(self) -> Iterator[dict[str, object]]:
        yield header_record(self.context, self.entry_line, self.python)
        for frame in self.frames:
            yield frame_record(frame)
        yield outcome_record(self.outcome)


def header_record(context: str, entry_line: int, python: str) -> dict[str, object]:
    """The JSON object that opens a trace."""
    return {"format": FORMAT, "context": context, "entry_line": entry_line, "python": python}


def frame_record(frame: Frame) -> dict[str, object]:
    """The JSON object of one frame; empty fields are left out."""
    record: dict[str, object] = {
        "event": frame.event,
        "line": frame.line,
        "function": frame.function,
        "depth": frame.depth,
    }
    if frame.event in ("call", "line"):
        record["locals"] = frame.locals
    if frame.value is not None:
        record["value"] = frame.value
    if frame.steps:
        record["steps"] = [[step.node, step.value] for step in frame.steps]
    if frame.identity:
        record["identity"] = frame.identity
    return record


def outcome_record(outcome: Outcome) -> dict[str, object]:
    """The JSON object that closes a trace."""
    return {"outcome": outcome.kind} | ({"reason": outcome.reason} if outcome.reason else {})


def read_jsonl(lines: Iterable[str] | TextIO | Path) -> Iterator[Trace]:
    """Traces from JSON lines, one after another.

    A trace without its outcome line (the writer was killed) gets the outcome `truncated (recording cut off)`; a broken
    last line is dropped. Raises ValueError, with the line's number, for anything else that is not a trace.
    """
    if isinstance(lines, Path):
        with lines.open(encoding="utf-8") as file:
            yield from read_jsonl(file)
        return
    header: dict[str, Any] | None = None
    frames: list[Frame] = []
    cut_off = Outcome("truncated", "recording cut off")
    broken: int | None = None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        if broken is not None:
            raise ValueError(f"line {broken} is not JSON: the file is damaged; record again or delete that line")
        try:
            record = json.loads(text)
        except json.JSONDecodeError:
            broken = number
            continue
        try:
            if "format" in record:
                if header is not None:
                    yield _trace(header, frames, cut_off)
                if record["format"] != FORMAT:
                    raise ValueError(f"line {number}: format {record['format']!r}, this version reads {FORMAT!r}")
                header, frames = record, []
            elif header is None:
                raise ValueError(f'line {number}: a trace starts with a line that holds "format": "{FORMAT}"')
            elif "outcome" in record:
                yield _trace(header, frames, Outcome(record["outcome"], record.get("reason")))
                header = None
            else:
                frames.append(_frame(record))
        except (KeyError, TypeError) as error:
            raise ValueError(f"line {number}: not a trace record ({error!r})") from error
    if header is not None:
        yield _trace(header, frames, cut_off)


def _frame(record: dict[str, Any]) -> Frame:
    if record["event"] not in EVENTS:
        raise KeyError(f"event {record['event']!r}")
    return Frame(
        event=record["event"],
        line=int(record["line"]),
        function=str(record["function"]),
        depth=int(record["depth"]),
        locals=dict(record.get("locals", {})),
        value=record.get("value"),
        steps=tuple(Step(int(node), str(value)) for node, value in record.get("steps", ())),
        identity=tuple(tuple(map(str, names)) for names in record.get("identity", ())),
    )


def _trace(header: dict[str, Any], frames: list[Frame], outcome: Outcome) -> Trace:
    return Trace(
        context=str(header["context"]),
        entry_line=int(header["entry_line"]),
        frames=tuple(frames),
        outcome=outcome,
        python=str(header["python"]),
    )
