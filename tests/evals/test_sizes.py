from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.codec import compact, cwm
from opencwm.evals.crux import load
from opencwm.evals.sizes import Distribution, measure
from opencwm.programs.program import Program
from opencwm.trace.isolate import record_isolated

DATA = Path(__file__).parents[2].parent / "shared/data/cruxeval/cruxeval_dev.jsonl"
SOURCE = "def f(n):\n    t = 0\n    for i in range(n):\n        t += i\n    return t\n"


def test_counts_are_those_of_the_codecs():
    program = Program.parse(SOURCE, "f(3)")
    trace = record_isolated(program)
    rows = {row.name: row.max for row in measure([program]).rows}
    assert rows["frames"] == len(trace.frames)
    assert rows["cwm, characters"] == len(cwm.to_text(trace))
    assert rows["compact, tokens"] == len(compact.encode(trace).ids)
    assert "cwm, tokens" not in rows


def test_the_table_is_markdown_with_a_row_per_size():
    report = measure([Program.parse(SOURCE, f"f({n})") for n in range(3)])
    title, blank, *lines = report.table().splitlines()
    assert (title, blank) == ("3 runs", "")
    assert len({len(line) for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == [row.name for row in report.rows]


def test_a_run_that_was_cut_off_is_counted_and_named():
    endless = Program.parse("def f():\n    while True:\n        pass\n", "f()")
    report = measure([endless])
    assert report.cut_off == 1 and "1 of them cut off by a limit" in report.table()


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="no programs"):
        measure([])


@given(st.lists(st.integers(1, 5000), min_size=1))
def test_percentiles_are_ordered_counts(counts):
    row = Distribution.of("x", counts)
    assert row.p50 <= row.p95 <= row.p99 <= row.max == max(counts)
    assert {row.p50, row.p95, row.p99} <= set(counts)
    assert sum(count <= row.p50 for count in counts) >= len(counts) / 2
    assert list(row.fits.values()) == sorted(row.fits.values())


@pytest.mark.skipif(not DATA.exists(), reason="shared/data is not beside the checkout")
def test_compact_is_shorter_on_real_programs():
    report = measure([item.program for item in load(DATA, limit=20)])
    rows = {row.name: row for row in report.rows}
    assert rows["compact, tokens"].mean < rows["cwm, characters"].mean / 4
