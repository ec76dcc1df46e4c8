"""Looking at a run's data: figures of its sources, and documents as the model sees them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from opencwm.train.data import DataError, Document, Skipped
from opencwm.train.data_settings import DataSettings
from opencwm.train.pack import Packer
from opencwm.train.sources import FileSource
from opencwm.train.streams import Opened, open_training
from opencwm.train.text import Tokens


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """Of a sample of items of one source. `rows` and `tokens` are those of one epoch of files, None for a generator."""

    name: str
    share: float
    files: int
    rows: int | None
    tokens: int | None
    documents_per_item: float
    lengths: tuple[int, int, int]
    """Median, 95th percentile, longest, in tokens."""
    predicted: float
    skipped: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """`filled`: share of the tokens of packed rows that is not padding; `useful`: that is predicted."""

    sources: list[SourceFigures]
    filled: float
    useful: float

    def to_json(self) -> dict[str, object]:
        each = [{key: getattr(one, key) for key in SourceFigures.__slots__} for one in self.sources]
        return {"sources": each, "filled": self.filled, "useful": self.useful}

    def table(self) -> str:
        heads = ["source", "share", "files", "rows", "tokens", "docs/item", "median", "95 %", "longest", "predicted"]
        cells = [heads]
        for one in self.sources:
            endless = ["-", "endless", "endless"] if one.rows is None else [
                f"{one.files:,}", f"{one.rows:,}", f"{one.tokens:,}"
            ]  # fmt: skip
            lengths = [f"{length:,}" for length in one.lengths]
            share = f"{one.share:.1%}"
            cells.append([one.name, share, *endless, f"{one.documents_per_item:.2f}", *lengths, f"{one.predicted:.1%}"])
        widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        skipped = sum(one.skipped for one in self.sources)
        lines.append(f"packed rows: {self.filled:.1%} filled, {self.useful:.1%} predicted")
        return "\n".join(lines + ([f"{skipped:,} items were passed over"] if skipped else []))


def statistics(settings: DataSettings, items: int) -> Statistics:
    """Figures of all sources, from `items` items of each, and of ten batches. Raises DataError."""
    opened = open_training(settings)
    sources = [_figures(opened, name, items) for name in opened.mixture.sources]
    rows = 4 * settings.lanes * settings.rows[-1].longest
    with Packer(opened.mixture, replace(settings, workers=0)) as packer:
        batches = [packer.batch(rows) for _ in range(10)]
    sizes = np.array([batch.tokens.size for batch in batches])
    filled = float(np.average([batch.filled for batch in batches], weights=sizes))
    return Statistics(sources, filled, sum(batch.useful for batch in batches) / int(sizes.sum()))


def _figures(opened: Opened, name: str, items: int) -> SourceFigures:
    from opencwm.train.sources import unique_tokens

    source = opened.mixture.sources[name]
    lengths: list[int] = []
    predicted = skipped = 0
    for index in range(items):
        try:
            made = source(index)
        except Skipped:
            skipped += 1
            continue
        lengths += [len(document.ids) for document in made]
        predicted += sum(int(np.count_nonzero(document.weights[1:])) for document in made)
    if not lengths:
        raise DataError(f"the first {items} items of {name} gave no document")
    spread = (int(np.percentile(lengths, 50)), int(np.percentile(lengths, 95)), max(lengths))
    files, rows, tokens = 0, None, None
    if isinstance(source, FileSource):
        files, rows, tokens = len(source.rows.shards), source.rows.count, unique_tokens(source)
    share = opened.mixture.shares[name]
    return SourceFigures(
        name, share, files, rows, tokens, len(lengths) / items, spread, predicted / sum(lengths), skipped
    )


def documents(
    settings: DataSettings, source: str | None, index: int, count: int
) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """(title, pieces of text with whether they are predicted) of documents, of one source or in the order of the mix.

    Raises DataError for an unknown source.
    """
    opened = open_training(settings)
    if source is None:
        with Packer(opened.mixture, replace(settings, workers=0, buffer=1, lanes=1)) as packer:
            found: list[Document] = []
            while len(found) < index + count:
                found += packer.next_documents()
        for document in found[index : index + count]:
            yield _title(document), _pieces(document, opened.tokens)
        return
    if source not in opened.mixture.sources:
        raise DataError(f"data.sources has no {source}: choose among {', '.join(opened.mixture.sources)}")
    for number in range(index, index + count):
        try:
            made = opened.mixture.sources[source](number)
        except Skipped as skipped:
            yield f"{source} {number} is passed over: {skipped}", []
            continue
        for document in made:
            yield _title(document), _pieces(document, opened.tokens)


def _title(document: Document) -> str:
    predicted = int(np.count_nonzero(document.weights[1:]))
    return f"{document.source} {document.index}: {len(document.ids):,} tokens, {predicted:,} predicted"


def _pieces(document: Document, tokens: Tokens) -> list[tuple[str, bool]]:
    flags = [False, *(document.weights[1:] > 0).tolist()]
    groups = itertools.groupby(zip(document.ids.tolist(), flags, strict=True), key=lambda pair: pair[1])
    return [(tokens.decode([token for token, _ in group]), predicted) for predicted, group in groups]
