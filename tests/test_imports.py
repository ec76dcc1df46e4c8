"""`import opencwm` is fast, loads no torch, and offers exactly the public names listed here."""

import subprocess
import sys

import pytest

import opencwm

PUBLIC = {
    "Comparison",
    "Frame",
    "InterpreterWorld",
    "Limits",
    "LocalWorld",
    "Outcome",
    "Prediction",
    "Program",
    "ProgramError",
    "Recording",
    "Step",
    "Trace",
    "World",
    "WorldError",
    "__version__",
    "collect",
    "compare",
    "read_jsonl",
    "record",
    "record_isolated",
}
HEAVY = ("torch", "numpy", "pyarrow", "rich", "typer", "httpx", "safetensors")


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_public_names():
    assert set(opencwm.__all__) == PUBLIC
    assert set(dir(opencwm)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_public_name_loads(name):
    assert getattr(opencwm, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        opencwm.nothing  # noqa: B018


def test_import_is_fast():
    # Processor time, not wall time: other work on the machine is not the import's fault.
    code = "import time; start = time.process_time(); import opencwm; print(time.process_time() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.2


@pytest.mark.parametrize("module", ["opencwm", "opencwm.trace.recorder", "opencwm.programs.program"])
def test_import_loads_nothing_heavy(module):
    loaded = python(f"import {module}, sys; print(*sys.modules)").split()
    assert [name for name in HEAVY if name in loaded] == []


def test_the_command_line_loads_no_torch():
    assert "torch" not in python("import opencwm.cli.app, sys; print(*sys.modules)").split()
