"""What clients may ask: JSON bodies read field by field, each wrong one told by name.

Notable choices:
- Fields that change the answer and are not supported are refused; all others that are unknown are ignored, since
  clients send many (`user`, `store`, ...).
- Beside OpenAI's fields these of vLLM's are known, under the same names: `stop_token_ids`, `ignore_eos`,
  `skip_special_tokens`, `add_special_tokens`, `return_token_ids`, `allowed_token_ids`, `chat_template_kwargs`.
  `legal_frames` is this server's own, for prompts that are runs in CWM's format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opencwm.codec.chat import ROLES, Call, Message
from opencwm.codec.tools import Tool
from opencwm.serve.errors import RequestError

MOST_CHOICES = 128
MOST_LOGPROBS = 100
MOST_STOPS = 16
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "suffix": (None, ""),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "min_p": (None, 0),
    "top_k": (None, 0, -1),
    "guided_json": (None,),
    "guided_regex": (None,),
    "functions": (None, []),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What both endpoints have in common. `max_tokens` None: as many as the context holds."""

    model: str | None
    n: int
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    stop_ids: frozenset[int]
    ignore_ends: bool
    logprobs: int | None
    stream: bool
    usage: bool
    skip_special: bool
    token_ids: bool
    allowed: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Completion:
    """A request to `/v1/completions`. Prompts are texts or token ids."""

    options: Options
    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool
    add_begin: bool
    legal_frames: bool


@dataclass(frozen=True, slots=True)
class Chat:
    """A request to `/v1/chat/completions`."""

    options: Options
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    thinking: bool
    keep_thoughts: bool


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises RequestError."""
    try:
        body = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not UTF-8 (byte {error.start}): send JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON ({error}): send a JSON object") from None
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    return body


def completion(body: Mapping[str, Any]) -> Completion:
    """Raises RequestError."""
    fields = _Fields(body)
    chosen = fields.integer("logprobs", None, 0, MOST_LOGPROBS)
    options = _options(fields, fields.integer("max_tokens", 16, 1), chosen)
    return Completion(
        options,
        _prompts(body.get("prompt")),
        echo=fields.flag("echo", False),
        add_begin=fields.flag("add_special_tokens", True),
        legal_frames=fields.flag("legal_frames", False),
    )


def chat(body: Mapping[str, Any]) -> Chat:
    """Raises RequestError."""
    fields = _Fields(body)
    limit = fields.integer("max_completion_tokens", None, 1)
    limit = limit if limit is not None else fields.integer("max_tokens", None, 1)
    chosen = fields.integer("top_logprobs", 0, 0, MOST_LOGPROBS)
    options = _options(fields, limit, chosen if fields.flag("logprobs", False) else None)
    kind = _mapping(body.get("response_format") or {}, "response_format").get("type", "text")
    if kind != "text":
        raise RequestError(f"response_format {kind!r} is not supported: leave it out", param="response_format")
    choice = body.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise RequestError('tool_choice: give "auto" or "none"; a call cannot be forced', param="tool_choice")
    tools = tuple(_tool(tool, index) for index, tool in enumerate(_list(body.get("tools") or [], "tools")))
    template = _Fields(_mapping(body.get("chat_template_kwargs") or {}, "chat_template_kwargs"))
    thinking = template.flag("enable_thinking", body.get("reasoning_effort") != "none")
    return Chat(
        options,
        _messages(body.get("messages"), tools),
        tools if choice != "none" else (),
        thinking,
        template.flag("preserve_previous_think", True),
    )


def _options(fields: _Fields, limit: int | None, logprobs: int | None) -> Options:
    fields.only_neutral()
    stop = fields.body.get("stop")
    stops = [stop] if isinstance(stop, str) else _list(stop or [], "stop")
    if len(stops) > MOST_STOPS or not all(isinstance(text, str) and text for text in stops):
        raise RequestError(f"stop: give at most {MOST_STOPS} texts, none of them empty", param="stop")
    ids = _list(fields.body.get("stop_token_ids") or [], "stop_token_ids")
    if not all(_is_id(token) for token in ids):
        raise RequestError("stop_token_ids: give token ids, whole numbers from 0", param="stop_token_ids")
    allowed = fields.body.get("allowed_token_ids")
    if allowed is not None and not (_list(allowed, "allowed_token_ids") and all(_is_id(token) for token in allowed)):
        raise RequestError("allowed_token_ids: give at least one token id", param="allowed_token_ids")
    model = fields.body.get("model")
    if model is not None and not isinstance(model, str):
        raise RequestError("model: give a name", param="model")
    stream_options = _Fields(_mapping(fields.body.get("stream_options") or {}, "stream_options"))
    n = fields.integer("n", 1, 1, MOST_CHOICES)
    temperature, top_p = fields.number("temperature", 1.0, 0, 100), fields.number("top_p", 1.0, 0, 1)
    if top_p == 0:
        raise RequestError("top_p: give more than 0, up to 1", param="top_p")
    return Options(
        model=model,
        n=1 if n is None else n,
        max_tokens=limit,
        temperature=temperature,
        top_p=top_p,
        seed=fields.integer("seed", None, -(2**63), 2**63 - 1),
        stop=tuple(stops),
        stop_ids=frozenset(ids),
        ignore_ends=fields.flag("ignore_eos", False),
        logprobs=logprobs,
        stream=fields.flag("stream", False),
        usage=stream_options.flag("include_usage", False),
        skip_special=fields.flag("skip_special_tokens", True),
        token_ids=fields.flag("return_token_ids", False),
        allowed=None if allowed is None else tuple(allowed),
    )


def _prompts(prompt: Any) -> tuple[str | tuple[int, ...], ...]:
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(prompts, list) and prompts and all(_is_id(token) for token in prompts):
        prompts = [prompts]
    if not isinstance(prompts, list) or not prompts or len(prompts) > MOST_CHOICES:
        raise RequestError(
            f"prompt: give a text, a list of token ids, or up to {MOST_CHOICES} of either", param="prompt"
        )
    result: list[str | tuple[int, ...]] = []
    for one in prompts:
        if isinstance(one, list) and all(_is_id(token) for token in one):
            result.append(tuple(one))
        elif isinstance(one, str):
            result.append(one)
        else:
            raise RequestError("prompt: token ids are whole numbers from 0, texts are strings", param="prompt")
    return tuple(result)


def _messages(values: Any, tools: Sequence[Tool]) -> tuple[Message, ...]:
    found = _list(values, "messages")
    if not found:
        raise RequestError("messages: give at least one", param="messages")
    spoken = {tool.name: tool.spoken for tool in tools}
    called: dict[str, str] = {}
    messages = []
    for index, value in enumerate(found):
        where = f"messages[{index}]"
        value = _mapping(value, where)
        role = value.get("role")
        role = "system" if role == "developer" else role
        if role not in ROLES:
            raise RequestError(f"{where}.role is {role!r}: give {', '.join(ROLES)}", param=where)
        thought = value.get("reasoning_content", value.get("reasoning"))
        if thought is not None and not isinstance(thought, str):
            raise RequestError(f"{where}.reasoning_content: give a text", param=where)
        calls = tuple(
            _call(call, f"{where}.tool_calls[{number}]")
            for number, call in enumerate(_list(value.get("tool_calls") or [], f"{where}.tool_calls"))
        )
        called |= {call.id: call.name for call in calls}
        tool = ""
        if role == "tool":
            name = value.get("name") or called.get(str(value.get("tool_call_id")))
            if not isinstance(name, str):
                raise RequestError(f"{where}.tool_call_id names no earlier call", param=where)
            tool = spoken.get(name, name)
        messages.append(Message(role, _content(value.get("content"), where), thought, calls, tool))
    return tuple(messages)


def _content(value: Any, where: str) -> str:
    """The text of a content: a string, None, or OpenAI's list of text parts."""
    if value is None or isinstance(value, str):
        return value or ""
    texts = []
    for part in _list(value, f"{where}.content"):
        part = _mapping(part, f"{where}.content")
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RequestError(f"{where}.content: only text is understood", param=where)
        texts.append(part["text"])
    return "".join(texts)


def _call(value: Any, where: str) -> Call:
    function = _mapping(_mapping(value, where).get("function"), f"{where}.function")
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise RequestError(f"{where}.function needs a name and arguments (JSON as a text)", param=where)
    return Call(str(value.get("id", "")), name, arguments)


def _tool(value: Any, index: int) -> Tool:
    where = f"tools[{index}]"
    function = _mapping(_mapping(value, where).get("function"), f"{where}.function")
    name, described = function.get("name"), function.get("description") or ""
    if not isinstance(name, str) or not name or not set(name).isdisjoint(">\n") or not isinstance(described, str):
        raise RequestError(f"{where}.function needs a name, and a description that is a text", param="tools")
    return Tool(name, described, _mapping(function.get("parameters") or {}, f"{where}.function.parameters"))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where}: give an object", param=where)
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise RequestError(f"{where}: give a list", param=where)
    return value


class _Fields:
    """Typed access to the fields of an object; null counts as absent."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body

    def only_neutral(self) -> None:
        """Refuse what would change the answer and is not supported."""
        for name, values in _NEUTRAL.items():
            if self.body.get(name) not in values:
                raise RequestError(f"{name} is not supported: leave it out", param=name)

    def flag(self, name: str, default: bool) -> bool:
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise RequestError(f"{name}: give true or false", param=name)
        return value

    def integer(self, name: str, default: int | None, low: int, high: int | None = None) -> int | None:
        value = self.body.get(name)
        if value is None:
            return default
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            limits = f"from {low}" + (f" to {high}" if high is not None else "")
            raise RequestError(f"{name}: give a whole number {limits}", param=name)
        return int(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.body.get(name)
        if value is None:
            return default
        numeric = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not numeric or not low <= value <= high:
            raise RequestError(f"{name}: give a number from {low} to {high}", param=name)
        return float(value)
