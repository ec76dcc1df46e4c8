"""`CodecError`: what a codec raises for input that is not in its format, with the place and what was expected."""

from __future__ import annotations


class CodecError(ValueError):
    """Malformed or unencodable input. `offset` counts characters of a text or tokens, None where there is no place."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at offset {offset})")
        self.offset = offset
