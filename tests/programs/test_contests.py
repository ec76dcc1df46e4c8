"""Contest problems: every layout, right and wrong solutions told apart by running them, both styles."""

import gzip
import json
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest

from opencwm.programs import contests
from opencwm.programs.mutants import mutants
from opencwm.programs.packages import HarvestError
from opencwm.programs.problems import count, load
from opencwm.trace.recorder import record

DATA = Path(__file__).parents[3] / "shared" / "data"
LEETCODE = {
    "task_id": "double",
    "prompt": "from typing import *\nfrom math import *\ninf = float('inf')\n",
    "completion": "class Solution:\n    def double(self, xs: List[int]) -> List[int]:\n        return [2 * x if x < inf else floor(x) for x in xs]\n",
    "entry_point": "Solution().double",
    "test": "def check(candidate):\n    assert candidate(xs = [1, 2]) == [2, 4]\n    assert candidate(xs = []) == []\n",
    "query": "Double.",
    "response": "Try:\n```python\nclass Solution:\n    def double(self, xs):\n        return xs + xs\n```",
}
RIGHT = "n = int(input())\nxs = list(map(int, input().split()))\ndef best():\n    return max(xs)\nif __name__ == '__main__':\n    print(n, best())\n"
WRONG = RIGHT.replace("max", "min")
STDIO = {"problem": "Largest.", "tests": {"inputs": ["3\n1 5 2\n", "1\n7\n"], "outputs": ["3 5\n", "1 7"]}}
CODEIO = {
    "task_description": "Add.",
    "code_sample": "def main_solution(a, b):\n    return {'sum': a + b}\n",
    "input_generator": "def generate_inputs(rng: Random) -> dict:\n    return {'a': rng.randint(1, 9), 'b': rng.randint(1, 9)}\n",
}
CODECONTESTS = {
    "name": "largest",
    "description": "Largest.",
    "public_tests": {"input": ["3\n1 5 2\n"], "output": ["3 5\n"]},
    "private_tests": {"input": ["2\n8 9\n"], "output": ["2 9\n"]},
    "generated_tests": {"input": [], "output": []},
    "solutions": {"language": [3, 2], "solution": [RIGHT, "int main() {}"]},
    "incorrect_solutions": {"language": [3], "solution": [WRONG]},
}


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def run(path, **options):
    counts = Counter()
    found = contests.attempts(load(path), seed=0, tests=4, counts=counts, **options)
    return {(attempt.problem.name, attempt.kind): attempt for attempt in found}, counts


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.jsonl", lines(LEETCODE, LEETCODE)),
        ("p.jsonl.gz", gzip.compress(lines(LEETCODE, LEETCODE))),
        ("p.json.xz", lzma.compress(json.dumps([LEETCODE, LEETCODE]).encode())),
    ],
)
def test_every_packing_is_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert count(tmp_path / name) == 2
    assert [problem.name for problem in load(tmp_path / name, start=1)] == ["double"]


@pytest.mark.parametrize("data", [b"nonsense", b'{"a": 1}\n', b""])
def test_a_file_that_cannot_be_used_is_told(tmp_path, data):
    path = tmp_path / "p.jsonl"
    path.write_bytes(data)
    if data:
        with pytest.raises(HarvestError, match=r"cannot read|not known"):
            load(path)
    else:
        assert load(path) == []
    with pytest.raises(HarvestError, match="cannot read"):
        load(tmp_path / "absent.jsonl")


@pytest.mark.usefixtures("sandbox_works")
def test_function_style(tmp_path):
    path = tmp_path / "leet.jsonl"
    path.write_bytes(lines(LEETCODE))
    found, counts = run(path)
    assert found["double", "reference"].right is True
    assert found["double", "model"].right is False
    assert all(found[key].right is False for key in found if key[1].startswith("mutant"))
    program, _, trace = found["double", "reference"].runs[0]
    assert program.call == "Solution().double(xs=[1, 2])" and trace.result == "[2, 4]"
    assert "import *" not in program.source and "from math import floor" in program.source
    assert "[2, 4]" not in program.context  # the answer does not stand beside the question
    assert counts["solutions right"] == 1


@pytest.mark.usefixtures("sandbox_works")
@pytest.mark.parametrize("record", [CODECONTESTS, STDIO | {"solutions": [RIGHT, WRONG]}])
def test_stdin_style(tmp_path, record):
    path = tmp_path / "stdio.jsonl"
    path.write_bytes(lines(record))
    found, _ = run(path, changed=0)
    assert [attempt.right for attempt in found.values()] == [True, False] or len(found) == 1
    attempts = contests.attempts(load(path), seed=0, tests=4, counts=Counter(), changed=0)
    assert [attempt.right for attempt in attempts] == [True, False]
    _, _, trace = attempts[0].runs[0]
    assert trace.result == repr("3 5\n")
    assert {frame.function for frame in trace.frames} >= {"run", "solution", "best"}


@pytest.mark.usefixtures("sandbox_works")
def test_inputs_from_a_generator(tmp_path):
    path = tmp_path / "codeio.jsonl"
    path.write_bytes(lines(CODEIO))
    found, _ = run(path)
    (attempt,) = found.values()
    assert attempt.right is None and len(attempt.runs) == 4
    calls = [program.call for program, _, _ in attempt.runs]
    again, _ = run(path)
    assert calls == [program.call for program, _, _ in next(iter(again.values())).runs]


def test_a_script_as_a_function_does_what_the_script_does():
    source = contests.as_function(RIGHT)
    assert "global xs" in source
    script = contests._RUNNER
    trace = record(contests.Program(source + script, "run(solution, '3\\n1 5 2\\n')"))
    assert trace.result == repr("3 5\n")
    early = contests.as_function("import sys\nprint(1)\nsys.exit()\nprint(2)\n") + script
    assert record(contests.Program(early, "run(solution, '')")).result == repr("1\n")


def test_mutants_are_one_change_away():
    source = "def f(xs):\n    total = 0\n    for x in xs:\n        if x > 2 and x in (1, 2):\n            total += x\n    return min(total, 9)\n"
    found = mutants(source, rng=random.Random(0), count=50)
    assert len(found) == len(set(found)) > 10
    assert mutants(source, rng=random.Random(0), count=50) == found
    for text in found:
        compile(text, "m", "exec")


def test_problems_without_solutions_are_counted(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(lines(STDIO))
    counts = Counter()
    assert contests.attempts(load(path), seed=0, tests=4, counts=counts) == []
    assert counts["problems left out: no solution"] == 1


@pytest.mark.usefixtures("sandbox_works")
@pytest.mark.parametrize(
    ("name", "style"),
    [("leetcode/LeetCodeDataset-v0.2.0-train.jsonl.gz", "function"), ("codeio/codeio.jsonl.gz", "function")],
)
def test_real_problems(name, style):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: put the data set beside the project")
    problems = load(path, start=0, stop=3)
    assert all(problem.style == style for problem in problems)
    found = contests.attempts(problems, seed=0, tests=2, counts=Counter(), changed=1)
    assert sum(len(attempt.runs) for attempt in found) >= 3
    if "leetcode" in name:
        assert {attempt.right for attempt in found} == {True, False}


@pytest.mark.usefixtures("sandbox_works")
def test_a_real_stdin_problem_with_solutions_of_our_own():
    path = DATA / "rllm_code" / "codeforces_test.json.xz"
    if not path.is_file():
        pytest.skip(f"{path} is not there: put the data set beside the project")
    problem = load(path, start=0, stop=1)[0]  # print the smaller of two numbers, then the larger
    right = "for _ in range(int(input())):\n    x, y = map(int, input().split())\n    print(min(x, y), max(x, y))\n"
    solutions = tuple(contests.Solution("given", source) for source in (right, right.replace("min(x, y)", "x")))
    problem = contests.Problem(problem.name, problem.style, problem.statement, solutions, problem.tests)
    found = contests.attempts([problem], seed=0, tests=2, counts=Counter(), changed=0)
    assert [attempt.right for attempt in found] == [True, False]
