"""Why a test fails: the recorded calls against a revision where it passes, and against what a model expects."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.debug.why import WhyError, against_model, against_revision, run_test
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Run, Runnable

CART = """def price(item, count):
    return item * count

def total(items):
    result = 0
    for item, count in items:
        result += price(item, count)
    return result
"""
TESTS = """from shop.cart import price, total

def test_total():
    found = price(1, 1), total([(10, 2), (5, 4)])
    assert found == (1, 40)

def test_nothing():
    assert 1 + 1 == 3
"""
TEST = "tests/test_cart.py::test_total"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose last commit passes, and whose working copy does not."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    (tmp_path / "shop").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "cart.py").write_text(CART)
    (tmp_path / "tests" / "test_cart.py").write_text(TESTS)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "shop" / "cart.py").write_text(CART.replace("item * count", "item + count"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_against_the_revision_where_it_passes(shop: Path) -> None:
    old, new, changed = against_revision(TEST, "HEAD", folder=shop)
    assert old.passed and not new.passed and [call.function for call in new.calls] == ["price", "total"]
    first, second = changed
    assert first.new is not None and first.new.function == "price" and first.found is not None
    parting = first.found.parting
    assert parting is not None and (parting.changes[0].old, parting.changes[0].new) == ("1", "2")
    assert second.found is not None and second.found.chain[0].edited
    assert not (shop / ".git" / "worktrees").exists()


def test_against_what_a_model_expects(shop: Path) -> None:
    class Expects:
        """Believes that `price` multiplies."""

        name = "expects"

        def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
            trace = next(call.trace for call in run.calls if call.context == program.context)
            frames = [replace(f, value="20") if f.value == "12" else f for f in trace.frames]
            return RecordedRun(
                Trace(trace.context, trace.entry_line, tuple(frames), Outcome("return"), "3.11"), len(prefix)
            )

    run = run_test(TEST, folder=shop)
    answers: Iterator[object] = (found for _, found in against_model(run, Expects()))
    first, second = answers
    assert first is None
    parting = second.comparison.divergence  # type: ignore[attr-defined]
    assert str(parting.differences[0]) == "value: predicted 20, really 12"


def why(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1"}).invoke(app, ["why", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command(shop: Path) -> None:
    code, text = why("tests/test_cart.py::test_total", "--git", "HEAD")
    assert code == 0 and "test_total fails; it makes 2 calls" in text
    assert "value: was 1, now 2" in text and "(edited)" in text and "1 later calls run otherwise too" in text
    code, text = why(TEST, "--git", "HEAD", "--json")
    assert json.loads(text)["changed"][0]["parting"]["changes"] == [{"name": None, "old": "1", "new": "2"}]


def test_a_failure_in_the_test_itself_says_what_it_compares(shop: Path) -> None:
    run = run_test("tests/test_cart.py::test_nothing", folder=shop)
    assert run.failure is not None and not run.calls
    assert (run.failure.line, run.failure.statement, run.failure.wanted) == (8, "assert 1 + 1 == 3", "3")
    code, text = why("tests/test_cart.py::test_nothing", "--git", "HEAD")
    assert code == 2 and "fails at HEAD too" in text


def test_the_call_that_gave_the_wrong_value_is_named(shop: Path) -> None:
    failure = run_test(TEST, folder=shop).failure
    assert failure is not None
    assert (failure.expression, failure.real, failure.wanted) == ("found", "(2, 21)", "(1, 40)") and failure.call == 0
    (shop / "tests" / "test_more.py").write_text(
        "from shop.cart import price, total\n"
        "def test_direct():\n    price(1, 1)\n    assert 40 == total([(10, 2), (5, 4)])\n"
        "def test_true():\n    assert not price(3, 4)\n"
        "def test_raises():\n    total([(1, 'x')])\n"
    )
    failure = run_test("tests/test_more.py::test_direct", folder=shop).failure
    assert failure is not None and (failure.real, failure.wanted, failure.call) == ("21", "40", 1)
    failure = run_test("tests/test_more.py::test_true", folder=shop).failure
    assert failure is not None and (failure.real, failure.wanted, failure.call) == ("7", "False", 0)
    failure = run_test("tests/test_more.py::test_raises", folder=shop).failure
    assert failure is not None and failure.error.startswith("TypeError") and failure.call is None
    code, text = why(TEST, "--git", "HEAD")
    assert code == 0 and "found is (2, 21), the test wants (1, 40)" in text
    assert "that value was returned by price, call 1" in text


def test_what_cannot_be_answered(shop: Path) -> None:
    with pytest.raises(WhyError, match="pytest cannot run"):
        run_test("tests/test_cart.py::test_missing", folder=shop)
    with pytest.raises(WhyError, match="git cannot do it"):
        against_revision(TEST, "no-such-revision", folder=shop)
    (shop / "tests" / "test_fine.py").write_text("def test_fine():\n    assert True\n")
    code, text = why("tests/test_fine.py::test_fine")
    assert code == 2 and "nothing of the project was recorded" in text
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qam", "two"], check=True)
    with pytest.raises(WhyError, match="fails at HEAD too"):
        against_revision(TEST, "HEAD", folder=shop)
