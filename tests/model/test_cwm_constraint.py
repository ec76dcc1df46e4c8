"""Legal tokens of the `cwm` codec: what really happens is legal, and what is legal can be read."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tricky_programs import SOURCES

from opencwm.codec import cwm
from opencwm.codec.errors import CodecError
from opencwm.codec.llama3 import REGULAR, RESERVED, Tokenizer
from opencwm.model import json_values
from opencwm.model.config import ModelConfig
from opencwm.model.cwm_constraint import CwmConstraint, CwmVocabulary
from opencwm.model.engine import Engine
from opencwm.model.pieces import Pieces
from opencwm.model.sampling import Sampling
from opencwm.model.transformer import Transformer
from opencwm.programs.program import Program
from opencwm.programs.write import write
from opencwm.trace.frames import Trace
from opencwm.trace.recorder import record

pytest.importorskip("tiktoken", reason="needs tiktoken: pip install 'opencwm[hf]'")

COUNT = REGULAR + RESERVED


@cache
def tokenizer() -> Tokenizer:
    """A small byte-pair vocabulary with whole words, and tokens that cross from names into values and out of them."""
    sample = "".join(
        str(cwm.to_text(record(write(random.Random(seed)))))
        for seed in range(12)
        if record(write(random.Random(seed))).outcome.kind != "truncated"
    )
    words = [list(bytes([byte]) for byte in word.encode()) for word in sample.split("<|frame_sep|>")[:300]]
    ranks = {bytes([byte]): byte for byte in range(256)}
    for _ in range(250):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        (left, right), _ = pairs.most_common(1)[0]
        ranks.setdefault(left + right, len(ranks))
        for word in words:
            at = 0
            while at + 1 < len(word):
                if word[at] == left and word[at + 1] == right:
                    word[at : at + 2] = [left + right]
                at += 1
    for extra in (b'", "', b'": "', b'"}', b'":', b"']", b"']}", b"]]", b'"{', b" '", b"..", b'.."', b'"..'):
        ranks.setdefault(extra, len(ranks))
    return Tokenizer(ranks)


@cache
def vocabulary() -> CwmVocabulary:
    return CwmVocabulary(tokenizer().piece, tokenizer().encode, COUNT)


def constraint(ids: list[int]) -> CwmConstraint:
    return CwmConstraint(vocabulary(), tokenizer().decode, ids)


def legal(state: CwmConstraint) -> set[int]:
    allowed = state.allowed()
    return set(allowed.nonzero().flatten().tolist()) if isinstance(allowed, torch.Tensor) else set(allowed)


def check(trace: Trace, *, jump: bool = True) -> tuple[int, int]:
    """Every true token is legal where it stands, and nothing else is forced. (tokens, forced ones)."""
    ids = cwm.encode(trace, tokenizer())
    start = ids.index(cwm.FRAME_SEP) + 1
    state = constraint(ids[:start])
    forced = 0
    at = start
    while at < len(ids):
        for token in state.forced():
            assert token == ids[at], (
                tokenizer_text(ids[at - 20 : at]),
                tokenizer_text([token]),
                tokenizer_text([ids[at]]),
            )
            state.push(token)
            forced += 1
            at += 1
        if at < len(ids):
            assert ids[at] in legal(state), tokenizer_text(ids[max(0, at - 60) : at + 1])
            if not state.forced():
                state.push(ids[at])
                at += 1
    assert state.ended == (trace.outcome.kind != "truncated")
    assert not state.ended or legal(state) == set()
    return len(ids) - start, forced


def tokenizer_text(ids: list[int]) -> str:
    pieces = [tokenizer().piece(token) for token in ids]
    return " ".join(f"<{token}>" if piece is None else repr(piece) for token, piece in zip(ids, pieces, strict=True))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64))
@example(seed=2**50)  # the next line is `i = ...` or `index = ...`: the space before joins the second only
def test_what_really_happens_is_legal(seed: int) -> None:
    check(record(write(random.Random(seed))))


@pytest.mark.parametrize("name", SOURCES)
def test_statements_of_all_kinds_are_legal(name: str) -> None:
    check(record(Program(SOURCES[name], function="main")))


def prompt(source: str) -> list[int]:
    trace = record(Program(source, function="main"))
    ids = cwm.encode(trace, tokenizer())
    return ids[: ids.index(cwm.FRAME_SEP) + 1]


def test_the_first_frame_is_forced() -> None:
    state = constraint(prompt("def main():\n    return 1\n"))
    written = []
    while forced := state.forced():
        for token in forced:
            state.push(token)
        written += forced
    assert tokenizer_text(written[:1]) == f"<{cwm.EVENT_IDS['call']}>"
    assert state.frames == 1
    assert legal(state) == {cwm.EVENT_IDS["line"]} or cwm.EVENT_IDS["line"] in legal(state)


def test_names_out_of_scope_and_lines_out_of_reach_are_illegal() -> None:
    source = "def main():\n    x = 1\n    if x:\n        y = 2\n    return x\n\ndef other(z):\n    return z\n"
    ids = cwm.encode(record(Program(source, function="main")), tokenizer())
    ends = [at for at, token in enumerate(ids) if token == cwm.FRAME_SEP]
    state = constraint(ids[: ends[2] + 1])  # x = 1 is current
    state.push(cwm.EVENT_IDS["line"])
    with pytest.raises(CodecError, match="cannot stand here"):
        for token in tokenizer().encode('{"z": "1"}'):
            state.push(token)
    state = constraint(ids[: ends[2] + 1])
    with pytest.raises(CodecError, match="cannot stand here"):
        state.push(cwm.END)
    state.push(cwm.EVENT_IDS["line"])
    for token in (*tokenizer().encode('{"x": "1"}'), cwm.ACTION_SEP):
        state.push(token)
    with pytest.raises(CodecError, match="cannot stand here"):
        for token in tokenizer().encode("        y = 2\n"):
            state.push(token)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**64), jump=st.booleans())
def test_random_legal_tokens_are_always_readable(seed: int, jump: bool) -> None:
    rng = random.Random(seed)
    ids = prompt(rng.choice(list(SOURCES.values())))
    state = constraint(ids)
    written: list[int] = []
    for _ in range(150):
        if jump and (forced := state.forced()):
            chosen = forced
        else:
            tokens = sorted(legal(state))
            if not tokens:
                break
            special = [token for token in tokens if token >= REGULAR]
            ending = [token for token in tokens if b'"' in (tokenizer().piece(token) or b"")]
            chosen = [rng.choice(special or (ending if ending and rng.random() < 0.5 else tokens))]
        for token in chosen:
            state.push(token)
        written += chosen
    assert state.ended or written
    whole = len(written) - written[::-1].index(cwm.FRAME_SEP) if cwm.FRAME_SEP in written else 0
    trace = cwm.decode(ids + (written if state.ended else written[:whole]), tokenizer())
    assert len(trace.frames) == state.frames


def test_a_random_model_writes_only_readable_traces_and_jumping_saves_passes() -> None:
    config = ModelConfig(vocab_size=COUNT, dim=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn_dim=16)
    model = Transformer(config)
    per_token = {}
    for jump in (False, True):
        engine = Engine(model, max_tokens=1000, max_batch=4)
        runs = []
        for seed, name in enumerate(3 * ("finally", "handled deep", "values", "nonlocal")):
            ids = prompt(SOURCES[name])
            state = constraint(ids)
            if not jump:
                state.forced = list  # type: ignore[method-assign, assignment]
            sampling = Sampling(max_tokens=120, seed=seed, constraint=state, stop_ids=frozenset({cwm.END}))
            runs.append((ids, state, engine.submit(ids, sampling)))
        for ids, state, generation in runs:
            while generation.finish_reason is None:
                engine.step()
            written = generation.result()
            tokens = [token.id for token in written]
            if not state.ended:
                tokens = tokens[: len(tokens) - tokens[::-1].index(cwm.FRAME_SEP)] if state.frames else []
            assert len(cwm.decode(ids + tokens, tokenizer()).frames) == state.frames
        assert sum(state.frames for _, state, _ in runs) > len(runs)
        per_token[jump] = engine.forward_passes / engine.generated_tokens
    assert per_token[True] < per_token[False]


def test_a_prompt_that_is_no_trace_is_refused() -> None:
    ids = prompt("def main():\n    return 1\n")
    with pytest.raises(CodecError, match="a prompt that begins a trace"):
        constraint(ids[1:])
    with pytest.raises(CodecError, match="cannot stand here"):
        constraint([*ids, cwm.END])


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.one_of(st.none(), st.integers(), st.text(), st.binary(max_size=6), st.floats(), st.booleans()),
                    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_every_repr_is_a_legal_value(value: object) -> None:
    import json

    state: object = json_values.Text()
    for byte in json.dumps(repr(value))[1:].encode():
        state = json_values.step(state, byte)
        assert state is not None, (repr(value), chr(byte))
    assert state == json_values.ENDED


def test_masks_agree_with_the_grammar_byte_by_byte() -> None:
    rng = random.Random(1)
    state: object = json_values.Text()
    for _ in range(60):
        shown = json_values.shown(state)  # type: ignore[arg-type]
        found = vocabulary().values.legal(shown)
        for token, piece in enumerate(vocabulary().pieces.of[:600]):
            if piece is None:
                continue
            at: object = shown
            for offset, byte in enumerate(piece):
                at = json_values.step(at, byte)
                if at is None:
                    assert not found.mask_V[token]
                    assert token not in [t for tokens in found.beyond.values() for t in tokens]
                    break
                if at == json_values.ENDED and offset + 1 < len(piece):
                    assert token in found.beyond[piece[offset + 1 :]]
                    break
            else:
                assert found.mask_V[token]
        steps = [byte for byte in range(256) if isinstance(json_values.step(state, byte), json_values.Text)]
        state = json_values.step(state, rng.choice(steps)) if steps else json_values.Text()


def test_pieces_begin_and_go_beyond_a_text() -> None:
    pieces = Pieces([b"a", b"ab", b"abc", None, b"b", b"ac"].__getitem__, 6)
    assert sorted(pieces.beginning(b"abd")) == [0, 1]
    assert sorted(pieces.beyond(b"a")) == [(1, b"b"), (2, b"bc"), (5, b"c")]
