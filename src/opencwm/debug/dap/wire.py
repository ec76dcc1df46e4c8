"""The Debug Adapter Protocol's base: JSON messages behind a Content-Length header, over any pair of byte streams.

Notable choice: anything that is not such a header ends the connection. Among other things that keeps a web page from
smuggling requests into the socket: an HTTP request line is no header.
"""

from __future__ import annotations

import json
import threading
from typing import Any, BinaryIO

MOST_HEADER, MOST_BODY = 4096, 16 << 20
Message = dict[str, Any]


class WireError(ValueError):
    """Bytes that are no message of the protocol; the connection cannot go on."""


class BadMessage(ValueError):
    """A body that is not a JSON object; the next message can still be read."""


class Wire:
    """Reads and writes messages. Writing is safe from several threads; `seq` numbers are given here."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._lock = threading.Lock()
        self._seq = 0

    def read(self) -> Message | None:
        """The next message; None at the end of the stream. Raises WireError and BadMessage."""
        length: int | None = None
        size = 0
        while True:
            line = self._incoming.readline(MOST_HEADER)
            if not line:
                if size:
                    raise WireError("the stream ends within a header")
                return None
            size += len(line)
            if size > MOST_HEADER:
                raise WireError("a header of more than 4096 bytes")
            text = line.decode("ascii", "replace").strip()
            if not text:
                if length is not None:
                    break
                raise WireError("a header without Content-Length")
            name, colon, value = text.partition(":")
            if not colon or " " in name.strip():
                raise WireError(f"not a header: {text[:60]!r}")
            if name.strip().lower() == "content-length":
                if not value.strip().isdecimal() or int(value) > MOST_BODY:
                    raise WireError(f"not a usable length: {value.strip()[:20]!r}")
                length = int(value)
        body = self._incoming.read(length)
        if len(body) < length:
            raise WireError("the stream ends within a message")
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            raise BadMessage("a body that is not JSON") from None
        if not isinstance(message, dict):
            raise BadMessage("a body that is not a JSON object")
        return message

    def write(self, message: Message) -> None:
        """Send a message. Does nothing if nobody reads any more."""
        with self._lock:
            self._seq += 1
            body = json.dumps({"seq": self._seq, **message}, ensure_ascii=False).encode("utf-8", "surrogatepass")
            try:
                self._outgoing.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                self._outgoing.flush()
            except (OSError, ValueError):
                pass
