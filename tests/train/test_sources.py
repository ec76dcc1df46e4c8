"""Files as sources: every format, shuffled epochs, what is broken and what has changed, tokenised on the way."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opencwm.codec import compact
from opencwm.codec.tokenizer import VOCABULARY, decode_source
from opencwm.programs.program import Program
from opencwm.trace.recorder import record
from opencwm.trace.store import pack
from opencwm.train.data import DataError, Skipped
from opencwm.train.data_settings import DataSettings, SourceSettings
from opencwm.train.files import BLOCK, Rows, ShardError, find, scan
from opencwm.train.pack import Packer
from opencwm.train.sources import FileSource, make_source, unique_tokens
from opencwm.train.streams import open_training

TRACE = record(Program.parse("def f(s):\n    t = s + s\n    return t\n", "f('ab')"))


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def table(path: Path, rows: list[dict[str, Any]], group: int = 1000) -> str:
    parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=group)
    return str(path)


def source(kind: str, paths: list[str], length: int = 64, **more: Any) -> FileSource:
    data = {key: more.pop(key) for key in ("corrupt", "seed") if key in more}
    made = make_source("s", SourceSettings(kind, tuple(paths), **more), DataSettings(sequence_length=length, **data))  # type: ignore[arg-type]
    assert isinstance(made, FileSource)
    return made


def text_of(ids: Any) -> str:
    return bytes(token for token in ids if token < 256).decode()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_an_epoch_holds_each_row_once_and_the_next_in_another_order(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": f"row {n}"} for n in range(2500)]
    if suffix == ".parquet":
        path = table(tmp_path / "a.parquet", rows, 700)
    elif suffix == ".jsonl":
        path = lines(tmp_path / "a.jsonl", rows)
    else:
        path = str(tmp_path / "a.jsonl.gz")
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    made = source("text", [path])
    epochs = [[text_of(made(index)[0].ids) for index in range(e * 2500, (e + 1) * 2500)] for e in (0, 1)]
    for epoch in epochs:
        assert Counter(epoch) == Counter(row["text"] for row in rows)
    assert epochs[0] != epochs[1] != [row["text"] for row in rows]
    assert text_of(source("text", [path])(3)[0].ids) == epochs[0][3]
    other = source("text", [path], seed=1)
    assert [text_of(other(index)[0].ids) for index in range(50)] != epochs[0][:50]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 3), st.integers(0, 1000))
def test_places_are_a_permutation_in_every_epoch(sizes: list[int], epoch: int, seed: int) -> None:
    from opencwm.train.files import Shard

    rows = Rows([Shard(f"{n}", (size, size + 1)) for n, size in enumerate(sizes)], seed)
    places = [rows.place(epoch * rows.count + offset) for offset in range(rows.count)]
    assert sorted(places) == [rows.plain(number) for number in range(rows.count)]


def test_files_are_found_by_folder_and_pattern(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    wanted = [lines(tmp_path / "deep" / "b.jsonl", [{}]), table(tmp_path / "a.parquet", [{"text": "x"}])]
    (tmp_path / "notes.md").write_text("no data")
    assert find([str(tmp_path)]) == sorted(wanted)
    assert find([str(tmp_path / "*.parquet")]) == wanted[1:]
    with pytest.raises(ShardError, match="no such file"):
        find([str(tmp_path / "none.jsonl")])


def test_long_text_is_split_and_nothing_is_lost(tmp_path: Path) -> None:
    text = "".join(chr(97 + n % 26) for n in range(300))
    made = source("text", [lines(tmp_path / "a.jsonl", [{"text": text}])])(0)
    assert [len(document.ids) for document in made] == [64, 64, 64, 64, 46]
    assert text_of(np.concatenate([document.ids for document in made])) == text
    assert source("text", [str(tmp_path / "a.jsonl")], longer="drop")(0) == []
    assert [len(d.ids) for d in source("text", [str(tmp_path / "a.jsonl")], longer="cut")(0)] == [64]


def test_long_code_is_cut_at_lines_into_pieces_that_read_alone(tmp_path: Path) -> None:
    functions = [f"def function_{n}(value_{n}):\n    return value_{n} + {n}\n" for n in range(700)]
    code = "\n".join(functions)
    made = source("code", [lines(tmp_path / "a.jsonl", [{"text": code}])], length=512)(0)
    assert len(made) > 10
    texts = []
    for document in made:
        assert len(document.ids) <= 512
        assert (document.ids[0], document.ids[-1]) == (VOCABULARY.ids["<begin>"], VOCABULARY.ids["<end>"])
        texts.append(decode_source(document.ids[1:-1].tolist())[0])
    joined = "\n".join(texts)
    assert [line for line in joined.split("\n") if line] == [line for line in code.split("\n") if line]


@pytest.mark.parametrize("how", ["lines", "column", "packed"])
def test_traces_are_windows_of_the_codec(tmp_path: Path, how: str) -> None:
    other = record(Program.parse("def g(n):\n    return n * n\n", "g(12)"))
    if how == "lines":
        path = str(tmp_path / "a.jsonl")
        Path(path).write_text(TRACE.to_jsonl() + other.to_jsonl())
    else:
        stored = [t.to_jsonl() if how == "column" else pack(t) for t in (TRACE, other)]
        path = table(tmp_path / "a.parquet", [{"trace": each, "id": "x"} for each in stored])
    made = source("traces", [path], length=128)
    found = sorted(document.ids.tolist() for index in (0, 1) for document in made(index))
    assert found == sorted(compact.encode(trace).ids for trace in (TRACE, other))
    whole = source("traces", [path], length=128, context_loss=True)(0)[0]
    assert whole.weights.all() and not made(0)[0].weights.all()


def test_pull_requests_are_one_text_with_the_patch_last(tmp_path: Path) -> None:
    row = {"title": "T", "body": "B", "files": [{"path": "a.py", "content": "x = 1\n"}], "patch": "-x\n+y\n"}
    made = source("pulls", [lines(tmp_path / "a.jsonl", [row])], length=128)(0)
    assert source("pulls", [str(tmp_path / "a.jsonl")], length=32)(0) == []  # cut, the patch would be lost
    assert text_of(made[0].ids) == "# T\n\nB\n\n=== a.py\nx = 1\n\n=== patch\n-x\n+y\n"
    assert (
        source("pulls", [table(tmp_path / "a.parquet", [row])], length=128)(0)[0].ids.tolist() == made[0].ids.tolist()
    )


def test_observations_are_masked_at_the_configured_rate(tmp_path: Path) -> None:
    messages = [{"role": role, "content": "x"} for _ in range(40) for role in ("assistant", "tool: bash")]
    path = lines(tmp_path / "a.jsonl", [{"messages": messages}])
    useful = [
        int((source("trajectories", [path], 4096, observation_mask=rate)(0)[0].weights > 0).sum())
        for rate in (0, 0.5, 1)
    ]
    assert useful[0] == 160 and useful[2] == 80 and 80 < useful[1] < 160
    only = source("chats", [path], 4096, loss_roles=("tool",))(0)[0]
    assert int((only.weights > 0).sum()) == 80


BROKEN = ['{"text": 1}', "[1]", "{", '{"other": "x"}']


@pytest.mark.parametrize("row", BROKEN)
def test_a_broken_row_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' * 3 + row + "\n")
    made = source("text", [str(path)])
    with pytest.raises(DataError, match=r"a\.jsonl, row 3: .*data.corrupt"):
        for index in range(4):
            made(index)
    skipping = source("text", [str(path)], corrupt="skip")
    fine = 0
    for index in range(4):
        try:
            fine += len(skipping(index))
        except Skipped as skipped:
            assert "row 3" in str(skipped)
    assert fine == 3


def corrupted(folder: Path) -> dict[str, SourceSettings]:
    table(folder / "good.parquet", [{"text": "fine"}] * 50)
    (folder / "bad.parquet").write_bytes(b"PAR1 this is no table PAR1")
    return {"files": SourceSettings("text", (str(folder),))}


def test_a_corrupt_shard_is_named_and_fatal_or_passed_over(tmp_path: Path) -> None:
    sources = corrupted(tmp_path)
    with pytest.raises(DataError, match=r"sources.files: shard .*bad\.parquet cannot be read"):
        open_training(DataSettings(sources))
    opened = open_training(DataSettings(sources, corrupt="skip"))
    assert len(opened.wrong) == 1 and "bad.parquet" in opened.wrong[0]
    with Packer(opened.mixture, DataSettings(sources, corrupt="skip", sequence_length=64)) as packer:
        assert packer.batch(64).useful > 0


def test_a_shard_that_breaks_under_a_run_is_named_and_counted(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"text": f"row {n}"} for n in range(100)], 10)
    sources = {"files": SourceSettings("text", (path,))}
    opened = open_training(DataSettings(sources, corrupt="skip"))
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])
    with Packer(opened.mixture, DataSettings(sources, corrupt="skip", sequence_length=64)) as packer:
        with pytest.raises(DataError, match=r"items of files gave no document .*the last one: shard .*a\.parquet"):
            packer.batch(64)
        assert sum(packer.skipped.values()) == packer.items


def test_a_shard_that_has_changed_is_noticed_on_resume(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"text": "x"}] * 10)
    sources = {"files": SourceSettings("text", (path,))}
    saved = json.loads(json.dumps(open_training(DataSettings(sources)).shards))
    assert open_training(DataSettings(sources), saved).shards == open_training(DataSettings(sources)).shards
    table(tmp_path / "a.parquet", [{"text": "x"}] * 12)
    with pytest.raises(DataError, match=r"a\.parquet had 10 rows when the run was stopped and has 12 rows now"):
        open_training(DataSettings(sources), saved)
    Path(path).unlink()
    table(tmp_path / "b.parquet", [{"text": "x"}])
    with pytest.raises(DataError, match="no such file"):
        open_training(DataSettings(sources), saved)


def test_unique_tokens_are_counted_or_reckoned(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"text": "x" * (n % 40)} for n in range(2 * BLOCK)])
    made = source("text", [path])
    exact = sum(len(document.ids) for index in range(2 * BLOCK) for document in made(index))
    assert unique_tokens(made, 4 * BLOCK) == exact
    assert unique_tokens(made, 300) == pytest.approx(exact, rel=0.1)


def test_scan_counts_what_is_there(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"n": n} for n in range(BLOCK + 3)])
    assert scan(path).blocks == (BLOCK, 3)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    assert scan(str(empty)).rows == 0
    with pytest.raises(DataError, match="hold no row"):
        source("text", [str(empty)])


def test_rows_travel_to_workers(tmp_path: Path) -> None:
    import pickle

    made = source("text", [lines(tmp_path / "a.jsonl", [{"text": f"row {n}"} for n in range(30)])])
    made(random.Random(0).randrange(30))
    copy = pickle.loads(pickle.dumps(made))
    assert [copy(n)[0].ids.tolist() for n in range(30)] == [made(n)[0].ids.tolist() for n in range(30)]
