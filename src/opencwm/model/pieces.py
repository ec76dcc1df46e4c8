"""`Pieces`: the byte strings of a vocabulary's tokens, and which tokens begin or continue a text.

Notable choices: a grammar of bytes becomes a grammar of tokens here. Fixed texts are looked up (a token that begins one
is one of its prefixes). Free texts are an `Automaton` over bytes, run over the whole vocabulary at once, a column of
bytes at a time, with a transition table that fills itself; 128,000 tokens take some ten milliseconds per new state.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_UNKNOWN, _DEAD = -2, -1


class Pieces:
    """`piece(token)` for tokens 0 to `count` - 1 gives a token's bytes, None where it is no text."""

    def __init__(self, piece: Callable[[int], bytes | None], count: int) -> None:
        self.count = count
        self.of: list[bytes | None] = [piece(token) or None for token in range(count)]
        self._ids: dict[bytes, int] = {}
        for token, text in enumerate(self.of):
            if text is not None:
                self._ids.setdefault(text, token)
        self._sorted = sorted(self._ids)
        tokens = sorted(self._ids.values())
        texts = [self.of[token] or b"" for token in tokens]
        self.tokens = np.array(tokens, dtype=np.int64)
        self.lengths = np.array([len(text) for text in texts], dtype=np.int64)
        widest = int(self.lengths.max(initial=1))
        self.bytes = np.zeros((len(tokens), widest), dtype=np.uint8)
        for row, text in enumerate(texts):
            self.bytes[row, : len(text)] = np.frombuffer(text, dtype=np.uint8)
        order = np.argsort(self.bytes[:, 0], kind="stable")
        self.rows_from = np.split(order, np.searchsorted(self.bytes[order, 0], np.arange(1, 256)))

    def beginning(self, text: bytes) -> list[int]:
        """Tokens that `text` begins with."""
        ids = self._ids
        return [ids[text[:end]] for end in range(1, len(text) + 1) if text[:end] in ids]

    def beyond(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """Tokens that begin with `text` and go on, with how they go on."""
        start = bisect_left(self._sorted, text)
        for longer in self._sorted[start:]:
            if not longer.startswith(text):
                return
            if len(longer) > len(text):
                yield self._ids[longer], longer[len(text) :]


@dataclass(frozen=True, slots=True)
class Legal:
    """Tokens that are legal from a state: `mask_V` (bool) has those that stay within the free text or end it exactly,
    `beyond` those that end it and go on, by how they go on."""

    mask_V: np.ndarray
    beyond: dict[bytes, list[int]]


class Automaton:
    """Free text over bytes. `step(state, byte)` gives the state after a byte, None if it is illegal.

    `final` is the state in which the text has ended; what follows it is not this automaton's business.
    """

    def __init__(self, pieces: Pieces, step: Callable[[Hashable, int], Hashable | None], final: Hashable) -> None:
        self._pieces, self._step = pieces, step
        self._states: list[Hashable] = [final]
        self._numbers: dict[Hashable, int] = {final: 0}
        self._table = np.full((256, 256), _UNKNOWN, dtype=np.int32)
        self._table[0] = _DEAD
        self._legal: dict[Hashable, Legal] = {}

    def legal(self, state: Hashable) -> Legal:
        """What may come next; computed once per state, the latest few hundred are kept."""
        if state not in self._legal:
            if len(self._legal) >= 512:
                del self._legal[next(iter(self._legal))]
            self._legal[state] = self._run(state)
        return self._legal[state]

    def _run(self, state: Hashable) -> Legal:
        pieces, number = self._pieces, self._number(state)
        for byte in range(256):
            if self._table[number, byte] == _UNKNOWN:
                self._fill(number, byte)
        open_bytes = np.flatnonzero(self._table[number] != _DEAD)
        found = [pieces.rows_from[byte] for byte in open_bytes]
        rows = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
        at = self._table[number, pieces.bytes[rows, 0]]
        accepted: list[np.ndarray] = []
        beyond: dict[bytes, list[int]] = {}
        column = 1
        while len(rows):
            done = pieces.lengths[rows] == column
            accepted.append(rows[done])
            for row in rows[~done & (at == 0)]:
                text = pieces.bytes[row, column : pieces.lengths[row]].tobytes()
                beyond.setdefault(text, []).append(int(pieces.tokens[row]))
            going = ~done & (at != 0)
            rows, at = rows[going], at[going]
            read = pieces.bytes[rows, column] if len(rows) else np.zeros(0, dtype=np.uint8)
            following = self._table[at, read]
            unknown = following == _UNKNOWN
            if unknown.any():
                for key in np.unique(at[unknown].astype(np.int64) * 256 + read[unknown]):
                    self._fill(*divmod(int(key), 256))
                following = self._table[at, read]
            alive = following != _DEAD
            rows, at = rows[alive], following[alive]
            column += 1
        mask_V = np.zeros(pieces.count, dtype=np.bool_)
        if accepted:
            mask_V[pieces.tokens[np.concatenate(accepted)]] = True
        return Legal(mask_V, beyond)

    def _number(self, state: Hashable) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            if len(self._states) > len(self._table):
                more = np.full_like(self._table, _UNKNOWN)
                self._table = np.concatenate((self._table, more))
        return self._numbers[state]

    def _fill(self, number: int, byte: int) -> None:
        following = self._step(self._states[number], byte)
        target = _DEAD if following is None else self._number(following)
        self._table[number, byte] = target


def common_beginning(texts: Sequence[bytes]) -> bytes:
    """The longest text that all begin with."""
    first, last = min(texts), max(texts)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
