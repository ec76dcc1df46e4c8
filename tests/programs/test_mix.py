"""The mix: a function of the index, made of all its sources and tasks, that leaves out what it should."""

from __future__ import annotations

import gzip
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from opencwm.codec.tokenizer import SIZE
from opencwm.config import ConfigError, load, resolved
from opencwm.programs.batch import Recorder
from opencwm.programs.mix import STRETCH, Mix, MixConfig, Shares, TaskShares
from opencwm.programs.real import effect, pool
from opencwm.programs.write.frequencies import count
from opencwm.sandbox import InfraError
from opencwm.train.workers import CHUNK

DATA = Path(__file__).parents[3] / "shared" / "data"
HARVESTED = MixConfig(shares=Shares(0.5, 0.2, 0, 0.3), packages=("bisect", "textwrap"))


def test_a_window_is_a_function_of_seed_and_index() -> None:
    mix = Mix(HARVESTED)
    first = [mix(index) for index in range(40)]
    again = pickle.loads(pickle.dumps(mix))
    assert [again(index) for index in reversed(range(40))] == first[::-1]
    other = Mix(MixConfig(seed=1))
    assert sum(other(index) == first[index] for index in range(40)) < 5
    held_out = Mix(HARVESTED, "held-out")
    assert sum(held_out(index) == first[index] for index in range(40)) < 5


def test_workers_take_whole_stretches() -> None:
    assert CHUNK % STRETCH == 0


def test_windows_fit_and_hold_something_to_learn() -> None:
    mix = Mix(MixConfig(sequence_length=300))
    names: Counter[str] = Counter()
    for index in range(1500):
        for window in mix(index):
            assert len(window.ids) == len(window.weights) <= 300
            assert sum(window.weights) > 0 and max(window.ids) < SIZE
            names[window.name] += 1
    tasks = {name.split("/")[1] for name in names}
    assert tasks == {
        "run", "mid-run", "step over", "step out", "run to", "continue", "output", "count", "before", "change",
        "arguments",
    }  # fmt: skip
    runs = sum(count for name, count in names.items() if name.endswith("/run"))
    assert 0.6 < runs / names.total() < 0.9
    assert 0.05 < sum(count for name, count in names.items() if name.startswith("drills")) / names.total() < 0.3


def test_difficulty_rises_to_the_ramp_and_easy_programs_stay() -> None:
    mix = Mix(MixConfig(difficulty=0.2, ramp=1000, shares=Shares(1, 0)))

    def lines(start: int) -> list[int]:
        made = (mix.make(index).program for index in range(start, start + 200))
        return sorted(program.source.count("\n") for program in made if program is not None)

    early, late = lines(0), lines(5000)
    assert sum(early) < sum(late) * 0.7
    assert late[20] <= 3


def test_an_index_without_a_window_says_why() -> None:
    made = [Mix(MixConfig(sequence_length=40)).make(index) for index in range(60)]
    assert any(each.rejected == "no window fits" for each in made)
    assert all(bool(each.windows) == (each.rejected == "") for each in made)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_share_that_raises_can_be_set(share: float) -> None:
    mix = Mix(MixConfig(raising=share, difficulty=1.0))
    traces = [trace for index in range(300) if (trace := mix.make(index).trace) is not None]
    raised = sum(trace.outcome.kind == "exception" for trace in traces)
    assert abs(raised / len(traces) - share) < 0.06
    assert mix(7) == Mix(mix.config)(7)


def test_method_frequencies_follow_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus.py").write_text(
        "def f(s):\n    return s.zfill(3).zfill(4), s.casefold(), len(s.zfill(9))\n" * 9
    )

    def calls(config: MixConfig) -> Counter[str]:
        mix = Mix(config)
        programs = (mix.choose(index).program for index in range(1500))
        return sum((count(program.source) for program in programs if program is not None), Counter())

    usual, followed = calls(MixConfig()), calls(MixConfig(methods=str(tmp_path)))
    assert followed["zfill"] > 4 * usual["zfill"] and followed["casefold"] > 2 * usual["casefold"]
    assert 0 < followed["replace"] < usual["replace"] / 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no calls"):
        Mix(MixConfig(methods=str(tmp_path / "empty"))).prepare()


def test_shares_are_checked() -> None:
    with pytest.raises(ValueError, match=r"mix\.shares\.functions needs mix\.data"):
        MixConfig(shares=Shares(functions=0.1))
    with pytest.raises(ValueError, match="at least one share"):
        Shares(0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        TaskShares(run=-1)


def test_a_mix_is_configured_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mix.toml"
    path.write_text("ramp = 5\npackages = ['bisect']\n[shares]\nharvested = 0.2\n[tasks]\nchange = 0.5\n")
    config = load(MixConfig, path)
    assert (config.ramp, config.shares.harvested, config.tasks.change) == (5, 0.2, 0.5)
    path.write_text(resolved(config))
    assert load(MixConfig, path) == config
    path.write_text("[shares]\nharvested = 0.2\n")
    with pytest.raises(ConfigError, match=r"mix\.packages"):
        load(MixConfig, path)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f(x):\n    return x + 1\n", None),
        ("import math\ndef f(x):\n    return math.sqrt(x)\n", None),
        ("import os\ndef f(x):\n    return os.remove(x)\n", "imports"),
        ("def f(x):\n    return open(x)\n", "open"),
        ("def f(x):\n    return x.__class__.__subclasses__()\n", "private"),
        ("def f(x):\n    return getattr(x, 'a')\n", "getattr"),
        ("def f(x):\n    import subprocess\n    return 1\n", "imports"),
        ("def f(x):\n    return x\nf(1)\n", "more than define"),
        ("def f(x:\n", "parse"),
    ],
)
def test_functions_with_an_effect_are_left_out(source: str, problem: str | None) -> None:
    found = effect(source)
    assert found is None if problem is None else found is not None and problem in found


def test_harvested_functions_run_with_arguments_by_type() -> None:
    mix = Mix(MixConfig(shares=Shares(0, 0, 0, 1), packages=("bisect", "textwrap", "colorsys")))
    made = [mix.make(index) for index in range(60)]
    assert sum(bool(each.windows) for each in made) > 30
    origins = {each.program.origin.rpartition(":")[0] for each in made if each.program is not None}
    assert len(origins) > 8
    held_out = Mix(mix.config, "held-out")
    others = {p.origin.rpartition(":")[0] for i in range(40) if (p := held_out.make(i).program) is not None}
    assert not origins & others


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the data sets in ../shared/data: see their README")
def test_functions_of_the_data_run_with_fuzzed_inputs() -> None:
    functions = pool(str(DATA), ()).functions["functions"]
    assert len(functions) > 2000
    assert all(10 <= function.runs <= 200 for function in functions)
    kinds = {function.origin.split()[0] for function in functions}
    assert kinds == {"mbpp", "leetcode", "codeio"}
    function = next(f for f in functions if f.origin.startswith("mbpp"))
    calls = [function.call(run) for run in range(20)]
    assert len(set(calls)) > 8 and calls == [function.call(run) for run in range(20)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data: functions with tests, one of them with a generator of arguments, and what they do is watched."""
    (tmp_path / "mbpp").mkdir()
    rows = [
        {
            "task_id": number,
            "code": f"def scale{number}(xs, k):\n    out = []\n    for x in xs:\n        out.append(x * k + {number})\n    return out\n",
            "test_list": [f"assert scale{number}([1, 2, 3], {number}) == []", f"assert scale{number}([], 2) == []"],
        }
        for number in range(40)
    ]
    (tmp_path / "mbpp" / "mbpp_train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "codeio").mkdir()
    rows = [
        {
            "code_sample": f"def shift{number}(n, name):\n    n += {number}\n    return [n, name.upper()]\n",
            "input_generator": "def generate_inputs(rng):\n    return {'n': rng.randint(0, 99), 'name': rng.choice(['ab', 'cd'])}\n",
        }
        for number in range(40)
    ]
    with gzip.open(tmp_path / "codeio" / "codeio.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    return tmp_path


def real_functions(data: Path, **settings: bool) -> MixConfig:
    return MixConfig(shares=Shares(0.3, 0, 0.7, 0), tasks=TaskShares(change=0.3), data=str(data), **settings)


@pytest.mark.usefixtures("sandbox_works")
def test_functions_of_data_give_the_same_windows_in_the_sandbox_as_in_this_process(data: Path) -> None:
    boxed, trusted = Mix(real_functions(data)), Mix(real_functions(data, trust=True))
    made = [boxed.make(index) for index in range(64)]
    assert [each.windows for each in made] == [trusted(index) for index in range(64)]
    assert {each.program.origin.split()[0] for each in made if each.program is not None} >= {"mbpp", "codeio"}
    assert any(window.name == "functions/change" for each in made for window in each.windows)
    again = Mix(real_functions(data))
    assert [again(index) for index in reversed(range(37, 64))] == [each.windows for each in reversed(made[37:])]


@pytest.mark.usefixtures("sandbox_works")
def test_functions_of_data_can_do_no_harm(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the filter by syntax lets them through: one ends its process, one writes, one hangs in C."""
    target = data / "escaped"
    bodies = {
        "leaves": "os._exit(3)",
        "writes": f"open({str(target)!r}, 'w')",
        "hangs": "sum(iter(int, 1))",
        "works": "x + 1",
    }
    rows = [
        {
            "task_id": name,
            "code": f"import os\ndef {name}(x):\n    y = {body}\n    return y\n",
            "test_list": [f"assert {name}({number}) == 0" for number in range(9)],
        }
        for name, body in bodies.items()
    ]
    (data / "mbpp" / "mbpp_train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr("opencwm.programs.real.effect", lambda source: None)
    monkeypatch.setattr("opencwm.programs.real.RealFunction.held_out", False)
    monkeypatch.setattr("opencwm.programs.mix._SECONDS", 0.3)
    pool.cache_clear()
    try:
        made = [Mix(real_functions(data)).make(index) for index in range(48)]
    finally:
        pool.cache_clear()
    by_name: dict[str, set[str]] = {}
    for each in made:
        if each.source == "functions" and each.program is not None and each.program.call is not None:
            by_name.setdefault(each.program.call.partition("(")[0], set()).add(each.rejected)
    assert by_name["leaves"] == {"not recorded: exit"} and by_name["hangs"] == {"too slow"}
    assert by_name["works"] <= {"", "no window fits"} and "" in by_name["works"]
    assert by_name["writes"] and not target.exists()


def test_without_a_sandbox_functions_of_data_are_refused_and_others_are_not(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*arguments: object, **named: object) -> None:
        raise InfraError("bwrap is not there: apt install bubblewrap")

    monkeypatch.setattr("opencwm.programs.batch.open_sandbox", none_here)
    monkeypatch.setattr("opencwm.programs.foreign.recorder", Recorder)
    mix = Mix(real_functions(data))
    with pytest.raises(InfraError, match=r"apt install bubblewrap.*mix\.trust = true"):
        mix.check()
    with pytest.raises(InfraError, match="bubblewrap"):
        [mix(index) for index in range(8)]
    Mix(HARVESTED).prepare()
    trusted = Mix(real_functions(data, trust=True))
    trusted.check()
    assert any(trusted(index) for index in range(8))


@pytest.mark.slow
def test_twenty_thousand_programs_are_made_without_a_crash() -> None:
    mix = Mix(MixConfig())
    made = [mix.make(index).rejected for index in range(20_000)]
    rejected = Counter(reason.partition(":")[0] for reason in made if reason)
    assert rejected.total() < 0.02 * 20_000, rejected
