"""The memory-bound steps of a training pass on a CPU, each with its backward written out.

On two cores these steps (normalise, convolve, rotate, SwiGLU) cost more than the matrix products between them when
autograd composes them from single operations; written out they make fewer passes over memory and no copies. Each
computes what its plain counterpart in the layers does, which remains the code for GPUs, for compilers and for decoding.

Under mixed precision the matrix products alone are in bfloat16: heads come out of `rotated_heads` in float32, norms
compute in it, and only SwiGLU works on what the products gave. Attention within documents is in C (`_spans.c`) where
the processor and the build allow it; `OPENCWM_ATTENTION=torch` forces PyTorch's.

Shapes: N tokens of all rows, C model width, F feed-forward width, J heads that are turned (query and key heads),
K value heads, Q query heads, H all heads (values too), D head_dim, W convolution width, S spans.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

try:
    from opencwm.model import _spans
except ImportError:  # built without a C compiler
    _spans = None  # type: ignore[assignment]


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
    qkv_NHD: Tensor, cos_ND: Tensor, sin_ND: Tensor, weight_JD: Tensor | None, eps: float, turned: int
) -> tuple[Tensor, Tensor]:
    """The first `turned` heads, normalised (with weights) and rotated (tables as for `rope.rotate`), and the others, in
    the precision of the tables."""
    arguments = (qkv_NHD, cos_ND, sin_ND, weight_JD, eps, turned)
    return _RotatedHeads.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


def attends_spans(qk_NJD: Tensor) -> bool:
    """Whether `span_attention` takes heads like these, on this machine."""
    if os.environ.get("OPENCWM_ATTENTION", "") == "torch" or qk_NJD.dtype != torch.float32:
        return False
    return _spans is not None and qk_NJD.shape[-1] % 16 == 0 and bool(_spans.available())


def span_attention(qk_NJD: Tensor, v_NKD: Tensor, spans: tuple[int, ...]) -> Tensor:
    """Causal attention within each of the spans that the N tokens divide into: (N, Q, D), where the first Q heads of
    `qk_NJD` are queries and its last K the keys."""
    return _SpanAttention.apply(qk_NJD, v_NKD, spans)  # type: ignore[no-any-return, no-untyped-call]


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, eps: float) -> Tensor:
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight_C, inverse)
        return (x * inverse).mul_(weight_C)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, inverse = ctx.saved_tensors
        width = x.shape[-1]
        unit = x * inverse
        product = (grad * unit).view(-1, width)
        grad_weight_C = product.sum(0)
        mean = torch.mv(product, weight_C).view(inverse.shape).div_(-width)
        grad_x = torch.mul(grad, weight_C, out=product.view(grad.shape)).addcmul_(unit, mean).mul_(inverse)
        return grad_x, grad_weight_C, None


class _CausalConvolution(Function):
    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight_WC: Tensor, *borders: Tensor) -> Tensor:
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


class _SwiGLU(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        grad_gate_up = torch.empty_like(gate_up)
        grad_gate, grad_up = grad_gate_up.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return grad_gate_up


class _RotatedHeads(Function):
    @staticmethod
    def forward(
        ctx: Any, qkv_NHD: Tensor, cos_ND: Tensor, sin_ND: Tensor, weight_JD: Tensor | None, eps: float, turned: int
    ) -> tuple[Tensor, Tensor]:
        x_NJD, values_NKD = qkv_NHD[:, :turned].to(cos_ND.dtype), qkv_NHD[:, turned:]
        inverse_NJ1 = None
        if weight_JD is not None:
            inverse_NJ1 = _inverse_rms(x_NJD, eps)
            x_NJD = (x_NJD * inverse_NJ1).mul_(weight_JD)
        ctx.save_for_backward(qkv_NHD, cos_ND, sin_ND, weight_JD, inverse_NJ1)
        ctx.turned = turned
        return _turn(x_NJD, cos_ND, sin_ND), values_NKD.to(cos_ND.dtype, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, grad_NJD: Tensor, grad_values_NKD: Tensor) -> tuple[Tensor | None, ...]:
        qkv_NHD, cos_ND, sin_ND, weight_JD, inverse_NJ1 = ctx.saved_tensors
        grad_NJD = _turn(grad_NJD, cos_ND, -sin_ND)  # a rotation's transpose is the rotation back
        grad_qkv_NHD = torch.empty_like(qkv_NHD)
        grad_qkv_NHD[:, ctx.turned :] = grad_values_NKD
        if weight_JD is None:
            grad_qkv_NHD[:, : ctx.turned] = grad_NJD
            return grad_qkv_NHD, None, None, None, None, None
        unit_NJD = qkv_NHD[:, : ctx.turned] * inverse_NJ1
        grad_weight_JD = (grad_NJD * unit_NJD).sum(0)
        grad_NJD.mul_(weight_JD)
        mean_NJ1 = torch.linalg.vecdot(grad_NJD, unit_NJD).unsqueeze(-1).div_(-unit_NJD.shape[-1])
        torch.mul(grad_NJD.addcmul_(unit_NJD, mean_NJ1), inverse_NJ1, out=grad_qkv_NHD[:, : ctx.turned])
        return grad_qkv_NHD, None, None, grad_weight_JD, None, None


class _SpanAttention(Function):
    @staticmethod
    def forward(ctx: Any, qk_NJD: Tensor, v_NKD: Tensor, spans: tuple[int, ...]) -> Tensor:
        qk_NJD, v_NKD = qk_NJD.contiguous(), v_NKD.contiguous()
        heads = qk_NJD.shape[1] - v_NKD.shape[1]
        out_NQD, logsum_NQ = qk_NJD.new_empty(len(qk_NJD), heads, qk_NJD.shape[2]), qk_NJD.new_empty(len(qk_NJD), heads)
        ends_S = torch.tensor(spans).cumsum(0)
        _attend_spans(qk_NJD, v_NKD, out_NQD, logsum_NQ, ends_S)
        ctx.save_for_backward(qk_NJD, v_NKD, out_NQD, logsum_NQ, ends_S)
        return out_NQD

    @staticmethod
    def backward(ctx: Any, grad_NQD: Tensor) -> tuple[Tensor | None, ...]:
        qk_NJD, v_NKD, out_NQD, logsum_NQ, ends_S = ctx.saved_tensors
        grads = (grad_NQD.contiguous(), torch.empty_like(qk_NJD), torch.empty_like(v_NKD))
        _attend_spans(qk_NJD, v_NKD, out_NQD, logsum_NQ, ends_S, grads)
        return grads[1], grads[2], None


def _attend_spans(
    qk_NJD: Tensor,
    v_NKD: Tensor,
    out_NQD: Tensor,
    logsum_NQ: Tensor,
    ends_S: Tensor,
    grads: tuple[Tensor, Tensor, Tensor] | None = None,
) -> None:
    """Forward into `out_NQD` and `logsum_NQ`; with `grads` (of the output, and room for those of the inputs) back."""
    _, heads, width = out_NQD.shape
    query = qk_NJD.data_ptr()
    past_queries = heads * width * 4  # bytes
    inputs = (query, query + past_queries, v_NKD.data_ptr(), out_NQD.data_ptr(), logsum_NQ.data_ptr())
    gradients = (0, 0, 0, 0)
    if grads is not None:
        grad, grad_qk, grad_v = (x.data_ptr() for x in grads)
        gradients = (grad, grad_qk, grad_qk + past_queries, grad_v)
    strides = (qk_NJD.stride(0), v_NKD.stride(0))
    shape = (len(ends_S), heads, v_NKD.shape[1], width)
    _spans.attend(inputs, gradients, ends_S.data_ptr(), *shape, *strides, torch.get_num_threads())


def _turn(x_NJD: Tensor, cos_ND: Tensor, sin_ND: Tensor) -> Tensor:
    swapped_NJD = torch.roll(x_NJD, x_NJD.shape[-1] // 2, -1)
    return (x_NJD * cos_ND.unsqueeze(1)).addcmul_(swapped_NJD, sin_ND.unsqueeze(1))
