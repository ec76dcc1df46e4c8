"""What the training stream is worth: how fast one core makes it, how much of it differs, how much of it is left out.

    python bench/mix.py [--config FILE] [--programs N] [--distinct N] [--quick] [--json]

Measured in processor time of one process, and of the recorder in the sandbox where functions of data run, so that what
else the machine does matters little:
- tokens per second, against 62,500 (a sixteenth of a million: the goal on 16 cores), and its parts: writing a program,
  auditing it, recording it (the bound: nothing can be faster than the recorder), encoding it;
- of `--programs` programs, how many gave no window, for what reason; a crash would end the run;
- of `--distinct` written programs, the share of different normalised syntax trees (names by order of appearance,
  constants by type), and the share where only names are normalised.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import platform
import sys
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Any

from opencwm.cli.mix import read_config
from opencwm.codec.compact import Encoder, windows_of
from opencwm.programs import foreign
from opencwm.programs.leakage import normalised
from opencwm.programs.mix import Mix, audit
from opencwm.trace.recorder import RecordError

GOAL = 1_000_000 / 16


def measure(mix: Mix, programs: int, distinct: int, progress: bool) -> dict[str, Any]:
    """All figures."""
    mix.prepare()
    rejected: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    tokens = windows = 0
    started, boxed = process_time(), foreign.recorder().cpu_seconds
    for index in range(programs):
        made = mix.make(index)
        windows += len(made.windows)
        tokens += sum(len(window.ids) for window in made.windows)
        rejected[made.rejected.partition(":")[0]] += bool(made.rejected)
        if made.trace is not None:
            outcomes[made.trace.outcome.kind] += 1
        if progress and index % 5000 == 4999:
            print(f"{index + 1:,} of {programs:,} recorded, {dict(+rejected)}", file=sys.stderr, flush=True)
    boxed = foreign.recorder().cpu_seconds - boxed
    seconds = process_time() - started + boxed
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(), "python": platform.python_version(),
        "in_the_sandbox": boxed / seconds,
        "programs": programs, "windows": windows, "tokens": tokens, "tokens_per_second": tokens / seconds,
        "share_of_goal": tokens / seconds / GOAL, "programs_per_second": programs / seconds,
        "rejected": {reason: count / programs for reason, count in (+rejected).items()},
        "outcomes": {kind: count / programs for kind, count in outcomes.items()},
    }  # fmt: skip
    return figures | {"parts": parts(mix, min(programs, 2000))} | difference(mix, distinct, progress)


def parts(mix: Mix, programs: int) -> dict[str, float]:
    """Microseconds per program of each stage alone, over the same programs."""
    times: dict[str, float] = dict.fromkeys(("write", "audit", "record", "encode"), 0.0)
    for index in range(programs):
        at, before = process_time(), foreign.recorder().cpu_seconds
        chosen = mix.choose(index)
        times["write"] += process_time() - at
        times["record"] += foreign.recorder().cpu_seconds - before  # functions of data run when they are chosen
        if chosen.program is None:
            continue
        if mix.config.audit:
            at = process_time()
            audit(mix.config.audit).match(chosen.program.source)
            times["audit"] += process_time() - at
        at = process_time()
        try:
            trace = mix.record(chosen)
        except RecordError:
            continue
        times["record"] += process_time() - at
        if trace is None:
            continue
        at = process_time()
        windows_of(Encoder(trace), max_tokens=mix.config.sequence_length)
        times["encode"] += process_time() - at
    return {name: 1e6 * seconds / programs for name, seconds in times.items()}


def difference(mix: Mix, count: int, progress: bool) -> dict[str, Any]:
    """Shares of different syntax trees among written programs and drills."""
    trees: set[bytes] = set()
    named: set[bytes] = set()
    seen = index = 0
    while seen < count:
        chosen = mix.choose(index)
        index += 1
        if chosen.program is None or chosen.source not in ("written", "drills"):
            continue
        seen += 1
        body = ast.parse(chosen.program.source).body
        trees.add(hashlib.blake2b(normalised(body).encode(), digest_size=8).digest())
        named.add(hashlib.blake2b(_with_constants(body).encode(), digest_size=8).digest())
        if progress and seen % 50_000 == 0:
            print(f"{seen:,} of {count:,} written: {len(trees) / seen:.2%} differ", file=sys.stderr, flush=True)
    return {"distinct_of": count, "distinct": len(trees) / count, "distinct_with_constants": len(named) / count}


def _with_constants(body: list[ast.stmt]) -> str:
    """The normalised tree, and beside it the constants."""
    constants = [
        repr(node.value) for statement in body for node in ast.walk(statement) if isinstance(node, ast.Constant)
    ]
    return normalised(body) + "\0" + "\0".join(constants)


def show(figures: dict[str, Any]) -> None:
    """The figures as text."""
    print(f"\nthe mix, one core, {figures['machine']}, Python {figures['python']}: {figures['programs']:,} programs\n")
    print(f"{'tokens per second':<44}{figures['tokens_per_second']:>12,.0f}")
    print(f"{'of the goal (62,500 per core)':<44}{figures['share_of_goal']:>12.2f}")
    print(f"{'programs per second':<44}{figures['programs_per_second']:>12,.0f}")
    print(f"{'of the time, in the sandbox':<44}{figures['in_the_sandbox']:>12.1%}")
    total = sum(figures["parts"].values())
    for name, micros in figures["parts"].items():
        print(f"{'  ' + name + ', µs per program and share':<44}{micros:>12,.0f}{micros / total:>8.1%}")
    for reason, share in sorted(figures["rejected"].items(), key=lambda pair: -pair[1]):
        print(f"{'left out: ' + reason[:32]:<44}{share:>12.3%}")
    for kind, share in figures["outcomes"].items():
        print(f"{'runs that end in ' + kind:<44}{share:>12.2%}")
    print(f"{'different trees of ' + format(figures['distinct_of'], ',') + ' written':<44}{figures['distinct']:>12.2%}")
    print(f"{'  where constants count too':<44}{figures['distinct_with_constants']:>12.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--programs", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="2,000 programs, 10,000 distinct")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    programs, distinct = (2000, 10_000) if arguments.quick else (arguments.programs, arguments.distinct)
    figures = measure(Mix(read_config(arguments.config, [])), programs, distinct, not arguments.json)
    print(json.dumps(figures)) if arguments.json else show(figures)


if __name__ == "__main__":
    main()
