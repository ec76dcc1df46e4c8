"""`Gate`: what every request passes before it is read: the key, the size of its body, a place in the statistics.

Notable choices:
- A body that is too large is answered with 413 and thrown away as it comes, so that the caller reads the answer instead
  of a broken connection; beyond `DRAIN` bytes the connection is closed.
- Bodies are counted as they arrive: a wrong or absent Content-Length changes nothing.
- `/health` is open; everything else needs the key, if there is one.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opencwm.serve.errors import RequestError

DRAIN = 512 * 2**20
_KEYLESS = RequestError("give the server's key: Authorization: Bearer KEY", status=401, code="invalid_api_key")


class BodyTooLarge(RequestError):
    """Status 413."""


class Gate:
    """An ASGI layer around the endpoints. `done(path, status, seconds)` is told of every answer."""

    def __init__(
        self, app: ASGIApp, *, key: str | None, body_limit: int, done: Callable[[str, int, float], None]
    ) -> None:
        self.app, self.key, self.body_limit, self.done = app, key, body_limit, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 499, time.perf_counter()  # 499: the client went away before any answer

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = dict(scope["headers"])
            if self.key and scope["path"] != "/health" and not self._has_key(headers.get(b"authorization", b"")):
                await self._refuse(_KEYLESS, scope, receive, watched)
                return
            length = headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > self.body_limit:
                await self._refuse(self._too_large(), scope, receive, watched)
                return
            try:
                await self.app(scope, self._counted(receive), watched)
            except BodyTooLarge as error:
                await self._refuse(error, scope, receive, watched)
        finally:
            self.done(scope["path"], status, time.perf_counter() - started)

    def _has_key(self, header: bytes) -> bool:
        assert self.key is not None
        kind, _, given = header.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.key.encode())

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body exceeds the limit of {self.body_limit:,} bytes: send a smaller request, or start the server "
            "with a larger --body-limit",
            status=413,
            code="request_too_large",
        )

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if seen > self.body_limit:
                raise self._too_large()
            return message

        return counted

    async def _refuse(self, error: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
        drained = 0
        while drained < DRAIN:
            message = await receive()
            drained += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                break
        headers = error.headers() | ({"connection": "close"} if error.status == 413 else {})
        await JSONResponse(error.body(), error.status, headers=headers)(scope, receive, send)
