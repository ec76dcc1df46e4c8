"""A client of the Debug Adapter Protocol that checks every message against the protocol's own JSON schema.

The schema is the one that comes with an installed debugpy; without it the conversation is tested all the same.
"""

import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opencwm.debug.dap.adapter import Adapter
from opencwm.debug.session import Session
from opencwm.debug.sources import Sources
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import record
from opencwm.world.interpreter import InterpreterWorld

SCHEMA = Path("_vendored", "pydevd", "_pydevd_bundle", "_debug_adapter", "debugProtocol.json")


def _schema() -> dict[str, Any] | None:
    found = importlib.util.find_spec("debugpy")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).with_name(str(SCHEMA.parts[0])).joinpath(*SCHEMA.parts[1:])
    return json.loads(path.read_text()) if path.is_file() else None


PROTOCOL = _schema()


def check(message: dict[str, Any]) -> None:
    """Validate a message of ours against the definition that its kind and name select."""
    if PROTOCOL is None:
        return
    jsonschema = pytest.importorskip("jsonschema")
    names = PROTOCOL["definitions"]
    name = message["event"] + "Event" if message["type"] == "event" else message["command"] + "Response"
    name = name[0].upper() + name[1:]
    if message["type"] == "response" and not message["success"]:
        name = "ErrorResponse"
    assert name in names, f"the protocol has no {name}"
    jsonschema.Draft4Validator({"$ref": f"#/definitions/{name}", "definitions": names}).validate(message)


class Client:
    """Talks to an adapter in this process over a pair of pipes."""

    def __init__(self, opener: Callable[[dict[str, Any]], Session], token: str | None = None) -> None:
        theirs, ours = os.pipe(), os.pipe()
        self._out = os.fdopen(theirs[1], "wb")
        self._in = os.fdopen(ours[0], "rb")
        self.adapter = Adapter(os.fdopen(theirs[0], "rb"), os.fdopen(ours[1], "wb"), opener, token=token)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.seq = 0
        self.events: list[dict[str, Any]] = []
        self.responses: dict[int, dict[str, Any]] = {}

    def _serve(self) -> None:
        self.adapter.serve()
        self.adapter.wire._outgoing.close()

    def raw(self, data: bytes) -> None:
        self._out.write(data)
        self._out.flush()

    def send(self, command: str, **arguments: Any) -> int:
        self.seq += 1
        message = {"seq": self.seq, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.raw(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self.seq

    def read(self) -> dict[str, Any] | None:
        header = self._in.readline()
        if not header:
            return None
        self._in.readline()
        message: dict[str, Any] = json.loads(self._in.read(int(header.split(b":")[1])))
        check(message)
        if message["type"] == "event":
            self.events.append(message)
        else:
            self.responses[message["request_seq"]] = message
        return message

    def response(self, seq: int) -> dict[str, Any]:
        while seq not in self.responses:
            assert self.read() is not None, "the adapter left"
        return self.responses.pop(seq)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of a successful response."""
        response = self.response(self.send(command, **arguments))
        assert response["success"], response
        return response.get("body") or {}

    def refused(self, command: str, **arguments: Any) -> str:
        """The message of a failed response."""
        response = self.response(self.send(command, **arguments))
        assert not response["success"], response
        return str(response["message"])

    def event(self, name: str) -> dict[str, Any]:
        """The body of the next event of that name; earlier ones of other names are kept."""
        while True:
            for number, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(number).get("body") or {}
            assert self.read() is not None, f"the adapter left before a {name} event"

    def launch(self, breakpoints: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """From initialize to the first stop."""
        self.ask("initialize", adapterID="cwm", linesStartAt1=True, columnsStartAt1=True, **arguments.pop("client", {}))
        self.ask("launch", **arguments)
        self.event("initialized")
        if breakpoints is not None:
            self.ask("setBreakpoints", **breakpoints)
        self.ask("configurationDone")
        return self.event("stopped")

    def move(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.ask(command, threadId=arguments.pop("threadId", 1), **arguments)
        return self.event("stopped")

    def top(self, thread: int = 1) -> dict[str, Any]:
        return self.ask("stackTrace", threadId=thread)["stackFrames"][0]

    def variables(self, scope: str = "Locals", thread: int = 1) -> dict[str, dict[str, Any]]:
        scopes = self.ask("scopes", frameId=self.top(thread)["id"])["scopes"]
        reference = next(item["variablesReference"] for item in scopes if item["name"] == scope)
        return {item["name"]: item for item in self.ask("variables", variablesReference=reference)["variables"]}

    def close(self) -> None:
        self._out.close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        self.adapter.wire._incoming.close()
        self._in.close()


SOURCE = """def square(x):
    y = x * x
    return y

def f(n):
    total = 0
    for i in range(n):
        total += square(i)
    rows = [[1, 2], {'a': (3,)}]
    return total, rows
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "squares.py"
    path.write_text(SOURCE)
    return path


def open_program(arguments: dict[str, Any]) -> Session:
    program = Program.read(arguments["program"], arguments.get("call", "f(4)"))
    sources = Sources(InterpreterWorld, lambda it: record(it, limits=Limits(frames=200_000)))
    mode = arguments.get("mode", "real")
    return Session(program, sources, mode, path=Path(arguments["program"]), call=arguments.get("call", "f(4)"))


Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of an adapter whose sessions an opener makes (without one: of the file given, for real)."""
    made: list[Client] = []

    def connected(opener: Callable[[dict[str, Any]], Session] = open_program, token: str | None = None) -> Client:
        made.append(Client(opener, token))
        return made[-1]

    yield connected
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()
