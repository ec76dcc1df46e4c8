"""The `cwm` codec: traces in the format of CWM, to the letter, as text and as tokens.

    <|begin_of_text|><|trace_context_start|>CONTEXT<|frame_sep|> FRAME* [<|end_of_text|>]

    call       <|call_sep|>LOCALS<|action_sep|>SOURCE_LINE<|frame_sep|>
    line       <|line_sep|>LOCALS<|action_sep|>SOURCE_LINE<|frame_sep|>
    return     <|return_sep|><|action_sep|>SOURCE_LINE<|arg_sep|>VALUE<|frame_sep|>
    exception  <|exception_sep|><|action_sep|>SOURCE_LINE<|arg_sep|>VALUE<|frame_sep|>

CONTEXT has `  # << START_OF_TRACE` behind the entry's `def` line. LOCALS is a JSON object of names and repr texts,
VALUE a JSON string of a repr text, both just as `json.dumps` writes them by default (so non-ASCII characters are
escaped). SOURCE_LINE keeps its indentation and ends with a newline.

Notable choices:
- `..` stands for a value unchanged since the frame before. A reader finds it by walking back to a concrete value and
  stops at a call or return frame, so locals are in full in a `call` frame, and in the first `line` frame after a
  `call`, a `return`, or an exception that left a function. When read, `..` right after a call means the call's values.
- The format has no line numbers, functions or depths; `tracking` recovers them. Lines of the same text that control
  flow cannot tell apart come back as the smallest of them: see `same_up_to_identical_lines`.
- It has no place for sub-expression steps, nor for why a run was cut: a truncated trace is one without
  `<|end_of_text|>`, and reads back with the outcome `TRUNCATED`. See `carried`.
- In `to_text` special tokens are spelled out, so `<|` inside JSON is written `\\u003c|`, and a source that spells a
  special token has no text form. The token form needs neither.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import IDS, NAMES, REGULAR
from opencwm.codec.tracking import Sighting, Tracker
from opencwm.trace.frames import Event, Frame, Outcome, Trace

BEGIN, END = IDS["<|begin_of_text|>"], IDS["<|end_of_text|>"]
CONTEXT_START, FRAME_SEP = IDS["<|trace_context_start|>"], IDS["<|frame_sep|>"]
ACTION_SEP, ARG_SEP = IDS["<|action_sep|>"], IDS["<|arg_sep|>"]
EVENT_IDS: dict[Event, int] = {
    "call": IDS["<|call_sep|>"],
    "line": IDS["<|line_sep|>"],
    "return": IDS["<|return_sep|>"],
    "exception": IDS["<|exception_sep|>"],
}
MARK = "  # << START_OF_TRACE"
UNCHANGED = ".."
TRUNCATED = Outcome("truncated", "unknown")

_EVENTS = {token: event for event, token in EVENT_IDS.items()}
_JSON_FOLLOWS = frozenset({EVENT_IDS["call"], EVENT_IDS["line"], ARG_SEP})
_SPECIAL = re.compile(r"<\|\w+\|>")
_MARKED = re.compile(r"[ \t]*# << START_OF_TRACE[ \t]*$")


class TextTokenizer(Protocol):
    """Turns ordinary text into ids from 0 to 127,999 and back; special tokens are not its business."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def carried(trace: Trace) -> Trace:
    """What the format carries of a trace: no steps, and `TRUNCATED` for whatever cut the run."""
    frames = tuple(replace(frame, steps=()) if frame.steps else frame for frame in trace.frames)
    return replace(trace, frames=frames, outcome=TRUNCATED if trace.outcome.kind == "truncated" else trace.outcome)


def same_up_to_identical_lines(first: Trace, second: Trace) -> bool:
    """Whether two traces have the same text in this format: equal but for the choice among lines of the same text.

    Functions may differ where such a line does, or where several start on one line.
    """
    if replace(first, frames=()) != replace(second, frames=()) or len(first.frames) != len(second.frames):
        return False
    return all(
        (a.event, a.depth, list(a.locals.items()), a.value, a.steps, first.source_line(a.line))
        == (b.event, b.depth, list(b.locals.items()), b.value, b.steps, second.source_line(b.line))
        for a, b in zip(first.frames, second.frames, strict=True)
    )


def prompt(context: str, entry_line: int) -> list[int | str]:
    """Special ids and text of all before the first frame. Raises CodecError for an entry that cannot be marked."""
    lines = context.split("\n")
    if not 0 < entry_line <= len(lines):
        raise CodecError(f"the entry is line {entry_line} of a context of {len(lines)} lines")
    if any(_MARKED.search(line) for line in lines):
        raise CodecError("the context already has a line that ends with the start mark: take the mark out")
    lines[entry_line - 1] += MARK
    return [BEGIN, CONTEXT_START, "\n".join(lines), FRAME_SEP]


def pieces(trace: Trace) -> list[int | str]:
    """The trace as special ids and the texts between them. Raises CodecError for a frame that cannot be written."""
    result = prompt(trace.context, trace.entry_line)
    last_line = trace.context.count("\n") + 1
    known: dict[str, str] = {}  # values that `..` may stand for
    for index, frame in enumerate(trace.frames):
        if not 0 < frame.line <= last_line:
            raise CodecError(f"frame {index}: line {frame.line} of a context of {last_line} lines")
        action = trace.source_line(frame.line) + "\n"
        if frame.event in ("call", "line"):
            if UNCHANGED in frame.locals.values():
                raise CodecError(f"frame {index}: a value is {UNCHANGED!r}, which stands for an unchanged one")
            if frame.event == "call":
                known = {}
            values = {name: UNCHANGED if known.get(name) == value else value for name, value in frame.locals.items()}
            known = {} if frame.event == "call" else frame.locals
            result += [EVENT_IDS[frame.event], json.dumps(values), ACTION_SEP, action, FRAME_SEP]
        else:
            if frame.value is None:
                raise CodecError(f"frame {index}: a {frame.event} frame without a value")
            following = trace.frames[index + 1] if index + 1 < len(trace.frames) else None
            if frame.event == "return" or (following is not None and following.depth < frame.depth):
                known = {}
            value = json.dumps(frame.value)
            result += [EVENT_IDS[frame.event], ACTION_SEP, action, ARG_SEP, value, FRAME_SEP]
    if trace.outcome.kind != "truncated":
        result.append(END)
    return result


def to_text(trace: Trace) -> str:
    """The trace with special tokens spelled out. Raises CodecError if the source spells one itself."""
    parts: list[str] = []
    before = BEGIN
    for piece in pieces(trace):
        if isinstance(piece, int):
            before = piece
            parts.append(NAMES[piece])
        elif before in _JSON_FOLLOWS:
            parts.append(piece.replace("<|", "\\u003c|"))
        else:
            for found in _SPECIAL.finditer(piece):
                if found[0] in IDS:
                    raise CodecError(f"the source spells {found[0]}: this trace has no text form, use tokens")
            parts.append(piece)
    return "".join(parts)


def encode(trace: Trace, tokenizer: TextTokenizer) -> list[int]:
    """The trace as token ids. Raises CodecError."""
    ids: list[int] = []
    for piece in pieces(trace):
        ids += [piece] if isinstance(piece, int) else tokenizer.encode(piece)
    return ids


def from_text(text: str, *, python: str | None = None) -> Trace:
    """The trace that `to_text` wrote, of Python `python` (this version by default).

    Raises CodecError, with the offset in characters and what was expected there, for anything else.
    """
    found: list[tuple[int, int | str]] = []
    end = 0
    for match in _SPECIAL.finditer(text):
        if match[0] in IDS:
            if match.start() > end:
                found.append((end, text[end : match.start()]))
            found.append((match.start(), IDS[match[0]]))
            end = match.end()
    if end < len(text):
        found.append((end, text[end:]))
    return _read(found, len(text), python, exact=True)


def decode(ids: Sequence[int], tokenizer: TextTokenizer, *, python: str | None = None) -> Trace:
    """The trace of token ids. Raises CodecError as `from_text` does; offsets count tokens."""
    found: list[tuple[int, int | str]] = []
    start = 0
    for offset, token in enumerate(ids):
        if not 0 <= token < REGULAR and token not in NAMES:
            raise CodecError(f"expected a token of the vocabulary, found {token}", offset)
        if token in NAMES:
            if offset > start:
                found.append((start, _text(ids[start:offset], tokenizer, start)))
            found.append((offset, token))
            start = offset + 1
    if start < len(ids):
        found.append((start, _text(ids[start:], tokenizer, start)))
    return _read(found, len(ids), python, exact=False)


def _text(ids: Sequence[int], tokenizer: TextTokenizer, start: int) -> str:
    try:
        return tokenizer.decode(ids)
    except CodecError as error:
        raise CodecError(str(error), start + (error.offset or 0)) from None
    except Exception as error:  # a tokenizer may raise anything of its own for ids that it does not know
        raise CodecError(f"expected text tokens, but they do not decode: {error}", start) from None


def _read(found: list[tuple[int, int | str]], end: int, python: str | None, *, exact: bool) -> Trace:
    reader = _Pieces(found, end, exact)
    reader.special(BEGIN)
    reader.special(CONTEXT_START)
    offset, marked = reader.text("the source context")
    context, entry_line = unmark(marked, offset)
    reader.special(FRAME_SEP)
    sightings: list[Sighting] = []
    ended = False
    while not reader.done:
        event = reader.event()
        if event is None:
            ended = True
            break
        start = reader.last
        unread = dict[str, str]() if event in ("return", "exception") else reader.locals()
        reader.special(ACTION_SEP)
        at, action = reader.text("a source line")
        value = reader.value() if event in ("return", "exception") else None
        reader.special(FRAME_SEP)
        line = action.removesuffix("\n")
        tracked = Sighting(event, line, unread, value, at)
        if not sightings:  # the model may repeat the mark of the entry
            tracked = replace(tracked, text=_MARKED.sub("", line))
        sightings.append(tracked)
        reader.starts.append(start)
    ended_at = reader.last if ended else end
    if not reader.done:
        raise CodecError(f"expected nothing after {NAMES[END]}, found {reader.found}", reader.offset)
    frames, outcome = _frames(context, entry_line, sightings, reader.starts, ended, ended_at)
    return Trace(context, entry_line, frames, outcome, python or f"{sys.version_info[0]}.{sys.version_info[1]}")


def unmark(marked: str, offset: int) -> tuple[str, int]:
    """The context without its mark, and the marked line."""
    lines = marked.split("\n")
    at = [number for number, line in enumerate(lines, 1) if _MARKED.search(line)]
    if len(at) != 1:
        found = "none" if not at else f"{len(at)}"
        raise CodecError(f'expected one line of the context marked "{MARK.strip()}", found {found}', offset)
    lines[at[0] - 1] = _strip_mark(lines[at[0] - 1])
    return "\n".join(lines), at[0]


def _strip_mark(line: str) -> str:
    return line.removesuffix(MARK) if line.endswith(MARK) else _MARKED.sub("", line)


def _frames(
    context: str,
    entry_line: int,
    sightings: list[Sighting],
    starts: list[int],
    ended: bool,
    end: int,
) -> tuple[tuple[Frame, ...], Outcome]:
    places = Tracker(context, entry_line).place(sightings, ended=ended, end_offset=end)
    frames: list[Frame] = []
    known: dict[str, str] = {}
    activation = -1
    for sighting, place, start in zip(sightings, places, starts, strict=True):
        full: dict[str, str] = {}
        if sighting.event == "return":
            known = {}
        elif sighting.event in ("call", "line"):
            if sighting.event == "call" or place.activation != activation:
                known = {}
            activation = place.activation
            for name, text in sighting.locals.items():
                if text == UNCHANGED:
                    if name not in known:
                        raise CodecError(f"expected the value of {name!r}: no earlier frame of its call has one", start)
                    text = known[name]
                full[name] = text
            known = known | full
        frames.append(Frame(sighting.event, place.line, place.function, place.depth, full, sighting.value))
    if not ended:
        return tuple(frames), TRUNCATED
    return tuple(frames), Outcome("exception" if frames and frames[-1].event == "exception" else "return")


class _Pieces:
    """Walks over special ids and texts; every complaint names the place and what was expected."""

    def __init__(self, found: list[tuple[int, int | str]], end: int, exact: bool) -> None:
        self._found, self._end, self._exact = found, end, exact
        self._index = 0
        self.last = 0  # offset of the piece taken last
        self.starts: list[int] = []

    @property
    def done(self) -> bool:
        return self._index == len(self._found)

    @property
    def offset(self) -> int:
        return self._end if self.done else self._found[self._index][0]

    @property
    def found(self) -> str:
        if self.done:
            return "the end"
        piece = self._found[self._index][1]
        if isinstance(piece, int):
            return NAMES[piece]
        return f"the text {piece!r}" if len(piece) <= 40 else f"the text {piece[:40]!r}..."

    def _next(self) -> int | str | None:
        return None if self.done else self._found[self._index][1]

    def _take(self) -> None:
        self.last = self.offset
        self._index += 1

    def special(self, token: int) -> None:
        if self._next() != token:
            raise CodecError(f"expected {NAMES[token]}, found {self.found}", self.offset)
        self._take()

    def event(self) -> Event | None:
        """The event of the next frame; None at the end of the trace."""
        piece = self._next()
        if piece != END and piece not in _EVENTS:
            expected = ", ".join(NAMES[token] for token in EVENT_IDS.values())
            raise CodecError(f"expected one of {expected}, or {NAMES[END]}; found {self.found}", self.offset)
        self._take()
        return _EVENTS.get(piece) if isinstance(piece, int) else None

    def text(self, what: str) -> tuple[int, str]:
        piece = self._next()
        if not isinstance(piece, str):
            raise CodecError(f"expected {what}, found {self.found}", self.offset)
        self._take()
        return self.last, piece

    def locals(self) -> dict[str, str]:
        what = "a JSON object of names and repr texts"
        pairs = self._json(what)
        if not isinstance(pairs, _Object):
            raise CodecError(f"expected {what}", self.last)
        values: dict[str, str] = {}
        for name, value in pairs.items:
            if not isinstance(value, str):
                raise CodecError(f"expected {what}, but the value of {name!r} is no string", self.last)
            if name in values:
                raise CodecError(f"expected {what}, but {name!r} stands in it twice", self.last)
            values[name] = value
        return values

    def value(self) -> str:
        self.special(ARG_SEP)
        value = self._json("a JSON string of a repr text")
        if not isinstance(value, str):
            raise CodecError("expected a JSON string of a repr text", self.last)
        return value

    def _json(self, what: str) -> object:
        start, text = self.text(what)
        try:
            return json.loads(text, object_pairs_hook=_Object)
        except json.JSONDecodeError as error:
            where = start + error.pos if self._exact else start
            raise CodecError(f"expected {what}: {error.msg}", where) from None
        except (ValueError, RecursionError) as error:  # numbers too long, brackets too deep
            raise CodecError(f"expected {what}: {error}", start) from None


class _Object:
    """A JSON object as its pairs, so that repeated names are seen."""

    def __init__(self, items: list[tuple[str, object]]) -> None:
        self.items = items
