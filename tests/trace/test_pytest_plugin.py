"""The pytest plugin, on small projects of its own: what it records, what it copes with, and that it changes nothing."""

import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from textwrap import dedent

import pytest

from opencwm.programs.bundle import bundle
from opencwm.trace.store import unpack

SRC = Path(__file__).parents[2] / "src"
SHOP = """
import functools
LIMIT = 3
UNUSED = 4

def traced(f):
    @functools.wraps(f)
    def inner(*args):
        return f(*args)
    return inner

class Cart:
    \"\"\"A cart.\"\"\"

    def __init__(self, prices):
        self.prices = list(prices)

    def unused(self):
        return None

    def total(self):
        \"\"\"The total.\"\"\"
        net = sum(self.prices)
        return tax(net)

def tax(net):
    if net > LIMIT:
        net += 1
    return net

@traced
def decorated(x):
    y = x + 1
    return y
"""
TESTS = """
import pytest
from shop import Cart, tax, decorated

@pytest.fixture
def cart():
    return Cart([1, 2, 3])

def test_total(cart):
    assert cart.total() == 7

@pytest.mark.parametrize("net", [1, 5])
def test_tax(net):
    assert tax(net) >= net

def test_decorated():
    assert decorated(1) == 2

def test_raises(cart):
    cart.prices = None
    with pytest.raises(TypeError):
        cart.total()

@pytest.mark.skip
def test_skipped():
    pass

def test_fails():
    assert tax(1) == 2
"""


def make(folder):
    (folder / "shop.py").write_text(dedent(SHOP))
    (folder / "test_shop.py").write_text(dedent(TESTS))
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


@pytest.fixture
def project(tmp_path):
    return make(tmp_path)


def run(project, *arguments, python=sys.executable, plugin="opencwm.trace.pytest_plugin", path=SRC):
    environment = {**os.environ, "PYTHONPATH": f"{project}:{path}"}
    command = [python, "-m", "pytest", "-p", plugin, "-p", "no:cacheprovider", "-q", *map(str, arguments)]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


def episodes(folder):
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            record["trace"] = unpack(json.dumps(record["trace"]).encode())
            found.append(record)
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    project = make(tmp_path_factory.mktemp("test_project"))  # a name that must not be taken for a test's
    done = run(project, "--cwm-traces", "out", "--cwm-step-in", "1")
    assert "1 failed, 5 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    return done, episodes(project / "out")


def test_each_test_gives_episodes_of_the_code_under_test(recorded):
    done, found = recorded
    names = [(each["test"].partition("::")[2], each["function"]) for each in found]
    assert ("test_total", "Cart.__init__") in names  # called by a fixture
    assert ("test_total", "Cart.total") in names
    assert ("test_tax[1]", "tax") in names and ("test_tax[5]", "tax") in names
    assert not any(function.startswith("test_") for _, function in names)
    assert f"{len(found)} episodes of 7 tests" in done.stdout


def test_the_context_is_what_the_run_touched_and_lines_fit(recorded):
    _, found = recorded
    trace = next(each["trace"] for each in found if each["function"] == "Cart.total")
    assert [line for line in trace.context.splitlines() if line] == [
        "LIMIT = 3",
        "class Cart:",
        "    def total(self):",
        "        net = sum(self.prices)",
        "        return tax(net)",
        "def tax(net):",
        "    if net > LIMIT:",
        "        net += 1",
        "    return net",
    ]
    at = [trace.source_line(frame.line).strip() for frame in trace.frames]
    assert at[:3] == ["def total(self):", "net = sum(self.prices)", "return tax(net)"]
    assert "def tax(net):" in at and trace.result == "7"


def test_an_exception_is_an_episode_too(recorded):
    _, found = recorded
    trace = next(
        each["trace"] for each in found if each["test"].endswith("test_raises") and each["function"] == "Cart.total"
    )
    assert trace.outcome.kind == "exception" and trace.result.startswith("TypeError")


def test_the_same_under_xdist(project, recorded):
    _, alone = recorded
    done = run(project, "--cwm-traces", "many", "--cwm-step-in", "1", "-n", "2")
    assert "1 failed, 5 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert (project / "many" / "gw0.summary.json").is_file() and (project / "many" / "gw1.summary.json").is_file()
    key = lambda each: (each["test"], each["function"], each["trace"].frames[0].locals.get("net", ""))  # noqa: E731
    assert sorted(map(repr, map(key, episodes(project / "many")))) == sorted(map(repr, map(key, alone)))


def test_a_selection(project):
    run(project, "--cwm-traces", "out", "--cwm-select", "function == 'tax'")
    assert {each["function"] for each in episodes(project / "out")} == {"tax"}
    done = run(project, "--cwm-traces", "out", "--cwm-select", "function = 'tax'")
    assert done.returncode == 4 and "--cwm-select" in done.stderr


def test_without_the_option_nothing_happens(project):
    done = run(project)
    assert "1 failed, 5 passed" in done.stdout and "episodes" not in done.stdout
    assert not (project / "out").exists()


def test_another_tracer_is_left_intact_and_named(project):
    (project / "conftest.py").write_text(
        "import sys\nimport pytest\ncalls = []\ndef tracer(frame, event, arg):\n    calls.append(event)\n"
        "@pytest.fixture(autouse=True, scope='session')\ndef trace():\n    yield\n"
        "def pytest_sessionstart():\n    sys.settrace(tracer)\n"
        "def pytest_sessionfinish():\n    assert sys.gettrace() is tracer\n    sys.settrace(None)\n    open('calls', 'w').write(str(len(calls)))\n"
    )
    done = run(project, "--cwm-traces", "out")
    assert "1 failed, 5 passed" in done.stdout, done.stdout + done.stderr
    assert int((project / "calls").read_text()) > 10
    assert "tests not recorded" in done.stdout and "tracing this thread" in done.stdout
    assert episodes(project / "out") == []


@pytest.mark.skipif(
    importlib.util.find_spec("coverage") is None, reason="coverage is not installed: pip install coverage"
)
def test_under_coverage(project):
    command = [
        sys.executable,
        "-m",
        "coverage",
        "run",
        "--source=.",
        "-m",
        "pytest",
        "-p",
        "opencwm.trace.pytest_plugin",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{SRC}", "COVERAGE_CORE": "ctrace"}
    done = subprocess.run(
        [*command, "-q", "--cwm-traces", "out"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert "coverage.py is tracing" in done.stdout, done.stdout
    report = subprocess.run(
        [sys.executable, "-m", "coverage", "report"], cwd=project, capture_output=True, text=True
    ).stdout
    assert "shop.py" in report and "0%" not in report.split("shop.py")[1].split("\n")[0].replace("100%", "")


def test_a_suite_that_is_killed_keeps_what_was_finished(project):
    (project / "test_zz.py").write_text("import os\ndef test_ends():\n    os._exit(1)\n")
    run(project, "--cwm-traces", "out")
    assert {each["test"] for each in episodes(project / "out")} >= {"test_shop.py::test_total"}


def test_one_file_for_an_environment_that_is_not_ours(project):
    (project / "cwm_traces.py").write_text(bundle())
    done = run(project, "--cwm-traces", "out", "--cwm-step-in", "1", plugin="cwm_traces", path="")
    assert "1 failed, 5 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert len(episodes(project / "out")) >= 7


@pytest.mark.slow
def test_the_one_file_in_a_fresh_environment(project, tmp_path):
    """pytest alone is installed there, not OpenCWM; needs a package index."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    done = subprocess.run([python, "-m", "pip", "install", "-q", "pytest"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    assert subprocess.run([python, "-c", "import opencwm"], capture_output=True).returncode
    (project / "cwm_traces.py").write_text(bundle())
    done = run(project, "--cwm-traces", "out", "--cwm-step-in", "1", python=python, plugin="cwm_traces", path="")
    assert "1 failed, 5 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert len(episodes(project / "out")) >= 7
