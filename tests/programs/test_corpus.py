"""Corpora: the same whoever builds them and however often they are interrupted; nothing that was finished is lost."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from opencwm.programs import store as stores
from opencwm.programs import workers
from opencwm.programs.build import build
from opencwm.programs.corpus import Recipe, plan, run_unit
from opencwm.programs.episodes import About, causes, choose, row
from opencwm.programs.program import Program
from opencwm.programs.report import measure, mismatches, summary
from opencwm.programs.shrink import same_run, shrunk
from opencwm.programs.similar import Index, signature, similarity
from opencwm.programs.store import Part, Store, StoreError
from opencwm.programs.verify import verify
from opencwm.trace.recorder import record
from opencwm.trace.store import pack

ROOT = Path(__file__).parents[2]
FILES = {
    "one": "def double(n: int):\n    m = n * 2\n    return m\n\ndef repeat(s: str, n: int = 2):\n    return s * n\n",
    "two": "import time, random\n\ndef count(xs: list[int]):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n\ndef now(n: int):\n    t = time.time_ns()\n    return t + n\n",
    "three": "import os\n\ndef leave(n: int):\n    if n % 2:\n        os._exit(3)\n    return n\n\ndef far(n: int):\n    return undefined_name(n)\n",
}


@pytest.fixture
def recipe(tmp_path):
    for name, text in FILES.items():
        (tmp_path / "src").mkdir(exist_ok=True)
        (tmp_path / "src" / f"{name}.py").write_text(text)
    return Recipe(functions=(str(tmp_path / "src"),), inputs=6)


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def made(source, call, **about):
    trace = record(Program(source, call))
    made = row(trace, pack(trace), About("functions", "p", "o", "f", call, entry="main"))
    assert isinstance(made, dict), made
    return made | about


SOURCE = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i * {k}\n    return total\n"


def rows(count):
    return [made(SOURCE.format(k=k), f"f({k + 3})") for k in range(count)]


# The store


def test_parts_merge_in_their_order_whenever_they_come(tmp_path):
    made_rows = rows(4)
    for name, order in (("a", (0, 1, 2, 3)), ("b", (3, 1, 0, 2))):
        store = Store(tmp_path / name, recipe={})
        for unit in order:
            store.add(Part(unit, [made_rows[unit]]))
            store.merge()
        store.merge(total=4)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
    assert not list((tmp_path / "a" / "parts").iterdir())
    store = Store(tmp_path / "a")
    assert [row["unit"] for row in store.rows()] == [0, 1, 2, 3]
    assert [trace.result for _, trace in store.traces()] == [
        record(Program(SOURCE.format(k=k), f"f({k + 3})")).result for k in range(4)
    ]


def test_a_store_is_plain_parquet(tmp_path):
    store = Store(tmp_path / "s", recipe={})
    store.add(Part(0, rows(2)))
    store.merge(total=1)
    file = pq.ParquetFile(tmp_path / "s" / "shards" / "00000.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow == stores.SCHEMA


def test_duplicates_are_dropped_and_counted(tmp_path):
    first = made(SOURCE.format(k=2), "f(30)")
    again = dict(first)
    alike = made("# elsewhere\n" + SOURCE.format(k=2), "f(30)")  # the same lines do the same
    other = made(SOURCE.format(k=3), "f(30)")
    store = Store(tmp_path / "s", recipe={})
    store.add(Part(0, [first, again, alike, other]))
    store.merge(total=1)
    counts = store.manifest["counts"]
    assert counts == {"dropped: equal to another": 1, "dropped: like another": 1, "kept": 2}
    # ... across a restart too
    more = Store(tmp_path / "t", recipe={})
    more.add(Part(0, [first]))
    more.merge(total=1)
    more = Store(tmp_path / "t")
    more.manifest["finished"] = False
    more.add(Part(1, [first, other]))
    more.merge(total=2)
    assert more.manifest["counts"] == {"dropped: equal to another": 1, "kept": 2}


def test_many_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SHARD_BYTES", 2000)
    store = Store(tmp_path / "s", recipe={})
    for unit, each in enumerate(rows(8)):
        store.add(Part(unit, [each]))
        store.merge()
    store.merge(total=8)
    assert len(store.manifest["shards"]) > 2
    assert sum(shard["rows"] for shard in store.manifest["shards"]) == 8
    assert len({row["id"] for row in Store(tmp_path / "s").rows()}) == 8


def test_a_kill_between_any_two_writes_loses_nothing(tmp_path, monkeypatch):
    """The writer is stopped at its Nth write, for every N, and started again: the result is always the same."""
    made_rows = rows(5)
    monkeypatch.setattr(stores, "SHARD_BYTES", 2500)

    def go(folder):
        store = Store(folder, recipe={})
        for unit in sorted(set(range(5)) - store.done()):
            store.add(Part(unit, [made_rows[unit]]))
            store.merge()
        store.merge(total=5)

    go(tmp_path / "whole")
    wanted = shards(tmp_path / "whole")
    real = Path.replace

    for stop in range(1, 14):
        folder, writes = tmp_path / f"cut{stop}", 0

        def replace(self, target, stop=stop):
            nonlocal writes
            writes += 1
            if writes == stop:
                raise KeyboardInterrupt
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        with contextlib.suppress(KeyboardInterrupt):
            go(folder)
        monkeypatch.setattr(Path, "replace", real)
        go(folder)
        assert shards(folder) == wanted, stop
        assert Store(folder).manifest["finished"]


def test_another_recipe_is_refused(tmp_path):
    Store(tmp_path / "s", recipe={"seed": 0})
    with pytest.raises(StoreError, match="other options"):
        Store(tmp_path / "s", recipe={"seed": 1})
    with pytest.raises(StoreError, match="no corpus"):
        Store(tmp_path / "absent")
    (tmp_path / "s" / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="cannot read"):
        Store(tmp_path / "s")


def test_a_damaged_shard_is_told(tmp_path):
    store = Store(tmp_path / "s", recipe={})
    store.add(Part(0, rows(1)))
    store.merge(total=1)
    (tmp_path / "s" / "shards" / "00000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StoreError, match="cannot read"):
        list(Store(tmp_path / "s").rows())


# What is kept


def test_similarity_is_that_of_what_ran():
    one, same, near, far = (
        signature(record(Program(source, call)))
        for source, call in (
            (SOURCE.format(k=2), "f(40)"),
            ("x = 1\n\n" + SOURCE.format(k=2), "f(40)"),
            (SOURCE.format(k=2), "f(41)"),
            (SOURCE.format(k=5), "f(40)"),
        )
    )
    assert similarity(one, same) > 0.9 > similarity(one, far)
    assert similarity(one, near) > 0.8
    index = Index(0.85)
    index.add(one)
    assert index.has_similar(same) and not index.has_similar(far)


def test_runs_are_chosen_for_the_lines_that_they_reach():
    source = "def f(n):\n    if n > 5:\n        return 'big'\n    if n < 0:\n        raise ValueError(n)\n    return 'small'\n"
    runs = [record(Program(source, f"f({n})")) for n in (9, 8, -1, -2, 3)]
    assert choose(runs, most=3) == [0, 2, 4]
    assert choose(runs, most=1) == [4]


def test_causes_of_differences_are_read_off_the_source():
    assert causes("def f():\n    return 1\n") == []
    assert causes("import time\n") == ["the time"]
    assert causes("import random\ndef f():\n    return random.random(), id(f)\n") == ["randomness", "identity"]


def test_a_source_shrinks_to_what_ran():
    source = "LIMIT = 3\n\ndef unused():\n    return 1\n\nclass A:\n    def __init__(self, x):\n        self.x = x\n    def used(self):\n        return self.x + LIMIT\n    def other(self):\n        return unused()\n"
    program = Program(source, "A(2).used()")
    trace = record(program)
    small = shrunk(program, trace)
    assert small is not None
    assert "LIMIT" in small.source and "unused" not in small.source and "other" not in small.source
    assert same_run(trace, record(small))


def test_a_source_that_matters_in_other_ways_is_caught():
    source = "def spare():\n    return 1\n\ndef extra():\n    return 2\n\ndef f():\n    return 'spare' in globals()\n"
    program = Program(source, "f()")
    trace = record(program)
    small = shrunk(program, trace)
    assert small is None or not same_run(trace, record(small))


# Building


@pytest.mark.usefixtures("sandbox_works")
def test_the_same_corpus_with_any_number_of_workers_and_it_verifies(tmp_path, recipe):
    said = []
    store = build(recipe, tmp_path / "one", progress=said.append)
    build(recipe, tmp_path / "two", workers=2)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert said[-1].done == said[-1].units == len(plan(recipe)) == 3
    counts = store.manifest["counts"]
    assert counts["functions seen"] == 6
    assert counts["runs failed: exit"] >= 1  # os._exit
    assert counts["functions traced"] >= 4
    found = verify(store)
    assert found.seen == sum(shard["rows"] for shard in store.manifest["shards"])
    assert found.mismatches == {}
    assert counts["runs left out: two runs differ"] >= 1  # now() is another time each time
    assert "runs" in summary(store) and "0 differ" in mismatches(found)
    report = measure(store)
    assert report.groups[0].traces == found.seen and "compact tokens" in report.table()


@pytest.mark.usefixtures("sandbox_works")
def test_killed_at_any_moment_it_goes_on(tmp_path, recipe):
    build(recipe, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "opencwm.cli",
        "data",
        "traces",
        tmp_path / "cut",
        "--functions",
        recipe.functions[0],
        "--inputs",
        "6",
    ]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 60
        before = len(list((tmp_path / "cut").glob("parts/*.parquet")))
        while time.monotonic() < deadline and process.poll() is None:
            if len(list((tmp_path / "cut").glob("parts/*.parquet"))) > before:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    build(recipe, tmp_path / "cut")
    assert shards(tmp_path / "cut") == shards(tmp_path / "whole")


@pytest.mark.usefixtures("sandbox_works")
def test_a_worker_killed_in_the_middle_of_a_build_costs_nothing(tmp_path, recipe):
    build(recipe, tmp_path / "whole")
    killed = []

    def kill_one(progress):
        if not killed and (children := multiprocessing.active_children()):
            killed.append(children[0].pid)
            os.kill(children[0].pid, signal.SIGKILL)

    store = build(recipe, tmp_path / "hurt", workers=2, progress=kill_one)
    assert killed
    assert shards(tmp_path / "hurt") == shards(tmp_path / "whole")
    assert not any("units failed" in reason for reason in store.manifest["counts"])


@pytest.mark.usefixtures("sandbox_works")
def test_a_full_disk_stops_the_build_and_keeps_what_was_finished(tmp_path, recipe):
    """The limit on file sizes stands in for a full disk: the same error at the same places, without a disk to fill."""
    code = textwrap.dedent(
        f"""
        import resource, sys
        from pathlib import Path
        from opencwm.programs import store
        from opencwm.programs.build import build
        from opencwm.programs.corpus import Recipe
        real = store.Store._write
        def write(self, path, data):
            full = path.suffix == ".parquet" and path.name != "0000000.parquet"
            soft = 64 if full else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
            real(self, path, data)
        store.Store._write = write
        try:
            build(Recipe(functions={recipe.functions!r}, inputs=6), Path({str(tmp_path / "full")!r}))
        except store.StoreError as error:
            print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "the disk is full" in done.stdout and "make room" in done.stdout, done
    assert not list((tmp_path / "full").rglob("*.partial"))
    assert Store(tmp_path / "full").done() == {0}
    build(recipe, tmp_path / "full")
    build(recipe, tmp_path / "whole")
    assert shards(tmp_path / "full") == shards(tmp_path / "whole")


def test_a_unit_that_fails_is_counted(tmp_path):
    (tmp_path / "gone.py").write_text("def f(): pass\n")
    recipe = Recipe(contests=(str(tmp_path / "gone.jsonl"),))
    (tmp_path / "gone.jsonl").write_text('{"problem": "p", "tests": []}\n')
    (unit,) = plan(recipe)
    (tmp_path / "gone.jsonl").unlink()
    from opencwm.programs import problems

    problems._records.cache_clear()
    assert run_unit(recipe, unit).counts["units failed: HarvestError"] == 1


@pytest.mark.usefixtures("sandbox_works")
def test_what_differs_is_counted_by_its_cause(tmp_path):
    source = "import time\n\ndef f(n):\n    t = time.time_ns()\n    return t + n\n"
    hidden = "def f(n):\n    t = getattr(__import__('ti' + 'me'), 'time' + '_ns')()\n    return t + n\n"
    store = Store(tmp_path / "s", recipe={})
    store.add(Part(0, [made(source, "f(1)"), made(hidden, "f(1)"), made(SOURCE.format(k=2), "f(9)")]))
    store.merge(total=1)
    found = verify(store)
    assert found.mismatches == {"another state (uses the time)": 1, "another state": 1}
    assert (found.seen, found.repeatable, found.rate) == (3, 2, 0.5)
    assert "2 differ" in mismatches(found)


# Workers


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A module of jobs that workers can import."""
    (tmp_path / "cwm_jobs.py").write_text(
        textwrap.dedent(
            """
            import os, signal, pathlib
            def square(n):
                return n * n
            def killed_once(place, n):
                mark = pathlib.Path(place, str(n))
                if n == 2 and not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return n
            def full(n):
                raise OSError(28, "No space left on device")
            def killed(n):
                if n == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return n
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import cwm_jobs

    yield cwm_jobs
    del sys.modules["cwm_jobs"]


def test_workers_do_all_units(jobs):
    assert dict(workers.run(jobs.square, range(7), workers=2)) == {n: n * n for n in range(7)}
    assert dict(workers.run(jobs.square, [], workers=2)) == {}


def test_a_worker_that_is_killed_costs_nothing_the_first_time(jobs, tmp_path):
    import functools

    do = functools.partial(jobs.killed_once, str(tmp_path))
    assert dict(workers.run(do, range(5), workers=2)) == {n: n for n in range(5)}


def test_a_unit_that_kills_its_workers_is_given_up(jobs):
    found = dict(workers.run(jobs.killed, range(5), workers=2))
    assert found.pop(2) == workers.Died("the worker was killed by signal 9")
    assert found == {0: 0, 1: 1, 3: 3, 4: 4}


def test_what_a_worker_raises_is_raised_here(jobs):
    with pytest.raises(OSError, match="No space left"):
        list(workers.run(jobs.full, range(5), workers=2))


def test_no_room_for_temporary_files_stops_the_build(tmp_path, recipe, monkeypatch):
    """A unit that cannot work for lack of room is not counted as failed: it is done once there is room."""

    def record(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("opencwm.programs.corpus.record_batch", record)
    with pytest.raises(StoreError, match="the disk is full"):
        build(recipe, tmp_path / "c")
    assert Store(tmp_path / "c").done() == set()


@pytest.mark.slow
@pytest.mark.usefixtures("sandbox_works")
def test_the_same_corpus_on_ray(tmp_path, recipe):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'opencwm[rl]'")
    build(recipe, tmp_path / "here")
    build(recipe, tmp_path / "ray", ray="local")
    assert shards(tmp_path / "here") == shards(tmp_path / "ray")


def test_ray_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(workers.WorkersError, match="pip install"):
        list(workers.run_on_ray(abs, [1], address="local"))


def test_the_manifest_is_readable(tmp_path):
    Store(tmp_path / "s", recipe=Recipe(seed=3).to_json())
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert Recipe.from_json(manifest["recipe"]) == Recipe(seed=3)
