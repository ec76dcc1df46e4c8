"""Whole recordings, kept as files. `OPENCWM_REGENERATE=1 pytest tests/trace/test_golden.py` writes them anew (3.11)."""

import os
from pathlib import Path

import pytest

from opencwm.programs.program import Program
from opencwm.trace.frames import read_jsonl
from opencwm.trace.recorder import PYTHON, record

pytestmark = pytest.mark.usefixtures("core")

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.py")), ids=lambda path: path.stem)
def test_recording(path: Path) -> None:
    if PYTHON != "3.11":
        pytest.skip("the golden files are of Python 3.11; later versions inline comprehensions (PEP 709)")
    trace = record(Program.read(str(path)))
    golden = path.with_suffix(".jsonl")
    if os.environ.get("OPENCWM_REGENERATE"):
        golden.write_text(trace.to_jsonl(), encoding="utf-8")
    (kept,) = read_jsonl(golden)
    assert trace.frames == kept.frames
    assert trace == kept
