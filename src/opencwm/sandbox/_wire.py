"""Messages between the sandbox's own processes: JSON with a length before it, and file descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

_HEAD = struct.Struct("=I")
_MOST_DESCRIPTORS = 8


def send(connection: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """Send one message whole. Raises OSError."""
    data = json.dumps(message).encode()
    head = _HEAD.pack(len(data))
    if descriptors:
        socket.send_fds(connection, [head], descriptors)
        connection.sendall(data)
    else:
        connection.sendall(head + data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and what came with it; None once the other side has gone."""
    try:
        head, descriptors, _, _ = socket.recv_fds(connection, _HEAD.size, _MOST_DESCRIPTORS)
    except ConnectionResetError:
        return None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if len(head) < _HEAD.size:
        return None
    left, parts = _HEAD.unpack(head)[0], []
    while left:
        try:
            part = connection.recv(min(left, 1 << 20))
        except ConnectionResetError:
            return None
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), descriptors
