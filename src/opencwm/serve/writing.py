"""Tokens to text as a client may see it: whole characters only, nothing of a stop text, special tokens shown or not.

Notable choices:
- A character whose bytes are not all there yet waits for the next token; bytes that make no character become U+FFFD.
- Text is held back while it may be the start of a stop text.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from opencwm.codec.text import TextCodec


class Writer:
    """The text of one reply. `stopped` is the stop text that was met, if any."""

    def __init__(self, codec: TextCodec, *, stops: Sequence[str] = (), skip_special: bool = True) -> None:
        self._codec, self._stops, self._skip_special = codec, stops, skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self.stopped: str | None = None
        self.length = 0
        """Characters decoded so far, held back or not."""

    def push(self, token: int) -> str:
        """The text that is certain after one more token; empty once a stop text was met."""
        return self._add(self._decoder.decode(self._bytes(token)))

    def finish(self) -> str:
        """What was held back, at the end of the tokens."""
        text = self._add(self._decoder.decode(b"", final=True))
        rest, self._rest = self._rest, ""
        return text if self.stopped is not None else text + rest

    def _bytes(self, token: int) -> bytes:
        piece = self._codec.piece(token)
        if piece is not None:
            return piece
        return b"" if self._skip_special else self._codec.name(token).encode()

    def _add(self, new: str) -> str:
        if self.stopped is not None:
            return ""
        self.length += len(new)
        text = self._rest + new
        found = [(text.find(stop), -len(stop), stop) for stop in self._stops if stop in text]
        if found:
            at, _, self.stopped = min(found)
            self._rest = ""
            return text[:at]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._rest = text[len(text) - held :]
        return text[: len(text) - held]


def shown(codec: TextCodec, token: int) -> tuple[str, bytes]:
    """One token for a list of log-probabilities: its text (special ones by name) and its bytes."""
    piece = codec.piece(token)
    data = codec.name(token).encode() if piece is None else piece
    return data.decode("utf-8", "replace"), data


def _overlap(text: str, stop: str) -> int:
    """How many last characters of a text are the start of a stop text."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
