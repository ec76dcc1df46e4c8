"""How the next token is drawn from logits: `Sampling` and `draw`, many sequences at once.

Notable choices:
- The log-probability of a token is that in the distribution it was drawn from (after temperature, top-p and the
  constraint, renormalised), which is what a policy gradient needs. Greedy choice (temperature 0) is an exception, where
  it would always be 0: there it is that at temperature 1.
- A draw inverts the cumulative distribution at one uniform number per token, so a seed gives the same tokens whatever
  else is in the batch (but for rounding).

Shapes: N sequences, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class TokenConstraint(Protocol):
    """Which tokens may come next. One object serves one sequence; it is asked and told by the engine's thread.

    The engine tells every token of the continuation with `push`, forced ones too. After each it appends what `forced`
    gives, until that is nothing, without a forward pass of their own. Whatever these methods raise ends that one
    sequence with an error.
    """

    def allowed(self) -> Tensor | Collection[int] | None:
        """A bool mask (V,) or token ids; None where everything is; nothing allowed ends the sequence."""
        ...

    def push(self, token: int) -> None:
        """Take one token."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens of which each is the only one to come after those before it; empty where there is a choice."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one request wants. Raises ValueError, with the remedy, for impossible values."""

    max_tokens: int
    """Tokens of the continuation at most."""
    temperature: float = 1.0
    """0: always the likeliest token."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have at least this probability."""
    seed: int | None = None
    """None: another draw each time."""
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the continuation; the one that did is its last token."""
    logprobs: int = 0
    """Likeliest alternatives to report with each token."""
    constraint: TokenConstraint | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}: give at least 1")
        if not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature is {self.temperature}: give 0 (greedy) to 100")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: give more than 0 and at most 1")
        if self.logprobs < 0:
            raise ValueError(f"logprobs is {self.logprobs}: give 0 or more alternatives")

    def generator(self) -> random.Random:
        """The source of this request's uniform numbers."""
        return random.Random(self.seed)


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a continuation, its log-probability, and the likeliest ones in its place with theirs."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


def draw(
    logits_NV: Tensor, samplings: Sequence[Sampling], generators: Sequence[random.Random], allowed: Sequence[object]
) -> list[Token]:
    """One token per row of float32 logits. `allowed[n]` is what the row's constraint gave, None for no constraint."""
    device = logits_NV.device
    if any(mask is not None for mask in allowed):
        logits_NV = logits_NV.clone()
        for row, legal in enumerate(allowed):
            if legal is not None:
                legal_V = _mask(legal, logits_NV.shape[1]).to(device)
                logits_NV[row].masked_fill_(~legal_V, float("-inf"))
    temperatures = [sampling.temperature or 1.0 for sampling in samplings]
    if any(temperature != 1.0 for temperature in temperatures):
        logits_NV = logits_NV / torch.tensor(temperatures, device=device).unsqueeze(1)
    logprobs_NV = logits_NV.log_softmax(1)
    for row, sampling in enumerate(samplings):
        if sampling.top_p < 1 and sampling.temperature:
            logprobs_NV[row] = _nucleus(logprobs_NV[row], sampling.top_p)
    greedy = [not sampling.temperature for sampling in samplings]
    chosen_N = logprobs_NV.argmax(1)
    if not all(greedy):
        uniform_N1 = torch.tensor([[g.random()] for g in generators], dtype=torch.float64, device=device)
        cumulative_NV = logprobs_NV.double().exp_().cumsum_(1)
        drawn_N = torch.searchsorted(cumulative_NV, uniform_N1 * cumulative_NV[:, -1:], right=True).squeeze(1)
        drawn_N = drawn_N.clamp_(max=logits_NV.shape[1] - 1)
        # A uniform number at the very edge could fall on a token of no probability.
        possible_N = logprobs_NV.gather(1, drawn_N.unsqueeze(1)).squeeze(1).isfinite()
        chosen_N = torch.where(torch.tensor(greedy, device=device) | ~possible_N, chosen_N, drawn_N)
    values = logprobs_NV.gather(1, chosen_N.unsqueeze(1)).squeeze(1).tolist()
    ids = chosen_N.tolist()
    most = min(max(sampling.logprobs for sampling in samplings), logits_NV.shape[1])
    if not most:
        return [Token(token, value) for token, value in zip(ids, values, strict=True)]
    top_NA = logprobs_NV.topk(most, dim=1)
    tops = zip(top_NA.indices.tolist(), top_NA.values.tolist(), strict=True)
    return [
        Token(token, value, tuple(zip(others[: s.logprobs], chances[: s.logprobs], strict=True)))
        for token, value, s, (others, chances) in zip(ids, values, samplings, tops, strict=True)
    ]


def _mask(legal: object, vocabulary: int) -> Tensor:
    if isinstance(legal, Tensor) and legal.dtype == torch.bool:
        if legal.shape != (vocabulary,):
            raise ValueError(
                f"the constraint's mask has shape {tuple(legal.shape)}, the vocabulary {vocabulary} tokens"
            )
        return legal
    mask_V = torch.zeros(vocabulary, dtype=torch.bool)
    assert isinstance(legal, Collection)
    mask_V[torch.tensor(list(legal), dtype=torch.int64)] = True
    return mask_V


def _nucleus(logprobs_V: Tensor, top_p: float) -> Tensor:
    """Log-probabilities with all but the likeliest `top_p` at -inf, renormalised; the likeliest token always stays."""
    sorted_V, order_V = logprobs_V.sort(descending=True)
    before_V = sorted_V.exp().cumsum(0) - sorted_V.exp()
    kept_V = sorted_V.masked_fill(before_V >= top_p, float("-inf"))
    return torch.empty_like(logprobs_V).scatter_(0, order_V, kept_V.log_softmax(0))
