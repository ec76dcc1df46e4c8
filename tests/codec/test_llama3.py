"""The Llama 3 tokenizer with CWM's special ids, over a made-up vocabulary and, where there is one, the real file."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.codec import llama3
from opencwm.codec.errors import CodecError

MERGES = [b"he", b"ll", b"hell", b"hello", b" w", b"or", "é".encode(), b"<|"]


def rank_file(folder: Path, tokens: list[bytes]) -> Path:
    path = folder / "tokenizer.model"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> llama3.Tokenizer:
    pytest.importorskip("tiktoken")
    return llama3.load(rank_file(tmp_path_factory.mktemp("ranks"), [bytes([b]) for b in range(256)] + MERGES))


def test_special_names_and_ids() -> None:
    assert llama3.IDS["<|begin_of_text|>"] == 128000 and llama3.IDS["<|end_of_text|>"] == 128001
    assert llama3.IDS["<|frame_sep|>"] == 128100 and llama3.IDS["<|trace_context_start|>"] == 128107
    assert llama3.IDS["<|eom_id|>"] == 128008 and llama3.IDS["<|eot_id|>"] == 128009
    assert llama3.IDS["<|reasoning_thinking_end|>"] == 128121
    assert llama3.NAMES[128002] == "<|reserved_special_token_2|>" and llama3.NAMES[128255].endswith("_255|>")
    assert len(llama3.NAMES) == len(llama3.IDS) == 256


def test_merges_by_rank(small: llama3.Tokenizer) -> None:
    assert small.encode("hello") == [259]
    assert small.encode("hello world") == [259, 260, 261, *b"ld"]
    assert small.decode([259, 260, 261]) == "hello wor"


@given(text=st.text())
def test_text_survives(small: llama3.Tokenizer, text: str) -> None:
    try:
        ids = small.encode(text)
    except CodecError:
        assert any("\ud800" <= c <= "\udfff" for c in text)
    else:
        assert small.decode(ids) == text


def test_ordinary_encoding_gives_no_special_tokens(small: llama3.Tokenizer) -> None:
    for name in llama3.IDS:
        ids = small.encode(name)
        assert max(ids) < llama3.REGULAR
        assert small.decode(ids) == name


def test_long_text_goes_in_chunks(small: llama3.Tokenizer) -> None:
    text = "x" * (llama3.CHUNK - 1) + "hello"
    assert small.decode(small.encode(text)) == text
    assert small.encode(text)[-1] != 259  # the cut falls inside "hello"


def test_foreign_ids_are_named(small: llama3.Tokenizer) -> None:
    with pytest.raises(CodecError, match="frame_sep") as raised:
        small.decode([104, 128100])
    assert raised.value.offset == 1
    with pytest.raises(CodecError, match="UTF-8") as raised:
        small.decode([104, 105, 0xC3])
    assert raised.value.offset == 2
    for token in (-1, 5000, 10**30):
        with pytest.raises(CodecError):
            small.decode([token])


@pytest.mark.parametrize("content", [b"not a rank file\n", b"aGk= x\n", b"!!! 1\n", b"aGk= 7\n", b"", b"aGk= 0\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.model"):
        llama3.load(path)


def test_without_tiktoken_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ImportError, match=r"opencwm\[hf\]"):
        llama3.load(rank_file(tmp_path, [bytes([b]) for b in range(256)]))


def test_the_real_vocabulary() -> None:
    path = os.environ.get("OPENCWM_LLAMA3_TOKENIZER")
    if not path:
        pytest.skip("set OPENCWM_LLAMA3_TOKENIZER to Llama 3's tokenizer.model")
    tokenizer = llama3.load(path)
    assert tokenizer.encode("hello world!") == [15339, 1917, 0]
    assert tokenizer.encode("Write a simple Python function") == [8144, 264, 4382, 13325, 734]
    assert tokenizer.encode("123456") == [4513, 10961]
    text = "def f(x):\n    return x  # é 漢字 🙂\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
