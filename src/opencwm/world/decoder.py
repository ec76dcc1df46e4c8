"""`Decoder`: one legal token at a time out of a model, into frames with how sure it is of each.

Notable choices:
- Greedy among the tokens that the constraint allows, unless it is told to draw; a token that is the only legal one
  waits and is fed together with the next one that needs a choice, so it costs no forward pass of its own.
- Probabilities are those among legal tokens. The chance that a value ends where it ended belongs to the value; which
  token follows belongs to the next frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from opencwm.codec.tokenizer import VALUE_TOKENS
from opencwm.model.compact_constraint import Constraint
from opencwm.model.session import Session
from opencwm.trace.frames import Frame
from opencwm.world.protocol import Prediction

MAX_VALUE_TOKENS = 400


Draw = Callable[[torch.Tensor], int]


def drawing(temperature: float, seed: int) -> Draw | None:
    """A way to draw one of several probabilities, the same for the same seed; None, the greatest, at temperature 0."""
    if temperature <= 0:
        return None
    generator = torch.Generator().manual_seed(seed)

    def draw(chances: torch.Tensor) -> int:
        sharpened = (chances.clamp_min(1e-30).log() / temperature).softmax(0)
        return int(torch.multinomial(sharpened, 1, generator=generator))

    return draw


class EndlessValue(RuntimeError):
    """A value grew beyond `MAX_VALUE_TOKENS` and cannot legally end, or a frame beyond what its decoder waits for."""


class Taker:
    """Takes legal tokens, wherever they are chosen, into frames with their probabilities.

    `tokens` counts tokens written.
    """

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.score = Score()
        self.tokens = 0

    def legal(self) -> list[int]:
        """What may come next, in order; at least one token. Raises EndlessValue."""
        allowed = self.constraint.allowed()
        reader = self.constraint.reader
        if reader.state == "value" and len(reader.value) >= MAX_VALUE_TOKENS:
            allowed = allowed - VALUE_TOKENS
            if not allowed:
                raise EndlessValue(f"a value of more than {MAX_VALUE_TOKENS} tokens")
        return sorted(allowed)

    def take(self, token: int, chance: float, ending: float) -> list[Prediction]:
        """Go on with a token; the frames that it completes, with their probabilities."""
        reader = self.constraint.reader
        if reader.state == "value" and token not in VALUE_TOKENS:
            self.score.add(ending, None if reader.purpose == "step" else reader.value_name or "")
            chance = min(1.0, chance / ending) if ending > 0 else 0.0
        valued = token in VALUE_TOKENS and reader.state in ("value", "result")
        name = (reader.value_name or "") if valued and reader.purpose != "step" else None
        if valued and reader.state == "result":
            name = ""
        completed = False
        predictions: list[Prediction] = []
        for frame in self.constraint.push(token):
            if frame.event == "line":
                self.score.add(chance, None, branch=True)
                completed = True
            predictions.append(self.score.prediction(frame))
            self.score = Score()
        if not completed:
            self.score.add(chance, name, branch=not valued)
        self.tokens += 1
        return predictions


class Decoder(Taker):
    """A session and a constraint in step; `prompt` holds the tokens that both begin with.

    `forwards` counts the model's forward passes. `draw` picks one of several probabilities (None: the greatest).
    `patience`: tokens after which `step` gives up a frame that is not complete (None: those of the context).
    """

    def __init__(
        self,
        session: Session,
        constraint: Constraint,
        prompt: Sequence[int],
        *,
        draw: Draw | None = None,
        patience: int | None = None,
    ) -> None:
        super().__init__(constraint)
        self.draw = draw
        self.patience = patience
        self.of_frame = 0
        """Tokens taken since a frame was completed."""
        self.session = session
        self.pending = list(prompt)
        self.forwards = 0
        self._logits_V: torch.Tensor | None = None

    def choose(self) -> tuple[int, float, float]:
        """The most likely (or a drawn) legal token, its probability, and the probability that an open value ends here.

        Raises ContextFull and EndlessValue.
        """
        ids = self.legal()
        if len(ids) == 1:
            return ids[0], 1.0, 1.0
        chances = torch.softmax(self.logits()[ids], 0)
        best = int(chances.argmax()) if self.draw is None else self.draw(chances)
        ending = 1.0
        if self.constraint.reader.state == "value":
            ending = sum(p for token, p in zip(ids, chances.tolist(), strict=True) if token not in VALUE_TOKENS)
        return ids[best], float(chances[best]), ending

    def logits(self) -> torch.Tensor:
        """What the model expects after all tokens so far: float32 (V,)."""
        if self.pending or self._logits_V is None:
            self._logits_V = self.session.feed(self.pending)
            self.pending = []
            self.forwards += 1
        return self._logits_V

    def expect(self, logits_V: torch.Tensor) -> None:
        """Use logits that were computed elsewhere for the next choice; nothing is pending then."""
        self.pending, self._logits_V = [], logits_V

    def take(self, token: int, chance: float, ending: float) -> list[Prediction]:
        predictions = super().take(token, chance, ending)
        self.of_frame = 0 if predictions else self.of_frame + 1
        self.pending.append(token)
        self._logits_V = None
        return predictions

    def step(self) -> list[Prediction]:
        """Choose and take one token. Raises ContextFull and EndlessValue."""
        if self.patience is not None and self.of_frame >= self.patience:
            raise EndlessValue(f"a frame of more than {self.patience} tokens")
        return self.take(*self.choose())


class Score:
    """Probabilities of the tokens of one frame, multiplied up."""

    def __init__(self) -> None:
        self.total = 1.0
        self.branch = 1.0
        self.values: dict[str, float] = {}

    def add(self, chance: float, name: str | None, *, branch: bool = False) -> None:
        """Count a token: of the value of `name`, of the way control goes, or of neither."""
        self.total *= chance
        if branch:
            self.branch *= chance
        if name is not None:
            self.values[name] = self.values.get(name, 1.0) * chance

    def prediction(self, frame: Frame) -> Prediction:
        return Prediction(frame, self.total, self.branch, self.values, "model")
