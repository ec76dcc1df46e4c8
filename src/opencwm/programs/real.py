"""Real functions for the mix: people's code, from data that may be trained on and from packages, with made-up inputs.

    drawn = pool("DATA", ("textwrap", "bisect")).draw("harvested", rng, held_out=False)
    program = drawn.program()

Notable choices:
- Each function has 10 to 200 runs, more the more it branches: run r of function i always has the same arguments. They
  are known ones (from tests, doctests, a generator that comes with the data), mutations of them, or made up by type.
- Functions of data and of installed packages are `foreign`: nobody has read them, so they, and the generators of
  arguments that come with some, run in a sandbox (`foreign.py`), unless the caller trusts them. What the standard
  library defines comes with the interpreter that runs us: it runs in this process.
- Only functions are taken of which the syntax says that they touch nothing but their arguments (imports from a short
  list of pure modules, none of the builtins that read, write or run text, no private attributes): such runs can be
  repeated, and are what a model can predict. It is no protection, and is not used as one.
- One function in ten is held out, by the hash of its source.
"""

from __future__ import annotations

import ast
import builtins
import functools
import gzip
import hashlib
import importlib
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opencwm.programs import harvest, inputs, packages
from opencwm.programs.arguments import Maker
from opencwm.programs.program import Program

FEWEST_RUNS, MOST_RUNS = 10, 200
HELD_OUT = 10
"""One function in so many is held out."""
_MOST_CHARACTERS = 1500
_MOST_ARGUMENTS = 250
PURE = frozenset(
    """
    abc bisect cmath collections collections.abc copy dataclasses decimal enum fractions functools heapq itertools json
    math numbers operator re string statistics textwrap typing unicodedata __future__
    """.split()  # noqa: SIM905
)
"""Modules of which functions may import."""
_FORBIDDEN = frozenset(
    """
    open input exec eval compile breakpoint exit quit help globals locals vars memoryview id hash __import__
    __builtins__ __loader__ __spec__
    """.split()  # noqa: SIM905
)
_PRIVATE = frozenset(
    """
    __init__ __name__ __class__ __len__ __iter__ __next__ __str__ __repr__ __eq__ __lt__ __add__ __getitem__
    __contains__ __call__ __mul__ __setitem__ __hash__ __doc__ __main__ __version__ __all__ __post_init__ __bool__
    __sub__ __le__
    """.split()  # noqa: SIM905
)
_STARS = ("typing", "collections", "functools", "itertools", "heapq", "bisect", "operator", "string", "math")


@dataclass(frozen=True, slots=True)
class RealFunction:
    """`source` defines it, `name` calls it (`f`, `Solution().two_sum`); `known` are argument texts (`"[1], 2"`)."""

    origin: str
    source: str
    name: str
    known: tuple[str, ...] = ()
    generator: str = ""
    harvested: harvest.HarvestedFunction | None = None
    foreign: bool = True

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.source.encode()).digest()[0] % HELD_OUT == 0

    @property
    def runs(self) -> int:
        """How many different inputs it is given."""
        branching = ("if ", "for ", "while ", "except", " and ", " or ")
        return min(MOST_RUNS, FEWEST_RUNS + 15 * sum(self.source.count(word) for word in branching))

    def call(self, run: int, generated: str | None = None) -> str | None:
        """The call expression of a run, with `generated` arguments if there is a generator; None if it has none."""
        rng = random.Random(f"{self.origin}:{run}")
        if self.harvested is not None:
            found = inputs.calls(self.harvested, seed=run, count=2)
            return rng.choice(found) if found else None
        if self.generator:
            return f"{self.name}({generated})" if generated is not None else None
        choice = rng.random()
        if self.known and choice < 0.75:
            text = rng.choice(self.known)
            parsed = inputs.parse_arguments(text) if choice > 0.25 else None
            if parsed is not None:
                maker = Maker(rng, ast.Module([], []))
                positional = [maker.mutated(value) for value in parsed.positional]
                named = [f"{name}={maker.mutated(value)}" for name, value in parsed.keyword]
                text = ", ".join(positional + named)
            return f"{self.name}({text})"
        if self.name.isidentifier():
            found = inputs.for_source(self.source, self.name, seed=run, count=1, known=self.known)
            return found[0] if found else None
        return f"{self.name}({rng.choice(self.known)})" if self.known else None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A run of a function."""

    function: RealFunction
    run: int

    @property
    def seed(self) -> str:
        """What its generator is seeded with."""
        return f"{self.function.origin}:{self.run}"

    def program(self, generated: str | None = None) -> Program | None:
        """The program, with `generated` arguments if the function has a generator; None if it has no arguments."""
        call = self.function.call(self.run, generated)
        if call is None or len(call) > _MOST_ARGUMENTS or any(word in call for word in ("__import__", "float('inf')")):
            return None
        return Program(self.function.source, call, origin=self.seed)


@dataclass(slots=True)
class Pool:
    """Functions by source ("functions" from data, "harvested" from packages), and how many were left out and why."""

    functions: dict[str, list[RealFunction]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    _sides: dict[tuple[str, bool], list[RealFunction]] = field(default_factory=dict)

    def draw(self, source: str, rng: random.Random, *, held_out: bool) -> Drawn:
        """A random run of a random function."""
        side = source, held_out
        if side not in self._sides:
            self._sides[side] = [f for f in self.functions[source] if f.held_out == held_out]
        function = rng.choice(self._sides[side])
        return Drawn(function, rng.randrange(function.runs))


@functools.cache
def pool(data: str, packages: tuple[str, ...]) -> Pool:
    """The functions of a data folder ("" for none) and of packages. Raises ValueError where one of them is missing."""
    found = Pool()
    for source, functions in (
        ("functions", _from_data(Path(data), found) if data else iter(())),
        ("harvested", _from_packages(packages, found)),
    ):
        kept = {function.source: function for function in functions if _take(function, found)}
        found.functions[source] = list(kept.values())
    return found


def _take(function: RealFunction, found: Pool) -> bool:
    if len(function.source) > _MOST_CHARACTERS:
        return _leave_out(found, "too long")
    problem = effect(function.source)
    return problem is None or _leave_out(found, problem)


def _leave_out(found: Pool, reason: str) -> bool:
    found.left_out[reason] = found.left_out.get(reason, 0) + 1
    return False


def effect(source: str) -> str | None:
    """Why a source may have an effect beyond its own values, or None if its syntax shows that it has not."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return "does not parse"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
            if any(name not in PURE for name in names):
                return "imports more than pure modules"
        elif isinstance(node, ast.Name) and node.id in _FORBIDDEN:
            return f"uses {node.id}"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr not in _PRIVATE:
            return "uses private attributes"
        elif isinstance(node, ast.Attribute) and node.attr in ("format_map", "gi_frame", "f_globals", "tb_frame"):
            return "uses attributes of frames"
        elif isinstance(node, ast.Name) and node.id in ("getattr", "setattr", "delattr"):
            return f"uses {node.id}"
        elif isinstance(node, ast.Await | ast.AsyncFunctionDef):
            return "is asynchronous"
    for statement in tree.body:
        if not isinstance(statement, _PLAIN) and not (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            return "does more than define"
    return None


_PLAIN = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def _from_data(folder: Path, found: Pool) -> Iterator[RealFunction]:
    """The functions of all known files below a folder (see its own README for what may be trained on)."""
    readers: dict[str, Callable[[dict[str, Any], int], RealFunction | None]] = {
        "mbpp/mbpp_train.jsonl": _mbpp,
        "leetcode/LeetCodeDataset-v0.2.0-train.jsonl.gz": _leetcode,
        "codeio/codeio.jsonl.gz": _codeio,
        "codeio/codeio-hq.jsonl.gz": _codeio,
    }
    paths = {name: folder / name for name in readers if (folder / name).is_file()}
    if not paths:
        raise ValueError(
            f"no data set of functions below {folder}: give a folder that holds {', '.join(readers)}, or set the share "
            "of functions to 0"
        )
    for name, path in paths.items():
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
        whole = text.lstrip().startswith("[")
        rows = json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
        for index, row in enumerate(rows):
            function = readers[name](row, index)
            if function is None:
                _leave_out(found, "too long, needs more than pure modules, or no call of it is known")
            else:
                yield function


def _mbpp(row: dict[str, Any], index: int) -> RealFunction | None:
    tests = row["test_list"] if isinstance(row["test_list"], list) else ast.literal_eval(row["test_list"])
    calls: dict[str, list[str]] = {}
    source = row["code"].replace("\r\n", "\n").replace("\t", "    ").strip() + "\n"
    for test in tests:
        for node in ast.walk(_parsed(test)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and f"def {node.func.id}(" in source:
                calls.setdefault(node.func.id, []).append(_arguments(node))
                break
    if not calls:
        return None
    name = max(calls, key=lambda key: len(calls[key]))
    return RealFunction(f"mbpp {row['task_id']}", source, name, tuple(calls[name]))


def _leetcode(row: dict[str, Any], index: int) -> RealFunction | None:
    source = row["completion"].strip("\n") + "\n"
    if len(source) > _MOST_CHARACTERS:
        return None
    tree = _parsed(source)
    missing = _missing(tree)
    if missing is None:
        return None
    imports = [f"from {module} import {', '.join(names)}" for module, names in missing.items()]
    source = "\n".join(imports) + ("\n\n" if imports else "") + source
    known = []
    for node in ast.walk(_parsed(row["test"])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "candidate":
            text = _arguments(node)
            if len(text) <= _MOST_ARGUMENTS - 40:
                known.append(text)
    return RealFunction(f"leetcode {row['task_id']}", source, row["entry_point"], tuple(known[:40])) if known else None


def _codeio(row: dict[str, Any], index: int) -> RealFunction | None:
    imported = re.findall(r"^\s*(?:import|from)\s+([\w.]+)", row["code_sample"], re.MULTILINE)
    if len(row["code_sample"]) > 2 * _MOST_CHARACTERS or not PURE.issuperset(imported):
        return None
    tree = _parsed(row["code_sample"])
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions or effect(row["input_generator"].replace("rng: Random", "rng")) is not None:
        return None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                del body[0]
    origin = f"codeio {hashlib.sha256(row['code_sample'].encode()).hexdigest()[:10]}"
    return RealFunction(origin, ast.unparse(tree) + "\n", functions[-1].name, (), row["input_generator"])


def _from_packages(names: tuple[str, ...], found: Pool) -> Iterator[RealFunction]:
    for name in names:
        package = packages.find(name)
        for function in harvest.functions(package):
            if function.problem is None:
                yield RealFunction(
                    function.origin, function.source, function.name, harvested=function, foreign=not package.standard
                )
            else:
                _leave_out(found, function.problem)


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def _arguments(call: ast.Call) -> str:
    return ", ".join(ast.unparse(part) for part in (*call.args, *call.keywords))


def _missing(tree: ast.Module) -> dict[str, list[str]] | None:
    """Where to import what the source needs but does not define, by module; None if it is nowhere to be found."""
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    loaded = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found: dict[str, list[str]] = {}
    for name in loaded:
        if name in bound or hasattr(builtins, name):
            continue
        home = next((module for module in _STARS if hasattr(importlib.import_module(module), name)), None)
        if home is None:
            return None
        found.setdefault(home, []).append(name)
    return found
