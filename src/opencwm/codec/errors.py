"""`CodecError`: what a codec raises for input that is not in its format, with the place and what was expected."""

from __future__ import annotations


class CodecError(ValueError):
    """Malformed or unencodable input. `offset` counts characters of a text or tokens, None where there is no place."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at offset {offset})")
        self.offset = offset


def check_text(text: str) -> None:
    """Raise CodecError for a text that has no UTF-8: half of a surrogate pair is in it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CodecError("the text holds half of a surrogate pair", error.start) from None
