"""Corrections: the first wrong step with the true one after it, a wrong state with what really follows from it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.codec import compact
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.config import load
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.programs.mix import Mix, MixConfig
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.train import corrections as module
from opencwm.train.corrections import REACH, corrections, first_error, own_state
from opencwm.train.data import DataError
from opencwm.train.settings import TrainConfig
from opencwm.train.streams import open_training
from opencwm.train.text import open_tokens
from opencwm.world import decoder
from opencwm.world.interpreter import InterpreterWorld, RecordedRun
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import Prediction, Runnable

ROOT = Path(__file__).parents[2]
PROGRAM = Program("def f(n):\n    a = n + 1\n    b = a * 2\n    return b - n\n", "f(3)")


class Slipping(InterpreterWorld):
    """The interpreter, that has a wrong value in the frame where `a` is new."""

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> RecordedRun:
        run = super().run(program, prefix=prefix)

        class Slipped(RecordedRun):
            def __next__(self) -> Prediction:
                prediction = super().__next__()
                frame = prediction.frame
                if frame.event == "line" and "a" in frame.locals and "b" not in frame.locals:
                    return replace(prediction, frame=replace(frame, locals={**frame.locals, "a": "7"}))
                return prediction

        slipped = Slipped.__new__(Slipped)
        slipped.__dict__.update(run.__dict__)
        return slipped


def test_the_first_error_and_what_follows_from_it() -> None:
    truth = record(PROGRAM, steps=True)
    found = first_error(Slipping(), PROGRAM, truth)  # type: ignore[arg-type]
    assert found is not None
    at, frame = found
    assert truth.frames[at].locals["a"] == "4" and frame is not None and frame.locals["a"] == "7"
    after = own_state(PROGRAM, truth, at, frame, limits=Limits(), steps=True)
    assert after is not None and after.frames[at].locals["a"] == "7"
    assert after.frames[at + 1].locals["b"] == "14" and after.result == "11" and truth.result == "5"
    assert first_error(InterpreterWorld(), PROGRAM, truth) is None  # type: ignore[arg-type]
    moved = replace(frame, line=frame.line + 1)
    assert own_state(PROGRAM, truth, at, moved, limits=Limits(), steps=True) is None


@pytest.mark.parametrize("room", [512, 90])
def test_windows_predict_from_the_error_on_alone(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    mix = Mix(MixConfig(sequence_length=room))
    truth = record(PROGRAM, limits=mix.limits, steps=mix.config.steps)
    made = replace(mix.make(0), program=PROGRAM, trace=truth, rejected="", foreign=False)
    monkeypatch.setattr(module.Mix, "make", lambda self, index: made)
    tally: Counter[str] = Counter()
    found = list(corrections(Slipping(), mix, 5, 1, tally))  # type: ignore[arg-type]
    assert [one.lesson for one in found] == ["step", "state"] and {one.index for one in found} == {5}
    assert tally == {"wrong": 1, "step": 1, "state": 1}
    step, state = found
    told = [token for token, weight in zip(step.ids, step.weights, strict=True) if weight]
    true = compact.Encoder(truth).chunks
    start = next(n for n in range(len(true)) if true[n] == told[: len(true[n])] and len(true[n]) > 2)
    flat = [token for chunk in true[start : start + REACH] for token in chunk]
    assert told[: len(flat)] == flat
    given = [token for token, weight in zip(state.ids, state.weights, strict=True) if not weight]
    assert VOCABULARY.show(given).count("7") > VOCABULARY.show(step.ids).count("7")
    assert "14" in VOCABULARY.show(state.ids) and "14" not in VOCABULARY.show(step.ids)
    assert len(step.ids) <= room and len(state.ids) <= room


def test_from_the_command_to_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 8)
    shape = preset("tiny", vocab_size=VOCABULARY.size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    save_weights(tmp_path / "w", Transformer(shape), {})
    rows = tmp_path / "rows.jsonl"
    done = CliRunner().invoke(
        app, ["data", "corrections", str(rows), "--weights", str(tmp_path / "w"), "--programs", "8", "--start", "3"]
    )
    assert done.exit_code == 0, done.output
    read = [json.loads(line) for line in rows.read_text().splitlines()]
    assert f"{sum(row['lesson'] == 'step' for row in read):,} corrected steps" in done.stdout and len(read) >= 4
    given = [f'data.sources.corrections.paths=["{rows}"]', "data.buffer=4", "data.workers=0"]
    settings = load(TrainConfig, ROOT / "configs/corrections.toml", given)
    source = open_training(settings.data).mixture.sources["corrections"]
    document = source(0)[0]
    assert any(document.ids.tolist() == row["ids"] for row in read) and 0 < document.weights.sum() < len(document.ids)
    assert LocalWorld.load(tmp_path / "w").size == open_tokens("compact").size


def test_rows_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"ids": [1, 2], "weights": [0, 1], "tokenizer": "801-other"}) + "\n")
    given = [f'data.sources.corrections.paths=["{rows}"]']
    settings = load(TrainConfig, ROOT / "configs/corrections.toml", given)
    with pytest.raises(DataError, match="another vocabulary"):
        open_training(settings.data).mixture.sources["corrections"](0)
