"""A package's own pytest suite, run in isolation with the recording plugin, as episodes of its functions.

Notable choices:
- The checkout is copied first: tests may write beside themselves. One test file is one run, so a file that hangs, forks
  or kills the interpreter costs itself alone, and what its finished tests made is kept.
- The suite runs with this interpreter; what it needs beside pytest has to be installed. A suite that cannot be
  collected is counted, with pytest's reason.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opencwm.programs import isolation
from opencwm.programs.packages import HarvestError, find
from opencwm.trace.frames import Trace
from opencwm.trace.store import unpack

_IGNORED = shutil.ignore_patterns(".git", "__pycache__", "*.pyc", ".tox", "build", "dist", "docs", "doc")
_EXITS = {2: "interrupted", 3: "internal error", 4: "usage error", 5: "no tests collected"}


@dataclass(frozen=True, slots=True)
class SuiteEpisode:
    """One episode: the test that made it, the function that was called, and its trace."""

    test: str
    function: str
    module: str
    packed: bytes
    trace: Trace


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """What one test file made; `ended` says why it did not end by itself, None if it did."""

    package: str
    episodes: tuple[SuiteEpisode, ...]
    counts: Counter[str]
    ended: str | None


def test_files(checkout: Path) -> list[str]:
    """The test files of a checkout, relative to it. Raises HarvestError if it has none."""
    if not checkout.is_dir():
        raise HarvestError(f"{checkout} is no folder: give a checkout with its tests")
    found = {
        path.relative_to(checkout).as_posix()
        for pattern in ("test_*.py", "*_test.py", "tests.py")
        for path in checkout.rglob(pattern)
        if not {".git", "build", "node_modules", ".venv", "site-packages"} & set(path.relative_to(checkout).parts)
    }
    if not found:
        raise HarvestError(f"{checkout} has no test files (test_*.py): give a checkout with its tests")
    return sorted(found)


def run(
    checkout: Path,
    test_file: str,
    *,
    seed: int = 0,
    step_in: float = 0.7,
    seconds: float = 120.0,
    arguments: tuple[str, ...] = (),
) -> SuiteRun:
    """Run one test file of a checkout with the plugin, for at most `seconds`, and read what it recorded."""
    package = find(str(checkout))
    folder = Path(tempfile.mkdtemp(prefix="cwm-suite-"))
    try:
        copy = folder / checkout.resolve().name
        shutil.copytree(checkout, copy, symlinks=True, ignore=_IGNORED, ignore_dangling_symlinks=True)
        traces = folder / "traces"
        ours = Path(__file__).resolve().parents[2]
        roots = [copy / "src", copy] if (copy / "src").is_dir() else [copy]
        command = [
            sys.executable, "-s", "-m", "pytest", test_file, "-q", "--rootdir", str(copy), "-p", "no:cacheprovider",
            "-p", "opencwm.trace.pytest_plugin", "--cwm-traces", str(traces), "--cwm-seed", str(seed),
            "--cwm-step-in", str(step_in), *arguments,
        ]  # fmt: skip
        path = ":".join(map(str, [*roots, ours]))
        environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": ""}
        ended = isolation.run(
            command, folder=folder, start=copy, seconds=seconds, visible=(str(ours),), environment=environment
        )
        episodes = tuple(_episodes(traces))
        return SuiteRun(package.label, episodes, _counts(traces, ended), ended.cut)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _episodes(folder: Path) -> Iterator[SuiteEpisode]:
    """The whole lines of all workers' files, sorted by worker."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    return  # the suite was killed while it wrote
                record = json.loads(line)
                packed = json.dumps(record["trace"], ensure_ascii=False, separators=(",", ":"))
                try:
                    data = packed.encode()
                except UnicodeEncodeError:
                    data = json.dumps(record["trace"], separators=(",", ":")).encode()
                yield SuiteEpisode(record["test"], record["function"], record["module"], data, unpack(data))


def _counts(folder: Path, ended: isolation.Ended) -> Counter[str]:
    counts: Counter[str] = Counter()
    counts["test files"] += 1
    summaries = list(folder.glob("*.summary.json"))
    for path in summaries:
        for name, number in json.loads(path.read_text(encoding="utf-8"))["counts"].items():
            counts[f"suites: {name}"] += number
    if ended.cut is not None:
        counts[f"test files cut off: {ended.cut}"] += 1
    elif not summaries:
        counts["test files cut off: the interpreter was ended"] += 1
    elif not counts["suites: tests"]:
        counts["test files left out: no test could be collected"] += 1
    return counts
