"""What the adapter's groups of requests share: the session, its threads, handles, events, and how requests fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from opencwm.debug.dap.wire import Wire
from opencwm.debug.session import Lane, Session

WALKED, REAL = 1, 2
"""Thread ids: the run being walked, and the real run beside it."""

CONTEXT = 1
"""The source reference of the whole context, with the entry that has no line in the file."""

Arguments = dict[str, Any]
Body = dict[str, Any] | None


class RequestError(ValueError):
    """A request that cannot be answered; the message is shown to the user."""


@dataclass(frozen=True, slots=True)
class Handle:
    """What a variables reference stands for: names of a frame ("locals", "value", "confidence") or parts of a text."""

    kind: str
    thread: int
    index: int
    text: str = ""
    path: str = ""


class Requests:
    """State and helpers of all groups of requests. A request `x` is answered by a method `on_x(arguments)`."""

    wire: Wire
    opened: Session | None
    lines_from_1: bool
    paths_are_uris: bool
    client: Arguments

    def __init__(self) -> None:
        self.opened = None
        self.lines_from_1 = True
        self.paths_are_uris = False
        self.client = {}
        self.handles: list[Handle] = []
        self.frames: list[tuple[int, int]] = []

    @property
    def session(self) -> Session:
        """The session. Raises RequestError before launch."""
        if self.opened is None:
            raise RequestError("nothing is being debugged yet: send launch first")
        return self.opened

    def event(self, name: str, **body: Any) -> None:
        """Send an event."""
        self.wire.write({"type": "event", "event": name, "body": body})

    def tell(self, text: str, category: str = "console") -> None:
        """Show a line in the client's console."""
        self.event("output", category=category, output=text + "\n")

    def lane(self, thread: object) -> Lane:
        """The lane of a thread id. Raises RequestError."""
        real = self.session.lane_of("real")
        if thread == WALKED:
            return self.session.lane
        if thread == REAL and real is not None and real is not self.session.lane:
            return real
        raise RequestError(f"no thread {thread!r}")

    def threads(self) -> list[int]:
        """The ids of all threads."""
        real = self.session.lane_of("real")
        return [WALKED, REAL] if real is not None and real is not self.session.lane else [WALKED]

    def handle(self, handle: Handle) -> int:
        """A variables reference for a handle, valid until the next movement."""
        self.handles.append(handle)
        return len(self.handles)

    def handle_of(self, reference: object) -> Handle:
        """Raises RequestError for a reference that is not valid any more."""
        if isinstance(reference, int) and 0 < reference <= len(self.handles):
            return self.handles[reference - 1]
        raise RequestError(f"the variables reference {reference!r} is not valid (any more)")

    def place_of(self, frame: object) -> tuple[int, int]:
        """Thread and frame number of a stack frame's id. Raises RequestError."""
        if isinstance(frame, int) and 0 < frame <= len(self.frames):
            return self.frames[frame - 1]
        raise RequestError(f"the frame {frame!r} is not valid (any more)")

    def forget(self) -> None:
        """Invalidate all references, as a movement does."""
        self.handles, self.frames = [], []

    # Sources and lines, as the client counts and names them

    def line_out(self, line: int) -> int:
        """A line number as the client counts."""
        return line if self.lines_from_1 else line - 1

    def line_in(self, line: object) -> int:
        """A line number of the client's as ours. Raises RequestError."""
        if not isinstance(line, int) or isinstance(line, bool):
            raise RequestError(f"a line number is expected, not {line!r}")
        return line if self.lines_from_1 else line + 1

    def source(self, line: int, lane: Lane) -> dict[str, Any]:
        """The source that has a line of the context: the file, or the context where the file has no such line."""
        path = self.session.path
        if path is not None and lane.kind != "edited" and line <= lane.program.source.rstrip().count("\n") + 1:
            return {"name": path.name, "path": self._path_out(path)}
        return {"name": f"{path.name if path else 'the program'} and its entry", "sourceReference": CONTEXT}

    def is_ours(self, source: object) -> bool:
        """Whether a source that the client names is the program's."""
        if not isinstance(source, dict):
            return False
        if source.get("sourceReference"):
            return bool(source["sourceReference"] == CONTEXT)
        given = source.get("path")
        if not isinstance(given, str) or self.session.path is None:
            return False
        path = unquote(urlparse(given).path) if given.startswith("file:") else given
        try:
            return Path(path).resolve() == self.session.path.resolve()
        except (OSError, ValueError):
            return False

    def _path_out(self, path: Path) -> str:
        return path.resolve().as_uri() if self.paths_are_uris else str(path.resolve())
