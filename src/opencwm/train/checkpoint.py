"""Checkpoints: a folder per step with everything a run needs to go on exactly, written whole or not at all.

    FOLDER/step-00000200/{model,optimiser,data,random}.pt  info.json  manifest.json (size and SHA-256 of each file)

Notable choices:
- Files are written into a hidden folder, flushed to the disk, and renamed together; a kill leaves the older ones.
- Reading checks the manifest; a damaged checkpoint is reported and the one before it is taken.
- Tensors are read with `weights_only`: a checkpoint can hold no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = "opencwm.checkpoint/1"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or none could be read; the message says what is left and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved after `step` updates: `parts` (name -> tensors and plain values) and `info` (JSON)."""

    step: int
    parts: dict[str, Any]
    info: dict[str, Any]


def found(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first; not checked."""
    if not folder.is_dir():
        return []
    steps = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return [steps[step] for step in sorted(steps)]


def save(folder: Path, step: int, parts: dict[str, Any], info: dict[str, Any], *, keep: int) -> Path:
    """Write one checkpoint, then delete all but the newest `keep`. numpy arrays come back as tensors.

    Raises CheckpointError if the disk is full or not writable; checkpoints written before stay as they are.
    """
    final, partial = folder / f"step-{step:08d}", folder / f".step-{step:08d}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = {f"{name}.pt": _packed(part) for name, part in parts.items()}
        files["info.json"] = (json.dumps({"format": FORMAT, "step": step, **info}, indent=1) + "\n").encode()
        manifest = {name: {"size": len(data), "sha256": _digest(data)} for name, data in files.items()}
        files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
        for name, data in files.items():
            _write(partial / name, data)
        _flush_folder(partial)
        if final.exists():  # a damaged one that the run went round
            shutil.rmtree(final)
        os.replace(partial, final)
        _flush_folder(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = found(folder)
        left = f"the checkpoint {kept[-1].name} is intact" if kept else "there is no earlier checkpoint"
        raise CheckpointError(
            f"cannot save step {step} in {folder}: {error.strerror or error}; {left}: make room and start the same "
            f"command again"
        ) from error
    for old in found(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for stale in folder.glob(".step-*.partial"):
        shutil.rmtree(stale, ignore_errors=True)
    return final


def load(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; None if there is none at all. `say` gets a line per damaged one.

    Raises CheckpointError if there are checkpoints and all are damaged.
    """
    candidates = found(folder)
    for path in reversed(candidates):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError) as error:
            say(f"checkpoint {path} is damaged ({error}); trying the one before it")
    if candidates:
        raise CheckpointError(f"every checkpoint in {folder} is damaged: delete that folder to start from nothing")
    return None


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / "manifest.json").read_bytes())
    files: dict[str, bytes] = {}
    for name, expected in manifest.items():
        data = (path / name).read_bytes()
        if len(data) != expected["size"]:
            raise ValueError(f"{name} has {len(data):,} bytes instead of {expected['size']:,}")
        if _digest(data) != expected["sha256"]:
            raise ValueError(f"{name} has another checksum than when it was written")
        files[name] = data
    info = json.loads(files.pop("info.json"))
    if info.pop("format") != FORMAT:
        raise ValueError(f"info.json is not of format {FORMAT}")
    parts = {
        name.removesuffix(".pt"): torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        for name, data in files.items()
    }
    return Checkpoint(info.pop("step"), parts, info)


def _packed(part: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(_as_tensors(part), buffer)
    return buffer.getvalue()


def _as_tensors(value: object) -> object:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {key: _as_tensors(item) for key, item in value.items()}
    return value


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
