"""What a sandbox costs: starting one, commands in it, snippets, shells, many at once; each beside a limit.

The limits: `bwrap` itself, showing and hiding the same (but without cgroups, seccomp, Landlock, limits and results;
and once with only what our keeper leaves to it), and a fresh Python process without any sandbox, all taken in turns.

    python bench/sandbox.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opencwm import sandbox
from opencwm.sandbox import Finished, SnippetPool, open_sandbox
from opencwm.sandbox._keeper import ETC, MASKED_FILES, MASKED_FOLDERS
from opencwm.sandbox.bubblewrap import command

SNIPPET = "print(sum(map(int, input().split())))"
Row = dict[str, str | float | int]


def timed(action: Callable[[], object]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def medians(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, taken in turns."""
    for action in actions.values():
        action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            taken[name].append(timed(action))
    return {name: statistics.median(values) for name, values in taken.items()}


def bare(argv: list[str], *, masked: bool = True) -> None:
    """bwrap by itself: `masked`, it sets up all that our sandboxes show and hide; else only what we leave to it."""
    words = [*command(), *(_masks() if masked else [])]
    subprocess.run([*words, "--", *argv], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _masks() -> list[str]:
    words: list[str] = []
    for name in ETC:
        own = Path(sandbox.__file__).with_name("etc") / name
        words += ["--ro-bind", str(own if own.exists() else f"/etc/{name}"), f"/etc/{name}"]
    for name in MASKED_FILES:
        words += ["--ro-bind", "/dev/null", f"/proc/{name}"] if os.path.exists(f"/proc/{name}") else []
    for name in MASKED_FOLDERS:
        words += ["--tmpfs", f"/proc/{name}"] if os.path.isdir(f"/proc/{name}") else []
    for folder in ("/tmp", "/box", "/dev/shm"):
        words += ["--size", str(256 << 20), "--tmpfs", folder]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/"]


def ours(argv: list[str]) -> None:
    with open_sandbox("bubblewrap") as box:
        result = box.exec(argv)
        assert result.ok, result


def starts(rounds: int) -> list[Row]:
    python = [sys.executable, "-I", "-c", "pass"]
    with open_sandbox("bubblewrap") as box, box.shell() as shell:
        times = medians(
            {
                "bare bwrap": lambda: bare(["true"]),
                "bare bwrap, only our command line": lambda: bare(["true"], masked=False),
                "a sandbox: open, run true, close": lambda: ours(["true"]),
                "bare Python, no sandbox": lambda: subprocess.run(python, check=True),
                "bare bwrap, with Python": lambda: bare(python),
                "a sandbox, with Python": lambda: ours(python),
                "a command in an open sandbox": lambda: box.exec(["true"]),
                "Python in an open sandbox": lambda: box.exec(python),
                "shell round trip": lambda: shell.run("true"),
            },
            rounds,
        )
    peers = {
        "a sandbox: open, run true, close": "bare bwrap",
        "a sandbox, with Python": "bare bwrap, with Python",
        "Python in an open sandbox": "bare Python, no sandbox",
    }
    return [
        {"what": name, "ms": round(value, 2)}
        | ({"times": round(value / times[peers[name]], 2), "of": peers[name]} if name in peers else {})
        for name, value in times.items()
    ]


def snippets(rounds: int, count: int) -> list[Row]:
    """Snippets a second: the pool on two workers against a fresh process each, one after another and two at once."""

    def fresh() -> None:
        subprocess.run([sys.executable, "-c", SNIPPET], input=b"1 2", capture_output=True, check=True)

    def two_at_once() -> None:
        threads = [threading.Thread(target=lambda: [fresh() for _ in range(count // 20)]) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    with SnippetPool(2, backend="bubblewrap") as pool:

        def pooled() -> None:
            futures = [pool.submit(SNIPPET, [b"1 2"]) for _ in range(count)]
            assert all(future.result() == [Finished(0, b"3\n", b"")] for future in futures)

        def many_cases() -> None:
            futures = [pool.submit(SNIPPET, [b"1 2"] * 50) for _ in range(count // 50)]
            assert all(result.ok for future in futures for result in future.result())

        amounts = {
            "one fresh Python process each": count // 10,
            "the same, two at once": count // 20 * 2,
            "pool, two workers": count,
            "pool, 50 cases per snippet": count // 50 * 50,
        }
        times = medians(
            {
                "one fresh Python process each": lambda: [fresh() for _ in range(count // 10)],
                "the same, two at once": two_at_once,
                "pool, two workers": pooled,
                "pool, 50 cases per snippet": many_cases,
            },
            rounds,
        )
    rates = {name: amounts[name] / times[name] * 1000 for name in times}
    base = rates["one fresh Python process each"]
    return [{"what": name, "per second": round(rate), "times": round(rate / base, 1)} for name, rate in rates.items()]


def crowd(count: int) -> list[Row]:
    """Many sandboxes at once: failures, and what an idle one keeps in memory."""
    boxes, failures, lock = [], [], threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if len(boxes) + len(failures) >= count:
                    return
                boxes.append(None)
                place = len(boxes) - 1
            try:
                box = open_sandbox("bubblewrap")
                boxes[place] = box
                result = box.exec(["sh", "-c", f"echo {place} > f; cat f"])
                assert isinstance(result, Finished) and result.stdout == b"%d\n" % place
            except Exception as error:  # counted, whatever it is
                failures.append(repr(error))

    before = memory()
    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.perf_counter() - started
    used = (memory() - before) / count
    for box in boxes:
        if box is not None:
            box.close()
    return [
        {"what": f"{count} sandboxes open at once: failures", "count": len(failures)},
        {"what": "opened, and one command run in each, per second", "count": round(count / seconds)},
        {"what": "memory of an idle sandbox, MB", "count": round(used / 2**20, 2)},
    ]


def memory() -> int:
    """Bytes that this process's descendants keep, what they share counted in proportion."""
    total, ahead = 0, [os.getpid()]
    while ahead:
        pid = ahead.pop()
        with contextlib.suppress(OSError):  # it has just ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                ahead += map(int, (task / "children").read_text().split())
            if pid != os.getpid():
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
    return total


def show(title: str, rows: list[Row]) -> None:
    print(title)
    heads = list(dict.fromkeys(head for row in rows for head in row))
    cells = [heads, *([str(row.get(head, "")) for head in heads] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description="What sandboxes cost, beside bare bwrap and fresh Python processes.")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    quick = arguments.quick
    tables = {
        "starts": starts(20 if quick else 100),
        "snippets": snippets(3 if quick else 7, 400 if quick else 1000),
        "crowd": crowd(200),
    }
    if arguments.json:
        print(json.dumps({"bench": "sandbox", "python": platform.python_version()} | tables, indent=2))
        return
    print(f"sandbox, Python {platform.python_version()}, {os.cpu_count()} cores: medians\n")
    for title, rows in tables.items():
        show(title, rows)


if __name__ == "__main__":
    main()
