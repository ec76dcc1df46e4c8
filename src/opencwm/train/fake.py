"""A source without programs: quick, learnable documents for tests and benchmarks of training itself."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

from opencwm.train.data import Document, document


@dataclass(frozen=True)
class FakeSource:
    """Each document is a run of letters and the same run again; only the second is predicted.

    `longest` bounds a document's tokens; `per_index` documents come from each index. The source raises at index
    `fails_at`, and ends its process at `dies_at`.
    """

    longest: int = 48
    per_index: int = 2
    seed: int = 0
    fails_at: int | None = None
    dies_at: int | None = None
    name: str = "fake"

    def __call__(self, index: int) -> list[Document]:
        if index == self.fails_at:
            raise ValueError("this fake source was told to fail here")
        if index == self.dies_at:
            os._exit(7)
        rng = random.Random(f"{self.seed}:{index}")
        made = []
        for _ in range(self.per_index):
            letters = [rng.randrange(97, 105) for _ in range(rng.randint(2, self.longest // 2))]
            made.append(document(letters * 2, [0.0] * len(letters) + [1.0] * len(letters), self.name, index))
        return made
