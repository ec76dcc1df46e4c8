"""`pytest --cwm-traces DIR`: record what a test suite makes its package do, as short episodes with just their source.

    DIR/main.jsonl (gw0.jsonl, ... under xdist)   one JSON object per line: test, function, module, file, thread, trace
    DIR/main.summary.json                         tests seen and recorded, episodes, and what was left out, by reason

Notable choices:
- Recorded is the code of the project (below pytest's root folder, or what `--cwm-select` says), called from a test, its
  fixtures or its teardown; never the tests themselves. The tests run as they always do: nothing of them is changed, and
  their outcome does not depend on being recorded.
- Episodes are written when their test ends, so a suite that is killed keeps what it had finished.
- Which calls become episodes depends on the seed and on the test's name alone, so it is the same under xdist.
- Another tracer (coverage, a debugger) is left intact: tests under it run unrecorded, and the summary says so.

Standard library only (and pytest, which is there): one file with all it needs is made by `cwm data plugin`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opencwm.trace.context import Files, gather
from opencwm.trace.filters import Call, Predicate, parse
from opencwm.trace.limits import Limits
from opencwm.trace.live import Episode, Quota, Recording
from opencwm.trace.recorder import RecordError
from opencwm.trace.store import pack

NAME = "cwm-traces"
_OURS = os.path.dirname(__file__) + os.sep if __name__ == "opencwm.trace.pytest_plugin" else __file__
_NOT_THE_PROJECT = frozenset(("site-packages", "dist-packages", "tests", "test", "testing", ".tox", ".venv", "venv"))


def pytest_addoption(parser: Any) -> None:
    """The options, all `--cwm-...`."""
    group = parser.getgroup("cwm", "recording traces of the code under test (OpenCWM)")
    add = group.addoption
    try:
        add("--cwm-traces", metavar="DIR", default=None, help="record traces into this folder")
    except ValueError:
        return  # loaded already: both the one file and OpenCWM itself are here
    add("--cwm-select", metavar="EXPR", default=None, help="what is recorded, as in: module == 'shop.*' and depth < 3")
    add(
        "--cwm-step-in",
        metavar="P",
        type=float,
        default=0.7,
        help="probability that a call stays in its caller's trace",
    )
    add("--cwm-seed", metavar="N", type=int, default=0, help="seed of that choice")
    add("--cwm-per-function", metavar="N", type=int, default=2, help="episodes of one function per test")
    add("--cwm-per-test", metavar="N", type=int, default=50, help="episodes of one test")
    add("--cwm-frames", metavar="N", type=int, default=10_000, help="frames of one episode")


def pytest_configure(config: Any) -> None:
    """Start up if there is a folder to write to."""
    folder = config.getoption("--cwm-traces")
    if folder is None or config.pluginmanager.has_plugin(NAME):
        return
    # The controller of xdist runs no test itself.
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return
    try:
        config.pluginmanager.register(Plugin(config, Path(folder)), NAME)
    except ValueError as error:
        raise pytest.UsageError(f"--cwm-select: {error}") from None
    except OSError as error:
        raise pytest.UsageError(f"--cwm-traces: cannot write to {folder}: {error.strerror}") from None


class Plugin:
    """Records around each test and writes what it made."""

    def __init__(self, config: Any, folder: Path) -> None:
        option = config.getoption
        self._worker = getattr(config, "workerinput", {}).get("workerid", "main")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{self._worker}.jsonl").open("w", encoding="utf-8")
        chosen = option("--cwm-select")
        self._select = parse(chosen) if chosen else Project(str(config.rootpath))
        self._step_in: float = option("--cwm-step-in")
        self._seed: int = option("--cwm-seed")
        self._per_test: int = option("--cwm-per-test")
        self._per_function: int = option("--cwm-per-function")
        self._limits = Limits(frames=option("--cwm-frames"), value_bytes=1_000, total_bytes=1_000_000, seconds=60.0)
        self._files = Files()
        self.counts: Counter[str] = Counter()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Record one test with its fixtures."""
        self.counts["tests"] += 1
        episodes: list[Episode] = []
        recording = Recording(
            self._select,
            step_in=self._step_in,
            seed=self._seed,
            limits=self._limits,
            quota=Quota(per_function=self._per_function, per_test=self._per_test),
            on_episode=episodes.append,
        )
        recording.test = item.nodeid
        try:
            recording.start()
        except RecordError as error:
            self.counts[f"tests not recorded: {error}"] += 1
            yield
            return
        try:
            yield
        finally:
            recording.stop()
            self._write(item.nodeid, episodes)

    def _write(self, test: str, episodes: list[Episode]) -> None:
        self.counts["tests recorded"] += 1
        try:
            for episode in episodes:
                self._write_one(test, episode)
            self._file.flush()
        except OSError as error:  # a full disk must not fail the tests
            self.counts[f"episodes lost: {error.strerror}"] += len(episodes)

    def _write_one(self, test: str, episode: Episode) -> None:
        call = episode.call
        self.counts["episodes"] += 1
        trace = gather(episode, self._files)
        if trace is None:
            self.counts["episodes left out: no source"] += 1
            return
        about = {"test": test, "function": call.function, "module": call.module, "file": call.file}
        line = {**about, "thread": episode.thread, "trace": json.loads(pack(trace))}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.counts["episodes written"] += 1

    def pytest_sessionfinish(self) -> None:
        """Close the file and leave the summary beside it."""
        try:
            self._file.close()
            text = json.dumps({"python": sys.version.split()[0], "counts": dict(sorted(self.counts.items()))}, indent=1)
            (self._folder / f"{self._worker}.summary.json").write_text(text, encoding="utf-8")
        except OSError as error:
            self.counts[f"summary lost: {error.strerror}"] += 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what was recorded, and why not more."""
        counts = self.counts
        terminalreporter.write_sep("-", "traces")
        terminalreporter.write_line(
            f"{counts['episodes written']} episodes of {counts['tests recorded']} tests: {self._folder}"
        )
        for reason, number in sorted(counts.items()):
            if ":" in reason:
                terminalreporter.write_line(f"{number:6} {reason}")


class Project(Predicate):
    """Code below a folder that is neither a test nor installed there, nor the recorder."""

    __slots__ = ("_root",)

    def __init__(self, root: str) -> None:
        self._root = root.rstrip(os.sep) + os.sep

    def __call__(self, call: Call) -> bool:
        if not call.file.startswith(self._root) or call.file.startswith(_OURS):
            return False
        *folders, name = call.file[len(self._root) :].split(os.sep)
        if name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py"):
            return False
        return _NOT_THE_PROJECT.isdisjoint(folders)

    def __str__(self) -> str:
        return f"the project in {self._root}"
