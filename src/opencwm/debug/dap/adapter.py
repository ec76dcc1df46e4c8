"""`Adapter`: one client's conversation in the Debug Adapter Protocol, from `initialize` to `disconnect`.

Notable choices:
- Requests are answered in order by one thread; movements run in another, so `pause`, `cancel` and `disconnect` are
  heard while a prediction takes long.
- A request that comes too early, is unknown or malformed gets an error response and changes nothing.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from typing import BinaryIO

from opencwm.debug.breakpoints import BreakpointError
from opencwm.debug.dap.base import Arguments, Body, RequestError
from opencwm.debug.dap.capabilities import CAPABILITIES
from opencwm.debug.dap.inspecting import Inspecting
from opencwm.debug.dap.stepping import Stepping
from opencwm.debug.dap.stops import Stops
from opencwm.debug.dap.wire import BadMessage, Message, Wire, WireError
from opencwm.debug.lookup import LookupFailed
from opencwm.debug.session import Session, SessionError
from opencwm.debug.timeline import TimelineError
from opencwm.programs.program import ProgramError
from opencwm.trace.recorder import RecordError
from opencwm.world.protocol import WorldError

Opener = Callable[[Arguments], Session]
"""Makes a session from the arguments of a `launch` request; raises any of `ERRORS`."""

ERRORS = (
    RequestError,
    SessionError,
    TimelineError,
    LookupFailed,
    BreakpointError,
    ProgramError,
    RecordError,
    WorldError,
)
FREE = frozenset(("initialize", "disconnect", "cancel", "terminate", "launch", "attach"))
SETTING = frozenset(
    ("setBreakpoints", "setFunctionBreakpoints", "setDataBreakpoints", "setExceptionBreakpoints", "breakpointLocations")
)
WHILE_MOVING = FREE | SETTING | frozenset(("pause", "threads", "configurationDone", "source", "loadedSources"))


class Adapter(Stops, Inspecting, Stepping):
    """Answers one client. `token`, if given, must be among the arguments of launch or attach."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO, opener: Opener, *, token: str | None = None) -> None:
        super().__init__()
        self.wire = Wire(incoming, outgoing)
        self.answered = threading.Event()
        self._opener, self._token = opener, token
        self._initialized = self._configured = False
        self._leaving = False

    def serve(self) -> None:
        """Answer until the client disconnects, leaves, or sends what is no message."""
        try:
            while not self._leaving:
                try:
                    message = self.wire.read()
                except BadMessage as error:
                    self.tell(f"ignored: {error}", "stderr")
                    continue
                if message is None:
                    return
                self.answer(message)
        except (WireError, OSError) as error:
            self.tell(f"the connection is closed: {error}", "stderr")
        finally:
            if self.opened is not None:
                self.opened.interrupt()

    def answer(self, message: Message) -> None:
        """Answer one message; what is no request is ignored."""
        command, seq = message.get("command"), message.get("seq")
        if message.get("type") != "request" or not isinstance(command, str) or not isinstance(seq, int):
            self.tell("ignored: a message that is no request", "stderr")
            return
        response: Message = {"type": "response", "request_seq": seq, "command": command, "success": True}
        self.answered.clear()
        try:
            body = self._handle(command, message.get("arguments"))
            if body is not None:
                response["body"] = body
        except ERRORS as error:
            response |= self._failed(str(error))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            response |= self._failed(f"malformed arguments: {type(error).__name__}: {error}")
        self.wire.write(response)
        self.answered.set()
        if response["success"] and command in ("launch", "attach"):
            self.event("initialized")

    def _failed(self, message: str) -> Message:
        error = {"id": 1, "format": message.replace("{", "{{").replace("}", "}}"), "showUser": True}
        return {"success": False, "message": message, "body": {"error": error}}

    def _handle(self, command: str, arguments: object) -> Body:
        handler: Callable[[Arguments], Body] | None = getattr(self, f"on_{command}", None)
        if handler is None:
            raise RequestError(f"{command!r} is not supported")
        if arguments is not None and not isinstance(arguments, dict):
            raise RequestError("arguments is an object")
        if not self._initialized and command not in ("initialize", "disconnect"):
            raise RequestError("send initialize first")
        if command not in FREE and self.opened is None:
            raise RequestError("nothing is being debugged yet: send launch first")
        if self.moving and command not in WHILE_MOVING:
            self.mover_done(0.2)
            if self.moving:
                raise RequestError("the run is moving: pause it first")
        return handler(arguments or {})

    def mover_done(self, seconds: float) -> None:
        """Wait a little for a movement that is about to end."""
        mover = self.mover
        if mover is not None:
            mover.join(seconds)

    def on_initialize(self, arguments: Arguments) -> Body:
        """What the client is and what we can do."""
        if self._initialized:
            raise RequestError("initialize was sent already")
        self.client = arguments
        self.lines_from_1 = bool(arguments.get("linesStartAt1", True))
        self.paths_are_uris = arguments.get("pathFormat") == "uri"
        self._initialized = True
        return dict(CAPABILITIES)

    def on_launch(self, arguments: Arguments) -> Body:
        """Open the program."""
        if self.opened is not None:
            raise RequestError("something is being debugged already")
        if self._token is not None and not hmac.compare_digest(str(arguments.get("token", "")), self._token):
            raise RequestError('the "token" is missing or wrong: give the one that cwm printed')
        self.launched = dict(arguments)
        self.opened = self._opener(arguments)
        below = arguments.get("stopBelow")
        if below is not None:
            self.opened.breakpoints.add("unsure", below=float(below))
        return None

    def on_attach(self, arguments: Arguments) -> Body:
        """The same as launch: there is no process to attach to."""
        return self.on_launch(arguments)

    def on_configurationDone(self, arguments: Arguments) -> Body:
        """All breakpoints are set: begin."""
        if self._configured:
            raise RequestError("configurationDone was sent already")
        self._configured = True
        self.begin()
        return None

    def on_terminate(self, arguments: Arguments) -> Body:
        """End the run."""
        if self.opened is not None:
            self.opened.interrupt()
        self.end()
        return None

    def on_disconnect(self, arguments: Arguments) -> Body:
        """Leave."""
        if self.opened is not None:
            self.opened.interrupt()
        self._leaving = True
        return None
