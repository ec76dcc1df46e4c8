"""What a run learns from, as dataclasses: the `[data]` section of `configs/*.toml`.

Notable choices:
- Sources have names of the user's choice (`[data.sources.code]`). Each takes a share of the tokens, or as many as give
  it a number of epochs; sources of one `group` divide that group's share (CWM: 30 % world-model data, 40 % code, 30 %
  rehearsal, and epochs per data set within them).
- `lanes` divide the stream so that any number of ranks that divides them reads the same documents in the same batches.
  Lanes, not ranks, are part of what a run is.

No torch here, so that a dry run is instant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opencwm.programs.mix import MixConfig

FILE_KINDS = ("text", "code", "chats", "trajectories", "traces", "pulls", "windows")


def check(condition: bool, message: str) -> None:
    """Raises ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class SourceSettings:
    """One source of documents.

    `kind`: "mix" is the data engine of `programs/mix`, with tasks, in the compact codec (`mix` says what is in it; its
    seed and sequence length are those of `data`). "write" is the synthetic writer alone, in any codec. From files
    (`paths`: Parquet, JSON lines, `.gz` of these, or folders and patterns of them): "text" and "code" (column
    `column`), "chats" and "trajectories" (`messages`), "traces", "pulls" (pull requests), "windows" (ready tokens).

    `share`: of the tokens, relative to the other sources of its `group`, or of those without one. `epochs`: instead,
    how often each token is to be seen by the end of the run (`data.total_tokens`).

    `loss_roles`: the roles whose messages are predicted ("tool" stands for "tool: NAME" too); empty for those of the
    kind: assistant in chats, assistant and tool in trajectories. `observation_mask`: share of the tool messages that
    are not predicted all the same. `think_start_loss`: whether the model learns to open its reasoning by itself.

    `longer`: a document longer than a row is split into rows, cut to one, or dropped; "" for the kind's own way: text
    and code are split, pull requests dropped, the others cut. Traces in the compact codec are always windows.
    `context_loss`: predict the source above a trace too. `max_frames`, `steps`: of recordings made while training:
    their longest run, and whether they hold sub-expression values.
    """

    kind: Literal["mix", "write", "text", "code", "chats", "trajectories", "traces", "pulls", "windows"] = "mix"
    paths: tuple[str, ...] = ()
    share: float = 0.0
    epochs: float = 0.0
    group: str = ""
    column: str = ""
    loss_roles: tuple[str, ...] = ()
    observation_mask: float = 0.5
    think_start_loss: bool = False
    longer: Literal["", "split", "cut", "drop"] = ""
    context_loss: bool = False
    max_frames: int = 256
    steps: bool = False
    mix: MixConfig | None = None

    def __post_init__(self) -> None:
        check(self.mix is None or self.kind == "mix", 'mix belongs to kind "mix"')
        plain = self.mix is None or (self.mix.seed, self.mix.sequence_length) == (0, MixConfig().sequence_length)
        check(plain, "mix.seed and mix.sequence_length: set data.seed and data.sequence_length instead")
        check(bool(self.paths) == (self.kind in FILE_KINDS), self._about_paths())
        check(self.share >= 0 and self.epochs >= 0, "share and epochs must be 0 or more")
        check(not (self.share and self.epochs), "give share or epochs, not both")
        check(not self.epochs or self.kind in FILE_KINDS, f"epochs of an endless source ({self.kind}): give a share")
        check(0 <= self.observation_mask <= 1, "observation_mask is a share: 0 to 1")
        check(self.max_frames >= 1, "max_frames must be at least 1")

    def _about_paths(self) -> str:
        need = self.kind in FILE_KINDS
        return f'kind "{self.kind}" ' + ("reads files: give paths" if need else "makes its documents: leave paths out")


@dataclass(frozen=True)
class BucketSettings:
    """Documents of up to `longest` tokens are packed together, in rows of that length.

    `global_window`: tokens that the global layers see in these rows, 0 for all (CWM: 32,768 in the middle bucket).
    """

    longest: int = 512
    global_window: int = 0

    def __post_init__(self) -> None:
        check(self.longest >= 16, "longest must be at least 16 tokens")
        check(self.global_window >= 0, "global_window must be 0 (everything) or more")


@dataclass(frozen=True)
class DataSettings:
    """Which documents, in which proportions, and how they become rows.

    `tokenizer`: "compact", or the path of Llama 3's `tokenizer.model`, or of a folder with `tokenizer.json`. `seed`:
    with an index, it fixes every document. `sequence_length`: tokens per row. `buckets`: rows of several lengths
    instead. `sources`, `groups`: see `SourceSettings`; `held_out`: sources to measure on, by default the generators
    among `sources`, in another namespace. `total_tokens`: of the run that `epochs` are reckoned for. `lanes`: parts of
    the stream, a multiple of the data-parallel ranks. `buffer`: documents that wait in each lane. `workers`: processes
    that make documents, per rank, 0 for none; the documents and their order do not depend on it. `corrupt`: whether a
    shard or row that cannot be read is skipped and counted, or stops the run.
    """

    sources: dict[str, SourceSettings] = field(default_factory=lambda: {"programs": SourceSettings()})
    held_out: dict[str, SourceSettings] = field(default_factory=dict)
    groups: dict[str, float] = field(default_factory=dict)
    tokenizer: str = "compact"
    seed: int = 0
    sequence_length: int = 512
    buckets: dict[str, BucketSettings] = field(default_factory=dict)
    total_tokens: int = 0
    lanes: int = 1
    buffer: int = 1024
    workers: int = 0
    corrupt: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        check(bool(self.sources), "sources: give at least one")
        check(self.sequence_length >= 16, "sequence_length must be at least 16 tokens")
        check(self.workers >= 0, "workers must be 0 (in this process) or more")
        check(self.buffer >= 1 and self.lanes >= 1, "buffer and lanes must be at least 1")
        wanted = {source.group for source in self.sources.values() if source.group}
        check(wanted == self.groups.keys(), f"groups has {sorted(self.groups)}, the sources name {sorted(wanted)}")
        epochs = any(source.epochs for source in self.sources.values())
        check(not epochs or self.total_tokens > 0, "a source has epochs: give total_tokens, the length of the run")
        lengths = [bucket.longest for bucket in self.buckets.values()]
        check(lengths == sorted(set(lengths)), "buckets must be in ascending order of longest")
        check(not lengths or lengths[-1] == self.sequence_length, "the last bucket's longest must be sequence_length")

    @property
    def rows(self) -> list[BucketSettings]:
        """The kinds of rows, shortest first."""
        return list(self.buckets.values()) or [BucketSettings(self.sequence_length)]

    def measured(self) -> dict[str, SourceSettings]:
        """The sources that held-out figures come from."""
        return self.held_out or {name: one for name, one in self.sources.items() if one.kind not in FILE_KINDS}


def shares(settings: DataSettings, unique_tokens: Mapping[str, int]) -> dict[str, float]:
    """Each source's share of the tokens, adding up to 1.

    `unique_tokens` is needed of the sources with `epochs`: share = epochs * unique / total (CWM's rule). What these
    leave is divided among the others by `share`, 1 for each if none has one. Within a group, sources weigh by the same
    rule, and the group has its own share. Raises ValueError if epochs need more tokens than the run has.
    """
    total = settings.total_tokens
    by_epochs = {n: s.epochs * unique_tokens[n] / total for n, s in settings.sources.items() if s.epochs}
    found: dict[str, float] = {}
    loose = {name: one for name, one in settings.sources.items() if not one.group}
    grouped = sum(settings.groups.values())
    check(grouped <= 1 + 1e-9, f"the groups' shares add up to {grouped:g}: at most 1")
    for group, whole in [*settings.groups.items(), ("", 1 - grouped)]:
        members = {n: s for n, s in settings.sources.items() if s.group == group} if group else loose
        fixed = {name: by_epochs[name] for name in members if name in by_epochs}
        rest = {name: one.share for name, one in members.items() if name not in fixed}
        taken = sum(fixed.values())
        if not rest and taken and group:  # epochs fill the group: they weigh, the group's share decides
            found |= {name: whole * value / taken for name, value in fixed.items()}
            continue
        where = f"group {group}" if group else "the run"
        check(taken <= whole + 1e-9, f"the epochs of {', '.join(fixed)} need {taken:.2f} of the tokens, {where} has "
                                     f"{whole:.2f}: fewer epochs, or more total_tokens")  # fmt: skip
        if rest and not any(rest.values()):
            rest = dict.fromkeys(rest, 1.0)
        weight = sum(rest.values())
        found |= fixed
        found |= {name: (whole - taken) * value / weight for name, value in rest.items()}
    everything = sum(found.values())
    return {name: found[name] / everything for name in settings.sources}


def identity(settings: DataSettings) -> dict[str, object]:
    """What makes the stream of documents what it is, flat."""
    values = dataclasses.asdict(settings)
    return {f"data.{key}": value for key, value in values.items() if key not in ("workers", "held_out", "corrupt")}
