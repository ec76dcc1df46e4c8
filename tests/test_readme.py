"""The README's examples work: every block under a `<!-- runs -->` mark is run, and every link leads somewhere.

`<!-- runs with weights -->` marks blocks that need the shipped model; they are skipped where it is absent.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WEIGHTS = ROOT / "src/opencwm/weights/tiny/model.safetensors"
BLOCK = re.compile(r"<!-- (runs(?: with weights)?) -->\n```(bash|python)\n(.*?)```", re.DOTALL)


def cases():
    for mark, language, text in BLOCK.findall(README):
        skip = pytest.mark.skipif(mark != "runs" and not WEIGHTS.exists(), reason="there are no shipped weights")
        for code in [text] if language == "python" else text.splitlines():
            yield pytest.param(language, code, marks=skip, id=code.split("\n")[0].split("  ")[0])


def test_every_mark_belongs_to_a_block():
    assert README.count("<!-- runs") == len(BLOCK.findall(README)) >= 3


@pytest.mark.parametrize(("language", "code"), list(cases()))
def test_command(language, code):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    shell = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-W", "error", "-c"]
    done = subprocess.run(
        [*shell, code], cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_link(target):
    assert target.startswith("https://") or (ROOT / target).exists()
