"""Checkpoints: whole or not at all, and the last good one is found."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from opencwm.train import checkpoint
from opencwm.train.checkpoint import Checkpointer, CheckpointError


def silent(text: str) -> None:
    raise AssertionError(text)


def put(folder: Path, step: int, keep: int = 2) -> Path:
    saves = Checkpointer(folder, keep=keep)
    tensors = {"model/w": torch.full((3,), float(step)), "optimiser/w/step": torch.tensor(float(step))}
    lanes = {0: {"ids": np.arange(step), "empty": np.empty(0, np.float32)}, 12: {"ids": np.arange(2)}}
    saves.save(step, tensors, lanes, {"note": "x"})
    saves.wait()
    return folder / f"step-{step:08d}"


def test_round_trip(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "none", silent) is None
    put(tmp_path, 7)
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    assert (back.step, back.info) == (7, {"format": checkpoint.FORMAT, "note": "x"})
    into = torch.zeros(3)
    back.read_into({"model/w": into})
    assert torch.equal(into, torch.full((3,), 7.0))
    assert float(back.read(["optimiser/w/step"])["optimiser/w/step"]) == 7
    lane = back.lane(0)
    assert lane["ids"].tolist() == list(range(7)) and lane["ids"].dtype == np.int64
    assert lane["empty"].shape == (0,) and lane["empty"].dtype == np.float32
    assert back.lane(12)["ids"].tolist() == [0, 1]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    put(tmp_path, 7)
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    with pytest.raises(CheckpointError, match=r"step-00000007 does not fit this run: .*model/other"):
        back.read_into({"model/other": torch.zeros(3)})


def test_a_save_is_waited_for_when_training_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = checkpoint.save_tensors

    def saved(*given: object, **named: object) -> None:
        time.sleep(0.5)
        slow(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save_tensors", saved)
    with pytest.raises(ValueError, match="bad data"), Checkpointer(tmp_path, keep=2) as saves:
        saves.save(5, {"w": torch.zeros(3)}, {}, {})
        raise ValueError("bad data")
    back = checkpoint.load(tmp_path, silent)
    assert back is not None and back.step == 5


def test_a_save_goes_on_in_the_background_with_what_was_there(tmp_path: Path) -> None:
    saves = Checkpointer(tmp_path, keep=2)
    weight = torch.zeros(1000)
    for step in (1, 2, 3):
        saves.save(step, {"w": weight}, {}, {})
        weight += 1  # training goes on
    saves.wait()
    back = checkpoint.load(tmp_path, silent)
    assert back is not None and back.step == 3
    assert torch.equal(back.read(["w"])["w"], torch.full((1000,), 2.0))


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 30, 4):
        put(tmp_path, step)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000004", "step-00000030"]


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "manifest", "empty manifest"])
def test_falls_back_and_says_so(tmp_path: Path, harm: str) -> None:
    put(tmp_path, 1)
    model = put(tmp_path, 2) / "__0_0.distcp"
    data = model.read_bytes()
    if harm == "cut":
        model.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        model.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif harm == "missing":
        model.unlink()
    else:
        (model.parent / "manifest.json").write_text("{" if harm == "manifest" else "{}")
    said: list[str] = []
    back = checkpoint.load(tmp_path, said.append)
    assert back is not None
    assert back.step == 1
    assert len(said) == 1
    assert "step-00000002 is damaged" in said[0]
    put(tmp_path, 2)  # the run comes by again and replaces the damaged one
    again = checkpoint.load(tmp_path, silent)
    assert again is not None
    assert again.step == 2


def test_all_damaged(tmp_path: Path) -> None:
    (put(tmp_path, 1) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged: delete that folder"):
        checkpoint.load(tmp_path, lambda text: None)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot save step 2 .*No space .*step-00000001 is intact: make room"):
        put(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    assert back.step == 1


def test_what_a_kill_while_saving_leaves_is_passed_over_and_cleared_away(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2).rename(tmp_path / ".step-00000002.partial")
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    assert back.step == 1
    put(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]
