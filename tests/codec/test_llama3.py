"""The Llama 3 tokenizer with CWM's special ids, over a made-up vocabulary and, where there is one, the real file."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.codec import chat, cwm, llama3
from opencwm.codec.errors import CodecError
from opencwm.model.fetch import cache_folder
from opencwm.programs.program import Program
from opencwm.trace.recorder import record

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


def json_file(folder: Path, tokens: list[bytes], **changes: object) -> Path:
    """`tokenizer.json` of the same tokens, with Llama 3's own names for the reserved ids."""
    spelling = {byte: character for character, byte in llama3.BYTE_OF.items()}
    header = {
        "added_tokens": [{"id": len(tokens), "content": "<|reserved_special_token_0|>", "special": True}],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Split", "pattern": {"Regex": llama3.SPLIT}}, {"type": "ByteLevel"}],
        },
        "model": {
            "type": "BPE",
            "vocab": {"".join(spelling[byte] for byte in token): rank for rank, token in enumerate(tokens)},
        },
    }
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(header | changes))
    return path


def test_both_files_give_the_same_tokenizer(tmp_path: Path, small: llama3.Tokenizer) -> None:
    tokens = [bytes([b]) for b in range(256)] + MERGES
    other = llama3.load(json_file(tmp_path, tokens))
    for text in ("hello world", "é\n\n  x", "<|eot_id|>"):
        assert other.encode(text) == small.encode(text)
    assert [other.piece(token) for token in range(len(tokens))] == tokens


@pytest.mark.parametrize(
    "changes", [{"model": {"type": "Unigram", "vocab": {}}}, {"pre_tokenizer": None}, {"model": 5}, {"model": {}}]
)
def test_other_json_files_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not Llama 3's byte-pair vocabulary"):
        llama3.load(json_file(tmp_path, [bytes([b]) for b in range(256)], **changes))


def test_named_special_tokens(small: llama3.Tokenizer) -> None:
    text = "a<|eot_id|>b<|frame_sep|><|nothing|>"
    ids = small.encode(text, {"<|eot_id|>", "<|nothing|>"})
    assert ids[:3] == [97, 128009, 98] and max(ids[3:]) < llama3.REGULAR


# The real vocabulary


def real_file() -> str:
    named = os.environ.get("OPENCWM_LLAMA3_TOKENIZER")
    path = Path(named) if named else cache_folder() / "llama3-tokenizer" / "tokenizer.model"
    if not path.is_file():
        pytest.skip("no Llama 3 vocabulary: `cwm model fetch llama3-tokenizer`, or name it in OPENCWM_LLAMA3_TOKENIZER")
    return str(path)


@pytest.fixture(scope="module")
def real() -> llama3.Tokenizer:
    return llama3.load(real_file())


@pytest.fixture(scope="module")
def tiktoken_encoding() -> Any:
    """tiktoken on its own, reading the same file itself."""
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken.load import load_tiktoken_bpe

    special = {name: token for token, name in llama3.NAMES.items()}
    return tiktoken.Encoding(
        "llama3", pat_str=llama3.SPLIT, mergeable_ranks=load_tiktoken_bpe(real_file()), special_tokens=special
    )


def test_known_ids(real: llama3.Tokenizer) -> None:
    assert real.encode("hello world!") == [15339, 1917, 0]
    assert real.encode("Write a simple Python function") == [8144, 264, 4382, 13325, 734]
    assert real.encode("123456") == [4513, 10961]
    assert real.encode("<think>\n") == [14023, 771, 397]


def test_code_is_encoded_as_tiktoken_does(real: llama3.Tokenizer, tiktoken_encoding: Any) -> None:
    files = [path for path in sorted(Path(llama3.__file__).parents[1].rglob("*.py")) if path.stat().st_size]
    assert len(files) > 50
    for path in files:
        text = path.read_text(encoding="utf-8")
        ids = real.encode(text)
        assert ids == tiktoken_encoding.encode_ordinary(text)
        assert real.decode(ids) == text


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_encoded_as_tiktoken_does(real: llama3.Tokenizer, tiktoken_encoding: Any, text: str) -> None:
    ids = real.encode(text)
    assert ids == tiktoken_encoding.encode_ordinary(text)
    assert real.decode(ids) == text
    assert b"".join(real.piece(token) or b"" for token in ids).decode() == text


@pytest.mark.parametrize(
    "text", ["é à ü", "漢字かな交じり文", "🙂👩‍👩‍👧‍👦", "Ω≈ç√∫", "\u0301a", "\r\n\t  \x00", "ﬁ ½ ²"]
)
def test_unicode(real: llama3.Tokenizer, tiktoken_encoding: Any, text: str) -> None:
    assert real.encode(text * 50) == tiktoken_encoding.encode_ordinary(text * 50)


def test_long_texts_go_in_chunks_of_400_000_characters(real: llama3.Tokenizer, tiktoken_encoding: Any) -> None:
    text = ("def f(x):\n    return x + 1  # é\n" * 40_000)[: 2 * llama3.CHUNK + 1234]
    parts = [text[: llama3.CHUNK], text[llama3.CHUNK : 2 * llama3.CHUNK], text[2 * llama3.CHUNK :]]
    ids = real.encode(text)
    assert ids == [token for part in parts for token in tiktoken_encoding.encode_ordinary(part)]
    assert real.decode(ids) == text


def test_special_names_as_tiktoken_reads_them(real: llama3.Tokenizer, tiktoken_encoding: Any) -> None:
    text = "a<|frame_sep|>b<|reasoning_thinking_start|><|eot_id|>\n<|reserved_special_token_2|>"
    assert real.encode(text) == tiktoken_encoding.encode_ordinary(text)
    assert real.encode(text, llama3.IDS) == tiktoken_encoding.encode(text, allowed_special="all")
    some = {"<|eot_id|>"}
    assert real.encode(text, some) == tiktoken_encoding.encode(text, allowed_special=some, disallowed_special=())


def test_a_cwm_prompt_of_real_tokens(real: llama3.Tokenizer) -> None:
    ids = chat.encode([chat.Message("user", "Hi")], real)
    assert ids[:6] == [128000, 128006, 9125, 128007, 271, 2675]
    assert ids[-11:] == [128006, 882, 128007, 271, 13347, 128009, 128006, 78191, 128007, 271, 14023, 771, 397][-11:]


def test_a_run_through_real_tokens(real: llama3.Tokenizer) -> None:
    program = Program.parse("def f(s):\n    t = s + 'é'\n    return t * 2\n", "f('<|frame_sep|>')")
    trace = cwm.carried(record(program))
    assert cwm.decode(cwm.encode(trace, real), real) == trace
