"""Windows and document borders reach the kernel, in every attention backend and in the decoding pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from opencwm.model import flex, transformer
from opencwm.model.cache import Segment
from opencwm.model.config import ModelConfig
from opencwm.model.runner import Runner
from opencwm.model.transformer import Transformer

WINDOW, TOKENS, CHANGED = 6, 40, 15
Pass = Callable[[Transformer, Tensor, Tensor | None], Tensor]


def build(*, local: bool) -> Transformer:
    """With `local`, two layers with windows behind one that adds nothing: a token reaches 2 * (window - 1) further."""
    config = ModelConfig(
        vocab_size=40,
        dim=32,
        layers=3,
        heads=4,
        kv_heads=2,
        head_dim=16,
        ffn_dim=48,
        max_positions=512,
        local_window=WINDOW if local else None,
        global_last=False,
    )
    model = Transformer(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.2, generator=generator))
        if local:
            model.layers[0].attention.out.weight.zero_()
    return model.eval()


def fused(model: Transformer, tokens: Tensor, documents: Tensor | None) -> Tensor:
    return model(tokens, documents_BT=documents)


def plain(model: Transformer, tokens: Tensor, documents: Tensor | None) -> Tensor:
    """What a GPU runs: masks written out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "_fusible", lambda x_BTC: False)
        return model(tokens, documents_BT=documents)


def with_flex(model: Transformer, tokens: Tensor, documents: Tensor | None) -> Tensor:
    model.attention_backend = "flex"
    return model(tokens, documents_BT=documents)


def decoded(model: Transformer, tokens: Tensor, documents: Tensor | None) -> Tensor:
    """A slot per document, in chunks that are no multiple of the window."""
    numbers = documents[0].tolist() if documents is not None else [0] * tokens.shape[1]
    runner, parts = Runner(model), []
    cache = runner.new_cache(max(numbers) + 1, TOKENS, chunk=7)
    for slot in range(max(numbers) + 1):
        ids = [token for token, number in zip(tokens[0].tolist(), numbers, strict=True) if number == slot]
        parts += [runner.hidden(cache, [Segment(slot, ids[at : at + 7])]) for at in range(0, len(ids), 7)]
    return runner.logits(torch.cat(parts)).unsqueeze(0)


PASSES = {"sdpa, by document": fused, "sdpa, masks written out": plain, "flex": with_flex, "decoding": decoded}
EVERY_PASS = pytest.mark.parametrize("name", PASSES)


@pytest.fixture(autouse=True)
def uncompiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kernel's plain form; the slow tests compile it."""
    if "compiled" not in request.node.name:
        monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)


def moved(name: str, model: Transformer, documents: Tensor | None, at: int) -> list[int]:
    """Positions whose logits change with the token at one position."""
    tokens = torch.randint(0, 40, (1, TOKENS), generator=torch.Generator().manual_seed(3))
    changed = tokens.clone()
    changed[0, at] = (changed[0, at] + 1) % 40
    with torch.no_grad():
        before, after = PASSES[name](model, tokens, documents), PASSES[name](model, changed, documents)
    return ((before - after).abs().amax(dim=(0, 2)) > 1e-5).nonzero().flatten().tolist()


@EVERY_PASS
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_token_outside_the_window_changes_nothing_and_one_inside_does(name: str) -> None:
    reach = 2 * (WINDOW - 1)
    assert moved(name, build(local=True), None, CHANGED) == list(range(CHANGED, CHANGED + reach + 1))
    assert moved(name, build(local=False), None, CHANGED) == list(range(CHANGED, TOKENS))


@EVERY_PASS
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_another_document_changes_nothing_and_the_own_one_does(name: str, local: bool) -> None:
    documents = torch.tensor([[0] * 18 + [1] * 10 + [2] * 12])
    last = min(18, CHANGED + 2 * (WINDOW - 1) + 1) if local else 18
    assert moved(name, build(local=local), documents, CHANGED) == list(range(CHANGED, last))
    assert moved(name, build(local=local), documents, 20) == list(range(20, 28))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("documents", [None, torch.tensor([[0] * 150 + [1] * 150, [0] * 290 + [-1] * 10])], ids=str)
def test_flex_gives_the_numbers_of_sdpa(documents: Tensor | None) -> None:
    model = build(local=True)
    tokens = torch.randint(0, 40, (2, 300), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        wanted = model(tokens[:, :256], documents_BT=None if documents is None else documents[:, :256])
        found = with_flex(model, tokens[:, :256], None if documents is None else documents[:, :256])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling FlexAttention for a CPU needs g++: install it")
def test_compiled_flex_sees_windows_and_documents() -> None:
    documents = torch.tensor([[0] * 18 + [1] * 10 + [2] * 12])
    with torch.inference_mode():
        reach = 2 * (WINDOW - 1)
        assert moved("flex", build(local=True), None, CHANGED) == list(range(CHANGED, CHANGED + reach + 1))
        assert moved("flex", build(local=True), documents, 20) == list(range(20, 28))
