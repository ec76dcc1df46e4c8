"""Functions written from examples: the check is right about right and wrong code, and a whole evaluation runs."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from opencwm.codec.tokenizer import FIRST_SIZE, SIZE, VOCABULARY, encode_value, line_tokens
from opencwm.codec.writing import Answer
from opencwm.evals import writing
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.world.protocol import WorldError

ASKED = list(islice(writing.held_out(0, "3.11"), 12))


def test_the_writer_s_own_functions_are_solved_and_others_are_not() -> None:
    own = [Answer(one.source) for one in ASKED]
    assert writing.check(ASKED, own) == [(True, True)] * len(ASKED)
    wrong = [Answer(f"{one.wish.signature}\n    return object()") for one in ASKED]
    broken = [Answer(one.source + ")") for one in ASKED]
    for answers in (wrong, broken, [None] * len(ASKED)):
        assert writing.check(ASKED, answers) == [(False, False)] * len(ASKED)


def test_hidden_examples_catch_code_that_only_knows_the_shown_ones() -> None:
    one = next(
        each for each in ASKED
        if all(call.startswith("f(") and "=" not in call for call, _ in each.wish.examples)
        and not {value for _, value in each.hidden} <= {value for _, value in each.wish.examples}
    )  # fmt: skip
    cases = "".join(f"    if given == ({call[2:-1]},):\n        return {value}\n" for call, value in one.wish.examples)
    assert writing.check([one], [Answer(f"def f(*given):\n{cases}")]) == [(True, False)]


def test_a_whole_evaluation(tmp_path: Path) -> None:
    model = Transformer(preset("tiny", vocab_size=SIZE, layers=1))
    save_weights(tmp_path, model, {"codec": "compact", "context_tokens": 1024})
    report = writing.evaluate(weights=tmp_path, limit=2)
    assert report["solved, directly"].value == 0
    assert report["solved, trace first"].n == 2
    assert report["solved, of these"].n == 0


def test_a_rehearsal_counts_if_it_returns_what_is_wanted() -> None:
    ids = VOCABULARY.ids
    run = (ids["<call>"], *line_tokens(1), *line_tokens(2), ids["<return>"], *encode_value("[1, 'a']"))
    assert writing.returns(Answer("", run), "[1, 'a']")
    assert not writing.returns(Answer("", run), "[1]")
    assert not writing.returns(Answer("", run[:3]), "[1]")
    assert not writing.returns(Answer(""), "[1]")
    assert not writing.returns(None, "[1]")


def test_weights_without_the_question_are_refused(tmp_path: Path) -> None:
    model = Transformer(preset("tiny", vocab_size=FIRST_SIZE, layers=1))
    save_weights(tmp_path, model, {"codec": "compact"})
    with pytest.raises(WorldError, match="write"):
        writing.evaluate(weights=tmp_path, limit=1)
