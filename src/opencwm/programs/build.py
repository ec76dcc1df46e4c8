"""`build`: a recipe worked out by many workers into a store, resumable at any point; what `cwm data traces` does."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from opencwm.programs import workers as pool
from opencwm.programs.corpus import Recipe, Unit, plan, run_unit
from opencwm.programs.store import Part, Store, StoreError, is_full


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is: units done and in all, what was just done, and the counts of this session."""

    done: int
    units: int
    last: str
    counts: Counter[str]


def build(
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Store:
    """Work out what is missing of a corpus; the store, finished.

    Raises StoreError if it cannot be written (what was finished stays), HarvestError for sources that are not there.
    """
    units = plan(recipe)
    store = Store(folder, recipe=recipe.to_json())
    done = store.done()
    left = [unit for unit in units if unit.number not in done]
    counts: Counter[str] = Counter()
    started = monotonic()
    progress(Progress(len(units) - len(left), len(units), "", counts))
    try:
        for number, (unit, part) in enumerate(_parts(recipe, left, workers, ray), len(units) - len(left) + 1):
            counts += part.counts
            store.add(part)
            store.merge()
            progress(Progress(number, len(units), str(unit), counts))
        store.merge(total=len(units))
    except OSError as error:
        if not is_full(error):
            raise
        raise StoreError(
            f"the disk is full; what was finished is safe in {folder}: make room and run it again"
        ) from error
    finally:
        with contextlib.suppress(StoreError):  # on a full disk there is no room for that either
            store.note_seconds(monotonic() - started)
    return store


def _parts(recipe: Recipe, left: Sequence[Unit], workers: int, ray: str | None) -> Iterator[tuple[Unit, Part]]:
    do = functools.partial(run_unit, recipe)
    results = pool.run(do, left, workers=workers) if ray is None else pool.run_on_ray(do, left, address=ray)
    for unit, part in results:
        if isinstance(part, pool.Died):
            part = Part(unit.number, [], Counter({"units": 1, f"units failed: {part.reason}": 1}))
        yield unit, part
