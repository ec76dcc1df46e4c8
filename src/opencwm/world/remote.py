"""`RemoteWorld`: a model behind an OpenAI-compatible server that predicts runs.

Notable choices:
- What a server takes is found out once, when connecting: token ids in both directions (this package's server, vLLM), or
  texts with special tokens spelled out, with or without log-probabilities. Where ids go both ways nothing is ever
  tokenised twice; a source that spells special tokens needs them.
- A model of the `cwm` format is asked for one frame at a time (`cwm_run`). One of the `compact` format (this package's
  server says so) is decoded here, among legal tokens alone, in the same way as a local model.
- This package's server can keep a model of the `cwm` format to legal frames, and is asked to.
- Only a server that cannot be asked is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opencwm.codec.cwm import BEGIN, END, FRAME_SEP, TRUNCATED, TextTokenizer
from opencwm.codec.llama3 import NAMES
from opencwm.codec.tokenizer import SIZE
from opencwm.trace.frames import Frame, Trace
from opencwm.world import cwm_run
from opencwm.world.confidence import Piece
from opencwm.world.cwm_run import CwmRun, ModelContextFull, Written, piece_of
from opencwm.world.endpoint import Endpoint, Refused
from opencwm.world.local import CONTEXT_TOKENS, CompactRun
from opencwm.world.protocol import Run, Runnable, WorldError
from opencwm.world.remote_compact import RemoteDecoder
from opencwm.world.repeats import Repeats

_STOPS = (NAMES[FRAME_SEP], NAMES[END])


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server takes. `ids`: token ids as prompt and in the answer. `extras`: the fields that ask for special
    tokens to be shown and for log-probabilities. `opens`: it puts `<|begin_of_text|>` before a text by itself."""

    ids: bool
    extras: bool
    opens: bool = False


class RemoteWorld:
    """Predicts runs with the model of a server; see `connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        model: str,
        card: dict[str, Any],
        dialect: Dialect | None,
        tokenizer: TextTokenizer | None,
    ) -> None:
        self.endpoint, self.model, self.dialect = endpoint, model, dialect
        self.tokenizer = tokenizer if dialect is not None and dialect.ids else None
        self.name = model
        self.compact = card.get("codec") == "compact"
        self.legal = card.get("legal_frames") is True
        self.python = str(card.get("python", "3.11"))
        size = card.get("tokens")
        self.size = min(size, SIZE) if isinstance(size, int) else SIZE
        context = card.get("max_model_len")
        self.max_tokens = context if isinstance(context, int) else None

    @classmethod
    def connect(
        cls, endpoint: Endpoint, *, model: str | None = None, tokenizer: TextTokenizer | None = None
    ) -> RemoteWorld:
        """The world of a server. `model`: which of its models. `tokenizer`: Llama 3's, to send token ids.

        Raises WorldError.
        """
        try:
            listed = endpoint.get("/v1/models", once=model is not None).get("data")
        except Refused:
            if model is None:
                raise
            listed = None  # some servers cannot list what they serve all the same
        listed = listed if isinstance(listed, list) else []
        cards = {str(card["id"]): card for card in listed if isinstance(card, dict) and "id" in card}
        if model is None:
            if len(cards) != 1:
                names = ", ".join(sorted(cards)[:8]) or "none that it names"
                raise WorldError(f"{endpoint.url} has several models or none ({names}): name one with --model")
            model = next(iter(cards))
        card = cards.get(model, {})
        dialect = None if card.get("codec") == "compact" else _dialect(endpoint, model, tokenizer)
        return cls(endpoint, model=model, card=card, dialect=dialect, tokenizer=tokenizer)

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        """Predict a run, or go on after given frames; one that repeats itself is ended. Raises WorldError."""
        if not self.compact:
            return CwmRun(self, program, prefix, python=self.python)
        given = Trace(program.context, program.entry_line, tuple(prefix), TRUNCATED, self.python)
        return CompactRun(self.start, given, repeats=Repeats(program.context))

    def start(self, given: Trace) -> RemoteDecoder:
        """A decoder of compact tokens that goes on after the frames of `given`."""
        most = self.max_tokens or CONTEXT_TOKENS
        return RemoteDecoder(self.endpoint, self.model, given, max_tokens=most, size=self.size)

    def write(self, prompt: list[int] | str) -> Written:
        """What the model writes up to the next separator. Raises ModelContextFull and WorldError."""
        assert self.dialect is not None
        if isinstance(prompt, str) and self.dialect.opens:
            prompt = prompt.removeprefix(NAMES[BEGIN])
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": cwm_run.FRAME_TOKENS,
            "temperature": 0,
            "stop": list(_STOPS),
        }
        if self.dialect.extras:
            body |= {"logprobs": 1, "skip_special_tokens": False, "add_special_tokens": False}
        if self.legal:
            body["legal_frames"] = True
        if self.dialect.ids:
            del body["stop"]
            body |= {"return_token_ids": True, "stop_token_ids": [FRAME_SEP, END]}
        try:
            answer = self.endpoint.post("/v1/completions", body)
        except Refused as error:
            if error.status == 400 and "context" in str(error).lower():
                raise ModelContextFull(str(error)) from None
            raise
        return _written(answer, self.dialect, self.tokenizer)


def _dialect(endpoint: Endpoint, model: str, tokenizer: TextTokenizer | None) -> Dialect:
    """Find out what a server takes, with requests for one token. Raises WorldError if it takes nothing."""
    asked = {"model": model, "max_tokens": 1, "temperature": 0}
    extras = {"logprobs": 1, "skip_special_tokens": False, "add_special_tokens": False}
    if tokenizer is not None:
        try:
            answer = endpoint.post(
                "/v1/completions", asked | extras | {"prompt": [BEGIN, FRAME_SEP], "return_token_ids": True}
            )
            if isinstance(_choice(answer).get("token_ids"), list):
                return Dialect(ids=True, extras=True)
        except Refused as error:
            if error.status not in (400, 422):
                raise
    try:
        _choice(endpoint.post("/v1/completions", asked | extras | {"prompt": "a"}))
        return Dialect(ids=False, extras=True)
    except Refused as error:
        if error.status not in (400, 422):
            raise
    answer = endpoint.post("/v1/completions", asked | {"prompt": "a", "stop": list(_STOPS)})
    _choice(answer)
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return Dialect(ids=False, extras=False, opens=isinstance(tokens, int) and tokens > 1)


def _choice(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise WorldError("the server's answer holds no choice: is it an OpenAI-compatible server?")
    return choices[0]


def _written(answer: dict[str, Any], dialect: Dialect, tokenizer: TextTokenizer | None) -> Written:
    choice = _choice(answer)
    cut = choice.get("finish_reason") == "length"
    logprobs = choice.get("logprobs") or {}
    chances = logprobs.get("token_logprobs") or []
    if dialect.ids:
        ids = choice.get("token_ids")
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids) or tokenizer is None:
            raise WorldError("the server's answer holds no token ids, though it gave some when it was first asked")
        if not cut and not (ids and ids[-1] in (FRAME_SEP, END)):
            stop = choice.get("stop_reason")
            ids = [*ids, stop if stop in (FRAME_SEP, END) else END]
        pieces = [
            Piece(piece_of(token, tokenizer), chances[index] if index < len(chances) else 0.0)
            for index, token in enumerate(ids)
        ]
        return Written(pieces, ids, cut)
    text = str(choice.get("text") or "")
    for stop in _STOPS:
        text = text.removesuffix(stop)
    end = NAMES[FRAME_SEP] if text.strip() else NAMES[END]
    if choice.get("stop_reason") in _STOPS:
        end = choice["stop_reason"]
    tokens = logprobs.get("tokens") or []
    known = len(tokens) == len(chances) and "".join(map(str, tokens)).startswith(text) and text
    pieces = [Piece(str(token), chance) for token, chance in zip(tokens, chances, strict=True)] if known else []
    if not known:
        pieces = [Piece(text, math.nan)] if text else []
    elif "".join(map(str, tokens)) != text:
        pieces = [piece for piece in pieces if piece.text not in _STOPS]
    return Written(pieces if cut else [*pieces, Piece(end, 0.0 if known else math.nan)], [], cut)
