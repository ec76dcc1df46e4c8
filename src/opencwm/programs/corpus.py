"""A corpus of traces from many sources: a recipe becomes units of work, and a unit becomes a part of the store.

Notable choices:
- `run_unit` is a pure function of the recipe and the unit: the same part whoever works it out, in whatever order.
- A unit is small (the functions of a module, some problems, one test file): what is lost with a worker is little.
- A run of a function, alone or from a test, is kept only if a second run was the same: nothing can be learnt from the
  time of day.
- Everything that is left out is counted by its reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opencwm.programs import contests, inputs, suites
from opencwm.programs.batch import Ran, record_batch
from opencwm.programs.episodes import About, choose, row, unfit
from opencwm.programs.harvest import HarvestedFunction, functions
from opencwm.programs.packages import HarvestError, Package, find
from opencwm.programs.program import Program
from opencwm.programs.shrink import same_run, shrunk
from opencwm.programs.store import Part, is_full
from opencwm.programs.usage import Usage
from opencwm.trace.frames import Trace

PROBLEMS_PER_UNIT = 20
_Chosen = tuple[HarvestedFunction, Program, Ran, Trace]
_Repeated = tuple[Program, Ran, Trace]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a corpus is made from.

    `functions` are packages (see `packages.find`) or modules of them (`toolz::toolz.itertoolz`), `suites` checkouts
    whose tests are run (or `CHECKOUT::FILE`), `contests` files of problems. `inputs` calls are tried per function (or
    tests per problem), `keep` runs of it are kept. `library` also takes functions that import their own package.
    `modules` bounds the modules per package and the test files per suite, `problems` the problems per file.
    """

    functions: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    contests: tuple[str, ...] = ()
    seed: int = 0
    inputs: int = 8
    keep: int = 4
    library: bool = False
    modules: int | None = None
    problems: int | None = None
    step_in: float = 0.7
    suite_seconds: float = 120.0
    shrink: bool = True

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain data, for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """The recipe in a manifest."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a module's functions, a range of problems, or a test file."""

    number: int
    source: str
    where: str
    part: str
    start: int = 0
    stop: int = 0

    def __str__(self) -> str:
        return f"{self.source} {self.where} {self.part}".strip()


def plan(recipe: Recipe) -> list[Unit]:
    """All units of a recipe, in order. Raises HarvestError for a source that is not there."""
    units: list[Unit] = []

    def add(source: str, where: str, part: str, start: int = 0, stop: int = 0) -> None:
        units.append(Unit(len(units), source, where, part, start, stop))

    for source in recipe.functions:
        where, _, only = source.partition("::")
        names = sorted(find(where).paths)[: recipe.modules]
        if only and only not in (names := sorted(find(where).paths)):
            raise HarvestError(f"{where} has no module {only}: it has {', '.join(names[:8])}, ...")
        for name in [only] if only else names:
            add("functions", where, name)
    for where in recipe.contests:
        count = contests.count(Path(where))
        count = count if recipe.problems is None else min(count, recipe.problems)
        for start in range(0, count, PROBLEMS_PER_UNIT):
            add("contests", where, f"from {start}", start, min(count, start + PROBLEMS_PER_UNIT))
    for source in recipe.suites:
        where, _, only = source.partition("::")
        files = suites.test_files(Path(where))
        if only and only not in files:
            raise HarvestError(f"{where} has no test file {only}: it has {', '.join(files[:8])}, ...")
        for path in [only] if only else files[: recipe.modules]:
            add("suites", where, path)
    return units


def run_unit(recipe: Recipe, unit: Unit) -> Part:
    """The part of a unit. Whatever a program does, this returns; a fault of ours is counted as a failed unit.

    Raises what would fail every unit: InfraError without a sandbox, OSError on a full disk.
    """
    part = Part(unit.number)
    part.counts["units"] += 1
    makers: dict[str, Callable[[Recipe, Unit, Part], None]] = {
        "functions": _functions,
        "contests": _contests,
        "suites": _suites,
    }
    try:
        makers[unit.source](recipe, unit, part)
    except (HarvestError, OSError, ValueError, RecursionError, MemoryError) as error:
        if is_full(error):
            raise
        part.counts[f"units failed: {type(error).__name__}"] += 1
    part.counts["frames"] += sum(each["frames"] for each in part.rows)
    return part


@functools.lru_cache(maxsize=2)
def _package(where: str) -> tuple[Package, Usage]:
    package = find(where)
    return package, Usage(package)


def _functions(recipe: Recipe, unit: Unit, part: Part) -> None:
    package, usage = _package(unit.where)
    found = list(functions(package, library=recipe.library, only=unit.part, usage=usage))
    part.counts["functions seen"] += len(found)
    for function in found:
        if function.problem is not None:
            part.counts[f"functions left out: {function.problem}"] += 1
    usable = [function for function in found if function.problem is None]
    jobs = [(f, Program(f.source, call, origin=f.origin)) for f, call in _calls(usable, recipe)]
    part.counts["runs"] += len(jobs)
    paths = tuple(package.search) if recipe.library else ()
    runs = record_batch([program for _, program in jobs], paths=paths)
    by_function: dict[str, list[_Chosen]] = {}
    for (function, program), ran in zip(jobs, runs, strict=True):
        if ran.reason is not None:
            part.counts[f"runs failed: {brief(ran.reason)}"] += 1
            continue
        trace = ran.trace()
        if (reason := unfit(trace, ran.packed)) is not None:
            part.counts[f"runs left out: {reason}"] += 1
            continue
        by_function.setdefault(function.name, []).append((function, program, ran, trace))
    chosen: list[_Chosen] = []
    for each in by_function.values():
        kept = choose([trace for *_, trace in each], most=recipe.keep)
        part.counts["runs left out: nothing new"] += len(each) - len(kept)
        chosen += [each[index] for index in kept]
    traced = set()
    for index, again in _again(chosen, paths, shrink=recipe.shrink).items():
        function = chosen[index][0]
        if again is None:
            part.counts["runs left out: two runs differ"] += 1
            continue
        program, ran, trace = again
        about = About(
            "functions", function.package, function.origin, function.name, program.call or "", "", program.entry, paths
        )
        if _keep(part, trace, ran.packed, about):
            traced.add(function.name)
    part.counts["functions traced"] += len(traced)


def _calls(usable: list[HarvestedFunction], recipe: Recipe) -> Iterator[tuple[HarvestedFunction, str]]:
    for function in usable:
        for call in inputs.calls(function, seed=recipe.seed, count=recipe.inputs):
            yield function, call


def _again(chosen: Sequence[_Chosen], paths: tuple[str, ...], *, shrink: bool) -> dict[int, _Repeated | None]:
    """Each chosen run once more, by index: of a smaller program where that does the same; None if two runs differ."""
    found: dict[int, _Repeated | None] = {}
    small = {i: program for i, (_, one, _, trace) in enumerate(chosen) if shrink and (program := shrunk(one, trace))}
    for (index, program), ran in zip(small.items(), record_batch(list(small.values()), paths=paths), strict=True):
        if ran.reason is None and same_run(chosen[index][3], trace := ran.trace()):
            found[index] = (program, ran, trace)
    left = [index for index in range(len(chosen)) if index not in found]
    for index, ran in zip(left, record_batch([chosen[index][1] for index in left], paths=paths), strict=True):
        _, program, first, trace = chosen[index]
        found[index] = (program, first, trace) if ran.packed == first.packed else None
    return dict(sorted(found.items()))


def _contests(recipe: Recipe, unit: Unit, part: Part) -> None:
    problems = contests.load(Path(unit.where), start=unit.start, stop=unit.stop)
    part.counts["problems seen"] += len(problems)
    for attempt in contests.attempts(problems, seed=recipe.seed, tests=recipe.inputs, counts=part.counts):
        label = {True: "right", False: "wrong", None: ""}[attempt.right]
        for program, ran, trace in attempt.runs[: recipe.keep]:
            name = attempt.problem.name
            about = About(
                "contests", unit.where.rpartition("/")[2], f"{name} {attempt.kind}", name, program.call or "", label,
                program.entry,
            )  # fmt: skip
            _keep(part, trace, ran.packed, about)


def _suites(recipe: Recipe, unit: Unit, part: Part) -> None:
    run, again = (
        suites.run(Path(unit.where), unit.part, seed=recipe.seed, step_in=recipe.step_in, seconds=recipe.suite_seconds)
        for _ in range(2)
    )
    part.counts.update(run.counts)
    repeated = {episode.packed for episode in again.episodes}
    by_function: dict[str, list[suites.SuiteEpisode]] = {}
    for episode in run.episodes:
        part.counts["runs"] += 1
        if episode.packed not in repeated:
            part.counts["runs left out: two runs differ"] += 1
        elif (reason := unfit(episode.trace, episode.packed)) is not None:
            part.counts[f"runs left out: {reason}"] += 1
        else:
            by_function.setdefault(f"{episode.module}:{episode.function}", []).append(episode)
    for each in by_function.values():
        kept = choose([episode.trace for episode in each], most=recipe.keep, most_raising=recipe.keep)
        part.counts["runs left out: nothing new"] += len(each) - len(kept)
        for index in kept:
            episode = each[index]
            about = About("suites", run.package, episode.test, f"{episode.module}:{episode.function}")
            _keep(part, episode.trace, episode.packed, about)


def _keep(part: Part, trace: Trace, packed: bytes, about: About) -> bool:
    made = row(trace, packed, about)
    if isinstance(made, str):
        part.counts[f"runs left out: {made}"] += 1
        return False
    part.rows.append(made)
    return True


def brief(reason: str) -> str:
    """A failure's reason without what is particular to one program, so that it can be counted."""
    for start in ("the module failed before the entry", "the program cannot be compiled", "calling main only makes"):
        if reason.startswith(start):
            detail = reason.partition(": ")[2].partition("(")[0] if start.startswith("the module") else ""
            return f"{start}{f' ({detail})' if detail.isidentifier() else ''}"
    return reason if len(reason) < 60 else reason[:57] + "..."
