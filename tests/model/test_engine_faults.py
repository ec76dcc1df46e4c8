"""The engine's thread outlives what goes wrong around it, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from opencwm.model.config import ModelConfig
from opencwm.model.engine import Engine
from opencwm.model.generation import GenerationError
from opencwm.model.sampling import Sampling, Token
from opencwm.model.transformer import Transformer


def build() -> Engine:
    config = ModelConfig(vocab_size=40, dim=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn_dim=32)
    return Engine(Transformer(config, seed=1), max_tokens=64, max_batch=2)


@contextmanager
def running(engine: Engine) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=engine.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_a_listener_that_raises_ends_its_own_sequence_alone() -> None:
    heard: list[Token | None] = []

    def gone(token: Token | None) -> None:
        heard.append(token)
        raise RuntimeError("the event loop is closed")

    engine = build()
    with running(engine):
        lost = engine.submit([1, 2], Sampling(max_tokens=60), listener=gone)
        other = engine.submit([3, 4], Sampling(max_tokens=30))
        assert len(other.result()) == 30
        lost.result()
    assert lost.finish_reason == "cancelled" and other.finish_reason == "length"
    assert len(heard) == 1


def test_a_fault_outside_the_forward_pass_is_told_to_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build()
    real, failures = engine._admit, [RuntimeError("no slot")]

    def admit() -> None:
        if failures and engine.waiting:
            raise failures.pop()
        real()

    monkeypatch.setattr(engine, "_admit", admit)
    with running(engine):
        with pytest.raises(GenerationError, match="no slot"):
            engine.submit([1, 2], Sampling(max_tokens=5)).result()
        assert len(engine.submit([1, 2], Sampling(max_tokens=5)).result()) == 5


def test_what_comes_after_the_end_is_cancelled() -> None:
    engine = build()
    with running(engine) as stop:
        under_way = engine.submit([1, 2], Sampling(max_tokens=60))
        stop.set()
    late = engine.submit([1, 2], Sampling(max_tokens=5))
    assert under_way.finish_reason is not None
    assert late.result() == [] and late.finish_reason == "cancelled"
    with running(engine):
        assert len(engine.submit([1, 2], Sampling(max_tokens=5)).result()) == 5
