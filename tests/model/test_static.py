"""The decoding pass of fixed shapes: the training pass's numbers, padding, replay, and what PyTorch's compiler makes of it.

No GPU is needed: graphs are replaced by a recorder that does the work again, and the compiler runs on the CPU (slow), or
traces the pass without generating code ("eager").
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from opencwm.model import static
from opencwm.model.cache import Segment
from opencwm.model.engine import Engine
from opencwm.model.runner import Runner
from opencwm.model.sampling import Sampling
from opencwm.model.static import CompileError, StaticPass, filled
from opencwm.model.transformer import Transformer

from .conftest import prompt, random_model

EXTRAS = dict(qk_norm=True, conv_width=4, tie_embeddings=True, local_window=7, global_every=2)
COMPILER = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module", params=["eager", pytest.param("inductor", marks=COMPILER)])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "BACKEND", request.param)
        yield request.param


def build(**changes: object) -> Transformer:
    return random_model({"layers": 3, "max_positions": 700} | changes)


def again(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """What a CUDA graph does: the same work on the same tensors, into the same result, of which nothing is kept."""
    kept = work().clone()
    return lambda: kept.copy_(work()), kept.fill_(float("nan"))


@pytest.mark.parametrize("changes", [pytest.param({}, marks=pytest.mark.slow), EXTRAS], ids=str)
def test_the_engine_gives_the_training_passes_numbers(backend: str, changes: dict[str, object]) -> None:
    """Prompts longer and shorter than a step, several lengths at once, steps that are filled up, a ring gone round."""
    model = build(**changes)
    engine = Engine(model, max_tokens=130, max_batch=3, chunk=80, compile=True)
    prompts = [prompt(n, seed) for seed, n in enumerate((1, 90, 40, 12))]
    generations = [engine.submit(ids, Sampling(max_tokens=20, seed=i)) for i, ids in enumerate(prompts)]
    while engine.step():
        pass
    for ids, generation in zip(prompts, generations, strict=True):
        tokens = generation.result()
        with torch.inference_mode():
            table = model(torch.tensor([[*ids, *(token.id for token in tokens)]]))[0].log_softmax(-1)
        wanted = torch.stack([table[len(ids) - 1 + i, token.id] for i, token in enumerate(tokens)])
        assert (wanted - torch.tensor([token.logprob for token in tokens])).abs().max() < 1e-4
        assert len(tokens) == 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_the_same_as_the_plain_pass(backend: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCWM_DECODE", "torch")
    model = build(**EXTRAS)
    plain, fixed = Runner(model, kind), Runner(model, kind, compile=True)  # type: ignore[arg-type]
    caches = [runner.new_cache(3, 40, chunk=12) for runner in (plain, fixed)]
    for lengths in ((5, 1), (1, 1, 1), (12, 3, 1), (2, 2, 12)):
        segments = [Segment(slot, prompt(length, slot)) for slot, length in enumerate(lengths)]
        wanted, found = (
            runner.logits(runner.hidden(cache, segments)).log_softmax(-1)
            for runner, cache in zip((plain, fixed), caches, strict=True)
        )
        # In bfloat16 the compiler leaves out roundings between steps.
        assert (wanted - found).abs().max() < (1e-4 if kind == "float32" else 0.3)
        assert (wanted.exp() - found.exp()).abs().sum(-1).mean() < (1e-4 if kind == "float32" else 0.05)


def test_a_recording_is_replayed_with_new_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "BACKEND", "eager")
    model = build()
    runner = Runner(model, compile=True)
    recorded: list[object] = []

    def record(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        recorded.append(work)
        return again(work)

    runner.static = StaticPass(runner.static._weights, record=record)  # type: ignore[union-attr]
    cache = runner.new_cache(4, 600, chunk=400)
    texts: list[list[int]] = [[], [], [], []]
    kept = []
    for lengths in ((3, 1, 1), (1, 1, 1, 1), (1, 2, 1), (300, 1), (1, 1, 1), (30, 1, 1), (1, 1, 1, 1)):
        segments = [Segment(slot, prompt(length, slot + 9)) for slot, length in enumerate(lengths)]
        hidden_NC = runner.hidden(cache, segments)
        kept.append((hidden_NC, hidden_NC.clone()))
        for segment, logits in zip(segments, runner.logits(hidden_NC).split(list(lengths)), strict=False):
            texts[segment.slot] += segment.ids
            with torch.inference_mode():
                wanted = model(torch.tensor([texts[segment.slot]]))[0, -len(segment.ids) :]
            torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
    assert len(recorded) == 4  # 8 and 4 tokens over 256 positions, 4 and 32 over 512; the step of 301 is none
    assert all(torch.equal(given, then) for given, then in kept), "a replay wrote into what was handed out"


def test_long_steps_and_long_contexts_are_left_to_the_other_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "BACKEND", "eager")
    monkeypatch.setattr(static, "MOST_SEEN", 100)
    runner = Runner(build(), compile=True)
    cache = runner.new_cache(2, 200, chunk=100)
    assert runner.static is not None
    assert runner.static.fits(cache, [Segment(0, prompt(63)), Segment(1, [1])])
    assert not runner.static.fits(cache, [Segment(0, prompt(64)), Segment(1, [1])])
    runner.hidden(cache, [Segment(0, prompt(99))])
    assert runner.static.fits(cache, [Segment(0, [1])])
    assert not runner.static.fits(cache, [Segment(0, [1, 2])])
    assert [filled(count, 2) for count in (1, 2, 3, 4, 5, 64)] == [2, 2, 4, 4, 8, 64]


def test_a_machine_without_a_compiler_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no g++ here\nand much more")

    monkeypatch.setattr(static, "BACKEND", broken)
    with pytest.raises(CompileError, match=r"cannot compile .*no g\+\+ here.*decode without compiling"):
        Engine(build(), max_tokens=50, max_batch=1, compile=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiler_writes_the_cache_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph for each kind of layer, whatever the step, and no copy of keys and values in it."""
    from torch._inductor.utils import run_and_get_code

    monkeypatch.setattr(static, "BACKEND", "inductor")
    runner = Runner(build(**EXTRAS, ffn_dim=56), compile=True)
    cache = runner.new_cache(4, 600, chunk=100)

    def steps() -> None:
        for lengths in ((3,), (5, 1), (1, 1, 1), (12, 3, 1), (60,), (2, 2, 12)):
            runner.hidden(cache, [Segment(slot, prompt(length, slot)) for slot, length in enumerate(lengths)])

    _, codes = run_and_get_code(steps)
    assert len(codes) == 2
    sizes = {tuple(heads.shape) for heads in cache.heads_SEPD} | {tuple(cache.ffn_inputs_SPC[0].shape)}
    for code in codes:
        made = [line for line in code.splitlines() if "empty_strided" in line and " = " in line]
        assert made and not [line for line in made for size in sizes if str(size) in line]
