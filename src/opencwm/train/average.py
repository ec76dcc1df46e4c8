"""`cwm train average`: one checkpoint out of several runs that began from the same one and saw different data.

Runs side by side on the cores of a machine, averaged and sent on together every few minutes, learn as one run with as
many times the batch (local SGD; Stich, 2019), and each keeps the kernels that work on whole weights.

Notable choice: the optimiser's moments are averaged with the weights, so that the next stage need not warm up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from opencwm.train import checkpoint
from opencwm.train.checkpoint import Checkpoint, Checkpointer, CheckpointError
from opencwm.train.run import CHECKPOINTS, CONFIG_FILE, TrainingError
from opencwm.train.state import MODEL, OPTIMISER


def average(runs: Sequence[Path], output: Path, say: Callable[[str], None] = print) -> int:
    """Write the mean of the runs' last checkpoints into `output`, a run's folder to begin from or to export.

    Returns the tokens that all have seen since they began. Raises TrainingError for runs that do not go together.
    """
    if checkpoint.found(output / CHECKPOINTS):
        raise TrainingError(f"{output} holds a run already: choose another folder, or delete it")
    saved = [_last(run, say) for run in runs]
    first = saved[0]
    sizes = {name: size for name, size in first.sizes().items() if name.startswith((MODEL, OPTIMISER))}
    for run, other in zip(runs[1:], saved[1:], strict=True):
        theirs = {name: size for name, size in other.sizes().items() if name.startswith((MODEL, OPTIMISER))}
        if theirs != sizes or other.info["tokenizer"] != first.info["tokenizer"]:
            raise TrainingError(f"{run} is of another model, tokenizer or optimiser than {runs[0]}: average like runs")
    total = first.read(list(sizes))
    for other in saved[1:]:
        for name, tensor in other.read(list(sizes)).items():
            total[name] += tensor
    for tensor in total.values():
        tensor /= len(saved)
    progress = dict(first.info["progress"])
    for key in ("tokens", "useful_tokens", "programs", "seconds"):
        progress[key] = sum(one.info["progress"][key] for one in saved)
    output.mkdir(parents=True, exist_ok=True)
    (output / CONFIG_FILE).write_bytes((runs[0] / CONFIG_FILE).read_bytes())
    with Checkpointer(output / CHECKPOINTS, keep=1) as saves:
        saves.save(first.step, total, {}, first.info | {"progress": progress})
        saves.wait()
    return int(progress["tokens"])


def _last(run: Path, say: Callable[[str], None]) -> Checkpoint:
    try:
        found = checkpoint.load(run / CHECKPOINTS, say)
    except CheckpointError as error:
        raise TrainingError(str(error)) from None
    if found is None:
        raise TrainingError(f"{run} has no checkpoint: give folders of training runs")
    return found
