"""The real server process, driven by Microsoft's own client library for testing debug adapters, from npm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGE = "@vscode/debugadapter-testsupport"
STEPS = [
    "initialize",
    "a breakpoint is hit",
    "a conditional breakpoint, backwards and the end",
    "a program that is not there",
    "run to the end",
]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node_modules folder with the client library: of $CWM_NODE_MODULES, or installed for this test."""
    if not shutil.which("node"):
        pytest.skip("needs Node.js (Debian: apt-get install nodejs npm)")
    given = os.environ.get("CWM_NODE_MODULES")
    folder = Path(given) if given else tmp_path_factory.mktemp("node") / "node_modules"
    if not (folder / PACKAGE).is_dir() and shutil.which("npm"):
        subprocess.run(
            ["npm", "install", "--silent", "--prefix", str(folder.parent), PACKAGE], capture_output=True, timeout=300
        )
    if not (folder / PACKAGE).is_dir():
        pytest.skip(f"needs {PACKAGE}: npm install it and set CWM_NODE_MODULES to the node_modules folder")
    return folder


def converse(modules: Path, file: Path, server: Path, port: str = "0", token: str = "") -> list[str]:
    done = subprocess.run(
        ["node", str(HERE / "conversation.js"), sys.executable, str(server), str(file), port, token],
        env={**os.environ, "NODE_PATH": str(modules)}, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_over_standard_input_and_output(modules: Path, file: Path, tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text("import sys\nsys.argv = ['cwm', 'debug', '--dap']\nfrom opencwm.cli import main\nmain()\n")
    assert converse(modules, file, server) == STEPS


@pytest.mark.slow
def test_over_a_socket_for_several_clients(modules: Path, file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "opencwm.cli", "debug", "--dap", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            port = said.split(":")[1].split(";")[0]
            token = said.split('"')[3]
            assert converse(modules, file, tmp_path / "unused", port, token) == STEPS
            taken = subprocess.run([*command[:-1], port], capture_output=True, text=True, timeout=60)
            assert taken.returncode == 2 and f"cannot listen on port {port}" in taken.stderr
        finally:
            process.terminate()
