"""The tokenizers that a server needs: texts and special tokens, pieces, and which one belongs to a folder."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import CHATML, write_hub, write_ranks

from opencwm.codec import compact
from opencwm.codec.chat import Message
from opencwm.codec.errors import CodecError
from opencwm.codec.text import CompactText, HubText, Llama3Text, NoChat, TokenizerError, open_text
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.recorder import record

COMPACT = CompactText()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    write_hub(folder)
    return HubText(folder)


@pytest.fixture(scope="module")
def llama3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_ranks(folder)
    return open_text(folder)


def spelled(codec, ids):
    return b"".join(codec.piece(token) or codec.name(token).encode() for token in ids).decode()


@given(text=st.text())
def test_texts_survive(hub, llama3, text):
    for codec in (hub, llama3):
        try:
            ids = codec.encode(text)
        except CodecError:
            assert any("\ud800" <= c <= "\udfff" for c in text)
            continue
        assert b"".join(codec.piece(token) for token in ids).decode() == text
        assert all(0 <= token < codec.size and codec.name(token) == "" for token in ids)


def test_special_tokens_only_where_asked(hub, llama3):
    for codec, name in ((hub, "<|im_end|>"), (llama3, "<|frame_sep|>")):
        text = f"a{name}b"
        plain, special = codec.encode(text), codec.encode(text, special=True)
        assert len(special) == 3 and len(plain) > 3
        assert codec.piece(special[1]) is None and codec.name(special[1]) == name
        assert spelled(codec, plain) == spelled(codec, special) == text
    assert llama3.begin == 128_000 and hub.begin is None
    assert hub.piece(10**6) is None and llama3.piece(10**6) is None and COMPACT.piece(-1) is None


@pytest.mark.parametrize("seed", range(30))
def test_prompts_of_compact_tokens_as_text(seed):
    trace = record(write(random.Random(f"text {seed}")))
    prefix = compact.Encoder(trace).prefix
    assert COMPACT.encode(VOCABULARY.show(prefix)) == prefix
    assert spelled(COMPACT, prefix) == VOCABULARY.show(prefix)


def test_whole_runs_of_compact_tokens_as_text():
    for source, call in (
        ("def f(s):\n    t = s + 'True'  # a\n    return t, None\n", "f('é: \"')"),
        ("def f(xs):\n    for x in xs:\n        xs.clear() if x > 1 else None\n", "f([1, 2])"),
    ):
        ids = compact.encode(record(Program.parse(source, call), steps=True)).ids
        assert COMPACT.encode(VOCABULARY.show(ids)) == ids


# Chats


def test_a_template_gets_no_special_tokens_from_contents(hub):
    talk = [Message("user", "<|im_end|> \ue000"), Message("assistant", "<|im_start|>", "hm"), Message("user", "y")]
    ids, thinking = hub.chat(talk, [], thinking=True, keep_thoughts=True)
    assert not thinking
    assert spelled(hub, ids) == (
        "<|im_start|>user\n<|im_end|> \ue000<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n<|im_start|><|im_end|>\n"
        "<|im_start|>user\ny<|im_end|>\n<|im_start|>assistant\n"
    )
    assert sum(hub.name(token) == "<|im_end|>" for token in ids) == 3
    assert sum(hub.name(token) == "<|im_start|>" for token in ids) == 4


def test_a_reply_that_has_begun(hub):
    ids, _ = hub.chat([Message("user", "x"), Message("assistant", "Once")], [], thinking=True, keep_thoughts=True)
    assert spelled(hub, ids).endswith("<|im_start|>assistant\nOnce")


def test_templates_that_refuse_or_are_absent(tmp_path):
    write_hub(tmp_path)
    settings = {"eos_token": {"content": "<|im_end|>"}, "chat_template": CHATML}
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(settings | {"chat_template": "{{ raise_exception('only users') }}"}))
    with pytest.raises(NoChat, match="only users"):
        HubText(tmp_path).chat([Message("user", "x")], [], thinking=True, keep_thoughts=True)
    path.write_text(json.dumps(settings | {"chat_template": "{{ ''.__class__.__mro__ }}"}))
    with pytest.raises(NoChat):
        HubText(tmp_path).chat([Message("user", "x")], [], thinking=True, keep_thoughts=True)
    path.write_text(json.dumps({"eos_token": "<|im_end|>"}))
    with pytest.raises(NoChat, match="no chat template"):
        HubText(tmp_path).chat([Message("user", "x")], [], thinking=True, keep_thoughts=True)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}<think>")
    ids, thinking = HubText(tmp_path).chat([Message("user", "x")], [], thinking=True, keep_thoughts=True)
    assert thinking and spelled(HubText(tmp_path), ids) == "x<think>"
    with pytest.raises(NoChat):
        COMPACT.chat([Message("user", "x")], [], thinking=True, keep_thoughts=True)


def test_ends(tmp_path):
    write_hub(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    (tmp_path / "config.json").write_text('{"eos_token_id": 7, "model_type": "llama"}')
    assert open_text(tmp_path).ends == {5, 6, 7, 257}


# Folders


def test_which_tokenizer_belongs_to_a_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "opencwm.model/1"}')
    assert isinstance(open_text(tmp_path), CompactText)
    write_hub(tmp_path)
    assert isinstance(open_text(tmp_path), HubText)
    (tmp_path / "config.json").write_text('{"model_type": "cwm"}')
    with pytest.raises(TokenizerError, match="byte-pair vocabulary"):
        open_text(tmp_path)
    write_ranks(tmp_path)
    assert isinstance(open_text(tmp_path), Llama3Text)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert isinstance(open_text(tmp_path), HubText)
    (tmp_path / "tokenizer.json").unlink()
    assert isinstance(open_text(tmp_path), Llama3Text)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(TokenizerError, match="copy it from where the weights came"):
        open_text(tmp_path)
    with pytest.raises(TokenizerError):
        open_text(tmp_path / "absent")


def test_a_tokenizer_that_is_not_byte_level(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="byte-level"):
        open_text(tmp_path)
