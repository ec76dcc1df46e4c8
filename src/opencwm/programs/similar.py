"""Near-duplicates of runs: MinHash signatures of what ran, and an index that finds a similar one among millions.

Notable choices:
- A run is the set of its steps: the text of a line with what had changed when it ran, and with the step before. So two
  runs are alike if the same lines did nearly the same things, wherever their source stands and whatever surrounds it;
  one function with two inputs that take other ways is not.
- 64 hash functions estimate the Jaccard similarity to about 0.05. Candidates share one of 16 bands of 4 hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from opencwm.trace.frames import Trace

HASHES, BANDS = 64, 16
_PRIME = (1 << 61) - 1
_MIX = np.random.default_rng(20251125).integers(1, 1 << 31, size=(2, HASHES), dtype=np.uint64)


def signature(trace: Trace) -> bytes:
    """The MinHash of a run: 64 numbers of 32 bits, 256 bytes."""
    return minhash(_steps(trace))


def minhash(parts: Iterable[str]) -> bytes:
    """The signature of any set of texts."""
    hashes = {
        int.from_bytes(hashlib.blake2b(part.encode("utf-8", "replace"), digest_size=4).digest()) for part in parts
    }
    if not hashes:
        return bytes(4 * HASHES)
    values = np.fromiter(hashes, dtype=np.uint64)
    lowest = np.full(HASHES, (1 << 32) - 1, dtype=np.uint64)
    for start in range(0, len(values), 1024):
        mixed = (values[start : start + 1024, None] * _MIX[0] + _MIX[1]) % np.uint64(_PRIME) & np.uint64(0xFFFFFFFF)
        lowest = np.minimum(lowest, mixed.min(axis=0))
    return lowest.astype("<u4").tobytes()


def _steps(trace: Trace) -> Iterator[str]:
    lines = trace.context.split("\n")
    states: list[dict[str, str]] = []
    before = ""
    for frame in trace.frames:
        del states[frame.depth + 1 :]
        while len(states) <= frame.depth:
            states.append({})
        known = {} if frame.event == "call" else states[frame.depth]
        changed = [f"{name}={text}" for name, text in frame.locals.items() if known.get(name) != text]
        if frame.event in ("call", "line"):
            states[frame.depth] = frame.locals
        step = f"{frame.event} {lines[frame.line - 1].strip()} {frame.value or ''} {changed}"
        yield before + "\n" + step
        before = step


def similarity(one: bytes, other: bytes) -> float:
    """The estimated Jaccard similarity of two signatures."""
    return float(np.mean(_numbers(one) == _numbers(other)))


def _numbers(data: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(data, dtype="<u4")


class Index:
    """Signatures that have been seen, by their bands."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._signatures: list[bytes] = []
        self._bands: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]

    def has_similar(self, new: bytes) -> bool:
        """Whether one that was added is at least as similar as the threshold."""
        tried: set[int] = set()
        for band, part in zip(self._bands, _parts(new), strict=True):
            for number in band.get(part, ()):
                if number not in tried:
                    tried.add(number)
                    if similarity(self._signatures[number], new) >= self.threshold:
                        return True
        return False

    def add(self, new: bytes) -> None:
        """Remember a signature."""
        for band, part in zip(self._bands, _parts(new), strict=True):
            band.setdefault(part, []).append(len(self._signatures))
        self._signatures.append(new)


def _parts(data: bytes) -> Iterator[bytes]:
    width = 4 * HASHES // BANDS
    return (data[at : at + width] for at in range(0, 4 * HASHES, width))
