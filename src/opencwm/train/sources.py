"""The kinds of sources: programs written and recorded on the way, and rows of files.

    mix              the data engine of `programs/mix`: written programs, recorded, as runs and as questions about them
    write            the synthetic writer alone, in any vocabulary: item i depends on namespace, seed and i alone
    text, code       a column of text; code in the vocabulary's own way of writing Python
    chats            {"messages": [{"role", "content", "reasoning"?}]}
    trajectories     the same, of an agent; "tool: NAME" messages are its observations
    traces           recorded runs: shards of `cwm data traces`, or what `cwm trace --json` writes
    windows          {"ids", "weights", "tokenizer"}: ready tokens, as `cwm data corrections` writes them
    pulls            {"title", "body"?, "files": [{"path", "content"}], "patch"}: a change, its reason and what it is to

Notable choice: a row that cannot be read or encoded names its shard and row; whether it stops the run is configured.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from opencwm.programs import write
from opencwm.programs.mix import Mix, MixConfig, Namespace
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace, read_jsonl
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.trace.store import unpack
from opencwm.train import chats
from opencwm.train.chats import LossRule
from opencwm.train.data import DataError, Document, Skipped, Source, document
from opencwm.train.data_settings import FILE_KINDS, DataSettings, SourceSettings
from opencwm.train.files import Rows, Shard, ShardError, find, parse, scan
from opencwm.train.text import Tokens, Weighted, open_tokens

COLUMNS = {
    "text": ("text",),
    "code": ("text",),
    "chats": ("messages",),
    "trajectories": ("messages",),
    "traces": ("trace",),
    "windows": ("ids", "weights", "tokenizer"),
    "pulls": ("title", "body", "files", "patch"),
}
LONGER = {"text": "split", "code": "split", "pulls": "drop"}
"""What becomes of a document that is longer than a row; others are cut. Of a pull request the patch would be lost."""


@dataclass(frozen=True)
class WrittenSource:
    """Programs of the synthetic writer, recorded and encoded. `namespace` is "train" or "held-out"."""

    name: str
    settings: SourceSettings
    seed: int
    room: int
    tokens: Tokens
    namespace: str = "train"

    def __call__(self, index: int) -> list[Document]:
        _, program = next(write.stream(self.seed, namespace=self.namespace, start=index))
        rng = random.Random(f"{self.namespace}:{self.seed}:{index}")
        return [replace(made, index=index) for made in self.documents(program, rng)]

    def documents(self, program: Program, rng: random.Random) -> list[Document]:
        """Of a program's recorded run; none if its source alone is longer than a row.

        Raises RecordError for a program that cannot be recorded, CodecError for a run that the codec cannot hold.
        """
        trace = record(program, limits=Limits(frames=self.settings.max_frames), steps=self.settings.steps)
        found = self.tokens.trace(trace, self.room, rng)
        return [document(ids, weights, self.name) for ids, weights in found if len(ids) <= self.room]


@dataclass(frozen=True)
class MixSource:
    """Windows of the data engine; each tells its own kind of program and task (`programs/written/run`)."""

    name: str
    mix: Mix

    def __call__(self, index: int) -> list[Document]:
        return [document(w.ids, w.weights, f"{self.name}/{w.name}", index) for w in self.mix(index)]


@dataclass(frozen=True)
class FileSource:
    """Rows of files as documents of at most `room` tokens, in an order that is shuffled anew in each epoch."""

    name: str
    settings: SourceSettings
    seed: int
    room: int
    tokens: Tokens
    rows: Rows
    corrupt: str = "stop"

    def __call__(self, index: int) -> list[Document]:
        return self.at(self.rows.place(index), index)

    def at(self, place: tuple[int, int, int], index: int) -> list[Document]:
        """The documents of the row at a place of the files."""
        try:
            row = self.rows.read(place)
            found = self.encode(row, random.Random(f"{self.name}:{self.seed}:{index}"))
        except (ShardError, ValueError, KeyError, TypeError) as error:  # CodecError is a ValueError
            about = str(error) if isinstance(error, ShardError) else f"{self.rows.where(place)}: {error}"
            if self.corrupt == "skip":
                raise Skipped(about) from None
            raise DataError(f'{about}; mend it, or pass over such rows with data.corrupt = "skip"') from error
        return [document(ids, weights, self.name, index) for one in found for ids, weights in self._fitted(one)]

    def encode(self, row: Any, rng: random.Random) -> list[Weighted]:
        """A row's ids and weights, of any length. Raises ValueError, KeyError or TypeError for a row of other make."""
        kind, tokens = self.settings.kind, self.tokens
        if kind == "traces":
            trace = as_trace(row, self.settings.column or "trace")
            found = tokens.trace(trace, self.room, rng)
            return [(ids, [1.0] * len(ids)) for ids, _ in found] if self.settings.context_loss else found
        values = parse(row) if isinstance(row, bytes) else row
        if kind == "windows":
            return [_ready(values, tokens)]
        if kind in ("chats", "trajectories"):
            return [chats.encode(values["messages"], tokens, loss_rule(self.settings), rng)]
        if kind == "pulls":
            text = pull_text(values)
        else:
            text = values[self.settings.column or "text"]
            if not isinstance(text, str):
                raise ValueError(f"{self.settings.column or 'text'} is {type(text).__name__}, not a text")
        marks = len(tokens.begin) + len(tokens.end)
        bodies = tokens.code(text, self.room - marks) if kind == "code" else [tokens.text(text)]
        begin = len(tokens.begin)
        marked = [[*tokens.begin, *body, *tokens.end] for body in bodies]
        return [(ids, [0.0] * begin + [1.0] * (len(ids) - begin)) for ids in marked]

    def _fitted(self, found: Weighted) -> list[Weighted]:
        """What becomes of a document that is longer than a row."""
        (ids, weights), room = found, self.room
        if len(ids) <= room:
            return [found] if ids else []
        way = self.settings.longer or LONGER.get(self.settings.kind, "cut")
        if way == "drop":
            return []
        starts = range(0, len(ids), room) if way == "split" else (0,)
        pieces = [(ids[start : start + room], weights[start : start + room]) for start in starts]
        return [piece for piece in pieces if any(piece[1][1:])]


def _ready(values: Mapping[str, Any], tokens: Tokens) -> Weighted:
    """Ids and weights of a row. Raises ValueError for those of another vocabulary, or of different lengths."""
    ids, weights = list(values["ids"]), [float(weight) for weight in values["weights"]]
    grown = getattr(tokens, "grown_from", None)
    if values["tokenizer"] != tokens.fingerprint and not (grown is not None and grown(values["tokenizer"])):
        raise ValueError(f"its tokens are of another vocabulary ({values['tokenizer']}): write the file again")
    if len(ids) != len(weights) or not all(type(token) is int and 0 <= token < tokens.size for token in ids):
        raise ValueError("ids and weights do not belong together")
    return ids, weights


def loss_rule(settings: SourceSettings) -> LossRule:
    """Which messages of a source are predicted: its kind's rule, changed by what the settings say."""
    if settings.kind == "chats":
        return LossRule(settings.loss_roles or chats.CHAT.roles, 0.0, settings.think_start_loss)
    return LossRule(settings.loss_roles or chats.TRAJECTORY.roles, settings.observation_mask, settings.think_start_loss)


def as_trace(row: Any, column: str) -> Trace:
    """The trace of a row: its lines, or the text in a column. Raises ValueError if it is none."""
    if isinstance(row, list):
        lines = [line.decode("utf-8") for line in row]
    else:
        stored = (parse(row) if isinstance(row, bytes) else row)[column]
        if isinstance(stored, bytes):
            return unpack(stored)
        lines = stored.splitlines()
    traces = list(read_jsonl(lines))
    if len(traces) != 1:
        raise ValueError(f"expected one trace, found {len(traces)}")
    return traces[0]


def pull_text(row: Mapping[str, Any]) -> str:
    """A pull request as one text: title, description, the files before it, the patch. Raises KeyError, TypeError."""
    parts = [f"# {row['title']}\n", f"\n{row['body']}\n" if row.get("body") else ""]
    parts += [f"\n=== {file['path']}\n{file['content']}" for file in row.get("files") or ()]
    return "".join([*parts, f"\n=== patch\n{row['patch']}"])


def scan_shards(name: str, settings: SourceSettings, corrupt: str) -> tuple[list[Shard], list[str]]:
    """The files of a source, and what is wrong with those that were passed over. Raises DataError."""
    try:
        paths = find(settings.paths)
    except ShardError as error:
        raise DataError(f"data.sources.{name}: {error}") from None
    shards, wrong = [], []
    for path in paths:
        try:
            shards.append(scan(path, grouped=settings.kind == "traces" and not path.endswith(".parquet")))
        except ShardError as error:
            if corrupt != "skip":
                raise DataError(
                    f'data.sources.{name}: {error}; mend it, or pass over such shards with data.corrupt = "skip"'
                ) from None
            wrong.append(str(error))
    if not sum(shard.rows for shard in shards):
        raise DataError(f"data.sources.{name}: its {len(paths)} files hold no row")
    return shards, wrong


def make_source(
    name: str,
    settings: SourceSettings,
    data: DataSettings,
    *,
    namespace: Namespace = "train",
    tokens: Tokens | None = None,
    shards: list[Shard] | None = None,
) -> Source:
    """The source that the settings describe. `shards`: its files, if they were counted before.

    Raises DataError, and InfraError where a mix needs a sandbox and there is none.
    """
    tokens = tokens or open_tokens(data.tokenizer)
    room = data.sequence_length
    if settings.kind == "mix":
        if tokens.name != "compact":
            raise DataError(f'data.sources.{name}: kind "mix" is in the compact vocabulary; take kind "write"')
        mix = Mix(replace(settings.mix or MixConfig(), seed=data.seed, sequence_length=room), namespace)
        mix.check()
        return MixSource(name, mix)
    if settings.kind not in FILE_KINDS:
        return WrittenSource(name, settings, data.seed, room, tokens, namespace)
    if shards is None:
        shards, _ = scan_shards(name, settings, data.corrupt)
    grouped = settings.kind == "traces" and not shards[0].path.endswith(".parquet")
    column = (settings.column,) if settings.column else COLUMNS[settings.kind]
    rows = Rows(shards, data.seed, columns=column, grouped=grouped)
    return FileSource(name, settings, data.seed, room, tokens, rows, data.corrupt)


def unique_tokens(source: Source, sample: int = 512) -> int:
    """Tokens of one epoch of a source of files: exact up to `sample` rows, else reckoned from rows evenly spread."""
    assert isinstance(source, FileSource)
    count = source.rows.count
    chosen = range(count) if count <= sample else [count * number // sample for number in range(sample)]
    total = 0
    for number in chosen:
        try:
            total += sum(len(made.ids) for made in source.at(source.rows.plain(number), number))
        except Skipped:
            continue
    return max(1, round(total * count / len(chosen)))
