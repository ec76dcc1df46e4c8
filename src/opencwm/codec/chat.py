"""CWM's chat format: messages as pieces of text between special tokens, with thoughts and tools.

    <|begin_of_text|>
    <|start_header_id|>ROLE<|end_header_id|>\\n\\nCONTENT<|eot_id|>        for every message
    <|start_header_id|>assistant<|end_header_id|>\\n\\n[<think>\\n]          what the model goes on from

ROLE is `system`, `user`, `assistant` or `tool: NAME`. With thinking, the system prompt begins with `REASONING` and the
prompt ends with `<think>\\n`; thoughts are plain text, not special tokens.

Notable choices:
- Contents are stripped, but for tool results and for a last assistant message, which the model goes on writing.
- No content gives a special token, whatever it says; an assistant's may hold the two tokens around the thoughts of
  CWM's supervised stage.
- A system message of the caller's follows `REASONING`, tools come behind both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import IDS, Tokenizer
from opencwm.codec.tools import Tool, announce

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")

ANSWERING = "You are a helpful AI assistant."
REASONING = (
    "You are a helpful AI assistant. You always reason before responding, using the following format:\n\n"
    "<think>\nyour internal reasoning\n</think>\nyour external response"
)
THINK, THOUGHT = "<think>\n", "</think>"
THOUGHT_TOKENS = frozenset({"<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"})
STOPS = frozenset({IDS["<|end_of_text|>"], IDS["<|eom_id|>"], IDS["<|eot_id|>"]})


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an assistant's message: the client's id, the function, its JSON arguments."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `thought` is an assistant's reasoning, `tool` names the tool whose result a `tool` message is."""

    role: Role
    content: str = ""
    thought: str | None = None
    calls: tuple[Call, ...] = ()
    tool: str = ""


def body(message: Message, tools: Sequence[Tool] = (), *, keep_thought: bool = True) -> str:
    """The text of a message: an assistant's thought, content and calls; another's content."""
    if message.role != "assistant":
        return message.content
    content = message.content
    if not keep_thought and THOUGHT in content:
        content = content.partition(THOUGHT)[2].lstrip("\n")
    if keep_thought and message.thought is not None:
        content = f"{THINK}{message.thought}\n{THOUGHT}\n{content}"
    known = {tool.name: tool for tool in tools}
    for call in message.calls:
        tool = known.get(call.name) or Tool(call.name)
        separator = "\n" if content and not content.endswith("\n") else ""
        content += f"{separator}<tool: {tool.spoken}>\n{tool.body(call.arguments)}\n</tool>"
    return content


def with_system(messages: Sequence[Message], tools: Sequence[Tool], *, thinking: bool | None) -> list[Message]:
    """The messages with their system prompt: CWM's own sentence (None: none is added), the caller's text, the tools."""
    rest = list(messages)
    own = rest.pop(0).content.strip() if rest and rest[0].role == "system" else ""
    base = "" if thinking is None else REASONING if thinking else "" if own else ANSWERING
    if base and own.startswith(base):
        base = ""
    text = "\n\n".join(part for part in (base, own, announce(tools)) if part)
    return [Message("system", text), *rest] if text else rest


def pieces(
    messages: Sequence[Message], tools: Sequence[Tool] = (), *, thinking: bool = True, keep_thoughts: bool = True
) -> list[int | str]:
    """Special ids and texts of the prompt for the next reply. Raises CodecError for no messages.

    `thinking` and `keep_thoughts` are CWM's `enable_thinking` and `preserve_previous_think`.
    """
    if not messages:
        raise CodecError("a conversation needs at least one message")
    result: list[int | str] = [IDS["<|begin_of_text|>"]]
    whole = with_system(messages, tools, thinking=thinking)
    for index, message in enumerate(whole):
        role = f"tool: {message.tool}" if message.role == "tool" else message.role
        prefix = index + 1 == len(whole) and message.role == "assistant"
        text = body(message, tools, keep_thought=keep_thoughts or prefix)
        if message.role != "tool" and not prefix:
            text = text.strip()
        result += _header(role) + ([text] if text else [])
        if prefix:
            return result
        result.append(IDS["<|eot_id|>"])
    return result + _header("assistant") + ([THINK] if thinking else [])


def encode(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    tools: Sequence[Tool] = (),
    *,
    thinking: bool = True,
    keep_thoughts: bool = True,
) -> list[int]:
    """`pieces` as token ids. Raises CodecError."""
    ids: list[int] = []
    assistant = False
    for piece in pieces(messages, tools, thinking=thinking, keep_thoughts=keep_thoughts):
        if isinstance(piece, int):
            ids.append(piece)
            continue
        if ids[-1] == IDS["<|start_header_id|>"]:
            assistant = piece == "assistant"
        ids += tokenizer.encode(piece, THOUGHT_TOKENS if assistant else ())
    return ids


def _header(role: str) -> list[int | str]:
    return [IDS["<|start_header_id|>"], role, IDS["<|end_header_id|>"], "\n\n"]
