"""The leakage audit finds copies, renamed and embedded ones too, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opencwm.programs.leakage import Audit, EvalSet, ngrams, tokens, trees
from opencwm.programs.mix import Mix, MixConfig

ITEM = """def f(text, n):
    out = []
    for i, c in enumerate(text):
        if c.isalpha() and i % n == 0:
            out.append(c.upper() * n)
        else:
            out.insert(0, c)
    return '-'.join(out)
"""
OTHER = (
    "def g(a):\n    total = 0\n    while a > 3:\n        a -= len(str(a))\n        total += a\n    return total, a\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cruxeval").mkdir()
    row = {"code": ITEM, "input": "'ab', 2", "output": "'A'", "id": "1"}
    (tmp_path / "cruxeval" / "dev.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "gsm8k").mkdir()
    question = "How many of the seven blue boxes that Anna bought on Monday are left when she gives three to Bob?"
    (tmp_path / "gsm8k" / "gsm8k_eval_dev.jsonl").write_text(json.dumps({"question": question, "answer": "4"}) + "\n")
    return tmp_path


def test_copies_are_found_whatever_their_names_and_constants(folder: Path) -> None:
    audit = Audit.from_folder(folder)
    assert audit.match(ITEM) == ("CRUXEval", "tree")
    renamed = ITEM.replace("text", "word").replace("out", "acc").replace("def f", "def solve").replace("'-'", "'+'")
    assert audit.match(renamed) == ("CRUXEval", "tree")
    assert audit.match(f"import math\n\n{renamed}\n\n{OTHER}") == ("CRUXEval", "tree")
    assert audit.match(OTHER) is None


def test_a_run_of_tokens_is_found_in_other_surroundings(folder: Path) -> None:
    audit = Audit.from_folder(folder)
    piece = (
        "def g(text, n, out):\n  for i, c in enumerate(text):\n    if c.isalpha() and i % n == 0: return i # found\n"
    )
    assert audit.match(piece) == ("CRUXEval", "n-gram")
    quote = 'def h():\n    return 1  # no comment counts\n\nQ = "x"\n'
    assert audit.match(quote) is None
    text = "def s():\n    return How(many, of) if the.seven else 0\n"
    assert audit.match(text) is None


def test_tokens_and_ngrams() -> None:
    assert tokens("x = 'a b' # c\ny**=2") == ["x", "=", "a b", "y", "*", "*=", "2"] or tokens("y **= 2")[0] == "y"
    assert ngrams("a b c") == set()
    assert len(ngrams(" ".join("abcdefghijklmn"))) == 3
    assert trees("x = ") == set()
    assert trees("def f(a):\n    return len(a)\n") != trees("def f(a):\n    return str(a)\n")


def test_a_folder_without_evaluation_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no evaluation set below .*cruxeval"):
        Audit.from_folder(tmp_path)


def test_the_mix_drops_what_matches(tmp_path: Path) -> None:
    plain = Mix(MixConfig())
    victim = plain.make(3).program
    assert victim is not None
    (tmp_path / "humaneval").mkdir()
    row = {"prompt": victim.source, "canonical_solution": ""}
    (tmp_path / "humaneval" / "all.jsonl").write_text(json.dumps(row) + "\n")
    audited = Mix(MixConfig(audit=str(tmp_path)))
    assert audited.make(3).rejected.startswith("leak: HumanEval by")
    assert audited(3) == [] and plain(3) != []
    assert sum(bool(audited(index)) for index in range(30)) > 20


def test_an_evaluation_set_counts_its_items() -> None:
    found = EvalSet("one")
    found.add(ITEM, True)
    found.add("only text " * 12, False)
    assert found.items == 2 and len(found.trees) == 1 and len(found.ngrams) > 30
