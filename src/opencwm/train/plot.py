"""Curves of runs as a PNG, from their logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from opencwm.train.meter import flat, read_log

Over = Literal["step", "tokens"]
USUAL = ("loss", "held_out_loss", "tokens_per_second", "gradient_norm")


class PlotError(ValueError):
    """Nothing to draw; the message says why."""


def curves(folder: Path, over: Over = "step") -> dict[str, list[tuple[int, float]]]:
    """Everything that a run has logged, by name: (step or tokens, value) pairs.

    Raises PlotError for a folder without a log.
    """
    records = read_log(folder)
    if not records:
        raise PlotError(f"{folder} holds no log of a run (log.jsonl)")
    places = {int(record["step"]): int(record.get(over, 0)) for record in records if over in record}
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        place = places.get(int(record["step"]))  # held-out figures tell their step alone
        if place is None:
            continue
        for key, value in flat(record).items():
            if key not in ("step", over):
                found.setdefault(key, []).append((place, value))
    return found


def draw(runs: Sequence[Path], output: Path, keys: Sequence[str], over: Over = "step") -> None:
    """One panel per key, one line per run; without keys the usual ones, and the loss of each source if there are more.

    Raises PlotError for a run without a log, a key that no run has, or a machine without matplotlib.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise PlotError('drawing needs matplotlib: pip install "opencwm[evals]"') from None
    logs = {str(folder): curves(folder, over) for folder in runs}
    known = sorted({key for log in logs.values() for key in log})
    lacking = [key for key in keys if key not in known]
    if lacking:
        raise PlotError(f"no run has logged {lacking[0]}: choose among {', '.join(known)}")
    sources = [key for key in known if key.startswith("sources/") and key.endswith("/loss")]
    chosen = list(keys) or [*(key for key in USUAL if key in known), *(sources if len(sources) > 1 else [])]
    columns = min(2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, panels = pyplot.subplots(rows, columns, figsize=(6 * columns, 3.2 * rows), squeeze=False)
    for panel, key in zip(panels.flat, chosen, strict=False):
        for name, log in logs.items():
            points = log.get(key, [])
            panel.plot([step for step, _ in points], [value for _, value in points], label=name, linewidth=1)
        panel.set_title(key, fontsize=10)
        panel.set_xlabel(over, fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
        if len(logs) > 1:
            panel.legend(fontsize=7)
    for panel in list(panels.flat)[len(chosen) :]:
        panel.axis("off")
    figure.tight_layout()
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)
    pyplot.close(figure)
