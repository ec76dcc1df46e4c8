"""The server's endpoints, put together: `build` gives an ASGI application over one engine.

Notable choice: every error, expected or not, is an OpenAI error object to that caller alone; what was not expected is
logged with its traceback and told as a 500 without details.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from opencwm.codec.text import TextCodec
from opencwm.model.engine import Engine
from opencwm.model.sampling import TokenConstraint
from opencwm.serve.answering import Served
from opencwm.serve.chats import chat
from opencwm.serve.completions import complete
from opencwm.serve.errors import RequestError
from opencwm.serve.gate import Gate
from opencwm.serve.metrics import CONTENT_TYPE, Metrics
from opencwm.serve.pump import FAILURES, Pump

log = logging.getLogger("opencwm.serve")
BODY_LIMIT = 16 * 2**20
QUEUE_LIMIT = 512
PATHS = frozenset({"/v1/completions", "/v1/chat/completions", "/v1/models", "/health", "/metrics"})


@dataclass(frozen=True, slots=True)
class Limits:
    """`body` in bytes; `queue` is the most replies under way or waiting."""

    body: int = BODY_LIMIT
    queue: int = QUEUE_LIMIT


def build(
    engine: Engine,
    codec: TextCodec,
    *,
    name: str,
    vocabulary: int,
    context: int,
    key: str | None = None,
    limits: Limits | None = None,
    card: dict[str, object] | None = None,
    legal: Callable[[Sequence[int]], TokenConstraint] | None = None,
) -> ASGIApp:
    """An application that answers with `engine`.

    `key` is the bearer key that callers must give, `card` what `/v1/models` says of the model beside OpenAI's fields,
    `legal` makes constraints to legal frames.
    """
    limits = limits or Limits()
    pump = Pump(engine, limit=limits.queue)
    metrics = Metrics(running=lambda: engine.running, waiting=lambda: engine.waiting)
    served = Served(name, codec, vocabulary, context, pump, metrics, int(time.time()), card or {}, legal)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pump.start()
        try:
            yield
        finally:
            await pump.close()

    async def health(request: Request) -> Response:
        well = pump.failures < FAILURES
        body = {"status": "ok" if well else "the engine keeps failing: see the server's log", "model": name}
        return JSONResponse(body, 200 if well else 503)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_card(served)]})

    async def model(request: Request) -> Response:
        if request.path_params["name"] != name:
            raise RequestError(f"there is no model {request.path_params['name']!r} here", status=404)
        return JSONResponse(_card(served))

    async def figures(request: Request) -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    def endpoint(answer: Callable[[Served, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            return await answer(served, request)

        return answered

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/metrics", figures),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/completions", endpoint(complete), methods=["POST"]),
            Route("/v1/chat/completions", endpoint(chat), methods=["POST"]),
        ],
        exception_handlers={RequestError: _refused, HTTPException: _http, ClientDisconnect: _gone, Exception: _failed},
        lifespan=lifespan,
    )

    def done(path: str, status: int, seconds: float) -> None:
        known = path if path in PATHS else "/v1/models" if path.startswith("/v1/models/") else "other"
        metrics.requests.labels(known, str(status)).inc()
        if known.endswith("completions"):
            metrics.seconds.observe(seconds)

    return Gate(app, key=key, body_limit=limits.body, done=done)


def _card(served: Served) -> dict[str, object]:
    """The model as `/v1/models` shows it; `max_model_len` is vLLM's name for the context."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "opencwm",
        "max_model_len": served.context,
    } | served.card


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body(), error.status, headers=error.headers())


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: f"there is no {request.url.path} here", 405: f"{request.url.path} does not take {request.method}"}
    return JSONResponse(
        RequestError(told.get(error.status_code, str(error.detail)), status=error.status_code).body(),
        error.status_code,
        headers=error.headers,
    )


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(RequestError("the server failed: see its log", status=500).body(), 500)
