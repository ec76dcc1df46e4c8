"""A trace in words: rule-based prose, a sentence or two per frame, and the outcome read back out of it.

    text = narrate(trace)
    assert outcome(text) == Told("return", "'rr'")

Notable choices:
- Complete: every frame is told, in order, and every change of a local is told before the line that runs next; nothing
  that did not happen is. `narrate` reads the outcome back out of its own text before giving it away.
- Values are in backquotes, as the trace has them; line numbers are those of the context.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opencwm.trace.frames import Frame, Trace

_RETURNED = "The run returns "
_RAISED = "The run ends with the exception "
_CUT = "The run is cut off"


class NarrationError(ValueError):
    """A text whose outcome cannot be read or is not the trace's; the message says which."""


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome that a text states: its kind, and the repr text of what was returned or raised (None if cut off)."""

    kind: Literal["return", "exception", "truncated"]
    value: str | None


def narrate(trace: Trace) -> str:
    """The prose of a trace, one paragraph a line. Raises NarrationError if it cannot be told so that it reads back."""
    teller = _Teller(trace)
    lines = [teller.tell(index, frame) for index, frame in enumerate(trace.frames)]
    text = "\n".join([*lines, _ending(trace)])
    told = outcome(text)
    if told != Told(trace.outcome.kind, trace.result):
        raise NarrationError(f"the text says {told}, the trace {trace.outcome} {trace.result}: a value spans lines")
    return text


def outcome(text: str) -> Told:
    """The outcome in the last line of a narration. Raises NarrationError if there is none."""
    last = text.rstrip("\n").rpartition("\n")[2]
    if last.startswith(_CUT):
        return Told("truncated", None)
    for start, kind in ((_RETURNED, "return"), (_RAISED, "exception")):
        if last.startswith(f"{start}`") and last.endswith("`."):
            return Told("return" if kind == "return" else "exception", last[len(start) + 1 : -2])
    raise NarrationError(f"the text does not end with an outcome, but with {last[:80]!r}")


def _ending(trace: Trace) -> str:
    count = len(trace.frames)
    frames = f"{count} step{'' if count == 1 else 's'}"
    if trace.outcome.kind == "truncated":
        return f"{_CUT} after {frames}: {trace.outcome.reason}."
    return f"{_RETURNED if trace.outcome.kind == 'return' else _RAISED}`{trace.result}`."


class _Teller:
    """Tells frames in order: knows the functions that are open and what each last held."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._lines = trace.context.split("\n")
        self._open: list[tuple[str, dict[str, str]]] = []

    def tell(self, index: int, frame: Frame) -> str:
        """The sentences of one frame."""
        if frame.event == "call":
            return self._call(index, frame)
        if frame.event == "line":
            return f"{self._changes(frame)}{self._steps(frame)}Line {frame.line} runs: `{self._source(frame)}`."
        if frame.event == "return":
            return self._steps(frame) + self._return(frame)
        return self._steps(frame) + self._exception(index, frame)

    def _call(self, index: int, frame: Frame) -> str:
        caller = self._open[frame.depth - 1][0] if 0 < frame.depth <= len(self._open) else None
        del self._open[frame.depth :]
        self._open.append((frame.function, frame.locals))
        given = self._list(frame.locals)
        if index == 0:
            return f"The run starts in {frame.function}, line {frame.line}: `{self._source(frame)}`{given}."
        resumed = "def " not in self._source(frame) and "yield" in self._source(frame)
        verb = "resumes" if resumed else "enters"
        return f"{self._steps(frame)}{caller or 'The program'} {verb} {frame.function} at line {frame.line}{given}."

    def _list(self, values: dict[str, str]) -> str:
        return f", with {', '.join(f'{name} = `{text}`' for name, text in values.items())}" if values else ""

    def _changes(self, frame: Frame) -> str:
        if len(self._open) <= frame.depth:
            return ""
        del self._open[frame.depth + 1 :]
        before = self._open[frame.depth][1]
        self._open[frame.depth] = (frame.function, frame.locals)
        changed = [f"{name} is now `{text}`" for name, text in frame.locals.items() if before.get(name) != text]
        changed += [f"{name} is gone" for name in before if name not in frame.locals]
        return f"{', '.join(changed)}. " if changed else ""

    def _return(self, frame: Frame) -> str:
        verb = "yields" if "yield" in self._source(frame) else "returns"
        to = f" to {self._open[frame.depth - 1][0]}" if 0 < frame.depth <= len(self._open) else ""
        return f"At line {frame.line}, {frame.function} {verb} `{frame.value}`{to}."

    def _exception(self, index: int, frame: Frame) -> str:
        following = self._trace.frames[index + 1] if index + 1 < len(self._trace.frames) else None
        left = following is None or following.depth < frame.depth
        where = f"At line {frame.line}, {frame.function}"
        if left and (following is not None or self._trace.outcome.kind == "exception"):
            return f"{where} is left by the exception `{frame.value}`."
        return f"{where} meets the exception `{frame.value}`."

    def _steps(self, frame: Frame) -> str:
        return f"On the way: {', '.join(f'`{step.value}`' for step in frame.steps)}. " if frame.steps else ""

    def _source(self, frame: Frame) -> str:
        return self._lines[frame.line - 1].strip() if 0 < frame.line <= len(self._lines) else ""
