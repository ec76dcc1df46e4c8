"""Packing: documents into rows with document numbers, by best fit from a bounded buffer per lane.

Notable choices:
- A row takes the oldest document that waits (none starves), then ever the longest that still fits. Documents are never
  split here; sources cut theirs to the length of a row.
- With length buckets a batch has rows of one length: of the bucket for which most tokens wait in all lanes. Shorter
  documents fill what is left of a longer row.
- The data state of a run is, per lane, how far each source is drawn and the waiting documents themselves: nothing is
  made twice, and any ranks can take over any lanes.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opencwm.train.data import DataError, Document, Source, flatten, unflatten
from opencwm.train.data_settings import DataSettings
from opencwm.train.mixture import Lane, drawn_from
from opencwm.train.workers import CHUNK, Pool

BARREN = 2000
"""Items of a source in a row without any document, after which the settings are called wrong."""
Agree = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Sums an array over all ranks."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed rows, each (B, T).

    `tokens` int64, padding included. `documents` int64: number of the document within its row, -1 for padding.
    `weights` float32: weight of each token as a target, 0 for the first token of a document and for padding.
    `origins`: (source, index) of each document, row by row. `global_window`: see `BucketSettings`.
    """

    tokens: NDArray[np.int64]
    documents: NDArray[np.int64]
    weights: NDArray[np.float32]
    origins: list[list[tuple[str, int]]] = field(default_factory=list)
    global_window: int = 0

    @property
    def useful(self) -> int:
        """Tokens that are predicted: those with a weight."""
        return int(np.count_nonzero(self.weights))

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        return float(self.weights.sum())

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

    def between(self, shorter: int, longest: int) -> list[tuple[int, int]]:
        """(length, -serial) of the documents longer than `shorter` and at most `longest`, by length."""
        start = bisect.bisect_right(self._by_length, (shorter, 1))
        return self._by_length[start : bisect.bisect_right(self._by_length, (longest, 1))]

    def take(self, room: int, shorter: int = 0) -> Iterator[Document]:
        """Take out documents for a row of `room` tokens: the oldest longer than `shorter`, then the longest ones."""
        oldest = next(iter(self._waiting))
        if not shorter < len(self._waiting[oldest].ids) <= room:
            oldest = min(-negative for _, negative in self.between(shorter, room))
        key: tuple[int, int] | None = (len(self._waiting[oldest].ids), -oldest)
        while key is not None:
            self._by_length.remove(key)
            room -= key[0]
            yield self._waiting.pop(-key[1])
            fitting = bisect.bisect_right(self._by_length, (room, 1))
            key = self._by_length[fitting - 1] if fitting else None


def assemble(rows: Sequence[Iterable[Document]], length: int, pad: int = 0, global_window: int = 0) -> Batch:
    """Rows of documents as arrays of `length` columns, padded."""
    shape = (len(rows), length)
    tokens, numbers = np.full(shape, pad, np.int64), np.full(shape, -1, np.int64)
    weights = np.zeros(shape, np.float32)
    origins: list[list[tuple[str, int]]] = []
    for row, contents in enumerate(rows):
        used = 0
        origins.append([])
        for number, document in enumerate(contents):
            place = slice(used, used + len(document.ids))
            tokens[row, place], numbers[row, place], weights[row, place] = document.ids, number, document.weights
            weights[row, used] = 0  # nothing before it to predict it from
            origins[row].append((document.source, document.index))
            used = place.stop
    return Batch(tokens, numbers, weights, origins, global_window)


@dataclass(frozen=True)
class Mixture:
    """Sources by name with their shares of the tokens. `limits`: items without a document before that is an error."""

    sources: dict[str, Source]
    shares: dict[str, float]
    pad: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Source, name: str = "programs") -> Mixture:
        """A single source."""
        return cls({name: source}, {name: 1.0})


class Packer:
    """Batches of packed documents of some lanes of a mixture, from saved states of these lanes or from the start.

    `lanes`: the numbers of the lanes that this rank owns, all of them by default. `agree` sums over the ranks. A
    context manager: leaving it ends the worker processes.
    """

    def __init__(
        self,
        mixture: Mixture,
        settings: DataSettings,
        state: Mapping[int, Mapping[str, Any]] | None = None,
        *,
        lanes: Sequence[int] | None = None,
        agree: Agree = lambda counts: counts,
    ) -> None:
        self._mixture, self._settings, self._agree = mixture, settings, agree
        self._names = list(mixture.sources)
        self._pool = Pool(list(mixture.sources.values()), settings.workers)
        shares = [mixture.shares[name] for name in self._names]
        self.skipped: Counter[str] = Counter()
        """Why items were skipped, and how often."""
        self._lanes: list[Lane] = []
        self._buffers: list[Buffer] = []
        self._barren: Counter[int] = Counter()
        for number in range(settings.lanes) if lanes is None else lanes:
            saved = dict(state[number]) if state is not None else None
            drawn = drawn_from(saved, len(self._names))
            if saved is not None:
                del saved["drawn"]
            self._lanes.append(Lane(number, settings.lanes, shares, self._pool, drawn))
            self._buffers.append(Buffer([] if saved is None else unflatten(saved)))

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    @property
    def items(self) -> int:
        """Items that these lanes have drawn."""
        return sum(drawn.items for lane in self._lanes for drawn in lane.drawn)

    def drawn(self) -> dict[str, tuple[int, int]]:
        """Per source, the items and tokens that these lanes have drawn."""
        each = [[(drawn.items, drawn.tokens) for drawn in lane.drawn] for lane in self._lanes]
        sums = np.array(each, np.int64).sum(0).tolist()
        return {name: (items, tokens) for name, (items, tokens) in zip(self._names, sums, strict=True)}

    def state(self) -> dict[int, dict[str, Any]]:
        """Per lane, what a new Packer needs to go on exactly here: arrays."""
        return {
            lane.number: lane.state() | flatten(buffer.waiting())
            for lane, buffer in zip(self._lanes, self._buffers, strict=True)
        }

    def next_documents(self) -> list[Document]:
        """What the first lane draws next, unpacked: to look at."""
        buffer = Buffer()
        self._draw(self._lanes[0], buffer)
        return buffer.waiting()

    def batch(self, tokens: int) -> Batch:
        """The next batch: `tokens` tokens over all lanes, of which this has its lanes' part.

        Raises DataError (see `workers`), also when a source keeps giving no document.
        """
        for lane, buffer in zip(self._lanes, self._buffers, strict=True):
            while len(buffer) < self._settings.buffer:
                self._draw(lane, buffer)
        number = self._bucket()
        bucket = self._settings.rows[number]
        shorter = self._settings.rows[number - 1].longest if number else 0
        each = tokens // bucket.longest // self._settings.lanes
        rows: list[list[Document]] = []
        for lane, buffer in zip(self._lanes, self._buffers, strict=True):
            for _ in range(each):
                while len(buffer) < self._settings.buffer or not buffer.between(shorter, bucket.longest):
                    self._draw(lane, buffer)
                rows.append(list(buffer.take(bucket.longest, shorter)))
        return assemble(rows, bucket.longest, self._mixture.pad, bucket.global_window)

    def _bucket(self) -> int:
        """The number of the bucket for which most tokens wait, in all lanes of all ranks."""
        buckets = self._settings.rows
        if len(buckets) == 1:
            return 0
        waiting = np.zeros(len(buckets), np.int64)
        for buffer, number in itertools.product(self._buffers, range(len(buckets))):
            shorter = buckets[number - 1].longest if number else 0
            waiting[number] += sum(length for length, _ in buffer.between(shorter, buckets[number].longest))
        return int(self._agree(waiting).argmax())

    def _draw(self, lane: Lane, buffer: Buffer) -> None:
        number, index, made = lane.draw()
        name = self._names[number]
        longest = self._settings.sequence_length
        if made.skipped:
            self.skipped[made.skipped] += 1
        self._barren[number] = 0 if made.documents else self._barren[number] + 1
        if self._barren[number] > max(BARREN, self._mixture.limits.get(name, 0)):
            why = f" (the last one: {made.skipped})" if made.skipped else ""
            raise DataError(
                f"{self._barren[number]:,} items of {name} gave no document that fits a row of {longest} tokens{why}: "
                f"raise data.sequence_length, or look at them with `cwm data peek`"
            )
        for document in made.documents:
            if not 0 < len(document.ids) <= longest:
                raise DataError(f"item {index} of {name} gave {len(document.ids)} tokens: rows hold 1 to {longest}")
            buffer.add(document)


def pack_all(documents: Iterable[Document], length: int, pad: int = 0) -> Batch | None:
    """Some documents in as few rows as the packing finds; None if there are none."""
    buffer = Buffer(list(documents))
    rows: list[list[Document]] = []
    while len(buffer):
        rows.append(list(buffer.take(length)))
    return assemble(rows, length, pad) if rows else None


def held_out(mixture: Mixture, settings: DataSettings, items: int) -> Batch | None:
    """The documents of the first `items` items of each source, packed; None if there are none."""
    documents: list[Document] = []
    with Pool(list(mixture.sources.values()), settings.workers) as pool:
        for number in range(len(mixture.sources)):
            starts = range(0, items, CHUNK)
            for start in starts:
                pool.ask((number, start))
            made = itertools.chain.from_iterable(pool.take((number, start)) for start in starts)
            documents += [document for one in itertools.islice(made, items) for document in one.documents]
    return pack_all(documents, settings.sequence_length, mixture.pad)
