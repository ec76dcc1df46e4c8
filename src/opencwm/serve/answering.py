"""What `/v1/completions` and `/v1/chat/completions` have in common: from a request to its answer, whole or streamed.

Notable choices:
- Prompts are checked and given to the engine before an answer begins, so whatever is wrong with them is an HTTP status;
  an error after the first event of a stream is an event of its own.
- A client that goes away cancels its replies, streamed or not: the connection is listened to all the while.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from opencwm.codec.text import TextCodec
from opencwm.model.sampling import Sampling, Token, TokenConstraint
from opencwm.serve.choices import Delta, deltas
from opencwm.serve.errors import RequestError
from opencwm.serve.metrics import Metrics
from opencwm.serve.pump import Pump, Reply
from opencwm.serve.requests import Options
from opencwm.serve.writing import Writer

T = TypeVar("T")


@dataclass(slots=True)
class Served:
    """The model that a server answers with. `context` is the most tokens of prompt and reply together."""

    name: str
    codec: TextCodec
    vocabulary: int
    context: int
    pump: Pump
    metrics: Metrics
    created: int
    card: dict[str, object]
    """What `/v1/models` says beside OpenAI's fields."""
    legal: Callable[[Sequence[int]], TokenConstraint] | None
    """Makes the constraint to legal frames for a reply to a prompt."""


class Answer:
    """The replies to one request: prompts in the order given, `n` choices each."""

    def __init__(
        self,
        served: Served,
        options: Options,
        prompts: Sequence[Sequence[int]],
        kind: str,
        *,
        constraints: Sequence[TokenConstraint] = (),
    ) -> None:
        """Begins them; `constraints` has one per reply, or none. Raises RequestError."""
        check_model(served, options.model)
        self.served, self.options, self.prompts = served, options, prompts
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.started = time.perf_counter()
        self.ends = options.stop_ids | (frozenset() if options.ignore_ends else served.codec.ends)
        wanted = [
            (prompt, self._sampling(len(prompt), number))
            for prompt in map(self._checked, prompts)
            for number in range(options.n)
        ]
        if constraints:
            wanted = [
                (prompt, replace(sampling, constraint=constraint))
                for (prompt, sampling), constraint in zip(wanted, constraints, strict=True)
            ]
        self.replies: list[Reply] = served.pump.submit(wanted)
        self.generated = 0
        served.metrics.prompt_tokens.inc(sum(map(len, prompts)))

    def _checked(self, prompt: Sequence[int]) -> Sequence[int]:
        served = self.served
        if any(token >= served.vocabulary for token in self.options.allowed or ()):
            raise RequestError(f"allowed_token_ids: ids are 0 to {served.vocabulary - 1}", param="allowed_token_ids")
        if not prompt:
            raise RequestError("the prompt is empty: give at least one token", param="prompt")
        wrong = next((token for token in prompt if token >= served.vocabulary), None)
        if wrong is not None:
            raise RequestError(
                f"token {wrong} is outside the vocabulary of {served.vocabulary}: encode with this model's tokenizer",
                param="prompt",
            )
        if len(prompt) >= served.context:
            raise RequestError(
                f"this model's maximum context length is {served.context:,} tokens, the prompt has {len(prompt):,}: "
                "shorten it, to leave room for a reply",
                param="prompt",
                code="context_length_exceeded",
            )
        return prompt

    def _sampling(self, length: int, number: int) -> Sampling:
        options = self.options
        room = self.served.context - length
        return Sampling(
            max_tokens=room if options.max_tokens is None else min(room, options.max_tokens),
            temperature=options.temperature,
            top_p=options.top_p,
            seed=None if options.seed is None else options.seed + number,
            stop_ids=self.ends,
            logprobs=options.logprobs or 0,
            constraint=None if options.allowed is None else Only(options.allowed),
        )

    def streams(self) -> list[AsyncIterator[Delta]]:
        """The deltas of each choice."""
        options = self.options
        return [
            self._counted(
                deltas(
                    number,
                    reply,
                    Writer(self.served.codec, stops=options.stop, skip_special=options.skip_special),
                    self.ends,
                )
            )
            for number, reply in enumerate(self.replies)
        ]

    async def _counted(self, stream: AsyncIterator[Delta]) -> AsyncIterator[Delta]:
        async for delta in stream:
            if delta.tokens:
                if not self.generated:
                    self.served.metrics.first.observe(time.perf_counter() - self.started)
                self.generated += len(delta.tokens)
                self.served.metrics.tokens.inc(len(delta.tokens))
            yield delta

    def close(self, *, gone: bool = False) -> None:
        """Cancel what is still being generated; `gone` if the client went away."""
        for reply in self.replies:
            reply.cancel()
        if gone:
            self.served.metrics.cancelled.inc(len(self.replies))

    def usage(self) -> dict[str, int]:
        """Tokens of the prompts, each counted once, and of the replies so far."""
        prompt = sum(map(len, self.prompts))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.generated,
            "total_tokens": prompt + self.generated,
        }

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that every answer and every event of a stream has."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.served.name}


class Only:
    """A constraint to some tokens, the same in every place."""

    def __init__(self, allowed: Sequence[int]) -> None:
        self._allowed = allowed

    def allowed(self) -> Sequence[int]:
        return self._allowed

    def push(self, token: int) -> None:
        pass

    def forced(self) -> Sequence[int]:
        return ()


def check_model(served: Served, name: str | None) -> None:
    """Raises RequestError (404) for another model than the one that is served."""
    if name is not None and name != served.name:
        raise RequestError(
            f"there is no model {name!r} here: this server has {served.name!r}",
            status=404,
            param="model",
            code="model_not_found",
        )


def ranked(token: Token) -> list[tuple[int, float]]:
    """Ids and log-probabilities of a token's possible alternatives, likeliest first."""
    return [(one, chance) for one, chance in token.alternatives if math.isfinite(chance)]


class ClientGone(Exception):
    """The client closed its connection."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do `work`, or give it up when the client goes away. Raises ClientGone then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answered(request: Request, answer: Answer, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """The whole answer as JSON; an empty response to nobody if the client has gone."""
    gone = False
    try:
        return JSONResponse(await unless_gone(request.receive, work))
    except ClientGone:
        gone = True
        return Response(status_code=499)
    finally:
        answer.close(gone=gone)


class EventStream(Response):
    """Server-sent events, one per object, then `[DONE]`; the answer is closed whatever happens."""

    def __init__(self, answer: Answer, events: AsyncIterator[dict[str, Any]]) -> None:
        super().__init__(media_type="text/event-stream", headers={"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._answer, self._events = answer, events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = False
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await unless_gone(receive, self._send(send))
        except (ClientGone, OSError):
            gone = True
        except asyncio.CancelledError:
            gone = True
            raise
        finally:
            self._answer.close(gone=gone)

    async def _send(self, send: Send) -> None:
        try:
            async for event in self._events:
                await send({"type": "http.response.body", "body": _event(event), "more_body": True})
        except RequestError as error:
            await send({"type": "http.response.body", "body": _event(error.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
