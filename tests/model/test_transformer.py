"""The transformer: masks, windows, documents, cache, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.model.config import preset
from opencwm.model.session import ContextFull, Session
from opencwm.model.transformer import Transformer, document_positions

from .conftest import random_model

EXTRAS = dict(qk_norm=True, conv_width=4, tie_embeddings=True)
WINDOW = dict(local_window=5, global_every=3)


def build(**changes: object) -> Transformer:
    return random_model({"layers": 3} | changes)


def random_tokens(rows: int, tokens: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(0, 40, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def close(left: torch.Tensor, right: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


VARIANTS = pytest.mark.parametrize("changes", [{}, EXTRAS, WINDOW, EXTRAS | WINDOW], ids=str)


@VARIANTS
def test_later_tokens_do_not_change_earlier_logits(changes: dict[str, object]) -> None:
    model, tokens = build(**changes), random_tokens(2, 20)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 40
    before, after = model(tokens), model(changed)
    close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_a_token_outside_the_window_cannot_change_logits() -> None:
    model, tokens = build(local_window=4, global_every=3, layers=2, global_last=False), random_tokens(1, 30)
    model.layers[0].attention.is_global = False  # both layers local: reach is 2 * (4 - 1) tokens back
    changed = tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % 40
    moved = (model(tokens) - model(changed)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(10, 17))


@VARIANTS
def test_another_document_cannot_change_logits(changes: dict[str, object]) -> None:
    model, tokens = build(**changes), random_tokens(1, 24)
    documents = torch.tensor([[0] * 9 + [1] * 8 + [2] * 7])
    changed = tokens.clone()
    changed[:, :9] = (changed[:, :9] + 1) % 40
    before, after = model(tokens, documents_BT=documents), model(changed, documents_BT=documents)
    close(before[:, 9:], after[:, 9:])


@VARIANTS
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5), padding=st.integers(0, 6))
def test_a_packed_row_gives_the_logits_of_separate_rows(
    changes: dict[str, object], lengths: list[int], padding: int
) -> None:
    model = build(**changes)
    parts = [random_tokens(1, length, seed=number) for number, length in enumerate(lengths)]
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)] + [-1] * padding
    packed = torch.cat([*parts, torch.zeros(1, padding, dtype=torch.int64)], dim=1)
    together = model(packed, documents_BT=torch.tensor([numbers]))
    assert torch.isfinite(together).all()
    start = 0
    for part in parts:
        close(together[:, start : start + part.shape[1]], model(part))
        start += part.shape[1]


def test_rows_with_different_documents_keep_apart() -> None:
    model, tokens = build(**EXTRAS), random_tokens(3, 16)
    documents = torch.tensor([[0] * 16, [0] * 5 + [1] * 11, [0] * 12 + [-1] * 4])
    together = model(tokens, documents_BT=documents)
    close(together[0:1], model(tokens[0:1]))
    close(together[1:2, 5:], model(tokens[1:2, 5:]))
    close(together[2:3, :12], model(tokens[2:3, :12]))


def test_positions_restart_in_each_document() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, -1, -1], [4, 5, 5, 5, 5, 5, 6, 6]])
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 1, 0, 0, 1], [0, 0, 1, 2, 3, 4, 0, 1]]


def test_given_positions_are_used() -> None:
    model, tokens = build(), random_tokens(1, 10)
    close(model(tokens, positions_BT=torch.arange(10)[None] + 40), model(tokens), 1e-4)  # rotation is relative
    assert not torch.allclose(model(tokens, positions_BT=torch.arange(10)[None] * 3), model(tokens), atol=1e-4)


@VARIANTS
@settings(max_examples=12, deadline=None)
@given(chunks=st.lists(st.integers(1, 9), min_size=1, max_size=8), back=st.integers(0, 30), more=st.integers(1, 9))
def test_the_cache_equals_a_full_forward(changes: dict[str, object], chunks: list[int], back: int, more: int) -> None:
    model, ids = build(**changes), random_tokens(1, 120)[0].tolist()
    full = model(torch.tensor([ids]))[0]
    session = Session(model)
    for chunk in chunks:
        start = session.length
        close(session.feed_all(ids[start : start + chunk]), full[start : start + chunk])
    keep = max(session.length - back, 0)
    session.feed([7, 8, 9])
    session.rewind(keep)
    other = [*ids[:keep], *[(token + 1) % 40 for token in ids[keep : keep + more]]]
    close(session.feed(other[keep:]), model(torch.tensor([other]))[0, -1])
    assert session.tokens == tuple(other)


def test_gradients_reach_every_parameter() -> None:
    model, tokens = build(**EXTRAS, **WINDOW), random_tokens(2, 20)
    documents = torch.tensor([[0] * 8 + [1] * 12, [0] * 20])
    loss = torch.nn.functional.cross_entropy(model(tokens, documents_BT=documents).flatten(0, 1), tokens.flatten())
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_of_a_packed_row_are_those_of_separate_rows() -> None:
    model, tokens = build(**EXTRAS), random_tokens(1, 24)
    documents = torch.tensor([[0] * 10 + [1] * 14])
    packed = torch.autograd.grad(model(tokens, documents_BT=documents).square().sum(), list(model.parameters()))
    separate = model(tokens[:, :10]).square().sum() + model(tokens[:, 10:]).square().sum()
    for left, right in zip(packed, torch.autograd.grad(separate, list(model.parameters())), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def test_initial_weights_depend_on_the_seed_alone() -> None:
    config = preset("tiny", vocab_size=64, layers=2)
    first, again, other = Transformer(config, seed=5), Transformer(config, seed=5), Transformer(config, seed=6)
    drawn = Transformer(config, seed=torch.Generator().manual_seed(5))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]) and torch.equal(weight, drawn.state_dict()[name])
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    assert first.layers[0].ffn.down.weight.std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert first.layers[0].ffn.gate_up.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_angles_stay_float32_in_a_half_precision_model() -> None:
    model = build().to(torch.bfloat16)
    assert model.cos_PD.dtype == torch.float32
    assert model(random_tokens(1, 8)).dtype == torch.bfloat16


def test_too_many_tokens_are_refused() -> None:
    model = build(max_positions=16)
    with pytest.raises(ValueError, match="17 tokens do not fit max_positions 16"):
        model(random_tokens(1, 17))
    with pytest.raises(ValueError, match="a document of 17 tokens does not fit max_positions 16"):
        model(random_tokens(1, 20), documents_BT=torch.tensor([[0] * 3 + [1] * 17]))
    assert model(random_tokens(1, 20), documents_BT=torch.tensor([[0] * 10 + [1] * 10])).isfinite().all()


def test_a_session_refuses_what_does_not_fit_and_stays_as_it_was() -> None:
    session = Session(build(), max_tokens=6)
    session.feed([1, 2, 3, 4])
    with pytest.raises(ContextFull, match="4 tokens and 3 more exceed the context of 6"):
        session.feed([1, 2, 3])
    with pytest.raises(ValueError, match="token 40 is outside the vocabulary of 40"):
        session.feed([1, 40])
    with pytest.raises(ValueError, match="at least one token"):
        session.feed([])
    with pytest.raises(ValueError, match="cannot rewind to 9"):
        session.rewind(9)
    assert session.tokens == (1, 2, 3, 4) and session.length == 4
    with pytest.raises(ValueError, match="max_positions"):
        Session(build(), max_tokens=257)
