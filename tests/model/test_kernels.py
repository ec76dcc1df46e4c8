"""The written-out backward passes: right by finite differences, and equal to the plain layers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from opencwm.model import compiled, kernels, transformer
from opencwm.model.attention import attend_spans
from opencwm.model.config import preset
from opencwm.model.transformer import Transformer


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_rms_norm_gradients() -> None:
    assert torch.autograd.gradcheck(lambda x, w: kernels.rms_norm(x, w, 1e-5), (drawn(2, 3, 8), drawn(8)))


def test_swiglu_gradients() -> None:
    assert torch.autograd.gradcheck(kernels.swiglu, (drawn(5, 12),))


def test_convolution_gradients_at_borders() -> None:
    starts = [0, 1, 4, 6]  # documents of 1, 3, 2 and 4 tokens
    start_of = [max(start for start in starts if start <= token) for token in range(10)]
    borders = tuple(
        torch.tensor([token for token in range(10) if token - shift < start_of[token]]) for shift in (1, 2, 3)
    )
    x, weight = drawn(10, 4), drawn(4, 4)
    assert torch.autograd.gradcheck(lambda x, w: kernels.causal_convolution(x, w, borders), (x, weight))
    alone = tuple(torch.arange(shift) for shift in (1, 2, 3))
    torch.testing.assert_close(
        kernels.causal_convolution(x, weight, borders)[6:], kernels.causal_convolution(x[6:], weight, alone)
    )


def test_rotated_heads_gradients() -> None:
    cos, sin = drawn(5, 4).detach(), drawn(5, 4).detach()
    tables = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    assert torch.autograd.gradcheck(
        lambda x, w: kernels.rotated_heads(x, *tables, w, 1e-5, 3), (drawn(5, 5, 8), drawn(4, 8))
    )
    assert torch.autograd.gradcheck(lambda x: kernels.rotated_heads(x, *tables, None, 0.0, 3), (drawn(5, 5, 8),))


def test_fused_and_plain_passes_agree() -> None:
    model = Transformer(preset("tiny", vocab_size=50, layers=2), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=torch.Generator().manual_seed(7)))
    tokens = torch.randint(0, 50, (2, 40), generator=torch.Generator().manual_seed(8))
    for documents in (None, torch.tensor([[0] * 25 + [1] * 10 + [-1] * 5, [0] * 1 + [1] * 2 + [2] * 37])):
        found = []
        for fusible in (transformer._fusible, lambda x_BTC: False):
            original, transformer._fusible = transformer._fusible, fusible
            try:
                logits = model(tokens, documents_BT=documents)
            finally:
                transformer._fusible = original
            found.append((logits, *torch.autograd.grad(logits.square().mean(), list(model.parameters()))))
        for fused, plain in zip(*found, strict=True):
            torch.testing.assert_close(fused, plain, rtol=1e-3, atol=1e-4 * float(plain.detach().abs().max()))


def test_wanted_tokens_alone_give_what_all_give() -> None:
    model = Transformer(preset("tiny", vocab_size=50, layers=2), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.1, generator=torch.Generator().manual_seed(7)))
    tokens = torch.randint(0, 50, (2, 40), generator=torch.Generator().manual_seed(8))
    documents = torch.tensor([[0] * 25 + [1] * 10 + [-1] * 5, [0] * 1 + [1] * 2 + [2] * 37])
    for places in (torch.tensor([3, 4, 30, 41, 79]), torch.tensor([], dtype=torch.int64)):
        whole = model.hidden(tokens, documents_BT=documents).flatten(0, 1)[places]
        found = model.hidden(tokens, documents_BT=documents, places_N=places)
        model.fusible = False
        plain = model.hidden(tokens, documents_BT=documents, places_N=places)
        model.fusible = True
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(plain, whole, rtol=1e-4, atol=1e-4)
        parameters = list(model.parameters())
        for one, other in zip(
            torch.autograd.grad(found.square().sum(), parameters),
            torch.autograd.grad(whole.square().sum(), parameters),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_mixed_precision_keeps_the_gradient_s_direction() -> None:
    model = Transformer(preset("tiny", vocab_size=50, layers=2), seed=1)
    tokens = torch.randint(0, 50, (2, 40), generator=torch.Generator().manual_seed(8))
    documents = torch.tensor([[0] * 25 + [1] * 15, [0] * 3 + [1] * 37])
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = model(tokens, documents_BT=documents)
        assert (logits.dtype == torch.bfloat16) == mixed
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())
        found.append((loss.detach(), torch.autograd.grad(loss, list(model.parameters())), logits.detach().float()))
    (wide_loss, wide, wide_logits), (narrow_loss, narrow, narrow_logits) = found
    torch.testing.assert_close(narrow_logits, wide_logits, rtol=0.1, atol=0.02)
    assert float(narrow_loss) == pytest.approx(float(wide_loss), rel=2e-3)
    for exact, rounded in zip(wide, narrow, strict=True):
        assert rounded.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.99


def test_compilation_falls_back_to_plain_layers() -> None:
    model = Transformer(preset("tiny", vocab_size=50, layers=1), seed=1)
    tokens, documents = torch.arange(20)[None], torch.tensor([[0] * 8 + [1] * 12])
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(tokens, documents_BT=documents), model(tokens, documents_BT=documents))


@pytest.mark.skipif(not kernels.IN_C, reason="attention in C needs a CPU with AVX-512")
@pytest.mark.parametrize("heads, kv_heads, head_dim", [(6, 2, 32), (4, 4, 16), (3, 1, 48), (2, 1, 128)])
@pytest.mark.parametrize("threads", [1, 3])
def test_attention_in_c_is_pytorch_s(
    heads: int, kv_heads: int, head_dim: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = (1, 2, 31, 7, 32, 33, 100, 8)  # around the kernel's blocks of 8 rows, 16 lanes and 32 keys
    tokens = sum(spans)
    shapes = (heads, kv_heads, kv_heads)
    exact = [drawn(tokens, count, head_dim + number)[..., :head_dim] for number, count in enumerate(shapes)]
    inputs = [x.detach().float().requires_grad_() for x in exact]
    grad_NHD = drawn(tokens, heads, head_dim).detach()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert kernels.attends_spans(inputs[0])
    out_NHD = kernels.span_attention(inputs[0], inputs[1], inputs[2], spans)
    found = (out_NHD, *torch.autograd.grad(out_NHD, inputs, grad_NHD.float()))
    q_NHD, k_NKD, v_NKD = (x.detach().requires_grad_() for x in exact)
    plain_NHD = attend_spans(q_NHD[None], k_NKD[None], v_NKD[None], spans)[0]
    expected = (plain_NHD, *torch.autograd.grad(plain_NHD, (q_NHD, k_NKD, v_NKD), grad_NHD))
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain.float(), atol=2e-5, rtol=1e-5)


@pytest.mark.skipif(not kernels.IN_C, reason="attention in C needs a CPU with AVX-512")
def test_attention_in_c_survives_large_scores() -> None:
    qk_NHD = torch.full((40, 1, 16), 60.0)  # scores of 14,400: weights must come out even, not as nan
    v_NKD = torch.arange(40.0).view(40, 1, 1).expand(40, 1, 16)
    out_NHD = kernels.span_attention(qk_NHD, qk_NHD, v_NKD, (40,))
    torch.testing.assert_close(out_NHD[:, 0, 0], torch.arange(40) / 2)


Step = Callable[[torch.dtype], tuple[Callable[..., Tensor | tuple[Tensor, ...]], tuple[Tensor, ...]]]


def _norm(dtype: torch.dtype) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    return (lambda x, w: kernels.rms_norm(x, w, 1e-5)), (drawn(3, 70, 96).float(), drawn(96).float())


def _gates(dtype: torch.dtype) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    return kernels.swiglu, ((4 * drawn(2, 101, 96)).to(dtype),)


def _taps(dtype: torch.dtype) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    starts = [0, 1, 4, 50, 160]
    start_of = [max(start for start in starts if start <= token) for token in range(210)]
    borders = tuple(torch.tensor([t for t in range(210) if t - shift < start_of[t]]) for shift in (1, 2, 3))
    return (lambda x, w: kernels.causal_convolution(x, w, borders)), (drawn(210, 48).float(), drawn(4, 48).float())


def _heads(dtype: torch.dtype) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    cos, sin = drawn(150, 16).detach().float(), drawn(150, 16).detach().float()
    tables = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    given = drawn(150, 10, 32).to(dtype), drawn(8, 32).float()
    return (lambda x, w: kernels.rotated_heads(x, *tables, w, 1e-5, 6)), given


def _bare_heads(dtype: torch.dtype) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    cos, sin = drawn(150, 64).detach().float(), drawn(150, 64).detach().float()
    return (lambda x: kernels.rotated_heads(x, cos, sin, None, 1e-5, 3)), (drawn(150, 5, 64).to(dtype),)


@pytest.mark.skipif(not kernels.IN_C, reason="the steps in C need a CPU with AVX-512")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("step", [_norm, _gates, _taps, _heads, _bare_heads])
def test_the_steps_in_c_are_those_of_pytorch(
    step: Step, dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opencwm.model import _steps

    run, drawn_inputs = step(dtype)
    inputs = [x.detach().requires_grad_() for x in drawn_inputs]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    called: list[str] = []

    def counted(name: str) -> Callable[..., None]:
        real = getattr(_steps, name)

        def call(*given: float) -> None:
            called.append(name)
            real(*given)

        return call

    for name in ("rms_norm", "swiglu", "convolution", "rotated_heads"):
        monkeypatch.setattr(_steps, name, counted(name))
    found: list[tuple[Tensor, ...]] = []
    for in_c in (True, False):
        monkeypatch.setattr(kernels, "IN_C", in_c)
        result = run(*inputs)
        outputs = result if isinstance(result, tuple) else (result,)
        generator = torch.Generator().manual_seed(5)
        grads = [torch.randn(y.shape, generator=generator).to(y.dtype) for y in outputs]
        found.append((*outputs, *torch.autograd.grad(outputs, inputs, grads)))
    assert len(called) == 2  # forward and backward, in C
    for ours, plain in zip(*found, strict=True):
        assert ours.dtype == plain.dtype and ours.shape == plain.shape
        near = 2e-5 if plain.dtype == torch.float32 and dtype == torch.float32 else 2e-2
        torch.testing.assert_close(ours, plain, rtol=near, atol=near * float(plain.detach().abs().max()))


def test_what_is_in_c_was_built_where_it_can_run() -> None:
    """A failed build is no error of the installation, and would go unseen."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if shutil.which("cc") is None or not {"avx512f", "avx512_bf16", "avx512_vnni"} <= set(flags.split()):
        pytest.skip("no C compiler, or no AVX-512 with bfloat16")
    assert kernels.IN_C
    assert compiled.usable(preset("tiny"), torch.device("cpu"))


@pytest.mark.skipif(not kernels.IN_C, reason="the steps in C need a CPU with AVX-512")
def test_shapes_that_do_not_fit_never_reach_c() -> None:
    x = torch.randn(20, 96)
    with pytest.raises(RuntimeError, match="size"):
        kernels.rms_norm(x, torch.ones(48), 1e-5)
    with pytest.raises(RuntimeError, match="size"):
        kernels.causal_convolution(x, torch.ones(2, 48), (torch.tensor([0]),))
    tables = torch.randn(20, 32), torch.randn(20, 32)
    with pytest.raises(RuntimeError, match="size"):
        kernels.rotated_heads(torch.randn(20, 10, 32), *tables, torch.ones(8, 32), 1e-5, 8)
    q, kv = torch.randn(20, 6, 32), torch.randn(20, 2, 32)
    for k, v, spans in (
        (kv, kv[:, :1], (20,)),
        (kv[..., :16], kv, (20,)),
        (kv, kv, (7, 8)),
        (q[:, :4], q[:, :4], (20,)),
    ):
        with pytest.raises(RuntimeError, match="size"):
            kernels.span_attention(q, k, v, spans)
