"""The memory-bound steps of a training pass on a CPU, each with its backward written out.

On two cores these steps (normalise, convolve, rotate, SwiGLU) cost more than the matrix products between them when
autograd composes them from single operations; written out they make fewer passes over memory and no copies. On CPUs
with AVX-512 they are in C (`_steps.c`), one pass each; elsewhere, and in float64, they are PyTorch operations. Each
computes what its plain counterpart in the layers does, which remains the code for GPUs, for compilers and for decoding.

Under mixed precision the matrix products alone are in bfloat16: heads come out of `rotated_heads` in float32, norms
compute in it, and only SwiGLU works on what the products gave. Attention within documents has a kernel in C
alone (`_spans.c`); elsewhere it is PyTorch's.

Shapes: N tokens of all rows, C model width, F feed-forward width, H query heads, K key (and value) heads, J = H + K
heads that are turned, A = J + K all heads, D head_dim, W convolution width, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

try:
    from opencwm.model import _steps
except ImportError:  # built without a compiler
    _steps = None  # type: ignore[assignment]

IN_C = _steps is not None and _steps.available()
"""Whether the steps are done in C where they can be. Tests set it."""
_KINDS = {torch.float32: 0, torch.bfloat16: 1}


def rms_norm(x_BTC: Tensor, weight_C: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return _RMSNorm.apply(x_BTC, weight_C, eps)  # type: ignore[no-any-return, no-untyped-call]


def causal_convolution(x_NC: Tensor, weight_WC: Tensor, borders: tuple[Tensor, ...]) -> Tensor:
    """x plus the weighted sum of each token and the W - 1 before it, per channel.

    `borders[s - 1]` lists, ascending, the tokens whose predecessor by `s` belongs to another document or row (the first
    `s` tokens among them): for these it counts as zero.
    """
    return _CausalConvolution.apply(x_NC, weight_WC, *borders)  # type: ignore[no-any-return, no-untyped-call]


def swiglu(gate_up_NF2: Tensor) -> Tensor:
    """silu(gate) * up, of the two halves of the last dimension."""
    return _SwiGLU.apply(gate_up_NF2)  # type: ignore[no-any-return, no-untyped-call]


def rotated_heads(
    qkv_NAD: Tensor, cos_ND: Tensor, sin_ND: Tensor, weight_JD: Tensor | None, eps: float, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (`heads` of them) and keys, normalised (with weights) and rotated (tables as for `rope.rotate`), and
    values, in the precision of the tables: (N, H, D), (N, K, D), (N, K, D)."""
    arguments = (qkv_NAD, cos_ND, sin_ND, weight_JD, eps, heads)
    return _RotatedHeads.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


def attends_spans(q_NHD: Tensor) -> bool:
    """Whether `span_attention` takes queries like these, on this machine."""
    return IN_C and q_NHD.dtype == torch.float32 and q_NHD.shape[-1] % 16 == 0


def span_attention(q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, spans: tuple[int, ...]) -> Tensor:
    """Causal attention within each of the spans that the N tokens divide into: (N, H, D)."""
    (tokens, heads, width), (_, kv_heads, _) = q_NHD.shape, k_NKD.shape
    if (
        k_NKD.shape != v_NKD.shape
        or k_NKD.shape != (tokens, kv_heads, width)
        or heads % kv_heads
        or sum(spans) != tokens
    ):
        raise RuntimeError(f"the sizes do not fit: {q_NHD.shape}, {k_NKD.shape}, {v_NKD.shape}, spans of {sum(spans)}")
    return _SpanAttention.apply(q_NHD, k_NKD, v_NKD, spans)  # type: ignore[no-any-return, no-untyped-call]


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _in_c(first: Tensor, *others: Tensor | None, lanes: int = 16) -> bool:
    """Whether a step on these can be done in C: `first` in float32 or bfloat16, the others in float32, all gapless.

    Their shapes are the caller's care: C would not notice; PyTorch's operations complain.
    """
    return (
        IN_C
        and first.dtype in _KINDS
        and all(other.dtype == torch.float32 and other.is_contiguous() for other in others if other is not None)
        and first.is_contiguous()
        and first.shape[-1] % lanes == 0
    )


def _at(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        ctx.in_c = x.dtype == torch.float32 and x.shape[-1:] == weight_C.shape and _in_c(x, weight_C)
        if ctx.in_c:
            inverse, y = x.new_empty(*x.shape[:-1], 1), torch.empty_like(x)
            _norm(x, weight_C, eps, None, inverse, y, None)
            ctx.save_for_backward(x, weight_C, inverse)
            return y
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight_C, inverse)
        return (x * inverse).mul_(weight_C)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, inverse = ctx.saved_tensors
        width = x.shape[-1]
        if ctx.in_c:
            grad, grad_x, grad_weight_C = grad.float().contiguous(), torch.empty_like(x), torch.empty_like(weight_C)
            _norm(x, weight_C, 0.0, grad, inverse, grad_x, grad_weight_C)
            return grad_x, grad_weight_C, None
        unit = x * inverse
        product = (grad * unit).view(-1, width)
        grad_weight_C = product.sum(0)
        mean = torch.mv(product, weight_C).view(inverse.shape).div_(-width)
        grad_x = torch.mul(grad, weight_C, out=product.view(grad.shape)).addcmul_(unit, mean).mul_(inverse)
        return grad_x, grad_weight_C, None


def _norm(
    x: Tensor, weight_C: Tensor, eps: float, grad: Tensor | None, inverse: Tensor, out: Tensor, sums_C: Tensor | None
) -> None:
    """Forward, writing `inverse` and `out`; with `grad` backward, reading `inverse`."""
    rows, width = inverse.numel(), x.shape[-1]
    given, threads = (_at(x), _at(weight_C), eps, _at(grad)), torch.get_num_threads()
    _steps.rms_norm(rows, width, *given, _at(inverse), _at(out), _at(sums_C), threads)


class _CausalConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight_WC: Tensor, *borders: Tensor) -> Tensor:
        fitting = weight_WC.shape[1] == x_NC.shape[1] and len(borders) == len(weight_WC) - 1
        ctx.in_c = fitting and x_NC.dtype == torch.float32 and _in_c(x_NC, weight_WC)
        if ctx.in_c:
            width = weight_WC.shape[0]
            reach_N = torch.full((len(x_NC),), width - 1, dtype=torch.uint8)
            for shift in range(width - 1, 0, -1):
                reach_N[borders[shift - 1]] = shift - 1
            ctx.save_for_backward(x_NC, weight_WC, reach_N)
            y_NC = torch.empty_like(x_NC)
            _convolve(x_NC, weight_WC, reach_N, None, y_NC, None)
            return y_NC
        ctx.save_for_backward(x_NC, weight_WC, *borders)
        y_NC = x_NC * (weight_WC[0] + 1)
        for shift in range(1, weight_WC.shape[0]):
            if shift >= x_NC.shape[0]:
                break
            y_NC[shift:].addcmul_(x_NC[:-shift], weight_WC[shift])
            # Few tokens stand at a border: cheaper to take their share back than to mask all.
            border = borders[shift - 1][shift:]
            y_NC[border] -= x_NC[border - shift] * weight_WC[shift]
        return y_NC

    @staticmethod
    def backward(ctx: Any, grad_NC: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.in_c:
            x_NC, weight_WC, reach_N = ctx.saved_tensors
            grad_x_NC, grad_weight_WC = torch.empty_like(x_NC), torch.empty_like(weight_WC)
            _convolve(x_NC, weight_WC, reach_N, grad_NC.float().contiguous(), grad_x_NC, grad_weight_WC)
            return grad_x_NC, grad_weight_WC, *(None for _ in range(len(weight_WC) - 1))
        x_NC, weight_WC, *borders = ctx.saved_tensors
        grad_x_NC = grad_NC * (weight_WC[0] + 1)
        grad_weight_WC = torch.zeros_like(weight_WC)
        product_NC = x_NC * grad_NC
        grad_weight_WC[0] = product_NC.sum(0)
        for shift in range(1, weight_WC.shape[0]):
            if shift >= x_NC.shape[0]:
                break
            border = borders[shift - 1][shift:]
            grad_border = grad_NC[border]
            grad_x_NC[:-shift].addcmul_(grad_NC[shift:], weight_WC[shift])
            grad_x_NC[border - shift] -= grad_border * weight_WC[shift]
            product = torch.mul(grad_NC[shift:], x_NC[:-shift], out=product_NC[shift:])
            grad_weight_WC[shift] = product.sum(0) - (grad_border * x_NC[border - shift]).sum(0)
        return grad_x_NC, grad_weight_WC, *(None for _ in borders)


def _convolve(
    x_NC: Tensor, weight_WC: Tensor, reach_N: Tensor, grad_NC: Tensor | None, out_NC: Tensor, sums_WC: Tensor | None
) -> None:
    """`reach_N`: how many of the tokens before each count (uint8)."""
    (rows, width), taps, threads = x_NC.shape, len(weight_WC), torch.get_num_threads()
    given, places = (_at(x_NC), _at(weight_WC), _at(grad_NC), _at(reach_N)), (_at(out_NC), _at(sums_WC))
    _steps.convolution(rows, width, taps, *given, *places, threads)


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        width = gate_up.shape[-1] // 2
        if _in_c(gate_up, lanes=32):
            y = gate_up.new_empty(*gate_up.shape[:-1], width)
            _gate(gate_up, None, y)
            return y
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        grad_gate_up = torch.empty_like(gate_up)
        if _in_c(gate_up, lanes=32):
            _gate(gate_up, grad.to(gate_up.dtype).contiguous(), grad_gate_up)
            return grad_gate_up
        gate, up = gate_up.chunk(2, dim=-1)
        grad_gate, grad_up = grad_gate_up.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return grad_gate_up


def _gate(gate_up: Tensor, grad: Tensor | None, out: Tensor) -> None:
    width = gate_up.shape[-1] // 2
    rows, kind = gate_up.numel() // (2 * width), _KINDS[gate_up.dtype]
    _steps.swiglu(rows, width, kind, _at(gate_up), _at(grad), _at(out), torch.get_num_threads())


class _RotatedHeads(Function):
    @staticmethod
    def forward(
        ctx: Any, qkv_NAD: Tensor, cos_ND: Tensor, sin_ND: Tensor, weight_JD: Tensor | None, eps: float, heads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, everyone, width = qkv_NAD.shape
        kv_heads = (everyone - heads) // 2
        turned = heads + kv_heads
        ctx.heads, ctx.kv_heads = heads, kv_heads
        cos_ND, sin_ND = cos_ND.contiguous(), sin_ND.contiguous()
        inverse_NJ1 = None
        shapes = [(count, width), (count, width), *([] if weight_JD is None else [(turned, width)])]
        tables = [cos_ND, sin_ND, *([] if weight_JD is None else [weight_JD])]
        fitting = everyone == turned + kv_heads and [tuple(table.shape) for table in tables] == shapes
        ctx.in_c = fitting and width <= 512 and _in_c(qkv_NAD, *tables, lanes=32)
        if ctx.in_c:
            if weight_JD is not None:
                inverse_NJ1 = cos_ND.new_empty(count, turned, 1)
            q_NHD, k_NKD, v_NKD = (cos_ND.new_empty(count, number, width) for number in (heads, kv_heads, kv_heads))
            ctx.save_for_backward(qkv_NAD, cos_ND, sin_ND, weight_JD, inverse_NJ1)
            _turn_in_c(ctx, eps, (q_NHD, k_NKD, v_NKD), None, None)
            return q_NHD, k_NKD, v_NKD
        x_NJD, values_NKD = qkv_NAD[:, :turned].to(cos_ND.dtype), qkv_NAD[:, turned:]
        if weight_JD is not None:
            inverse_NJ1 = _inverse_rms(x_NJD, eps)
            x_NJD = (x_NJD * inverse_NJ1).mul_(weight_JD)
        ctx.save_for_backward(qkv_NAD, cos_ND, sin_ND, weight_JD, inverse_NJ1)
        y_NJD = _turn(x_NJD, cos_ND, sin_ND)
        values_NKD = values_NKD.to(cos_ND.dtype, memory_format=torch.contiguous_format)
        return y_NJD[:, :heads].contiguous(), y_NJD[:, heads:].contiguous(), values_NKD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv_NAD, cos_ND, sin_ND, weight_JD, inverse_NJ1 = ctx.saved_tensors
        turned = ctx.heads + ctx.kv_heads
        grad_qkv_NAD = torch.empty_like(qkv_NAD)
        if ctx.in_c:
            grad_weight_JD = None if weight_JD is None else torch.empty_like(weight_JD)
            grad_q, grad_k, grad_v = (grad.float().contiguous() for grad in grads)
            _turn_in_c(ctx, 0.0, (grad_q, grad_k, grad_v), grad_qkv_NAD, grad_weight_JD)
            return grad_qkv_NAD, None, None, grad_weight_JD, None, None
        grad_NJD = _turn(torch.cat(grads[:2], 1), cos_ND, -sin_ND)  # a rotation's transpose is the rotation back
        grad_qkv_NAD[:, turned:] = grads[2]
        if weight_JD is None:
            grad_qkv_NAD[:, :turned] = grad_NJD
            return grad_qkv_NAD, None, None, None, None, None
        unit_NJD = qkv_NAD[:, :turned] * inverse_NJ1
        grad_weight_JD = (grad_NJD * unit_NJD).sum(0)
        grad_NJD.mul_(weight_JD)
        mean_NJ1 = torch.linalg.vecdot(grad_NJD, unit_NJD).unsqueeze(-1).div_(-unit_NJD.shape[-1])
        torch.mul(grad_NJD.addcmul_(unit_NJD, mean_NJ1), inverse_NJ1, out=grad_qkv_NAD[:, :turned])
        return grad_qkv_NAD, None, None, grad_weight_JD, None, None


def _turn_in_c(
    ctx: Any, eps: float, parts: tuple[Tensor, Tensor, Tensor], out_NAD: Tensor | None, sums_JD: Tensor | None
) -> None:
    """`parts`: queries, keys and values, which are written, or their gradients, where there is an `out_NAD`."""
    qkv_NAD, cos_ND, sin_ND, weight_JD, inverse_NJ1 = ctx.saved_tensors if out_NAD is not None else ctx.to_save
    (rows, _, width), kind = qkv_NAD.shape, _KINDS[qkv_NAD.dtype]
    tables, (q, k, v) = (_at(cos_ND), _at(sin_ND), _at(weight_JD)), parts
    places = (_at(inverse_NJ1), _at(q), _at(k), _at(v), _at(out_NAD), _at(sums_JD))
    shape = (rows, width, ctx.heads, ctx.kv_heads, kind)
    _steps.rotated_heads(*shape, _at(qkv_NAD), *tables, eps, *places, torch.get_num_threads())


class _SpanAttention(Function):
    @staticmethod
    def forward(ctx: Any, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor, spans: tuple[int, ...]) -> Tensor:
        q_NHD, k_NKD, v_NKD = q_NHD.contiguous(), k_NKD.contiguous(), v_NKD.contiguous()
        out_NHD, logsum_NH = torch.empty_like(q_NHD), q_NHD.new_empty(q_NHD.shape[:2])
        saved = [q_NHD, k_NKD, v_NKD, out_NHD, logsum_NH, torch.tensor(spans).cumsum(0)]
        _attend(saved, [None] * 4)
        ctx.save_for_backward(*saved)
        return out_NHD

    @staticmethod
    def backward(ctx: Any, grad_NHD: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        grads = [torch.empty_like(x) for x in saved[:3]]
        _attend(saved, [grad_NHD.contiguous(), *grads])
        return *grads, None


def _attend(saved: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
    """Forward into the output and the logarithms of sums; with `grads` (of the output, room for the inputs') back."""
    q_NHD, k_NKD, v_NKD, out_NHD, logsum_NH, ends_S = saved
    inputs = (_at(q_NHD), _at(k_NKD), _at(v_NKD), _at(out_NHD), _at(logsum_NH))
    gradients = (_at(grads[0]), _at(grads[1]), _at(grads[2]), _at(grads[3]))
    shape = (len(ends_S), q_NHD.shape[1], k_NKD.shape[1], q_NHD.shape[2])
    _steps.attend(inputs, gradients, _at(ends_S), *shape, torch.get_num_threads())


def _turn(x_NJD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
    swapped_NJD = torch.roll(x_NJD, x_NJD.shape[-1] // 2, -1)
    return (x_NJD * cos_ND.unsqueeze(1)).addcmul_(swapped_NJD, sin_ND.unsqueeze(1))
