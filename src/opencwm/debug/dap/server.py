"""The adapter over standard input and output, or over a loopback socket for any number of clients."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable

from opencwm.debug.dap.adapter import Adapter, Opener

HOST = "127.0.0.1"


class PortInUse(OSError):
    """Nothing can listen on the port that was asked for."""


def serve_stdio(opener: Opener) -> None:
    """Talk to one client over standard input and output; whatever else prints goes to standard error."""
    outgoing = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Adapter(sys.stdin.buffer, outgoing, opener).serve()


def serve_socket(opener: Opener, port: int, *, token: str | None = None, ready: Callable[[int, str], None]) -> None:
    """Talk to each client that connects, each with a session of its own, until interrupted.

    Port 0 takes any that is free. `ready` is given the port and the token that `launch` must have among its arguments.
    Raises PortInUse.
    """
    token = token or secrets.token_urlsafe(16)
    with listen(port) as listening:
        ready(listening.getsockname()[1], token)
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_converse, args=(client, opener, token), daemon=True).start()


def listen(port: int) -> socket.socket:
    """A listening loopback socket. Raises PortInUse."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise PortInUse(f"cannot listen on port {port}: {error.strerror}; give another --port, or 0 for any") from None
    return listening


def _converse(client: socket.socket, opener: Opener, token: str) -> None:
    with client, client.makefile("rb") as incoming, client.makefile("wb") as outgoing:
        Adapter(incoming, outgoing, opener, token=token).serve()
