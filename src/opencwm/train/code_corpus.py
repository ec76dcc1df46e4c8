"""A pre-training corpus of Python from installed packages and folders, as Parquet: `cwm data code`.

    text  path  origin (package and version, or folder)  licence  sha256

Notable choices:
- Each file's licence is recorded as its package's metadata state it ("unknown" otherwise; for a folder: what is given).
- Packages whose repositories are SWE-bench tasks are left out, so that a model can be measured on these.
- Left out too: files that do not parse, generated ones (lines of over 1,000 characters), empty ones, and all but the
  first of near-duplicates (MinHash over runs of five words).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opencwm.programs.similar import Index, minhash

HELD_OUT = frozenset(
    "astropy django flask matplotlib pylint pytest requests scikit-learn seaborn sphinx sympy xarray".split()  # noqa: SIM905
)
"""Distributions whose repositories are tasks of SWE-bench, Verified or Lite."""
LONGEST = 400_000
"""Characters of the longest file taken."""
ROWS = 512
"""Rows of a row group."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where files come from: a distribution ("attrs 24.1") or a folder, and its licence."""

    name: str
    licence: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Report:
    """What became of the files: how many were kept, how many left out and why, and licences by characters kept."""

    kept: int = 0
    characters: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)


class CorpusError(ValueError):
    """A corpus that cannot be built; the message says why."""


def installed(names: Sequence[str] = ()) -> Iterator[Origin]:
    """Installed distributions, all or those named, by name. Raises CorpusError for one that is not installed."""
    wanted = {_plain(name) for name in names}
    found: set[str] = set()
    each = {_plain(d.metadata["Name"]): d for d in importlib.metadata.distributions() if d.metadata["Name"]}
    for name in sorted(each):
        if (wanted and name not in wanted) or name in HELD_OUT:
            continue
        found.add(name)
        distribution = each[name]
        paths = (Path(str(file.locate())) for file in distribution.files or () if file.suffix == ".py")
        yield Origin(f"{name} {distribution.version}", licence(distribution.metadata), tuple(sorted(paths)))
    for name in sorted(wanted - found):
        reason = "is a task of SWE-bench and left out" if name in HELD_OUT else "is not installed"
        raise CorpusError(f"package {name} {reason}")


def folder(path: Path, licence: str = "unknown") -> Origin:
    """The Python files of a folder. Raises CorpusError if there is none."""
    files = tuple(sorted(file for file in path.rglob("*.py") if file.is_file()))
    if not files:
        raise CorpusError(f"{path} holds no Python file")
    return Origin(str(path), licence, files)


def licence(metadata: object) -> str:
    """A distribution's licence: its SPDX expression, else its classifiers, else a short License field."""
    get = getattr(metadata, "get", lambda name: None)
    get_all = getattr(metadata, "get_all", lambda name: None)
    if expression := get("License-Expression"):
        return str(expression)
    classifiers = [str(c).rpartition(":: ")[2] for c in get_all("Classifier") or () if str(c).startswith("License ::")]
    if classifiers:
        return " and ".join(classifiers)
    text = str(get("License") or "").strip()
    return text if text and len(text) < 60 and "\n" not in text else "unknown"


def build(
    origins: Sequence[Origin],
    output: Path,
    *,
    threshold: float = 0.8,
    advance: Callable[[Path], None] = lambda path: None,
) -> Report:
    """Write the corpus, replacing `output` only once it is whole. `advance` is told of each file looked at.

    Raises CorpusError if nothing is left.
    """
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    report, index = Report(), Index(threshold)
    schema = arrow.schema([(name, arrow.string()) for name in ("text", "path", "origin", "licence", "sha256")])
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    rows: list[dict[str, str]] = []
    try:
        with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for origin in origins:
                for path in origin.files:
                    advance(path)
                    row = _row(origin, path, index, report)
                    if row is not None:
                        rows.append(row)
                    if len(rows) == ROWS:
                        writer.write_table(arrow.Table.from_pylist(rows, schema))
                        rows = []
            if rows:
                writer.write_table(arrow.Table.from_pylist(rows, schema))
        if not report.kept:
            why = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items())
            raise CorpusError(f"no file is left for the corpus ({why or 'there was none'})")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return report


def _row(origin: Origin, path: Path, index: Index, report: Report) -> dict[str, str] | None:
    text, reason = _read(path)
    if not reason:
        found = minhash(word_runs(text))
        if index.has_similar(found):
            reason = "near-duplicate"
    if reason:
        report.left_out[reason] += 1
        return None
    index.add(found)
    report.kept += 1
    report.characters += len(text)
    report.licences[origin.licence] += len(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"text": text, "path": _short(path), "origin": origin.name, "licence": origin.licence, "sha256": digest}


def word_runs(text: str) -> set[str]:
    """Runs of five words (names, numbers, single signs): what two texts are compared by."""
    words = _WORD.findall(text)
    return {" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))}


def _read(path: Path) -> tuple[str, str]:
    """A file's text, or why it is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "", "unreadable"
    if not text.strip():
        return "", "empty"
    if len(text) > LONGEST or max(map(len, text.splitlines())) > 1000:
        return "", "generated or too long"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escapes
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "", "does not parse"
    return text, ""


def _short(path: Path) -> str:
    """A path from the packages' folder on."""
    parts = path.parts
    at = next((n for n, part in enumerate(parts) if part in ("site-packages", "dist-packages")), None)
    return str(path) if at is None else "/".join(parts[at + 1 :])


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
