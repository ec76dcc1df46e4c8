"""Sources, streams and packing: the same documents in the same order, whatever makes them."""

import itertools
import os
import time
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.train.data import DataError, Document, flatten, make_source, stream, unflatten
from opencwm.train.fake import FakeSource
from opencwm.train.pack import Batch, Packer, held_out
from opencwm.train.settings import DataSettings


def document(length: int, mark: int = 1) -> Document:
    return Document(np.full(length, mark, np.int32), np.ones(length, np.float32))


def same(left: Batch, right: Batch) -> bool:
    pairs = ((left.tokens, right.tokens), (left.documents, right.documents), (left.weights, right.weights))
    return all(np.array_equal(one, other) for one, other in pairs)


def contents(batch: Batch) -> list[tuple[int, ...]]:
    """The documents of a batch, row by row."""
    found = []
    for tokens, numbers in zip(batch.tokens, batch.documents, strict=True):
        for number in range(numbers.max() + 1):
            found.append(tuple(tokens[numbers == number].tolist()))
    return found


def test_workers_give_the_stream_of_one_process_and_leave_no_process() -> None:
    source = FakeSource()
    with closing(stream(source, 5, 0)) as alone, closing(stream(source, 5, 2)) as workers:
        for (index, made), (expected, wanted) in itertools.islice(zip(workers, alone, strict=True), 100):
            assert index == expected
            assert [d.ids.tolist() for d in made] == [d.ids.tolist() for d in wanted]
            assert [d.weights.tolist() for d in made] == [d.weights.tolist() for d in wanted]
    deadline = time.monotonic() + 5
    while children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children()


def children() -> list[object]:
    import multiprocessing

    return multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_source_names_the_program(workers: int) -> None:
    with (
        closing(stream(FakeSource(fails_at=20), 0, workers)) as pairs,
        pytest.raises(DataError, match=r"(?s)program 20 could not be made .*told to fail"),
    ):
        list(pairs)


def test_a_dead_worker_names_the_program() -> None:
    with (
        closing(stream(FakeSource(dies_at=37), 0, 2)) as pairs,
        pytest.raises(DataError, match=r"worker died \(exit code 7\) while it made program 37"),
    ):
        list(pairs)


def test_worker_environment_is_restored() -> None:
    before = os.environ.get("PYTHONHASHSEED")
    with closing(stream(FakeSource(), 0, 1)) as pairs:
        next(pairs)
    assert os.environ.get("PYTHONHASHSEED") == before


@given(st.lists(st.lists(st.integers(0, 800), min_size=1, max_size=9), max_size=9))
def test_flatten_round_trip(ids: list[list[int]]) -> None:
    made = [Document(np.array(some, np.int32), np.array(some, np.float32) / 2) for some in ids]
    back = unflatten(flatten(made))
    assert [d.ids.tolist() for d in back] == ids
    assert [d.weights.tolist() for d in back] == [[i / 2 for i in some] for some in ids]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 3), st.integers(1, 3))
def test_every_document_is_packed_once_and_whole(buffer: int, batches: int, rows: int) -> None:
    data = DataSettings(sequence_length=64, buffer=buffer)
    source = FakeSource(longest=64)
    with Packer(source, data) as packer:
        made = [packer.batch(rows) for _ in range(batches)]
        waiting = [tuple(d.ids.tolist()) for d in unflatten(packer.state())]
        read = packer.index
    packed = [document for batch in made for document in contents(batch)]
    wanted = [tuple(d.ids.tolist()) for index in range(read) for d in source(index)]
    assert sorted(packed + waiting) == sorted(wanted)


def test_batch_layout() -> None:
    lengths = iter([[10, 30], [22], [12, 4], [60]])
    data = DataSettings(sequence_length=64, buffer=6)
    with Packer(lambda index: [document(length, length) for length in next(lengths)], data) as packer:
        batch = packer.batch(1)
    # The oldest (10), then the longest that fits the room left: 30, 22; 2 tokens of padding.
    assert contents(batch) == [(10,) * 10, (30,) * 30, (22,) * 22]
    assert batch.documents[0, -2:].tolist() == [-1, -1]
    assert batch.weights[0, -2:].tolist() == [0, 0]
    assert batch.weights[0, [0, 10, 40]].tolist() == [0, 0, 0]
    assert batch.useful == 62 - 3
    assert batch.filled == 62 / 64


def test_packing_fills_rows() -> None:
    with Packer(FakeSource(longest=128), DataSettings(sequence_length=256, buffer=64)) as packer:
        assert np.mean([packer.batch(4).filled for _ in range(20)]) > 0.97


def test_a_state_goes_on_exactly() -> None:
    data = DataSettings(sequence_length=64, buffer=20)
    with Packer(FakeSource(), data) as whole:
        whole.batch(3)
        state = whole.state()
        with Packer(FakeSource(), data, state) as rest:
            assert all(same(whole.batch(3), rest.batch(3)) for _ in range(10))
            assert whole.index == rest.index


def test_programs_without_documents_end_with_advice() -> None:
    with (
        Packer(lambda index: [], DataSettings(sequence_length=64)) as packer,
        pytest.raises(DataError, match=r"no document that fits a row of 64 tokens: raise data.sequence_length"),
    ):
        packer.batch(1)


def test_a_document_over_the_row_is_an_error() -> None:
    with (
        Packer(lambda index: [document(65)], DataSettings(sequence_length=64)) as packer,
        pytest.raises(DataError, match="program 0 gave a document of 65 tokens"),
    ):
        packer.batch(1)


def test_held_out_holds_each_document_once() -> None:
    source = FakeSource()
    batch = held_out(source, DataSettings(sequence_length=64), 12)
    assert batch is not None
    wanted = [tuple(d.ids.tolist()) for index in range(12) for d in source(index)]
    assert sorted(contents(batch)) == sorted(wanted)
    assert held_out(source, DataSettings(sequence_length=64), 0) is None


def test_written_programs_are_documents_of_their_namespace() -> None:
    data = DataSettings(sequence_length=512, max_frames=64)
    train, other = make_source(data), make_source(data, "held-out")
    made = [document for index in range(30) for document in train(index)]
    again = [document for index in range(30) for document in make_source(data)(index)]
    assert [d.ids.tolist() for d in made] == [d.ids.tolist() for d in again]
    assert {tuple(d.ids.tolist()) for d in made}.isdisjoint(tuple(d.ids.tolist()) for i in range(30) for d in other(i))
    assert len(made) >= 30
    for document in made:
        assert 0 < len(document.ids) == len(document.weights) <= 512
        assert document.ids.min() >= 0 and document.ids.max() < VOCABULARY.size
        assert document.weights[0] == 0 and document.weights[-1] == 1
    with closing(stream(train, 0, 1)) as pairs:
        spawned = [document for _, some in itertools.islice(pairs, 30) for document in some]
    assert [d.ids.tolist() for d in spawned] == [d.ids.tolist() for d in made]


def test_steps_are_in_the_documents_when_asked_for() -> None:
    without, having = (
        sum(len(d.ids) for index in range(30) for d in make_source(DataSettings(steps=steps))(index))
        for steps in (False, True)
    )
    assert having > without
