"""A server comes to an end whatever its engine and its clients are doing."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from servers import folder_of, serving, write_compact

from opencwm.serve import pump


class Stuck:
    """A constraint that does not answer until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def allowed(self):
        self.asked.set()
        self.let_go.wait()

    def push(self, token):
        pass

    def forced(self):
        return ()


def test_a_step_that_does_not_end_is_left_behind(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pump, "PATIENCE", 0.2)
    stuck = Stuck()
    monkeypatch.setattr("opencwm.serve.answering.Only", lambda allowed: stuck)
    answers = []

    def ask(url):
        body = {"prompt": [1, 2], "max_tokens": 5, "allowed_token_ids": [1]}
        try:
            answers.append(httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code)
        except httpx.TransportError as error:
            answers.append(error)

    with serving(folder_of(tmp_path / "m", write_compact)) as served:
        client = threading.Thread(target=ask, args=(served.url,), daemon=True)
        client.start()
        assert stuck.asked.wait(30)
        start = time.monotonic()
    stuck.let_go.set()
    client.join(30)
    assert time.monotonic() - start < 15 and len(answers) == 1 and answers[0] != 200
    assert "still in a step" in caplog.text


def test_clients_that_stay_do_not_keep_it(tmp_path):
    with ExitStack() as open_ones:
        with serving(folder_of(tmp_path / "m", write_compact)) as served:
            host, port = served.url.removeprefix("http://").split(":")
            for text in (b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                         b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"):  # fmt: skip
                connection = open_ones.enter_context(socket.create_connection((host, int(port))))
                connection.sendall(text)
            assert open_ones.enter_context(httpx.Client()).get(f"{served.url}/health").status_code == 200
            start = time.monotonic()
        assert time.monotonic() - start < 15
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/health")
