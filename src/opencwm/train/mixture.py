"""Mixing sources, in lanes: an endless stream of documents whose order depends on nothing but the configuration.

Notable choices:
- Lane l of L takes the chunks l, l + L, ... of every source. Ranks own whole lanes, so a run can go on with any number
  of ranks that divides L, and reads the same documents in the same batches.
- Within a lane, the next item comes from the source that lags most behind its share of the tokens so far. Shares thus
  hold at every point of a run, whatever the lengths of the documents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opencwm.train.workers import CHUNK, Made, Pool


@dataclass(slots=True)
class Drawn:
    """How far a lane has read one source: items, and tokens of their documents."""

    items: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Lane:
    """One lane's stream. `drawn` is its state; what is asked for and unread is made again by whoever goes on."""

    number: int
    lanes: int
    shares: Sequence[float]
    pool: Pool
    drawn: list[Drawn]
    _asked: list[int] = field(default_factory=list)
    _chunks: list[list[Made]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._asked = [drawn.items // CHUNK for drawn in self.drawn]
        self._chunks = [[] for _ in self.drawn]

    def draw(self) -> tuple[int, int, Made]:
        """(source, index, what its next item gave), from the source that is furthest behind."""
        total = sum(drawn.tokens for drawn in self.drawn)
        lags = [share * total - drawn.tokens for share, drawn in zip(self.shares, self.drawn, strict=True)]
        # At the start nothing has been drawn: the largest share goes first.
        number = max(range(len(lags)), key=lambda n: (lags[n], self.shares[n]) if self.shares[n] else (-1e30, 0))
        drawn = self.drawn[number]
        chunk, offset = divmod(drawn.items, CHUNK)
        while self._asked[number] <= chunk + self.pool.ahead:
            self.pool.ask(self._task(number, self._asked[number]))
            self._asked[number] += 1
        if not self._chunks[number]:
            self._chunks[number] = self.pool.take(self._task(number, chunk))
        made = self._chunks[number][offset]
        drawn.items += 1
        drawn.tokens += sum(len(document.ids) for document in made.documents)
        if drawn.items % CHUNK == 0:
            self._chunks[number] = []
        return number, self._task(number, chunk)[1] + offset, made

    def _task(self, number: int, chunk: int) -> tuple[int, int]:
        return number, CHUNK * (chunk * self.lanes + self.number)

    def state(self) -> dict[str, Any]:
        return {"drawn": np.array([[drawn.items, drawn.tokens] for drawn in self.drawn], np.int64)}


def drawn_from(state: dict[str, Any] | None, sources: int) -> list[Drawn]:
    """The progress in each source that a lane's state holds."""
    if state is None:
        return [Drawn() for _ in range(sources)]
    return [Drawn(int(items), int(tokens)) for items, tokens in np.asarray(state["drawn"]).tolist()]


def as_bytes(value: object) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A JSON value as an array, the one form that every part of a data state has."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def from_bytes(array: Any) -> Any:
    """The inverse of `as_bytes`."""
    return json.loads(np.asarray(array).tobytes())
