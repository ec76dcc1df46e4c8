"""`Generation`: one continuation, as the engine's thread writes it and other threads read it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Literal

from opencwm.model.sampling import Token

FinishReason = Literal["stop", "length", "cancelled", "error"]


class GenerationError(RuntimeError):
    """A sequence that the engine had to give up; the message says why."""


class Generation:
    """A continuation as it comes. Iterating gives its tokens, waiting for each; it may be iterated once.

    `started`: it has a token. `finish_reason` is None while it runs: then "stop" (a stop token, or a constraint with
    nothing left to allow), "length", "cancelled" or "error". After "error", iterating raises GenerationError.
    `reused_tokens` counts tokens of the prompt that were found in the cache.
    """

    def __init__(self, prompt_tokens: int, listener: Callable[[Token | None], None] | None) -> None:
        self.prompt_tokens = prompt_tokens
        self.reused_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.error: str | None = None
        self.cancelled = False
        self.started = False  # the first token is there
        self._listener = listener
        self._queue: queue.SimpleQueue[Token | None] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Stop it with the engine's next step, whatever it is doing; more than once is no harm."""
        self.cancelled = True

    def __iter__(self) -> Iterator[Token]:
        while True:
            token = self._queue.get()
            if token is None:
                break
            yield token
        if self.error is not None:
            raise GenerationError(self.error)

    def result(self) -> list[Token]:
        """All tokens, once it has finished. Raises GenerationError."""
        return list(self)

    def give(self, token: Token | None) -> None:
        """For the engine: one more token, or the end."""
        self.started = self.started or token is not None
        self._queue.put(token)
        if self._listener is not None:
            try:
                self._listener(token)
            except Exception:  # whoever listened is gone; the engine's other sequences are not
                self._listener = None
                self.cancelled = True
