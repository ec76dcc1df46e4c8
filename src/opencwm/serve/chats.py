"""`/v1/chat/completions`: messages through the model's chat format, and its thoughts and tool calls read back."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from opencwm.codec.errors import CodecError
from opencwm.codec.replies import Part, ReplyReader, read
from opencwm.codec.text import NoChat
from opencwm.serve import requests
from opencwm.serve.answering import Answer, EventStream, Served, answered, check_model, ranked
from opencwm.serve.choices import Delta, merged, whole
from opencwm.serve.encoding import encoded
from opencwm.serve.errors import RequestError
from opencwm.serve.writing import shown


async def chat(served: Served, request: Request) -> Response:
    """Answer one request. Raises RequestError."""
    wanted = requests.chat(requests.parse(await request.body()))
    check_model(served, wanted.options.model)
    try:
        ids, thinking = await encoded(
            "".join(message.content for message in wanted.messages),
            lambda _: served.codec.chat(
                wanted.messages, wanted.tools, thinking=wanted.thinking, keep_thoughts=wanted.keep_thoughts
            ),
        )
    except (NoChat, CodecError) as error:
        raise RequestError(f"messages: {error}", param="messages") from None
    answer = Answer(served, wanted.options, [ids], "chatcmpl")
    if wanted.options.stream:
        return EventStream(answer, _events(answer, wanted, thinking))
    return await answered(request, answer, _whole(answer, wanted, thinking))


async def _whole(answer: Answer, wanted: requests.Chat, thinking: bool) -> dict[str, Any]:
    choices = []
    for total in await whole(answer.streams()):
        parts = read(total.text, wanted.tools, thinking=thinking)
        calls = [_call(part) for part in parts if part.kind == "call"]
        content = "".join(part.text for part in parts if part.kind == "content")
        thought = "".join(part.text for part in parts if part.kind == "thought")
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
        message |= {"reasoning_content": thought} if thought else {}
        message |= {"tool_calls": calls} if calls else {}
        choices.append(
            {
                "index": total.choice,
                "message": message,
                "logprobs": _logprobs(answer, total),
                "finish_reason": "tool_calls" if calls and total.finish == "stop" else total.finish,
                "stop_reason": total.stop,
            }
            | ({"token_ids": [token.id for token in total.tokens]} if answer.options.token_ids else {})
        )
    result = answer.head("chat.completion") | {"choices": choices, "usage": answer.usage()}
    return result | ({"prompt_token_ids": list(answer.prompts[0])} if answer.options.token_ids else {})


async def _events(answer: Answer, wanted: requests.Chat, thinking: bool) -> AsyncIterator[dict[str, Any]]:
    head = answer.head("chat.completion.chunk")
    readers = [ReplyReader(wanted.tools, thinking=thinking) for _ in range(answer.options.n)]
    calls = [0] * answer.options.n
    for index in range(answer.options.n):
        yield head | {"choices": [_event(index, {"role": "assistant", "content": ""})]}
    async for delta in merged(answer.streams()):
        parts = readers[delta.choice].push(delta.text) + (readers[delta.choice].finish() if delta.finish else [])
        logprobs = _logprobs(answer, delta)
        changes: list[dict[str, Any]] = []
        for part in parts:
            if part.kind == "call":
                changes.append({"tool_calls": [{"index": calls[delta.choice]} | _call(part)]})
                calls[delta.choice] += 1
            else:
                changes.append({"reasoning_content" if part.kind == "thought" else "content": part.text})
        for change in changes or [{}] * bool(logprobs and delta.tokens):
            yield head | {"choices": [_event(delta.choice, change) | {"logprobs": logprobs}]}
            logprobs = None
        if delta.finish:
            finish = "tool_calls" if calls[delta.choice] and delta.finish == "stop" else delta.finish
            end = _event(delta.choice, {}) | {"finish_reason": finish, "stop_reason": delta.stop}
            yield head | {"choices": [end]}
    if answer.options.usage:
        yield head | {"choices": [], "usage": answer.usage()}


def _event(index: int, change: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": change, "logprobs": None, "finish_reason": None}


def _call(part: Part) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.text}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _logprobs(answer: Answer, delta: Delta) -> dict[str, Any] | None:
    if answer.options.logprobs is None:
        return None

    def entry(token: int, chance: float) -> dict[str, Any]:
        text, data = shown(answer.served.codec, token)
        return {"token": text, "logprob": chance, "bytes": list(data)}

    content = [
        entry(token.id, token.logprob) | {"top_logprobs": [entry(*pair) for pair in ranked(token)]}
        for token in delta.tokens
    ]
    return {"content": content}
