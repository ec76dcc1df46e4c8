"""`LocalCwmWorld`: a model of CWM's format in this process, kept to legal frames; `load` takes whatever a folder holds.

Notable choices:
- Malformed output is impossible: every token is drawn among those that `CwmConstraint` allows, and forced ones (the
  rest of a source line, of a name) wait and are fed together with the next one that is chosen.
- A run that goes on keeps its constraint and its cache; one that starts elsewhere is read from where both part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from opencwm.codec.cwm import END, FRAME_SEP, TextTokenizer
from opencwm.codec.errors import CodecError
from opencwm.codec.text import Llama3Text, TokenizerError, open_text
from opencwm.model.cwm_constraint import CwmConstraint, CwmVocabulary
from opencwm.model.runner import Runner
from opencwm.model.sampling import Sampling, draw
from opencwm.model.session import ContextFull, Session
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights, read_config
from opencwm.trace.frames import Frame
from opencwm.world import cwm_run
from opencwm.world.confidence import Piece
from opencwm.world.cwm_run import CwmRun, ModelContextFull, Written, piece_of
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import Run, Runnable, WorldError


def load(folder: Path | None = None) -> LocalWorld | LocalCwmWorld:
    """A world from a weights folder, by what it holds; the shipped model by default.

    Raises WeightsError and WorldError.
    """
    if folder is None or "layout" not in read_config(folder)[1]:
        return LocalWorld.load(folder)
    try:
        codec = open_text(folder)
    except TokenizerError as error:
        raise WorldError(str(error)) from None
    if not isinstance(codec, Llama3Text):
        raise WorldError(
            f"{folder} holds a language model that knows no traces: give weights of CWM, or such as `cwm train` made"
        )
    return LocalCwmWorld(load_weights(folder)[0], codec, name=folder.name)


class LocalCwmWorld:
    """Predicts runs with a model of CWM's tokens. `python`: the version whose errors and texts it is taken to know."""

    def __init__(
        self,
        model: Transformer,
        codec: Llama3Text,
        *,
        name: str = "model",
        max_tokens: int | None = None,
        python: str = "3.11",
    ) -> None:
        if model.config.vocab_size < codec.size:
            raise WorldError(
                f"the model has {model.config.vocab_size:,} tokens, its tokenizer {codec.size:,}: take both from the "
                "same place"
            )
        self.model, self.codec, self.name, self.python = model.eval(), codec, name, python
        self.runner = Runner(model)
        self.vocabulary = CwmVocabulary(codec.piece, codec.encode, model.config.vocab_size)
        self.max_tokens = max_tokens or min(model.config.max_positions, 131_072)

    def run(
        self,
        program: Runnable,
        *,
        prefix: Sequence[Frame] = (),
        temperature: float = 0.0,
        seed: int = 0,
        reuse: Run | None = None,
    ) -> CwmRun:
        """Predict a run, or go on after given frames. Raises WorldError.

        With a temperature the run is drawn, the same one for the same seed. `reuse` is a run of this world that is not
        needed any more: what both have in common is not read again.
        """
        spare = reuse.writer if isinstance(reuse, CwmRun) and isinstance(reuse.writer, _Writer) else None
        session = spare.session if spare is not None else Session(self.runner, max_tokens=self.max_tokens)
        writer = _Writer(self, session, Sampling(1, temperature=temperature, seed=seed))
        return CwmRun(writer, program, prefix, python=self.python, greedy=temperature <= 0)


class _Writer:
    """Writes one run's frames; see `cwm_run.Writer`."""

    def __init__(self, world: LocalCwmWorld, session: Session, sampling: Sampling) -> None:
        self.tokenizer: TextTokenizer = world.codec.tokenizer
        self.session = session
        self._world, self._sampling, self._generator = world, sampling, sampling.generator()
        self._read: list[int] = []  # what the constraint has taken
        self._constraint: CwmConstraint | None = None

    def write(self, prompt: list[int] | str) -> Written:
        """The tokens of the next frame. Raises ModelContextFull and WorldError."""
        assert not isinstance(prompt, str), "a writer with a tokenizer is given ids"
        if self._constraint is None or self._read != prompt:
            try:
                self._constraint = CwmConstraint(self._world.vocabulary, self.tokenizer.decode, prompt)
            except CodecError as error:
                raise WorldError(f"these frames cannot have come so far: {error}") from None
            self._read = list(prompt)
        ids: list[int] = []
        pieces: list[Piece] = []
        while not (ids and ids[-1] in (FRAME_SEP, END)):
            if len(ids) >= cwm_run.FRAME_TOKENS:
                return Written(pieces, ids, cut=True)
            for token, logprob in self._next(self._constraint):
                self._constraint.push(token)
                self._read.append(token)
                ids.append(token)
                pieces.append(Piece(piece_of(token, self.tokenizer), logprob))
        return Written(pieces, ids, cut=False)

    def _next(self, constraint: CwmConstraint) -> list[tuple[int, float]]:
        """Tokens that must come, or one that is chosen, with their log-probabilities."""
        if forced := constraint.forced():
            return [(token, 0.0) for token in forced]
        allowed = constraint.allowed()
        if not (allowed.any() if isinstance(allowed, torch.Tensor) else allowed):
            raise WorldError("no token can come here: this is a fault of the constraint, please report the program")
        known = zip(self.session.tokens, self._read, strict=False)
        same = next((at for at, (ours, theirs) in enumerate(known) if ours != theirs), None)
        length = min(self.session.length, len(self._read) - 1) if same is None else same
        self.session.rewind(length)
        try:
            logits_V = self.session.feed(self._read[length:])
        except ContextFull as error:
            raise ModelContextFull(f"the model's context is full: {error}") from None
        with torch.inference_mode():
            [token] = draw(logits_V.unsqueeze(0), [self._sampling], [self._generator], [allowed])
        return [(token.id, token.logprob)]
