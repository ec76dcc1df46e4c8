"""Checkpoints: whole or not at all, and the last good one is found."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from opencwm.train import checkpoint
from opencwm.train.checkpoint import CheckpointError


def silent(text: str) -> None:
    raise AssertionError(text)


def put(folder: Path, step: int, keep: int = 2) -> Path:
    parts = {"model": {"w": torch.full((3,), float(step))}, "data": {"index": step, "ids": np.arange(step)}}
    return checkpoint.save(folder, step, parts, {"note": "x"}, keep=keep)


def test_round_trip(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "none", silent) is None
    put(tmp_path, 7)
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    assert (back.step, back.info) == (7, {"note": "x"})
    assert torch.equal(back.parts["model"]["w"], torch.full((3,), 7.0))
    assert back.parts["data"]["index"] == 7
    assert back.parts["data"]["ids"].tolist() == list(range(7))


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (1, 2, 30, 4):
        put(tmp_path, step)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000004", "step-00000030"]


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "manifest", "empty manifest"])
def test_falls_back_and_says_so(tmp_path: Path, harm: str) -> None:
    put(tmp_path, 1)
    model = put(tmp_path, 2) / "model.pt"
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


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, 1)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, 2)
    monkeypatch.undo()
    back = checkpoint.load(tmp_path, silent)
    assert back is not None
    assert back.step == 1
    put(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]
