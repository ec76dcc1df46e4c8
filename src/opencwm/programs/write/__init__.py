"""Synthetic programs in CRUXEval's shape, from a typed random grammar: `write` and `stream`.

A program is one short function, at times with a helper or a small class, and a call with literal arguments. It is a
pure function of a random state, so a training set is a seed and a range of indices.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from opencwm.programs.program import Program
from opencwm.programs.write import (
    forms,
    idioms_collections,
    idioms_lists,
    idioms_numbers,
    idioms_scanning,
    idioms_text,
    leaves,
)
from opencwm.programs.write.grammar import Grammar
from opencwm.programs.write.rules import using
from opencwm.programs.write.shapes import compose

__all__ = ["Kind", "stream", "write"]

# importing these fills the grammar and the register of idioms
_REGISTERED = (forms, leaves, idioms_collections, idioms_lists, idioms_numbers, idioms_scanning, idioms_text)


Kind = Literal["drills", "programs", "exceptions"]


def write(
    rng: random.Random, *, difficulty: float | None = None, only: Kind | None = None, grammar: Grammar | None = None
) -> Program:
    """A program from a random state, and from nothing else.

    `difficulty` in [0, 1] sets the number of statements, their nesting and the depth of expressions; None samples it,
    easy programs included. `only`: drills (operations alone), whole programs, or programs about exceptions, half of
    which raise; None mixes drills and programs, more drills the easier. `grammar`: other weights than the usual ones
    (see `frequencies.py`). Raises ValueError for a difficulty outside of the range.
    """
    if difficulty is not None and not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"difficulty is {difficulty}, give a number from 0 to 1, or None to sample it")
    difficulty = rng.random() ** 0.8 if difficulty is None else difficulty
    if grammar is None:
        source, call = compose(rng, difficulty, only)
    else:
        with using(grammar):
            source, call = compose(rng, difficulty, only)
    return Program(source, call)


def stream(seed: int, *, namespace: str, start: int = 0) -> Iterator[tuple[int, Program]]:
    """Endless (index, program) pairs from `start` on; program `i` depends on namespace, seed and `i` alone.

    The state of program `i` is seeded with the text `namespace:seed:i`, so that it is the same on every machine.
    """
    index = start
    while True:
        origin = f"{namespace}:{seed}:{index}"
        program = write(random.Random(origin))
        yield index, Program(program.source, program.call, origin=origin)
        index += 1
