"""The decoding pass in C: its products, its threads, and that it is the one that is used."""

from __future__ import annotations

import os
import threading

import pytest
import torch
from torch import Tensor

from opencwm.model import compiled
from opencwm.model.cache import Segment
from opencwm.model.compiled import CompiledPass, usable
from opencwm.model.config import ModelConfig, preset
from opencwm.model.runner import Runner
from opencwm.model.transformer import Transformer

pytestmark = pytest.mark.skipif(
    not usable(preset("tiny"), torch.device("cpu")), reason="needs AVX-512 and a C compiler at installation"
)


def build(**changes: object) -> Transformer:
    sizes = dict(vocab_size=150, dim=72, layers=3, heads=6, kv_heads=2, head_dim=24, ffn_dim=100, max_positions=256)
    return Transformer(ModelConfig.from_dict(sizes | changes), seed=1)


def run(runner: Runner, slots: int = 5) -> Tensor:
    """Logits after pieces of several sequences."""
    cache = runner.new_cache(slots, 200, chunk=50)
    parts = []
    for length in (20, 1, 3, 1):
        segments = [Segment(slot, [(7 * slot + i) % 150 for i in range(length)]) for slot in range(slots)]
        parts.append(runner.logits(runner.hidden(cache, segments)))
    return torch.cat(parts)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 16, 40])
@pytest.mark.parametrize(("kind", "far"), [("float32", 1e-5), ("bfloat16", 1e-5), ("int8", 1e-5)])
def test_products(rows: int, kind: str, far: float) -> None:
    """Exact but for the order of sums, on inputs and weights rounded as the kind says."""
    model = build()
    x_NC = torch.randn(rows, 72, generator=torch.Generator().manual_seed(rows))
    weight_VC = model.output.weight.detach()
    if kind == "bfloat16":
        wanted = x_NC.bfloat16().double() @ weight_VC.bfloat16().double().t()
    elif kind == "int8":
        scale_V1 = weight_VC.abs().amax(1, keepdim=True) / 127
        scale_N1 = x_NC.abs().amax(1, keepdim=True) / 127
        wanted = (x_NC / scale_N1).round().double() @ (weight_VC / scale_V1).round().double().t()
        wanted = wanted * scale_N1 * scale_V1.t()
    else:
        wanted = x_NC.double() @ weight_VC.double().t()
    found = CompiledPass(model, kind).logits(x_NC)
    # A half may round up in one and down in the other: one step of one input.
    steps = 2 * float((x_NC.abs().amax() / 127) * weight_VC.abs().amax()) if kind == "int8" else 0
    torch.testing.assert_close(found, wanted.float(), rtol=far, atol=far + steps)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_threads_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    alone = run(Runner(model, kind))  # type: ignore[arg-type]
    monkeypatch.setattr(compiled, "DIVIDED", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    runner = Runner(model, kind)  # type: ignore[arg-type]
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.extend(run(runner) for _ in range(5))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 15 and all(torch.equal(one, alone) for one in found)


def test_a_fork_hires_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "DIVIDED", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    runner = Runner(build())
    wanted = run(runner)
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(run(runner), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("head_dim", [8, 16, 24, 32, 40, 64, 128, 256])
def test_every_width_of_heads(head_dim: int) -> None:
    model = build(head_dim=head_dim)
    with torch.inference_mode():
        wanted = model(torch.tensor([[1, 2, 3, 4] * 10]))[0]
    runner = Runner(model)
    cache = runner.new_cache(1, 60, chunk=60)
    found = runner.logits(runner.hidden(cache, [Segment(0, [1, 2, 3, 4] * 10)]))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_only_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Runner(build()).compiled is not None
    assert not usable(preset("tiny"), torch.device("meta"))
    assert not usable(preset("tiny", head_dim=512), torch.device("cpu"))
    monkeypatch.setenv("OPENCWM_DECODE", "torch")
    assert Runner(build()).compiled is None
