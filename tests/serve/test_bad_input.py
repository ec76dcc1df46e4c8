"""Bad requests and bad clients: a clear error to that caller alone, and the server goes on answering the others."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time

import httpx
import pytest
from servers import folder_of, serving, small_model, write_compact, write_hub

from opencwm.codec.text import TokenizerError
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.model.weights import WeightsError, save_weights
from opencwm.serve import running
from opencwm.serve.app import Limits

PROMPT = [VOCABULARY.ids["<begin>"], VOCABULARY.python_start, 100]


def post(served, body, path="/v1/completions", **more):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{served.url}{path}", content=data, timeout=60, **more)


def refused(answer, status=400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"]


def alive(served):
    answer = post(served, {"prompt": PROMPT, "max_tokens": 2})
    assert answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"]


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "JSON object"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "not JSON"),
        ({}, "prompt"),
        ({"prompt": ""}, "empty"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "empty"),
        ({"prompt": [1, "a"]}, "whole numbers"),
        ({"prompt": [True]}, "whole numbers"),
        ({"prompt": [-1]}, "whole numbers"),
        ({"prompt": [1.0]}, "whole numbers"),
        ({"prompt": [VOCABULARY.size]}, f"outside the vocabulary of {VOCABULARY.size}"),
        ({"prompt": [10**30]}, "outside the vocabulary"),
        ({"prompt": [65] * 256}, "maximum context length is 256 tokens, the prompt has 256"),
        ({"prompt": "x" * 5000}, "the prompt has 5,000"),
        ({"prompt": ["a"] * 129}, "128"),
        ({"max_tokens": 0}, "max_tokens: give a whole number from 1"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": -1}, "temperature: give a number from 0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n: give"),
        ({"n": 1000}, "n: give"),
        ({"seed": 0.5}, "seed"),
        ({"logprobs": 1000}, "logprobs"),
        ({"stop": 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop_token_ids": ["a"]}, "stop_token_ids"),
        ({"allowed_token_ids": []}, "allowed_token_ids"),
        ({"allowed_token_ids": [VOCABULARY.size]}, "allowed_token_ids"),
        ({"stream": "yes"}, "stream: give true or false"),
        ({"echo": True, "logprobs": 1}, "echo with logprobs"),
        ({"best_of": 3}, "best_of is not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias is not supported"),
        ({"presence_penalty": 1}, "presence_penalty is not supported"),
    ],
)
def test_bad_completions(compact, body, says):
    body = {"prompt": PROMPT, "max_tokens": 2} | body if isinstance(body, dict) and body else body
    assert says in refused(post(compact, body))
    alive(compact)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "messages: give a list"),
        ({"messages": []}, "at least one"),
        ({"messages": ["hi"]}, r"messages[0]: give an object"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "surrogate"),
        ({"messages": [{"role": "user", "content": "x" * 9000}]}, "maximum context length"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "names no earlier call"),
        ({"tools": [{}]}, "tools[0].function"),
        ({"tools": [{"function": {"name": "a>b"}}]}, "tools[0].function"),
        ({"tool_choice": "required"}, "cannot be forced"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "enable_thinking"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ],
)
def test_bad_chats(hub, body, says):
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2} | body if body else body
    assert says in refused(post(hub, body, "/v1/chat/completions"))


def test_other_models_and_paths(compact):
    assert "this server has 'compact'" in refused(post(compact, {"model": "gpt", "prompt": PROMPT}), 404)
    assert "there is no /v1/nothing" in refused(post(compact, {}, "/v1/nothing"), 404)
    answer = httpx.get(f"{compact.url}/v1/completions")
    assert "does not take GET" in refused(answer, 405) and answer.headers["allow"] == "POST"


def test_a_request_of_100_megabytes(compact):
    before = memory()
    assert "exceeds the limit of 1,048,576 bytes" in refused(post(compact, b" " * 100_000_000), 413)

    def pieces():
        for _ in range(100):
            yield b" " * 1_000_000

    assert "exceeds the limit" in refused(httpx.post(f"{compact.url}/v1/completions", content=pieces()), 413)
    assert memory() - before < 250  # the 100 MB of this client included
    alive(compact)


def memory():
    """Resident megabytes of this process, which is the server's too."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away(hub, stream):
    body = json.dumps({"prompt": "x", "max_tokens": 1900, "stream": stream, "ignore_eos": True, "n": 2}).encode()
    host, port = hub.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    until(lambda: hub.engine.running == 2)
    if stream:
        assert b"200 OK" in connection.recv(4096)
    connection.close()
    until(lambda: hub.engine.running + hub.engine.waiting == 0, seconds=5)
    assert "cwm_cancelled_replies_total" in httpx.get(f"{hub.url}/metrics").text
    assert post(hub, {"prompt": "x", "max_tokens": 2}).status_code == 200


def test_half_a_request(compact):
    host, port = compact.url.removeprefix("http://").split(":")
    for text in (
        b"",
        b"GET",
        b"\x00\xff\xfe",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(text)
    alive(compact)


def test_200_clients_at_once(hub):
    async def one(client, number):
        body = {"prompt": f"client {number}", "max_tokens": 4, "temperature": 0, "echo": True, "ignore_eos": True}
        answer = await client.post(f"{hub.url}/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["text"].startswith(f"client {number}")

    async def all_of_them():
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            await asyncio.gather(*(one(client, number) for number in range(200)))

    asyncio.run(all_of_them())


def test_a_full_queue(tmp_path):
    folder = folder_of(tmp_path / "m", write_hub, positions=2048)
    with serving(folder, limits=Limits(queue=2), batch=1) as served:
        long = {"prompt": "x", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        with (
            httpx.stream("POST", f"{served.url}/v1/completions", json=long, timeout=60) as one,
            httpx.stream("POST", f"{served.url}/v1/completions", json=long, timeout=60) as two,
        ):
            assert one.status_code == two.status_code == 200
            answer = post(served, {"prompt": "x"})
            assert "the limit is 2: try again later" in refused(answer, 429) and answer.headers["retry-after"] == "1"
        until(lambda: served.engine.running + served.engine.waiting == 0)
        assert "try again later" in refused(post(served, {"prompt": "x", "n": 3}), 429)
        assert post(served, {"prompt": "x", "max_tokens": 1}).status_code == 200


def test_the_key(tmp_path):
    folder = folder_of(tmp_path / "m", write_compact)
    with serving(folder, key="sesame") as served:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sesame"}):
            for path in ("/v1/models", "/metrics", "/v1/nothing"):
                answer = httpx.get(served.url + path, headers=headers)
                assert "give the server's key" in refused(answer, 401)
        assert httpx.get(f"{served.url}/health").status_code == 200
        assert httpx.get(f"{served.url}/v1/models", headers={"authorization": "Bearer sesame"}).status_code == 200


def test_an_engine_that_fails(compact, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(compact.engine.runner, "hidden", fail)
        for _ in range(3):
            assert "out of memory" in refused(post(compact, {"prompt": PROMPT}), 500)
        assert httpx.get(f"{compact.url}/health").status_code == 503
    alive(compact)
    assert httpx.get(f"{compact.url}/health").status_code == 200


def test_what_is_under_way_is_finished_and_the_rest_told(tmp_path):
    folder = folder_of(tmp_path / "m", write_hub, positions=2048)
    results = []
    with serving(folder) as served:

        def ask(tokens):
            body = {"prompt": "x", "max_tokens": tokens, "ignore_eos": True}
            results.append((tokens, post(served, body)))

        threads = [threading.Thread(target=ask, args=(n,)) for n in (1900, 50)]
        for thread in threads:
            thread.start()
            until(lambda: served.engine.running or results)
        # On a busy machine the short one may be over already.
        until(lambda: served.engine.running == 2 or 50 in dict(results))
    for thread in threads:
        thread.join()
    answers = dict(results)
    assert answers[50].status_code == 200
    assert answers[1900].status_code in (200, 500, 503)


# Folders that cannot be served


def test_weights_without_a_tokenizer(tmp_path):
    save_weights(tmp_path, small_model(300), {})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(TokenizerError, match=r"no tokenizer\.model and no tokenizer\.json"):
        running.load(running.Settings(tmp_path))


def test_a_tokenizer_of_another_model(tmp_path):
    write_hub(tmp_path)
    save_weights(tmp_path, small_model(VOCABULARY.size + 2000), {})
    with pytest.raises(TokenizerError, match="do not belong together"):
        running.load(running.Settings(tmp_path))
    save_weights(tmp_path, small_model(100), {})
    with pytest.raises(TokenizerError, match="258 tokens, the model 100"):
        running.load(running.Settings(tmp_path))


def test_damaged_tokenizers_and_templates(tmp_path):
    save_weights(tmp_path, small_model(write_hub(tmp_path)), {})
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"chat_template": "{% for %}"}')
    with pytest.raises(TokenizerError, match="chat template cannot be read"):
        running.load(running.Settings(tmp_path))
    settings.write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json cannot be read"):
        running.load(running.Settings(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="is no tokenizer"):
        running.load(running.Settings(tmp_path))
    (tmp_path / "tokenizer.model").write_text("hello\n")
    with pytest.raises(TokenizerError, match="line 1"):
        running.load(running.Settings(tmp_path))


def test_weights_of_another_architecture(tmp_path):
    write_hub(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(WeightsError):
        running.load(running.Settings(tmp_path))


def test_a_context_longer_than_the_model_holds(tmp_path):
    folder = folder_of(tmp_path / "m", write_compact)
    with pytest.raises(running.ServeError, match="holds at most 256"):
        running.load(running.Settings(folder, context=257))


def test_a_port_that_is_taken():
    with running.listen("127.0.0.1", 0) as taken, pytest.raises(running.ServeError, match="give another --port"):
        running.listen("127.0.0.1", taken.getsockname()[1])


def test_keep_alive_after_errors(compact):
    host, port = compact.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    for _ in range(3):
        connection.request("POST", "/v1/completions", b"{")
        answer = connection.getresponse()
        assert answer.status == 400 and answer.read()
    connection.close()
