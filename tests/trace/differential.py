"""Both cores on the same input, under whatever interpreter runs this; needs nothing but the standard library.

    PYTHONPATH=src python3.12 tests/trace/differential.py --programs 300 --modules textwrap json

`--programs N`: N generated programs, each recorded by both cores. `--modules`: the standard library's own tests of a
module, run twice, each time recorded by another core; what a third run shows to differ from run to run is left out.
Prints one JSON object; exits with 1 if anything differs that should not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import random
import re
import sys
import unittest
import warnings
from collections import Counter
from collections.abc import Iterator
from types import CodeType

from opencwm.programs.write import write
from opencwm.trace.core import NAMES, choose
from opencwm.trace.filters import where
from opencwm.trace.limits import Limits
from opencwm.trace.live import Quota, Recording
from opencwm.trace.recorder import record

MODULES = {
    "textwrap": "test.test_textwrap",
    "heapq": "test.test_heapq",
    "bisect": "test.test_bisect",
    "json": "test.test_json",
    "string": "test.test_string",
    "fractions": "test.test_fractions",
    "statistics": "test.test_statistics",
    "shlex": "test.test_shlex",
    "configparser": "test.test_configparser",
    "difflib": "test.test_difflib",
    "html": "test.test_htmlparser",
    "csv": "test.test_csv",
    "contextlib": "test.test_contextlib",
    "graphlib": "test.test_graphlib",
    "ast": "test.test_unparse",
}


# Python 3.13.0 crashes in `frame.f_locals`, which the Python core reads, where a function has both an inlined
# comprehension and a variable that an inner function (a lambda, a generator expression) shares.
PROXY_CRASHES = sys.version_info[:3] == (3, 13, 0)
PATIENT = Limits(seconds=600)  # an endless program is cut by another limit, however slow the machine


def compare_programs(count: int) -> dict[str, object]:
    frames, different = 0, []
    for seed in range(count):
        program = write(random.Random(seed))
        if PROXY_CRASHES and shares_variables(compile(program.context, "<context>", "exec")):
            continue
        options = {"steps": seed % 2 == 1, "identity": seed % 3 == 1}
        ours, theirs = (record(program, core=core, limits=PATIENT, **options) for core in ("c", "python"))
        frames += len(ours.frames)
        if ours != theirs:
            different.append(seed)
    return {"programs": count, "frames": frames, "different": different}


def shares_variables(code: CodeType) -> bool:
    """Whether any function of a program shares a variable with one inside it."""
    return bool(code.co_cellvars) or any(shares_variables(each) for each in code.co_consts if hasattr(each, "co_code"))


def steady(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """All tests but those that look for the end of the interpreter's stack, which a core in Python brings nearer."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from steady(test)
        elif "recurs" not in test.id().lower() and "nest" not in test.id().lower():
            yield test


def episodes(module: str, core: str) -> tuple[dict[str, Counter[str]], int]:
    """The episodes of a module's own tests, as digests by function; and the number of frames."""
    suite = unittest.TestSuite(steady(unittest.defaultTestLoader.loadTestsFromName(MODULES[module])))
    random.seed(0)
    recording = Recording(
        where(module=module) | where(module=f"{module}.*"),
        core=core,  # type: ignore[arg-type]
        limits=Limits(frames=500, value_bytes=500, total_bytes=300_000, seconds=600),
        quota=Quota(per_function=30),
    )
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        with recording:
            unittest.TextTestRunner(stream=quiet, verbosity=0).run(suite)
    found: dict[str, Counter[str]] = {}
    for episode in recording.episodes:
        text = re.sub(r"\b\d{12,}\b", "#", repr((episode.frames, str(episode.outcome), episode.entry_line)))  # an id
        found.setdefault(episode.call.function, Counter())[hashlib.sha256(text.encode()).hexdigest()] += 1
    return found, sum(len(episode.frames) for episode in recording.episodes)


def compare_module(module: str) -> dict[str, object]:
    importlib.import_module(MODULES[module])
    episodes(module, "python")  # caches fill
    (first, frames), (again, _), (ours, _) = (episodes(module, core) for core in ("python", "python", "c"))
    steady = {name for name in first if first[name] == again.get(name)}
    different = sorted(name for name in steady if first[name] != ours.get(name))
    return {
        "module": module,
        "functions": len(first),
        "compared": len(steady),
        "episodes": sum(sum(first[name].values()) for name in steady),
        "frames": frames,
        "different": different,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare both cores of the recorder.")
    parser.add_argument("--programs", type=int, default=0, metavar="N")
    parser.add_argument("--modules", nargs="*", default=[], choices=list(MODULES), metavar="MODULE")
    arguments = parser.parse_args()
    assert all(choose(name) for name in NAMES)
    results = [compare_programs(arguments.programs)] if arguments.programs else []
    results += [compare_module(module) for module in arguments.modules]
    print(json.dumps({"python": sys.version.split()[0], "results": results}))
    return int(any(result["different"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
