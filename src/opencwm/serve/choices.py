"""From tokens to the pieces of an answer: text, tokens with their log-probabilities, and why it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from opencwm.model.sampling import Token
from opencwm.serve.pump import Reply
from opencwm.serve.writing import Writer


@dataclass(slots=True)
class Delta:
    """What is new in one choice. `finish` is "stop" or "length" in its last delta, `stop` the stop text or id met."""

    choice: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    finish: str | None = None
    stop: str | int | None = None


async def deltas(choice: int, reply: Reply, writer: Writer, stop_ids: frozenset[int]) -> AsyncIterator[Delta]:
    """The deltas of one reply, the last of which has its `finish`. A stop text met cancels the reply."""
    last: Token | None = None
    async for tokens in reply:
        delta = Delta(choice)
        for token in tokens:
            last = token
            delta.offsets.append(writer.length)
            delta.tokens.append(token)
            if token.id not in stop_ids:
                delta.text += writer.push(token.id)
            if writer.stopped is not None:
                reply.cancel()
                delta.finish, delta.stop = "stop", writer.stopped
                yield delta
                return
        if delta.text or delta.tokens:
            yield delta
    end = Delta(choice, writer.finish(), finish="length" if reply.finish == "length" else "stop")
    if writer.stopped is not None:
        end.finish, end.stop = "stop", writer.stopped
    elif last is not None and last.id in stop_ids:
        end.stop = last.id
    yield end


async def merged(streams: Sequence[AsyncIterator[Delta]]) -> AsyncIterator[Delta]:
    """The deltas of several choices as they come. Leaving early, or an error in one, ends them all."""
    arrived: asyncio.Queue[Delta | Exception | None] = asyncio.Queue()

    async def feed(stream: AsyncIterator[Delta]) -> None:
        try:
            async for delta in stream:
                arrived.put_nowait(delta)
            arrived.put_nowait(None)
        except Exception as error:
            arrived.put_nowait(error)

    tasks = [asyncio.create_task(feed(stream)) for stream in streams]
    try:
        left = len(tasks)
        while left:
            item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole(streams: Sequence[AsyncIterator[Delta]]) -> list[Delta]:
    """One delta per choice, with everything in it."""
    sums: list[Delta] = []
    async for delta in merged(streams):
        while len(sums) <= delta.choice:
            sums.append(Delta(len(sums)))
        total = sums[delta.choice]
        total.text += delta.text
        total.tokens += delta.tokens
        total.offsets += delta.offsets
        total.finish, total.stop = delta.finish or total.finish, delta.stop if delta.finish else total.stop
    return sums
