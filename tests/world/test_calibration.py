"""What a probability is worth: known frequencies come back, ranks are kept, and a world tells what it was fitted to."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.evals.frames import calibration_error
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame
from opencwm.world.calibration import FILE, SMALLEST, Calibration, CalibrationError, Monotone
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import Prediction, WorldError

CASES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=400)


@given(CASES, st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_fit_never_falls_and_is_never_certain(cases: list[tuple[float, bool]], asked: list[float]) -> None:
    fitted = Monotone.fit(cases)
    told = [fitted(p) for p in sorted(asked)]
    assert told == sorted(told)
    if len(cases) >= SMALLEST:
        assert all(0 < p < 1 for p in told)
    else:
        assert told == sorted(asked)


def test_a_fit_finds_what_an_overconfident_model_is_worth() -> None:
    rng = random.Random(0)

    def drawn(count: int) -> list[tuple[float, bool]]:
        """A model that is right with the square of the probability that it tells."""
        told = [rng.random() for _ in range(count)]
        return [(p, rng.random() < p * p) for p in told]

    fitted, fresh = Monotone.fit(drawn(4000)), drawn(4000)
    before, after = calibration_error(fresh), calibration_error([(fitted(p), right) for p, right in fresh])
    assert before is not None and after is not None
    assert before > 0.15 and after < 0.025
    assert fitted(0.5) == pytest.approx(0.25, abs=0.06)


def test_kinds_have_maps_of_their_own_and_unknown_stays_unknown() -> None:
    half = Monotone((0.0, 1.0), (0.0, 0.5))
    calibration = Calibration(frame=half, value=Monotone((0.0, 1.0), (0.25, 0.75)))
    told = calibration(Prediction(Frame("line", 1, "f", 0), 0.8, 0.9, {"x": 0.5}, "model"))
    assert (told.probability, told.branch, told.values) == (pytest.approx(0.4), 0.9, {"x": 0.5})
    assert math.isnan(calibration(Prediction(Frame("line", 1, "f", 0), math.nan, math.nan, {}, "model")).probability)


def test_a_world_tells_what_its_folder_says(tmp_path: Path) -> None:
    config = preset("tiny", vocab_size=VOCABULARY.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    save_weights(tmp_path, Transformer(config), {})
    program = Program("def f(n):\n    return n\n", "f(3)")
    plain = next(LocalWorld.load(tmp_path).run(program))
    Calibration(frame=Monotone((0.0, 1.0), (0.125, 0.125)), fitted={"programs": 3}).save(tmp_path)
    world = LocalWorld.load(tmp_path)
    told = next(world.run(program))
    assert told.frame == plain.frame and told.probability == 0.125 != plain.probability
    assert told.branch == plain.branch
    assert world.calibration is not None and world.calibration.fitted == {"programs": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no calibration"),
        ('{"format": "other/1"}', "has format 'other/1'"),
        (json.dumps({"format": "opencwm.calibration/1", "frame": {"given": [1, 0], "measured": [0, 1]}}), "ascend"),
    ],
)
def test_a_broken_file_says_how_to_mend_it(tmp_path: Path, text: str, told: str) -> None:
    config = preset("tiny", vocab_size=VOCABULARY.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    save_weights(tmp_path, Transformer(config), {})
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CalibrationError, match=told):
        Calibration.load(tmp_path)
    with pytest.raises(WorldError, match="cwm eval calibration --fit"):
        LocalWorld.load(tmp_path)
