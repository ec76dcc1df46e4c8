"""`Pump`: runs the engine in a thread of its own, and hands its tokens to the server's event loop.

Notable choices:
- Tokens cross over in batches: the engine's thread puts them down, and wakes the loop only if it is not yet on its way.
- A reply that nobody wants any more is cancelled in the engine, so its place is free after the next step.
- A step that does not end (a fault of a constraint or the device) cannot be cancelled: closing waits `PATIENCE` seconds
  for it, says so, and leaves the thread, which does not keep the process alive.
- After `FAILURES` replies in a row that the engine had to give up the server calls itself unhealthy.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial

from opencwm.model.engine import Engine, Generation
from opencwm.model.sampling import Sampling, Token
from opencwm.serve.errors import RequestError

FAILURES = 3
PATIENCE = 10.0
log = logging.getLogger("opencwm.serve")


class Reply:
    """One generation under way: an asynchronous iterator of tokens, those that have come together.

    `finish` is why it ended (the engine's word), known when the iterator is exhausted.
    """

    def __init__(self, pump: Pump) -> None:
        self.generation: Generation | None = None
        self.finish: str | None = None
        self._pump = pump
        self._tokens: list[Token] = []
        self._news = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[list[Token]]:
        return self

    async def __anext__(self) -> list[Token]:
        while not self._tokens:
            if self.finish is not None:
                assert self.generation is not None
                if self.generation.error is not None:
                    raise RequestError(self.generation.error, status=500, code="engine")
                if self._pump.closing and self.finish == "cancelled":
                    raise RequestError("the server is shutting down", status=503, code="shutting_down", retry=5)
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        tokens, self._tokens = self._tokens, []
        return tokens

    def cancel(self) -> None:
        """Stop generating. Harmless after the end."""
        if self.generation is not None and self.finish is None:
            self.generation.cancel()

    def arrive(self, token: Token | None) -> None:
        """What the engine has given, None at the end (called in the event loop)."""
        if token is not None:
            self._tokens.append(token)
        else:
            assert self.generation is not None
            self.finish = self.generation.finish_reason
        self._news.set()


class Pump:
    """One engine's thread. At most `limit` replies are under way or waiting at any time."""

    def __init__(self, engine: Engine, *, limit: int) -> None:
        self.engine, self.limit = engine, limit
        self.failures = 0
        self.live = 0
        """Replies under way or waiting."""
        self.closing = False
        self._stop = threading.Event()
        self._arrived: deque[tuple[Reply, Token | None]] = deque()
        self._called = threading.Event()  # the loop is on its way to what has arrived
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=engine.run, args=(self._stop,), name="engine", daemon=True)

    def start(self) -> None:
        """Begin; call it in the event loop that the replies are read in."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Give up what is under way and end the thread, if its step ends."""
        self.closing = True
        self._stop.set()
        await asyncio.to_thread(self._thread.join, PATIENCE)
        if self._thread.is_alive():
            log.error("the engine is still in a step after %g seconds: left behind", PATIENCE)

    def submit(self, wanted: Sequence[tuple[Sequence[int], Sampling]]) -> list[Reply]:
        """Begin replies, all or none. Raises RequestError: 429 when there is no room for them, 400 for bad prompts."""
        if self.closing:
            raise RequestError("the server is shutting down", status=503, code="shutting_down", retry=5)
        if self.live + len(wanted) > self.limit:
            raise RequestError(
                f"{self.live} replies are under way or waiting, the limit is {self.limit}: try again later",
                status=429,
                code="queue_full",
                retry=1,
            )
        replies: list[Reply] = []
        for prompt, sampling in wanted:
            reply = Reply(self)
            try:
                reply.generation = self.engine.submit(prompt, sampling, listener=partial(self._hear, reply))
            except ValueError as error:
                for begun in replies:
                    begun.cancel()
                raise RequestError(str(error), param="prompt") from None
            replies.append(reply)
            self.live += 1
        return replies

    def _hear(self, reply: Reply, token: Token | None) -> None:
        """The engine's thread has a token."""
        self._arrived.append((reply, token))
        if not self._called.is_set():
            self._called.set()
            assert self._loop is not None
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._called.clear()
        while self._arrived:
            reply, token = self._arrived.popleft()
            reply.arrive(token)
            if token is None:
                self.live -= 1
                self.failures = self.failures + 1 if reply.finish == "error" else 0
