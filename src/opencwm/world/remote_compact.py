"""`RemoteDecoder`: `compact` tokens of a server's model, legal ones only, chosen here.

Notable choices:
- The server writes `CHUNK` tokens greedily; they are taken as long as they are legal. Where one is not, the likeliest
  legal token is asked for (`allowed_token_ids`), and the rest of the chunk is thrown away. So the result is that of a
  local model, at one request for many tokens where the model knows the format.
- A token that is the only legal one is taken without asking.
"""

from __future__ import annotations

import math
from typing import Any

from opencwm.codec.tokenizer import VALUE_TOKENS
from opencwm.model.session import ContextFull
from opencwm.trace.frames import Trace
from opencwm.world.decoder import Taker
from opencwm.world.endpoint import Endpoint
from opencwm.world.local import opened
from opencwm.world.protocol import Prediction, WorldError

CHUNK = 32
ALTERNATIVES = 50


class RemoteDecoder(Taker):
    """Goes on after the frames of `given`. `requests` counts what was asked of the server."""

    def __init__(self, endpoint: Endpoint, model: str, given: Trace, *, max_tokens: int, size: int) -> None:
        self.ids, constraint = opened(given, max_tokens, size)
        super().__init__(constraint)
        self.endpoint, self.model, self.max_tokens = endpoint, model, max_tokens
        self.requests = 0
        self._ahead: list[tuple[int, dict[int, float]]] = []  # tokens that the server has written, with alternatives

    def step(self) -> list[Prediction]:
        """One token further; the frames that it completes. Raises ContextFull, EndlessValue and WorldError."""
        legal = self.legal()
        if len(legal) == 1:
            return self._go(legal[0], 1.0, 1.0)
        if len(self.ids) >= self.max_tokens:
            raise ContextFull(f"{self.max_tokens} tokens are the server's context")
        if not self._ahead:
            self._ahead = self._ask({"max_tokens": min(CHUNK, self.max_tokens - len(self.ids))})
        token, chances = self._ahead[0]
        if token not in legal:
            self._ahead = self._ask({"max_tokens": 1, "allowed_token_ids": legal})
            token, chances = self._ahead[0]
            if token not in legal:
                raise WorldError("the server wrote a token that it was not allowed: it does not know allowed_token_ids")
        among = {one: chances[one] for one in legal if one in chances}
        mass = sum(among.values())
        ending = 1.0
        if self.constraint.reader.state == "value":
            ending = sum(chance for one, chance in among.items() if one not in VALUE_TOKENS) / mass
        return self._go(token, among[token] / mass, ending)

    def _go(self, token: int, chance: float, ending: float) -> list[Prediction]:
        if self._ahead and self._ahead[0][0] == token:
            del self._ahead[0]
        else:
            self._ahead = []
        self.ids.append(token)
        return self.take(token, chance, ending)

    def _ask(self, wanted: dict[str, Any]) -> list[tuple[int, dict[int, float]]]:
        """Tokens that the server writes next, and the probabilities of the likeliest in each place."""
        self.requests += 1
        body = {
            "model": self.model,
            "prompt": self.ids,
            "temperature": 0,
            "logprobs": ALTERNATIVES,
            "return_token_ids": True,
            "ignore_eos": True,
        }
        answer = self.endpoint.post("/v1/completions", body | wanted)
        try:
            choice = answer["choices"][0]
            ids, logprobs = choice["token_ids"], choice["logprobs"]
            found = []
            for token, own, top in zip(ids, logprobs["token_logprobs"], logprobs["top_token_ids"], strict=True):
                found.append((int(token), {int(one): math.exp(chance) for one, chance in [[token, own], *top]}))
        except (KeyError, IndexError, TypeError, ValueError):
            raise WorldError(
                f"{self.endpoint.url} does not answer as `cwm serve` does: is it of this version?"
            ) from None
        if not found:
            raise WorldError(f"{self.endpoint.url} wrote no token")
        return found
