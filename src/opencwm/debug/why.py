"""Why does this test fail? Record what it makes the project do, and find the first state that is not as expected.

Notable choices:
- What is expected is either what the code did at a revision where the test passed (`git archive` of it, run with
  today's test file), or what the model predicts for each call: what somebody would expect who has read the code.
- The project's own calls are compared, in the order in which the test makes them; the test itself is not.
- The test runs with pytest in a process of its own, with the user's rights and environment: it is the user's test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from opencwm.debug import _failure_plugin
from opencwm.debug.failing import Failure, read_failure
from opencwm.trace.diff import Diff, diff
from opencwm.trace.frames import Trace
from opencwm.trace.store import unpack
from opencwm.world.compare import Comparison, compare
from opencwm.world.protocol import Prediction, World, WorldError, collect

SECONDS = 600.0
MORE_FRAMES = 20
"""Frames that a prediction may have beyond those of the real run."""


class WhyError(ValueError):
    """A question that cannot be answered; the message is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the project's code that the test has made, with all that it called in turn."""

    function: str
    file: str
    trace: Trace

    @property
    def context(self) -> str:
        """The source that the call touches."""
        return self.trace.context

    @property
    def entry(self) -> str:
        """The function's name, as a program's entry."""
        return self.function

    @property
    def entry_line(self) -> int:
        """The line of its `def` in the context."""
        return self.trace.entry_line


@dataclass(frozen=True, slots=True)
class TestRun:
    """A test that was run: whether it passed, the project's calls in order, what pytest printed, and how it failed."""

    __test__ = False  # for pytest: this is no test
    passed: bool
    calls: tuple[Call, ...]
    output: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A call whose real run parts from what the model expected, and how sure the model was there."""

    call: Call
    predicted: Trace
    comparison: Comparison
    sure: float


@dataclass(frozen=True, slots=True)
class Changed:
    """A call that runs otherwise than at the old revision: both traces and where they part, or only one of them."""

    old: Call | None
    new: Call | None
    found: Diff | None


def run_test(test: str, *, folder: Path, path: tuple[Path, ...] = ()) -> TestRun:
    """Run one test in a folder and record what it makes the project do. Raises WhyError if it cannot be run.

    `path` are folders from which modules are imported before any other.
    """
    with tempfile.TemporaryDirectory(prefix="cwm-why-") as traces:
        command = [sys.executable, "-m", "pytest", test, "-q", "--no-header", "-p", "no:cacheprovider"]
        # With "=": pytest would take a folder that stands alone for one of the tests', and look for their common root.
        command += ["-p", "opencwm.trace.pytest_plugin", f"--cwm-traces={traces}", "--cwm-step-in", "1"]
        command += ["--cwm-per-function", "1000", "--cwm-per-test", "1000"]
        command += ["-p", "opencwm.debug._failure_plugin"]
        noted = Path(traces) / "failure.json"
        environment = dict(os.environ) | {_failure_plugin.VARIABLE: str(noted)}
        if path:
            inherited = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = os.pathsep.join([*map(str, path), *([inherited] if inherited else [])])
        try:
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise WhyError(f"the test did not end within {SECONDS:.0f} seconds") from None
        if done.returncode not in (0, 1):
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            told = [line for line in said if line.startswith(("ERROR", "E  "))] or said[-1:]
            raise WhyError(f"pytest cannot run {test}: {told[0] if told else f'exit code {done.returncode}'}")
        calls = tuple(_calls(Path(traces)))
        failure = read_failure(noted, calls)
    return TestRun(done.returncode == 0, calls, done.stdout, failure)


def against_model(run: TestRun, world: World) -> Iterator[tuple[Call, Unexpected | None]]:
    """For every call, in order: where the real run parts from the prediction; None where it does not."""
    for call in run.calls:
        yield call, _unexpected(call, world)


def against_revision(test: str, revision: str, *, folder: Path) -> tuple[TestRun, TestRun, list[Changed]]:
    """The test at a revision and now, and the calls that run otherwise, in order. Raises WhyError."""
    with _checkout(revision, folder, test) as (old_folder, path):
        old = run_test(test, folder=old_folder, path=path)
    if not old.passed:
        raise WhyError(f"the test fails at {revision} too: name a revision where it passes")
    new = run_test(test, folder=folder)
    return old, new, list(_changed(old, new))


def _unexpected(call: Call, world: World) -> Unexpected | None:
    first = call.trace.frames[:1]
    try:
        run = world.run(call, prefix=first)
        predicted, predictions = collect(run, limit=len(call.trace.frames) + MORE_FRAMES)
    except WorldError:
        return None  # a call too long for the model's context says nothing
    whole = Trace(
        predicted.context, predicted.entry_line, (*first, *predicted.frames), predicted.outcome, predicted.python
    )
    comparison = compare(call.trace, whole)
    if comparison.divergence is None:
        return None
    return Unexpected(call, whole, comparison, _sure(predictions, comparison.divergence.index - 1))


def _sure(predictions: list[Prediction], index: int) -> float:
    return predictions[index].probability if 0 <= index < len(predictions) else 1.0


def _changed(old: TestRun, new: TestRun) -> Iterator[Changed]:
    """Calls paired in order by function; those that part, or that only one run has."""
    left = list(old.calls)
    for call in new.calls:
        at = next((n for n, other in enumerate(left) if other.function == call.function), None)
        if at is None:
            yield Changed(None, call, None)
            continue
        for skipped in left[:at]:
            yield Changed(skipped, None, None)
        found = diff(left[at].trace, call.trace)
        if found.parting is not None:
            yield Changed(left[at], call, found)
        del left[: at + 1]
    for skipped in left:
        yield Changed(skipped, None, None)


def _calls(folder: Path) -> Iterator[Call]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            trace = unpack(json.dumps(record["trace"]).encode())
            if trace.frames:
                yield Call(record["function"], record["file"], trace)


@contextmanager
def _checkout(revision: str, folder: Path, test: str) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """The repository at a revision, in a folder of its own, with today's test file; and its import path."""
    root = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
    _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    archive = _git(root, "archive", "--format=tar", revision)
    with tempfile.TemporaryDirectory(prefix="cwm-why-") as name:
        place = Path(name)
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(place, filter="data")
        here = place / folder.resolve().relative_to(root.resolve())
        file = Path(test.partition("::")[0])
        if (folder / file).is_file():
            (here / file).parent.mkdir(parents=True, exist_ok=True)
            (here / file).write_bytes((folder / file).read_bytes())
        yield here, tuple(part for part in (here, here / "src", place / "src") if part.is_dir())


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True)
    except OSError as error:
        raise WhyError(f"cannot run git: {error.strerror}; install it, or leave --git out") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise WhyError(f"git cannot do it: {said[-1] if said else 'no such revision ' + arguments[-1]}")
    return done.stdout
