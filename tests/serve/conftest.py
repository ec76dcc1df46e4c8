"""One server per kind of tokenizer, for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

pytest.importorskip("starlette", reason='pip install "opencwm[web]"')
pytest.importorskip("openai", reason='pip install "opencwm[dev]"')

from servers import Served, folder_of, serving, write_compact, write_hub, write_ranks

from opencwm.serve.app import Limits


@pytest.fixture(scope="session")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model of compact tokens."""
    folder = folder_of(tmp_path_factory.mktemp("models") / "compact", write_compact)
    with serving(folder, context=256, limits=Limits(body=2**20, queue=64)) as served:
        yield served


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A language model in a Hugging Face folder."""
    folder = folder_of(tmp_path_factory.mktemp("models") / "hub", write_hub, positions=2048)
    with serving(folder, limits=Limits(body=2**20, queue=512)) as served:
        yield served


@pytest.fixture(scope="session")
def llama3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model with CWM's tokens."""
    folder = folder_of(tmp_path_factory.mktemp("models") / "cwm", write_ranks, positions=4096)
    with serving(folder) as served:
        yield served


@pytest.fixture
def process() -> Callable[..., AbstractContextManager[subprocess.Popen[str]]]:
    """`cwm serve` in a process of its own, on a free port: `with process(*arguments, **environment) as child`."""
    return _process


@contextmanager
def _process(*arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "opencwm.cli", "serve", "--port", "0", *map(str, arguments)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()
