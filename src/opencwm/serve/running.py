"""From a weights folder to a server that listens: what `cwm serve` does.

Notable choices:
- The port is taken before the model is loaded, so a taken one is told at once.
- SIGTERM and SIGINT end the server gracefully: no new connections, answers under way get `grace` seconds, then the rest
  is told and cut. A second SIGINT does not wait. Either way the exit code is 0: this is how a server is stopped.
- Loopback by default. Whoever listens to the world without a key is warned, not stopped: a container's port may be
  guarded by other means.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import uvicorn
from starlette.types import ASGIApp

from opencwm.codec.text import CompactText, Llama3Text, TextCodec, TokenizerError, open_text
from opencwm.model.engine import Engine
from opencwm.model.matrices import WeightKind
from opencwm.model.static import CompileError
from opencwm.model.weights import load_weights
from opencwm.serve.app import Limits, build
from opencwm.serve.legal import LegalFrames
from opencwm.world.local import CONTEXT_TOKENS

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEEP_ALIVE = 60
"""Seconds that an idle connection stays: after uvicorn's 5 a client on a busy machine may find it just closed."""
PADDING = 1024
"""Ids by which a model's vocabulary may exceed its tokenizer's: some round it up for speed."""


class ServeError(RuntimeError):
    """A server that cannot start; the message is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `cwm serve` is asked.

    `context` None: all that the model was made for. `device` None: a GPU if there is one. `weights` None: bfloat16 on a
    GPU, float32 on a CPU.
    """

    folder: Path
    name: str | None = None
    key: str | None = None
    batch: int = 16
    context: int | None = None
    weights: WeightKind | None = None
    device: str | None = None
    compile: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to answer."""

    app: ASGIApp
    name: str
    codec: TextCodec
    engine: Engine


def load(settings: Settings) -> Loaded:
    """The application over a folder's model.

    Raises WeightsError, TokenizerError and ServeError.
    """
    codec = open_text(settings.folder)
    device = _device(settings.device)
    weights: WeightKind = settings.weights or ("float32" if device.type == "cpu" else "bfloat16")
    dtype = torch.bfloat16 if weights == "bfloat16" else torch.float32
    model, info = load_weights(settings.folder, device=device, dtype=dtype)
    vocabulary = model.config.vocab_size
    if not codec.size <= vocabulary <= codec.size + PADDING:
        raise TokenizerError(
            f"{settings.folder}: the tokenizer has {codec.size:,} tokens, the model {vocabulary:,}: they do not belong "
            "together; take both from the same place"
        )
    compact = isinstance(codec, CompactText)
    trained = info.get("context_tokens")
    most = model.config.max_positions
    made_for = trained if isinstance(trained, int) else CONTEXT_TOKENS if compact else most
    context = settings.context or min(made_for, most)
    if context > most:
        raise ServeError(f"--context {context:,}: this model holds at most {most:,} tokens")
    try:
        engine = Engine(model, max_tokens=context, max_batch=settings.batch, weights=weights, compile=settings.compile)
    except CompileError as error:
        raise ServeError(f"--compile: {error}") from None
    name = settings.name or settings.folder.resolve().name
    card: dict[str, object] | None = None
    if compact:
        card = {"codec": "compact", "tokens": codec.size, "python": str(info.get("python", "3.11"))}
    elif isinstance(codec, Llama3Text):
        card = {"codec": "cwm", "legal_frames": True}
    app = build(
        engine,
        codec,
        name=name,
        vocabulary=vocabulary,
        context=context,
        key=settings.key,
        limits=settings.limits,
        card=card,
        legal=LegalFrames(codec, vocabulary) if isinstance(codec, Llama3Text) else None,
    )
    return Loaded(app, name, codec, engine)


def _device(name: str | None) -> torch.device:
    """Raises ServeError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        why = str(error).splitlines()[0]
        raise ServeError(f"--device {name} cannot be used ({why}): give cpu, or cuda with a GPU") from None
    return device


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ServeError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror or error
        raise ServeError(f"cannot listen at {host} port {port} ({why}): give another --port") from None


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: ASGIApp, *, grace: float, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server of `app`; `run(sockets=[...])` serves until SIGINT, SIGTERM or `should_exit`.

    It calls `ready` once it answers, and gives what is under way at the end at most `grace` seconds.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    return _Server(config, ready)


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and does not raise the signal again that ended it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
