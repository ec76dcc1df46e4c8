"""`CwmRun`: a run in the `cwm` format as a model writes it, frame by frame, in this process or behind a server.

Notable choices:
- The writer is asked for one frame at a time, up to `<|frame_sep|>`. The entry's call has no arguments and is given.
- What a writer that is not kept to legal frames writes may be anything: a malformed frame ends the run as truncated,
  with the place and what was expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from opencwm.codec import cwm
from opencwm.codec.cwm import TextTokenizer
from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import IDS, NAMES
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.confidence import Piece, judged
from opencwm.world.protocol import MAX_FRAMES, PieceByPiece, Prediction, Runnable, WorldError
from opencwm.world.repeats import REPEATS, Repeats

FRAME_TOKENS = 2048
"""Tokens that one frame may have, as in CWM's own debugger."""


class ModelContextFull(WorldError):
    """The frame asked for does not fit the model's context."""


@dataclass(frozen=True, slots=True)
class Written:
    """One answer: the tokens or the text that the model wrote, with the stop it met if that is known.

    `cut`: it met no stop.
    """

    pieces: list[Piece]
    ids: list[int]
    cut: bool


class Writer(Protocol):
    """Goes on with a trace, given as ids if it has a `tokenizer`, else as text."""

    @property
    def tokenizer(self) -> TextTokenizer | None: ...

    def write(self, prompt: list[int] | str) -> Written:
        """What comes up to the next separator. Raises ModelContextFull and WorldError."""
        ...


def piece_of(token: int, tokenizer: TextTokenizer) -> str:
    """The text of one token; what is half a character stands as U+FFFD, which is enough to find its place."""
    if token in NAMES:
        return NAMES[token]
    try:
        return tokenizer.decode([token])
    except CodecError:
        return "\ufffd"


class CwmRun(PieceByPiece):
    """Frames of the `cwm` format as a model writes them; `outcome` is set at the end.

    `greedy`: the writer always takes the likeliest token, so that a run that repeats itself would never end, and is
    ended.
    """

    def __init__(
        self, writer: Writer, program: Runnable, prefix: Sequence[Frame], *, python: str, greedy: bool = True
    ) -> None:
        self.writer = writer
        given = Trace(program.context, program.entry_line, tuple(prefix), cwm.TRUNCATED, python)
        super().__init__(given)
        if not given.frames:
            first = Frame("call", given.entry_line, program.entry, 0)
            given = replace(given, frames=(first,))
            self._ready.append(Prediction(first, source="model"))
        self._count = len(given.frames)
        self._last = given.frames[-1]
        self._given = len(given.frames)
        self._repeats = Repeats(program.context) if greedy else None
        for frame in given.frames:
            self._repeating(frame)
        try:
            self._prompt: list[int] | str
            tokenizer = writer.tokenizer
            self._prompt = cwm.to_text(given) if tokenizer is None else cwm.encode(given, tokenizer)
        except CodecError as error:
            raise WorldError(
                f"cannot write this program in CWM's format: {error}; token ids might (--llama3 FILE)"
            ) from None

    def _advance(self) -> None:
        """One frame further, or to the end."""
        try:
            written = self.writer.write(self._prompt)
        except ModelContextFull:
            if self._count == self._given:
                raise
            self.outcome = Outcome("truncated", "the model's context is full")
            return
        if written.cut:
            self.outcome = Outcome("truncated", f"a frame of more than {FRAME_TOKENS} tokens")
            return
        if isinstance(self._prompt, str):
            self._prompt += "".join(piece.text for piece in written.pieces)
        else:
            self._prompt += written.ids
        try:
            trace = self._read()
        except CodecError as error:
            shown = any(piece.text in IDS for piece in written.pieces[:-1])
            hint = "" if shown else "; no special token in it: does the server hide them, or has the model none?"
            self.outcome = Outcome("truncated", f"malformed frame: {error}{hint}")
            return
        repeating = False
        if len(trace.frames) > self._count:
            self._last = trace.frames[-1]
            self._count = len(trace.frames)
            self._ready.append(judged(self._last, written.pieces))
            repeating = self._repeating(self._last)
        if trace.outcome.kind != "truncated":
            self.outcome = trace.outcome
        elif self._last.depth == 0 and self._last.event == "return":
            self.outcome = Outcome("return")
        elif repeating:
            self.outcome = Outcome("truncated", REPEATS)
        elif self._count - self._given >= MAX_FRAMES:
            self.outcome = Outcome("truncated", "frames")

    def _repeating(self, frame: Frame) -> bool:
        return self._repeats is not None and self._repeats.add(frame)

    def _read(self) -> Trace:
        """The whole run so far. Raises CodecError."""
        if isinstance(self._prompt, str):
            return cwm.from_text(self._prompt, python=self.python)
        assert self.writer.tokenizer is not None
        return cwm.decode(self._prompt, self.writer.tokenizer, python=self.python)
