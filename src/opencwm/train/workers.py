"""Documents made in worker processes, in the order in which they were asked for.

Notable choices:
- Chunks of items are asked for ahead of need and handed to the workers in turn. Answers wait in the pipe (the
  back-pressure); a closed pipe ends a worker, also when the trainer was killed.
- Workers are spawned with PYTHONHASHSEED=0 and never import torch.
- Without workers the same chunks are made in this process, when they are needed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from opencwm.train.data import DataError, Document, Skipped, Source, flatten, unflatten

CHUNK = 16
"""Items that are made and sent at once."""
AHEAD = 2
"""Chunks of a stream that each worker may make before they are needed."""


@dataclass(slots=True)
class Made:
    """What became of one item: its documents, or why it was skipped."""

    documents: list[Document]
    skipped: str = ""


Task = tuple[int, int]  # number of the source, first item of the chunk


class Pool:
    """Makes chunks of `sources`; `ask` for each before `take`. A context manager; leaving it ends the processes."""

    def __init__(self, sources: Sequence[Source], workers: int) -> None:
        self._sources = sources
        self._names = [getattr(source, "name", f"source {number}") for number, source in enumerate(sources)]
        self._queues: list[list[Task]] = [[] for _ in range(workers)]  # asked and not yet read, per worker
        self._ready: dict[Task, list[Made]] = {}
        self._asked = 0
        self._pool: list[tuple[Any, Connection, Any]] = []
        self.ahead = AHEAD * workers
        context = multiprocessing.get_context("spawn")
        with _environment("PYTHONHASHSEED", "0"):
            for _ in range(workers):
                ours, theirs = context.Pipe()
                current = context.Array("q", [-1, -1], lock=False)  # survives the worker, to say where it died
                process = context.Process(target=_work, args=(list(sources), theirs, current), daemon=True)
                process.start()
                theirs.close()  # the worker holds the only other end: its death is the end of the file
                self._pool.append((process, ours, current))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process, connection, _ in self._pool:
            connection.close()
            process.terminate()
        for process, _, _ in self._pool:
            process.join(timeout=5)
        self._pool = []

    def ask(self, task: Task) -> None:
        """Have a chunk made; in this process that waits for `take`."""
        if self._pool:
            worker = self._asked % len(self._pool)
            self._asked += 1
            self._queues[worker].append(task)
            with contextlib.suppress(OSError):  # a dead worker is named by `take`
                self._pool[worker][1].send_bytes(pickle.dumps(task))

    def take(self, task: Task) -> list[Made]:
        """A chunk that was asked for. Raises DataError, naming source and item, if it could not be made."""
        if not self._queues:
            return self._make(task)
        while task not in self._ready:
            worker = next(number for number, queue in enumerate(self._queues) if task in queue)
            process, connection, current = self._pool[worker]
            try:
                answer = pickle.loads(connection.recv_bytes())
            except (EOFError, OSError):
                process.join(timeout=5)
                raise DataError(
                    f"a data worker died (exit code {process.exitcode}) while it made {self._said(*current)}: "
                    f"run again with data.workers = 0 to see why"
                ) from None
            if isinstance(answer, str):
                raise DataError(f"{self._said(*current)} could not be made into documents:\n{answer}")
            self._ready[self._queues[worker].pop(0)] = _unpacked(answer)
        return self._ready.pop(task)

    def _make(self, task: Task) -> list[Made]:
        number, start = task
        made = []
        for index in range(start, start + CHUNK):
            try:
                made.append(_item(self._sources[number], index))
            except Exception as error:
                what = self._said(number, index)
                raise DataError(f"{what} could not be made into documents: {error!r}") from error
        return made

    def _said(self, number: int, index: int) -> str:
        return f"item {index} of {self._names[number]}"


def _item(source: Source, index: int) -> Made:
    try:
        return Made(source(index))
    except Skipped as skipped:
        return Made([], str(skipped))


def _work(sources: list[Source], connection: Connection, current: Any) -> None:
    """A worker's life: chunk after chunk until nobody asks or reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which then closes the pipe
    while True:
        try:
            number, start = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        answer: object
        try:
            made = []
            for index in range(start, start + CHUNK):
                current[0], current[1] = number, index
                made.append(_item(sources[number], index))
            answer = _packed(made)
        except Exception:
            answer = traceback.format_exc()
        try:
            connection.send_bytes(pickle.dumps(answer, protocol=5))
        except OSError:
            return


def _packed(made: Sequence[Made]) -> object:
    documents = [document for one in made for document in one.documents]
    return [len(one.documents) for one in made], [one.skipped for one in made], flatten(documents)


def _unpacked(answer: Any) -> list[Made]:
    counts, skipped, flat = answer
    documents = iter(unflatten(flat))
    return [Made([next(documents) for _ in range(n)], why) for n, why in zip(counts, skipped, strict=True)]


@contextlib.contextmanager
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
