"""Rows of Parquet and JSON-lines files: counted at the start, read in blocks, in an order shuffled anew each epoch.

Notable choices:
- A row is found by its number alone, so a stream over files can be entered anywhere. The files' layout (names and row
  counts) is part of a run's state: a shard that changes under a run is noticed.
- The shuffle permutes blocks (row groups; 1,024 lines) and the rows within each, so that neighbours in the stream cost
  one read. A finer mix comes from the packing buffer and the other sources.
- A `.gz` file is one block: good for data of some hundred megabytes, not for shards of a corpus.
"""

from __future__ import annotations

import bisect
import glob
import gzip
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Lines of a JSON-lines file that are read at once."""
KEPT = 4
"""Blocks that a process keeps in memory."""
SUFFIXES = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")


class ShardError(RuntimeError):
    """A shard or row that cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: `blocks` are the numbers of its rows, block by block; `offsets` where these begin in JSON lines."""

    path: str
    blocks: tuple[int, ...]
    offsets: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.blocks)


def find(patterns: Sequence[str]) -> list[str]:
    """Files that paths, folders and patterns stand for, sorted. Raises ShardError for one that stands for none."""
    found: set[str] = set()
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            names = {str(file) for file in path.rglob("*") if file.name.endswith(SUFFIXES)}
        else:
            names = set(glob.glob(str(path), recursive=True))
        if not names:
            raise ShardError(f"{pattern}: no such file, nor a folder or pattern of files ({', '.join(SUFFIXES)})")
        found |= names
    return sorted(found)


def scan(path: str, *, grouped: bool = False) -> Shard:
    """Count a file's rows. `grouped`: a row is all lines from one with a "format" to the next (traces).

    Raises ShardError for a file that is not what its name says.
    """
    try:
        if path.endswith(".parquet"):
            import pyarrow.parquet as parquet

            with parquet.ParquetFile(path) as file:
                meta = file.metadata
                return Shard(path, tuple(meta.row_group(number).num_rows for number in range(meta.num_row_groups)))
        if path.endswith(".gz"):
            return Shard(path, (sum(1 for _ in _rows(gzip.open(path, "rb"), grouped)),), (0,))
        starts, rows, last = [], 0, 0
        with open(path, "rb") as lines:
            for row, offset in _offsets(lines, grouped):
                if row % BLOCK == 0:
                    starts.append(offset)
                rows, last = row + 1, row % BLOCK + 1
        blocks = [BLOCK] * (len(starts) - 1) + [last] if starts else []
        assert sum(blocks) == rows
        return Shard(path, tuple(blocks), tuple(starts))
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are ValueErrors or OSErrors
        raise ShardError(f"shard {path} cannot be read ({_first_line(error)})") from error


@dataclass
class Rows:
    """All rows of some shards, by number, with shuffles of them. Picklable."""

    shards: Sequence[Shard]
    seed: int = 0
    columns: Sequence[str] | None = None
    grouped: bool = False
    _cache: OrderedDict[tuple[int, int], list[Any]] = field(default_factory=OrderedDict, repr=False)
    _orders: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._blocks = [(s, b) for s, shard in enumerate(self.shards) for b in range(len(shard.blocks))]
        self._sizes = np.array([self.shards[s].blocks[b] for s, b in self._blocks], np.int64)
        self._within: tuple[tuple[int, int], NDArray[np.int64]] = ((-1, -1), np.empty(0, np.int64))
        self.count = int(self._sizes.sum())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": OrderedDict(), "_orders": {}}

    def place(self, index: int) -> tuple[int, int, int]:
        """(shard, block, row within it) of place `index` in the endless stream of shuffled epochs."""
        epoch, offset = divmod(index, self.count)
        if epoch not in self._orders:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self._blocks))
            self._orders = {epoch: (order, np.cumsum(self._sizes[order]))}
        order, ends = self._orders[epoch]
        position = int(np.searchsorted(ends, offset, side="right"))
        number = int(order[position])
        within = offset - int(ends[position] - self._sizes[number])
        if self._within[0] != (epoch, number):
            rows = np.random.default_rng((self.seed, epoch, number)).permutation(int(self._sizes[number]))
            self._within = (epoch, number), rows
        return *self._blocks[number], int(self._within[1][within])

    def plain(self, number: int) -> tuple[int, int, int]:
        """(shard, block, row within it) of row `number` in the order of the files."""
        block = bisect.bisect_right(np.cumsum(self._sizes).tolist(), number)
        return *self._blocks[block], number - int(self._sizes[:block].sum())

    def read(self, place: tuple[int, int, int]) -> Any:
        """The row at a place: a dict of columns, or, when grouped, its lines. Raises ShardError."""
        shard, block, row = place
        try:
            return self._read_block(shard, block)[row]
        except IndexError:
            path, rows = self.shards[shard].path, self.shards[shard].blocks[block]
            raise ShardError(f"shard {path} has lost rows: block {block} had {rows}") from None

    def where(self, place: tuple[int, int, int]) -> str:
        """A place for people: `file, row 17`."""
        shard, block, row = place
        return f"{self.shards[shard].path}, row {sum(self.shards[shard].blocks[:block]) + row}"

    def _read_block(self, number: int, block: int) -> list[Any]:
        key = (number, block)
        if key not in self._cache:
            shard = self.shards[number]
            try:
                self._cache[key] = list(self._load(shard, block))
            except (OSError, EOFError, ValueError) as error:
                raise ShardError(f"shard {shard.path} cannot be read ({_first_line(error)})") from error
            while len(self._cache) > KEPT:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _load(self, shard: Shard, block: int) -> Iterator[Any]:
        if shard.path.endswith(".parquet"):
            import pyarrow.parquet as parquet

            with parquet.ParquetFile(shard.path) as file:
                columns = self.columns and [name for name in self.columns if name in file.schema_arrow.names]
                yield from file.read_row_group(block, columns=columns or None).to_pylist()
            return
        with gzip.open(shard.path) if shard.path.endswith(".gz") else open(shard.path, "rb") as lines:
            lines.seek(shard.offsets[block])
            yield from itertools.islice(_rows(lines, self.grouped), shard.blocks[block])


def parse(line: bytes) -> dict[str, Any]:
    """One JSON line. Raises ValueError unless it is an object."""
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object was expected, not {type(row).__name__}")
    return row


def _offsets(lines: Any, grouped: bool) -> Iterator[tuple[int, int]]:
    """(row number, byte offset) of each row of JSON lines."""
    offset = row = 0
    for line in lines:
        if _begins(line, grouped):
            yield row, offset
            row += 1
        offset += len(line)


def _rows(lines: Any, grouped: bool) -> Iterator[Any]:
    """The rows of JSON lines: each line's bytes, or, when grouped, a list of lines."""
    if not grouped:
        yield from (line for line in lines if _begins(line, grouped))
        return
    group: list[bytes] = []
    for line in lines:
        if _begins(line, grouped) and group:
            yield group
            group = []
        if line.strip():
            group.append(line)
    if group:
        yield group


def _begins(line: bytes, grouped: bool) -> bool:
    return line.lstrip().startswith(b'{"format"') if grouped else bool(line.strip())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
