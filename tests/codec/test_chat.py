"""CWM's chat format: prompts to the letter, tools both ways, and replies read in whatever pieces they come."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.codec import chat, replies
from opencwm.codec.chat import Call, Message
from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import NAMES
from opencwm.codec.replies import Part
from opencwm.codec.tools import Tool, announce


def tool(name, *parameters, **more):
    properties = {parameter: {"type": "string"} for parameter in parameters}
    return Tool(name, parameters={"type": "object", "properties": properties, "required": list(parameters)}, **more)


BASH, EDIT = tool("Bash", "command"), tool("Edit", "file_path", "old_string", "new_string")
CREATE, WEATHER = tool("Write", "file_path", "content"), tool("get_weather", "city", description="The weather.")


def text(messages, tools=(), **settings):
    return "".join(NAMES[p] if isinstance(p, int) else p for p in chat.pieces(messages, tools, **settings))


GOLDEN = """\
<|begin_of_text|><|start_header_id|>system<|end_header_id|>

You are a helpful AI assistant. You always reason before responding, using the following format:

<think>
your internal reasoning
</think>
your external response

Answer in French.

You have access to the following tools:

<tool: bash>
[command(s)]
</tool>
Executes bash command(s) [command(s)] in the current session. [command(s)] can be any non-interactive bash command(s), \
either single or multi-line.<|eot_id|><|start_header_id|>user<|end_header_id|>

What is here?<|eot_id|><|start_header_id|>assistant<|end_header_id|>

<think>
I look.
</think>
Je regarde.
<tool: bash>
ls
</tool><|eot_id|><|start_header_id|>tool: bash<|end_header_id|>

 a.py
<|eot_id|><|start_header_id|>assistant<|end_header_id|>

<think>
"""


def test_a_whole_prompt():
    talk = [
        Message("system", " Answer in French. "),
        Message("user", "What is here?\n"),
        Message("assistant", "Je regarde.", "I look.", (Call("1", "Bash", '{"command": "ls"}'),)),
        Message("tool", " a.py\n", tool="bash"),
    ]
    assert text(talk, [BASH]) == GOLDEN


def test_without_thinking():
    header = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    assert text([Message("user", "x")], thinking=False).startswith(header + "You are a helpful AI assistant.<|eot_id|>")
    talk = [Message("system", "S"), Message("user", "x")]
    assert text(talk, thinking=False).startswith(header + "S<|eot_id|>")
    assert text(talk, thinking=False).endswith("assistant<|end_header_id|>\n\n")
    own = [Message("system", chat.REASONING + "\n\nMore."), Message("user", "x")]
    assert text(own).count(chat.REASONING) == 1


@pytest.mark.parametrize(
    "message", [Message("assistant", "C", "T"), Message("assistant", "<think>\nT\n</think>\nC")], ids=["field", "text"]
)
def test_earlier_thoughts(message):
    talk = [Message("user", "x"), message, Message("user", "y")]
    assert "<think>\nT\n</think>\nC<|eot_id|>" in text(talk)
    assert "assistant<|end_header_id|>\n\nC<|eot_id|>" in text(talk, keep_thoughts=False)


def test_a_reply_that_has_begun():
    talk = [Message("user", "x"), Message("assistant", "Once ")]
    assert text(talk).endswith("<|end_header_id|>\n\nOnce ")
    with pytest.raises(CodecError, match="at least one message"):
        text([])


def test_only_assistants_may_say_the_tokens_of_thoughts():
    pytest.importorskip("tiktoken")
    from opencwm.codec.llama3 import IDS, Tokenizer

    bytewise = Tokenizer({bytes([byte]): byte for byte in range(256)})
    said = "<|reasoning_thinking_start|>a<|eot_id|>"
    start, eot = IDS["<|reasoning_thinking_start|>"], IDS["<|eot_id|>"]
    for role, thoughts in (("user", 0), ("tool", 0), ("system", 0), ("assistant", 1)):
        talk = [Message("user", "x"), Message(role, said, tool="t"), Message("user", "y")]
        ids = chat.encode(talk, bytewise)
        assert ids.count(start) == thoughts
        assert ids.count(eot) == 4


# Tools


def test_announcements():
    assert announce([]) == ""
    plain = announce([BASH, EDIT, CREATE, WEATHER])
    assert plain.startswith("You have access to the following tools:\n\n<tool: bash>\n[command(s)]\n</tool>\nExecutes")
    assert "<tool: edit>\n[path]\n<<<<<<< SEARCH\n[search_lines]\n=======\n" in plain
    assert "<tool: create>\n[path]\n[content]\n</tool>" in plain
    assert "<tool: get_weather>\n[json params]\n</tool>\nThe weather.\n" in plain and '"city"' in plain
    assert tool("bash", "command", "timeout").plain is None  # more than the plain form can say
    assert Tool("bash").plain is None and Tool("bash", parameters={"properties": 5}).plain is None


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
LINES = st.text(st.sampled_from("ab =\n<>x"), max_size=30).filter(lambda t: "=======" not in t and ">>>>>>>" not in t)


@given(command=WORDS)
def test_commands_survive(command):
    arguments = json.dumps({"command": command})
    assert json.loads(BASH.arguments(BASH.body(arguments))) == {"command": command}


@given(old=LINES, new=LINES)
def test_edits_survive(old, new):
    values = {"file_path": "a/b.py", "old_string": old, "new_string": new}
    assert json.loads(EDIT.arguments(f"\n{EDIT.body(json.dumps(values))}\n")) == values


@given(content=LINES)
def test_files_survive(content):
    values = {"file_path": "a b.py", "content": content.strip("\n")}
    assert json.loads(CREATE.arguments(f"\n{CREATE.body(json.dumps(values))}\n")) == values


@pytest.mark.parametrize(
    ("used", "body"),
    [
        (BASH, " \n"),
        (EDIT, "a.py"),
        (EDIT, "a.py\n<<<<<<< SEARCH\nx\n>>>>>>> REPLACE"),
        (EDIT, "a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\nmore"),
        (CREATE, "\n"),
        (WEATHER, "Oslo"),
        (WEATHER, "[1]"),
        (WEATHER, "[" * 100_000),
    ],
)
def test_bodies_that_do_not_fit_are_no_calls(used, body):
    assert used.arguments(body) is None


def test_arguments_that_do_not_fit_are_said_as_they_are():
    for arguments in ("{", "{}", '{"command": 5}', "[]"):
        assert BASH.body(arguments) == arguments


# Replies

TOOLS = [BASH, EDIT, WEATHER]
CASES = {
    "plain": (False, " Hello. ", [Part("content", "Hello.")]),
    "thought": (True, "a\nb\n</think>\n\nHello.", [Part("thought", "a\nb"), Part("content", "Hello.")]),
    "thought opened by itself": (False, "<think>\na\n</think>\nb", [Part("thought", "a"), Part("content", "b")]),
    "thought without end": (True, "a </thin", [Part("thought", "a </thin")]),
    "empty thought": (True, "\n</think>b", [Part("content", "b")]),
    "call": (False, "<tool: bash>\nls\n</tool>", [Part("call", '{"command": "ls"}', "Bash")]),
    "text and calls": (
        False,
        'I look.\n\n<tool: bash>\nls\n</tool>\n<tool: get_weather>\n{"city": "Oslo"}\n</tool>\nThat is it.',
        [
            Part("content", "I look."),
            Part("call", '{"command": "ls"}', "Bash"),
            Part("call", '{"city": "Oslo"}', "get_weather"),
            Part("content", "\nThat is it."),
        ],
    ),
    "call in a line": (False, "see <tool: bash>\nls\n</tool>", [Part("content", "see <tool: bash>\nls\n</tool>")]),
    "unknown tool": (False, "<tool: sh>\nls\n</tool>", [Part("content", "<tool: sh>\nls\n</tool>")]),
    "cut off": (False, "a\n<tool: bash>\nls", [Part("content", "a\n<tool: bash>\nls")]),
    "body that does not fit": (False, "<tool: edit>\nx\n</tool>", [Part("content", "<tool: edit>\nx\n</tool>")]),
    "nearly a tag": (False, "a\n<tool", [Part("content", "a\n<tool")]),
    "call in a thought": (
        True,
        "a\n<tool: bash>\nls\n</tool>\n</think>\nb",
        [Part("thought", "a\n<tool: bash>\nls\n</tool>"), Part("content", "b")],
    ),
    "nothing": (True, "", []),
}


@pytest.mark.parametrize("case", CASES)
def test_replies(case):
    thinking, said, parts = CASES[case]
    assert replies.read(said, TOOLS, thinking=thinking) == parts


def in_pieces(said, cuts, thinking):
    reader = replies.ReplyReader(TOOLS, thinking=thinking)
    borders = [0, *sorted(cuts), len(said)]
    parts = [p for a, b in itertools.pairwise(borders) for p in reader.push(said[a:b])] + reader.finish()
    joined = []
    for part in parts:
        if joined and part.kind == joined[-1].kind != "call":
            joined[-1] = Part(part.kind, joined[-1].text + part.text)
        else:
            joined.append(part)
    return joined


SAID = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<tool: bash>", "<tool: x>", "</tool>", "\n", " ", "ls", '{"city": 1}', "<tool: get_weather>", "<", "é"]
    )
).map("".join)  # fmt: skip


@given(said=SAID, thinking=st.booleans(), data=st.data())
def test_pieces_make_no_difference(said, thinking, data):
    cuts = data.draw(st.lists(st.integers(0, len(said))))
    whole = replies.read(said, TOOLS, thinking=thinking)
    assert in_pieces(said, cuts, thinking) == whole
    assert in_pieces(said, range(len(said)), thinking) == whole


@given(said=SAID)
def test_nothing_but_blanks_and_tags_is_lost(said):
    given = "".join(part.text for part in replies.read(said))
    for tag in ("<think>", "</think>"):
        said, given = said.replace(tag, ""), given.replace(tag, "")
    assert "".join(given.split()) == "".join(said.split())
