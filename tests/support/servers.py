"""Real servers over small random models, on a free port of this machine, one per kind of tokenizer.

A random model writes nonsense. Where a test needs a certain reply, `say` makes the engine's draws those tokens: the
forward passes, the batching and the server are the real ones.
"""

from __future__ import annotations

import asyncio
import base64
import faulthandler
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from opencwm.codec.llama3 import BYTE_OF, IDS
from opencwm.codec.text import TextCodec
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.model.config import preset
from opencwm.model.engine import Engine
from opencwm.model.transformer import Transformer
from opencwm.model.weights import save_weights
from opencwm.serve import running

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Script:
    """A constraint that leaves one token after the other."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._left = list(tokens)

    def allowed(self) -> Sequence[int]:
        return self._left[:1]

    def push(self, token: int) -> None:
        del self._left[:1]

    def forced(self) -> Sequence[int]:
        return ()


class Served:
    """A server under test."""

    def __init__(self, url: str, codec: TextCodec, engine: Engine, name: str, folder: Path) -> None:
        self.url, self.codec, self.engine, self.name = url, codec, engine, name
        self.folder = folder
        self._submit = engine.submit
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)

    @contextmanager
    def say(self, *texts: str | Sequence[int], ends: bool = True) -> Iterator[None]:
        """Within it, replies are these texts in turn, the last one for ever, each with its end unless `ends` is false."""
        replies = [self.codec.encode(text, special=True) if isinstance(text, str) else list(text) for text in texts]
        end = [min(self.codec.ends)] if ends else []
        real = self._submit

        def submit(prompt: Sequence[int], sampling: Any, **more: Any) -> Any:
            ids = replies.pop(0) if len(replies) > 1 else replies[0]
            return real(prompt, replace(sampling, constraint=Script(ids + end)), **more)

        self.engine.submit = submit  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.engine.submit = real  # type: ignore[method-assign]


def small_model(vocabulary: int, *, seed: int = 0, positions: int = 256) -> Transformer:
    torch.set_num_threads(1)
    shape = {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "ffn_dim": 32}
    return Transformer(preset("tiny", vocab_size=vocabulary, max_positions=positions, **shape), seed=seed)


def write_hub(folder: Path) -> int:
    """A byte-level tokenizer with ChatML in a folder; the size of its vocabulary."""
    tokenizers = pytest.importorskip("tokenizers", reason='pip install "opencwm[hf]"')
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    model = tokenizers.models.BPE({character: i for i, character in enumerate(alphabet)}, [])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer.get_vocab_size()


def write_ranks(folder: Path) -> int:
    """A `tokenizer.model` of the 256 bytes alone, under CWM's special tokens."""
    pytest.importorskip("tiktoken", reason='pip install "opencwm[hf]"')
    folder.mkdir(parents=True, exist_ok=True)
    lines = (base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    (folder / "tokenizer.model").write_bytes(b"".join(lines))
    return 128_256


def write_compact(folder: Path) -> int:
    return VOCABULARY.size


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Served]:
    """A server of a folder's model until the end of the block."""
    loaded = running.load(running.Settings(folder, **settings))
    listening = running.listen("127.0.0.1", 0)
    ready = threading.Event()
    server = running.server(loaded.app, grace=1, ready=ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        served = Served(running.address(listening), loaded.codec, loaded.engine, loaded.name, folder)
        with served.client:
            yield served
    finally:
        server.should_exit = True
        thread.join(60)
        if thread.is_alive():
            faulthandler.dump_traceback()
            for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined]
                task.print_stack(file=sys.stderr)
            pytest.fail("the server does not come to an end: the stacks of all threads and tasks are above")


def folder_of(path: Path, write: Callable[[Path], int], **shape: Any) -> Path:
    """A weights folder with a random model and a tokenizer."""
    save_weights(path, small_model(write(path), **shape), {})
    return path


def write_cwm_hub(folder: Path) -> int:
    """`write_ranks`, and the same as a `tokenizer.json` that other servers read: the trace tokens are not hidden there."""
    tokenizers = pytest.importorskip("tokenizers", reason='pip install "opencwm[hf]"')
    size = write_ranks(folder)
    spelling = {byte: character for character, byte in BYTE_OF.items()}
    vocabulary = {spelling[byte]: byte for byte in range(256)} | IDS
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    begin = ("<|begin_of_text|>", IDS["<|begin_of_text|>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{begin[0]} $A", pair=f"{begin[0]} $A $B", special_tokens=[begin]
    )
    for name in IDS:
        hidden = not name.endswith("_sep|>")
        tokenizer.add_tokens([tokenizers.AddedToken(name, special=hidden, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin[0],
        "eos_token": "<|end_of_text|>",
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return size
