"""Contest problems, run and traced on their tests: right and wrong solutions, functions and scripts.

Notable choices:
- Right and wrong is what the tests say when they run here, not what the data set claims.
- Where a data set has too few wrong solutions, reference solutions are changed (`mutants.py`), and those that fail a
  test are kept.
- A program that reads standard input becomes a function: its statements move into `solution`, names that its own
  functions use are declared global, and `run` gives it the input and returns what it printed. So the outcome of the run
  is the outcome of the program, and nothing outside of the source matters.
- Limits as in CWM: 10,000 events and 1 MB.
"""

from __future__ import annotations

import ast
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opencwm.programs.batch import Ran, record_batch
from opencwm.programs.closure import NotSelfContained, close
from opencwm.programs.episodes import unfit
from opencwm.programs.mutants import mutants
from opencwm.programs.packages import Module, Package, parse
from opencwm.programs.problems import Problem, Solution, Test, count, load
from opencwm.programs.program import Program
from opencwm.trace.frames import Trace

__all__ = ["Attempt", "attempts", "count", "load"]

MUTANTS = 2
MOST_STDIN = 4_000  # characters of a test's input: it stands in the source
_RUNNER = """

def run(program, text):
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    sys.stdout = io.StringIO()
    try:
        program()
    except SystemExit:
        pass
    return sys.stdout.getvalue()
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One solution of a problem and its runs on tests. `right` is None where nothing says what is right."""

    problem: Problem
    kind: str
    right: bool | None
    runs: tuple[tuple[Program, Ran, Trace], ...]


@dataclass(frozen=True, slots=True)
class _Try:
    """A program for one test, with a second one that checks the answer where it takes code to check."""

    program: Program
    test: Test
    judge: Program | None


def attempts(
    problems: Sequence[Problem], *, seed: int, tests: int, counts: Counter[str], changed: int = MUTANTS
) -> list[Attempt]:
    """Every solution of some problems, run on at most `tests` tests each; `counts` gets what is left out and why."""
    entries: list[tuple[Problem, str, list[_Try]]] = []
    generated = _generate([p for p in problems if p.generator], seed=seed, count=tests, counts=counts)
    for problem in problems:
        given = generated[problem.name] if problem.generator else problem.tests
        usable = [test for test in given if len(test.stdin) <= MOST_STDIN][:tests]
        counts["tests left out: long input"] += sum(len(test.stdin) > MOST_STDIN for test in given)
        if not problem.solutions:
            counts["problems left out: no solution"] += 1
            continue
        for solution in (*problem.solutions, *_changed(problem, seed, changed)):
            counts["solutions seen"] += 1
            try:
                tries = [_try(problem, solution, test) for test in usable]
            except (SyntaxError, ValueError, RecursionError):
                counts["solutions left out: syntax"] += 1
                continue
            except NotSelfContained as error:
                counts[f"solutions left out: {error}"] += 1
                continue
            if tries:
                entries.append((problem, solution.kind, tries))
    return _record(entries, counts)


def _record(entries: list[tuple[Problem, str, list[_Try]]], counts: Counter[str]) -> list[Attempt]:
    """Run all tries in one batch and judge them."""
    programs = [p for _, _, tries in entries for each in tries for p in (each.program, each.judge) if p is not None]
    results = iter(record_batch(programs))
    found = []
    for problem, kind, tries in entries:
        verdicts: list[bool | None] = []
        runs = []
        for each in tries:
            counts["runs"] += 1
            ran = next(results)
            judged = next(results) if each.judge is not None else None
            if ran.reason is not None:
                counts[f"runs failed: {ran.reason[:60]}"] += 1
                verdicts.append(False)
                continue
            trace = ran.trace()
            reason = unfit(trace, ran.packed)
            if trace.outcome.kind == "truncated":
                verdicts.append(None)
            else:
                verdicts.append(_verdict(problem, each, trace, judged))
            if reason is not None:
                counts[f"runs left out: {reason}"] += 1
            else:
                runs.append((each.program, ran, trace))
        right = False if False in verdicts else True if True in verdicts else None
        if kind.startswith("mutant") and right is not False:
            counts["mutants left out: no test fails"] += 1
            continue
        counts[f"solutions {'right' if right else 'wrong' if right is False else 'not judged'}"] += 1
        found.append(Attempt(problem, kind, right, tuple(runs)))
    return found


def _verdict(problem: Problem, each: _Try, trace: Trace, judged: Ran | None) -> bool | None:
    """Whether a run passes its test; None where the problem does not say."""
    if trace.outcome.kind == "exception":
        return False
    if problem.style == "stdio":
        try:
            printed = ast.literal_eval(trace.result or "''")
        except (ValueError, SyntaxError):
            return None
        return "...+" not in printed and printed.split() == each.test.expected.split()
    if judged is None:
        return None
    return judged.reason is None and judged.trace().result == "True"


def _try(problem: Problem, solution: Solution, test: Test) -> _Try:
    if problem.style == "stdio":
        source = as_function(solution.source) + _RUNNER
        return _Try(Program(source, f"run(solution, {test.stdin!r})", origin=problem.name), test, None)
    program = Program(_needed(solution.source, test.call), test.call, origin=problem.name)
    judge = Program(solution.source, test.check) if test.check else None
    return _Try(program, test, judge)


def _needed(source: str, call: str) -> str:
    """The part of a source that a call needs; star imports become the names that are used."""
    tree = parse(source, "<solution>")
    if tree is None:
        raise SyntaxError("the solution does not parse")
    module = Module("solution", Path("solution"), "solution", source, tree, False)
    package = Package("solution", "", {}, (), (), {"solution": module})
    names = [node.id for node in ast.walk(ast.parse(call, mode="eval")) if isinstance(node, ast.Name)]
    found = close(package, module, [name for name in dict.fromkeys(names) if name in module.bindings], whole=True)
    if set(found.needs) - sys.stdlib_module_names:
        raise NotSelfContained("imports other packages")
    return found.source


def as_function(source: str) -> str:
    """A script as a module that defines `solution`, which does what the script does. Raises SyntaxError."""
    tree = ast.parse(source)
    outside = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    kept = [node for node in tree.body if isinstance(node, outside)]
    moved = [node for node in tree.body if not isinstance(node, outside)]
    used = {i.id for node in kept for i in ast.walk(node) if isinstance(i, ast.Name)}
    bound = {i.id for node in moved for i in ast.walk(node) if isinstance(i, ast.Name) and isinstance(i.ctx, ast.Store)}
    shared = sorted(used & bound)
    body: list[ast.stmt] = [ast.Global(shared)] if shared else []
    body += [_as_main(node) for node in moved] or [ast.Pass()]
    function = ast.parse("def solution(): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = body
    future = [node for node in kept if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    rest = [node for node in kept if node not in future]
    module = ast.Module([*future, *ast.parse("import io\nimport sys").body, *rest, function], [])
    return ast.unparse(ast.fix_missing_locations(module)) + "\n"


def _as_main(node: ast.stmt) -> ast.stmt:
    """`if __name__ == "__main__":` holds: its body is what runs."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "'__main__' == __name__"):
        return ast.If(ast.Constant(True), node.body, [])
    return node


def _changed(problem: Problem, seed: int, most: int) -> list[Solution]:
    """Mutants of a problem's first solution."""
    if problem.generator or not most or any(solution.kind == "rejected" for solution in problem.solutions):
        return []
    rng = random.Random(f"{seed}:{problem.name}")
    inside = "Solution" if problem.style == "function" else ""
    try:
        found = mutants(problem.solutions[0].source, rng=rng, count=most, inside=inside)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [Solution(f"mutant {number}", source) for number, source in enumerate(found, 1)]


def _generate(problems: Sequence[Problem], *, seed: int, count: int, counts: Counter[str]) -> dict[str, list[Test]]:
    """Tests of problems that come with a generator of inputs: it runs in isolation too, once per test."""
    programs: list[Program] = []
    for problem in problems:
        name = "generate_inputs" if "def generate_inputs" in problem.generator else "generate_input"
        source = f"import random\nfrom random import Random\n\n{problem.generator}"
        programs += [Program(source, f"{name}(Random({seed + number}))") for number in range(count)]
    results = iter(record_batch(programs) if programs else [])
    found: dict[str, list[Test]] = {problem.name: [] for problem in problems}
    for problem in problems:
        for _ in range(count):
            ran = next(results)
            text = ran.trace().result if ran.reason is None and ran.trace().outcome.kind == "return" else None
            if text is None or "...+" in text or not text.startswith("{"):
                counts["tests left out: no input generated"] += 1
                continue
            try:
                arguments = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                counts["tests left out: no input generated"] += 1
                continue
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items() if str(key).isidentifier())
            found[problem.name].append(Test(f"main_solution({given})"))
    return found
