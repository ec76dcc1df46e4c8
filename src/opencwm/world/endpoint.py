"""`Endpoint`: an OpenAI-compatible server, asked over HTTP, patiently.

Notable choices:
- Only what may go away by itself is tried again: no connection, 429, and errors of the server (5xx), with growing
  pauses (the server's own Retry-After, if it gives one) until `patience` seconds are over. A refusal (other 4xx) and an
  answer that takes longer than `timeout` are told at once.
- All failures are `WorldError`, with what to do.
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Mapping
from typing import Any

import httpx

from opencwm.world.protocol import WorldError

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
_AGAIN = frozenset({429, 500, 502, 503, 504})


class Refused(WorldError):
    """The server does not take a request; `status` is its HTTP status, `code` its word for the reason."""

    def __init__(self, message: str, status: int, code: str | None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Endpoint:
    """A server at `url` (with or without `/v1`). `transport` replaces the network, for tests."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 120.0,
        patience: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises WorldError for what is no HTTP address."""
        self.url = url.rstrip("/").removesuffix("/v1")
        if not self.url.startswith(("http://", "https://")):
            raise WorldError(f"{url} is no address of a server: give http://HOST:PORT")
        self.timeout, self.patience = timeout, patience
        try:
            self._client = httpx.Client(
                base_url=self.url,
                headers={"authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
                transport=transport,
            )
            weakref.finalize(self, self._client.close)
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise WorldError(f"{url} is no address of a server ({error}): give http://HOST:PORT") from None

    def get(self, path: str, *, once: bool = False) -> dict[str, Any]:
        """The JSON object at a path; with `once`, errors of the server are not waited out. Raises WorldError."""
        return self._ask("GET", path, None, once=once)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object answered to another. Raises WorldError."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, *, once: bool = False) -> dict[str, Any]:
        deadline = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while True:
            wanted = 0.0
            try:
                response = self._client.request(method, path, json=body)
            except httpx.TimeoutException as error:
                if not isinstance(error, httpx.ConnectTimeout):
                    raise WorldError(
                        f"{self.url} gave no answer within {self.timeout:g} s: see what it is busy with, or allow more "
                        "time"
                    ) from None
                failure = WorldError(f"cannot reach {self.url}: no connection within 10 s")
            except httpx.TransportError as error:
                failure = WorldError(f"cannot reach {self.url} ({error}): is it running? `cwm serve` starts a server")
            except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
                raise WorldError(f"{self.url} cannot be asked ({error}): give http://HOST:PORT") from None
            else:
                if response.status_code < 400:
                    return self._object(response)
                failure = self._refusal(response)
                if once or response.status_code not in _AGAIN:
                    raise failure
                wanted = _retry_after(response)
            pause = min(pause * 2, LONGEST_PAUSE)
            rest = max(wanted, pause * random.uniform(0.5, 1.0))
            if time.monotonic() + rest > deadline:
                raise failure
            time.sleep(rest)

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise WorldError(f"{response.url} gave no JSON object: is it an OpenAI-compatible server?")
        return value

    def _refusal(self, response: httpx.Response) -> Refused:
        message, code = response.text[:300] or response.reason_phrase, None
        try:
            value = response.json()
            error = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
            if isinstance(error, dict):
                message, code = str(error.get("message", error))[:300], error.get("code")
            else:
                message = str(error)[:300]
        except ValueError:
            pass
        hint = {
            401: ": give its key in CWM_API_KEY",
            403: ": give its key in CWM_API_KEY",
            404: ": is it an OpenAI-compatible server, and does it have this model?",
            429: ": it is busy; try again later",
        }.get(response.status_code, "")
        text = f"{self.url} answers {response.status_code}, {' '.join(message.split())}{hint}"
        return Refused(text, response.status_code, code if isinstance(code, str) else None)


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(60.0, max(0.0, float(response.headers.get("retry-after", 0))))
    except ValueError:
        return 0.0
