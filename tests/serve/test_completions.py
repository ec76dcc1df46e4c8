"""`/v1/completions` through the `openai` client: prompts of both kinds, stops, log-probabilities, seeds, streams."""

from __future__ import annotations

import httpx
import openai
import pytest

from opencwm.codec.tokenizer import VOCABULARY

END = VOCABULARY.ids["<end>"]
PROMPT = [VOCABULARY.ids["<begin>"], VOCABULARY.python_start, 100, 101]


def complete(served, **fields):
    prompt = PROMPT if served.name == "compact" else "x"
    return served.client.completions.create(model=served.name, **({"prompt": prompt, "max_tokens": 8} | fields))


def test_token_ids_in_and_out(compact):
    answer = complete(compact, temperature=0, extra_body={"return_token_ids": True})
    choice = answer.choices[0]
    assert choice.prompt_token_ids == PROMPT
    assert 1 <= len(choice.token_ids) <= 8
    assert choice.text == VOCABULARY.show(choice.token_ids[: -1 if choice.finish_reason == "stop" else None])
    assert answer.usage.prompt_tokens == 4 and answer.usage.completion_tokens == len(choice.token_ids)


def test_a_text_is_the_same_prompt(compact):
    by_ids = complete(compact, temperature=0).choices[0].text
    assert complete(compact, temperature=0, prompt=VOCABULARY.show(PROMPT)).choices[0].text == by_ids


def test_greedy_equals_the_model(compact):
    import torch

    answer = complete(compact, temperature=0, max_tokens=12, logprobs=3, extra_body={"return_token_ids": True})
    ids, chances = answer.choices[0].token_ids, answer.choices[0].logprobs.token_logprobs
    from opencwm.model.weights import load_weights

    model, _ = load_weights(compact.folder)
    with torch.no_grad():
        logprobs = model(torch.tensor([PROMPT + ids]))[0].log_softmax(-1)
    for place, (token, chance) in enumerate(zip(ids, chances, strict=True), len(PROMPT) - 1):
        assert token == int(logprobs[place].argmax())
        assert chance == pytest.approx(float(logprobs[place, token]), abs=1e-4)


def test_logprobs(compact):
    logprobs = complete(compact, logprobs=3, seed=1).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
    assert all(chance <= 0 for chance in logprobs.token_logprobs)
    assert all(1 <= len(top) <= 3 for top in logprobs.top_logprobs)
    starts = [sum(map(len, logprobs.tokens[:i])) for i in range(len(logprobs.tokens))]
    assert logprobs.text_offset == starts
    assert complete(compact, logprobs=0).choices[0].logprobs.top_logprobs[0] == {}
    assert complete(compact).choices[0].logprobs is None


def test_seeds(compact):
    first, again, other = (complete(compact, seed=seed, max_tokens=20).choices[0].text for seed in (5, 5, 6))
    assert first == again != other
    several = [choice.text for choice in complete(compact, seed=5, max_tokens=20, n=3).choices]
    assert several[0] == first and len(set(several)) == 3


def test_several_prompts_keep_their_order(hub):
    answer = complete(hub, prompt=["one", "two"], n=2, temperature=0, echo=True, max_tokens=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in answer.choices] == ["one", "one", "two", "two"]
    assert answer.usage.prompt_tokens == 6 and answer.usage.completion_tokens <= 12


@pytest.mark.parametrize("stream", [False, True])
def test_stop_texts_are_not_shown(hub, stream):
    with hub.say("Hello, wörld! Bye."):
        for stop, text in (["wör"], "Hello, "), ("! B", "Hello, wörld"), (["zzz", "d!", "!"], "Hello, wörl"):
            answer = complete(hub, stop=stop, max_tokens=50, stream=stream)
            choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
            assert "".join(choice.text for choice in choices) == text
            assert choices[-1].finish_reason == "stop"
            assert choices[-1].stop_reason in stop


def test_stop_ids_and_the_end(hub):
    with hub.say("abc", ends=True):
        answer = complete(hub, max_tokens=50, extra_body={"return_token_ids": True})
        assert answer.choices[0].text == "abc" and answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].token_ids[-1] == answer.choices[0].stop_reason == min(hub.codec.ends)
        stop = hub.codec.encode("b")
        answer = complete(hub, max_tokens=50, extra_body={"stop_token_ids": stop})
        assert answer.choices[0].text == "a" and answer.choices[0].stop_reason == stop[0]
    with hub.say("abc", ends=False):
        answer = complete(hub, max_tokens=2)
        assert answer.choices[0].text == "ab" and answer.choices[0].finish_reason == "length"


def test_a_reply_that_may_be_as_long_as_it_likes_ends_with_the_context(compact):
    answer = complete(compact, max_tokens=10_000, extra_body={"ignore_eos": True})
    assert answer.usage.total_tokens == 256 and answer.choices[0].finish_reason == "length"


def test_special_tokens_in_texts(hub):
    with hub.say("a<|im_start|>b"):
        assert complete(hub, max_tokens=9).choices[0].text == "ab"
        shown = complete(hub, max_tokens=9, extra_body={"skip_special_tokens": False})
        assert shown.choices[0].text == "a<|im_start|>b"
    ids = complete(hub, prompt="<|im_start|>x", extra_body={"return_token_ids": True}).choices[0].prompt_token_ids
    assert len(ids) == 2


def test_the_begin_token_is_added_once(llama3):
    for prompt in ("x", "<|begin_of_text|>x"):
        answer = complete(llama3, prompt=prompt, max_tokens=1, extra_body={"return_token_ids": True})
        assert answer.choices[0].prompt_token_ids == [128_000, ord("x")]
    bare = {"return_token_ids": True, "add_special_tokens": False}
    assert complete(llama3, prompt="x", max_tokens=1, extra_body=bare).choices[0].prompt_token_ids == [ord("x")]


def test_only_allowed_tokens_are_drawn(compact):
    answer = complete(compact, extra_body={"allowed_token_ids": [65, 66], "return_token_ids": True}, max_tokens=20)
    assert set(answer.choices[0].token_ids) <= {65, 66}


def test_legal_frames(llama3, compact):
    """CWM's format, from weights that know nothing: only frames, and of lines that control flow allows."""
    source = "def f(x):  # << START_OF_TRACE\n    if x:\n        return 1\n    return 2\n"
    prompt = f"<|trace_context_start|>{source}<|frame_sep|><|call_sep|>"
    wanted = {"legal_frames": True, "skip_special_tokens": False}
    texts = [
        complete(llama3, prompt=prompt, max_tokens=60, seed=n, extra_body=wanted).choices[0].text for n in range(3)
    ]
    assert all(text.startswith(("{}<|action_sep|>def f(x):\n<|frame_sep|><|line_sep|>", '{"x": "')) for text in texts)
    with pytest.raises(openai.BadRequestError, match="a prompt that begins a trace"):
        complete(llama3, prompt="x", extra_body=wanted)
    with pytest.raises(openai.BadRequestError, match="needs a model of CWM's format"):
        complete(compact, extra_body=wanted)


def test_streams_equal_whole_answers(compact):
    wanted = {"seed": 3, "n": 3, "max_tokens": 30, "logprobs": 2}
    whole = complete(compact, **wanted)
    texts, tokens, finishes = ["", "", ""], [[], [], []], {}
    usage = None
    for chunk in complete(compact, **wanted, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            tokens[choice.index] += choice.logprobs.tokens
            if choice.finish_reason:
                finishes[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert tokens == [choice.logprobs.tokens for choice in whole.choices]
    assert finishes == {choice.index: choice.finish_reason for choice in whole.choices}
    assert usage == whole.usage


@pytest.mark.parametrize("text", ["naïve café", "漢字かな交じり文", "👩‍👩‍👧‍👦🙂", "a\u0301e\u0300"])
def test_no_event_breaks_a_character(hub, text):
    with hub.say(text):
        parts = [chunk.choices[0].text for chunk in complete(hub, max_tokens=99, stream=True)]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    with hub.say(hub.codec.encode(text)[:-1], ends=True):
        assert complete(hub, max_tokens=99).choices[0].text.endswith("\ufffd" if text[-1] > "\x7f" else text[-2])


def test_models_health_and_metrics(compact):
    client = compact.client
    (model,) = client.models.list().data
    assert (model.id, model.codec, model.max_model_len) == (compact.name, "compact", 256)
    assert client.models.retrieve(compact.name).id == compact.name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    assert httpx.get(f"{compact.url}/health").json()["status"] == "ok"
    before = figures(compact)
    complete(compact, max_tokens=5, extra_body={"ignore_eos": True})
    after = figures(compact)
    assert after["cwm_generated_tokens_total"] == before["cwm_generated_tokens_total"] + 5
    assert after["cwm_prompt_tokens_total"] == before["cwm_prompt_tokens_total"] + len(PROMPT)
    counted = 'cwm_requests_total{path="/v1/completions",status="200"}'
    assert after[counted] == before[counted] + 1
    assert after["cwm_running_replies"] == after["cwm_waiting_replies"] == 0


def figures(served):
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}
