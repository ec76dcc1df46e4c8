"""`Recording`: episodes of a program that runs anyway. Under both cores."""

import asyncio
import contextlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from opencwm.trace.filters import where
from opencwm.trace.frames import Trace
from opencwm.trace.limits import Limits
from opencwm.trace.live import Episode, Quota, Recording
from opencwm.trace.recorder import RecordError

pytestmark = pytest.mark.usefixtures("core")

SOURCE = """
import asyncio

def double(x):
    return x * 2

def marked(function):
    return function

@marked
def total(items):
    result = 0
    for item in items:
        result += double(item)
    return result

def numbers(n):
    for i in range(n):
        yield i

def uses_numbers():
    return [double(n) for n in numbers(2)]

def fails(n):
    if n == 0:
        raise ValueError("none left")
    try:
        fails(n - 1)
    finally:
        n = None

async def sleeper(name, turns):
    for turn in range(turns):
        await asyncio.sleep(0)
    return double(name)

async def several():
    return await asyncio.gather(sleeper("a", 2), sleeper("b", 1), sleeper("c", 3))

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "shop.py"
    path.write_text(SOURCE.lstrip("\n"))
    specification = importlib.util.spec_from_file_location("shop", path)
    assert specification is not None and specification.loader is not None
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    yield made


SHOP = where(module="shop")


def brief(episode: Episode) -> list[str]:
    return [f"{frame.event} {frame.line} {frame.function} {frame.depth}" for frame in episode.frames]


def names(recording: Recording) -> list[str]:
    return [f"{episode.call.function} {episode.outcome}" for episode in recording.episodes]


def test_a_call_is_an_episode_with_the_selected_calls_below_it(module: Any) -> None:
    with Recording(SHOP) as recording:
        assert module.total([1, 2]) == 6
    (episode,) = recording.episodes
    assert brief(episode) == [
        *["call 10 total 0", "line 11 total 0", "line 12 total 0", "line 13 total 0"],
        *["call 3 double 1", "line 4 double 1", "return 4 double 1"],
        *["line 12 total 0", "line 13 total 0"],
        *["call 3 double 1", "line 4 double 1", "return 4 double 1"],
        *["line 12 total 0", "line 14 total 0", "return 14 total 0"],
    ]
    assert episode.frames[3].locals == {"items": "[1, 2]", "result": "0", "item": "1"}
    assert (episode.call.module, episode.entry_line, str(episode.outcome)) == ("shop", 10, "return")
    assert {code.co_filename for code in episode.codes} == {module.__file__}
    assert len(episode.codes) == len(episode.frames)


def test_the_whole_files_are_a_context(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "till.py").write_text("def pay(total, items):\n    return total(items)\n")
    monkeypatch.syspath_prepend(tmp_path)
    till = importlib.import_module("till")
    del sys.modules["till"]
    with Recording(SHOP | where(module="till")) as recording:
        till.pay(module.total, [4])
        module.double(3)
    several, one = (episode.whole_trace() for episode in recording.episodes)
    assert isinstance(several, Trace)
    assert (
        several.context.startswith("# file: till.py\ndef pay(")
        and "\n# file: shop.py\nimport asyncio\n" in several.context
    )
    assert several.source_line(several.entry_line) == "def pay(total, items):"
    called = [several.source_line(frame.line) for frame in several.frames if frame.event == "call"]
    assert called == ["def pay(total, items):", "def total(items):", "def double(x):"]
    assert one.context == Path(module.__file__).read_text() and one.source_line(one.entry_line) == "def double(x):"


def test_steps_into_callees_or_makes_them_episodes_of_their_own(module: Any) -> None:
    with Recording(SHOP, step_in=0.0) as recording:
        module.total([1, 2])
    assert names(recording) == ["double return", "double return", "total return"]
    inner, _, outer = recording.episodes
    assert inner.call.depth == 1 and outer.call.depth == 0
    assert brief(inner) == ["call 3 double 0", "line 4 double 0", "return 4 double 0"]
    assert not any(frame.function == "double" for frame in outer.frames)
    assert outer.frames[-1].value == "6"


def test_the_choice_depends_on_the_seed_and_the_test_alone(module: Any) -> None:
    def run(seed: int, tests: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        recording = Recording(SHOP, step_in=0.5, seed=seed)
        recording.start()
        for test in tests:
            recording.test = test
            recording.episodes.clear()
            module.total(range(12))
            found[test] = names(recording)
        recording.stop()
        return found

    assert run(0, ["a", "b"]) == run(0, ["b", "a"])
    assert run(0, ["a"]) == {"a": run(0, ["b", "a"])["a"]}
    assert len({str(run(seed, ["a"])) for seed in range(8)}) > 1
    stepped_over = [len(run(seed, ["a"])["a"]) - 1 for seed in range(40)]
    assert 4 < sum(stepped_over) / 40 < 8  # of 12 calls


def test_quotas(module: Any) -> None:
    with Recording(SHOP, step_in=0.0, quota=Quota(per_function=1)) as recording:
        module.total([1, 2])
        module.total([1])
    assert names(recording) == ["double return", "total return"]
    recording = Recording(SHOP, quota=Quota(per_test=2, total=3))
    with recording:
        for test in ("a", "b", "c"):
            recording.test = test
            for _ in range(3):
                module.double(1)
    assert [episode.call.test for episode in recording.episodes] == ["a", "a", "b"]


def test_what_is_shown_may_differ_from_what_begins(module: Any) -> None:
    with Recording(where(function="total"), show=SHOP & where(depth_below=1)) as recording:
        module.double(1)
        module.total([1])
    assert [f.function for f in recording.episodes[0].frames if f.event == "call"] == ["total"]
    with Recording(where(function="total"), show=SHOP) as recording:
        module.total([1])
    assert [f.function for f in recording.episodes[0].frames if f.event == "call"] == ["total", "double"]
    with Recording(SHOP & where(test="x*")) as recording:
        module.double(1)
        recording.test = "x1"
        module.double(1)
    assert names(recording) == ["double return"]


def test_generators_belong_to_the_episode_that_runs_them(module: Any) -> None:
    with Recording(SHOP) as recording:
        module.uses_numbers()
        list(module.numbers(3))
    assert names(recording) == ["uses_numbers return"]
    called = [frame.function for frame in recording.episodes[0].frames if frame.event == "call"]
    assert called.count("numbers") == 3 and called.count("double") == 2


def test_an_exception_ends_an_episode(module: Any) -> None:
    with Recording(SHOP) as recording:
        with pytest.raises(ValueError):
            module.fails(2)
        with pytest.raises(SystemExit):
            module.leaves()
    assert names(recording) == ["fails exception", "leaves truncated (exit)"]
    assert brief(recording.episodes[0])[-3:] == ["exception 27 fails 0", "line 29 fails 0", "exception 29 fails 0"]
    assert [f.value for f in recording.episodes[0].frames if f.event == "exception"][-1] == "ValueError('none left')"


def test_a_limit_ends_an_episode_and_not_the_program(module: Any) -> None:
    for limits, reason in [(Limits(frames=5), "frames"), (Limits(total_bytes=99), "bytes"), (Limits(depth=1), "depth")]:
        with Recording(SHOP, limits=limits) as recording:
            assert module.total([1, 2, 3]) == 12
            assert module.double(1) == 2
        assert str(recording.episodes[0].outcome) == f"truncated ({reason})"
        assert names(recording)[-1] == "double return"


def test_a_coroutine_is_an_episode_whatever_runs_between(module: Any) -> None:
    with Recording(SHOP & where(function="sleeper")) as recording:
        assert asyncio.run(module.several()) == ["aa", "bb", "cc"]
    assert sorted(episode.frames[0].locals["name"] for episode in recording.episodes) == ["'a'", "'b'", "'c'"]
    for episode in recording.episodes:
        turns = int(episode.frames[0].locals["turns"])
        assert str(episode.outcome) == "return" and {frame.depth for frame in episode.frames} == {0}
        assert [frame.event for frame in episode.frames].count("call") == 1 + turns
        assert {frame.locals["name"] for frame in episode.frames if frame.locals} == {episode.frames[0].locals["name"]}
    with Recording(SHOP) as recording:
        task: Any = module.sleeper("x", 2)
        task.send(None)
    assert names(recording) == ["sleeper truncated (the recording ended)"]
    task.close()


def test_each_thread_has_its_own_episodes(module: Any) -> None:
    barrier = threading.Barrier(3, timeout=20)

    def work(items: list[int]) -> None:
        barrier.wait()
        module.total(items)

    with Recording(SHOP) as recording:
        threads = [threading.Thread(target=work, args=([i] * 30,), name=f"worker {i}") for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(episode.thread for episode in recording.episodes) == ["worker 0", "worker 1", "worker 2"]
    for episode in recording.episodes:
        value = int(episode.thread[-1])
        assert episode.frames[-1].value == str(60 * value)
        assert len(episode.frames) == 3 + 30 * 5 + 2
    assert threading.gettrace() is None
    late = threading.Thread(target=module.total, args=([1],))
    late.start()
    late.join()
    assert len(recording.episodes) == 3


def test_names_that_share_an_object(module: Any) -> None:
    def sharing() -> list[int]:
        a: list[int] = []
        b = a
        c = (1, 2)
        d = c
        b.append(len(d))
        return a

    with Recording(where(function="*sharing"), identity=True) as recording:
        sharing()
    assert [frame.identity for frame in recording.episodes[0].frames][-2:] == [(("a", "b"),), ()]
    assert recording.episodes[0].frames[2].identity == ()


def test_somebody_elses_tracer_is_named_and_left_intact(module: Any) -> None:
    def spy(frame: Any, event: str, argument: object) -> None:
        return None

    sys.settrace(spy)
    try:
        with pytest.raises(RecordError, match=r"spy is tracing this thread, and a thread has one tracer only"):
            Recording(SHOP).start()
        assert sys.gettrace() is spy
    finally:
        sys.settrace(None)
    with Recording(SHOP):
        with pytest.raises(RecordError, match=r"another recording is tracing this thread.*: stop it first"):
            Recording(SHOP).start()
        assert sys.gettrace() is not None
    assert sys.gettrace() is None


def test_coverage_is_named_and_left_intact(module: Any, tmp_path: Path) -> None:
    coverage = pytest.importorskip("coverage", reason="coverage.py is not installed: pip install coverage")
    measured = coverage.Coverage(data_file=str(tmp_path / "data"), config_file=False)
    measured.start()
    try:
        if sys.gettrace() is None:
            pytest.skip("this coverage.py measures by sys.monitoring, beside which a recording may run")
        with pytest.raises(RecordError, match=r"coverage.py is tracing this thread.*--no-cov"):
            Recording(SHOP).start()
        module.total([1])
    finally:
        measured.stop()
    _, lines, _, missing, _ = measured.analysis2(module.__file__)
    assert {11, 12, 13, 14} <= set(lines) - set(missing)


def test_a_tracer_that_takes_over_is_named_and_left_intact(module: Any) -> None:
    import bdb

    class Debugger(bdb.Bdb):
        pass

    debugger = Debugger()
    debugger.reset()

    def taken() -> None:
        sys.settrace(debugger.trace_dispatch)

    recording = Recording(where(function="*taken"))
    recording.start()
    taken()
    present = sys.gettrace()
    recording.stop()
    try:
        assert present == debugger.trace_dispatch and sys.gettrace() == present
        (episode,) = recording.episodes
        assert str(episode.outcome) == "truncated (the debugger pdb took over the tracing)"
    finally:
        sys.settrace(None)


def test_a_program_that_puts_the_tracer_back_is_recorded_on(module: Any) -> None:
    with Recording(SHOP) as recording:
        tracer = sys.gettrace()
        sys.settrace(None)
        module.double(1)
        sys.settrace(tracer)
        module.double(2)
    assert [episode.frames[-1].value for episode in recording.episodes] == ["4"]


def test_a_recording_inside_a_recording(module: Any) -> None:
    from opencwm.programs.program import Program
    from opencwm.trace.recorder import record

    def outer() -> int:
        trace = record(Program("def f():\n    return 1\n", call="f()"))
        count = len(trace.frames)
        return count

    with Recording(where(function="*outer")) as recording:
        outer()
    (episode,) = recording.episodes
    assert [frame.event for frame in episode.frames][-3:] == ["line", "line", "return"]
    assert episode.frames[-1].value == "6"


def test_many_episodes_may_be_open_at_once(module: Any) -> None:
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    with Recording(where(function="*down"), step_in=0.0) as recording:
        assert down(300) == 300
    assert len(recording.episodes) == 301
    assert {len(episode.frames) for episode in recording.episodes} == {3}


def test_an_error_in_the_taker_of_episodes_does_not_come_up_in_the_program(module: Any) -> None:
    def take(episode: Episode) -> None:
        raise OSError("the disk is full")

    recording = Recording(SHOP, on_episode=take)
    recording.start()
    assert module.total([1]) == 2
    with pytest.raises(OSError, match="the disk is full"):
        recording.stop()
    assert sys.gettrace() is None


def test_a_probability_is_checked() -> None:
    with pytest.raises(ValueError, match="step_in is a probability between 0 and 1"):
        Recording(SHOP, step_in=2)


def test_live_recording_is_that_of_the_recorder(module: Any) -> None:
    from opencwm.programs.program import Program
    from opencwm.trace.recorder import record

    source = dedent(SOURCE.lstrip("\n"))
    calls: dict[str, Callable[[], object]] = {
        "total([3, 'a'])": lambda: module.total([3, "a"]),
        "uses_numbers()": module.uses_numbers,
        "fails(3)": lambda: module.fails(3),
    }
    for call, run in calls.items():
        with Recording(SHOP) as recording, contextlib.suppress(ValueError, TypeError):
            run()
        whole = record(Program(source, call=call))
        inner = [frame for frame in whole.frames if frame.depth > 0]
        ours = recording.episodes[0].frames
        assert [(f.event, f.line, f.locals, f.value, f.depth + 1) for f in ours] == [
            (f.event, f.line, f.locals, f.value, f.depth) for f in inner
        ]
