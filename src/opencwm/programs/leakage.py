"""Leakage audit: does a program that is trained on look like one that is evaluated on?

A program matches an evaluation set if the normalised syntax tree of the whole, or of one of its top-level functions or
classes, is equal to one there, or if `NGRAM` tokens in a row are. Notable choices:
- Normalised: names by order of appearance (but builtins), constants by type: renaming hides nothing. Trees of fewer
  than `SMALLEST` nodes are too small to be anyone's: they are not compared.
- Tokens are words, numbers, operators and whole strings, without layout and comments; a string counts as its text, so
  renaming a variable does hide an n-gram, which is what the trees are for.
- The hashes are made at run time from a folder that the caller has; none is shipped.
"""

from __future__ import annotations

import ast
import builtins
import gzip
import json
import lzma
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NGRAM = 12
SMALLEST = 12
_TOKEN = re.compile(
    r"""#[^\n]*|[rbfuRBFU]{0,2}(?:\"""[\s\S]*?\"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"|\w+|\*\*=?|//=?|<<=?|>>=?|[-+*/%&|^=<>!:]=|->|[^\s\w]"
)


def tokens(text: str) -> list[str]:
    """Words, numbers, operators and strings, in order; the quotes of a string are its content's."""
    found = []
    for token in _TOKEN.findall(text):
        if token[0] != "#":
            found.append(token[1:-1] if token[0] in "'\"" and len(token) > 1 else token)
    return found


def ngrams(text: str, size: int = NGRAM) -> set[int]:
    """Hashes of `size` tokens in a row; the same in one process only."""
    found = tokens(text)
    return {hash(tuple(found[i : i + size])) for i in range(len(found) - size + 1)}


def trees(source: str) -> set[int]:
    """Hashes of the normalised trees of a source: the whole and each top-level function or class. May be empty."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    definitions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    parts: list[list[ast.stmt]] = [[node] for node in definitions]
    rest = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    if len(rest) > 1:
        parts.append(rest)
    return {hash(text) for part in parts if (text := normalised(part))}


def normalised(nodes: list[ast.stmt]) -> str:
    """The nodes as text, names by order of appearance and constants by type; empty if they are too small."""
    pieces: list[str] = []
    order: dict[str, str] = {}

    def name(text: str) -> str:
        return text if text in _BUILTINS else order.setdefault(text, f"v{len(order)}")

    def visit(node: ast.AST) -> None:
        kind = type(node)
        if kind is ast.Constant:
            pieces.append(type(node.value).__name__)  # type: ignore[attr-defined]
            return
        if kind is ast.Name:
            pieces.append(name(node.id))  # type: ignore[attr-defined]
            return
        pieces.append(kind.__name__)
        for field_, value in ast.iter_fields(node):
            if field_ in _SKIPPED:
                continue
            if isinstance(value, ast.AST):
                visit(value)
            elif isinstance(value, list):
                pieces.append(f"[{len(value)}")
                for item in value:
                    if isinstance(item, ast.AST):
                        visit(item)
                    elif item is not None:
                        pieces.append(name(str(item)))
            elif isinstance(value, str):
                pieces.append(value if field_ == "attr" and value not in order else name(value))

    for node in nodes:
        visit(node)
    return " ".join(pieces) if len(pieces) >= SMALLEST else ""


_BUILTINS = frozenset(dir(builtins))
_SKIPPED = frozenset(("ctx", "type_comment", "lineno", "col_offset", "annotation", "returns", "kind", "type_params"))


@dataclass(slots=True)
class EvalSet:
    """What is held of one evaluation set."""

    name: str
    items: int = 0
    trees: set[int] = field(default_factory=set)
    ngrams: set[int] = field(default_factory=set)

    def add(self, text: str, code: bool) -> None:
        """One item: source that is also compared as a tree if it is `code`, else only as tokens."""
        self.items += 1
        self.ngrams |= ngrams(text)
        if code:
            self.trees |= trees(text)


class Audit:
    """Compares programs with evaluation sets; `match` names the first that a program is too close to."""

    def __init__(self, sets: Iterable[EvalSet]) -> None:
        self.sets = list(sets)
        self._trees = {key: found.name for found in reversed(self.sets) for key in found.trees}
        self._ngrams = {key: found.name for found in reversed(self.sets) for key in found.ngrams}

    @classmethod
    def from_folder(cls, folder: str | Path) -> Audit:
        """All known evaluation sets below a folder laid out as `EVALUATION_SETS` says. Raises ValueError if none is."""
        found = list(read_sets(Path(folder)))
        if not found:
            names = ", ".join(sorted({pattern for pattern, _ in EVALUATION_SETS.values()}))
            raise ValueError(f"no evaluation set below {folder}: expected files such as {names}")
        return cls(found)

    def match(self, source: str) -> tuple[str, str] | None:
        """(set, "tree" or "n-gram") that a source matches, or None."""
        for key in trees(source):
            if key in self._trees:
                return self._trees[key], "tree"
        for key in ngrams(source):
            if key in self._ngrams:
                return self._ngrams[key], "n-gram"
        return None


Item = tuple[str, bool]
"""Text, and whether it is code."""


def _fields(*names: str, code: bool = True) -> Callable[[dict[str, Any]], Iterator[Item]]:
    def read(row: dict[str, Any]) -> Iterator[Item]:
        text = "".join(str(row.get(name) or "") for name in names)
        if text:
            yield text.replace("\r\n", "\n"), code

    return read


def _patch(row: dict[str, Any]) -> Iterator[Item]:
    """The lines that a patch adds."""
    for name in ("patch", "test_patch"):
        lines = str(row.get(name) or "").split("\n")
        yield "\n".join(line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")), False


EVALUATION_SETS: dict[str, tuple[str, Callable[[dict[str, Any]], Iterator[Item]]]] = {
    "CRUXEval": ("cruxeval/*.jsonl", _fields("code")),
    "MBPP": ("mbpp/mbpp_eval*.jsonl", _fields("code")),
    "HumanEval": ("humaneval/*.jsonl", _fields("prompt", "canonical_solution")),
    "ClassEval": ("classeval/*.json.xz", _fields("solution_code")),
    "QuixBugs": ("quixbugs/*.tar.xz", _fields("text", code=False)),
    "GSM8K": ("gsm8k/gsm8k_eval*.jsonl", _fields("question", code=False)),
    "MATH-500": ("math/math500*.jsonl", _fields("problem", code=False)),
    "AIME 2024": ("aime/aime24*.jsonl", _fields("problem", code=False)),
    "SWE-bench": ("swebench/*.parquet", _patch),
}
"""Name of a set: the pattern of its files below the folder, and how a row becomes texts."""


def read_sets(folder: Path) -> Iterator[EvalSet]:
    """The evaluation sets that are there."""
    for name, (pattern, read) in EVALUATION_SETS.items():
        paths = sorted(folder.glob(pattern))
        if not paths:
            continue
        found = EvalSet(name)
        for path in paths:
            for row in _rows(path):
                for text, code in read(row):
                    found.add(text, code)
        yield found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        yield from pyarrow.parquet.read_table(path, columns=["patch", "test_patch"]).to_pylist()
    elif path.name.endswith(".tar.xz"):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield {"text": file.read().decode("utf-8", "replace")}
    else:
        opener: Any = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
        with opener(path, "rt", encoding="utf-8") as file:
            text = file.read()
        if text.lstrip().startswith("["):
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.splitlines() if line.strip())


@dataclass(slots=True)
class AuditReport:
    """What an audit of a stream found."""

    sets: list[EvalSet]
    programs: int = 0
    distinct: int = 0
    matches: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def matched(self) -> int:
        return self.matches.total()

    def to_json(self) -> dict[str, object]:
        """The report as data: sets, counts of matches by source, set and kind."""
        return {
            "programs": self.programs,
            "distinct": self.distinct,
            "matched": self.matched,
            "sets": {s.name: {"items": s.items, "trees": len(s.trees), "ngrams": len(s.ngrams)} for s in self.sets},
            "matches": [
                {"source": source, "set": name, "kind": kind, "programs": count}
                for (source, name, kind), count in sorted(self.matches.items())
            ],
        }

    def table(self) -> str:
        """The report as Markdown."""
        lines = ["| evaluation set | items | trees | n-grams |", "|---|---:|---:|---:|"]
        lines += [f"| {s.name} | {s.items:,} | {len(s.trees):,} | {len(s.ngrams):,} |" for s in self.sets]
        share = self.matched / max(self.programs, 1)
        lines += ["", f"{self.programs:,} programs, {self.matched:,} dropped ({share:.2%}).", ""]
        if self.matches:
            lines += ["| source | matches | by | programs dropped |", "|---|---|---|---:|"]
            for (source, name, kind), count in sorted(self.matches.items(), key=lambda pair: -pair[1]):
                lines.append(f"| {source} | {name} | {kind} | {count:,} |")
        return "\n".join(lines)
