"""From a recorded run to a row of the corpus: what is worth keeping, and what is known about it.

Every run that is left out is left out for one reason in a few words, so that a corpus can count them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opencwm.codec import compact
from opencwm.codec.errors import CodecError
from opencwm.programs.packages import parse
from opencwm.programs.similar import signature
from opencwm.trace.frames import Trace

FEWEST_FRAMES = 4  # call, two lines, return
MOST_BYTES = 1_000_000
MOST_CONTEXT = 60_000  # characters

# What makes two runs of the same program differ, by the names that give it away.
_SIGNS: dict[str, str] = {
    "the time": "time now today utcnow monotonic perf_counter perf_counter_ns time_ns localtime gmtime strftime ctime "
    "process_time timeit",
    "randomness": "random SystemRandom urandom secrets uuid1 uuid4 token_hex token_bytes getrandbits shuffle choice "
    "randint sample",
    "identity": "id hash weakref WeakKeyDictionary WeakSet getrefcount gc getsizeof",
    "the system": "os sys environ getpid getcwd platform socket subprocess tempfile pathlib Path glob locale getpass "
    "shutil open stat expanduser abspath",
    "threads": "threading Thread Lock RLock ThreadPoolExecutor multiprocessing asyncio sched queue",
}
_CAUSES = {cause: frozenset(signs.split()) for cause, signs in _SIGNS.items()}


@dataclass(frozen=True, slots=True)
class About:
    """Where a run comes from: the columns of a row that the trace itself does not tell."""

    source: str
    package: str
    origin: str
    function: str
    call: str = ""
    label: str = ""
    entry: str = ""
    paths: tuple[str, ...] = ()


def unfit(trace: Trace, packed: bytes) -> str | None:
    """Why a run is not worth keeping; None if it is."""
    if trace.outcome.kind == "truncated":
        return f"truncated ({trace.outcome.reason})"
    if len(trace.frames) < FEWEST_FRAMES:
        return "too short"
    if len(packed) > MOST_BYTES:
        return "larger than 1 MB"
    if len(trace.context) > MOST_CONTEXT:
        return "context larger than 60,000 characters"
    return None


def row(trace: Trace, packed: bytes, about: About) -> dict[str, Any] | str:
    """The row of the store's schema, or why the run cannot be kept."""
    reason = unfit(trace, packed)
    if reason is not None:
        return reason
    try:
        tokens = len(compact.encode(trace).ids)
    except CodecError:
        return "does not fit the compact codec"
    return {
        "id": hashlib.sha256(packed).hexdigest(),
        "source": about.source,
        "package": about.package,
        "origin": about.origin,
        "function": about.function,
        "call": about.call,
        "label": about.label,
        "entry": about.entry,
        "paths": list(about.paths),
        "repeatable": not causes(trace.context),
        "python": trace.python,
        "outcome": trace.outcome.kind,
        "frames": len(trace.frames),
        "characters": len(trace.context),
        "compact_tokens": tokens,
        "signature": signature(trace),
        "trace": packed,
    }


def causes(source: str) -> list[str]:
    """What in a source may make two runs of it differ; empty if nothing shows."""
    tree = parse(source, "<context>")
    if tree is None:
        return []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.name.partition(".")[0] for alias in node.names)
    return [cause for cause, signs in _CAUSES.items() if names & signs]


def choose(runs: Sequence[Trace], *, most: int, most_raising: int = 1) -> list[int]:
    """The runs of one function to keep: those that together reach the most lines, at most `most`.

    Runs that raise come after those that return, and at most `most_raising` are kept: made-up arguments fail often, and
    always alike.
    """
    lines = [frozenset((frame.function, frame.line) for frame in run.frames) for run in runs]
    left = sorted(range(len(runs)), key=lambda index: (runs[index].outcome.kind == "exception", index))
    kept: list[int] = []
    reached: set[tuple[str, int]] = set()
    raising = 0
    while left and len(kept) < most:
        best = max(left, key=lambda index: (len(lines[index] - reached), -left.index(index)))
        left.remove(best)
        if runs[best].outcome.kind == "exception":
            if raising >= most_raising or (kept and not lines[best] - reached):
                continue
            raising += 1
        reached |= lines[best]
        kept.append(best)
    return sorted(kept)
