"""The scripts of `runs/`: the whole recipe, end to end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_tiny_recipe_from_data_to_debugger_and_again(tmp_path: Path) -> None:
    for name in ("configs", "runs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("out"))
    environment = {
        **os.environ,
        "CWM": str(Path(sys.executable).with_name("cwm")),
        "SHARE": "5",
        "OMP_NUM_THREADS": "1",
    }
    command = ["sh", str(tmp_path / "runs" / "tiny.sh")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "runs" / "out" / "tiny-stages"
    assert (out / "weights" / "model.safetensors").exists() and (out / "curves.png").exists()
    assert "7 of 7" in done.stdout and done.stdout.count("held out: loss") == 3
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3600)
    assert again.returncode == 0 and again.stdout.count("resuming") == 3  # nothing is done twice


@pytest.mark.parametrize("script", sorted((ROOT / "runs").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell_and_say_how_to_use_them(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert f"sh runs/{script.name}" in script.read_text(encoding="utf-8")
