"""What the processes of the parallel tests run: `run_process.py CONFIG.toml`, alone or under torchrun."""

import json
import os
import signal
import sys
from pathlib import Path

from opencwm.config import load
from opencwm.train.data import Document
from opencwm.train.fake import FakeSource
from opencwm.train.loop import train
from opencwm.train.pack import Mixture
from opencwm.train.settings import TrainConfig


class Killer:
    """A source whose process is killed, once, when it is asked for a late item."""

    name = "fake"

    def __init__(self, once: Path) -> None:
        self.once = once

    def __call__(self, index: int) -> list[Document]:
        if index > 150 and not self.once.exists():
            self.once.write_text(json.dumps({"pid": os.getpid()}))
            os.kill(os.getpid(), signal.SIGKILL)
        return FakeSource()(index)


if __name__ == "__main__":
    config = load(TrainConfig, sys.argv[1])
    source = Killer(Path(sys.argv[2])) if len(sys.argv) > 2 else FakeSource()
    train(config, mixture=Mixture.of(source), held_out_mixture=Mixture.of(FakeSource(seed=1)))
