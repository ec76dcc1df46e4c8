"""Next-frame accuracy and free runs, for worlds that err in known places."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.evals.frames import calibration_error, coverage, evaluate, real_runs
from opencwm.world.interpreter import InterpreterWorld
from opencwm.world.protocol import WorldError


def test_the_interpreter_is_right_everywhere(data: Path) -> None:
    report = evaluate(data, world=InterpreterWorld())
    total = sum(len(trace.frames) for _, trace in real_runs(data))
    for name in ("next frame", "next frame, call", "next frame, return", "branch", "whole run exact", "output right"):
        assert report[name].value == 1.0
    assert report["next frame"].n == total
    assert report["next frame, exception"].value is None
    assert report["right to frame 1"].n == 4
    assert report["right to frame 50"].n == 0
    assert report["calibration error (ECE)"].value == 0
    assert report["coverage at 99% precision"].value == 1.0


def test_a_wrong_value_counts_once_with_the_true_past_and_ends_a_free_run(data: Path, worlds: SimpleNamespace) -> None:
    report = evaluate(data, world=worlds.corrupted(2))
    total = report["next frame"].n
    assert report["next frame"].value == pytest.approx(1 - 4 / total)
    assert report["branch"].value == 1.0
    assert report["values, where the branch is right"].value == pytest.approx(1 - 4 / total)
    assert report["frames until the first error"].value == 2
    assert report["right to frame 1"].value == 1.0
    assert report["right to frame 5"].value == 0.0
    assert report["whole run exact"].value == 0.0
    assert report["output right"].value == 1.0
    assert report["calibration error (ECE)"].value == pytest.approx(0.75 * 4 / total)


def test_a_wrong_line_is_a_wrong_branch(data: Path, worlds: SimpleNamespace) -> None:
    report = evaluate(data, world=worlds.corrupted(1, line=True))
    total = report["branch"].n
    assert report["branch"].value == pytest.approx(1 - 4 / total)
    assert report["values, where the branch is right"].value == 1.0


def test_one_pass_gives_the_same_as_one_by_one(data: Path, worlds: SimpleNamespace) -> None:
    def figures(world: object) -> list[object]:
        return [f for f in evaluate(data, world=world).figures if f.unit != "s"]  # type: ignore[arg-type]

    assert figures(worlds.foreseeing(3)) == figures(worlds.corrupted(3))


def test_a_world_that_never_answers_is_an_error(data: Path, worlds: SimpleNamespace) -> None:
    with pytest.raises(WorldError, match="start it"):
        evaluate(data, world=worlds.gone())


def test_a_program_without_a_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"code": "x = 1 / 0\\ndef f(n):\\n    return n", "input": "1", "output": "1", "id": "one"}\n')
    with pytest.raises(ValueError, match=r"broken\.jsonl, program one: the module failed"):
        evaluate(path, world=InterpreterWorld())


def test_generated_programs_are_held_out_and_reproducible() -> None:
    report = evaluate(world=InterpreterWorld(), limit=3, seed=5)
    assert report.settings["data"] == "generated, held out, seed 5"
    assert report["next frame"].value == 1.0
    first = [program.context for program, _ in real_runs(None, seed=5, limit=3)]
    assert first == [program.context for program, _ in real_runs(None, seed=5, limit=3)]
    assert first != [program.context for program, _ in real_runs(None, seed=6, limit=3)]


def test_calibration_and_coverage() -> None:
    sure_and_right = [(1.0, True)] * 50
    assert calibration_error([*sure_and_right, (0.5, True), (0.5, False)]) == 0
    assert calibration_error([(0.9, False)] * 10) == pytest.approx(0.9)
    assert calibration_error([]) is None and coverage([]) is None
    assert coverage([*sure_and_right, (0.2, False)]) == pytest.approx(50 / 51)
    assert coverage([(0.5, True), (0.5, False)]) == 0
    assert coverage([(0.9, False)] + [(0.5, True)] * 199) == 1.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_they_are_shares(frames: list[tuple[float, bool]]) -> None:
    error, covered = calibration_error(frames), coverage(frames)
    assert error is not None and 0 <= error <= 1
    assert covered is not None and 0 <= covered <= 1
