"""Many units of work at once: on this machine's processes, or as tasks on a Ray cluster; results as they come.

Notable choices:
- A worker that dies (out of memory, SIGKILL) costs the unit it had in hand: that is tried once more by a new worker,
  then given up with the reason. `concurrent.futures` would give up everything.
- What a worker raises is raised here; the order of results says nothing; whoever takes them sorts by unit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

UnitT = TypeVar("UnitT")
ResultT = TypeVar("ResultT")

_TRIES = 2


class WorkersError(Exception):
    """The workers cannot be had; the message is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class Died:
    """Instead of a result: the worker died on this unit, each time it was tried."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


def run(
    do: Callable[[UnitT], ResultT], units: Sequence[UnitT], *, workers: int
) -> Iterator[tuple[UnitT, ResultT | Died]]:
    """Each unit with its result, as they are done by `workers` processes (in this one if there is only one)."""
    if workers <= 1:
        for unit in units:
            yield unit, do(unit)
        return
    yield from _Pool(do, units, workers).results()


class _Pool:
    def __init__(self, do: Callable[[Any], Any], units: Sequence[Any], workers: int) -> None:
        self._do = do
        self._waiting: deque[tuple[Any, int]] = deque((unit, 1) for unit in units)
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._hire() for _ in range(min(workers, len(units)))]

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._do, theirs), daemon=False)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def results(self) -> Iterator[tuple[Any, Any]]:
        try:
            for worker in self._workers:
                self._assign(worker)
            while busy := [worker for worker in self._workers if worker.unit is not None]:
                ready = multiprocessing.connection.wait([worker.pipe for worker in busy])
                for worker in busy:
                    if worker.pipe in ready:
                        yield from self._take(worker)
        finally:
            for worker in self._workers:
                worker.dismiss()

    def _assign(self, worker: _Worker) -> None:
        worker.unit, worker.tries = self._waiting.popleft() if self._waiting else (None, 0)
        if worker.unit is not None:
            worker.pipe.send(worker.unit)

    def _take(self, worker: _Worker) -> Iterator[tuple[Any, Any]]:
        try:
            result = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode or 0
            reason = f"the worker was killed by signal {-code}" if code < 0 else f"the worker ended with status {code}"
            unit, tries = worker.unit, worker.tries
            worker.dismiss()
            if tries < _TRIES:
                self._waiting.appendleft((unit, tries + 1))
            else:
                yield unit, Died(reason)
            self._workers[self._workers.index(worker)] = new = self._hire()
            self._assign(new)
            return
        if isinstance(result, _Raised):
            raise result.error
        unit = worker.unit
        self._assign(worker)
        yield unit, result


class _Worker:
    def __init__(self, process: Any, pipe: Any) -> None:
        self.process = process
        self.pipe = pipe
        self.unit: Any = None
        self.tries = 0

    def dismiss(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _work(do: Callable[[Any], Any], pipe: Any) -> None:
    """The life of a worker: units in, results out, until there are no more or nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who hired us hears it too, and dismisses us
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        while True:
            unit = pipe.recv()
            try:
                result = do(unit)
            except Exception as error:
                result = _Raised(error)
            pipe.send(result)


def run_on_ray(
    do: Callable[[UnitT], ResultT], units: Sequence[UnitT], *, address: str, at_once: int | None = None
) -> Iterator[tuple[UnitT, ResultT | Died]]:
    """The same as Ray tasks on the cluster at `address` (`local` starts one here). Raises WorkersError without Ray."""
    try:
        import ray
    except ImportError:
        raise WorkersError("Ray is not installed: pip install 'opencwm[rl]', or leave out --ray") from None
    begun = not ray.is_initialized()
    if begun:
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkersError(f"no Ray cluster at {address}: {error}") from None
    try:
        task = ray.remote(max_retries=_TRIES - 1)(_call)
        limit = at_once or max(2, int(2 * ray.cluster_resources().get("CPU", 1)))
        waiting = deque(units)
        running: dict[Any, UnitT] = {}
        while waiting or running:
            while waiting and len(running) < limit:
                unit = waiting.popleft()
                running[task.remote(do, unit)] = unit
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                unit = running.pop(reference)
                try:
                    yield unit, ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield unit, Died(f"the Ray worker died ({type(error).__name__})")
    finally:
        if begun:
            ray.shutdown()


def _call(do: Callable[[Any], Any], unit: Any) -> Any:
    return do(unit)
