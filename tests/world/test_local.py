"""A model as a world: what it writes is always a trace, and asking in one pass is asking frame by frame."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from opencwm.codec import compact
from opencwm.codec.tokenizer import FIRST_SIZE, VOCABULARY
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.model.weights import WeightsError, save_weights
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world import decoder
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import WorldError, collect

FACTORIAL = Program("def f(n):\n    if n < 2:\n        return 1\n    return n * f(n - 1)\n", "f(3)")


@pytest.fixture(autouse=True)
def short_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model hardly ever ends a value: cut them soon."""
    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 12)


def small_world(seed: int = 0, *, max_tokens: int = 512) -> LocalWorld:
    """A random model: it knows nothing, so whatever is right about its traces is the constraint's doing."""
    config = preset("tiny", vocab_size=VOCABULARY.size, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    return LocalWorld(Transformer(config, seed=seed), name="random", max_tokens=max_tokens)


def test_a_frame_that_does_not_end_is_given_up() -> None:
    program = write(random.Random(0))
    trace = record(program, steps=True)
    world = small_world()
    patient, whole = world.next_frames(program, trace), collect(world.run(program), limit=8)[0]
    world.patience = 2
    found = world.next_frames(program, trace)
    given_up = [(quick, slow) for quick, slow in zip(found, patient, strict=True) if quick.frame.line == 0]
    assert given_up and any(slow.frame.line for _, slow in given_up)  # and what was waited for is there
    run = world.run(program)
    short = collect(run)[0]
    assert short.frames[:8] == whole.frames[: len(short.frames)]
    assert short.outcome.reason == "a frame of more than 2 tokens"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_model_predicts_is_a_trace(seed: int) -> None:
    program = write(random.Random(seed))
    trace, predictions = collect(small_world(seed).run(program), limit=8)
    assert trace.context == program.context
    assert trace.frames[0].event == "call" and trace.frames[0].function == program.entry
    assert compact.decode(compact.encode(trace).ids) == trace
    for prediction in predictions:
        assert 0 <= prediction.probability <= prediction.branch <= 1
        assert all(0 <= chance <= 1 for chance in prediction.values.values())
        assert prediction.source == "model"


def test_a_run_goes_on_after_given_frames() -> None:
    truth = record(FACTORIAL, steps=True)
    world = small_world()
    for count in (0, 1, 3, len(truth.frames) - 1):
        run = world.run(FACTORIAL, prefix=truth.frames[:count])
        first = next(run).frame
        assert first.depth <= len(truth.frames)
        whole = replace(truth, frames=(*truth.frames[:count], first), outcome=replace(truth.outcome, kind="truncated"))
        assert compact.decode(compact.encode(whole).ids).frames == whole.frames


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_over_a_true_trace_equals_asking_frame_by_frame(seed: int) -> None:
    program = write(random.Random(f"one pass {seed}"), difficulty=0.3)
    truth = record(program, steps=True, limits=Limits(frames=12))
    world = small_world(seed, max_tokens=1024)
    together = world.next_frames(program, truth)
    assert len(together) == len(truth.frames)
    for index, prediction in enumerate(together):
        alone = next(world.run(program, prefix=truth.frames[:index]))
        assert prediction.frame == alone.frame
        assert prediction.probability == pytest.approx(alone.probability, rel=1e-3, abs=1e-6)


def test_a_run_longer_than_the_context_goes_on_from_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(
        "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n", "f(60)"
    )
    truth = record(program, steps=True)
    world = small_world(max_tokens=256)
    tokens = len(compact.encode(truth).ids)
    assert tokens > 2 * 256
    begun = []
    start = LocalWorld.start

    def starting(self: LocalWorld, given: Trace, *others: Any, **more: Any) -> decoder.Decoder:
        begun.append(len(given.frames))
        return start(self, given, *others, **more)

    monkeypatch.setattr(LocalWorld, "start", starting)
    predictions = world.next_frames(program, truth)
    assert len(predictions) == len(truth.frames)
    alike = [index for index in begun if begun.count(index) == 1]  # elsewhere a window was begun with more room
    assert len(alike) > 3
    for index in alike:
        assert next(world.run(program, prefix=truth.frames[:index])).frame == predictions[index].frame


def test_true_frames_that_leave_no_room_beside_the_source_are_not_predicted_and_the_others_are() -> None:
    program = Program(
        "def f(s):\n    n = 1\n    a = s * 40\n    b = a[1:]\n    a = b = 0\n    return n\n", "f('abcdefghij')"
    )
    truth = record(program, limits=Limits(value_bytes=400))
    world = small_world(max_tokens=512)
    predictions = world.next_frames(program, truth)
    assert len(predictions) == len(truth.frames)
    lost = [index for index, one in enumerate(predictions) if one.probability == 0 and one.frame.line == 0]
    assert 1 <= len(lost) <= 3
    for index in {0, 1, 2, len(truth.frames) - 1} - {*lost}:
        assert predictions[index].frame == next(world.run(program, prefix=truth.frames[:index])).frame


def test_a_frame_that_never_ends_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(self: decoder.Decoder) -> tuple[int, float, float]:
        """Writes step after step, `1` each, and so never completes a frame of a line that has steps."""
        self.logits()
        allowed = sorted(self.constraint.allowed())
        steps = [token for token in allowed if VOCABULARY.is_step(token)]
        return (*steps, *(token for token in allowed if token == ord("1")), *allowed)[0], 1.0, 1.0

    monkeypatch.setattr(decoder.Decoder, "choose", stubborn)
    program = Program("def f(x):\n    return x.append(len(x) + 1)\n", "f([])")
    run = small_world(max_tokens=256).run(program)
    assert len(list(run)) < 1000
    assert run.outcome is not None and run.outcome.kind == "truncated"


def test_a_source_larger_than_the_context_is_refused() -> None:
    source = "def f():\n" + "".join(f"    variable_{i} = {i}\n" for i in range(200)) + "    return 1\n"
    with pytest.raises(WorldError, match="shorter program"):
        small_world(max_tokens=256).run(Program(source, "f()"))


def test_weights_are_loaded_from_a_folder(tmp_path: Path) -> None:
    world = small_world(3)
    save_weights(tmp_path / "w", world.model, {"data": {"sequence_length": 512}})
    loaded = LocalWorld.load(tmp_path / "w")
    assert loaded.name == "w"
    first, again = (next(w.run(FACTORIAL)) for w in (world, loaded))
    assert first == again
    with pytest.raises(WeightsError, match="missing"):
        LocalWorld.load(tmp_path / "missing")


def test_weights_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(WorldError, match="another codec"):
        LocalWorld(Transformer(preset("tiny", vocab_size=100)))


@pytest.mark.skipif(not (SHIPPED / "model.safetensors").exists(), reason="no shipped weights in this checkout")
def test_the_shipped_model_predicts_a_simple_run() -> None:
    torch.set_num_threads(1)
    source = "def shout(word):\n    result = ''\n    for ch in word:\n        result += ch.upper()\n    return result\n"
    program = Program(source, "shout('abc')")
    trace, predictions = collect(LocalWorld.load().run(program), limit=20)
    assert trace.frames == record(program, steps=True).frames
    assert min(prediction.probability for prediction in predictions) > 0.2


def test_a_model_of_an_earlier_vocabulary_goes_on_working() -> None:
    config = preset("tiny", vocab_size=FIRST_SIZE, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    world = LocalWorld(Transformer(config, seed=1), max_tokens=512)
    source = "import math\ndef f(sqrt, isqrt):\n    floor = math.floor(sqrt)\n    return floor, isqrt"
    program = Program(source, "f(2.5, 3)")
    truth = record(program, steps=True)
    prompts = [world.start(truth).pending, world.start(replace(truth, frames=truth.frames[:3])).pending]
    assert all(max(ids) < FIRST_SIZE for ids in prompts)
    shown = VOCABULARY.show(prompts[0])
    assert "<bind>sqrt<V1>" in shown and "math.<V3>(<V1>)" in shown  # words of today were no words then
    assert "floor(sqrt)" in VOCABULARY.show(compact.encode(truth).ids)
    run = world.run(program)
    while run.outcome is None and run.tokens < 100:
        token = run.decoder.choose()[0]
        assert token < FIRST_SIZE and max(run.decoder.constraint.allowed()) < FIRST_SIZE
        run._advance()


def test_the_shipped_model_reads_words_that_it_may_have_no_token_for() -> None:
    world = LocalWorld.load()
    assert world.size == world.model.config.vocab_size
    program = Program("def f(word, total):\n    digits = word.upper()\n    return digits * total", "f('ab', 2)")
    trace, _ = collect(world.run(program), limit=20)
    assert trace.frames[2].locals == {"word": "'ab'", "total": "2"}
    assert max(world.start(trace).pending) < world.size


def test_a_model_alone_writes_itself_what_can_only_be_a_copy(tmp_path: Path) -> None:
    save_weights(tmp_path / "small", small_world().model, {})
    trace = record(FACTORIAL)
    chunk = compact.Encoder(trace).chunks[2]  # <call> <L1> n 3
    before = replace(trace, frames=trace.frames[:2])
    legal = []
    for world in (LocalWorld.load(tmp_path / "small"), LocalWorld.load(tmp_path / "small", copies=False)):
        constraint = world.start(before).constraint
        for token in chunk[:-1]:
            constraint.push(token)
        legal.append(set(constraint.allowed()))
    assert legal[0] == {chunk[-1]} and legal[1] > legal[0]
    assert world.name == "small, alone"
