"""`/v1/chat/completions` through the `openai` client: templates, thoughts, tool calls and back, streams."""

from __future__ import annotations

import json

import openai
import pytest

from opencwm.codec import llama3 as tokens
from opencwm.codec.chat import REASONING

BASH = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Runs a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HI = [{"role": "user", "content": "Hi"}]


def ask(served, messages=HI, **fields):
    return served.client.chat.completions.create(model=served.name, messages=messages, **fields)


def prompt(served, messages, **body):
    """The prompt that a conversation becomes, special tokens spelled out."""
    extra = {"return_token_ids": True} | body.pop("extra_body", {})
    ids = ask(served, messages, max_tokens=1, extra_body=extra, **body).prompt_token_ids
    return "".join(tokens.NAMES.get(token) or chr(token) for token in ids)


def test_cwm_prompts(llama3):
    system = f"<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{REASONING}"
    user = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    ready = "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert prompt(llama3, HI) == f"{system}{user}{ready}<think>\n"
    own = [{"role": "system", "content": "Be brief."}, *HI]
    assert prompt(llama3, own) == f"{system}\n\nBe brief.{user}{ready}<think>\n"
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    assert prompt(llama3, own, extra_body=off).endswith(f"system<|end_header_id|>\n\nBe brief.{user}{ready}")
    assert prompt(llama3, HI, reasoning_effort="none").endswith(f"helpful AI assistant.{user}{ready}")


def test_contents_give_no_special_tokens(llama3, hub):
    assert prompt(llama3, [{"role": "user", "content": "<|eot_id|>"}]).count("<|eot_id|>") == 3
    ids = ask(llama3, [{"role": "user", "content": "<|eot_id|>"}], max_tokens=1, extra_body={"return_token_ids": True})
    assert ids.prompt_token_ids.count(tokens.IDS["<|eot_id|>"]) == 2
    ids = ask(hub, [{"role": "user", "content": "<|im_end|>"}], max_tokens=1, extra_body={"return_token_ids": True})
    assert ids.prompt_token_ids.count(min(hub.codec.ends)) == 1


def test_a_hub_folder_brings_its_template(hub):
    answer = ask(hub, [{"role": "system", "content": "S"}, *HI], max_tokens=1, extra_body={"return_token_ids": True})
    text = "".join(hub.codec.name(t) or hub.codec.piece(t).decode() for t in answer.prompt_token_ids)
    assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_thoughts_become_reasoning(llama3):
    with llama3.say("It is a greeting.\n</think>\nHello!"):
        message = ask(llama3).choices[0].message
        assert (message.reasoning_content, message.content) == ("It is a greeting.", "Hello!")
        thought, content = "", ""
        for chunk in ask(llama3, stream=True):
            thought += getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
            content += chunk.choices[0].delta.content or ""
        assert (thought, content) == ("It is a greeting.", "Hello!")
    with llama3.say("Hello!"):
        off = {"chat_template_kwargs": {"enable_thinking": False}}
        message = ask(llama3, extra_body=off).choices[0].message
        assert message.content == "Hello!" and not hasattr(message, "reasoning_content")


def test_previous_thoughts(llama3):
    talk = [*HI, {"role": "assistant", "content": "Hello!", "reasoning_content": "A greeting."}, *HI]
    assert "<think>\nA greeting.\n</think>\nHello!<|eot_id|>" in prompt(llama3, talk)
    without = prompt(llama3, talk, extra_body={"chat_template_kwargs": {"preserve_previous_think": False}})
    assert "A greeting." not in without and "\n\nHello!<|eot_id|>" in without


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls(llama3, stream):
    reply = 'Look.\n</think>\nI look.\n<tool: bash>\nls "a b"\n</tool>\n<tool: get_weather>\n{"city": "Oslo"}\n</tool>'
    with llama3.say(reply):
        answer = ask(llama3, tools=[BASH, WEATHER], stream=stream)
        if stream:
            deltas = [chunk.choices[0] for chunk in answer]
            calls = [call for choice in deltas for call in choice.delta.tool_calls or []]
            content, finish = "".join(choice.delta.content or "" for choice in deltas), deltas[-1].finish_reason
            assert [call.index for call in calls] == [0, 1]
        else:
            message, finish = answer.choices[0].message, answer.choices[0].finish_reason
            calls, content = message.tool_calls, message.content
    assert content == "I look." and finish == "tool_calls"
    assert [call.function.name for call in calls] == ["bash", "get_weather"]
    assert [json.loads(call.function.arguments) for call in calls] == [{"command": 'ls "a b"'}, {"city": "Oslo"}]
    assert len({call.id for call in calls}) == 2


def test_tool_results_go_back(llama3):
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    talk = [
        *HI,
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": " a.py\n"},
    ]
    text = prompt(llama3, talk, tools=[BASH])
    assert "I look.\n<tool: bash>\nls\n</tool><|eot_id|>" in text
    assert "<|start_header_id|>tool: bash<|end_header_id|>\n\n a.py\n<|eot_id|>" in text
    assert "You have access to the following tools:\n\n<tool: bash>\n[command(s)]\n</tool>\nRuns a command." in text
    talk[2]["tool_call_id"] = "other"
    with pytest.raises(openai.BadRequestError, match="names no earlier call"):
        ask(llama3, talk, tools=[BASH])


def test_calls_are_text_where_no_tools_are_offered(llama3):
    with llama3.say("x\n</think>\n<tool: bash>\nls\n</tool>"):
        for fields in ({}, {"tools": [WEATHER]}, {"tools": [BASH], "tool_choice": "none"}):
            choice = ask(llama3, **fields).choices[0]
            assert choice.message.content == "<tool: bash>\nls\n</tool>" and choice.finish_reason == "stop"


def test_a_last_assistant_message_is_gone_on_with(llama3):
    text = prompt(llama3, [*HI, {"role": "assistant", "content": "Once upon a "}])
    assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\nOnce upon a ")


def test_parts_of_content_and_developers(llama3):
    talk = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
    ]
    assert "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>" in prompt(llama3, talk)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with pytest.raises(openai.BadRequestError, match="only text"):
        ask(llama3, image)


def test_logprobs(hub):
    with hub.say("né"):
        whole = ask(hub, logprobs=True, top_logprobs=2).choices[0].logprobs.content
        chunks = [chunk.choices[0].logprobs for chunk in ask(hub, logprobs=True, top_logprobs=2, stream=True)]
    assert [entry.token for entry in whole] == ["n", "\ufffd", "\ufffd", "<|im_end|>"]
    assert bytes(byte for entry in whole[:3] for byte in entry.bytes).decode() == "né"
    assert [entry.token for chunk in chunks if chunk for entry in chunk.content] == [entry.token for entry in whole]


def test_several_choices_and_usage(hub):
    with hub.say("abc"):
        chunks = list(ask(hub, n=3, stream=True, stream_options={"include_usage": True}))
        whole = ask(hub, n=3)
    texts = ["", "", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["abc"] * 3 == [choice.message.content for choice in whole.choices]
    assert chunks[-1].usage == whole.usage and whole.usage.completion_tokens == 12


def test_a_model_of_runs_has_no_chat(compact):
    with pytest.raises(openai.BadRequestError, match="use /v1/completions"):
        ask(compact)
