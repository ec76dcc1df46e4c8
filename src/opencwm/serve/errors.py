"""`RequestError`: what is wrong with one request, as the caller is told it (OpenAI's error object)."""

from __future__ import annotations


class RequestError(Exception):
    """A request that cannot be answered: HTTP `status`, the field at fault (`param`), a fixed word (`code`)."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None, retry: int = 0
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.retry = message, status, param, code, retry

    def body(self) -> dict[str, object]:
        """The error object; its type follows from the status."""
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """`Retry-After`, where trying again makes sense."""
        return {"retry-after": str(self.retry)} if self.retry else {}
