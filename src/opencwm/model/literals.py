"""Which bytes may come next in a value's text: balanced brackets, closed strings, whole literals.

`LiteralState` reads repr text token by token. Notable choices: it is a grammar of shapes, not of Python. Names,
attributes and `<function f>` pass, as values of objects have them; what it forbids is text that cannot be the start of
any value (a bracket closed by another, a comma outside brackets, a raw newline, broken UTF-8, an unfinished escape),
and ending a value before it is whole. Allowed sets depend on a small state and are cached.
"""

from __future__ import annotations

from functools import lru_cache

from opencwm.codec.tokenizer import VALUE_TOKENS, VOCABULARY

_OPEN = {ord("["): ord("]"), ord("("): ord(")"), ord("{"): ord("}")}
_CLOSE = frozenset(_OPEN.values())
_QUOTES = frozenset(b"'\"")
_ESCAPES = frozenset(b"\\'\"nrtx0abfvuUN")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = frozenset(b"0123456789")
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_START = _QUOTES | _DIGITS | _LETTERS | frozenset(b"-<.") | frozenset(_OPEN)
_HIGH = frozenset(range(0xC2, 0xF5))
_CONTINUE = frozenset(range(0x80, 0xC0))
# Second bytes after the leads whose range is narrower (no overlong forms, no surrogates, nothing past U+10FFFF).
_SECOND = {
    0xE0: frozenset(range(0xA0, 0xC0)),
    0xED: frozenset(range(0x80, 0xA0)),
    0xF0: frozenset(range(0x90, 0xC0)),
    0xF4: frozenset(range(0x80, 0x90)),
}
_COMMA, _COLON = VOCABULARY.symbols[", "], VOCABULARY.symbols[": "]
_WORDS = frozenset(token for token in VALUE_TOKENS if token > 255) - {_COMMA, _COLON}
_HEX_ESCAPES = {ord("x"): 2, ord("u"): 4, ord("U"): 8}


class LiteralState:
    """The state of a value's text so far; `push` moves it, `allowed` tells the tokens that may follow."""

    __slots__ = ("angles", "brackets", "expected", "hexes", "last", "quote", "unicode")

    def __init__(self) -> None:
        self.brackets: tuple[int, ...] = ()  # the closing bytes that are due, outermost first
        self.quote = 0  # the quote of the open string
        self.expected = "value"  # value, item (value or closing bracket), after (a whole value), escape, hex
        self.hexes = 0
        self.unicode = 0  # continuation bytes that are due
        self.angles = 0  # open `<` of `<function f>`
        self.last = 0

    @property
    def whole(self) -> bool:
        """Whether the value may end here."""
        inside = self.brackets or self.quote or self.angles or self.unicode
        dangling = self.last in b"-=.+" if self.last < 128 else False
        return not inside and self.expected == "after" and not dangling

    def push(self, token: int) -> None:
        """Take one value token, which must be among `allowed()`."""
        if token in (_COMMA, _COLON):
            if not self.quote and not self.angles:
                self.expected = "value"
            self.last = ord(" ")
            return
        if token > 255:
            self.expected, self.last = "after", ord("e")
            return
        byte, self.last = token, token
        if self.unicode:
            self.unicode -= 1
        elif byte >= 0xC0:
            self.unicode = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            if not self.quote:
                self.expected = "after"
        elif self.quote:
            self._push_string(byte)
        elif self.angles:
            self.angles += (byte == ord("<")) - (byte == ord(">"))
            self.expected = "after"
        elif byte in _QUOTES:
            self.quote, self.expected = byte, "string"
        elif byte in _OPEN:
            self.brackets += (_OPEN[byte],)
            self.expected = "item"
        elif byte in _CLOSE:
            self.brackets = self.brackets[:-1]
            self.expected = "after"
        elif byte == ord("<"):
            self.angles, self.expected = 1, "after"
        elif byte == ord("="):
            self.expected = "value"
        elif byte == ord(","):
            self.expected = "item"  # the comma of (1,)
        else:
            self.expected = "after"

    def _push_string(self, byte: int) -> None:
        if self.expected == "escape":
            self.hexes = _HEX_ESCAPES.get(byte, 0)
            self.expected = "hex" if self.hexes else "string"
        elif self.expected == "hex":
            self.hexes -= 1
            self.expected = "hex" if self.hexes else "string"
        elif byte == ord("\\"):
            self.expected = "escape"
        elif byte == self.quote:
            self.quote, self.expected = 0, "after"

    def allowed(self) -> frozenset[int]:
        """Tokens that may follow, not counting what ends the value."""
        kind = (
            "unicode" if self.unicode
            else self.expected if self.quote
            else "angle" if self.angles
            else self.expected
        )  # fmt: skip
        last = "name" if self.last in _LETTERS else "digit" if self.last in _DIGITS else "other"
        if self.unicode and self.last in _SECOND:
            return _SECOND[self.last]
        return _allowed(kind, self.brackets[-1] if self.brackets else 0, last, self.last in _CLOSE | _QUOTES)


@lru_cache(maxsize=512)
def _allowed(kind: str, bracket: int, last: str, closed: bool) -> frozenset[int]:
    if kind == "unicode":
        return _CONTINUE
    if kind == "escape":
        return _ESCAPES
    if kind == "hex":
        return _HEX
    if kind == "string":
        return frozenset(range(32, 127)) | _HIGH
    if kind == "angle":
        return frozenset(range(32, 127)) | _HIGH | {_COMMA, _COLON}
    if kind == "value":
        return _START | _WORDS | _HIGH
    if kind == "item":
        return _START | _WORDS | _HIGH | {bracket}
    tokens: set[int] = set()
    if bracket:
        tokens |= {_COMMA, bracket}
        if bracket == ord(")"):
            tokens.add(ord(","))
        if bracket == ord("}"):
            tokens.add(_COLON)
    if last == "name":
        tokens |= _LETTERS | _DIGITS | _HIGH | _QUOTES | frozenset(b"([.=-+")
    elif last == "digit":
        tokens |= _DIGITS | _LETTERS | frozenset(b".+-([=")
    elif not closed:
        tokens |= _DIGITS | _LETTERS | frozenset(b".+")  # `...+97`
    else:
        tokens |= frozenset(b".+")  # `'abc...+97'`, `]...`
    return frozenset(tokens)
