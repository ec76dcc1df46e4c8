"""A corpus of traces on disk: Parquet shards (zstd), a manifest, and parts that wait to be merged.

    FOLDER/manifest.json         what it is made from, what is merged, counts by reason, the shards with their sizes
    FOLDER/shards/00000.parquet  finished shards: never written to again
    FOLDER/parts/0000123.parquet the result of one unit of work, until the shard that holds it is finished

Notable choices:
- Every file is written beside its place and renamed, so whatever is at its place is whole. Whoever kills the writer
  loses the open shard in memory, and even that is read again from its parts; nothing is ever appended to a file.
- Parts are merged in the order of their numbers, whoever made them and whenever they came: the same work gives the same
  shards, byte for byte, whatever the number of workers.
- Duplicates are dropped while merging: equal content (SHA-256 of the trace), and runs that are alike (MinHash).
- Parquet is read by everything; the `trace` column is `trace/store.py`'s packed form.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from opencwm.programs.similar import Index
from opencwm.trace.frames import Trace
from opencwm.trace.store import unpack

FORMAT = "opencwm.corpus/1"
SHARD_BYTES = 64 << 20
SIMILAR = 0.85

SCHEMA = pa.schema([
    ("id", pa.string()),  # SHA-256 of the packed trace
    ("source", pa.string()),  # functions, suites, contests
    ("package", pa.string()),
    ("origin", pa.string()),  # where the program came from, or the test that made the run
    ("function", pa.string()),
    ("call", pa.string()),
    ("label", pa.string()),  # of a contest's solution: right or wrong
    ("entry", pa.string()),  # name of the entry function, "" if the run is cut from a larger one
    ("paths", pa.list_(pa.string())),  # folders to put on the import path when it is run again
    ("repeatable", pa.bool_()),  # nothing in the source that would make two runs differ
    ("python", pa.string()),
    ("outcome", pa.string()),
    ("frames", pa.int32()),
    ("characters", pa.int32()),  # of the context
    ("compact_tokens", pa.int32()),
    ("unit", pa.int32()),
    ("signature", pa.binary()),  # MinHash
    ("trace", pa.binary()),
])  # fmt: skip


class StoreError(Exception):
    """A corpus that cannot be read or written; the message is one line and says what to do."""


@dataclass(slots=True)
class Part:
    """The result of one unit of work: rows of `SCHEMA`, and counts by reason."""

    unit: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Store:
    """A corpus folder. `recipe` is what it is made from; a folder that was made from another one is refused."""

    def __init__(self, folder: Path, *, recipe: Mapping[str, Any] | None = None, similar: float = SIMILAR) -> None:
        self.folder = folder
        self._shards, self._parts = folder / "shards", folder / "parts"
        self.manifest: dict[str, Any] = self._open(recipe)
        self._index = Index(similar)
        self._seen: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._taken: list[Path] = []
        self._next = int(self.manifest["merged"])
        self._loaded = False

    def _open(self, recipe: Mapping[str, Any] | None) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        if path.exists():
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise StoreError(f"cannot read {path}: {error}") from None
            if manifest.get("format") != FORMAT:
                raise StoreError(f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT!r}")
            if recipe is not None and manifest["recipe"] != json.loads(json.dumps(recipe)):
                raise StoreError(
                    f"{self.folder} holds a corpus made with other options: repeat those, or name a new folder"
                )
            return dict(manifest)
        if recipe is None:
            raise StoreError(f"{self.folder} holds no corpus (no manifest.json): make one with `cwm data traces`")
        manifest = {"format": FORMAT, "recipe": dict(recipe), "units": None, "merged": 0, "seconds": 0.0}
        manifest |= {"counts": {}, "shards": [], "finished": False}
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
            self._parts.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to {self.folder}: {error.strerror}") from None
        self._write(path, json.dumps(manifest, indent=1).encode())
        return manifest

    def done(self) -> set[int]:
        """Units whose result is safe: merged, or waiting as a part."""
        waiting = {int(path.stem) for path in self._parts.glob("*.parquet")}
        return set(range(self._next)) | waiting

    def add(self, part: Part) -> None:
        """Make a unit's result safe on disk. Raises StoreError if that cannot be done."""
        table = pa.Table.from_pylist([{**row, "unit": part.unit} for row in part.rows], schema=SCHEMA)
        table = table.replace_schema_metadata({"counts": json.dumps(dict(sorted(part.counts.items())))})
        self._write(self._parts / f"{part.unit:07d}.parquet", _parquet(table))

    def merge(self, *, total: int | None = None) -> None:
        """Merge the parts that are next in order; with `total` (the number of units), finish once all are in."""
        self._load()
        while (path := self._parts / f"{self._next:07d}.parquet").exists():
            table = self._table(path)
            self._counts.update(json.loads((table.schema.metadata or {}).get(b"counts", b"{}")))
            for row in table.to_pylist():
                self._take(row)
            self._taken.append(path)
            self._next += 1
            if self._bytes >= SHARD_BYTES:
                self._flush()
        if total is not None and self._next >= total and not self.manifest["finished"]:
            self.manifest["finished"] = True
            self.manifest["units"] = total
            self._flush()

    def _take(self, row: dict[str, Any]) -> None:
        if row["id"] in self._seen:
            self._counts["dropped: equal to another"] += 1
        elif self._index.has_similar(row["signature"]):
            self._counts["dropped: like another"] += 1
        else:
            self._seen.add(row["id"])
            self._index.add(row["signature"])
            self._rows.append(row)
            self._bytes += len(row["trace"])
            self._counts["kept"] += 1

    def _flush(self) -> None:
        """Finish the open shard, then say so in the manifest, then let go of its parts."""
        shards = list(self.manifest["shards"])
        if self._rows:
            data = _parquet(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            name = f"{len(shards):05d}.parquet"
            self._write(self._shards / name, data)
            frames = sum(row["frames"] for row in self._rows)
            sha = hashlib.sha256(data).hexdigest()
            shards.append({"name": name, "rows": len(self._rows), "frames": frames, "bytes": len(data), "sha256": sha})
        counts = Counter(self.manifest["counts"]) + self._counts
        self.manifest |= {"shards": shards, "merged": self._next, "counts": dict(sorted(counts.items()))}
        self._write(self.folder / "manifest.json", json.dumps(self.manifest, indent=1).encode())
        for path in self._taken:
            path.unlink(missing_ok=True)
        self._rows, self._bytes, self._counts, self._taken = [], 0, Counter(), []

    def note_seconds(self, seconds: float) -> None:
        """Add to the time that the corpus has taken, and say on what machine, for the report."""
        self.manifest["seconds"] = round(float(self.manifest["seconds"]) + seconds, 1)
        load = os.getloadavg()[2] if hasattr(os, "getloadavg") else 0.0
        self.manifest["machine"] = (
            f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores; load average over the "
            f"last quarter of an hour, others' work included, {load:.1f}"
        )
        self._write(self.folder / "manifest.json", json.dumps(self.manifest, indent=1).encode())

    def note(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a small record beside the manifest."""
        self._write(self.folder / name, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def noted(self, name: str) -> dict[str, Any] | None:
        """A record that was kept; None without one."""
        try:
            return dict(json.loads((self.folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def _load(self) -> None:
        """What the finished shards hold already; files that no manifest names are left from a kill."""
        if self._loaded:
            return
        self._loaded = True
        names = {shard["name"] for shard in self.manifest["shards"]}
        for path in self._shards.glob("*"):
            if path.name not in names:
                path.unlink()
        for path in self._parts.glob("*.partial"):
            path.unlink()
        for path in self._parts.glob("*.parquet"):
            if int(path.stem) < self._next:
                path.unlink()
        for name in sorted(names):
            table = self._table(self._shards / name, ["id", "signature"])
            self._seen.update(table["id"].to_pylist())
            for each in table["signature"].to_pylist():
                self._index.add(each)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of all finished shards, in order. Raises StoreError for a damaged one."""
        for shard in self.manifest["shards"]:
            yield from self._table(self._shards / shard["name"], columns).to_pylist()

    def traces(self) -> Iterator[tuple[dict[str, Any], Trace]]:
        """Each row with its trace."""
        for row in self.rows():
            yield row, unpack(row["trace"])

    def _table(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            return pq.read_table(path, columns=list(columns) if columns else None, partitioning=None)
        except (OSError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"cannot read {path}: {reason}; delete the corpus folder and make it again") from None

    def _write(self, path: Path, data: bytes) -> None:
        """The whole file or none of it, on the disk when this returns."""
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            reason = "the disk is full" if is_full(error) else f"cannot write {path}: {error.strerror}"
            raise StoreError(
                f"{reason}; what was finished is safe in {self.folder}: make room and run it again"
            ) from None


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no room to write."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, compression="zstd", compression_level=9, use_dictionary=["source", "package", "origin"]
    )
    return buffer.getvalue()
