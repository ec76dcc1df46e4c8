"""Sources, lanes and packing: the same documents in the same order, whatever makes or reads them."""

import itertools
import os
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.train.data import DataError, Document, Skipped, flatten, unflatten
from opencwm.train.data_settings import BucketSettings, DataSettings, SourceSettings, shares
from opencwm.train.fake import FakeSource
from opencwm.train.pack import Batch, Mixture, Packer, held_out
from opencwm.train.sources import make_source
from opencwm.train.workers import CHUNK, Pool


def document(length: int, mark: int = 1, source: str = "") -> Document:
    return Document(np.full(length, mark, np.int32), np.ones(length, np.float32), source)


def same(left: Batch, right: Batch) -> bool:
    pairs = ((left.tokens, right.tokens), (left.documents, right.documents), (left.weights, right.weights))
    return all(np.array_equal(one, other) for one, other in pairs) and left.origins == right.origins


def contents(batch: Batch) -> list[tuple[int, ...]]:
    """The documents of a batch, row by row."""
    found = []
    for tokens, numbers in zip(batch.tokens, batch.documents, strict=True):
        for number in range(numbers.max() + 1):
            found.append(tuple(tokens[numbers == number].tolist()))
    return found


def packer_of(source, data, **more):
    return Packer(Mixture.of(source), data, **more)


def chunk(pool: Pool, start: int):
    pool.ask((0, start))
    return pool.take((0, start))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_pool_makes_what_is_asked_for_and_leaves_no_process(workers: int) -> None:
    source = FakeSource()
    starts = [0, 48, 16, 160, 32]
    with Pool([source, FakeSource(seed=1)], workers) as pool:
        for start in starts:
            pool.ask((0, start))
            pool.ask((1, start))
        for start, number in itertools.product(reversed(starts), (1, 0)):
            made = pool.take((number, start))
            wanted = [FakeSource(seed=number)(index) for index in range(start, start + CHUNK)]
            assert [[d.ids.tolist() for d in one.documents] for one in made] == [
                [d.ids.tolist() for d in one] for one in wanted
            ]
            assert [one.documents[0].index for one in made] == list(range(start, start + CHUNK))
    deadline = time.monotonic() + 5
    while children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children()


def children() -> list[object]:
    import multiprocessing

    return multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_source_names_the_item(workers: int) -> None:
    with (
        Pool([FakeSource(fails_at=20)], workers) as pool,
        pytest.raises(DataError, match=r"(?s)item 20 of fake could not be made .*told to fail"),
    ):
        chunk(pool, 0)
        chunk(pool, 16)


def test_a_dead_worker_names_the_item() -> None:
    with (
        Pool([FakeSource(dies_at=37)], 2) as pool,
        pytest.raises(DataError, match=r"worker died \(exit code 7\) while it made item 37 of fake"),
    ):
        for start in (0, 16, 32):
            chunk(pool, start)


def test_worker_environment_is_restored() -> None:
    before = os.environ.get("PYTHONHASHSEED")
    with Pool([FakeSource()], 1) as pool:
        chunk(pool, 0)
    assert os.environ.get("PYTHONHASHSEED") == before


@given(st.lists(st.lists(st.integers(0, 800), min_size=1, max_size=9), max_size=9))
def test_flatten_round_trip(ids: list[list[int]]) -> None:
    made = [
        Document(np.array(some, np.int32), np.array(some, np.float32) / 2, f"source {len(some)}", some[0])
        for some in ids
    ]
    back = unflatten(flatten(made))
    assert [(d.source, d.index) for d in back] == [(d.source, d.index) for d in made]
    assert [d.ids.tolist() for d in back] == ids
    assert [d.weights.tolist() for d in back] == [[i / 2 for i in some] for some in ids]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 3), st.integers(1, 3))
def test_every_document_is_packed_once_and_whole(buffer: int, batches: int, rows: int) -> None:
    data = DataSettings(sequence_length=64, buffer=buffer)
    source = FakeSource(longest=64)
    with packer_of(source, data) as packer:
        made = [packer.batch(64 * rows) for _ in range(batches)]
        waiting = [tuple(d.ids.tolist()) for d in unflatten(packer.state()[0])]
        read = packer.items
    packed = [document for batch in made for document in contents(batch)]
    wanted = [tuple(d.ids.tolist()) for index in range(read) for d in source(index)]
    assert sorted(packed + waiting) == sorted(wanted)


def test_batch_layout() -> None:
    lengths = [[10, 30], [22], [12, 4], [60]] + [[]] * CHUNK
    data = DataSettings(sequence_length=64, buffer=6)
    with packer_of(lambda index: [document(length, length, "x") for length in lengths[index]], data) as packer:
        batch = packer.batch(64)
    # The oldest (10), then the longest that fits the room left: 30, 22; 2 tokens of padding.
    assert contents(batch) == [(10,) * 10, (30,) * 30, (22,) * 22]
    assert batch.documents[0, -2:].tolist() == [-1, -1]
    assert batch.weights[0, -2:].tolist() == [0, 0]
    assert batch.weights[0, [0, 10, 40]].tolist() == [0, 0, 0]
    assert batch.useful == 62 - 3
    assert batch.filled == 62 / 64
    assert batch.origins == [[("x", -1)] * 3]


def test_packing_fills_rows() -> None:
    with packer_of(FakeSource(longest=128), DataSettings(sequence_length=256, buffer=64)) as packer:
        assert np.mean([packer.batch(1024).filled for _ in range(20)]) > 0.97


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_exactly(workers: int) -> None:
    data = DataSettings(sequence_length=64, buffer=20, lanes=2, workers=workers)
    mixture = Mixture({"a": FakeSource(), "b": FakeSource(seed=5, longest=20)}, {"a": 0.7, "b": 0.3})
    with Packer(mixture, data) as whole:
        whole.batch(256)
        state = whole.state()
        with Packer(mixture, data, state) as rest:
            assert all(same(whole.batch(256), rest.batch(256)) for _ in range(10))
            assert whole.items == rest.items


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_reads_the_same_batches(ranks: int) -> None:
    data = DataSettings(sequence_length=64, buffer=20, lanes=4)
    mixture = Mixture.of(FakeSource())
    with Packer(mixture, data) as alone:
        wanted = [alone.batch(512) for _ in range(6)]
    state = None
    found: list[list[Batch]] = []
    for steps in (2, 4):  # stop after two batches; go on with the lanes dealt out to `ranks` packers
        owners = [[0, 1, 2, 3]] if steps == 2 else [list(range(r, 4, ranks)) for r in range(ranks)]
        packers = [Packer(mixture, data, state, lanes=lanes) for lanes in owners]
        found += [[packer.batch(512) for packer in packers] for _ in range(steps)]
        state = {number: lane for packer in packers for number, lane in packer.state().items()}
    for step, (batch, parts) in enumerate(zip(wanted, found, strict=True)):
        lanes = [0, 1, 2, 3] if step < 2 else [n for r in range(ranks) for n in range(r, 4, ranks)]
        rows = np.concatenate([part.tokens for part in parts]).reshape(4, 2, 64)
        assert np.array_equal(rows[np.argsort(lanes)].reshape(8, 64), batch.tokens)


def test_shares_of_tokens_hold_whatever_the_lengths() -> None:
    mixture = Mixture(
        {"long": FakeSource(longest=60), "short": FakeSource(longest=8), "off": FakeSource(fails_at=0)},
        {"long": 0.5, "short": 0.5, "off": 0.0},
    )
    with Packer(mixture, DataSettings(sequence_length=64, buffer=8)) as packer:
        packer.batch(64 * 100)
        drawn = packer.drawn()
    assert drawn["off"] == (0, 0)
    assert drawn["long"][1] == pytest.approx(drawn["short"][1], abs=120)  # an item: two documents
    assert drawn["short"][0] > 3 * drawn["long"][0]


def test_epochs_make_shares() -> None:
    files = {
        "code": SourceSettings("code", ("x",), epochs=2),
        "text": SourceSettings("text", ("x",), share=3),
        "more": SourceSettings("text", ("x",), share=1),
    }
    data = DataSettings(sources=files, total_tokens=1000)
    assert shares(data, {"code": 100}) == pytest.approx({"code": 0.2, "text": 0.6, "more": 0.2})
    with pytest.raises(ValueError, match=r"epochs of code need 2.00 of the tokens, the run has 1.00"):
        shares(data, {"code": 1000})


def test_groups_hold_their_share_and_epochs_weigh_within() -> None:
    files = {
        "traces": SourceSettings("traces", ("x",), epochs=1, group="world"),
        "agents": SourceSettings("trajectories", ("x",), epochs=4, group="world"),
        "code": SourceSettings("code", ("x",), group="code"),
        "web": SourceSettings("text", ("x",)),
    }
    data = DataSettings(sources=files, groups={"world": 0.3, "code": 0.4}, total_tokens=10_000)
    found = shares(data, {"traces": 400, "agents": 100})
    assert found == pytest.approx({"traces": 0.15, "agents": 0.15, "code": 0.4, "web": 0.3})
    with pytest.raises(ValueError, match="groups has"):
        DataSettings(sources=files)


def test_buckets_pack_like_lengths_and_cap_the_window() -> None:
    buckets = {
        "short": BucketSettings(16), "middle": BucketSettings(64, global_window=32), "long": BucketSettings(256),
    }  # fmt: skip
    data = DataSettings(sequence_length=256, buckets=buckets, buffer=30, lanes=2)
    lengths = {16: 0.6, 64: 0.3, 200: 0.1}
    mixture = Mixture({str(n): FakeSource(longest=n) for n in lengths}, {str(n): s for n, s in lengths.items()})
    seen: Counter[int] = Counter()
    with Packer(mixture, data) as packer:
        for _ in range(40):
            batch = packer.batch(512)
            length = batch.tokens.shape[1]
            seen[length] += 1
            assert batch.tokens.shape == (512 // length, length)
            assert batch.global_window == {16: 0, 64: 32, 256: 0}[length]
            first = [int((row == 0).sum()) for row in batch.documents]
            assert all({16: 0, 64: 16, 256: 64}[length] < size <= length for size in first)
        waiting = sum(len(unflatten(lane)) for lane in packer.state().values())
    assert len(seen) == 3
    assert waiting < 200  # no bucket is left behind


def test_skipped_items_are_counted_and_named() -> None:
    def source(index: int) -> list[Document]:
        if index % 10 == 3:
            raise Skipped("shard x, row 3")
        return FakeSource()(index)

    with packer_of(source, DataSettings(sequence_length=64, buffer=8)) as packer:
        packer.batch(64 * 40)
        assert packer.skipped["shard x, row 3"] >= packer.items // 10


def test_items_without_documents_end_with_advice() -> None:
    with (
        packer_of(lambda index: [], DataSettings(sequence_length=64)) as packer,
        pytest.raises(DataError, match=r"of programs gave no document that fits a row of 64 tokens: raise data.seq"),
    ):
        packer.batch(64)


def test_a_document_over_the_row_is_an_error() -> None:
    with (
        packer_of(lambda index: [document(65)], DataSettings(sequence_length=64)) as packer,
        pytest.raises(DataError, match="item 0 of programs gave 65 tokens"),
    ):
        packer.batch(64)


def test_held_out_holds_each_document_once() -> None:
    source = FakeSource()
    batch = held_out(Mixture.of(source), DataSettings(sequence_length=64), 12)
    assert batch is not None
    wanted = [tuple(d.ids.tolist()) for index in range(12) for d in source(index)]
    assert sorted(contents(batch)) == sorted(wanted)
    assert held_out(Mixture.of(source), DataSettings(sequence_length=64), 0) is None


@pytest.mark.parametrize("kind", ["mix", "write"])
def test_written_programs_are_documents_of_their_namespace(kind) -> None:
    data, one = DataSettings(sequence_length=512), SourceSettings(kind)
    train, other = make_source("p", one, data), make_source("p", one, data, namespace="held-out")
    made = [document for index in range(30) for document in train(index)]
    again = [document for index in range(30) for document in make_source("p", one, data)(index)]
    assert [d.ids.tolist() for d in made] == [d.ids.tolist() for d in again]
    assert {tuple(d.ids.tolist()) for d in made}.isdisjoint(tuple(d.ids.tolist()) for i in range(30) for d in other(i))
    assert len(made) >= 25
    for document in made:
        assert 0 < len(document.ids) == len(document.weights) <= 512
        assert document.ids.min() >= 0 and document.ids.max() < VOCABULARY.size
        assert document.weights[0] == 0 and document.weights[-1] == 1
        assert document.source.startswith("p")
    with Pool([train], 1) as pool:
        spawned = [document for start in (0, 16) for one in chunk(pool, start) for document in one.documents]
    assert [d.ids.tolist() for d in spawned][: len(made)] == [d.ids.tolist() for d in made]


def test_steps_are_in_the_documents_when_asked_for() -> None:
    without, having = (
        sum(len(d.ids) for index in range(30) for d in make_source("p", one, DataSettings())(index))
        for one in (SourceSettings("write"), SourceSettings("write", steps=True))
    )
    assert having > without
