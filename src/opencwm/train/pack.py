"""Packing: documents into rows of one length, with document numbers, by best fit from a bounded buffer.

Notable choices:
- A row takes the oldest document that waits (none starves), then ever the longest that still fits. Documents are never
  split here; the codec cuts windows that fit a row.
- The data state of a run is the next program's index and the waiting documents themselves: nothing is made twice.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencwm.codec import compact
from opencwm.train.data import DataError, Document, Source, flatten, stream, unflatten
from opencwm.train.settings import DataSettings

BARREN = 2000
"""Programs in a row without any document, after which the settings are called wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows, each (B, T).

    `tokens` int64, padding included. `documents` int64: number of the document within its row, -1 for padding.
    `weights` float32: weight of each token as a target, 0 for the first token of a document and for padding.
    """

    tokens: NDArray[np.int64]
    documents: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def useful(self) -> int:
        """Tokens that are predicted: those with a weight."""
        return int(np.count_nonzero(self.weights))

    @property
    def weight(self) -> float:
        """Sum of the weights, never 0."""
        return max(float(self.weights.sum()), 1e-9)

    @property
    def filled(self) -> float:
        """Share of the tokens that is not padding."""
        return float((self.documents >= 0).mean())


class Buffer:
    """Documents that wait for a row, by age and by length."""

    def __init__(self, waiting: Sequence[Document] = ()) -> None:
        self._serials = itertools.count()
        self._waiting: dict[int, Document] = {}  # by serial, so the oldest comes first
        self._by_length: list[tuple[int, int]] = []  # (length, -serial), sorted
        for document in waiting:
            self.add(document)

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Document]:
        """All documents, oldest first."""
        return list(self._waiting.values())

    def add(self, document: Document) -> None:
        serial = next(self._serials)
        self._waiting[serial] = document
        bisect.insort(self._by_length, (len(document.ids), -serial))

    def take(self, room: int) -> Iterator[Document]:
        """Take out documents for a row of `room` tokens: the oldest, then ever the longest that fits."""
        oldest = next(iter(self._waiting))
        key: tuple[int, int] | None = (len(self._waiting[oldest].ids), -oldest)
        while key is not None:
            self._by_length.remove(key)
            room -= key[0]
            yield self._waiting.pop(-key[1])
            fitting = bisect.bisect_right(self._by_length, (room, 1))
            key = self._by_length[fitting - 1] if fitting else None


def assemble(rows: Sequence[Iterable[Document]], length: int) -> Batch:
    """Rows of documents as arrays of `length` columns, padded."""
    shape = (len(rows), length)
    tokens, numbers = np.full(shape, compact.PAD, np.int64), np.full(shape, -1, np.int64)
    weights = np.zeros(shape, np.float32)
    for row, contents in enumerate(rows):
        used = 0
        for number, document in enumerate(contents):
            place = slice(used, used + len(document.ids))
            tokens[row, place], numbers[row, place], weights[row, place] = document.ids, number, document.weights
            weights[row, used] = 0  # nothing before it to predict it from
            used = place.stop
    return Batch(tokens, numbers, weights)


class Packer:
    """Batches of packed documents from a stream that begins at a saved state (or at program 0).

    A context manager: leaving it ends the worker processes.
    """

    def __init__(self, source: Source, settings: DataSettings, state: dict[str, Any] | None = None) -> None:
        self._settings = settings
        self._buffer = Buffer([] if state is None else unflatten(state))
        self.index = 0 if state is None else int(state["index"])
        """The next program."""
        self._stream = stream(source, self.index, settings.workers)

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def state(self) -> dict[str, Any]:
        """What a new Packer needs to go on exactly here."""
        return {"index": self.index, **flatten(self._buffer.waiting())}

    def batch(self, rows: int) -> Batch:
        """The next `rows` rows. Raises DataError (see `stream`), also when programs keep giving no document."""
        length = self._settings.sequence_length
        contents: list[list[Document]] = []
        for _ in range(rows):
            self._fill()
            contents.append(list(self._buffer.take(length)))
        return assemble(contents, length)

    def _fill(self) -> None:
        barren, length = 0, self._settings.sequence_length
        while len(self._buffer) < self._settings.buffer:
            index, made = next(self._stream)
            self.index = index + 1
            barren = 0 if made else barren + 1
            if barren == BARREN:
                raise DataError(
                    f"programs {index - BARREN + 1} to {index} gave no document that fits a row of {length} tokens: "
                    f"raise data.sequence_length"
                )
            for document in made:
                if not 0 < len(document.ids) <= length:
                    size = len(document.ids)
                    raise DataError(f"program {index} gave a document of {size} tokens: rows hold 1 to {length}")
                self._buffer.add(document)


def held_out(source: Source, settings: DataSettings, programs: int) -> Batch | None:
    """The documents of the first `programs` programs, packed; None if there are none."""
    buffer = Buffer()
    with closing(stream(source, 0, settings.workers)) as pairs:
        for _, made in itertools.islice(pairs, programs):
            for document in made:
                buffer.add(document)
    rows: list[list[Document]] = []
    while len(buffer):
        rows.append(list(buffer.take(settings.sequence_length)))
    return assemble(rows, settings.sequence_length) if rows else None
