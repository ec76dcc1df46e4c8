"""The scripts of `runs/`: the whole recipe, end to end."""

import json
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


@pytest.mark.slow
def test_links_of_the_shipped_model_go_on_from_small_files(tmp_path: Path) -> None:
    """At a size for a CPU: three links, each from the int8 weights of the one before; calibration and figures at last."""
    data = ROOT.parent / "shared" / "data"
    if not data.exists():
        pytest.skip("the data sets are absent")
    small = {
        "model.overrides": "{dim=32,layers=1,heads=2,kv_heads=1,head_dim=16,ffn_dim=32}",
        "run.steps": "3",
        "run.tokens_per_batch": "2048",
        "run.tokens_per_micro_batch": "1024",
        "run.eval_programs": "4",
        "run.threads": "1",
        "data.workers": "0",
        "data.buffer": "8",
        "parallel.compile": "false",
    }
    scripts = Path(sys.executable)
    environment = {
        **os.environ,
        "CWM": str(scripts.with_name("cwm")),
        "PYTHON": str(scripts),
        "OUT": str(tmp_path / "out"),
        "DATA": str(data),
        "PROGRAMS": "2",
        "TABLES": "frames",  # a model that knows nothing writes on for minutes
        "OMP_NUM_THREADS": "1",
        "MORE": " ".join(f"--set {key}={value}" for key, value in small.items()),
    }
    for link in ("first", "next", "last"):
        command = ["sh", str(ROOT / "runs" / "shipped.sh"), link]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    numbers = [line.split() for line in (tmp_path / "out" / "numbers.txt").read_text().splitlines()]
    assert [(one[0], one[1]) for one in numbers] == [("1", "3"), ("2", "3"), ("3", "3")]
    assert not (tmp_path / "out" / "weights-1").exists()  # of the folder only what is needed stays
    assert (tmp_path / "out" / "weights-3" / "calibration.json").exists()
    assert "next frame" in (tmp_path / "out" / "card" / "frames.txt").read_text()


@pytest.mark.slow
def test_rounds_of_two_runs_are_averaged_and_go_on(tmp_path: Path) -> None:
    small = [
        "model.overrides={dim=32,layers=1,heads=2,kv_heads=1,head_dim=16,ffn_dim=32}",
        "run.tokens_per_batch=1024",
        "run.tokens_per_micro_batch=512",
        "run.eval_programs=4",
        "data.workers=0",
        "data.buffer=8",
        "data.sources.programs.mix.shares={written=1.0,drills=0.0,functions=0.0,harvested=0.0}",
        "data.sources.programs.mix.audit=''",
        "data.sources.programs.mix.data=''",
    ]
    scripts = Path(sys.executable)
    cwm, config, start = str(scripts.with_name("cwm")), str(ROOT / "configs" / "mix-tiny.toml"), tmp_path / "start"
    given = [part for one in small for part in ("--set", one)]
    first = ["--set", f'run.folder="{start}"', "--set", "run.steps=2", "--set", f'export.folder="{tmp_path}/none"']
    subprocess.run([cwm, "train", config, *given, *first], check=True, timeout=300, capture_output=True)
    environment = {
        **os.environ,
        "CWM": cwm,
        "PYTHON": str(scripts),
        "ROUNDS": "2",
        "STEPS": "3",
        "MORE": " ".join(f"--set {one}" for one in small),
    }
    command = ["sh", str(ROOT / "runs" / "rounds.sh"), config, str(start), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("mean of 2 runs, 6,144 tokens together") == 2 and done.stdout.count("held out") == 4
    assert (tmp_path / "out" / "weights" / "model.safetensors").exists()
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [one["tokens"] for one in log if "loss" in one] == [6144, 12288]
    assert [one["step"] for one in log if "held_out_loss" in one] == [3, 6]
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert again.returncode == 0 and "mean of" not in again.stdout  # nothing is done twice


@pytest.mark.parametrize("script", sorted((ROOT / "runs").glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell_and_say_how_to_use_them(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert f"sh runs/{script.name}" in script.read_text(encoding="utf-8")
