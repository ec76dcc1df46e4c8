"""Checkpoints: a folder per step with everything a run needs to go on exactly, written whole or not at all.

    FOLDER/step-00000200/{__RANK_N.distcp .metadata}  info.json  manifest.json (size and SHA-256 of each file)

Notable choices:
- Tensors are written by torch.distributed.checkpoint, each process its own parts, and can be read on any other number
  of processes. A save copies them to memory and returns; a thread writes while training goes on.
- Files are written into a hidden folder, flushed to the disk, and renamed together; a kill leaves the older ones.
- Reading checks the manifest; a damaged checkpoint is reported and the one before it is taken.
- `.metadata` is a pickle: like a program, a checkpoint of unknown origin should not be opened. Weights folders hold
  no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors
from torch.distributed.tensor import DTensor

FORMAT = "opencwm.checkpoint/2"
_NAME = re.compile(r"step-(\d{8,})")
_DATA = "data"
_PATIENCE_SECONDS = 60.0


class CheckpointError(RuntimeError):
    """A checkpoint could not be written or none could be read; the message says what is left and what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved after `step` updates, checked but not yet read: tensors by name, and `info` (JSON)."""

    path: Path
    step: int
    info: dict[str, Any]

    def sizes(self) -> dict[str, torch.Size]:
        """Names and whole sizes of all tensors."""
        entries = FileSystemReader(self.path).read_metadata().state_dict_metadata
        return {name: entry.size for name, entry in entries.items() if isinstance(entry, TensorStorageMetadata)}

    def read_into(self, tensors: Mapping[str, Tensor]) -> None:
        """Fill tensors, whole or divided, with what was saved under their names. Raises CheckpointError."""
        state = {name: tensor.detach() for name, tensor in tensors.items()}
        try:
            with _one_process_is_enough():
                load_tensors(state, storage_reader=FileSystemReader(self.path), no_dist=not dist.is_initialized())
        except (CheckpointException, RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"checkpoint {self.path} does not fit this run: {_reason(error)}") from error

    def read(self, names: list[str]) -> dict[str, Tensor]:
        """Some tensors, whole, on the CPU."""
        entries = FileSystemReader(self.path).read_metadata().state_dict_metadata
        tensors: dict[str, Tensor] = {}
        for name in names:
            entry = entries[name]
            assert isinstance(entry, TensorStorageMetadata)
            tensors[name] = torch.empty(entry.size, dtype=entry.properties.dtype)
        self.read_into(tensors)
        return tensors

    def lane(self, number: int) -> dict[str, NDArray[Any]]:
        """The data state of one lane."""
        prefix = f"{_DATA}/{number}/"
        found = self.read([name for name in self.sizes() if name.startswith(prefix)])
        return {name.removeprefix(prefix): tensor.numpy() for name, tensor in found.items()}


def found(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first; not checked."""
    if not folder.is_dir():
        return []
    steps = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return [steps[step] for step in sorted(steps)]


def load(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; None if there is none at all. `say` gets a line per damaged one.

    With several processes all must call it: each checks a part of the files. Raises CheckpointError if there are
    checkpoints and all are damaged.
    """
    candidates = _agreed(found(folder))
    for path in reversed(candidates):
        try:
            wrong = _agreed_worst(_check(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong = _agreed_worst(str(error) or type(error).__name__)
        if not wrong:
            info = json.loads((path / "info.json").read_bytes())
            return Checkpoint(path, info.pop("step"), info)
        say(f"checkpoint {path} is damaged ({wrong}); trying the one before it")
    if candidates:
        raise CheckpointError(f"every checkpoint in {folder} is damaged: delete that folder to start from nothing")
    return None


def open_one(path: Path) -> Checkpoint:
    """A certain checkpoint, checked. Raises CheckpointError."""
    try:
        wrong = _check(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = str(error)
    if wrong:
        raise CheckpointError(f"checkpoint {path} is damaged ({wrong}): take another one")
    info = json.loads((path / "info.json").read_bytes())
    return Checkpoint(path, info.pop("step"), info)


class Checkpointer:
    """Saves to a folder, keeping the newest `keep`. With several processes all must call each method.

    A context manager: however the block ends, what is being written is waited for, but not for ever.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._thread: threading.Thread | None = None
        self._failed: CheckpointError | None = None
        # The thread's talk must not mix with that of training.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None

    def save(
        self, step: int, tensors: Mapping[str, Tensor], lanes: Mapping[int, Mapping[str, Any]], info: dict[str, Any]
    ) -> None:
        """Copy the state and write it in the background. Raises CheckpointError if the save before this one failed."""
        self.wait()
        state: dict[str, Any] = {name: _copied(tensor) for name, tensor in tensors.items()}
        for number, lane in lanes.items():
            state |= {f"{_DATA}/{number}/{key}": torch.from_numpy(np.array(value)) for key, value in lane.items()}
        self._thread = threading.Thread(target=self._write, args=(step, state, info), name="checkpoint")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)  # of several processes one may be gone

    def check(self) -> None:
        """Raises CheckpointError if a save has failed meanwhile."""
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def wait(self) -> None:
        """Until the last save is on the disk. Raises CheckpointError if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _write(self, step: int, state: dict[str, Any], info: dict[str, Any]) -> None:
        final, partial = self._folder / f"step-{step:08d}", self._folder / f".step-{step:08d}.partial"
        rank, first = _rank(), _rank() == 0
        try:
            if first:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self._barrier()
            writer = FileSystemWriter(partial, single_file_per_rank=True)
            with _one_process_is_enough():
                save_tensors(state, storage_writer=writer, process_group=self._group, no_dist=self._group is None)
            digests = {path.name: _digest(path) for path in partial.glob(f"__{rank}_*")}
            gathered: list[Any] = [digests]
            if self._group is not None:
                gathered = [None] * dist.get_world_size()
                dist.all_gather_object(gathered, digests, group=self._group)
            if first:
                _write(partial / "info.json", json.dumps({"format": FORMAT, "step": step, **info}, indent=1).encode())
                manifest = {name: digest for part in gathered for name, digest in part.items()}
                manifest |= {name: _digest(partial / name) for name in (".metadata", "info.json")}
                _write(partial / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
                _flush_folder(partial)
                if final.exists():  # a damaged one that the run went round
                    shutil.rmtree(final)
                os.replace(partial, final)
                _flush_folder(self._folder)
                for old in found(self._folder)[: -self._keep]:
                    shutil.rmtree(old, ignore_errors=True)
                for stale in self._folder.glob(".step-*.partial"):
                    shutil.rmtree(stale, ignore_errors=True)
            self._barrier()
        except (Exception, CheckpointException) as error:  # told by `check`, in the thread that trains
            if first:
                shutil.rmtree(partial, ignore_errors=True)
            kept = found(self._folder)
            left = f"the checkpoint {kept[-1].name} is intact" if kept else "there is no earlier checkpoint"
            self._failed = CheckpointError(
                f"cannot save step {step} in {self._folder}: {_reason(error)}; {left}: make room and start the same "
                f"command again"
            )
            self._failed.__cause__ = error

    def _barrier(self) -> None:
        if self._group is not None:
            dist.barrier(self._group)


def _check(path: Path) -> str:
    """What is wrong with a checkpoint's files, of which this process looks at its part."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    if not {".metadata", "info.json"} <= manifest.keys():
        return "manifest.json is incomplete"
    for name in sorted(manifest)[_rank() :: _world()]:
        size, expected = (path / name).stat().st_size, manifest[name]
        if size != expected["size"]:
            return f"{name} has {size:,} bytes instead of {expected['size']:,}"
        if _digest(path / name) != expected:
            return f"{name} has another checksum than when it was written"
    if json.loads((path / "info.json").read_bytes())["format"] != FORMAT:
        return f"info.json is not of format {FORMAT}"
    return ""


@contextmanager
def _one_process_is_enough() -> Iterator[None]:
    """Without other processes torch warns that it takes this one for all: it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _copied(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if tensor.device.type == "cpu":
        return tensor.clone()
    if isinstance(tensor, DTensor):
        # The layout stays, the numbers move: DCP plans by the layout and reads the local part.
        return tensor.clone()
    return tensor.cpu()


def _agreed(paths: list[Path]) -> list[Path]:
    """The first process's list, so that all go through the same checkpoints."""
    if not dist.is_initialized():
        return paths
    shared: list[Any] = [paths]
    dist.broadcast_object_list(shared)
    return list(shared[0])


def _agreed_worst(wrong: str) -> str:
    """The first complaint of any process."""
    if not dist.is_initialized():
        return wrong
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, wrong)
    return next((complaint for complaint in everyone if complaint), "")


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _reason(error: BaseException) -> str:
    """The root of an error in one line: what the system said of a file, if it is that."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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


def _digest(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}
