"""`/v1/completions`: texts or token ids, gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from opencwm.codec.errors import CodecError
from opencwm.model.sampling import TokenConstraint
from opencwm.serve import requests
from opencwm.serve.answering import Answer, EventStream, Served, answered, check_model, ranked
from opencwm.serve.choices import Delta, merged, whole
from opencwm.serve.encoding import encoded
from opencwm.serve.errors import RequestError
from opencwm.serve.writing import Writer, shown


async def complete(served: Served, request: Request) -> Response:
    """Answer one request. Raises RequestError."""
    wanted = requests.completion(requests.parse(await request.body()))
    check_model(served, wanted.options.model)
    if wanted.echo and wanted.options.logprobs is not None:
        raise RequestError("echo with logprobs is not supported: leave one of them out", param="echo")
    prompts = [await _ids(served, prompt, wanted.add_begin) for prompt in wanted.prompts]
    constraints = await _legal(served, wanted, prompts) if wanted.legal_frames else ()
    answer = Answer(served, wanted.options, prompts, "cmpl", constraints=constraints)
    echoes = [_text(served, ids, wanted.options) if wanted.echo else "" for ids in prompts]
    if wanted.options.stream:
        return EventStream(answer, _events(answer, echoes))
    return await answered(request, answer, _whole(answer, echoes))


async def _ids(served: Served, prompt: str | Sequence[int], add_begin: bool) -> Sequence[int]:
    """A prompt as ids. The whole text is the caller's, so names of special tokens count as such."""
    if not isinstance(prompt, str):
        return prompt
    try:
        ids = await encoded(prompt, lambda text: served.codec.encode(text, special=True))
    except CodecError as error:
        raise RequestError(f"prompt: {error}", param="prompt") from None
    begin = served.codec.begin
    if add_begin and begin is not None and ids[:1] != [begin]:
        ids.insert(0, begin)
    return ids


async def _legal(
    served: Served, wanted: requests.Completion, prompts: Sequence[Sequence[int]]
) -> Sequence[TokenConstraint]:
    """Constraints to legal frames, one per reply. Reading a long run takes a while, so a thread does it."""
    legal = served.legal
    if legal is None or wanted.options.allowed is not None:
        raise RequestError(
            "legal_frames needs a model of CWM's format, and excludes allowed_token_ids", param="legal_frames"
        )
    try:
        return await asyncio.to_thread(lambda: [legal(ids) for ids in prompts for _ in range(wanted.options.n)])
    except CodecError as error:
        raise RequestError(f"prompt: {error}", param="prompt") from None


def _text(served: Served, ids: Sequence[int], options: requests.Options) -> str:
    writer = Writer(served.codec, skip_special=options.skip_special)
    return "".join([*map(writer.push, ids), writer.finish()])


async def _whole(answer: Answer, echoes: Sequence[str]) -> dict[str, Any]:
    choices = []
    for total in await whole(answer.streams()):
        echo = echoes[total.choice // answer.options.n]
        total.text = echo + total.text
        choices.append(_choice(answer, total, base=len(echo)) | _ids_of(answer, total, prompt=True))
    return answer.head("text_completion") | {"choices": choices, "usage": answer.usage()}


async def _events(answer: Answer, echoes: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    head = answer.head("text_completion")
    begun: set[int] = set()
    async for delta in merged(answer.streams()):
        echo = echoes[delta.choice // answer.options.n]
        first = delta.choice not in begun
        begun.add(delta.choice)
        if first:
            delta.text = echo + delta.text
        if not (delta.text or delta.finish or answer.options.token_ids or answer.options.logprobs is not None):
            continue
        choice = _choice(answer, delta, base=len(echo)) | _ids_of(answer, delta, prompt=first)
        yield head | {"choices": [choice]}
    if answer.options.usage:
        yield head | {"choices": [], "usage": answer.usage()}


def _choice(answer: Answer, delta: Delta, *, base: int) -> dict[str, Any]:
    return {
        "index": delta.choice,
        "text": delta.text,
        "logprobs": None if answer.options.logprobs is None else _logprobs(answer, delta, base),
        "finish_reason": delta.finish,
        "stop_reason": delta.stop,
    }


def _ids_of(answer: Answer, delta: Delta, *, prompt: bool) -> dict[str, Any]:
    if not answer.options.token_ids:
        return {}
    found: dict[str, Any] = {"token_ids": [token.id for token in delta.tokens]}
    if prompt:
        found["prompt_token_ids"] = list(answer.prompts[delta.choice // answer.options.n])
    return found


def _logprobs(answer: Answer, delta: Delta, base: int) -> dict[str, Any]:
    """OpenAI's four lists; with `return_token_ids`, the ids of the alternatives as well."""
    codec = answer.served.codec
    tops = [ranked(token) for token in delta.tokens]
    result: dict[str, Any] = {
        "tokens": [shown(codec, token.id)[0] for token in delta.tokens],
        "token_logprobs": [token.logprob for token in delta.tokens],
        "top_logprobs": [{shown(codec, one)[0]: chance for one, chance in reversed(top)} for top in tops],
        "text_offset": [base + offset for offset in delta.offsets],
    }
    if answer.options.token_ids:
        result["top_token_ids"] = [[list(pair) for pair in top] for top in tops]
    return result
