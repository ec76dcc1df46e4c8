"""Asking a server: what is tried again, what is told at once, and that every failure says what to do."""

from __future__ import annotations

import time
from types import SimpleNamespace

import httpx
import pytest

from opencwm.world import endpoint as module
from opencwm.world.endpoint import Endpoint, Refused
from opencwm.world.protocol import WorldError

TRUE_CLOCK, TRUE_SLEEP = time.monotonic, time.sleep


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses that were made, without making them; time goes on by them."""
    made = []
    clock = [0.0]

    def sleep(seconds):
        made.append(seconds)
        clock[0] += seconds

    # The module's name alone: the event loops of servers in other threads go by the true clock, and one that met this
    # one would sleep for as long as the machine has been up.
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    return made


def test_other_clocks_go_on(pauses):
    module.time.sleep(5)
    assert pauses == [5] and module.time.monotonic() == 5
    assert time.monotonic is TRUE_CLOCK and time.sleep is TRUE_SLEEP


def endpoint(*answers, **settings):
    """An endpoint whose server gives these answers one after another, the last one for ever."""
    left = list(answers)
    asked = []

    def answer(request):
        asked.append(request)
        given = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(given, Exception):
            raise given
        return given

    made = Endpoint("http://host:1/v1", transport=httpx.MockTransport(answer), **settings)
    made.asked = asked
    return made


OK = httpx.Response(200, json={"ok": True})


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_go_away_is_tried_again(status, pauses):
    asked = endpoint(httpx.Response(status, json={"error": {"message": "busy"}}), httpx.ConnectError("no"), OK)
    assert asked.post("/v1/completions", {"a": 1}) == {"ok": True}
    assert len(asked.asked) == 3 and len(pauses) == 2 and pauses[0] <= 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_a_refusal_is_told_at_once(status, pauses):
    asked = endpoint(httpx.Response(status, json={"error": {"message": "too\nlong", "code": "c"}}))
    with pytest.raises(Refused, match=f"http://host:1 answers {status}, too long") as raised:
        asked.get("/v1/models")
    assert (raised.value.status, raised.value.code) == (status, "c")
    assert len(asked.asked) == 1 and pauses == []


def test_patience_ends(pauses):
    asked = endpoint(httpx.Response(503, text="down"), patience=20)
    with pytest.raises(Refused, match="answers 503, down"):
        asked.get("/")
    assert 10 <= sum(pauses) <= 20
    with pytest.raises(WorldError, match="is it running"):
        endpoint(httpx.ConnectError("refused"), patience=0).get("/")


def test_the_server_says_how_long_to_wait(pauses):
    endpoint(httpx.Response(429, headers={"retry-after": "7"}), OK).get("/")
    assert pauses[0] >= 7
    endpoint(httpx.Response(429, headers={"retry-after": "Wed, 21 Oct"}), OK).get("/")


def test_a_slow_answer_is_not_asked_for_twice(pauses):
    asked = endpoint(httpx.ReadTimeout("slow"), timeout=3)
    with pytest.raises(WorldError, match="no answer within 3 s"):
        asked.get("/")
    assert len(asked.asked) == 1
    assert endpoint(httpx.ConnectTimeout("slow"), OK).get("/") == {"ok": True}


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])])
def test_an_answer_that_is_no_object(answer):
    with pytest.raises(WorldError, match="OpenAI-compatible"):
        endpoint(answer).get("/")


def test_the_key_is_sent():
    asked = endpoint(OK, key="k")
    asked.get("/v1/models")
    assert asked.asked[0].headers["authorization"] == "Bearer k" and asked.asked[0].url == "http://host:1/v1/models"


@pytest.mark.parametrize("url", ["host:1", "ftp://x", "http://", "http://host:port"])
def test_what_is_no_address(url):
    with pytest.raises(WorldError, match="HOST"):
        Endpoint(url, patience=0).get("/")
