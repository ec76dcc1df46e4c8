"""CRUXEval's input task: asked as the model is taught it, answered greedily, right if running it gives the output."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.codec import tasks
from opencwm.codec.tokenizer import FIRST_SIZE, SIZE, VOCABULARY, encode_value
from opencwm.evals import crux_input
from opencwm.evals.crux import CruxItem, load
from opencwm.evals.crux_input import answer, evaluate, prompt, returns
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.programs.program import Program
from opencwm.trace.recorder import record
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import WorldError


def item(code: str, given: str, output: str) -> CruxItem:
    return CruxItem(Program.parse(code, f"f({given})"), code, given, output, "one")


def test_the_question_is_the_one_that_the_model_is_taught() -> None:
    asked = item("import math\n\ndef f(first, second):\n    return first + second", "3, 'ab'[:0] or 4", "7")
    trace = record(asked.program)
    call = next(n for n, frame in enumerate(trace.frames) if frame.event == "call" and frame.locals)
    window = tasks.arguments(trace, call, asked.code + "\n")
    found = prompt(asked, trace.python, SIZE)
    assert found is not None
    ids, parameters = found
    assert window.ids[: len(ids)] == ids
    (_, first), (_, second) = parameters
    assert window.ids[len(ids) :] == [
        first, *encode_value("3"), second, *encode_value("4"), VOCABULARY.ids["<end>"]
    ]  # fmt: skip


def test_functions_that_cannot_be_asked_about() -> None:
    assert prompt(item("def f(*all):\n    return all", "1", "(1,)"), "3.11", SIZE) is None
    assert prompt(item("def f():\n    return 1", "", "1"), "3.11", SIZE) is None


def test_any_arguments_that_give_the_output_are_right() -> None:
    asked = item("def f(n, *, m):\n    return n % 2 + m", "3, m=0", "1")
    assert returns(asked, "f(5, m=0)") and returns(asked, "f(0, m=1)")
    assert not returns(asked, "f(4, m=0)")
    assert not returns(asked, "f('a', m=0)")  # raises
    assert not returns(asked, "f(4)")


def test_a_model_answers_with_literals_or_not_at_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"dim": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 48, "max_positions": 200}
    save_weights(tmp_path / "new", Transformer(preset("tiny", vocab_size=SIZE, **shape)), {})
    world = LocalWorld.load(tmp_path / "new")
    for one in load(data):
        call = answer(world, one)
        assert call is None or call.startswith("f(")
    given = {"int": "f(3)", "str": "f('b')", "set": None}
    monkeypatch.setattr(crux_input, "answer", lambda world, one: given.get(one.id, "f(3)"))
    report = evaluate(data, weights=tmp_path / "new")
    assert (report["right by running"].value, report["malformed"].value) == (0.5, 0.25)
    save_weights(tmp_path / "old", Transformer(preset("tiny", vocab_size=FIRST_SIZE, **shape)), {})
    with pytest.raises(WorldError, match="old was trained before there were questions about runs: train it again"):
        evaluate(data, weights=tmp_path / "old")


@pytest.mark.parametrize("option", [["--vote", "2"], ["--alone"]])
def test_options_of_the_output_task_are_refused(option: list[str]) -> None:
    done = CliRunner().invoke(app, ["eval", "crux", "--input", "--data", "programs.jsonl", *option])
    assert done.exit_code != 0 and "for outputs: leave out --input" in str(done.exception) + done.output
