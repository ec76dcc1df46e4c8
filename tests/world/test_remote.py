"""Runs predicted through real servers: equal to a local model's, and whatever a model writes is a run or says why not."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

pytest.importorskip("starlette", reason='pip install "opencwm[web]"')
pytest.importorskip("openai", reason='pip install "opencwm[dev]"')

from servers import Script, folder_of, serving, write_compact, write_hub, write_ranks

from opencwm.codec import cwm, llama3
from opencwm.codec.compact import encode
from opencwm.codec.cwm import carried
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world import decoder
from opencwm.world.endpoint import Endpoint, Refused
from opencwm.world.local import SHIPPED, LocalWorld
from opencwm.world.protocol import WorldError, collect
from opencwm.world.remote import RemoteWorld

COUNT = Program("def f(n):\n    t = 0\n    while n:\n        t += n\n        n -= 1\n    return t\n", "f(2)")
ENDLESS = Program("def f(n):\n    while n > 0:\n        k = n\n        n = k\n    return n\n", "f(2)")
RAISES = Program("def f(n):\n    return 1 // n\n", "f(0)")


def connect(served, **settings):
    return RemoteWorld.connect(Endpoint(served.url, patience=1), **settings)


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("m") / "compact", write_compact, positions=1024)
    with serving(folder) as served:
        yield served


@pytest.fixture(scope="module")
def cwm_server(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("m") / "cwm", write_ranks, positions=4096)
    with serving(folder) as served:
        yield served


@pytest.fixture
def tokenizer(cwm_server):
    return llama3.load(cwm_server.folder / "tokenizer.model")


# Compact tokens


@pytest.mark.parametrize("seed", range(4))
def test_a_server_predicts_what_the_same_model_predicts_here(compact, monkeypatch, seed):
    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 12)
    program = write(random.Random(seed))
    here = LocalWorld.load(compact.folder)
    trace, predictions = collect(here.run(program), limit=6)
    remote_trace, remote_predictions = collect(connect(compact).run(program), limit=6)
    assert remote_trace == trace
    for one, other in zip(predictions, remote_predictions, strict=True):
        assert other.branch == pytest.approx(one.branch, abs=0.05)
        assert other.values.keys() == one.values.keys()


def test_a_run_goes_on_after_given_frames(compact, monkeypatch):
    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 12)
    truth = record(COUNT, steps=True)
    for count in (1, 4):
        here = next(LocalWorld.load(compact.folder).run(COUNT, prefix=truth.frames[:count]))
        assert next(connect(compact).run(COUNT, prefix=truth.frames[:count])).frame == here.frame


@pytest.mark.skipif(not (SHIPPED / "model.safetensors").exists(), reason="no shipped weights in this checkout")
def test_the_shipped_model_through_a_server():
    program = Program.read(str(Path(__file__).parents[2] / "examples/rotate.py"), "rotate([3, 1, 4, 1], 2)")
    with serving(SHIPPED) as served:
        remote, remote_predictions = collect(connect(served).run(program))
    world = LocalWorld.load()
    world.calibration = None  # a server's probabilities are the model's own
    here, predictions = collect(world.run(program))
    assert remote == here and len(remote.frames) > 5
    for one, other in zip(predictions, remote_predictions, strict=True):
        assert other.probability == pytest.approx(one.probability, abs=0.01)


# CWM's format


class Known(Script):
    """All that is left to say, at once: the engine takes it without forward passes."""

    def forced(self):
        return list(self._left)


def say_run(served, trace, monkeypatch):
    """Make the server's model write a trace: each reply is what follows its prompt."""
    whole = cwm.encode(trace, llama3.load(served.folder / "tokenizer.model"))
    real = served.engine.submit

    def submit(prompt, sampling, **more):
        left = whole[len(prompt) :] if whole[: len(prompt)] == list(prompt) else [llama3.IDS["<|end_of_text|>"]]
        return real(prompt, replace(sampling, constraint=Known(left)), **more)

    monkeypatch.setattr(served.engine, "submit", submit)


@pytest.mark.parametrize("program", [COUNT, RAISES], ids=["returns", "raises"])
@pytest.mark.parametrize("by_ids", [True, False])
def test_a_run_is_read_as_it_was_written(cwm_server, tokenizer, monkeypatch, program, by_ids):
    truth = carried(record(program))
    say_run(cwm_server, truth, monkeypatch)
    world = connect(cwm_server, tokenizer=tokenizer if by_ids else None)
    assert world.dialect.ids == by_ids and world.dialect.extras
    for count in (0, 3):
        run = world.run(program, prefix=truth.frames[:count])
        trace, predictions = collect(run)
        assert trace.frames == truth.frames[count:]
        assert run.outcome == truth.outcome
        for prediction in predictions:  # forced tokens are certain
            assert prediction.probability == prediction.branch == 1
            assert set(prediction.values.values()) <= {1.0}


@pytest.mark.parametrize("by_ids", [True, False])
def test_a_run_that_goes_round_for_ever_is_ended(cwm_server, tokenizer, monkeypatch, by_ids):
    truth = carried(record(ENDLESS, limits=Limits(frames=40)))
    say_run(cwm_server, truth, monkeypatch)
    trace, _ = collect(connect(cwm_server, tokenizer=tokenizer if by_ids else None).run(ENDLESS))
    assert str(trace.outcome) == "truncated (the predicted run repeats itself)"
    assert 6 < len(trace.frames) < 12 and trace.frames == truth.frames[: len(trace.frames)]


def test_so_it_is_from_a_server_of_compact_tokens(compact, monkeypatch):
    truth = record(ENDLESS, steps=True, limits=Limits(frames=40))
    whole = encode(truth).ids
    real = compact.engine.submit

    def submit(prompt, sampling, **more):
        assert whole[: len(prompt)] == list(prompt)
        return real(prompt, replace(sampling, constraint=Known(whole[len(prompt) :])), **more)

    monkeypatch.setattr(compact.engine, "submit", submit)
    trace, _ = collect(connect(compact).run(ENDLESS))
    assert str(trace.outcome) == "truncated (the predicted run repeats itself)"
    assert 6 < len(trace.frames) < 12 and trace.frames == truth.frames[: len(trace.frames)]


def test_probabilities_are_those_of_the_tokens(cwm_server, tokenizer, monkeypatch):
    """Without forcing: the frame's probability is the product of its tokens' as the server reports them."""
    from opencwm.world.confidence import Piece, judged

    frame = record(COUNT).frames[4]
    text = [
        "<|line_sep|>",
        '{"n": "',
        "2",
        '", "t',
        '": "',
        "0",
        '"}',
        "<|action_sep|>",
        "    while",
        " n:\n",
        "<|frame_sep|>",
    ]
    chances = [0.5, 1, 0.25, 1, 1, 0.5, 1, 1, 0.5, 1, 1]
    seen = judged(frame, [Piece(t, math.log(c)) for t, c in zip(text, chances, strict=True)])
    assert seen.probability == pytest.approx(math.prod(chances))
    assert seen.branch == pytest.approx(0.25)
    assert seen.values == {"n": pytest.approx(0.25), "t": pytest.approx(0.5)}


@pytest.mark.parametrize("by_ids", [True, False])
def test_nonsense_ends_the_run_and_says_where(cwm_server, tokenizer, by_ids):
    """Random weights, left to themselves: 128,000 ids of which few have a text."""
    world = connect(cwm_server, tokenizer=tokenizer if by_ids else None)
    world.legal = False
    run = world.run(COUNT)
    trace, predictions = collect(run)
    assert [frame.event for frame in trace.frames] == ["call"] and predictions[0].probability == 1
    assert run.outcome.kind == "truncated"
    assert run.outcome.reason.startswith(("malformed frame: expected", "a frame of more than"))


@pytest.mark.parametrize("by_ids", [True, False])
@pytest.mark.parametrize("program", [COUNT, RAISES], ids=["returns", "raises"])
def test_the_same_weights_among_legal_frames(cwm_server, tokenizer, monkeypatch, by_ids, program):
    monkeypatch.setattr("opencwm.world.cwm_run.FRAME_TOKENS", 150)
    world = connect(cwm_server, tokenizer=tokenizer if by_ids else None)
    assert world.legal
    truth = carried(record(program))
    for count in (0, 2):
        run = world.run(program, prefix=truth.frames[:count])
        trace, _ = collect(run, limit=4)
        whole = replace(trace, frames=(*truth.frames[:count], *trace.frames))
        assert cwm.from_text(cwm.to_text(whole)).frames == whole.frames
        assert run.outcome is None or not str(run.outcome).startswith("truncated (malformed")


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("hello<|frame_sep|>", "expected one of <|call_sep|>"),
        ("<|line_sep|>{<|action_sep|>    t = 0\n<|frame_sep|>", "expected a JSON object"),
        ("<|line_sep|>{}<|action_sep|>    x = 0\n<|frame_sep|>", "expected a line of the context"),
        ('<|line_sep|>{"a": ".."}<|action_sep|>    return f(2)\n<|frame_sep|>', "expected the value of 'a'"),
        ("<|return_sep|><|action_sep|>    return f(2)\n<|frame_sep|>", "expected <|arg_sep|>"),
        ("<|end_of_text|>", "expected the return or exception"),
        ("<|call_sep|><|call_sep|><|frame_sep|>", "expected a JSON object"),
        ("<|line_sep|>{}\ud7ff<|action_sep|>\x00<|frame_sep|>", "malformed"),
    ],
)
@pytest.mark.parametrize("by_ids", [True, False])
def test_malformed_frames(cwm_server, tokenizer, reply, says, by_ids):
    world = connect(cwm_server, tokenizer=tokenizer if by_ids else None)
    with cwm_server.say(reply, ends=False):
        run = world.run(COUNT)
        trace, _ = collect(run)
    assert len(trace.frames) == 1 and run.outcome.kind == "truncated"
    assert says in run.outcome.reason and run.outcome.reason.startswith("malformed frame: ")


def test_endless_frames_and_full_contexts(cwm_server, tokenizer, monkeypatch):
    monkeypatch.setattr("opencwm.world.cwm_run.FRAME_TOKENS", 20)
    world = connect(cwm_server, tokenizer=tokenizer)
    with cwm_server.say("<|line_sep|>{" + '"a' * 50, ends=False):
        run = world.run(COUNT)
        collect(run)
    assert run.outcome.reason == "a frame of more than 20 tokens"
    source = "def f():\n" + "    x = 1\n" * 600 + "    return x\n"
    with pytest.raises(WorldError, match="maximum context length"):
        collect(world.run(Program(source, "f()")))


def test_a_source_that_spells_special_tokens_needs_ids(cwm_server, tokenizer, monkeypatch):
    program = Program("def f(s):\n    return s + '<|frame_sep|>'\n", "f('a')")
    with pytest.raises(WorldError, match=r"token ids might \(--llama3 FILE\)"):
        connect(cwm_server).run(program)
    truth = carried(record(program))
    say_run(cwm_server, truth, monkeypatch)
    trace, _ = collect(connect(cwm_server, tokenizer=tokenizer).run(program))
    assert trace == truth


# Other servers


def test_a_model_that_knows_no_traces(tmp_path):
    with serving(folder_of(tmp_path / "hub", write_hub, positions=4096)) as served:
        run = connect(served).run(COUNT)
        trace, _ = collect(run)
    assert len(trace.frames) == 1 and run.outcome.kind == "truncated"


def plain_server(truth, *, adds_begin=True, models=("one",), shows_special=True):
    """A server that takes texts and nothing else, as `transformers serve` does, and writes a known run."""
    whole = cwm.to_text(truth)

    def answer(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": name} for name in models]})
        body = json.loads(request.content)
        if not isinstance(body["prompt"], str) or set(body) - {"model", "prompt", "max_tokens", "temperature", "stop"}:
            return httpx.Response(422, json={"detail": "unexpected fields"})
        prompt = ("<|begin_of_text|>" if adds_begin else "") + body["prompt"]
        text = whole[len(prompt) :] if whole.startswith(prompt) else "?"
        for stop in body["stop"]:
            text = text.split(stop)[0] + (stop if stop in text and stop == "<|frame_sep|>" else "")
        if not shows_special:
            for name in llama3.IDS:
                text = text.replace(name, "")
        usage = {"prompt_tokens": 1 + adds_begin, "completion_tokens": 1, "total_tokens": 2 + adds_begin}
        return httpx.Response(200, json={"choices": [{"text": text, "finish_reason": "stop"}], "usage": usage})

    return Endpoint("http://host", transport=httpx.MockTransport(answer), patience=0)


@pytest.mark.parametrize("adds_begin", [True, False])
@pytest.mark.parametrize("program", [COUNT, RAISES], ids=["returns", "raises"])
def test_a_server_of_plain_texts(adds_begin, program):
    truth = carried(record(program))
    world = RemoteWorld.connect(plain_server(truth, adds_begin=adds_begin))
    assert (world.dialect.ids, world.dialect.extras, world.dialect.opens) == (False, False, adds_begin)
    trace, predictions = collect(world.run(program))
    assert trace == truth
    assert all(math.isnan(prediction.probability) for prediction in predictions[1:])


def test_a_server_that_hides_special_tokens():
    run = RemoteWorld.connect(plain_server(carried(record(COUNT)), shows_special=False)).run(COUNT)
    collect(run)
    assert "does the server hide them" in run.outcome.reason


def test_which_model(compact):
    several = plain_server(carried(record(COUNT)), models=("a", "b"))
    with pytest.raises(WorldError, match=r"several models or none \(a, b\): name one with --model"):
        RemoteWorld.connect(several)
    assert RemoteWorld.connect(several, model="b").name == "b"
    with pytest.raises(Refused, match="there is no model 'other' here"):
        connect(compact, model="other")


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [1]}])
def test_servers_that_answer_something_else(answer):
    def give(request):
        return httpx.Response(200, json={"data": [{"id": "x"}]} if "models" in request.url.path else answer)

    with pytest.raises(WorldError, match="no choice"):
        RemoteWorld.connect(Endpoint("http://host", transport=httpx.MockTransport(give), patience=0))


def test_a_server_that_is_gone(tmp_path):
    with serving(folder_of(tmp_path / "m", write_compact)) as served:
        world = connect(served)
        run = world.run(COUNT)
    with pytest.raises(WorldError, match="is it running"):
        collect(run)


def test_the_command_line(compact, tmp_path, monkeypatch):
    """`cwm predict --world` prints what `--weights` prints."""
    from typer.testing import CliRunner

    from opencwm.cli.app import app

    monkeypatch.setattr(decoder, "MAX_VALUE_TOKENS", 12)
    path = tmp_path / "count.py"
    path.write_text(COUNT.source)
    base = ["predict", str(path), "--call", "f(2)", "--json", "--limit-frames", "5"]
    answers = []
    for options in (["--world", compact.url], ["--weights", str(compact.folder)]):
        result = CliRunner().invoke(app, [*base, *options])
        assert result.exit_code == 0, result.output
        answers.append(json.loads(result.stdout)["predicted"]["frames"])
    shown = [[(frame["event"], frame["line"], frame.get("locals")) for frame in frames] for frames in answers]
    assert shown[0] == shown[1] and len(shown[0]) == 5
    for options, code, says in (
        (["--world", compact.url, "--weights", str(compact.folder)], 2, "exclude each other"),
        (["--model", "x"], 2, "belong to --world"),
        (["--world", "nonsense"], 3, "give http://HOST:PORT"),
    ):
        result = CliRunner().invoke(app, [*base, *options])
        assert result.exit_code == code and says in result.stderr
