"""What a run says while it goes: JSON lines in a file always; a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LOG = "log.jsonl"


class Meter:
    """Log and display of one run; a context manager.

    Opening it for a run that resumes at `step` drops what the log holds beyond that step, so that the log of a run that
    was killed is the log of one that was not.
    """

    def __init__(self, folder: Path, *, step: int, steps: int, console: Console) -> None:
        self._path, self._first, self._steps, self._console = folder / LOG, step, steps, console
        _trim(self._path, step)
        self._file = self._path.open("a", encoding="utf-8")
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Meter:
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task("starting", total=self._steps, completed=self._first)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._file.close()

    def say(self, text: str) -> None:
        """A line for the reader, not for the log."""
        self._console.print(text, markup=False, soft_wrap=True)

    def advance(self, step: int) -> None:
        """One more update is done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=step)

    def report(self, step: int, figures: dict[str, float]) -> None:
        """Figures since the last report: at least loss, accuracy, useful, tokens_per_second, seconds_per_step."""
        self._log({"step": step, **figures})
        text = (
            f"loss {figures['loss']:.4f}  right {figures['accuracy']:.1%}  "
            f"{figures['tokens_per_second']:,.0f} tokens/s  {figures['useful']:.0%} useful"
        )
        if self._progress is not None:
            self._progress.update(self._task, description=text)
        else:
            left = _duration((self._steps - step) * figures["seconds_per_step"])
            self.say(f"step {step}/{self._steps}  {text}  {left} left")

    def evaluated(self, step: int, loss: float, accuracy: float) -> None:
        """Held-out loss (nats per predicted token) and accuracy."""
        self._log({"step": step, "held_out_loss": loss, "held_out_accuracy": accuracy})
        self.say(f"step {step}/{self._steps}  held out: loss {loss:.4f}  right {accuracy:.2%}")

    def _log(self, record: dict[str, float]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def read_log(folder: Path) -> list[dict[str, float]]:
    """The records of a run's log; a last line that was cut off is left out."""
    records: list[dict[str, float]] = []
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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
