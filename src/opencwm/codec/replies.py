"""What an assistant writes, read as it comes: thoughts, content and tool calls.

Notable choices:
- One reader for whole and for streamed replies: a whole one is the sum of its parts, so they cannot differ.
- Text is held back only while it may still be the start of a tag, or blank space at an end that is to be stripped.
- Tool calls are looked for only where the caller offered tools. A call to an unknown tool, one whose body does not fit,
  and one that is cut off stay text: nothing that a model wrote is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opencwm.codec.chat import THOUGHT
from opencwm.codec.tools import Tool

_OPEN_THOUGHT = "<think>"
_OPEN_CALL = re.compile(r"(?:\A|(?<=\n))<tool: ([^>\n]{1,128})>")
_CLOSE_CALL = "</tool>"
_LONGEST_OPENING = len("<tool: >") + 128


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a reply. For a call, `text` holds its JSON arguments and `name` the client's function."""

    kind: Literal["thought", "content", "call"]
    text: str
    name: str = ""


class ReplyReader:
    """Reads one reply. `thinking`: the prompt ended with `<think>`, so it begins with a thought."""

    def __init__(self, tools: Sequence[Tool] = (), *, thinking: bool = False) -> None:
        self._tools = {tool.spoken: tool for tool in tools}
        self._state: Literal["start", "thought", "content"] = "thought" if thinking else "start"
        self._rest = ""
        self._blank = ""  # white space that is given only when something follows it
        self._begun = False  # whether anything but white space of the thought or content has been seen
        self._line_start = True

    def push(self, text: str) -> list[Part]:
        """The parts that are certain after more text."""
        self._rest += text
        return _joined(self._read(final=False))

    def finish(self) -> list[Part]:
        """The parts that were held back, at the end of the reply."""
        return _joined(self._read(final=True))

    def _read(self, *, final: bool) -> list[Part]:
        parts: list[Part] = []
        if self._state == "start":
            text = self._rest.lstrip()
            if not final and len(text) < len(_OPEN_THOUGHT) and _OPEN_THOUGHT.startswith(text):
                return parts
            self._state = "content"
            if text.startswith(_OPEN_THOUGHT):
                self._state, self._rest = "thought", text[len(_OPEN_THOUGHT) :]
        if self._state == "thought":
            thought, found, rest = self._rest.partition(THOUGHT)
            if not found:
                held = 0 if final else _held(self._rest, THOUGHT)
                parts += self._given("thought", self._rest[: len(self._rest) - held])
                self._rest = self._rest[len(self._rest) - held :]
                return parts
            parts += self._given("thought", thought)
            self._rest, self._state = rest, "content"
            self._blank, self._begun, self._line_start = "", False, True
        return parts + self._content(final)

    def _content(self, final: bool) -> list[Part]:
        parts: list[Part] = []
        while self._tools:
            opening = _OPEN_CALL.search(self._rest)
            while opening and opening.start() == 0 and not self._line_start:
                opening = _OPEN_CALL.search(self._rest, 1)
            if not opening:
                break
            end = self._rest.find(_CLOSE_CALL, opening.end())
            if end < 0:
                if not final and opening[1] in self._tools:
                    parts += self._text(opening.start())
                    return parts
                parts += self._text(len(self._rest) if final else opening.end())
                continue
            tool = self._tools.get(opening[1])
            arguments = tool.arguments(self._rest[opening.end() : end]) if tool else None
            if tool is None or arguments is None:
                parts += self._text(opening.end())
                continue
            parts += self._text(opening.start())
            parts.append(Part("call", arguments, tool.name))
            self._rest = self._rest[end + len(_CLOSE_CALL) - opening.start() :]
            self._line_start, self._blank = True, ""
        held = 0 if final or not self._tools else self._possible_opening()
        return parts + self._text(len(self._rest) - held)

    def _text(self, length: int) -> list[Part]:
        """Give the first characters of the rest as content."""
        text, self._rest = self._rest[:length], self._rest[length:]
        return self._given("content", text)

    def _given(self, kind: Literal["thought", "content"], text: str) -> list[Part]:
        """Text without blank ends: what may be one is kept until something follows."""
        if text:
            self._line_start = text.endswith("\n")
        if not self._begun:
            text = text.lstrip()
        whole = self._blank + text
        kept = whole.rstrip()
        if not kept:
            self._blank = whole if self._begun else ""
            return []
        self._begun, self._blank = True, whole[len(kept) :]
        return [Part(kind, kept)]

    def _possible_opening(self) -> int:
        """How many last characters may be the start of a call's opening tag."""
        start = max(self._rest.rfind("\n") + 1, len(self._rest) - _LONGEST_OPENING)
        line = self._rest[start:]
        if start == 0 and not self._line_start:
            return 0
        shortest = "<tool: "
        begun = shortest.startswith(line) if len(line) <= len(shortest) else line.startswith(shortest)
        return len(line) if line and begun and ">" not in line else 0


def _held(text: str, tag: str) -> int:
    """How many last characters of a text are the start of a tag."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:n])), 0)


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbouring texts of one kind as one."""
    result: list[Part] = []
    for part in parts:
        if result and part.kind == result[-1].kind != "call":
            result[-1] = Part(part.kind, result[-1].text + part.text)
        else:
            result.append(part)
    return result


def read(text: str, tools: Sequence[Tool] = (), *, thinking: bool = False) -> list[Part]:
    """The parts of a whole reply."""
    reader = ReplyReader(tools, thinking=thinking)
    return _joined(reader.push(text) + reader.finish())
