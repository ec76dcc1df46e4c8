"""What a model learns from: documents made on the fly, in the same order on any number of processes.

    source(index) -> documents of one program  ->  stream (0..N worker processes)  ->  pack.py

Notable choices:
- A `Source` is a pure function of the program's index, so the stream is a function of the position alone. Each document
  is seen once.
- Workers send whole chunks down a pipe, in turn. A full pipe is the back-pressure; a closed one ends the worker, also
  when the trainer was killed. They are spawned with PYTHONHASHSEED=0 and never import torch.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import random
import signal
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from opencwm.codec import compact
from opencwm.programs import write
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.train.settings import DataSettings

CHUNK = 16
"""Programs that a worker makes and sends at once."""
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """Token ids (int32) and, per token, its weight in the loss as a target (float32)."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


class DataError(RuntimeError):
    """Documents could not be made; the message names the program."""


class Source(Protocol):
    """Documents of the index-th program (perhaps none); pure, and picklable if worker processes are to call it."""

    def __call__(self, index: int) -> list[Document]: ...


@dataclass(frozen=True)
class WrittenSource:
    """Programs of the synthetic writer, recorded and encoded. `namespace` is "train" or "held-out"."""

    settings: DataSettings
    namespace: str = "train"

    def __call__(self, index: int) -> list[Document]:
        _, program = next(write.stream(self.settings.seed, namespace=self.namespace, start=index))
        return documents(program, self.settings, random.Random(f"{self.namespace}:{self.settings.seed}:{index}"))


def documents(program: Program, settings: DataSettings, rng: random.Random) -> list[Document]:
    """Windows of a program's recorded run, each at most a row long; none if its source alone is longer than a row.

    Raises RecordError for a program that cannot be recorded, CodecError for a run that the codec cannot hold.
    """
    trace = record(program, limits=Limits(frames=settings.max_frames), steps=settings.steps)
    return [
        Document(np.array(window.ids, np.int32), np.array(window.weights, np.float32))
        for window in compact.windows(trace, max_tokens=settings.sequence_length, rng=rng)
    ]


def make_source(settings: DataSettings, namespace: str = "train") -> Source:
    """The source that the settings name."""
    return WrittenSource(settings, namespace)


def stream(source: Source, start: int = 0, workers: int = 0) -> Generator[tuple[int, list[Document]], None, None]:
    """(index, documents) from `start` on, in order, for ever. Close it to end its processes.

    Raises DataError, naming the program, when the source fails or a worker dies.
    """
    if workers:
        yield from _from_workers(source, start, workers)
        return
    for index in itertools.count(start):
        try:
            made = source(index)
        except Exception as error:
            raise DataError(f"program {index} could not be made into documents: {error!r}") from error
        yield index, made


def _from_workers(source: Source, start: int, workers: int) -> Generator[tuple[int, list[Document]], None, None]:
    """Worker w makes chunks w, w + workers, ...; they are read in turn, which restores the order."""
    context = multiprocessing.get_context("spawn")
    pool: list[tuple[Any, Connection, Any]] = []
    try:
        with _environment("PYTHONHASHSEED", "0"):
            for worker in range(workers):
                receiver, sender = context.Pipe(duplex=False)
                _widen(sender)
                current = context.Value("q", -1, lock=False)  # survives the worker, to say where it died
                arguments = (source, sender, current, start + worker * CHUNK, workers * CHUNK)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                sender.close()  # the worker holds the only writing end: its death is the end of the file
                pool.append((process, receiver, current))
        for chunk in itertools.count():
            process, receiver, current = pool[chunk % workers]
            try:
                answer = pickle.loads(receiver.recv_bytes())
            except (EOFError, OSError):
                process.join(timeout=5)
                raise DataError(
                    f"a data worker died (exit code {process.exitcode}) while it made program {current.value}: "
                    f"run again with data.workers = 0 to see why"
                ) from None
            if isinstance(answer, str):
                raise DataError(answer)
            counts, flat = answer
            made = iter(unflatten(flat))
            for offset, count in enumerate(counts):
                yield start + chunk * CHUNK + offset, list(itertools.islice(made, count))
    finally:
        for process, receiver, _ in pool:
            receiver.close()
            process.terminate()
        for process, _, _ in pool:
            process.join(timeout=5)


def _work(source: Source, sender: Connection, current: Any, first: int, stride: int) -> None:
    """A worker's life: chunk after chunk until nobody reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which then closes the pipe
    for start in itertools.count(first, stride):
        chunk: list[list[Document]] = []
        answer: object
        try:
            for index in range(start, start + CHUNK):
                current.value = index
                chunk.append(source(index))
            answer = ([len(made) for made in chunk], flatten([document for made in chunk for document in made]))
        except Exception:
            answer = f"program {current.value} could not be made into documents:\n{traceback.format_exc()}"
        try:
            sender.send_bytes(pickle.dumps(answer, protocol=5))
        except OSError:
            return
        if isinstance(answer, str):
            return


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _widen(connection: Connection) -> None:
    """Room in the pipe for some chunks ahead, where the system can (Linux)."""
    try:
        import fcntl

        fcntl.fcntl(connection.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        pass


def flatten(documents: Sequence[Document]) -> dict[str, NDArray[Any]]:
    """Documents as three arrays: all ids, all weights, the lengths."""
    empty = Document(np.empty(0, np.int32), np.empty(0, np.float32))
    return {
        "ids": np.concatenate([empty.ids, *(document.ids for document in documents)]),
        "weights": np.concatenate([empty.weights, *(document.weights for document in documents)]),
        "lengths": np.array([len(document.ids) for document in documents], np.int64),
    }


def unflatten(flat: dict[str, Any]) -> list[Document]:
    """The inverse of `flatten`."""
    ids, weights = np.asarray(flat["ids"]), np.asarray(flat["weights"])
    stops = np.cumsum(np.asarray(flat["lengths"], np.int64)).tolist()
    pairs = itertools.pairwise([0, *stops])
    return [Document(ids[start:stop], weights[start:stop]) for start, stop in pairs]
