"""Both cores give equal traces under every interpreter that is supported, each with a C core built for it. Slow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIFFERENTIAL = Path(__file__).with_name("differential.py")
MODULES = [
    *["textwrap", "heapq", "bisect", "json", "string", "fractions", "shlex", "configparser", "difflib", "html", "csv"],
    *["contextlib", "graphlib", "ast"],
]


def find(version: str) -> str:
    """An interpreter of a version that runs. Skips, saying how to get one, where there is none."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(name) or "", *map(str, sorted(pyenv.glob(f"{version}.*/bin/{name}")))]
    if sys.version.startswith(version):
        candidates.insert(0, sys.executable)
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    pytest.skip(f"no {name} here: install it, for instance with pyenv install {version}")


def build(python: str, folder: Path) -> dict[str, str]:
    """The package below `folder` with its C core for an interpreter; the environment to run it in."""
    package = folder / "opencwm"
    for part in ("trace", "programs"):
        shutil.copytree(
            ROOT / "src" / "opencwm" / part, package / part, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    shutil.copy(ROOT / "src" / "opencwm" / "__init__.py", package)
    ask = "import sysconfig as s; print(s.get_paths()['include'], s.get_config_var('EXT_SUFFIX'))"
    include, suffix = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not Path(include, "Python.h").exists():
        pytest.skip(f"no C compiler or no headers of {python}: install gcc and the interpreter's -dev package")
    source, target = package / "trace" / "_core.c", package / "trace" / f"_core{suffix}"
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]
    command = [compiler, "-O2", *strict, "-Wno-cast-function-type", "-fPIC", "-shared", f"-I{include}"]
    done = subprocess.run([*command, str(source), "-o", str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("what", [["--programs", "20000"], ["--modules", *MODULES]], ids=["programs", "modules"])
def test_both_cores_agree(version: str, what: list[str], tmp_path: Path) -> None:
    python = find(version)
    environment = build(python, tmp_path)
    done = subprocess.run(
        [python, str(DIFFERENTIAL), *what], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["python"].startswith(version)
    assert all(result["frames"] for result in report["results"])
    assert [result for result in report["results"] if result["different"]] == []
    assert done.returncode == 0
