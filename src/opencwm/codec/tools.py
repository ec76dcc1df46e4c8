"""Tool calls as CWM writes them, `<tool: NAME>`, its body, `</tool>`, to and from the JSON arguments of chat clients.

Notable choices:
- CWM knows four tools whose bodies are plain text: `bash` (commands), `edit` (a path and one search-and-replace block),
  `create` (a path and the content), `submit` (a path). A client's function with one of these names and fitting
  parameters is announced and called in that way; its own name and parameters come back in the call.
- Any other function has a JSON object as its body.
- A body that does not fit its tool is no call: `Tool.arguments` gives None, and the text stays text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SEARCH, _MIDDLE, _REPLACE = "<<<<<<< SEARCH\n", "\n=======\n", "\n>>>>>>> REPLACE"

# CWM's plain tools: names that clients give them, their parameters by the names in use, the body, what it does.
_PLAIN: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...], str, str]] = {
    "bash": (
        ("bash",),
        (("command", "commands", "cmd"),),
        "[command(s)]",
        "Executes bash command(s) [command(s)] in the current session. [command(s)] can be any non-interactive bash "
        "command(s), either single or multi-line.",
    ),
    "edit": (
        ("edit", "str_replace"),
        (("path", "file_path"), ("old_string", "old_str", "search"), ("new_string", "new_str", "replace")),
        f"[path]\n{_SEARCH}[search_lines]{_MIDDLE}[replacement_lines]{_REPLACE}",
        "Replaces [search_lines] from [path] with [replacement_lines], where [path] must exist and [search_lines] must "
        "uniquely and exactly match one or more consecutive lines from the original file, including indentations and "
        "whitespaces.",
    ),
    "create": (
        ("create", "write"),
        (("path", "file_path"), ("content", "contents", "text")),
        "[path]\n[content]",
        "Creates a new file at [path] with [content], where [path] must not exist, but its parent directory must "
        "exist.",
    ),
    "submit": (("submit",), (("path", "file_path"),), "[path]", "Submits the work at [path] and ends the task."),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a client offers. `parameters` is its JSON schema (an object's)."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> tuple[str, tuple[str, ...]] | None:
        """The plain tool that this is, and this client's names of its parameters; None for a JSON body."""
        properties = self.parameters.get("properties")
        if not isinstance(properties, Mapping):
            return None
        for known, (names, parameters, _, _) in _PLAIN.items():
            if self.name.lower() in names:
                found = tuple(next((n for n in options if n in properties), None) for options in parameters)
                required = set(self.parameters.get("required") or ())
                if None not in found and required <= set(found):
                    return known, tuple(str(name) for name in found)
        return None

    @property
    def spoken(self) -> str:
        """The name that the model uses."""
        return self.plain[0] if self.plain else self.name

    def announcement(self) -> str:
        """How a system prompt tells of the tool."""
        if self.plain:
            _, _, body, does = _PLAIN[self.plain[0]]
            return f"<tool: {self.spoken}>\n{body}\n</tool>\n{self.description or does}"
        schema = json.dumps(self.parameters, indent=2, ensure_ascii=False)
        described = f"{self.description}\n" if self.description else ""
        return (
            f"<tool: {self.name}>\n[json params]\n</tool>\n{described}"
            f"[json params] is one JSON object that fits this schema: {schema}"
        )

    def body(self, arguments: str) -> str:
        """What stands between the tags for a call with these JSON arguments, as given where they do not fit."""
        if self.plain is None:
            return arguments
        try:
            values = json.loads(arguments)
            texts = [values[name] for name in self.plain[1]]
        except (ValueError, KeyError, TypeError):
            return arguments
        if not all(isinstance(text, str) for text in texts):
            return arguments
        if self.plain[0] == "edit":
            return f"{texts[0]}\n{_SEARCH}{texts[1]}{_MIDDLE}{texts[2]}{_REPLACE}"
        return "\n".join(texts)

    def arguments(self, body: str) -> str | None:
        """The JSON arguments of a call with this body; None if it does not fit."""
        if self.plain is None:
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                return None
            return body.strip() if isinstance(value, dict) else None
        known, names = self.plain
        texts: Sequence[str] | None
        if known == "edit":
            texts = _edit(body.strip("\n"))
        elif known == "create":
            path, _, content = body.strip("\n").partition("\n")
            texts = (path.strip(), content) if path.strip() else None
        else:
            texts = (body.strip(),) if body.strip() else None
        return None if texts is None else json.dumps(dict(zip(names, texts, strict=True)), ensure_ascii=False)


def _edit(body: str) -> tuple[str, str, str] | None:
    """Path, search and replacement of an edit's body; None if it is not in that form."""
    path, found, rest = body.partition("\n" + _SEARCH)
    # Search and replacement may be empty: the marks then stand on adjoining lines.
    search, middle, replacement = ("\n" + rest).partition(_MIDDLE)
    replacement, end, tail = ("\n" + replacement).partition(_REPLACE)
    if not (found and path.strip() and middle and end) or tail.strip():
        return None
    return path.strip(), search.removeprefix("\n"), replacement.removeprefix("\n")


def announce(tools: Sequence[Tool]) -> str:
    """The part of a system prompt that names the tools; empty without any."""
    if not tools:
        return ""
    return "You have access to the following tools:\n\n" + "\n\n".join(tool.announcement() for tool in tools)
