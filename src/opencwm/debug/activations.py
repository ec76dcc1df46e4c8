"""Which call of a function each frame of a run belongs to; frames carry only the function's name and the depth.

Notable choices:
- A `call` frame opens an activation, unless its function can be suspended and one that was suspended on that line
  waits: then that one goes on, perhaps at another depth.
- Nothing in an `exception` frame says whether the function is left. The frame after it does: it belongs further out,
  or is a call at the same depth.
- Frames that contradict each other (a run that starts in the middle, a confused prediction) open an activation of their
  own; nothing here fails.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from opencwm.codec.flow import ControlFlow
from opencwm.trace.frames import Frame


@dataclass(slots=True, eq=False)
class Visit:
    """An activation while frames arrive: the number of its latest frame, and of its caller's when it was entered.

    `frames`, `calls` and `returns` are the numbers of all its frames, of its `call` and of its `return` frames;
    `history` holds, for each name, the frames where its value changed and the new repr text (None where it is gone).
    """

    function: str
    depth: int
    last: int = -1
    caller: int = -1
    locals: dict[str, str] | None = None
    frames: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)
    history: dict[str, list[tuple[int, str | None]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame belongs: its activation, and the numbers of that one's and of its caller's latest frame, or -1."""

    activation: Visit
    previous: int
    caller: int


class Activations:
    """The places of frames that arrive one by one; `places[n]` is that of frame n."""

    def __init__(self, context: str) -> None:
        self.places: list[Place] = []
        self._stack: list[Visit] = []
        self._suspended: list[tuple[Visit, int]] = []
        self._suspendable: dict[tuple[str, int], bool] = {}
        self._entered: dict[tuple[str, int], frozenset[str]] = {}
        self._flow: ControlFlow | None = None
        with suppress(SyntaxError, ValueError, RecursionError):  # code that cannot be compiled can still be predicted
            self._flow = ControlFlow(context)

    def add(self, frame: Frame) -> Place:
        """Find the place of the next frame."""
        entering = frame.event == "call"
        while self._stack and self._stack[-1].depth > frame.depth - entering:
            self._stack.pop()
        top = self._stack[-1] if self._stack else None
        if entering or top is None or top.depth != frame.depth or top.function != frame.function:
            if top is not None and top.depth == frame.depth:
                self._stack.pop()
            visit = (self._resumed(frame) if entering else None) or Visit(frame.function, frame.depth)
            visit.depth, visit.caller = frame.depth, self._stack[-1].last if self._stack else -1
            self._stack.append(visit)
        else:
            visit = top
        place = Place(visit, visit.last, visit.caller)
        self.places.append(place)
        visit.last = len(self.places) - 1
        visit.frames.append(visit.last)
        if entering:
            visit.calls.append(visit.last)
        if frame.event in ("call", "line"):
            visit.locals = frame.locals
        elif frame.event == "return":
            visit.returns.append(visit.last)
            if self._can_suspend(frame):
                self._suspended.append((visit, frame.line))
        return place

    def _resumed(self, call: Frame) -> Visit | None:
        """The suspended activation that a `call` frame resumes, or None if it opens a new one."""
        where, names = (call.function, call.line), frozenset(call.locals)
        waiting = [entry for entry in self._suspended if entry[0].function == call.function and entry[1] == call.line]
        # On one line, as `(x for x in xs)`, being entered and being resumed differ in the names that are bound.
        if not waiting or self._entered.get(where) == names:
            self._entered.setdefault(where, names)
            return None
        alike = [entry for entry in waiting if entry[0].locals == call.locals]
        entry = (alike or waiting)[-1]
        self._suspended.remove(entry)
        return entry[0]

    def _can_suspend(self, frame: Frame) -> bool:
        where = (frame.function, frame.line)
        if where not in self._suspendable:
            scope = self._flow.scope(*where) if self._flow else None
            self._suspendable[where] = scope is not None and scope.is_generator
        return self._suspendable[where]
