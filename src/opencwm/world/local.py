"""`LocalWorld`: a model in this process that predicts runs.

Notable choices:
- A run that outgrows the context goes on from a snapshot, the call stack with all locals and the latest frames, so its
  length is not bounded by the model's context.
- A model whose vocabulary is an earlier, smaller one is given programs in that vocabulary, and only its own tokens are
  ever offered to it.
- Probabilities are told as the calibration beside the weights says they are worth, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from opencwm.codec.compact import Encoder
from opencwm.codec.compact_reader import Reader
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import FIRST_SIZE, SIZE
from opencwm.model.compact_constraint import Constraint
from opencwm.model.runner import Runner
from opencwm.model.session import ContextFull, Session
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights, read_config
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.calibration import Calibration, CalibrationError
from opencwm.world.decoder import Decoder, Draw, EndlessValue, Score, drawing
from opencwm.world.protocol import MAX_FRAMES, PieceByPiece, Prediction, Run, Runnable, WorldError
from opencwm.world.repeats import REPEATS, Repeats

CONTEXT_TOKENS = 1024
"""The context that a run may fill, where the weights do not say."""
SHIPPED = Path(__file__).parents[1] / "weights" / "tiny"
UNFINISHED = Outcome("truncated", "unfinished")
_NONE = Prediction(Frame("exception", 0, "", 0, value="no frame within the model's context"), 0.0, 0.0, {}, "model")


class LocalWorld:
    """Predicts runs with a model of `compact` tokens. `max_tokens` is the context that a run may fill.

    `calibration`: what its probabilities are worth; None tells them as the model gives them. `patience`: tokens after
    which a frame that is not complete is given up, for a model that may not know how to end one (None: the context's).
    `copies`: write what can only be a copy for the model (`model/copies.py`); without, it answers alone.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        name: str = "model",
        max_tokens: int = CONTEXT_TOKENS,
        python: str = "3.11",
        calibration: Calibration | None = None,
        patience: int | None = None,
        copies: bool = True,
    ) -> None:
        if model.config.vocab_size < FIRST_SIZE:
            raise WorldError(
                f"the model has {model.config.vocab_size} tokens, the compact codec at least {FIRST_SIZE}: "
                "these weights are for another codec; train again or take this version's weights"
            )
        self.model = model.eval()
        self.size = min(model.config.vocab_size, SIZE)
        self.runner = Runner(model)
        self.name = name
        self.max_tokens = min(max_tokens, model.config.max_positions)
        self.python = python
        self.calibration = calibration
        self.patience = patience
        self.copies = copies

    @classmethod
    def load(cls, folder: Path | None = None, *, threads: int | None = 1, copies: bool = True) -> LocalWorld:
        """A world from a weights folder, the shipped one by default. Raises WeightsError and WorldError.

        `threads` is set for all of torch (None leaves it): one token of a small model is too little work for two
        threads, and on a busy machine waiting for each other makes them many times slower.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        folder = folder or SHIPPED
        _, info = read_config(folder)
        if "layout" in info or info.get("codec", "compact") != "compact":
            raise WorldError(
                f"{folder} holds a model of text, not of compact traces: give weights that `cwm train` made, or of CWM"
            )
        model, info = load_weights(folder)
        try:
            calibration = Calibration.load(folder)
        except CalibrationError as error:
            raise WorldError(str(error)) from None
        tokens = info.get("context_tokens")
        return cls(
            model,
            name=folder.name if copies else f"{folder.name}, alone",
            max_tokens=tokens if isinstance(tokens, int) else CONTEXT_TOKENS,
            python=str(info.get("python", "3.11")),
            calibration=calibration,
            copies=copies,
        )

    def run(
        self,
        program: Runnable,
        *,
        prefix: Sequence[Frame] = (),
        temperature: float = 0.0,
        seed: int = 0,
        reuse: Run | None = None,
    ) -> CompactRun:
        """Predict a run, or go on after given frames. Raises WorldError if the source does not fit the context.

        With a temperature the run is drawn, the same one for the same seed; at 0 it is the most likely one, token by
        token. `reuse` is a run of this world that is not needed any more: what both have in common is not read again.
        """
        spare = reuse.decoder if isinstance(reuse, CompactRun) else None
        session = spare.session if isinstance(spare, Decoder) else None
        start = partial(self.start, draw=drawing(temperature, seed), spare=session)
        repeats = Repeats(program.context) if temperature <= 0 else None
        given = self._given(program.context, program.entry_line, prefix)
        return CompactRun(start, given, calibration=self.calibration, repeats=repeats)

    def _given(self, context: str, entry_line: int, frames: Sequence[Frame]) -> Trace:
        return Trace(context, entry_line, tuple(frames), UNFINISHED, self.python)

    def start(self, given: Trace, draw: Draw | None = None, spare: Session | None = None, *, room: int = 0) -> Decoder:
        """A decoder that goes on after the frames of `given`: all of them if they leave room, else the latest.

        It takes over `spare`, and reads only what that has not read already. `room`: tokens that must be left.
        """
        ids, constraint = opened(given, self.max_tokens - room, self.size, copies=self.copies)
        session = spare or Session(self.runner, max_tokens=self.max_tokens)
        pairs = enumerate(zip(session.tokens, ids[:-1], strict=False))
        known = next((at for at, (ours, theirs) in pairs if ours != theirs), min(session.length, len(ids) - 1))
        session.rewind(known)
        return Decoder(session, constraint, ids[known:], draw=draw, patience=self.patience)

    def next_frames(self, program: Runnable, trace: Trace) -> list[Prediction]:
        """For every frame of a true trace (recorded with steps), the frame predicted after the true ones before it.

        One pass over the true tokens. Where the model would have written another token it writes on from there until
        its own frame is complete, and then returns to the truth.
        """
        try:
            chunks = Encoder(trace, self.size).chunks
        except CodecError as error:
            raise WorldError(f"the trace has no compact form: {error}") from None
        decoder: Decoder | None = self.start(self._given(program.context, program.entry_line, ()))
        predictions: list[Prediction] = []
        for index, chunk in enumerate(chunks):
            if decoder is None or _full(decoder, len(chunk) + 64):
                given = self._given(program.context, program.entry_line, trace.frames[:index])
                decoder = self._beside(given, len(chunk))
            predictions.append(_NONE if decoder is None else _follow(decoder, chunk))
        return predictions if self.calibration is None else list(map(self.calibration, predictions))

    def _beside(self, given: Trace, need: int) -> Decoder | None:
        """A decoder after `given` with room for `need` tokens; None where source and states leave none."""
        try:
            decoder = self.start(given)
            return self.start(given, room=need) if _full(decoder, need) else decoder
        except WorldError:
            return None


def opened(given: Trace, max_tokens: int, size: int = SIZE, *, copies: bool = True) -> tuple[list[int], Constraint]:
    """Tokens of the frames of `given`, all of them if they leave room, else the latest, and what may follow them.

    `size`: tokens of the vocabulary that the model has.

    Raises WorldError if the source does not fit the context.
    """
    try:
        encoder = Encoder(given, size)
    except CodecError as error:
        raise WorldError(f"cannot write this program in compact form: {error}") from None
    start = encoder.latest(max_tokens * 3 // 4)
    if start:
        start = encoder.latest(max_tokens // 2)
    if start < 0:
        start = encoder.latest(max_tokens * 3 // 4)
    if start < 0:
        raise WorldError(
            f"the source and one state exceed the model's context of {max_tokens} tokens: predict a shorter program"
        )
    ids = encoder.window(start, len(given.frames), ending=False).ids
    reader = Reader.from_prompt(ids, size)
    constraint = Constraint(reader, copies=copies)
    for token in ids[reader.offset :]:
        constraint.push(token)
    constraint.settle()
    return ids, constraint


class Stepper(Protocol):
    """Writes one token at a time. `step` raises ContextFull, EndlessValue and WorldError."""

    constraint: Constraint

    def step(self) -> list[Prediction]: ...


class CompactRun(PieceByPiece):
    """Frames as a model writes them, in this process or behind a server; `outcome` is set at the end.

    `start` gives what writes on after a trace. `repeats` ends a run that repeats itself; with it, the one token that
    is most likely must be written each time. Raises what `start` raises.
    """

    def __init__(
        self,
        start: Callable[[Trace], Stepper],
        given: Trace,
        *,
        calibration: Calibration | None = None,
        repeats: Repeats | None = None,
    ) -> None:
        self._start, self._calibration = start, calibration
        super().__init__(given)
        self._repeats = repeats
        if repeats is not None:
            for frame in given.frames:
                repeats.add(frame)
        self.decoder = start(given)
        self.tokens = 0
        self._frames = list(given.frames)
        self._restarted_at = -1
        self._given = len(given.frames)

    def _advance(self) -> None:
        """One token further."""
        try:
            new = self.decoder.step()
        except ContextFull:
            self._go_on()
            return
        except EndlessValue as error:
            self.outcome = Outcome("truncated", str(error))
            return
        self.tokens += 1
        self._ready += new if self._calibration is None else map(self._calibration, new)
        self._frames += [prediction.frame for prediction in new]
        reader = self.decoder.constraint.reader
        if reader.state == "done":
            self.outcome = reader.outcome
        elif self._repeats is not None and any([self._repeats.add(prediction.frame) for prediction in new]):
            self.outcome = Outcome("truncated", REPEATS)
        elif len(self._frames) - self._given >= MAX_FRAMES:
            self.outcome = Outcome("truncated", "frames")

    def _go_on(self) -> None:
        """Start anew from a snapshot. Ends the run where a frame is too long for any context: it would never end."""
        given = Trace(self.context, self.entry_line, tuple(self._frames), UNFINISHED, self.python)
        stuck = len(self._frames) == self._restarted_at
        self._restarted_at = len(self._frames)
        try:
            if not stuck:
                self.decoder = self._start(given)
                return
        except WorldError:
            pass
        self.outcome = Outcome("truncated", "a frame longer than the model's context")


def _full(decoder: Decoder, need: int) -> bool:
    """Whether a decoder has less than `need` tokens left."""
    return decoder.session.length + len(decoder.pending) + need > decoder.session.max_tokens


def _follow(decoder: Decoder, chunk: Sequence[int]) -> Prediction:
    """The decoder's own next frame; afterwards the decoder has taken the true tokens `chunk` instead."""
    first_V = decoder.logits()
    border = decoder.session.length
    logits_TV = torch.cat([first_V[None], decoder.session.feed_all(chunk)])
    truth = decoder.constraint.clone()
    completed: list[Prediction] = []
    for offset, token in enumerate(chunk):
        decoder.expect(logits_TV[offset])
        choice, chance, ending = decoder.choose()
        if choice != token:
            decoder.session.rewind(border + offset)
            own = _free(decoder, choice, chance, ending)
            break
        completed += decoder.take(token, chance, ending)
    else:
        decoder.expect(logits_TV[len(chunk)])
        own = completed[0] if completed else _free(decoder, *decoder.choose())
    for token in chunk:
        truth.push(token)
    truth.settle()
    decoder.constraint = truth
    decoder.score = Score()
    decoder.of_frame = 0
    decoder.session.rewind(min(decoder.session.length, border))
    decoder.session.feed(chunk)
    decoder.expect(logits_TV[len(chunk)])
    return own


def _free(decoder: Decoder, choice: int, chance: float, ending: float) -> Prediction:
    """Write on from a choice until a frame is complete."""
    predictions = decoder.take(choice, chance, ending)
    while not predictions:
        try:
            predictions = decoder.step()
        except (ContextFull, EndlessValue):
            return decoder.score.prediction(_NONE.frame)
    return predictions[0]
