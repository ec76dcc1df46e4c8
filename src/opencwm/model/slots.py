"""Which tokens each slot of a cache holds, and which slot a new sequence best starts from.

Notable choice: a beginning may be taken from any slot, running or finished; a slot is given away least recently used
first, empty ones before those that hold something.

Shapes: S slots, P positions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from opencwm.model.cache import Cache, Segment


class Slots:
    """The token ids in a cache's slots."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._held_SP = np.zeros((cache.slots, cache.room), dtype=np.int32)
        self._used = [0] * cache.slots  # when a slot was last in use
        self._clock = 0

    def longest_prefix(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The slot that holds the longest usable beginning of `tokens` (less the last), and its length."""
        wanted_P = np.array(tokens[:-1], dtype=np.int32)
        best, found = -1, 0
        for slot, held in enumerate(self._cache.lengths):
            if min(held, len(wanted_P)) > found:
                length = _common(wanted_P, self._held_SP[slot, :held])
                if length > found and self._cache.reaches(slot, length):
                    best, found = slot, length
        return best, found

    def place(self, tokens: Sequence[int], source: int, length: int, busy: Collection[int]) -> int:
        """A slot that is not busy and holds the first `length` tokens, which `source` holds."""
        cache = self._cache
        free = [slot for slot in range(cache.slots) if slot not in busy]
        if source in free and length == cache.lengths[source]:
            slot = source  # it goes on where that one ended
        else:
            slot = min(free, key=lambda s: (cache.lengths[s] > 0, s == source, self._used[s]))
        if slot == source:
            cache.lengths[slot] = length
        else:
            cache.clear(slot)
            if length:
                cache.copy(source, slot, length)
        self._held_SP[slot, :length] = tokens[:length]
        return slot

    def note(self, segments: Sequence[Segment]) -> None:
        """A step has appended these."""
        self._clock += 1
        for segment in segments:
            end = self._cache.lengths[segment.slot]
            self._held_SP[segment.slot, end - len(segment.ids) : end] = segment.ids
            self._used[segment.slot] = self._clock


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the common beginning."""
    return _common(np.array(left, dtype=np.int32), np.array(right, dtype=np.int32))


def _common(left_P: np.ndarray, right_P: np.ndarray) -> int:
    length = min(len(left_P), len(right_P))
    different = np.flatnonzero(left_P[:length] != right_P[:length])
    return int(different[0]) if len(different) else length
