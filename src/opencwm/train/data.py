"""What a model learns from: documents, and the streams that they come in.

    files.py, workers.py -> sources.py: source(index) -> documents  ->  mixture.py: lanes  ->  pack.py: rows

Notable choices:
- A `Source` is a pure function of an index, so that a stream is a function of the position alone: of neither the
  number of processes that make it nor of the ranks that read it.
- What cannot be read is `Skipped` (by configuration) or a `DataError`; both name the shard and the row.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids (int32) and, per token, its weight in the loss as a target (float32).

    `source`: which source, for the figures. `index`: of the source's item that it was made of.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    source: str = ""
    index: int = -1


class DataError(RuntimeError):
    """Documents could not be made; the message names where."""


class Skipped(Exception):
    """An item that cannot be read and that the configuration says to pass over; the message names shard and row."""


class Source(Protocol):
    """Documents of the index-th item (perhaps none); pure, and picklable if worker processes are to call it.

    Raises Skipped for an item to pass over, and anything else for one that must stop the run.
    """

    def __call__(self, index: int) -> list[Document]: ...


def document(ids: Sequence[int], weights: Sequence[float], source: str = "", index: int = -1) -> Document:
    """A Document of plain lists."""
    return Document(np.array(ids, np.int32), np.array(weights, np.float32), source, index)


def flatten(documents: Sequence[Document]) -> dict[str, NDArray[Any]]:
    """Documents as arrays: all ids, all weights, lengths, indices, numbers of sources, and their names (JSON bytes)."""
    names = sorted({document.source for document in documents})
    numbers = {name: number for number, name in enumerate(names)}
    empty = Document(np.empty(0, np.int32), np.empty(0, np.float32))
    return {
        "ids": np.concatenate([empty.ids, *(document.ids for document in documents)]),
        "weights": np.concatenate([empty.weights, *(document.weights for document in documents)]),
        "lengths": np.array([len(document.ids) for document in documents], np.int64),
        "indices": np.array([document.index for document in documents], np.int64),
        "sources": np.array([numbers[document.source] for document in documents], np.int64),
        "names": np.frombuffer(json.dumps(names).encode(), np.uint8).copy(),
    }


def unflatten(flat: dict[str, Any]) -> list[Document]:
    """The inverse of `flatten`."""
    arrays = {key: np.asarray(value) for key, value in flat.items()}
    names = json.loads(arrays["names"].tobytes())
    stops = np.cumsum(arrays["lengths"]).tolist()
    each = zip(itertools.pairwise([0, *stops]), arrays["sources"].tolist(), arrays["indices"].tolist(), strict=True)
    return [
        Document(arrays["ids"][start:stop], arrays["weights"][start:stop], names[source], index)
        for (start, stop), source, index in each
    ]
