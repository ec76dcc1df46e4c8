"""CRUXEval's layout and its two scores."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from opencwm.evals.crux import evaluate, load, same_text, same_value
from opencwm.trace.frames import Outcome
from opencwm.world.interpreter import InterpreterWorld
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import WorldError

CRUXEVAL = Path(__file__).parents[2].parent / "shared/data/cruxeval/cruxeval_dev.jsonl"


def test_load(data: Path) -> None:
    items = load(data)
    assert [item.id for item in items] == ["int", "str", "set", "line 4"]
    assert items[1].program.call == "f('ab')"
    assert items[1].program.context.endswith("def main():\n    return f('ab')\n")
    assert len(load(data, limit=2)) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", r"bad\.jsonl, line 2: not JSON"),
        ("[1]", r"line 2: an object with code, input and output is expected, not list"),
        ('{"code": "def f(x): return x", "input": "1"}', r"line 2: the field 'output' .* has code, input"),
        ('{"code": 3, "input": "1", "output": "1"}', r"line 2: the field 'code' .* is not a string"),
        ('{"code": "def f(x) return x", "input": "1", "output": "1"}', r"line 2: .*fix the syntax"),
        ('{"code": "def f(x): return x", "input": "1, 2", "output": "1"}', r"line 2: the call gives 2"),
        ('{"code": "def f(x): return x", "input": "(", "output": "1"}', r"line 2: the call .* is not a Python"),
        ('{"code": "def g(x): return x", "input": "1", "output": "1"}', r"line 2: the source has no function f"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"code": "def f(x): return x", "input": "1", "output": "1"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        load(path)


def test_files_without_programs(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n\n")
    with pytest.raises(ValueError, match=r"empty\.jsonl holds no programs"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError):
        load(path)


def test_the_interpreter_scores_all(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = evaluate(data, world=InterpreterWorld(), progress=lambda done, of: seen.append((done, of)))
    assert report["strict"].value == report["assert"].value == 1.0
    assert report["strict"].n == 4
    assert report["strict, int"].n == 2 and report["strict, set"].value == 1.0
    assert report["truncated"].value == report["malformed"].value == 0
    assert report["tokens per run"].n == 0
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert report.settings["data"] == "four.jsonl"


def test_equal_values_pass_the_assert_but_not_the_strict_score(data: Path, worlds: SimpleNamespace) -> None:
    report = evaluate(data, world=worlds.replaced({"int": "4.0", "str": '"abab"', "set": "{'b', 'a', 'c'}"}))
    assert report["assert"].value == 1.0
    assert report["strict"].value == 0.25
    assert report["tokens per run"].value == 7


def test_what_is_not_a_return_is_wrong(data: Path, worlds: SimpleNamespace) -> None:
    raised = evaluate(data, world=worlds.replaced({}, outcome=Outcome("exception")))
    assert raised["assert"].value == 0.0 and raised["predicted to raise"].value == 1.0
    cut = evaluate(data, world=worlds.replaced({}, outcome=Outcome("truncated", "malformed: no such line")))
    assert cut["strict"].value == 0.0 and cut["truncated"].value == cut["malformed"].value == 1.0
    long = evaluate(data, world=worlds.replaced({}, outcome=Outcome("truncated", "frames")))
    assert long["truncated"].value == 1.0 and long["malformed"].value == 0.0


def test_a_world_that_never_answers_is_an_error(data: Path, worlds: SimpleNamespace) -> None:
    with pytest.raises(WorldError, match="start it"):
        evaluate(data, world=worlds.gone())


@pytest.mark.parametrize(
    ("expected", "predicted", "strict", "asserted"),
    [
        ("1", "1", True, True),
        ("True", "1", False, True),
        ("'a'", '"a"', False, True),
        ('"a"', "'a'", True, True),
        ("{2, 1}", "{1, 2}", True, True),
        ("[{'b', 'a'}]", "[{'a', 'b'}]", True, True),
        ("set()", "set()", True, True),
        ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", False, True),
        ("[1]", "(1,)", False, False),
        ("'x'", "x", False, False),
        ("'x'", "'x", False, False),
        ("1", "f(3)", False, False),
        ("1", "[" * 5000, False, False),
        ("'abc'", "'a...+2'", False, False),
        ("'\\\\d'", "'\\d'", False, True),
        ("nan", "nan", True, False),
    ],
)
def test_scores(expected: str, predicted: str, strict: bool, asserted: bool) -> None:
    assert same_text(expected, predicted) is strict
    assert same_value(expected, predicted) is asserted


def test_long_outputs_are_compared_whole() -> None:
    text = repr(list(range(3000)))
    assert same_text(text, text)
    assert not same_text(text, text[:1000])


@pytest.mark.skipif(not CRUXEVAL.exists(), reason="CRUXEval's development half is not at hand")
def test_the_development_half_loads_and_the_interpreter_agrees() -> None:
    assert len(load(CRUXEVAL)) == 400
    report = evaluate(CRUXEVAL, limit=12, world=InterpreterWorld())
    assert report["strict"].value == report["assert"].value == 1.0
    json.dumps(report.to_json())


@pytest.mark.skipif(not (SHIPPED / "config.json").exists(), reason="the shipped weights are absent")
def test_a_run_of_too_many_tokens_is_cut_off(data: Path) -> None:
    world = LocalWorld.load()
    whole, cut = (evaluate(data, world=world, most_tokens=tokens) for tokens in (None, 10))
    assert whole["truncated"].value == 0 and cut["truncated"].value == 1
    assert cut["malformed"].value == 0  # a limit of ours, no fault of the run
    tokens = cut["tokens per run"].value
    assert tokens is not None and 10 <= tokens < (whole["tokens per run"].value or 0)
