"""What the benchmarks of decoding share: their options and clock, the memory's limit, and how they print."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

Clock = Callable[[], float]


def arguments(about: str) -> argparse.ArgumentParser:
    """A parser with the options that all have."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer tokens and rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of tables")
    return parser


def timing(parser: argparse.ArgumentParser) -> None:
    """The options of those that run on a CPU."""
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time")


def clock_of(options: argparse.Namespace) -> Clock:
    """The clock that was asked for; sets the threads, too."""
    torch.set_num_threads(options.threads)
    return time.process_time if options.cpu_time else time.perf_counter


def read_rate(clock: Clock, rounds: int) -> float:
    """Bytes per second at which this process reads a large array."""
    data = torch.ones(64 * 2**20)
    taken = []
    for _ in range(rounds):
        start = clock()
        data.sum()
        taken.append(clock() - start)
    return data.nbytes / min(taken)


def show(name: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print one section as soon as it is measured."""
    if options.json:
        for row in rows:
            print(json.dumps({"section": name} | row), flush=True)
        return
    table = Table(title=name)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    Console(width=140).print(table)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
