"""Opens what the `[data]` section describes: the sources, their files, and each one's share of the tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opencwm.train.data import DataError, Source
from opencwm.train.data_settings import FILE_KINDS, DataSettings, shares
from opencwm.train.files import Shard
from opencwm.train.pack import Mixture
from opencwm.train.sources import FileSource, make_source, scan_shards, unique_tokens
from opencwm.train.text import Tokens, open_tokens


@dataclass(frozen=True)
class Opened:
    """The mixture of a run, the files that it reads (to be saved with it), and those that were passed over."""

    mixture: Mixture
    tokens: Tokens
    shards: dict[str, list[Any]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unique: dict[str, int] = field(default_factory=dict)
    """Tokens of one epoch, of the sources with `epochs`."""


def open_training(
    settings: DataSettings, saved: Mapping[str, list[Any]] | None = None, mixture: Mixture | None = None
) -> Opened:
    """The sources of a run; `saved` are the shards that it had when it was stopped, `mixture` replaces what is named.

    Raises DataError for files that cannot be read or have changed, ConfigError-like ValueError for impossible shares.
    """
    try:
        tokens = open_tokens(settings.tokenizer)
    except ValueError as error:
        raise DataError(str(error)) from None
    if mixture is not None:
        return Opened(mixture, tokens)
    sources: dict[str, Source] = {}
    kept: dict[str, list[Any]] = {}
    wrong: list[str] = []
    unique: dict[str, int] = {}
    for name, one in settings.sources.items():
        if one.kind not in FILE_KINDS:
            sources[name] = make_source(name, one, settings, tokens=tokens)
            continue
        shards, passed = scan_shards(name, one, settings.corrupt)
        if saved is not None:
            shards = _as_before(name, shards, saved.get(name, []), settings.corrupt)
        wrong += passed
        kept[name] = [dataclasses.astuple(shard) for shard in shards]
        sources[name] = make_source(name, one, settings, tokens=tokens, shards=shards)
        if one.epochs:
            unique[name] = unique_tokens(sources[name])
    limits = {name: 2 * source.rows.count for name, source in sources.items() if isinstance(source, FileSource)}
    try:
        mixture = Mixture(sources, shares(settings, unique), tokens.pad, limits)
    except ValueError as error:
        raise DataError(f"data: {error}") from None
    return Opened(mixture, tokens, kept, wrong, unique)


def open_held_out(settings: DataSettings) -> Mixture:
    """What held-out figures are measured on. Empty if the run has no such source."""
    tokens = open_tokens(settings.tokenizer)
    sources: dict[str, Source] = {
        name: make_source(name, one, settings, namespace="held-out", tokens=tokens)
        for name, one in settings.measured().items()
    }
    return Mixture(sources, dict.fromkeys(sources, 1.0), tokens.pad)


def _as_before(name: str, found: list[Shard], saved: list[Any], corrupt: str) -> list[Shard]:
    """The shards that the run had before. Raises DataError if one has changed and may not be passed over."""
    before = [Shard(path, tuple(blocks), tuple(offsets)) for path, blocks, offsets in saved]
    now = {shard.path: shard for shard in found}
    for shard in before:
        if now.get(shard.path) != shard and corrupt != "skip":
            what = f"has {now[shard.path].rows:,} rows" if shard.path in now else "is gone"
            raise DataError(
                f"data.sources.{name}: shard {shard.path} had {shard.rows:,} rows when the run was stopped and {what} "
                f'now: bring it back, or pass over what is missing with data.corrupt = "skip"'
            )
    return before
