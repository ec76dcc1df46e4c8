"""Writing code in `compact` tokens: what is wanted, perhaps a run that does it, then the function.

A window is a wish, the question `<write>`, and its answer::

    <begin> <python V> WISH <write> [<trace> FRAME* <end>] SOURCE <end>

    WISH      a signature and examples, as source: `def f(a):`, `    ...`, and a line `assert f(1) == 2` for each
    FRAME     as in `compact.py`: the run of the first example, with the lines of the function that is yet to come
    SOURCE    the function

Notable choices: a rehearsed run (*trace first*) has the states before there is any code, so that the code only has to
say how one leads to the next; variables that the wish does not know are spelled, and sub-expression values left out,
since nothing numbers them yet. The same wish can be answered directly, which is what a rehearsal is measured against.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opencwm.codec.compact import Encoder, Window
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import PYTHONS, SIZE, VOCABULARY, decode_source, encode_source
from opencwm.trace.frames import Outcome, Trace

_IDS = VOCABULARY.ids
WRITE, TRACE, END = _IDS["<write>"], _IDS["<trace>"], _IDS["<end>"]
_RETURN = Outcome("return")


@dataclass(frozen=True, slots=True)
class Wish:
    """A function's first line and examples of it: calls, and the repr text of what they return."""

    signature: str
    examples: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The wish as Python."""
        asserted = (f"assert {call} == {value}" for call, value in self.examples)
        return "\n".join((self.signature, "    ...", "", *asserted, ""))


def prompt(wish: Wish, python: str, size: int = SIZE) -> list[int]:
    """Tokens of a wish, up to `<write>`. Raises CodecError for a version that the codec does not know."""
    if python not in PYTHONS:
        raise CodecError(f"Python {python}: the compact codec knows {', '.join(PYTHONS)}")
    source, _ = encode_source(wish.text, size)
    return [_IDS["<begin>"], VOCABULARY.python_start + PYTHONS.index(python), *source, WRITE]


def window(wish: Wish, source: str, python: str, run: Trace | None = None) -> Window:
    """A wish with its answer; `run`: the rehearsal, as `rehearsal` gives it. Raises CodecError."""
    question = prompt(wish, python)
    answer: list[int] = []
    if run is not None:
        encoder = Encoder(run)
        answer = [TRACE, *(token for chunk in encoder.chunks for token in chunk), END]
    answer += [*encode_source(source)[0], END]
    return Window([*question, *answer], [0.0] * len(question) + [1.0] * len(answer))


def rehearsal(wish: Wish, trace: Trace) -> Trace:
    """The run of the first function that a recorded run calls, as a run of its own over the wish.

    Raises CodecError where that function did not return within the recording.
    """
    frames = trace.frames
    first = next((i for i, frame in enumerate(frames) if frame.event == "call" and frame.depth == 1), None)
    if first is None:
        raise CodecError("the run calls no function", 0)
    last = next(
        (i for i in range(first + 1, len(frames)) if frames[i].depth <= 1 and frames[i].event == "return"), None
    )
    if last is None or any(frame.depth < 1 for frame in frames[first:last]):
        raise CodecError("the function did not return", first)
    own = tuple(replace(frame, depth=frame.depth - 1, steps=(), identity=()) for frame in frames[first : last + 1])
    return Trace(wish.text, 1, own, _RETURN, trace.python)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer holds: the function, and the rehearsed run's frames in tokens (None: it was written directly)."""

    source: str
    rehearsed: tuple[int, ...] | None = None


def read(ids: Sequence[int], size: int = SIZE) -> Answer:
    """The answer of a window. Raises CodecError for tokens that are none, or a source that is no text."""
    if WRITE not in ids:
        raise CodecError("expected <write>", len(ids))
    offset = list(ids).index(WRITE) + 1
    rehearsed = None
    if offset < len(ids) and ids[offset] == TRACE:
        stop = next((i for i in range(offset, len(ids)) if ids[i] == END), None)
        if stop is None:
            raise CodecError("the rehearsed run has no end", len(ids))
        rehearsed, offset = tuple(ids[offset + 1 : stop]), stop + 1
    if offset >= len(ids) or ids[-1] != END:
        raise CodecError("expected a function and its end", len(ids))
    return Answer(decode_source(ids[offset:-1], size)[0], rehearsed)


def signature(source: str) -> str | None:
    """The first line of a source that is one function of at most six further lines; None for any other."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    lines = source.strip().split("\n")
    plain = len(body) == 1 and isinstance(body[0], ast.FunctionDef) and not body[0].decorator_list
    if not plain or len(lines) > 7 or not lines[0].endswith(":"):
        return None
    return lines[0]
