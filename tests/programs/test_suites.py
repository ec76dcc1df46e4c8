"""Test suites run in the sandbox: what they record, and suites that hang, fork, write, need the network or end it all."""

from pathlib import Path

import pytest

from opencwm.programs import suites
from opencwm.programs.corpus import Recipe, plan, run_unit
from opencwm.programs.packages import HarvestError

pytestmark = pytest.mark.usefixtures("sandbox_works")
SHOP = "def tax(net):\n    if net > 3:\n        net += 1\n    return net\n"
GOOD = "from shop import tax\n\ndef test_tax():\n    assert tax(5) == 6\n    assert tax(1) == 1\n"
BAD = {
    "hangs": "import time\ndef test_bad():\n    time.sleep(1000)\n",
    "hangs without end": "def test_bad():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n",
    "forks": "import os, time\ndef test_bad():\n    for _ in range(5):\n        if os.fork() == 0:\n            time.sleep(1000)\n    assert False\n",
    "kills the interpreter": "import os\ndef test_bad():\n    os.kill(os.getpid(), 9)\n",
    "leaves": "import os\ndef test_bad():\n    os._exit(0)\n",
    "crashes": "import ctypes\ndef test_bad():\n    ctypes.string_at(0)\n",
    "needs the network": "import socket\ndef test_bad():\n    socket.create_connection(('192.0.2.1', 80), 3)\n",
    "writes files": "import pathlib\ndef test_bad():\n    pathlib.Path('left_behind').write_text('x')\n    pathlib.Path(__file__).with_name('shop.py').write_text('broken(')\n",
    "prints without end": "def test_bad(capfd):\n    with capfd.disabled():\n        while True: print('x' * 10000)\n",
}
QUICK = ("hangs", "kills the interpreter", "writes files")


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "shop-1.0"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_good.py").write_text(GOOD)
    return folder


def test_a_suite_gives_its_functions_runs(checkout):
    found = suites.run(checkout, "test_good.py")
    assert found.ended is None and found.package == "shop 1.0"
    assert [(episode.test, episode.function) for episode in found.episodes] == [("test_good.py::test_tax", "tax")] * 2
    assert [episode.trace.result for episode in found.episodes] == ["6", "1"]
    assert found.counts["suites: tests recorded"] == 1


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BAD])
def test_a_bad_test_keeps_what_was_finished_and_changes_nothing_here(checkout, name):
    (checkout / "test_bad.py").write_text(GOOD + BAD[name])
    before = sorted(path.name for path in checkout.iterdir())
    found = suites.run(checkout, "test_bad.py", seconds=15.0 if "hangs" in name else 30.0)
    assert [episode.function for episode in found.episodes][:2] == ["tax", "tax"]
    assert sorted(path.name for path in checkout.iterdir()) == before
    assert (checkout / "shop.py").read_text() == SHOP
    if name in ("hangs", "hangs without end"):
        assert found.ended == "seconds" and found.counts["test files cut off: seconds"] == 1


def test_a_file_that_cannot_be_collected_is_counted(checkout):
    (checkout / "test_bad.py").write_text("import no_such_module_at_all\n")
    found = suites.run(checkout, "test_bad.py")
    assert found.episodes == () and found.counts["test files left out: no test could be collected"] == 1


def test_suites_in_a_corpus(checkout):
    (checkout / "test_more.py").write_text(
        "import os\nfrom shop import tax\ndef test_a():\n    tax(2)\ndef test_b():\n    os._exit(1)\n"
    )
    recipe = Recipe(suites=(str(checkout),), keep=1)
    parts = [run_unit(recipe, unit) for unit in plan(recipe)]
    assert [[row["function"] for row in part.rows] for part in parts] == [["shop:tax"], ["shop:tax"]]
    assert parts[0].counts["runs left out: nothing new"] == 1
    assert parts[1].counts["test files cut off: the interpreter was ended"] == 1
    assert all(row["entry"] == "" and row["origin"].startswith("test_") for part in parts for row in part.rows)


def test_what_has_no_tests(tmp_path):
    with pytest.raises(HarvestError, match="no test files"):
        suites.test_files(tmp_path)
    with pytest.raises(HarvestError, match="no folder"):
        suites.test_files(tmp_path / "absent")


def test_a_real_package(tmp_path):
    import sortedcontainers

    folder = tmp_path / "sortedcontainers"
    folder.mkdir()
    for path in Path(sortedcontainers.__file__).parent.glob("*.py"):
        (folder / path.name).write_text(path.read_text())
    (tmp_path / "test_it.py").write_text(
        "from sortedcontainers import SortedList\ndef test():\n    s = SortedList([3, 1, 2])\n    s.add(0)\n    assert list(s) == [0, 1, 2, 3]\n    assert s.index(2) == 2\n"
    )
    found = suites.run(tmp_path, "test_it.py")
    names = {episode.function for episode in found.episodes}
    assert {"SortedList.add", "SortedList.index"} & names
    for episode in found.episodes:
        assert all(episode.trace.source_line(frame.line).strip() for frame in episode.trace.frames)
