"""`TextCodec`: what a server needs of a tokenizer; one each for `compact` weights, CWM, and Hugging Face folders.

Notable choices:
- Tokens become bytes, not characters: a character may be spread over several tokens, and whoever streams them decides
  when it is whole.
- Text gives special tokens only where a caller asks for it (`special=True`): in prompts that are wholly its own. Chat
  contents never do, also where a template is rendered as text: their special names are hidden from it and put back
  as ordinary text.
- The text form of `compact` tokens is the one of `cwm trace --format compact`: names in angle brackets.
- A Hugging Face folder brings its tokenizer (`tokenizers` reads it) and its chat template (Jinja, sandboxed). Tools are
  announced, called and answered in CWM's syntax there too: few small models have another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from opencwm.codec import chat, llama3
from opencwm.codec.errors import check_text
from opencwm.codec.tokenizer import FIRST_SIZE, VOCABULARY, encode_code, encode_value, name_words
from opencwm.codec.tools import Tool

_WORD = re.compile(r"[^\W\d]\w*")
_BYTE_NAMES = re.compile(r"(?:<0x[0-9a-f]{2}>)+")
_NAME_FOLLOWS = re.compile(r"<L\d+>|<go>|<delete>")


class TokenizerError(ValueError):
    """A folder's tokenizer that cannot be read or used; the message names the file and the fix."""


class NoChat(ValueError):
    """A model without a chat format, or a conversation that its format cannot hold; the message says which."""


class TextCodec(Protocol):
    """Text and chats to token ids, and tokens to bytes. Ids are 0 to `size - 1`.

    `begin` opens a text (None: nothing does), `ends` are the ids that end a reply.
    """

    size: int
    begin: int | None
    ends: frozenset[int]

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of a text; names of special tokens count as such only with `special`. Raises CodecError."""
        ...

    def piece(self, token: int) -> bytes | None:
        """The bytes of an ordinary token; None for a special one and for an id without a token."""
        ...

    def name(self, token: int) -> str:
        """How a special token is spelled; empty for an ordinary one."""
        ...

    def chat(
        self, messages: Sequence[chat.Message], tools: Sequence[Tool], *, thinking: bool, keep_thoughts: bool
    ) -> tuple[list[int], bool]:
        """The prompt for the next reply, and whether it ends within a thought. Raises NoChat and CodecError."""
        ...


class CompactText:
    """`compact` tokens: every token has a text, so there are no special ones.

    The text form is for reading. Back to ids it is exact but for names that are words of Python directly after a value,
    and for strings over several lines; whoever has the ids gives those.
    """

    begin: int | None = None
    ends: frozenset[int] = frozenset({VOCABULARY.ids["<end>"]})

    def __init__(self, size: int = VOCABULARY.size) -> None:
        self.size = size  # a model of an earlier vocabulary has fewer
        self._shown = [VOCABULARY.show([token]).encode() for token in range(self.size)]
        names = {name: token for token, name in enumerate(VOCABULARY.names[:size]) if re.fullmatch(r"<[\w ./]+>", name)}
        self._names = names
        self._split = re.compile("|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)))

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        text, words = _BYTE_NAMES.sub(_characters, text), name_words(self.size)
        ids: list[int] = []
        end, traced, last = 0, False, ""
        for found in [*self._split.finditer(text), None]:
            between = text[end : found.start() if found else None]
            if not traced:
                ids += encode_code(between, self.size)
            else:
                word = _WORD.match(between)
                if word and word[0] in words and _NAME_FOLLOWS.fullmatch(last):
                    ids.append(words[word[0]])
                    between = between[word.end() :]
                ids += encode_value(between)
            if found:
                ids.append(self._names[found[0]])
                end, last = found.end(), found[0]
                traced = traced or last == "<trace>"
        return ids

    def piece(self, token: int) -> bytes | None:
        return self._shown[token] if 0 <= token < self.size else None

    def name(self, token: int) -> str:
        return ""

    def chat(
        self, messages: Sequence[chat.Message], tools: Sequence[Tool], *, thinking: bool, keep_thoughts: bool
    ) -> tuple[list[int], bool]:
        raise NoChat("this model predicts runs and has no chat format: use /v1/completions, or serve a language model")


def _characters(named: re.Match[str]) -> str:
    """Names of bytes as the characters that these are, where they are any."""
    try:
        return bytes.fromhex(named[0].replace("<0x", "").replace(">", "")).decode()
    except UnicodeDecodeError:
        return named[0]


class Llama3Text:
    """CWM's vocabulary and chat format."""

    size: int = llama3.REGULAR + llama3.RESERVED
    begin: int | None = llama3.IDS["<|begin_of_text|>"]
    ends: frozenset[int] = chat.STOPS

    def __init__(self, tokenizer: llama3.Tokenizer) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return self.tokenizer.encode(text, llama3.IDS if special else ())

    def piece(self, token: int) -> bytes | None:
        return self.tokenizer.piece(token)

    def name(self, token: int) -> str:
        return llama3.NAMES.get(token, "")

    def chat(
        self, messages: Sequence[chat.Message], tools: Sequence[Tool], *, thinking: bool, keep_thoughts: bool
    ) -> tuple[list[int], bool]:
        ids = chat.encode(messages, self.tokenizer, tools, thinking=thinking, keep_thoughts=keep_thoughts)
        return ids, thinking and messages[-1].role != "assistant"


class HubText:
    """A byte-level tokenizer of a Hugging Face folder, with its chat template."""

    def __init__(self, folder: Path) -> None:
        """Raises TokenizerError and ImportError."""
        try:
            import tokenizers
        except ImportError:
            raise ImportError('this folder\'s tokenizer needs tokenizers: pip install "opencwm[hf]"') from None
        path = folder / "tokenizer.json"
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare exceptions
            raise TokenizerError(f"{path} is no tokenizer ({error}): take it from where the weights came") from None
        if "ByteLevel" not in str(json.loads(path.read_text(encoding="utf-8")).get("decoder")):
            raise TokenizerError(f"{path}: only byte-level tokenizers are known here; serve these weights elsewhere")
        self._tokenizer.encode_special_tokens = True
        self.size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        added = self._tokenizer.get_added_tokens_decoder()
        self._names: dict[int, str] = {token: added[token].content for token in added if added[token].special}
        self._added: dict[int, str] = {token: added[token].content for token in added}
        self._ids = {name: token for token, name in self._names.items()}
        self._split = re.compile("|".join(re.escape(n) for n in sorted(self._ids, key=len, reverse=True)) or r"(?!)")
        opened = self._tokenizer.encode("", add_special_tokens=True).ids
        self.begin: int | None = opened[0] if opened else None
        settings = _json(folder / "tokenizer_config.json")
        self._settings = settings
        self.ends = frozenset(_ends(folder, settings, self._ids))
        self._template = _template(folder, settings)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        if not special:
            return self._ordinary(text)
        ids: list[int] = []
        end = 0
        for found in self._split.finditer(text):
            ids += [*self._ordinary(text[end : found.start()]), self._ids[found[0]]]
            end = found.end()
        return ids + self._ordinary(text[end:])

    def _ordinary(self, text: str) -> list[int]:
        check_text(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids if text else []
        return ids

    def piece(self, token: int) -> bytes | None:
        if token in self._names:
            return None
        if token in self._added:
            return self._added[token].encode()
        text = self._tokenizer.id_to_token(token) if 0 <= token < self.size else None
        return None if text is None else bytes(llama3.BYTE_OF[character] for character in text)

    def name(self, token: int) -> str:
        return self._names.get(token, "")

    def chat(
        self, messages: Sequence[chat.Message], tools: Sequence[Tool], *, thinking: bool, keep_thoughts: bool
    ) -> tuple[list[int], bool]:
        if self._template is None:
            raise NoChat("this model's folder has no chat template: use /v1/completions")
        whole = chat.with_system(messages, tools, thinking=None)
        prefix = bool(whole) and whole[-1].role == "assistant"
        contents = [chat.body(m, tools, keep_thought=keep_thoughts) for m in whole]
        hidden = [self._split.sub(lambda found: f"\ue000{self._ids[found[0]]}\ue001", text) for text in contents]
        values = [{"role": m.role, "content": text} for m, text in zip(whole, hidden, strict=True)]
        try:
            text = self._template.render(
                messages=values,
                tools=None,
                add_generation_prompt=not prefix,
                enable_thinking=thinking,
                bos_token=_token(self._settings.get("bos_token")),
                eos_token=_token(self._settings.get("eos_token")),
            )
        except Exception as error:  # a template may raise anything, and does for roles that it does not know
            raise NoChat(f"the chat template of this model does not take these messages: {error}") from None
        if prefix:
            last = hidden[-1].strip()
            at = text.rfind(last)
            text = text[: at + len(last)] if last and at >= 0 else text
        ids: list[int] = []
        end = 0
        for found in self._split.finditer(text):
            ids += [*self._shown(text[end : found.start()]), self._ids[found[0]]]
            end = found.end()
        return ids + self._shown(text[end:]), text.rstrip().endswith("<think>")

    def _shown(self, text: str) -> list[int]:
        """Ids of a part of the rendered template, with the names that were hidden as ordinary text."""
        return self._ordinary(re.sub(r"\ue000(\d+)\ue001", lambda found: self._names[int(found[1])], text))


def open_text(folder: Path) -> TextCodec:
    """The tokenizer that belongs to a weights folder. Raises TokenizerError, and ImportError without the extra."""
    model, hub = folder / "tokenizer.model", folder / "tokenizer.json"
    config = _json(folder / "config.json")
    # CWM's release once called itself a llama; its local layers give it away.
    cwm = config.get("model_type") == "cwm" or "sliding_attention" in (config.get("layer_types") or ())
    if (cwm and hub.exists()) or (model.exists() and (cwm or not hub.exists())):
        try:
            return Llama3Text(llama3.load(model if model.exists() else hub))
        except (OSError, ValueError) as error:
            raise TokenizerError(str(error)) from None
    if hub.exists():
        return HubText(folder)
    if str(config.get("format", "")).startswith("opencwm.model/"):
        shape = config.get("model")
        size = shape.get("vocab_size") if isinstance(shape, dict) else None
        if isinstance(size, int) and FIRST_SIZE <= size <= VOCABULARY.size:
            return CompactText(size)
        return CompactText()
    raise TokenizerError(f"{folder} has no tokenizer.model and no tokenizer.json: copy it from where the weights came")


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file. Raises TokenizerError for another content."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} cannot be read ({error}): take it from where the weights came") from None
    return value if isinstance(value, dict) else {}


def _token(value: Any) -> str:
    """A special token of `tokenizer_config.json`: a text, or an object that holds it."""
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")


def _ends(folder: Path, settings: dict[str, Any], ids: dict[str, int]) -> set[int]:
    ends = {ids[name] for name in [_token(settings.get("eos_token"))] if name in ids}
    for file in ("generation_config.json", "config.json"):
        found = _json(folder / file).get("eos_token_id")
        ends.update(found if isinstance(found, list) else [] if found is None else [found])
    return {int(token) for token in ends}


def _template(folder: Path, settings: dict[str, Any]) -> Any:
    """The folder's chat template, compiled; None without one. Raises TokenizerError and ImportError."""
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.exists() else settings.get("chat_template")
    if not isinstance(source, str):
        return None
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise ImportError('chat templates need jinja2: pip install "opencwm[hf]"') from None

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise TokenizerError(f"{folder}: the chat template cannot be read ({error}): mend or delete it") from None
