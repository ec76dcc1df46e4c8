"""Chats and trajectories, token by token: what is predicted and what is not."""

import random
from pathlib import Path
from typing import Any

import pytest

from opencwm.codec.llama3 import IDS
from opencwm.train import chats
from opencwm.train.chats import CHAT, TRAJECTORY, LossRule
from opencwm.train.text import Compact, Llama3, open_tokens

CHATTED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "4", "reasoning": "sum"},
    {"role": "user", "content": "+1?"},
    {"role": "assistant", "content": "5"},
]


def shown(messages: list[dict[str, Any]], rule: LossRule, seed: int = 0) -> list[tuple[str, float]]:
    """(token, weight) of a conversation in the compact vocabulary, runs of equal weight joined."""
    tokens = Compact()
    ids, weights = chats.encode(messages, tokens, rule, random.Random(seed))
    assert len(ids) == len(weights)
    joined: list[tuple[str, float]] = []
    for token, weight in zip(ids, weights, strict=True):
        text = tokens.decode([token])
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined


def test_only_what_the_assistant_says_is_predicted_and_not_that_it_starts_to_think() -> None:
    given = "<begin><call>system<go>Be brief.<return><call>user<go>2+2?<return><call>assistant<go><think><0x0a>"
    assert shown(CHATTED, CHAT) == [
        (given, 0.0),
        ("sum</think>4<return>", 1.0),
        ("<call>user<go>+1?<return><call>assistant<go>", 0.0),
        ("5<return>", 1.0),
    ]


def test_the_think_start_can_be_predicted() -> None:
    assert shown(CHATTED, LossRule(think_start=True))[1] == ("<think><0x0a>sum</think>4<return>", 1.0)


def test_other_roles_can_be_predicted() -> None:
    pairs = shown(CHATTED, LossRule(("user",)))
    assert [text for text, weight in pairs if weight] == ["2+2?<return>", "+1?<return>"]


def trajectory(turns: int) -> list[dict[str, Any]]:
    messages = [{"role": "user", "content": "fix it"}]
    for turn in range(turns):
        messages += [
            {"role": "assistant", "content": f"a{turn}"},
            {"role": "tool: bash", "content": f"o{turn}"},
        ]
    return messages


def test_agent_and_observations_are_predicted_less_a_share_of_the_observations() -> None:
    pairs = shown(trajectory(400), TRAJECTORY)
    predicted = [text for text, weight in pairs if weight]
    assert sum(text.startswith("a") for text in predicted) == 400
    assert 160 < sum(text.startswith("o") for text in predicted) < 240
    assert not any("fix" in text or "<call>" in text for text in predicted)


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 50), (1.0, 0)])
def test_the_rate_of_masked_observations_is_the_configured_one(rate: float, kept: int) -> None:
    pairs = shown(trajectory(50), LossRule(("assistant", "tool"), rate))
    assert sum(text.startswith("o") for text, weight in pairs if weight) == kept


def test_masks_depend_on_the_seed_alone() -> None:
    assert shown(trajectory(20), TRAJECTORY, 3) == shown(trajectory(20), TRAJECTORY, 3)
    assert shown(trajectory(20), TRAJECTORY, 3) != shown(trajectory(20), TRAJECTORY, 4)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "without messages"),
        ([{"role": "user"}], "message 0 needs a role and a content"),
        (["hello"], "message 0 needs a role"),
        ([{"role": "user", "content": 3}], "must be texts"),
    ],
)
def test_what_is_no_conversation_is_refused(messages: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chats.encode(messages, Compact(), CHAT, random.Random(0))


@pytest.fixture(scope="module")
def llama3(tmp_path_factory: pytest.TempPathFactory) -> Llama3:
    """CWM's ids over a vocabulary of bytes and a few words."""
    import base64

    pytest.importorskip("tiktoken")
    words = [bytes([b]) for b in range(256)] + [b"ab", b"user", b"assistant", b"\n\n"]
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    path.write_text("".join(f"{base64.b64encode(word).decode()} {rank}\n" for rank, word in enumerate(words)))
    tokens = open_tokens(str(path))
    assert isinstance(tokens, Llama3)
    return tokens


def test_llama3_chats_are_cwm_s_to_the_token(llama3: Llama3) -> None:
    messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "a", "reasoning": "b"}]
    ids, weights = chats.encode(messages, llama3, CHAT, random.Random(0))
    start, end = IDS["<|start_header_id|>"], IDS["<|end_header_id|>"]
    think, thought = IDS["<|reasoning_thinking_start|>"], IDS["<|reasoning_thinking_end|>"]
    over, a, b = IDS["<|eot_id|>"], ord("a"), ord("b")
    wanted = [
        *((token, 0) for token in (IDS["<|begin_of_text|>"], start, 257, end, 259, 256, over, start, 258, end, 259)),
        (think, 0), (b, 1), (thought, 1), (a, 1), (over, 1),
    ]  # fmt: skip
    assert list(zip(ids, weights, strict=True)) == wanted


def test_opening_a_vocabulary_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.tokenizer .* cannot be opened"):
        open_tokens(str(tmp_path / "none.model"))
