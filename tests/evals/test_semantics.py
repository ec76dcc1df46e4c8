"""Accuracy by feature: each frame counts for the line that led to it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from opencwm.evals.semantics import evaluate
from opencwm.programs.mix import MixConfig, Shares
from opencwm.world.interpreter import InterpreterWorld

SOURCE = "def f(s):\n    t = s.upper()\n    n = len(t)\n    return t * n\n"


def rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"code": SOURCE, "input": "'ab'", "output": "'ABAB'", "id": "1"}) + "\n")
    return path


def test_a_wrong_frame_counts_for_what_its_line_holds(tmp_path: Path, worlds: SimpleNamespace) -> None:
    path = rows(tmp_path)
    right = evaluate(path, world=InterpreterWorld())
    assert right["all frames"].value == 1.0 and right["method str.upper"].n == 1
    # frames: call main, line, call f, line 2, line 3 (after upper), line 4 (after len), return f, return main
    wrong = evaluate(path, world=worlds.corrupted(4))
    assert wrong["method str.upper"].value == 0.0
    assert wrong["builtin len"].value == 1.0 and wrong["operator Mult"].value == 1.0
    wrong = evaluate(path, world=worlds.corrupted(6))
    assert wrong["operator Mult"].value == 0.0 and wrong["method str.upper"].value == 1.0


def test_what_the_sample_lacks_is_listed_as_not_measured(tmp_path: Path) -> None:
    report = evaluate(rows(tmp_path), world=InterpreterWorld())
    assert report["statement While"].n == 0 and report["statement While"].value is None
    table = report.table()
    assert "method, not in the sample:" in table and "100.0%" in table
    assert report.programs["builtin len"] == report.sample == 1


def test_without_a_file_the_held_out_mix_is_asked() -> None:
    report = evaluate(limit=5, config=MixConfig(shares=Shares(1, 0)), world=InterpreterWorld())
    assert report.sample == 5 and report["all frames"].value == 1.0 and report["all frames"].n > 25
    assert report.settings["data"] == "mix, held out"
