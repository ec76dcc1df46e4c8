"""`Session`: one growing context, decoded token by token, that can be set back.

Notable choices:
- The caller owns the loop: it feeds tokens, reads logits, picks, and rewinds when a choice turns out to be wrong. A
  debugger that steps back and a decoder that drops a frame are the same `rewind`. Many contexts at once are `Engine`'s.
- A model with local layers forgets keys that its windows have left behind. A rewind that needs them is allowed all the
  same; the context is then fed anew with the next tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opencwm.model.cache import Segment
from opencwm.model.runner import Runner
from opencwm.model.transformer import Transformer

CHUNK = 512
"""Tokens of a context that pass the model at once."""


class ContextFull(ValueError):
    """A feed that would exceed the session's tokens; nothing was fed."""


class Session:
    """A context of at most `max_tokens` tokens (default: the model's `max_positions`), and the cache of its keys.

    `model` may be a `Runner`, which several sessions can share.
    """

    def __init__(self, model: Transformer | Runner, *, max_tokens: int | None = None) -> None:
        self.runner = model if isinstance(model, Runner) else Runner(model)
        limit = self.runner.config.max_positions
        self.max_tokens = limit if max_tokens is None else max_tokens
        if not 0 < self.max_tokens <= limit:
            raise ValueError(f"max_tokens is {max_tokens}: give 1 to {limit}, the model's max_positions")
        self._cache = self.runner.new_cache(1, self.max_tokens, chunk=min(CHUNK, self.max_tokens))
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
        return self.runner.logits(self._hidden(ids)[-1:])[0]

    def feed_all(self, ids: Sequence[int]) -> Tensor:
        """As `feed`, with the logits after each of the new tokens: float32 (T, V)."""
        return self.runner.logits(self._hidden(ids)[-len(ids) :])

    def rewind(self, length: int) -> None:
        """Forget all tokens after the first `length`. Raises ValueError when there are not so many."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind to {length}: the context has {self.length} tokens")
        del self._tokens[length:]
        if self._cache.lengths[0] > length:
            if self._cache.reaches(0, length):
                self._cache.lengths[0] = length
            else:
                self._cache.clear(0)

    def _hidden(self, ids: Sequence[int]) -> Tensor:
        if not ids:
            raise ValueError("nothing to feed: give at least one token")
        if self.length + len(ids) > self.max_tokens:
            raise ContextFull(
                f"{self.length} tokens and {len(ids)} more exceed the context of {self.max_tokens}: "
                "rewind, or start from a shorter context"
            )
        vocabulary = self.runner.config.vocab_size
        if min(ids) < 0 or max(ids) >= vocabulary:
            wrong = next(token for token in ids if not 0 <= token < vocabulary)
            raise ValueError(
                f"token {wrong} is outside the vocabulary of {vocabulary}: encode with this model's own tokenizer"
            )
        due = [*self._tokens[self._cache.lengths[0] :], *ids]
        chunk = self._cache.chunk
        parts = [self.runner.hidden(self._cache, [Segment(0, due[i : i + chunk])]) for i in range(0, len(due), chunk)]
        self._tokens.extend(ids)
        return parts[0] if len(parts) == 1 else torch.cat(parts)
