"""The bytes of a value inside a JSON string: repr text by the grammar of `literals`, escaped as `json.dumps` does.

A state is an immutable tuple, so that an `Automaton` can run it. Notable choices:
- Only the escapes that `json.dumps` writes are legal (`\\"`, `\\\\`, and `\\u` in lower case from U+0080 on, astral
  characters as two), so every text has one spelling.
- The automaton sees at most the eight innermost open brackets of a value. Tokens that would close more are left out of
  its masks; a value can still be closed, a few brackets at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.model.literals import LiteralState

_COMMA, _COLON = VOCABULARY.symbols[", "], VOCABULARY.symbols[": "]
_HEX = b"0123456789abcdef"
_SHOWN = 8
_HIDDEN = 0
"""Stands for the brackets that an automaton's state does not show."""


class Text(NamedTuple):
    """A value so far. `dots` counts dots while there is nothing else; `escape` is an open JSON escape."""

    brackets: tuple[int, ...] = ()
    quote: int = 0
    expected: str = "value"
    hexes: int = 0
    unicode: int = 0
    angles: int = 0
    last: int = 0
    waiting: int = 0  # a comma or colon whose space is due
    escape: bytes = b""
    high: int = 0  # the first half of an astral character
    dots: int = 0
    repeats: bool = False  # `..` is a value here


class Ended(NamedTuple):
    """A value whose closing quote has been read."""


ENDED = Ended()


def shown(text: Text) -> Text:
    """The state with only its innermost brackets, for masks."""
    if len(text.brackets) <= _SHOWN:
        return text
    return text._replace(brackets=(_HIDDEN, *text.brackets[-_SHOWN:]))


def step(state: object, byte: int) -> Text | Ended | None:
    """The state after one byte of the JSON text; None where it is illegal."""
    if not isinstance(state, Text):
        return None
    if state.escape:
        return _escaped(state, byte)
    if state.high and byte != 0x5C:
        return None
    if byte == 0x22:
        return ENDED if _whole(state) else None
    if byte == 0x5C:  # an escape that nothing could end is none
        opened = state._replace(escape=b"\\")
        return opened if any(_escaped(opened, second) is not None for second in b'u"\\') else None
    return _characters(state, bytes((byte,))) if 0x20 <= byte < 0x7F else None


def _escaped(state: Text, byte: int) -> Text | None:
    escape = state.escape
    if escape == b"\\":
        if byte == ord("u"):
            probe = state._replace(escape=b"")
            return state._replace(escape=b"\\u") if _characters(probe, "\u0100".encode()) else None
        if byte in b'"\\' and not state.high:
            return _characters(state._replace(escape=b""), bytes((byte,)))
        return None
    if byte not in _HEX:
        return None
    digits = escape[2:] + bytes((byte,))
    if state.high:  # the second half: dc00 to dfff
        if not (b"dc00"[: len(digits)] <= digits <= b"dfff"[: len(digits)]):
            return None
    elif (b"000" <= digits < b"008" and len(digits) == 3) or b"dc" <= digits[:2] <= b"df":
        return None  # ASCII needs no escape; a second half without its first
    if len(digits) < 4:
        return state._replace(escape=escape + bytes((byte,)))
    code = int(digits, 16)
    state = state._replace(escape=b"")
    if state.high:
        code = 0x10000 + (state.high - 0xD800) * 0x400 + code - 0xDC00
        return _characters(state._replace(high=0), chr(code).encode())
    if 0xD800 <= code < 0xDC00:
        return state._replace(high=code)
    return _characters(state, chr(code).encode()) if code >= 0x80 else None


def _whole(state: Text) -> bool:
    if state.repeats and state.dots == 2:
        return True
    return not state.waiting and state.dots != 2 and _literal(state).whole


def _characters(state: Text, data: bytes) -> Text | None:
    """The state after bytes of the value itself."""
    for byte in data:
        dots = state.dots
        if byte == 0x2E and dots >= 0 and dots < 4 and (dots or _fresh(state)):
            dots += 1
        else:
            dots = -1
        moved = _character(state, byte)
        if moved is None:
            return None
        state = moved._replace(dots=dots)
    return state


def _fresh(state: Text) -> bool:
    return state.expected == "value" and not state.brackets and not state.last


def _character(state: Text, byte: int) -> Text | None:
    literal = _literal(state)
    legal = literal.allowed()
    if state.waiting == ord(","):
        if byte == ord(" ") and _COMMA in legal:
            return _pushed(state, literal, _COMMA)
        if byte == ord(")") and ord(",") in legal:
            literal.push(ord(","))
            return _pushed(state, literal, byte) if byte in literal.allowed() else None
        return None
    if state.waiting == ord(":"):
        return _pushed(state, literal, _COLON) if byte == ord(" ") and _COLON in legal else None
    if not literal.quote and not literal.angles and not literal.unicode:
        if byte == ord(",") and (_COMMA in legal or byte in legal):
            return state._replace(waiting=byte)
        if byte == ord(":") and _COLON in legal:
            return state._replace(waiting=byte)
    return _pushed(state, literal, byte) if byte in legal else None


def _literal(state: Text) -> LiteralState:
    literal = LiteralState()
    literal.brackets, literal.quote, literal.expected = state.brackets, state.quote, state.expected
    literal.hexes, literal.unicode, literal.angles, literal.last = state.hexes, state.unicode, state.angles, state.last
    return literal


def _pushed(state: Text, literal: LiteralState, token: int) -> Text | None:
    literal.push(token)
    if literal.brackets == (_HIDDEN,):
        return None  # what is below is not shown
    last = literal.last
    if (last < 128 and chr(last).isalpha()) or last == ord("_"):
        last = ord("a")
    elif last < 128 and chr(last).isdigit():
        last = ord("0")
    elif 0x80 <= last < 0xC0:
        last = 0x80
    return state._replace(
        brackets=literal.brackets,
        quote=literal.quote,
        expected=literal.expected,
        hexes=literal.hexes,
        unicode=literal.unicode,
        angles=literal.angles,
        last=last,
        waiting=0,
    )
