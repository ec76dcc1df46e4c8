"""Chats and agent trajectories as token ids, and which of these are predicted.

    begin (header ROLE)(content)(message end) ...

Notable choices, CWM's (reports: fine-tuning, ForagerAgent data):
- The body of a message of a predicted role carries the loss, with the mark that ends it; headers never do.
- Reasoning stands between the vocabulary's two reasoning marks, before the answer. The opening mark carries no loss in
  fine-tuning: the model does not open its reasoning by itself, a user does by giving the mark.
- Of the tool messages of a trajectory, a share (half) is drawn whose loss is left out: they repeat each other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opencwm.train.text import Tokens, Weighted


@dataclass(frozen=True, slots=True)
class LossRule:
    """Which messages are predicted: `roles` ("tool" for any "tool: NAME"), less a share of the tool messages."""

    roles: tuple[str, ...] = ("assistant",)
    observation_mask: float = 0.0
    think_start: bool = False


CHAT = LossRule()
TRAJECTORY = LossRule(("assistant", "tool"), 0.5)


def encode(messages: Sequence[Mapping[str, Any]], tokens: Tokens, rule: LossRule, rng: random.Random) -> Weighted:
    """Ids and weights of a conversation.

    A message has "role", "content" and perhaps "reasoning" (texts). `rng` draws the masked observations. Raises
    ValueError for anything else.
    """
    ids, weights = list(tokens.begin), [0.0] * len(tokens.begin)

    def put(some: list[int], weight: float) -> None:
        ids.extend(some)
        weights.extend([weight] * len(some))

    if not messages:
        raise ValueError("a conversation without messages")
    for number, message in enumerate(messages):
        try:
            role, content, reasoning = message["role"], message["content"], message.get("reasoning")
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"message {number} needs a role and a content") from None
        if not isinstance(role, str) or not isinstance(content, str) or not isinstance(reasoning, str | None):
            raise ValueError(f"message {number}: role, content and reasoning must be texts")
        name = role.partition(":")[0]
        weight = float(name in rule.roles)
        if name == "tool" and rng.random() < rule.observation_mask:
            weight = 0.0
        put(tokens.header(role), 0.0)
        if reasoning:
            put(tokens.think_start, weight if rule.think_start else 0.0)
            put(tokens.text(reasoning), weight)
            put(tokens.think_end, weight)
        put(tokens.text(content), weight)
        put(tokens.message_end, weight)
    return ids, weights
