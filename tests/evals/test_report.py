"""Intervals against known values, and the two forms of a report."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.evals.report import Report, describe, mean, ratio, wilson
from opencwm.world.interpreter import InterpreterWorld


def test_wilson_against_known_values() -> None:
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(400, 400)[1] == 1.0
    assert wilson(0, 0) == (None, None)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(counts: tuple[int, int]) -> None:
    right, n = counts
    low, high = wilson(right, n)
    assert low is not None and high is not None
    assert 0 <= low <= right / n + 1e-9 and right / n - 1e-9 <= high <= 1


def test_a_ratio_over_programs_is_wider_than_over_frames() -> None:
    share, low, high = ratio([(10, 10)] * 10 + [(0, 10)] * 10)
    assert share == 0.5 and low is not None and high is not None
    wilson_low, _ = wilson(100, 200)
    assert wilson_low is not None and low < wilson_low
    assert ratio([(10, 10)] * 3) == (1.0, wilson(30, 30)[0], 1.0)
    assert ratio([(3, 4)]) == (0.75, None, None)
    assert ratio([]) == ratio([(0, 0)]) == (None, None, None)


def test_mean() -> None:
    assert mean([1.0, 2.0, 3.0]) == (2.0, pytest.approx(0.868, abs=1e-3), pytest.approx(3.132, abs=1e-3))
    assert mean([2.0]) == (2.0, None, None)
    assert mean([]) == (None, None, None)


def test_both_forms() -> None:
    report = Report("crux", describe(InterpreterWorld(), "some/where/tiny", data="four.jsonl", limit=None))
    report.share("strict", 1, 4)
    report.mean("frames per run", [1, 2, 3], "frames")
    report.median("nothing", [], "s")
    record = json.loads(json.dumps(report.to_json()))
    assert record["settings"]["weights"] == "tiny" and "limit" not in record["settings"]
    assert record["figures"][0]["value"] == 0.25 and record["figures"][0]["n"] == 4
    table = report.table()
    assert "25.0 %" in table and "2 frames" in table and "none" in table
    assert "some/where" not in table + json.dumps(record)
    assert report["strict"].value == 0.25
    with pytest.raises(KeyError, match="it has: strict, frames per run, nothing"):
        report["loose"]
