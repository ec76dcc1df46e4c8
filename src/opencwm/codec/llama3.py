"""CWM's tokens: Llama 3's byte-pair vocabulary, and the 256 reserved ids above it under CWM's names.

Notable choices:
- The names and ids of special tokens need no vocabulary, so the `cwm` codec can use them without one. Reserved ids that
  CWM leaves unused are named by their offset (`<|reserved_special_token_2|>` is 128002), which is not Llama 3's count.
- Ordinary encoding never gives a special token, whatever the text says; a caller names those that a text may hold.
- Text goes to the encoder in pieces of 400,000 characters, as in CWM: longer ones could overflow it.
- `tokenizer.model` and `tokenizer.json` give the same ranks: Llama 3's merges are those of its ranks, so the second
  file's vocabulary alone is read, and its own names for the reserved ids are left aside.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from opencwm.codec.errors import CodecError, check_text

REGULAR = 128_000
RESERVED = 256
CHUNK = 400_000

_NAMED = {
    0: "begin_of_text",
    1: "end_of_text",
    4: "pad",
    6: "start_header_id",
    7: "end_header_id",
    8: "eom_id",
    9: "eot_id",
    100: "frame_sep",
    101: "action_sep",
    102: "return_sep",
    103: "call_sep",
    104: "line_sep",
    105: "exception_sep",
    106: "arg_sep",
    107: "trace_context_start",
    120: "reasoning_thinking_start",
    121: "reasoning_thinking_end",
}
NAMES: dict[int, str] = {
    REGULAR + k: f"<|{_NAMED.get(k, f'reserved_special_token_{k}')}|>" for k in range(RESERVED)
}  # fmt: skip
IDS: dict[str, int] = {name: token for token, name in NAMES.items()}

# Llama 3's split of text into words, numbers of up to three digits, punctuation and spaces.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = re.compile(r"<\|\w+\|>")
_GIVE = "give Llama 3's tokenizer.model (about 2.2 MB) or tokenizer.json (about 9 MB)"


class Tokenizer:
    """Llama 3's text tokens, with CWM's special ids above them. `ranks` maps byte strings to ids from 0."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        try:
            import tiktoken
        except ImportError:
            raise ImportError('the Llama 3 tokenizer needs tiktoken: pip install "opencwm[hf]"') from None
        self._ranks = ranks
        self._encoding: Any = tiktoken.Encoding("llama3", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})
        self._bytes = {token: text for text, token in ranks.items()}

    def encode(self, text: str, special: Collection[str] = ()) -> list[int]:
        """Ids of text. Special tokens come only of the names in `special`, none by default: others are text.

        Raises CodecError for text that is not valid Unicode.
        """
        if not special:
            return self._ordinary(text)
        ids: list[int] = []
        end = 0
        for found in _SPECIAL.finditer(text):
            if found[0] in special and found[0] in IDS:
                ids += [*self._ordinary(text[end : found.start()]), IDS[found[0]]]
                end = found.end()
        return ids + self._ordinary(text[end:])

    def _ordinary(self, text: str) -> list[int]:
        check_text(text)
        chunks = (text[start : start + CHUNK] for start in range(0, len(text), CHUNK))
        return [token for chunk in chunks for token in self._encoding.encode_ordinary(chunk)]

    def piece(self, token: int) -> bytes | None:
        """The bytes of one ordinary token, which need not be whole characters; None for any other id."""
        return self._bytes.get(token)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ordinary ids. Raises CodecError for others, and for ids that together are no UTF-8 text."""
        pieces = []
        for offset, token in enumerate(ids):
            piece = self._bytes.get(token)
            if piece is None:
                raise CodecError(f"expected a text token, found id {token} ({NAMES.get(token, 'unknown')})", offset)
            pieces.append(piece)
        try:
            return b"".join(pieces).decode()
        except UnicodeDecodeError as error:
            length = offset = 0
            while length + len(pieces[offset]) <= error.start:
                length += len(pieces[offset])
                offset += 1
            raise CodecError("these tokens are not UTF-8 text", offset) from None


def load(path: str | Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.model` or `tokenizer.json` file.

    Raises OSError if the file cannot be read, ValueError, with the place, if it is something else, and ImportError
    without tiktoken.
    """
    data = Path(path).read_bytes()
    ranks = _from_json(data, path) if data.lstrip()[:1] == b"{" else _from_lines(data, path)
    if sorted(ranks.values()) != list(range(len(ranks))) or len(ranks) > REGULAR:
        raise ValueError(f"{path}: ranks are not 0 to {len(ranks) - 1}; {_GIVE}")
    lacking = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if lacking:
        raise ValueError(f"{path}: no token for byte {lacking[0]}; {_GIVE}")
    return Tokenizer(ranks)


def _from_lines(data: bytes, path: str | Path) -> dict[bytes, int]:
    """`tokenizer.model`: a line per token, base64 of its bytes and its rank."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            text, rank = line.split()
            ranks[base64.b64decode(text, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(f"{path}, line {number}: not a token and its rank; {_GIVE}") from None
    return ranks


def _from_json(data: bytes, path: str | Path) -> dict[bytes, int]:
    """`tokenizer.json`: a byte-level BPE model whose vocabulary spells each byte as one printable character."""
    try:
        header = json.loads(data)
        model, steps = header["model"], header["pre_tokenizer"]["pretokenizers"]
        if model["type"] != "BPE" or [s["pattern"]["Regex"] for s in steps if s["type"] == "Split"] != [SPLIT]:
            raise ValueError("another split or model")
        return {bytes(BYTE_OF[character] for character in text): int(rank) for text, rank in model["vocab"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: not Llama 3's byte-pair vocabulary; {_GIVE}") from None


def _byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level BPE: printable bytes as themselves, the others from U+0100 on, in order."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(0x100 + k): byte for k, byte in enumerate(moved)}


BYTE_OF = _byte_of_character()
