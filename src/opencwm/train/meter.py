"""What a run says while it goes: JSON lines in a file always; a progress bar on a terminal, plain lines elsewhere.

Notable choice: losses are told by source too, as a mean over each source's own predicted tokens since the last report.
"""

from __future__ import annotations

import json
import os
import resource
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from opencwm.model.config import ModelConfig
from opencwm.train.flops import flops_per_token, peak_flops
from opencwm.train.pack import Batch
from opencwm.train.parallel import World
from opencwm.train.run import Progress as Behind
from opencwm.train.settings import RunSettings

LOG = "log.jsonl"


@dataclass(slots=True)
class PieceFigures:
    """Of one forward pass: its documents, the sum of each one's weights, and (U, 2) its loss and right weight."""

    origins: list[tuple[str, int]]
    shares_U: NDArray[np.float64]
    figures_U2: Tensor

    def broken(self) -> list[tuple[str, int]]:
        """The documents whose loss is not a number."""
        return [self.origins[u] for u in np.flatnonzero(~np.isfinite(self.figures_U2[:, 0].cpu().numpy()))]


@dataclass(slots=True)
class Figures:
    """Loss (nats per predicted token) and share of right tokens, in all and by source: {name: (loss, right, tokens)}.

    `tokens`: the sum of the weights of the predicted tokens.
    """

    loss: float
    accuracy: float
    gradient_norm: float = 0.0
    by_source: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    def sources(self) -> dict[str, dict[str, float]]:
        """By source, as logs have it."""
        names = ("loss", "accuracy", "tokens")
        return {name: dict(zip(names, values, strict=True)) for name, values in self.by_source.items()}

    @classmethod
    def gathered(
        cls, updates: Sequence[Iterable[PieceFigures]], place: World, norms: Sequence[float] = (0.0,)
    ) -> Figures:
        """Of some updates, from all processes: the mean of the updates' losses. All processes must call it."""
        counted = place.along("context")[0] == 0  # slices of a row share its documents: their weights count once
        steps: list[list[float]] = []
        sources: dict[str, list[float]] = {}
        for pieces in updates:
            steps.append([0.0, 0.0, 0.0])
            for piece in pieces:
                for (name, _), share, figures in zip(
                    piece.origins, piece.shares_U.tolist(), piece.figures_U2.tolist(), strict=True
                ):
                    each = [*figures, share * counted]
                    for sums in (steps[-1], sources.setdefault(name, [0.0, 0.0, 0.0])):
                        for column in range(3):
                            sums[column] += each[column]
        everyone = place.gather((steps, sources))
        whole = np.sum([theirs for theirs, _ in everyone], axis=0)
        means = (whole[:, :2] / np.maximum(whole[:, 2:], 1e-9)).mean(0)
        total: dict[str, NDArray[np.float64]] = {}
        for _, theirs in everyone:
            for name, sums in theirs.items():
                total[name] = total.get(name, np.zeros(3)) + sums
        by_source = {n: (float(t[0] / t[2]), float(t[1] / t[2]), float(t[2])) for n, t in sorted(total.items()) if t[2]}
        return cls(float(means[0]), float(means[1]), norms[-1], by_source)


class Meter:
    """Log and display of one run; a context manager.

    Opening it for a run that resumes at `step` drops what the log holds beyond that step, so that the log of a run that
    was killed is the log of one that was not. Only the first process writes.
    """

    def __init__(self, run: RunSettings, model: ModelConfig, place: World, *, step: int, console: Console) -> None:
        self._run, self._model, self._place, self._console = run, model, place, console
        self._path, self._first = run.folder / LOG, step
        self._file = None
        if place.first:
            _trim(self._path, step)
            self._file = self._path.open("a", encoding="utf-8")
        self._board: Any = None
        if run.tensorboard and place.first:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._skipped: Counter[str] = Counter()
        self._peak = 0.0
        self._context = 0
        self._reset()

    def __enter__(self) -> Meter:
        if self._console.is_terminal and self._place.first:
            self._progress = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("starting", total=self._run.steps, completed=self._first)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """A line for the reader, not for the log."""
        self._console.print(text, markup=False, soft_wrap=True)

    def advance(self, step: int, batch: Batch, seconds: float) -> None:
        """One more update is done."""
        self.useful += batch.useful
        self._tokens += batch.tokens.size
        self._filled += batch.filled
        self._context = batch.tokens.shape[1]
        self._steps += 1
        self._seconds += seconds
        if self._progress is not None:
            self._progress.update(self._task, completed=step)

    def report(self, behind: Behind, figures: Figures, skipped: Mapping[str, int], factor: float) -> None:
        """Figures since the last report. `behind.useful_tokens` and `programs` are brought up to date by the caller."""
        tokens = self._tokens * self._place.along("data")[1]
        seconds = max(self._seconds, 1e-9)
        speed = tokens / seconds
        if not self._peak:
            self._peak = peak_flops(self._place.device) * self._place.size
        record: dict[str, Any] = {
            "loss": figures.loss,
            "accuracy": figures.accuracy,
            "useful": self.useful / self._tokens,
            "tokens_per_second": speed,
            "seconds_per_step": seconds / self._steps,
            "mfu": speed * flops_per_token(self._model, self._context) / self._peak,
            "memory": _memory(self._place.device),
            "tokens": behind.tokens,
            "programs": behind.programs,
            "seconds": behind.seconds,
            "gradient_norm": figures.gradient_norm,
            "learning_rate_factor": factor,
            "filled": self._filled / self._steps,
            "skipped": sum(skipped.values()),
            "sources": figures.sources(),
        }
        self._log(behind.step, record)
        for why in skipped.keys() - self._skipped.keys():
            self.say(f"passed over: {why}")
        self._skipped = Counter(skipped)
        text = (
            f"loss {figures.loss:.4f}  right {figures.accuracy:.1%}  {speed:,.0f} tokens/s  "
            f"{record['useful']:.0%} useful"
        )
        if self._progress is not None:
            self._progress.update(self._task, description=text)
        else:
            left = _duration((self._run.steps - behind.step) * record["seconds_per_step"])
            self.say(f"step {behind.step}/{self._run.steps}  {text}  {left} left")
        self._reset()

    def evaluated(self, step: int, found: Figures) -> None:
        """Held-out loss (nats per predicted token) and accuracy."""
        all_of_it = {"held_out_loss": found.loss, "held_out_accuracy": found.accuracy}
        self._log(step, {**all_of_it, "held_out_sources": found.sources()})
        self.say(f"step {step}/{self._run.steps}  held out: loss {found.loss:.4f}  right {found.accuracy:.2%}")

    def _reset(self) -> None:
        self.useful = 0
        self._tokens = self._steps = 0
        self._filled = self._seconds = 0.0

    def _log(self, step: int, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"step": step, **record}) + "\n")
            self._file.flush()
        if self._board is not None:
            for key, value in flat(record).items():
                self._board.add_scalar(key, value, step)


def flat(record: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The numbers of a record, those of nested ones under `outer/inner`."""
    found: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{key}/")
        else:
            found[above + key] = float(value)
    return found


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's log; a last line that was cut off is left out."""
    records: list[dict[str, Any]] = []
    path = folder / LOG
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _trim(path: Path, step: int) -> None:
    records = [record for record in read_log(path.parent) if record["step"] <= step and step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    os.replace(partial, path)


def _memory(device: torch.device) -> int:
    """The most bytes in use so far: on the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
