"""`SnippetPool`: Python snippets in warm interpreters, forked per snippet inside of sandboxes; hundreds a second.

    with SnippetPool(workers=2) as pool:
        pool.run("print(input()[::-1])", stdin=b"abc")            # Finished(exit_code=0, stdout=b"cba\\n", ...)
        pool.run_cases(source, [b"1 2", b"3 4"])                  # the same program on several inputs
        pool.call("def f(x): return x + 1", ["f(1)", "f('a')"])  # Returned("2"), Raised("TypeError", ...)
        await pool.run_async("print(1)")

Each worker is a sandbox of its own with one interpreter in it, which runs one snippet at a time; nothing that a snippet
leaves behind reaches the next. Results equal those of a fresh `python main.py`. The pool is safe to use from threads
and from event loops. At most `waiting` jobs queue; further callers wait their turn. A worker that dies is replaced, and
its job tried once more; a job that kills its worker twice ends as killed by SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Self

from opencwm.sandbox.choose import Backend, open_sandbox
from opencwm.sandbox.protocol import Finished, InfraError, LimitReached, Limits, Mount, Process, Result, Sandbox, Usage

PRELOAD = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq",
    "io", "itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "typing",
)  # fmt: skip
"""What programs import most."""
SNIPPET_LIMITS = Limits(cpu_seconds=10, wall_seconds=10, memory_bytes=512 << 20, disk_bytes=64 << 20, files=2000)

_HEAD = struct.Struct("=I")
_START_SECONDS = 60.0
_GRACE_SECONDS = 5.0
_FOREVER = 10**9


@dataclass(frozen=True, slots=True)
class Returned:
    """A call returned: repr text of the value, and what was printed."""

    value: str
    stdout: bytes = b""
    stderr: bytes = b""
    usage: Usage = field(default=Usage(), compare=False)


@dataclass(frozen=True, slots=True)
class Raised:
    """A call, or the source before it, raised: the exception's class name and text."""

    error: str
    message: str
    stdout: bytes = b""
    stderr: bytes = b""
    usage: Usage = field(default=Usage(), compare=False)


CallResult = Returned | Raised | Result
"""A call that exits or is killed is Finished, and one that crosses a limit LimitReached, as a program is."""


@dataclass
class _Job:
    source: bytes
    cases: list[bytes]
    calls: bool
    limits: Limits
    future: Future[list[Any]] = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    deaths: int = 0


class SnippetPool:
    """A pool of warm interpreters; a context manager.

    `preload` names modules that are imported once, `mounts` what snippets can read beside the standard library and this
    environment's packages. Raises InfraError, with the remedy, if no sandbox can be had.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        preload: Sequence[str] = PRELOAD,
        limits: Limits = SNIPPET_LIMITS,
        backend: Backend = "auto",
        mounts: Sequence[Mount] = (),
        waiting: int = 1000,
    ) -> None:
        self.limits = limits
        self._settings = {"backend": backend, "mounts": tuple(mounts)}
        self._preload = list(preload)
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._room = threading.BoundedSemaphore(waiting)
        self._lock = threading.Lock()
        self._closed = False
        self._threads: list[threading.Thread] = []
        first = self._start()
        count = workers or os.cpu_count() or 1
        for number in range(count):
            worker = first if number == 0 else None
            thread = threading.Thread(target=self._serve, args=(worker,), name=f"cwm-pool-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def run(self, source: str, stdin: bytes = b"", *, limits: Limits | None = None) -> Result:
        """Run a program. Raises InfraError."""
        return self.run_cases(source, [stdin], limits=limits)[0]

    def run_cases(self, source: str, stdins: Sequence[bytes], *, limits: Limits | None = None) -> list[Result]:
        """Run a program once per input, each time from its start; `limits` bind each run. Raises InfraError."""
        return self.submit(source, stdins, limits=limits).result()

    def call(self, source: str, calls: Sequence[str], *, limits: Limits | None = None) -> list[CallResult]:
        """Run a source and then a call expression, once per call, each from a fresh start. Raises InfraError."""
        return self.submit_calls(source, calls, limits=limits).result()

    async def run_async(self, source: str, stdin: bytes = b"", *, limits: Limits | None = None) -> Result:
        """As `run`, for an event loop."""
        return (await self.run_cases_async(source, [stdin], limits=limits))[0]

    async def run_cases_async(
        self, source: str, stdins: Sequence[bytes], *, limits: Limits | None = None
    ) -> list[Result]:
        """As `run_cases`, for an event loop."""
        await self._wait_for_room()
        return await asyncio.wrap_future(self._put(source, stdins, False, limits))

    async def call_async(self, source: str, calls: Sequence[str], *, limits: Limits | None = None) -> list[CallResult]:
        """As `call`, for an event loop."""
        await self._wait_for_room()
        return await asyncio.wrap_future(self._put(source, [text.encode() for text in calls], True, limits))

    def submit(self, source: str, stdins: Sequence[bytes], *, limits: Limits | None = None) -> Future[list[Result]]:
        """As `run_cases`, later: waits only while the queue is full."""
        self._room.acquire()
        return self._put(source, stdins, False, limits)

    def submit_calls(
        self, source: str, calls: Sequence[str], *, limits: Limits | None = None
    ) -> Future[list[CallResult]]:
        """As `call`, later: waits only while the queue is full."""
        self._room.acquire()
        return self._put(source, [text.encode() for text in calls], True, limits)

    def close(self) -> None:
        """End all workers. Jobs that wait fail with InfraError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.future.set_exception(InfraError("the pool was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def _wait_for_room(self) -> None:
        if not self._room.acquire(blocking=False):
            await asyncio.to_thread(self._room.acquire)

    def _put(self, source: str, cases: Sequence[bytes], calls: bool, limits: Limits | None) -> Future[Any]:
        try:
            job = _Job(source.encode("utf-8", "surrogatepass"), list(cases), calls, limits or self.limits)
            with self._lock:
                if self._closed:
                    raise InfraError("the pool is closed: open another")
                self._queue.put(job)
        except BaseException:
            self._room.release()
            raise
        job.future.add_done_callback(lambda _: self._room.release())
        return job.future

    def _start(self) -> _Worker:
        return _Worker(open_sandbox(limits=self._worker_limits(), **self._settings), self._preload)  # type: ignore[arg-type]

    def _worker_limits(self) -> Limits:
        """Of the interpreter that outlives its snippets; those get the time limits one by one."""
        return replace(
            self.limits,
            cpu_seconds=_FOREVER,
            wall_seconds=_FOREVER,
            lifetime_seconds=_FOREVER,
            output_bytes=_FOREVER,
            processes=self.limits.processes + 1,
        )

    def _serve(self, worker: _Worker | None) -> None:
        """One thread: one worker after another, one job after another."""
        while (job := self._queue.get()) is not None:
            if not job.cases or not job.future.set_running_or_notify_cancel():
                if not job.cases:
                    job.future.set_result([])
                continue
            try:
                while len(job.results) < len(job.cases):
                    if worker is None:
                        worker = self._start()
                    if not worker.do(job):
                        worker.close()
                        worker = None
            except BaseException as error:
                if worker is not None:
                    worker.close()
                    worker = None
                job.future.set_exception(error)
            else:
                job.future.set_result(job.results)
        if worker is not None:
            worker.close()


class _Worker:
    """A sandbox with a zygote in it."""

    def __init__(self, sandbox: Sandbox, preload: list[str]) -> None:
        self._sandbox = sandbox
        self._buffer = bytearray()
        self._errors = bytearray()
        base, names = sandbox.roots
        writable = [os.path.join(base, name) for name in names]
        try:
            program = Path(__file__).with_name("_zygote.py").read_text(encoding="utf-8")
            self._process: Process = sandbox.spawn(
                [sandbox.python, "-c", program], env={"PYTHONHASHSEED": "0"}, limits=sandbox.limits
            )
            try:
                self._send({"home": sandbox.home, "writable": writable, "preload": preload}, [])
                ready = self._receive(_START_SECONDS)
            except BaseException:
                self._process.close()
                raise
            if ready is None:
                why = bytes(self._errors).decode("utf-8", "replace").strip()
                self._process.close()
                raise InfraError(f"the interpreter in the sandbox did not start: {why or self._process.ending}")
        except BaseException:
            sandbox.close()
            raise

    def do(self, job: _Job) -> bool:
        """Run what is left of a job; False if this worker cannot be used any more. Raises InfraError."""
        limits = job.limits
        header = {
            "calls": job.calls,
            "cpu_seconds": limits.cpu_seconds,
            "wall_seconds": limits.wall_seconds,
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
        }
        self._send(header, [job.source, *job.cases[len(job.results) :]])
        while len(job.results) < len(job.cases):
            answer = self._receive(limits.wall_seconds + _GRACE_SECONDS)
            if answer is None:
                self._died(job)
                return False
            header, (stdout, stderr, value) = answer
            job.results.append(_result(header, stdout, stderr, value))
            job.deaths = 0
            if header["dirty"]:
                return False
        return True

    def _died(self, job: _Job) -> None:
        """Say what became of the case that this worker died of."""
        ending = self._process.ending
        job.deaths += 1
        if ending is not None and ending.limit is not None:
            job.results.append(LimitReached(ending.limit, b"", b"", ending.usage))
        elif ending is None:  # it does not answer: the snippet has stopped it
            job.results.append(LimitReached("wall", b"", b""))
        elif job.deaths > 1:
            job.results.append(Finished(None, b"", b"", ending.usage, 9))
        else:
            return
        job.deaths = 0

    def _send(self, header: dict[str, Any], blobs: list[bytes]) -> None:
        header["sizes"] = [len(blob) for blob in blobs]
        data = json.dumps(header).encode()
        self._process.send(b"".join([_HEAD.pack(len(data)), data, *blobs]))

    def _receive(self, seconds: float) -> tuple[dict[str, Any], list[bytes]] | None:
        """The next answer; None if the zygote has died or says nothing for so long. Raises InfraError."""
        data = self._take(_HEAD.size, seconds)
        if data is None:
            return None
        data = self._take(_HEAD.unpack(data)[0], seconds)
        if data is None:
            return None
        header = json.loads(data)
        blobs = []
        for size in header["sizes"]:
            blob = self._take(size, seconds)
            if blob is None:
                return None
            blobs.append(blob)
        return header, blobs

    def _take(self, size: int, seconds: float) -> bytes | None:
        deadline = monotonic() + seconds
        while len(self._buffer) < size:
            left = deadline - monotonic()
            pieces = self._process.receive(left) if left > 0 else None
            if pieces is None:
                return None
            for stream, data in pieces:
                if stream == "stdout":
                    self._buffer += data
                else:
                    self._errors = (self._errors + data)[-4096:]
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def close(self) -> None:
        self._process.close()
        self._sandbox.close()


def _result(header: dict[str, Any], stdout: bytes, stderr: bytes, value: bytes) -> CallResult:
    usage = Usage(header["wall_seconds"], header["cpu_seconds"], header["memory_bytes"], len(stdout) + len(stderr), 1)
    if header["limit"] is not None:
        return LimitReached(header["limit"], stdout, stderr, usage)
    if value:
        try:
            answer = json.loads(value)
            if "value" in answer:
                return Returned(str(answer["value"]), stdout, stderr, usage)
            return Raised(str(answer["error"]), str(answer["message"]), stdout, stderr, usage)
        except (ValueError, KeyError, TypeError):
            pass  # the snippet wrote there itself: what counts is how it ended
    return Finished(header["exit_code"], stdout, stderr, usage, header["signal"])
