"""A model of CWM's format in this process: random weights write nonsense, and never anything malformed."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("tiktoken", reason='pip install "opencwm[hf]"')
pytest.importorskip("openai", reason='pip install "opencwm[dev]"')

from servers import folder_of, serving, write_cwm_hub, write_hub

from opencwm.codec import cwm, llama3
from opencwm.model import hf
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer
from opencwm.programs.program import Program
from opencwm.world import cwm_run
from opencwm.world.endpoint import Endpoint
from opencwm.world.interpreter import InterpreterWorld
from opencwm.world.local import LocalWorld
from opencwm.world.local_cwm import LocalCwmWorld, load
from opencwm.world.protocol import WorldError, collect
from opencwm.world.remote import RemoteWorld

PROGRAM = Program("def f(n):\n    t = [1, 'a']\n    while n:\n        t *= n\n        n -= 1\n    return t\n", "f(2)")
FRAMES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "random-cwm"
    size = write_cwm_hub(folder)
    sizes = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 32}
    config = preset("cwm-32b", vocab_size=size, max_positions=2048, local_window=256, **sizes)
    model = Transformer(config, seed=0)
    with torch.no_grad():
        model.output.weight.mul_(20)  # tokens far apart: greedy choices do not hang on rounding
    hf.save(folder, model)
    return folder


@pytest.fixture(scope="module")
def world(folder):
    made = load(folder)
    assert isinstance(made, LocalCwmWorld) and made.name == "random-cwm"
    return made


@pytest.mark.parametrize("seed", range(4))
def test_malformed_output_is_impossible(world, seed, monkeypatch):
    monkeypatch.setattr(cwm_run, "FRAME_TOKENS", 400)
    run = world.run(PROGRAM, temperature=1.0, seed=seed)
    trace, predictions = collect(run, limit=FRAMES)
    assert run.outcome is None or not (run.outcome.reason or "").startswith("malformed")
    tokenizer = world.codec.tokenizer
    assert cwm.decode(cwm.encode(trace, tokenizer), tokenizer, python="3.11").frames == trace.frames
    for prediction in predictions:
        assert 0 <= prediction.probability <= 1 and prediction.source == "model"
        assert prediction.frame.line in range(1, PROGRAM.context.count("\n") + 2)
    again, _ = collect(world.run(PROGRAM, temperature=1.0, seed=seed), limit=FRAMES)
    assert again == trace


def test_the_server_gives_the_same(world, folder, monkeypatch):
    monkeypatch.setattr(cwm_run, "FRAME_TOKENS", 200)
    here, sure = collect(world.run(PROGRAM), limit=FRAMES)
    with serving(folder) as served:
        tokenizer = llama3.load(folder / "tokenizer.model")
        remote = RemoteWorld.connect(Endpoint(served.url), tokenizer=tokenizer)
        there, _ = collect(remote.run(PROGRAM), limit=FRAMES)
    assert here.frames == there.frames and len(sure) == len(here.frames)


def test_after_given_frames_and_with_a_session_used_again(world, monkeypatch):
    monkeypatch.setattr(cwm_run, "FRAME_TOKENS", 200)
    true, _ = collect(InterpreterWorld().run(PROGRAM))
    given = cwm.carried(true).frames[:4]
    first = world.run(PROGRAM, prefix=given)
    fresh, _ = collect(first, limit=2)
    reused, _ = collect(world.run(PROGRAM, prefix=given, reuse=first), limit=2)
    assert reused == fresh


def test_a_context_that_is_full(folder):
    small = load(folder)
    small.max_tokens = 150
    with pytest.raises(WorldError, match="context is full"):
        collect(small.run(Program("def f():\n    return 1\n" + "# more\n" * 60, "f()")))


def test_what_a_folder_holds_decides(tmp_path):
    assert isinstance(load(), LocalWorld)
    plain = folder_of(tmp_path / "own", lambda path: 1056)
    assert isinstance(load(plain), LocalWorld)
    size = write_hub(tmp_path / "chat")
    config = preset("smollm2-135m", vocab_size=size, dim=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    hf.save(tmp_path / "chat", Transformer(config))
    with pytest.raises(WorldError, match="knows no traces"):
        load(tmp_path / "chat")
