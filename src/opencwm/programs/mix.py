"""The mix: what a model learns from, as token windows out of nothing but a configuration and an index.

    mix(index) -> choose a source -> a program -> record -> choose a task -> windows

Sources (`Shares`): `written` programs of `write/`, its `drills` (one operation alone), `functions` that people wrote
from a folder of data, functions `harvested` from packages. Tasks (`TaskShares`), as tokens in `codec/compact.py` and
`codec/tasks.py`:

    run         the whole run, cut into windows that fit: `... <trace> <L entry> FRAME* <end>`
    mid-run     the same from a random point on: `... <trace> <L entry> <snapshot> STACK FRAME*`
    step over   `<snapshot> STACK <step over> FRAME`           continue    `<snapshot> STACK <continue> EXIT`
    step out    `<snapshot> STACK <step out> LEAVING`          output      `<output> EXIT`
    run to      `<snapshot> STACK <run to> <L n> STACK`        count       `<snapshot> STACK <count> ENDING NUMBER`
    before      `<snapshot> STACK <before> CHANGES <L n>`      change      `<snapshot> STACK <change> NAME VALUE FRAME*`
    arguments   `<arguments> <return> VALUE <call> (NAME VALUE)*`, the source ending before the call
    write       `WISH <write> [<trace> FRAME* <end>] SOURCE`: `codec/writing.py`; of written programs and drills only

Notable choices:
- A pure function of the index: the stream is the same on any number of processes and resumes anywhere. A namespace
  keeps held-out programs apart from those that are trained on.
- Difficulty is drawn per program below a ceiling that rises with the index, so that easy programs stay in to the end.
- Nothing is written to disk, and nothing that cannot be recorded or encoded raises: `make` says why it was left out.
- Functions of data and packages run in a sandbox (`foreign.py`), those of a stretch at once, unless `trust` says that
  they may run in this process; what the writer writes and what the standard library holds runs in this process.
- With `audit`, a program that looks like one of an evaluation set in that folder gives no window.
- What a set of strings looks like hangs on the process's hash seed: exactly the same stream of `harvested` functions of
  the standard library needs PYTHONHASHSEED=0, which the trainer's worker processes and the sandbox have.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import accumulate
from typing import Literal

from opencwm.codec import compact
from opencwm.codec.compact import Encoder
from opencwm.codec.errors import CodecError
from opencwm.programs import derived, foreign, generators, real, wishes, write
from opencwm.programs.counterfactual import rerun
from opencwm.programs.foreign import Foreign
from opencwm.programs.leakage import Audit
from opencwm.programs.program import Program
from opencwm.programs.real import Drawn
from opencwm.programs.write import frequencies
from opencwm.programs.write.grammar import Grammar
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError, record

_VALUE_BYTES = 400
_SECONDS = 2.0
_ATTEMPTS = 10
_WINDOWS = 3
"""Of one run: its beginning and some others."""
STRETCH = 16
"""Programs of the stream whose foreign functions are run in one go; a divisor of the trainer's `workers.CHUNK`."""
Namespace = Literal["train", "held-out"]


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids, per token its weight in the loss as a target, and the name of its source and task."""

    ids: list[int]
    weights: list[float]
    name: str


@dataclass(frozen=True)
class Shares:
    """How often a program comes from each source; they need not sum to 1, and 0 leaves a source out."""

    written: float = 0.85
    drills: float = 0.15
    functions: float = 0.0
    harvested: float = 0.0

    def __post_init__(self) -> None:
        _check_shares("mix.shares", asdict(self))


@dataclass(frozen=True)
class TaskShares:
    """How often a program is asked for each task; they need not sum to 1, and 0 leaves a task out."""

    run: float = 0.74
    mid_run: float = 0.08
    step_over: float = 0.02
    step_out: float = 0.02
    run_to: float = 0.02
    finish: float = 0.02
    output: float = 0.02
    count: float = 0.01
    before: float = 0.02
    change: float = 0.03
    arguments: float = 0.02
    write: float = 0.0

    def __post_init__(self) -> None:
        _check_shares("mix.tasks", asdict(self))


@dataclass(frozen=True)
class MixConfig:
    """What is in the mix.

    `seed` and the index fix every window. `sequence_length`: tokens of the longest window. `max_frames`: of a
    recording; a longer run is cut off there. `steps`: sub-expression values too. The ceiling of difficulty is
    `difficulty` at index 0 and 1 from index `ramp` on. `questions`: windows per program that is asked something.

    `raising`: the share of written programs and drills that raise; None leaves it as it comes (6 %). `methods`: a
    corpus whose frequencies of methods the writer follows (see `write/frequencies.py`). `distinct`: so many indices,
    then the same again (0: never), to see what repetition costs.

    `data`: the folder of `functions` (see `real.py` for the files that it looks for). `packages`: those that are
    `harvested`, modules of the standard library or installed ones. `trust`: run functions of data and packages in the
    trainer's own process, without a sandbox; say so only of code that may do with this machine as it likes. `audit`: a
    folder of evaluation sets (see `leakage.py`), programs like which are dropped. An empty text stands for none of
    them.
    """

    seed: int = 0
    sequence_length: int = 512
    max_frames: int = 256
    steps: bool = True
    difficulty: float = 0.6
    ramp: int = 50_000
    questions: int = 2
    shares: Shares = field(default_factory=Shares)
    tasks: TaskShares = field(default_factory=TaskShares)
    raising: float | None = None
    methods: str = ""
    distinct: int = 0
    data: str = ""
    packages: tuple[str, ...] = ()
    trust: bool = False
    audit: str = ""

    def __post_init__(self) -> None:
        _check(self.sequence_length >= 16, "mix.sequence_length must be at least 16 tokens")
        _check(self.max_frames >= 1, "mix.max_frames must be at least 1")
        _check(0 <= self.difficulty <= 1, "mix.difficulty must be from 0 to 1")
        _check(self.ramp >= 0 and self.questions >= 1, "mix.ramp must be 0 or more, mix.questions 1 or more")
        _check(self.distinct >= 0, "mix.distinct must be 0 (never the same again) or more")
        _check(self.raising is None or 0 <= self.raising <= 1, "mix.raising is a share: 0 to 1")
        _check(not self.shares.functions or bool(self.data), "mix.shares.functions needs mix.data, their folder")
        _check(not self.shares.harvested or bool(self.packages), "mix.shares.harvested needs mix.packages, their names")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check_shares(name: str, shares: Mapping[str, float]) -> None:
    _check(all(share >= 0 for share in shares.values()), f"{name}: a share must be 0 or more")
    _check(sum(shares.values()) > 0, f"{name}: at least one share must be above 0")


@dataclass(frozen=True, slots=True)
class Made:
    """What an index gives: where its program came from, its trace, its windows, or why it was left out."""

    source: str
    task: str
    program: Program | None
    trace: Trace | None
    windows: list[Window]
    rejected: str = ""
    foreign: bool = False
    """Whether it ran, and must run again, in the sandbox."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an index is about, and its run if that was in the sandbox."""

    source: str
    task: str
    program: Program | None
    rng: random.Random
    foreign: Foreign | None = None


class Mix:
    """`mix(index)`: the windows of the index-th program, perhaps none. Picklable; see the module's text."""

    def __init__(self, config: MixConfig, namespace: Namespace = "train") -> None:
        self.config, self.namespace = config, namespace
        self.limits = Limits(frames=config.max_frames, value_bytes=_VALUE_BYTES, seconds=_SECONDS)
        self._sources = _Choice(asdict(config.shares))
        self._tasks = _Choice({_TASK_NAMES[name]: share for name, share in asdict(config.tasks).items()})
        self._known: tuple[int, dict[int, tuple[Foreign, random.Random]]] = (-1, {})

    def __getstate__(self) -> tuple[MixConfig, Namespace]:
        return self.config, self.namespace

    def __setstate__(self, state: tuple[MixConfig, Namespace]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __call__(self, index: int) -> list[Window]:
        return self.make(index).windows

    def check(self) -> None:
        """Raise InfraError, with the remedies, if the mix needs a sandbox and this machine has none."""
        config = self.config
        if not config.trust:
            foreign.check(
                config.data if config.shares.functions else "", config.packages if config.shares.harvested else ()
            )

    def prepare(self) -> None:
        """Read now what the first window would read: the functions of the data and packages, the evaluation sets.

        Raises InfraError as `check`, and ValueError where something is missing.
        """
        self.check()
        if self.config.shares.functions or self.config.shares.harvested:
            real.pool(self.config.data, self.config.packages)
        if self.config.audit:
            audit(self.config.audit)
        self._grammar()

    def choose(self, index: int) -> Chosen:
        """The source of an index, its task and program, not audited, and not run unless it is foreign.

        Raises InfraError.
        """
        rng, source, task, drawn = self._draw(index)
        if drawn is not None and self._boxed(drawn):
            found, rng = self._stretch(index)[index]
            return Chosen(source, task, found.program, copy.copy(rng), found)
        program = self._trusted(drawn) if drawn is not None else self._written(source, index, rng)
        return Chosen(source, task, program, rng)

    def _draw(self, index: int) -> tuple[random.Random, str, str, Drawn | None]:
        """The index's randomness, source, task, and for a function the run that is drawn."""
        rng = random.Random(f"mix:{self.namespace}:{self.config.seed}:{index}")
        source, task = self._sources.pick(rng.random()), self._tasks.pick(rng.random())
        if source not in ("functions", "harvested"):
            return rng, source, task, None
        pool = real.pool(self.config.data, self.config.packages)
        return rng, source, task, pool.draw(source, rng, held_out=self.namespace == "held-out")

    def _boxed(self, drawn: Drawn) -> bool:
        """Whether a function may run in the sandbox only."""
        return drawn.function.foreign and not self.config.trust

    def _stretch(self, index: int) -> dict[int, tuple[Foreign, random.Random]]:
        """What ran in the sandbox of the stretch around an index. Raises InfraError."""
        number = index // STRETCH
        if self._known[0] != number:
            chosen: dict[int, tuple[Drawn, random.Random]] = {}
            for each in range(number * STRETCH, (number + 1) * STRETCH):
                rng, _, _, drawn = self._draw(each)
                if drawn is not None and self._boxed(drawn):
                    chosen[each] = drawn, rng
            runs = foreign.record([drawn for drawn, _ in chosen.values()], limits=self.limits, steps=self.config.steps)
            found = {each: (run, rng) for (each, (_, rng)), run in zip(chosen.items(), runs, strict=True)}
            self._known = number, found
        return self._known[1]

    def _trusted(self, drawn: Drawn) -> Program | None:
        """The program of a function that runs in this process."""
        function = drawn.function
        return drawn.program(generators.keywords(function.generator, drawn.seed) if function.generator else None)

    def record(self, chosen: Chosen) -> Trace | None:
        """The program's run; None if there is no program, or no trace because time ran out. Raises RecordError."""
        found = chosen.foreign
        if found is None:
            if chosen.program is None:
                return None
            return record(chosen.program, limits=self.limits, steps=self.config.steps)
        if found.program is not None and found.trace is None and not found.slow:
            raise RecordError(found.reason)
        return found.trace

    def make(self, index: int) -> Made:
        """As a call, with the program, its trace, and the reason where there is no window. Raises InfraError."""
        if self.config.distinct and self.namespace == "train":
            index %= self.config.distinct
        chosen = self.choose(index)
        source, task, program = chosen.source, chosen.task, chosen.program
        if program is None:
            return Made(source, task, None, None, [], "no arguments")
        try:
            trace = self.record(chosen)
            if trace is None:
                return Made(source, task, program, None, [], "too slow")
            if self.config.raising is not None and source in ("written", "drills"):
                program, trace = self._as_wanted(source, index, program, trace)
        except RecordError as error:
            return Made(source, task, program, None, [], f"not recorded: {error}")
        if self.config.audit and (match := audit(self.config.audit).match(program.source)) is not None:
            return Made(source, task, program, None, [], f"leak: {match[0]} by {match[1]}")
        if trace.outcome.reason == "seconds":  # where it stopped hangs on the machine
            return Made(source, task, program, trace, [], "too slow")
        try:
            windows = self._windows(chosen, program, trace)
        except CodecError as error:
            return Made(source, task, program, trace, [], f"not encoded: {error}")
        name = f"{source}/{task}"
        made = [Window(window.ids, window.weights, name) for window in windows]
        reason = "" if made else "no window fits"
        return Made(source, task, program, trace, made, reason, foreign=chosen.foreign is not None)

    def _written(self, source: str, index: int, rng: random.Random) -> Program:
        origin = f"{self.namespace}:{self.config.seed}:{index}"
        only: write.Kind = "drills" if source == "drills" else "programs"
        own = random.Random(f"{source}:{origin}")
        program = write.write(own, difficulty=self._difficulty(index, rng), only=only, grammar=self._grammar())
        return Program(program.source, program.call, origin=f"{source}:{origin}")

    def _as_wanted(self, source: str, index: int, program: Program, trace: Trace) -> tuple[Program, Trace]:
        """The first of some programs that raises, or returns, as its index wants; at last one about exceptions."""
        origin = f"{self.namespace}:{self.config.seed}:{index}"
        wanted = random.Random(f"raising:{origin}").random() < (self.config.raising or 0.0)
        for attempt in range(1, _ATTEMPTS):
            if (trace.outcome.kind == "exception") == wanted:
                break
            rng = random.Random(f"{source}:{origin}:{attempt}")
            only: write.Kind = (
                "exceptions" if wanted and attempt > 3 else "drills" if source == "drills" else "programs"
            )
            found = write.write(rng, difficulty=self._difficulty(index, rng), only=only, grammar=self._grammar())
            program = Program(found.source, found.call, origin=f"{source}:{origin}:{attempt}")
            trace = record(program, limits=self.limits, steps=self.config.steps)
        return program, trace

    def _grammar(self) -> Grammar | None:
        return frequencies.following(self.config.methods) if self.config.methods else None

    def _difficulty(self, index: int, rng: random.Random) -> float:
        start, ramp = self.config.difficulty, self.config.ramp
        ceiling = 1.0 if index >= ramp else start + (1 - start) * index / ramp
        share: float = rng.random() ** 0.8
        return ceiling * share

    def _windows(self, chosen: Chosen, program: Program, trace: Trace) -> list[compact.Window]:
        task, rng = chosen.task, chosen.rng
        again = rerun if chosen.foreign is None else foreign.recorder().rerun
        longest = self.config.sequence_length
        encoder = Encoder(trace)
        if task == "run":
            windows = compact.windows_of(encoder, max_tokens=longest)
            if len(windows) > _WINDOWS:  # a long run says the same again and again
                kept = sorted(rng.sample(range(1, len(windows)), _WINDOWS - 1))
                windows = [windows[0], *(windows[place] for place in kept)]
            return windows
        if task == "mid-run":
            starts = [i + 1 for i, frame in enumerate(trace.frames) if frame.event in ("call", "line")]
            return compact.windows_of(encoder, max_tokens=longest, start=rng.choice(starts[1:] or [0]))[:1]
        windows = []
        for _ in range(self.config.questions):
            if task == "write":
                own = chosen.foreign is None
                window = wishes.lesson(program, trace, rng, limits=self.limits, max_tokens=longest) if own else None
                if window is not None:
                    windows.append(window)
                continue
            window = derived.derive(
                task,
                program,
                encoder,
                rng,
                max_tokens=longest,
                limits=self.limits,
                steps=self.config.steps,
                again=again,
            )
            if window is not None and all(window.ids != other.ids for other in windows):
                windows.append(window)
        return windows


_TASK_NAMES = {name: name.replace("_", " ") for name in TaskShares.__dataclass_fields__} | {
    "mid_run": "mid-run", "finish": "continue",
}  # fmt: skip


@cache
def audit(folder: str) -> Audit:
    """The audit against the evaluation sets of a folder, made once per process."""
    return Audit.from_folder(folder)


class _Choice:
    """Picks a name by its share."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.names = list(shares)
        self.sums = list(accumulate(shares.values()))

    def pick(self, uniform: float) -> str:
        at = uniform * self.sums[-1]
        return next((name for name, top in zip(self.names, self.sums, strict=True) if at < top), self.names[-1])
