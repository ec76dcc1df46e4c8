"""`Transformer`: CWM's decoder-only architecture (pre-norm RMSNorm, grouped-query attention, SwiGLU, rotary positions).

Notable choices:
- `hidden` and `logits` are separate, so that a loss can be computed in chunks of tokens; a loss says which tokens it
  wants, and half of the last layer is then computed for these alone.
- This is the pass over whole rows, for training and scoring; `runner` decodes with the same weights.
- Queries, keys and values come from one matrix, gate and up projections from another: fewer, larger products.
- Packed rows: `documents_BT` numbers each token's document. A document is one contiguous run of its number in a row;
  -1 is padding, whose outputs mean nothing. Positions start again in each document, so a packed row gives the logits
  that the documents give alone.
- What small models add (RMSNorm of query and key heads, causal convolutions before attention and feed-forward) is built
  only when the config asks for it.

Shapes: B rows, T tokens, C model width, V vocabulary, P positions, D head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opencwm.model import kernels, rope
from opencwm.model.attention import Attention, Backend, CausalConvolution, Layout, Mask, mask
from opencwm.model.config import ModelConfig


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)); gate and up are one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.dim, 2 * config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x_BTC: Tensor, layout: Layout) -> Tensor:
        if layout.fused:
            return self.down(kernels.swiglu(self.gate_up(x_BTC)))  # type: ignore[no-any-return]
        gate_BTF, up_BTF = self.gate_up(x_BTC).chunk(2, dim=-1)
        return self.down(F.silu(gate_BTF) * up_BTF)  # type: ignore[no-any-return]


def normalised(x_BTC: Tensor, norm: nn.RMSNorm, layout: Layout) -> Tensor:
    """RMSNorm, by the kernel that suits the pass."""
    if layout.fused:
        assert norm.eps is not None, "a model's norms have their config's eps"
        return kernels.rms_norm(x_BTC, norm.weight, norm.eps)
    return norm(x_BTC)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and feed-forward, each behind its norm (and convolution) and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config, layer)
        self.ffn_norm = nn.RMSNorm(config.dim, config.norm_eps)
        self.ffn = FeedForward(config)
        width = config.conv_width
        self.attention_conv = CausalConvolution(config.dim, width) if width else None
        self.ffn_conv = CausalConvolution(config.dim, width) if width else None

    def forward(self, x_BTC: Tensor, layout: Layout) -> Tensor:
        y_BTC = normalised(x_BTC, self.attention_norm, layout)
        if self.attention_conv is not None:
            y_BTC = self.attention_conv(y_BTC, layout)
        x_BTC = x_BTC + self.attention(y_BTC, layout)
        y_BTC = normalised(x_BTC, self.ffn_norm, layout)
        if self.ffn_conv is not None:
            y_BTC = self.ffn_conv(y_BTC, layout)
        if layout.places_N is not None:  # then C is the width of N tokens
            x_BTC, y_BTC = (z_BTC.flatten(0, 1).index_select(0, layout.places_N) for z_BTC in (x_BTC, y_BTC))
        return x_BTC + self.ffn(y_BTC, layout)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A language model of any `ModelConfig`.

    `seed` (an int or a CPU `torch.Generator`) fixes the initial weights: normal with `config.init_std`, the matrices
    that write to the residual stream scaled by 1 / sqrt(2 * layers), norms one, convolutions zero.

    `attention_backend` may be set: "sdpa" (PyTorch's kernels, masks written out), "flex" (FlexAttention wherever there
    are windows or documents), "auto" (flex for long rows on a GPU, else sdpa).
    """

    cos_PD: Tensor
    sin_PD: Tensor

    def __init__(self, config: ModelConfig, *, seed: int | torch.Generator = 0) -> None:
        super().__init__()
        self.config = config
        self.fusible = True
        """Whether `kernels` may be used; not where weights are divided among processes."""
        self.divide: Callable[[Tensor, Layout], tuple[Tensor, Layout]] | None = None
        """Takes this process's part of the rows and of their layout, where rows are divided among processes."""
        self.attention_backend: Backend = "auto"
        # Given a weight, to be drawn below: its own draw on the meta device would import PyTorch's compiler (1 s).
        self.embedding = nn.Embedding(config.vocab_size, config.dim, _weight=torch.empty(config.vocab_size, config.dim))
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.output.weight = self.embedding.weight
        # Not saved, and not cast with the weights: see `_apply`.
        self.register_buffer("cos_PD", None, persistent=False)
        self.register_buffer("sin_PD", None, persistent=False)
        self.reset_angles()
        self.initialise(seed)

    def reset_angles(self) -> None:
        """Compute the rotary tables, which are not saved with the weights, on the weights' device."""
        self.cos_PD, self.sin_PD = rope.tables(self.config, self.config.max_positions, self.embedding.weight.device)

    @torch.no_grad()
    def initialise(self, seed: int | torch.Generator) -> None:
        """Draw all weights afresh, the same for the same seed on every device."""
        generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
        residual = 1 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():  # tied weights come once
            if parameter.is_meta:
                continue
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            elif name.endswith("conv.weight"):
                parameter.zero_()
            else:
                scale = residual if name.endswith(("attention.out.weight", "ffn.down.weight")) else 1.0
                drawn = torch.empty(parameter.shape).normal_(0.0, self.config.init_std * scale, generator=generator)
                parameter.copy_(drawn)

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token after each token: (B, T, V). See `hidden` for the arguments."""
        return self.logits(self.hidden(tokens_BT, positions_BT=positions_BT, documents_BT=documents_BT))

    def logits(self, hidden_BTC: Tensor) -> Tensor:
        """Vocabulary logits of final hidden states: (..., C) to (..., V)."""
        return self.output(hidden_BTC)  # type: ignore[no-any-return]

    def hidden(
        self,
        tokens_BT: Tensor,
        *,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        global_window: int | None = None,
        places_N: Tensor | None = None,
    ) -> Tensor:
        """Final hidden states, normalised, ready for `logits`: (B, T, C), or (N, C) of the tokens `places_N`.

        `documents_BT`: document number per token, -1 for padding. `positions_BT`: positions for the rotation; by
        default they count from each document's start. `global_window`: tokens that global layers see, all by default.
        `places_N`: tokens among the B * T of all rows, each once; not where rows are divided among processes.
        Raises ValueError for a context over `max_positions`.
        """
        tokens = tokens_BT.shape[1]
        if documents_BT is None and positions_BT is None and tokens > self.config.max_positions:
            raise ValueError(
                f"{tokens} tokens do not fit max_positions {self.config.max_positions}: "
                "shorten the context or take a model with a longer one"
            )
        fused = self.fusible and _fusible(self.embedding.weight)
        layout = self._layout(tokens_BT, positions_BT, documents_BT, fused, global_window)
        if self.divide is not None:
            tokens_BT, layout = self.divide(tokens_BT, layout)
        x_BTC = self.embedding(tokens_BT)
        early = fused and places_N is not None
        for number, layer in enumerate(self.layers):
            if early and number == len(self.layers) - 1:
                layout = replace(layout, places_N=places_N)
            x_BTC = layer(x_BTC, layout)
        x_BTC = normalised(x_BTC, self.norm, layout)
        return x_BTC if early or places_N is None else x_BTC.flatten(0, 1).index_select(0, places_N)

    def _layout(
        self,
        tokens_BT: Tensor,
        positions_BT: Tensor | None,
        documents_BT: Tensor | None,
        fused: bool,
        global_window: int | None = None,
    ) -> Layout:
        (rows, tokens), like = tokens_BT.shape, self.embedding.weight
        window = self.config.local_window
        backend = self.attention_backend
        by_document = fused and backend != "flex" and documents_BT is not None
        spans = document_lengths(documents_BT) if by_document and documents_BT is not None else ()
        if spans and max(spans) > self.config.max_positions:
            raise ValueError(
                f"a document of {max(spans)} tokens does not fit max_positions {self.config.max_positions}: split it"
            )
        narrowest = min(window or tokens, global_window or tokens)
        if spans and max(spans) > narrowest:
            spans = ()  # the mask knows windows
        if positions_BT is None and documents_BT is not None:
            positions_BT = document_positions(documents_BT)
        if positions_BT is None:
            cos, sin = (table_PD[:tokens].unsqueeze(0) for table_PD in (self.cos_PD, self.sin_PD))
        else:
            cos, sin = self.cos_PD[positions_BT], self.sin_PD[positions_BT]
        if fused:
            cos, sin = (table.to(like.dtype).expand(rows, -1, -1) for table in (cos, sin))
        if spans:
            whole = local = Mask(causal=True)
        else:
            whole = local = mask(tokens, global_window, documents_BT, like, backend)
            if window is not None and window < tokens:
                local = mask(tokens, window, documents_BT, like, backend)
        shifts = range(1, self.config.conv_width)
        borders: tuple[Tensor, ...] = ()
        if fused:
            borders = tuple(
                (~_same_document(documents_BT, rows, tokens, shift)).flatten().nonzero().flatten() for shift in shifts
            )
        elif documents_BT is not None:
            borders = tuple(
                _same_document(documents_BT, rows, tokens, shift).to(like.dtype).unsqueeze(2) for shift in shifts
            )
        return Layout(cos, sin, whole, local, borders, spans, fused)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Transformer:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.reset_angles()  # stay float32 in a bfloat16 model, and come alive in one that leaves the meta device
        return self


def document_positions(documents_BT: Tensor) -> Tensor:
    """Each token's offset from the start of its document's run: (B, T) int64."""
    index_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    starts_BT = F.pad(documents_BT[:, 1:] != documents_BT[:, :-1], (1, 0), value=True)
    return index_T - torch.where(starts_BT, index_T, 0).cummax(dim=1).values


def document_lengths(documents_BT: Tensor) -> tuple[int, ...]:
    """Lengths of all documents (runs of padding too), row after row; they add up to B * T."""
    starts_BT = F.pad(documents_BT[:, 1:] != documents_BT[:, :-1], (1, 0), value=True)
    starts = starts_BT.flatten().nonzero().flatten()
    return tuple(starts.diff(append=starts.new_tensor([documents_BT.numel()])).tolist())


def _same_document(documents_BT: Tensor | None, rows: int, tokens: int, shift: int) -> Tensor:
    """Whether the token `shift` back is in the same row and document: bool (B, T)."""
    if documents_BT is None:
        return (torch.arange(tokens) >= shift).expand(rows, -1)
    same_BT = documents_BT[:, shift:] == documents_BT[:, :-shift]
    return F.pad(same_BT, (min(shift, tokens), 0))


def _fusible(like: Tensor) -> bool:
    wide = like.dtype in (torch.float32, torch.float64)
    return like.device.type == "cpu" and wide and not torch.compiler.is_compiling()
