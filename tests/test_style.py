"""Style, types and import directions: what `make lint` runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command):
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    run("-m", "ruff", "check", "--quiet", ".")


def test_formatting():
    run("-m", "ruff", "format", "--check", "--quiet", ".")


def test_types():
    run("-m", "mypy")


def test_imports_point_downward():
    run("-c", "from importlinter.cli import lint_imports_command as lint; lint()")


def test_no_file_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 600} == {}


@pytest.mark.parametrize("folder", ["src", "tests", "docs", "configs", "examples", "bench"])
def test_no_path_of_a_machine(folder):
    found = []
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".md", ".toml") and re.search(r"/(root|home)/\w", path.read_text(encoding="utf-8")):
            found.append(str(path))
    assert found == []
