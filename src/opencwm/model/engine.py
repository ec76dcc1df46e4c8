"""`Session`: one growing context, decoded token by token, that can be set back.

Notable choices:
- The caller owns the loop: it feeds tokens, reads logits, picks, and rewinds when a choice turns out to be wrong. A
  debugger that steps back and a decoder that drops a frame are the same `rewind`.
- Buffers start small and double, so a session costs what its context needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opencwm.model.transformer import Transformer


class ContextFull(ValueError):
    """A feed that would exceed the session's tokens; nothing was fed."""


class Session:
    """A context of at most `max_tokens` tokens (default: the model's `max_positions`), and the cache of its keys."""

    def __init__(self, model: Transformer, *, max_tokens: int | None = None) -> None:
        limit = model.config.max_positions
        self.max_tokens = limit if max_tokens is None else max_tokens
        if not 0 < self.max_tokens <= limit:
            raise ValueError(f"max_tokens is {max_tokens}: give 1 to {limit}, the model's max_positions")
        self.model = model
        self._cache = model.new_cache()
        self._tokens: list[int] = []

    @property
    def length(self) -> int:
        """Tokens in the context."""
        return len(self._tokens)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The context."""
        return tuple(self._tokens)

    def feed(self, ids: Sequence[int]) -> Tensor:
        """Append tokens and return the logits of what follows them: float32 (V,).

        Raises ContextFull when they do not fit and ValueError for none at all or one outside the vocabulary; the
        context is then unchanged.
        """
        with torch.inference_mode():
            return self.model.logits(self._hidden(ids)[0, -1]).float()

    def feed_all(self, ids: Sequence[int]) -> Tensor:
        """As `feed`, with the logits after each of the new tokens: float32 (T, V)."""
        with torch.inference_mode():
            return self.model.logits(self._hidden(ids)[0]).float()

    def rewind(self, length: int) -> None:
        """Forget all tokens after the first `length`. Raises ValueError when there are not so many."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length}: the context has {self.length} tokens")
        del self._tokens[length:]
        self._cache.length = length

    def _hidden(self, ids: Sequence[int]) -> Tensor:
        if not ids:
            raise ValueError("nothing to feed: give at least one token")
        if self.length + len(ids) > self.max_tokens:
            raise ContextFull(
                f"{self.length} tokens and {len(ids)} more exceed the context of {self.max_tokens}: "
                "rewind, or start from a shorter context"
            )
        vocabulary = self.model.config.vocab_size
        if min(ids) < 0 or max(ids) >= vocabulary:
            wrong = next(token for token in ids if not 0 <= token < vocabulary)
            raise ValueError(
                f"token {wrong} is outside the vocabulary of {vocabulary}: encode with this model's own tokenizer"
            )
        tokens_BT = torch.tensor([ids], dtype=torch.int64, device=self.model.embedding.weight.device)
        hidden_BTC = self.model.hidden(tokens_BT, cache=self._cache)
        self._tokens.extend(ids)
        return hidden_BTC
