"""Written programs: they run within limits, end as they should, differ from each other, and cover the language."""

import ast
import hashlib
import itertools
import os
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from opencwm.programs.program import Program
from opencwm.programs.write import stream, write
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record

STR = """
    join split rsplit splitlines partition rpartition replace strip lstrip rstrip find rfind index rindex count
    startswith endswith upper lower title capitalize swapcase casefold zfill center ljust rjust isalpha isdigit
    isalnum isupper islower isspace isnumeric isdecimal istitle isidentifier isascii isprintable removeprefix
    removesuffix expandtabs translate maketrans encode decode format
"""
COLLECTIONS = """
    append extend insert pop remove index count sort reverse copy clear get items keys values popitem setdefault
    update fromkeys add discard union intersection difference issubset issuperset isdisjoint
"""
BUILTINS = """
    len range sorted reversed enumerate zip map filter sum min max abs any all int str list tuple dict set bool
    ord chr divmod round isinstance type bin hex repr pow
"""
STATEMENTS = (
    ast.For, ast.While, ast.If, ast.Try, ast.Delete, ast.Break, ast.Continue, ast.AugAssign, ast.IfExp,
    ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.Lambda, ast.JoinedStr, ast.Starred,
    ast.Raise, ast.Assert, ast.Yield, ast.YieldFrom, ast.ClassDef, ast.Nonlocal, ast.Global, ast.Match, ast.Slice,
    ast.With, ast.NamedExpr, ast.AnnAssign, ast.Pass, ast.MatchClass, ast.MatchMapping, ast.MatchOr, ast.TryStar,
)  # fmt: skip
FORBIDDEN = {"hash", "id", "input", "eval", "exec", "open", "random", "time", "globals", "vars"}


@cache
def programs(count: int) -> tuple[Program, ...]:
    return tuple(program for _, program in itertools.islice(stream(0, namespace="test"), count))


def normalised(source: str) -> str:
    """The syntax tree with names by order of appearance and constants by type."""
    tree = ast.parse(source)
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    order: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in bound:
            node.id = order.setdefault(node.id, f"v{len(order)}")
        elif isinstance(node, ast.arg):
            node.arg = order.setdefault(node.arg, f"v{len(order)}")
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = order.setdefault(node.name, f"v{len(order)}")
        elif isinstance(node, ast.Constant):
            node.value = type(node.value).__name__
    return ast.dump(tree)


def test_programs_run_within_limits_and_mostly_return() -> None:
    limits = Limits(frames=2000)
    kinds: Counter[str] = Counter()
    frames, raised = [], set()
    for program in programs(2000):
        trace = record(program, limits=limits)
        kinds[trace.outcome.kind] += 1
        frames.append(len(trace.frames))
        if trace.outcome.kind == "exception":
            raised.add(str(trace.result).split("(")[0])
        elif trace.outcome.kind == "truncated":
            assert trace.outcome.reason == "frames", program.context
    assert 0.88 <= kinds["return"] / 2000 <= 0.98
    assert kinds["truncated"] <= 10  # loops without end, on purpose
    assert {"IndexError", "KeyError", "ValueError", "TypeError"} <= raised
    frames.sort()
    assert 7 <= frames[1000] <= 14
    assert 12 <= sum(frames) / 2000 <= 30
    assert frames[1980] < 200


def test_programs_have_the_asked_shape() -> None:
    sizes, lines, calls, unused = [], [], [], 0
    for program in programs(2000):
        tree = ast.parse(program.source)
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign)
        assert all(isinstance(node, kinds) for node in tree.body)
        assert program.call is not None
        call = ast.parse(program.call, mode="eval").body
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(argument)
        function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == call.func.id)
        read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        unused += any(a.arg not in read for a in function.args.args)
        sizes.append(len(program.source))
        lines.append(program.source.count("\n") + 1)
        calls.append(len(program.call))
    assert unused <= 80  # drills of copying hand some arguments to nothing
    assert max(sizes) <= 1300
    assert 110 <= sum(sizes) / 2000 <= 250
    assert 4 <= sum(lines) / 2000 <= 10
    assert 10 <= sum(calls) / 2000 <= 30


def test_programs_differ() -> None:
    assert len({normalised(program.source) for program in programs(2000)}) >= 1900


def test_programs_cover_the_language() -> None:
    methods: Counter[str] = Counter()
    builtins: Counter[str] = Counter()
    nodes: Counter[type] = Counter()
    for program in programs(20_000):
        for node in ast.walk(ast.parse(program.source)):
            nodes[type(node)] += 1
            if isinstance(node, ast.Attribute):
                methods[node.attr] += 1
            elif isinstance(node, ast.Name):
                builtins[node.id] += 1
    assert not [name for name in (STR + COLLECTIONS).split() if methods[name] < 3]
    assert not [name for name in BUILTINS.split() if builtins[name] < 10]
    assert not [kind for kind in STATEMENTS if nodes[kind] < 8]
    assert not FORBIDDEN & (set(methods) | {name for name in builtins if builtins[name] > 0 and name in FORBIDDEN})
    assert nodes[ast.Import] > 100 and nodes[ast.ImportFrom] > 100
    common = [name for name, _ in methods.most_common(12)]
    assert {"append", "join", "replace", "pop", "split", "count"} <= set(common)


def test_no_result_hangs_on_the_order_of_a_set() -> None:
    script = (
        "import itertools\nfrom opencwm.programs.write import stream\nfrom opencwm.trace.limits import Limits\n"
        "from opencwm.trace.recorder import record\n"
        "for _, program in itertools.islice(stream(5, namespace='order'), 1500):\n"
        "    trace = record(program, limits=Limits(frames=500))\n"
        "    print(program.source, program.call, trace.outcome, trace.result)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_program_is_a_function_of_its_place_alone() -> None:
    first = list(itertools.islice(stream(3, namespace="train"), 50))
    assert list(itertools.islice(stream(3, namespace="train", start=20), 30)) == first[20:]
    assert [index for index, _ in first] == list(range(50))
    assert first[7][1].origin == "train:3:7"
    again = write(random.Random("train:3:7"))
    assert (again.source, again.call) == (first[7][1].source, first[7][1].call)
    for other in (stream(4, namespace="train"), stream(3, namespace="held-out")):
        same = sum(a[1].source == b[1].source for a, b in zip(first, other, strict=False))
        assert same < 5


def test_difficulty_scales_and_keeps_easy_programs() -> None:
    def lines(difficulty: float) -> list[int]:
        return sorted(write(random.Random(f"d{i}"), difficulty=difficulty).source.count("\n") + 1 for i in range(300))

    easy, middle, hard = lines(0.0), lines(0.5), lines(1.0)
    assert easy[20] <= 2 and easy[150] <= 4 < middle[150] < hard[150]
    assert middle[10] <= 3
    for outside in (-0.1, 1.5):
        with pytest.raises(ValueError, match="from 0 to 1"):
            write(random.Random(0), difficulty=outside)


def test_conditions_are_not_constant() -> None:
    constant = re.compile(r"(if|while) (True|False|\d+|'[^']*'):")
    assert sum(bool(constant.search(program.source)) for program in programs(2000)) < 10


def test_the_stream_is_the_one_that_models_were_trained_on() -> None:
    """A change of the writer changes what a seed stands for: train the shipped model anew, then renew the digest."""
    digest = hashlib.sha256()
    for _, program in itertools.islice(stream(0, namespace="train"), 300):
        digest.update(f"{program.source}\0{program.call}\0".encode())
    assert digest.hexdigest()[:16] == "b4ea9bdb1d19e71e"
