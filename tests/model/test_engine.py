"""The engine: the training pass's numbers, batching, prefix reuse, sampling, cancellation."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.model.cache import Cache, Segment, cache_bytes
from opencwm.model.config import preset
from opencwm.model.engine import Engine
from opencwm.model.generation import Generation, GenerationError
from opencwm.model.runner import Runner
from opencwm.model.sampling import Sampling, Token, draw
from opencwm.model.session import Session
from opencwm.model.transformer import Transformer

from .conftest import VOCABULARY, prompt, random_model

pytestmark = pytest.mark.usefixtures("decoding")
EXTRAS = dict(qk_norm=True, conv_width=4, tie_embeddings=True)
WINDOW = dict(local_window=7, global_every=3)
VARIANTS = pytest.mark.parametrize("changes", [{}, EXTRAS, WINDOW, EXTRAS | WINDOW], ids=str)


def build(**changes: object) -> Transformer:
    return random_model(changes)


def finish(engine: Engine, generations: Sequence[Generation]) -> list[list[Token]]:
    for _ in range(10_000):
        if all(generation.finish_reason is not None for generation in generations):
            return [generation.result() for generation in generations]
        engine.step()
    raise AssertionError("the engine does not come to an end")


def training_logprobs(model: Transformer, ids: Sequence[int], tokens: Sequence[Token]) -> torch.Tensor:
    """Log-probabilities of a continuation in the training pass."""
    everything = [*ids, *(token.id for token in tokens)]
    with torch.inference_mode():
        table = model(torch.tensor([everything]))[0].float().log_softmax(-1)
    return torch.stack([table[len(ids) - 1 + i, token.id] for i, token in enumerate(tokens)])


@VARIANTS
def test_log_probabilities_are_those_of_the_training_pass(changes: dict[str, object]) -> None:
    model = build(**changes)
    engine = Engine(model, max_tokens=128, max_batch=3, chunk=16)
    prompts = [prompt(n, seed) for seed, n in enumerate((1, 5, 40, 17, 60))]
    generations = [engine.submit(ids, Sampling(max_tokens=50, seed=i)) for i, ids in enumerate(prompts)]
    for ids, tokens in zip(prompts, finish(engine, generations), strict=True):
        assert len(tokens) == 50
        wanted = training_logprobs(model, ids, tokens)
        assert (wanted - torch.tensor([token.logprob for token in tokens])).abs().max() < 1e-4


@VARIANTS
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_mix_of_segments_gives_the_training_logits(changes: dict[str, object], data: st.DataObject) -> None:
    model = build(**changes)
    runner = Runner(model)
    slots, room, chunk = 4, 80, 12
    cache = runner.new_cache(slots, room, chunk=chunk)
    texts: list[list[int]] = [[] for _ in range(slots)]
    for _ in range(data.draw(st.integers(1, 12))):
        chosen = data.draw(st.lists(st.integers(0, slots - 1), min_size=1, max_size=slots, unique=True))
        segments = []
        for slot in chosen:
            length = data.draw(st.one_of(st.just(1), st.integers(1, chunk)))
            if len(texts[slot]) + length <= room:
                segments.append(Segment(slot, [data.draw(st.integers(0, VOCABULARY - 1)) for _ in range(length)]))
        if not segments:
            continue
        parts = runner.logits(runner.hidden(cache, segments)).split([len(segment.ids) for segment in segments])
        for segment, logits in zip(segments, parts, strict=True):
            texts[segment.slot] += segment.ids
            with torch.inference_mode():
                wanted = model(torch.tensor([texts[segment.slot]]))[0, -len(segment.ids) :]
            torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
        source, target = data.draw(st.permutations(range(slots)))[:2]
        length = data.draw(st.integers(0, len(texts[source])))
        if cache.reaches(source, length) and data.draw(st.booleans()):
            cache.clear(target)
            cache.copy(source, target, length)
            texts[target] = texts[source][:length]
        slot, back = data.draw(st.integers(0, slots - 1)), data.draw(st.integers(0, 20))
        if cache.reaches(slot, max(0, len(texts[slot]) - back)):
            del texts[slot][max(0, len(texts[slot]) - back) :]
            cache.lengths[slot] = len(texts[slot])


@VARIANTS
def test_batching_does_not_change_a_seeded_continuation(changes: dict[str, object]) -> None:
    model = build(**changes)
    wishes = [(prompt(3 + 7 * i, i), Sampling(max_tokens=30, seed=i, temperature=0.8, top_p=0.9)) for i in range(6)]
    together = Engine(model, max_tokens=128, max_batch=6, chunk=16)
    batched = finish(together, [together.submit(ids, sampling) for ids, sampling in wishes])
    alone = Engine(model, max_tokens=128, max_batch=1, chunk=16, kept=0)
    for (ids, sampling), tokens in zip(wishes, batched, strict=True):
        assert [t.id for t in finish(alone, [alone.submit(ids, sampling)])[0]] == [t.id for t in tokens]


def test_samples_share_their_prompt() -> None:
    engine = Engine(build(), max_tokens=128, max_batch=8, chunk=16)
    ids = prompt(90)
    generations = [engine.submit(ids, Sampling(max_tokens=5, seed=i)) for i in range(8)]
    samples = finish(engine, generations)
    assert [generation.reused_tokens for generation in generations] == [0] + [89] * 7
    assert len({tuple(token.id for token in tokens) for tokens in samples}) > 1
    assert engine.forward_passes <= 6 + 2 + 5


@pytest.mark.parametrize("changes", [{}, WINDOW], ids=str)
def test_a_context_that_grows_is_never_computed_twice(changes: dict[str, object]) -> None:
    model = build(**changes)
    engine = Engine(model, max_tokens=200, max_batch=2, chunk=16)
    ids = prompt(60)
    for step in range(8):
        generation = engine.submit(ids, Sampling(max_tokens=10, temperature=0))
        [tokens] = finish(engine, [generation])
        assert generation.reused_tokens == (len(ids) - 4 if step else 0)
        wanted = training_logprobs(model, ids, tokens)
        assert (wanted - wanted.new_tensor([token.logprob for token in tokens])).abs().max() < 1e-4
        ids = [*ids, *(token.id for token in tokens), *prompt(3, step)]


def test_a_ring_that_has_moved_on_is_not_reused() -> None:
    model = build(**WINDOW)
    engine = Engine(model, max_tokens=200, max_batch=1, chunk=8, kept=0)
    ids = prompt(20)
    finish(engine, [engine.submit(ids, Sampling(max_tokens=60, seed=1))])
    generation = engine.submit(ids, Sampling(max_tokens=20, seed=2))
    [tokens] = finish(engine, [generation])
    assert generation.reused_tokens == 0
    wanted = training_logprobs(model, ids, tokens)
    assert (wanted - torch.tensor([token.logprob for token in tokens])).abs().max() < 1e-4


def test_stop_ids_length_and_alternatives() -> None:
    engine = Engine(build(), max_tokens=128, max_batch=2)
    [free] = finish(engine, [engine.submit(prompt(4), Sampling(max_tokens=20, temperature=0, logprobs=3))])
    assert all(len(token.alternatives) == 3 and token.alternatives[0] == (token.id, token.logprob) for token in free)
    last = free[7].id
    first = next(i for i, token in enumerate(free) if token.id == last)
    stopped = engine.submit(prompt(4), Sampling(max_tokens=20, temperature=0, stop_ids=frozenset({last})))
    [tokens] = finish(engine, [stopped])
    assert stopped.finish_reason == "stop" and [t.id for t in tokens] == [t.id for t in free[: first + 1]]
    short = engine.submit(prompt(4), Sampling(max_tokens=5, temperature=0))
    finish(engine, [short])
    assert short.finish_reason == "length"


def test_cancelled_while_waiting_and_while_running() -> None:
    engine = Engine(build(), max_tokens=128, max_batch=1)
    running = engine.submit(prompt(4), Sampling(max_tokens=100))
    waiting = engine.submit(prompt(5, 1), Sampling(max_tokens=100))
    third = engine.submit(prompt(6, 2), Sampling(max_tokens=3))
    for _ in range(5):
        engine.step()
    assert (engine.running, engine.waiting) == (1, 2)
    running.cancel()
    waiting.cancel()
    assert len(finish(engine, [running, waiting, third])[2]) == 3
    assert running.finish_reason == waiting.finish_reason == "cancelled" and third.finish_reason == "length"
    assert not engine.step() and engine.running == engine.waiting == 0


def test_threads_submit_while_the_engine_runs() -> None:
    model = build()
    engine, stop = Engine(model, max_tokens=64, max_batch=4, chunk=16), threading.Event()
    worker = threading.Thread(target=engine.run, args=(stop,))
    worker.start()
    results: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        generation = engine.submit(prompt(5 + number, number), Sampling(max_tokens=20, seed=number))
        results[number] = [token.id for token in generation]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    left_over = engine.submit(prompt(3), Sampling(max_tokens=60))
    stop.set()
    worker.join(30)
    assert not worker.is_alive() and left_over.finish_reason is not None
    again = Engine(model, max_tokens=64, max_batch=1)
    for number, ids in results.items():
        sampling = Sampling(max_tokens=20, seed=number)
        [tokens] = finish(again, [again.submit(prompt(5 + number, number), sampling)])
        assert [token.id for token in tokens] == ids


class Counting:
    """Allows only the token after the last one, and forces every one that is no multiple of four."""

    def __init__(self, last: int, *, jump: bool) -> None:
        self.last, self.jump = last, jump

    def allowed(self) -> list[int]:
        return [(self.last + 1) % VOCABULARY]

    def push(self, token: int) -> None:
        assert token == (self.last + 1) % VOCABULARY
        self.last = token

    def forced(self) -> list[int]:
        if not self.jump:
            return []
        following = self.last + 1
        return [token % VOCABULARY for token in range(following, following + -following % 4)]


def test_forced_tokens_cost_no_pass_of_their_own() -> None:
    passes = {}
    for jump in (False, True):
        engine = Engine(build(), max_tokens=128, max_batch=2, chunk=16)
        generation = engine.submit(prompt(4), Sampling(max_tokens=40, constraint=Counting(-1, jump=jump)))
        [tokens] = finish(engine, [generation])
        assert [token.id for token in tokens] == list(range(40))
        assert all(abs(token.logprob) < 1e-6 for token in tokens)
        passes[jump] = engine.forward_passes
    assert passes[False] == 40 and passes[True] <= 11


def test_a_constraint_that_fails_harms_only_its_own_sequence() -> None:
    class Broken(Counting):
        def push(self, token: int) -> None:
            raise ZeroDivisionError("broken")

    engine = Engine(build(), max_tokens=64, max_batch=2)
    broken = engine.submit(prompt(4), Sampling(max_tokens=9, constraint=Broken(3, jump=False)))
    sound = engine.submit(prompt(4), Sampling(max_tokens=9))
    while sound.finish_reason is None:
        engine.step()
    assert len(sound.result()) == 9 and broken.finish_reason == "error"
    with pytest.raises(GenerationError, match="the constraint failed: broken"):
        broken.result()


def test_impossible_requests_are_refused() -> None:
    engine = Engine(build(), max_tokens=32, max_batch=1)
    for ids, most, words in [
        ([], 4, "the prompt is empty"),
        ([3, 40], 4, "token 40 is outside the vocabulary of 40"),
        ([-1], 4, "token -1 is outside"),
        ([1] * 32, 1, "shorten the prompt to at most 31 tokens"),
        ([1] * 20, 13, "ask for at most 12 tokens"),
    ]:
        with pytest.raises(ValueError, match=words):
            engine.submit(ids, Sampling(max_tokens=most))
    for wrong in (dict(max_tokens=0), dict(temperature=-1.0), dict(top_p=0.0), dict(logprobs=-1)):
        with pytest.raises(ValueError, match="give"):
            Sampling(**({"max_tokens": 1} | wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_positions"):
        Engine(build(), max_tokens=257, max_batch=1)
    assert not engine.step()


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, float("-inf")]]).repeat(4000, 1)
    sampling = Sampling(max_tokens=1, temperature=0.7, top_p=0.9)
    generators = [random.Random(i) for i in range(4000)]
    tokens = draw(logits, [sampling] * 4000, generators, [None] * 4000)
    chances = (logits[0] / 0.7).softmax(0)
    kept = chances[:2] / chances[:2].sum()  # 0.77 and 0.18: together the first to reach 0.9
    for token in range(2):
        share = sum(t.id == token for t in tokens) / 4000
        assert abs(share - kept[token]) < 0.03
        assert all(abs(t.logprob - kept[token].log()) < 1e-5 for t in tokens if t.id == token)
    assert {t.id for t in tokens} == {0, 1}


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_smaller_weights_stay_close(weights: str) -> None:
    model = build(**EXTRAS, **WINDOW)
    with torch.inference_mode():
        wanted = model(torch.tensor([prompt(50)]))[0].log_softmax(-1)
    session = Session(Runner(model, weights))  # type: ignore[arg-type]
    found = session.feed_all(prompt(50)).log_softmax(-1)
    assert found.dtype == torch.float32
    assert (found.exp() - wanted.exp()).abs().sum(-1).mean() < 0.2
    assert not torch.equal(found, wanted)


def test_new_weights_are_used_from_the_next_step_on() -> None:
    first, second = build(), build(norm_eps=1e-5)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    engine = Engine(first, max_tokens=64, max_batch=1)
    generation = engine.submit(prompt(10), Sampling(max_tokens=20, seed=0))
    for _ in range(8):
        engine.step()
    engine.replace_weights(second)
    [tokens] = finish(engine, [generation])
    found = torch.tensor([token.logprob for token in tokens])
    old, new = training_logprobs(first, prompt(10), tokens), training_logprobs(second, prompt(10), tokens)
    assert (found - old)[:8].abs().max() < 1e-4 and (found - new)[8:].abs().max() < 1e-4


def test_local_layers_keep_a_third_of_the_memory() -> None:
    config = preset("cwm-32b")
    whole = cache_bytes(config, 131072, chunk=512, itemsize=2, local=False)
    assert whole == 2 * 64 * 8 * 128 * 131072 * 2
    assert cache_bytes(config, 131072, chunk=512, itemsize=2) / whole <= 0.32
    small = preset("cwm-32b", dim=16, heads=2, kv_heads=1, head_dim=8, ffn_dim=16, vocab_size=32, local_window=8192)
    cache = Cache(small, 1, 131072, chunk=512, dtype=torch.bfloat16, device=torch.device("cpu"))
    assert cache.bytes == cache_bytes(small, 131072, chunk=512, itemsize=2)
