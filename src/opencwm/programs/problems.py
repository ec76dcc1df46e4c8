"""Contest problems from files: statement, solutions and tests in one form, whatever the layout of the data set.

| layout | style | known by its keys |
|---|---|---|
| LeetCodeDataset | function | `task_id`, `prompt`, `completion`, `entry_point`, `test` |
| CodeI/O | function, inputs from a generator | `code_sample`, `input_generator` |
| CodeContests | stdin and stdout | `solutions`, `incorrect_solutions`, `public_tests`, ... |
| rLLM (Codeforces, CodeContests) | stdin and stdout | `problem`, `tests`; a list `solutions` may be added to each |

JSON lines, one JSON list, or Parquet; plain, `.gz` or `.xz`. Nothing runs here.
"""

from __future__ import annotations

import ast
import functools
import gzip
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opencwm.programs.packages import HarvestError, parse

_PYTHON3 = 3  # CodeContests' number for Python 3


@dataclass(frozen=True, slots=True)
class Solution:
    """One attempt at a problem; `kind` says whose it is (`reference`, `model`, `accepted`, `rejected`, `given`)."""

    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Test:
    """One test. Function style: the `call` and the assertion's `check`, an expression that must be true (or `""`).

    Stdin style: the text given and the text `expected`.
    """

    call: str = ""
    check: str = ""
    stdin: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem. `generator` is source of a function that makes keyword arguments from a `Random`, for CodeI/O."""

    name: str
    style: Literal["function", "stdio"]
    statement: str
    solutions: tuple[Solution, ...]
    tests: tuple[Test, ...]
    generator: str = ""


def count(path: Path) -> int:
    """How many problems a file holds. Raises HarvestError if it cannot be read."""
    return len(_records(str(path)))


def load(path: Path, *, start: int = 0, stop: int | None = None) -> list[Problem]:
    """The problems of a file, in order. Raises HarvestError if it cannot be read or is of no known layout."""
    return [_problem(record, index, path) for index, record in enumerate(_records(str(path))[start:stop], start)]


@functools.lru_cache(maxsize=2)
def _records(name: str) -> list[dict[str, Any]]:
    path = Path(name)
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_table(path).to_pylist())
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".xz":
            data = lzma.decompress(data)
        text = data.decode("utf-8")
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, EOFError, lzma.LZMAError) as error:
        raise HarvestError(f"cannot read problems from {path}: {error}") from None


def _problem(record: dict[str, Any], index: int, path: Path) -> Problem:
    keys = record.keys()
    if {"completion", "entry_point", "test"} <= keys:
        return _leetcode(record)
    if {"code_sample", "input_generator"} <= keys:
        solution = (Solution("reference", record["code_sample"]),)
        name = f"{path.name.partition('.')[0]} {index}"
        return Problem(name, "function", record.get("task_description", ""), solution, (), record["input_generator"])
    if "public_tests" in keys:
        return _codecontests(record)
    if {"problem", "tests"} <= keys:
        return _rllm(record, f"{path.name.partition('.')[0]} {index}")
    raise HarvestError(f"{path}, problem {index}: a layout that is not known, with the keys {', '.join(sorted(keys))}")


def _leetcode(record: dict[str, Any]) -> Problem:
    prompt, entry = record["prompt"], record["entry_point"]
    solutions = [Solution("reference", f"{prompt}\n{record['completion']}")]
    block = record.get("response", "").partition("```python\n")[2].partition("```")[0]
    if "class Solution" in block:
        solutions.append(Solution("model", f"{prompt}\n{block}"))
    tests = tuple(_assertions(record["test"], entry))
    return Problem(record["task_id"], "function", record.get("query", ""), tuple(solutions), tests)


def _assertions(source: str, entry: str) -> list[Test]:
    """The assertions of a `check(candidate)` function: the call alone, and the condition with the call in it."""
    tree = parse(source, "<tests>")
    found = []
    for node in ast.walk(tree) if tree else ():
        if not isinstance(node, ast.Assert):
            continue
        calls = [i for i in ast.walk(node.test) if isinstance(i, ast.Call) and ast.unparse(i.func) == "candidate"]
        if len(calls) == 1:
            calls[0].func = ast.parse(entry, mode="eval").body
            found.append(Test(ast.unparse(calls[0]), ast.unparse(node.test)))
    return found


def _codecontests(record: dict[str, Any]) -> Problem:
    solutions = []
    for key, kind in (("solutions", "accepted"), ("incorrect_solutions", "rejected")):
        given = record.get(key) or {}
        for language, source in zip(given.get("language", ()), given.get("solution", ()), strict=False):
            if language in (_PYTHON3, "PYTHON3"):
                solutions.append(Solution(kind, source))
    tests = []
    for key in ("public_tests", "private_tests", "generated_tests"):
        given = record.get(key) or {}
        tests += _pairs(given.get("input", ()), given.get("output", ()))
    name = str(record.get("name", ""))
    return Problem(name, "stdio", record.get("description", ""), tuple(solutions), tuple(tests))


def _rllm(record: dict[str, Any], name: str) -> Problem:
    tests = record["tests"]
    if isinstance(tests, dict):
        pairs = _pairs(tests.get("inputs", ()), tests.get("outputs", ()))
    else:
        pairs = _pairs([test["input"] for test in tests], [test["output"] for test in tests])
    solutions = tuple(Solution("given", source) for source in record.get("solutions", ()))
    return Problem(name, "stdio", record["problem"], solutions, tuple(pairs))


def _pairs(inputs: Any, outputs: Any) -> list[Test]:
    return [Test(stdin=given, expected=wanted) for given, wanted in zip(inputs, outputs, strict=False)]
