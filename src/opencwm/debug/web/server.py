"""The page served to one browser on this machine.

Notable choices:
- It listens on the loopback interface alone. Every request must name this host (so that no other site's name can be
  pointed here), come from this page if it says where from, and carry the session's token.
- Growing a run answers after half a second with what is known by then, so the page stays live and can stop.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from opencwm.debug.breakpoints import names_at
from opencwm.debug.dap.server import HOST, listen
from opencwm.debug.lookup import LookupFailed, look_up
from opencwm.debug.session import Interrupted, Lane, Session, SessionError
from opencwm.debug.timeline import TimelineError
from opencwm.debug.web.page import FIRST_ROWS, Page
from opencwm.world.protocol import WorldError

PATIENCE = 0.5
MOST_ROWS = 20_000
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
HEADERS |= {"X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin"}


def serve(session: Session, *, title: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until interrupted. `ready` is given its address. Raises PortInUse."""
    with listen(port) as listening:
        number = listening.getsockname()[1]
        token = secrets.token_urlsafe(24)
        application = Application(session, title, token, number)
        config = uvicorn.Config(application.app, log_level="error", access_log=False, lifespan="off", ws="none")
        ready(f"http://{HOST}:{number}/?token={token}")
        uvicorn.Server(config).run(sockets=[listening])


class Application:
    """The routes over one session."""

    def __init__(self, session: Session, title: str, token: str, port: int) -> None:
        self.session, self.page = session, Page(session, title)
        self._token = token
        self._lock = threading.Lock()
        routes = [
            Route("/", self._index),
            Route("/api/session", self._describe),
            Route("/api/rows", self._rows_of),
            Route("/api/value", self._value),
            Route("/api/change", self._change, methods=["POST"]),
            Route("/api/edit", self._edit, methods=["POST"]),
            Route("/api/export", self._export),
        ]
        self.app: ASGIApp = Guard(Starlette(routes=routes), token, port)

    def _index(self, request: Request) -> Response:
        with self._lock:
            return HTMLResponse(self.page.html(token=self._token, rows=FIRST_ROWS), headers=HEADERS)

    def _describe(self, request: Request) -> Response:
        with self._lock:
            return _json(self.page.describe())

    def _rows_of(self, request: Request) -> Response:
        """Rows from `from` on, growing the run up to `to` frames as far as there is time."""
        query = request.query_params
        with self._lock:
            try:
                lane = self._lane(query.get("lane"))
                start, end = _number(query.get("from")), _number(query.get("to"))
                problem = self._grow(lane, min(end, start + MOST_ROWS))
            except (SessionError, ValueError) as error:
                return _json({"error": str(error)}, 400)
            rows = self.page.rows(lane).upto(start, min(end, start + MOST_ROWS))
            body = {"rows": rows, "lane": self.page.lane(lane), "parting": self.page.parting(), "problem": problem}
            return _json(body)

    def _grow(self, lane: Lane, end: int) -> str | None:
        deadline = time.monotonic() + PATIENCE
        try:
            while lane.timeline.known < end and lane.timeline.grow(lane.timeline.known):
                if time.monotonic() > deadline:
                    break
        except (WorldError, Interrupted) as error:
            return str(error)
        return None

    def _value(self, request: Request) -> Response:
        """A value whole, or an expression on a frame's values."""
        query = request.query_params
        with self._lock:
            try:
                timeline = self._lane(query.get("lane")).timeline
                text = look_up(query.get("expression", ""), names_at(timeline, _number(query.get("frame"))))
            except (LookupFailed, TimelineError, SessionError, ValueError) as error:
                return _json({"error": str(error)}, 400)
            return _json({"text": text.encode("utf-8", "backslashreplace").decode()})

    async def _change(self, request: Request) -> Response:
        return await self._branch(request, lambda body: self.session.change(str(body["name"]), str(body["value"])))

    async def _edit(self, request: Request) -> Response:
        return await self._branch(request, lambda body: self.session.edit(int(body["line"]), str(body["text"])))

    async def _branch(self, request: Request, make: Callable[[dict[str, Any]], Lane]) -> Response:
        from starlette.concurrency import run_in_threadpool

        try:
            body = await request.json()
        except ValueError:
            return _json({"error": "a JSON object is expected"}, 400)
        return await run_in_threadpool(self._branched, body, make)

    def _branched(self, body: Any, make: Callable[[dict[str, Any]], Lane]) -> Response:
        with self._lock:
            before = self.session.current
            try:
                lane = self.session.walk(_number(body["lane"]))
                lane.timeline.go_to(_number(body["frame"]))
                return _json({"lane": self.page.lane(make(body))})
            except (SessionError, TimelineError, LookupFailed, WorldError) as error:
                self.session.current = before
                return _json({"error": str(error)})  # an answer, not a fault: the page shows it
            except (ValueError, KeyError, TypeError) as error:
                self.session.current = before
                return _json({"error": f"{type(error).__name__}: {error}"}, 400)

    def _export(self, request: Request) -> Response:
        with self._lock:
            headers = HEADERS | {"Content-Disposition": 'attachment; filename="run.html"'}
            return HTMLResponse(self.page.html(token=None, rows=None), headers=headers)

    def _lane(self, number: object) -> Lane:
        index = _number(number)
        if index >= len(self.session.lanes):
            raise SessionError(f"there is no lane {index}")
        return self.session.lanes[index]


class Guard:
    """Lets only this page through: the right host, no other origin, the token."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reason = self._refusal(Request(scope))
        answer: Callable[[Scope, Receive, Send], Awaitable[None]] = self._app
        if reason is not None:
            answer = JSONResponse({"error": reason}, 403, headers=HEADERS)
        await answer(scope, receive, send)

    def _refusal(self, request: Request) -> str | None:
        headers = request.headers
        if headers.get("host") not in self._hosts:
            return "this server answers to its own host name only"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return "another origin may not ask"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "another site may not ask"
        given = headers.get("x-cwm-token") if request.url.path != "/" else request.query_params.get("token")
        if not hmac.compare_digest((given or "").encode(), self._token.encode()):
            return "the token is missing or wrong: open the address that cwm printed"
        return None


def _json(body: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(body, status, headers=HEADERS)


def _number(text: object) -> int:
    number = int(str(text))
    if not 0 <= number < 1 << 40:
        raise ValueError(f"{text!r} is not a number of a frame or lane")
    return number
