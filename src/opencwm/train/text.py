"""Text, messages and traces as token ids, in the vocabulary that a run's `data.tokenizer` names.

    bytes     bytes alone and CWM's marks: its formats without a vocabulary of words, to compare codecs with
    compact   the small vocabulary: bytes; Python in whole tokens with line numbers; traces in the compact codec
    llama3    Llama 3's `tokenizer.model` with CWM's special ids: chats and traces just as CWM has them
    hub       a folder with `tokenizer.json` (SmolLM2): its chat marks; CWM's trace marks are added behind its ids

Notable choice: each vocabulary has a fingerprint, saved with every checkpoint, so that a run is not gone on with, nor
started from weights, in another one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from opencwm.codec import compact, cwm, llama3
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import LINES_PER_PAGE, PAGES, VOCABULARY, encode_source
from opencwm.trace.frames import Trace

Weighted = tuple[list[int], list[float]]
"""Ids and the weight of each as a target."""


class Tokens(Protocol):
    """A vocabulary and its conventions. Ids of marks are lists: some vocabularies spell them."""

    name: str
    size: int
    pad: int
    fingerprint: str
    begin: list[int]
    end: list[int]
    message_end: list[int]
    think_start: list[int]
    think_end: list[int]

    def text(self, text: str) -> list[int]: ...

    def code(self, text: str, room: int) -> list[list[int]]: ...

    def header(self, role: str) -> list[int]: ...

    def trace(self, trace: Trace, room: int, rng: random.Random | None) -> list[Weighted]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def open_tokens(name: str) -> Tokens:
    """The vocabulary that a `data.tokenizer` names. Raises ValueError if it names none."""
    if name == "compact":
        return Compact()
    if name == "bytes":
        return Bytes()
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            return Hub(path)
        return Llama3(path)
    except (OSError, ImportError) as error:
        raise ValueError(f"data.tokenizer {name!r} cannot be opened ({error})") from None


class Compact:
    """The compact codec's vocabulary. A message is `<call> ROLE <go> CONTENT <return>`, reasoning is spelled out."""

    name = "compact"
    size = VOCABULARY.size
    pad = compact.PAD

    def __init__(self) -> None:
        ids = VOCABULARY.ids
        self.begin, self.end = [ids["<begin>"]], [ids["<end>"]]
        self._call, self._go = ids["<call>"], ids["<go>"]
        self.message_end = [ids["<return>"]]
        self.think_start, self.think_end = list(b"<think>\n"), list(b"</think>")
        self._named = [name for name in VOCABULARY.names if not name.startswith("<spare")]
        self.fingerprint = fingerprint(self._named)

    def grown_from(self, earlier: str) -> bool:
        """Whether a vocabulary of that fingerprint is this one with fewer tokens at the end."""
        size = earlier.partition("-")[0]
        return size.isdigit() and earlier == fingerprint(self._named[: int(size)])

    def text(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def code(self, text: str, room: int) -> list[list[int]]:
        """Python, with line numbers, aliases and whole tokens.

        What is longer than `room` is halved at the blank line nearest its middle, until it fits: each piece then binds
        its own aliases.
        """
        lines = text.split("\n")
        if len(lines) < LINES_PER_PAGE * PAGES:
            ids = encode_source(text)[0]
            if len(ids) <= room or len(lines) == 1:
                return [ids]
        blank = [number for number, line in enumerate(lines) if not line.strip() and 0 < number < len(lines) - 1]
        middle = len(lines) // 2
        at = min(blank, key=lambda number: abs(number - middle), default=middle)
        halves = ("\n".join(lines[:at]), "\n".join(lines[at:]).lstrip("\n"))
        return [piece for half in halves if half.strip() for piece in self.code(half, room)]

    def header(self, role: str) -> list[int]:
        return [self._call, *role.encode(), self._go]

    def trace(self, trace: Trace, room: int, rng: random.Random | None) -> list[Weighted]:
        """Windows of at most `room` tokens; frames are predicted, the source above them is not."""
        return [(window.ids, window.weights) for window in compact.windows(trace, max_tokens=room, rng=rng)]

    def decode(self, ids: Sequence[int]) -> str:
        return VOCABULARY.show(ids)


class Bytes:
    """Bytes, and behind them the marks of CWM's traces and chats: its formats without a vocabulary of words."""

    name = "bytes"
    MARKS = (
        *(llama3.IDS[f"<|{name}|>"] for name in ("begin_of_text", "end_of_text", "pad", "start_header_id")),
        *(llama3.IDS[f"<|{name}|>"] for name in ("end_header_id", "eot_id")),
        *(llama3.IDS[f"<|reasoning_thinking_{name}|>"] for name in ("start", "end")),
        *(cwm.CONTEXT_START, cwm.FRAME_SEP, cwm.ACTION_SEP, cwm.ARG_SEP, *cwm.EVENT_IDS.values()),
    )
    size = 256 + len(MARKS)

    def __init__(self) -> None:
        self._marks = {mark: 256 + number for number, mark in enumerate(self.MARKS)}
        self._names = {own: llama3.NAMES[mark] for mark, own in self._marks.items()}
        self.fingerprint = fingerprint([*map(str, range(256)), *self._names.values()])
        marks = list(self._marks.values())
        self.begin, self.end, self.pad = marks[:1], marks[1:2], marks[2]
        self._start, self._stop, self.message_end = marks[3], marks[4], marks[5:6]
        self.think_start, self.think_end = marks[6:7], marks[7:8]

    def text(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def code(self, text: str, room: int) -> list[list[int]]:
        return [self.text(text)]

    def header(self, role: str) -> list[int]:
        return [self._start, *self.text(role), self._stop, *self.text("\n\n")]

    def trace(self, trace: Trace, room: int, rng: random.Random | None) -> list[Weighted]:
        ids: list[int] = []
        for piece in cwm.pieces(trace):
            ids += self.text(piece) if isinstance(piece, str) else [self._marks[piece]]
        return [(ids, _after_context(ids, self._marks[cwm.FRAME_SEP]))]

    def decode(self, ids: Sequence[int]) -> str:
        return _decoded(ids, lambda some: bytes(some).decode("utf-8", "replace"), self._names)


class Llama3:
    """Llama 3's text tokens and CWM's special ids."""

    name = "llama3"
    size = llama3.REGULAR + llama3.RESERVED
    pad = llama3.IDS["<|pad|>"]

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = llama3.load(path)
        except ValueError as error:
            raise ValueError(f"data.tokenizer: {error}") from None
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        ids = llama3.IDS
        self.begin, self.end = [ids["<|begin_of_text|>"]], [ids["<|end_of_text|>"]]
        self.message_end = [ids["<|eot_id|>"]]
        self.think_start = [ids["<|reasoning_thinking_start|>"]]
        self.think_end = [ids["<|reasoning_thinking_end|>"]]

    def text(self, text: str) -> list[int]:
        return self._tokenizer.encode(text.encode("utf-8", "replace").decode())

    def code(self, text: str, room: int) -> list[list[int]]:
        return [self.text(text)]

    def header(self, role: str) -> list[int]:
        start, end = llama3.IDS["<|start_header_id|>"], llama3.IDS["<|end_header_id|>"]
        return [start, *self.text(role), end, *self.text("\n\n")]

    def trace(self, trace: Trace, room: int, rng: random.Random | None) -> list[Weighted]:
        ids = cwm.encode(trace, self._tokenizer)
        return [(ids, _after_context(ids, cwm.FRAME_SEP))]

    def decode(self, ids: Sequence[int]) -> str:
        return _decoded(ids, self._tokenizer.decode, llama3.NAMES)


class Hub:
    """A tokenizer.json with `<|im_start|>` chats; the marks of CWM's traces and reasoning get ids behind its own."""

    ADDED = (*cwm.EVENT_IDS.values(), cwm.CONTEXT_START, cwm.FRAME_SEP, cwm.ACTION_SEP, cwm.ARG_SEP, 128_120, 128_121)

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.name = str(path)
        data = (path / "tokenizer.json").read_bytes()
        self._tokenizer: Any = Tokenizer.from_str(data.decode())
        own = int(self._tokenizer.get_vocab_size())
        self._marks = {special: own + number for number, special in enumerate(self.ADDED)}
        self._names = {own + number: llama3.NAMES[special] for number, special in enumerate(self.ADDED)}
        self.size = own + len(self.ADDED)
        self.fingerprint = hashlib.sha256(data).hexdigest()[:16]
        start, end, stop = (self._id(name) for name in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
        self.pad = stop
        self.begin: list[int] = []
        self.end = [stop]
        self._start, self.message_end = start, [end, *self.text("\n")]
        self.think_start, self.think_end = [self._marks[128_120]], [self._marks[128_121]]

    def _id(self, name: str) -> int:
        found = self._tokenizer.token_to_id(name)
        if found is None:
            raise ValueError(f"data.tokenizer {self.name}: it lacks {name}; take a folder of the SmolLM2 family")
        return int(found)

    def text(self, text: str) -> list[int]:
        text = text.encode("utf-8", "replace").decode()
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def code(self, text: str, room: int) -> list[list[int]]:
        return [self.text(text)]

    def header(self, role: str) -> list[int]:
        return [self._start, *self.text(role + "\n")]

    def trace(self, trace: Trace, room: int, rng: random.Random | None) -> list[Weighted]:
        ids: list[int] = []
        for piece in cwm.pieces(trace):
            if isinstance(piece, str):
                ids += self.text(piece)
            elif piece == cwm.END:
                ids += self.end
            elif piece != cwm.BEGIN:
                ids.append(self._marks[piece])
        return [(ids, _after_context(ids, self._marks[cwm.FRAME_SEP]))]

    def decode(self, ids: Sequence[int]) -> str:
        return _decoded(ids, lambda some: str(self._tokenizer.decode(some, skip_special_tokens=False)), self._names)


def fingerprint(names: Sequence[str]) -> str:
    """A short name of a list of tokens, with its length: 801-1f0c..."""
    return f"{len(names)}-{hashlib.sha256(chr(0).join(names).encode()).hexdigest()[:16]}"


def _after_context(ids: list[int], separator: int) -> list[float]:
    """Weight 1 from the first separator on: the frames."""
    stop = ids.index(separator) + 1
    return [0.0] * stop + [1.0] * (len(ids) - stop)


def _decoded(ids: Sequence[int], decode: Callable[[list[int]], str], names: dict[int, str]) -> str:
    pieces: list[str] = []
    run: list[int] = []
    for token in [*ids, None]:
        if token is not None and token not in names:
            run.append(token)
            continue
        if run:
            try:
                pieces.append(decode(run))
            except CodecError:
                pieces.append("\N{REPLACEMENT CHARACTER}")
            run = []
        if token is not None:
            pieces.append(names[token])
    return "".join(pieces)
