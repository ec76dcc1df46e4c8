"""A container engine's HTTP API (Docker's, which podman speaks too) over its unix socket: as much of it as we need."""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
from typing import Any
from urllib.parse import quote

from opencwm.sandbox.protocol import InfraError

_TIMEOUT_SECONDS = 30.0
_FRAME = struct.Struct(">BxxxI")
_STREAMS = {1: "stdout", 2: "stderr"}


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_SECONDS)
        self.sock.connect(self._path)


_has_python: dict[str, dict[str, bool]] = {}


class Refused(InfraError):
    """The engine answered with an error: `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """An engine behind a unix socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.has_python = _has_python.setdefault(path, {})
        """By image: whether it has a Python that our wardens run on, as far as that is known."""

    def request(self, method: str, where: str, body: object = None, **query: str) -> Any:
        """One request; the answer's JSON, or None if it is empty. Raises InfraError, Refused if the engine said no."""
        words = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        connection = _Connection(self.path)
        try:
            data = None if body is None else json.dumps(body).encode()
            headers = {} if data is None else {"Content-Type": "application/json"}
            connection.request(method, f"{where}?{words}" if words else where, data, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise InfraError(f"the container engine at {self.path} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise Refused(response.status, _message(content) or f"the container engine said {response.status}")
        if not content or not response.headers.get("Content-Type", "").startswith("application/json"):
            return None
        return json.loads(content)

    def attach(self, where: str, body: object) -> tuple[socket.socket, bytes]:
        """A request that turns the connection into a raw stream; the socket, and what has come of the stream already.

        Raises InfraError.
        """
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(self.path)
            data = json.dumps(body).encode()
            head = (
                f"POST {where} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
            connection.sendall(head.encode() + data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = connection.recv(4096)
                if not part:
                    raise InfraError(f"the container engine at {self.path} closed the connection")
                answer += part
            head_bytes, _, rest = answer.partition(b"\r\n\r\n")
            status = int(head_bytes.split(None, 2)[1])
            if status not in (101, 200):
                raise Refused(status, _message(rest) or f"the container engine said {status}")
            connection.settimeout(None)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise InfraError(f"the container engine at {self.path} does not answer: {error}") from error
            raise
        return connection, rest

    def describe(self) -> str:
        """The engine's name and version. Raises InfraError."""
        version = self.request("GET", "/version") or {}
        parts = [part.get("Name", "") for part in version.get("Components") or [{}]]
        return f"{parts[0] or 'engine'} {version.get('Version', '')}, API {version.get('ApiVersion', '')}, {self.path}"


class Frames:
    """The multiplexed stream: pieces of standard output and error, each with a header of eight bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The whole pieces that have come. Raises InfraError if this is no such stream."""
        self._data += data
        pieces = []
        while len(self._data) >= _FRAME.size:
            kind, size = _FRAME.unpack_from(self._data)
            if kind not in (0, 1, 2):
                raise InfraError("the container engine sent something else than a multiplexed stream")
            if len(self._data) < _FRAME.size + size:
                break
            pieces.append((_STREAMS.get(kind, "stdout"), bytes(self._data[_FRAME.size : _FRAME.size + size])))
            del self._data[: _FRAME.size + size]
        return pieces


def sockets() -> list[str]:
    """Where an engine may listen, the user's own choice first."""
    host = os.environ.get("DOCKER_HOST", "")
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    known = [
        "/var/run/docker.sock",
        f"{runtime}/docker.sock",
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    return [host.removeprefix("unix://")] if host.startswith("unix://") else known


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace").strip()
