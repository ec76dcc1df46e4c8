"""`Session`: what the terminal, the editors, the page and the agents share: a program, its runs, its breakpoints.

Notable choices:
- Every run is a *lane*: a timeline with a title and, where it branches off another run, a parent and a fork. Predicted
  and real runs, and every future after a change, are lanes; the one being walked is `lane`.
- Reality may arrive later: the real run is recorded in the background and becomes a lane when it is there.
- Long predictions can be stopped from another thread (`interrupt`) and report how far they are (`on_growth`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from opencwm.codec.flow import ControlFlow
from opencwm.debug.breakpoints import Breakpoints, names_at
from opencwm.debug.lookup import LookupFailed, changed
from opencwm.debug.parting import Comparer, Parting
from opencwm.debug.sources import Continued, Reality, Sources
from opencwm.debug.timeline import Timeline
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Trace
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction, Run

Mode = Literal["predicted", "real", "both", "hybrid"]
MODES: tuple[Mode, ...] = ("predicted", "real", "both", "hybrid")
Kind = Literal["predicted", "real", "hybrid", "changed", "edited", "sampled"]


class SessionError(ValueError):
    """Something that a session cannot do; the message is one line and says what could be done."""


class Interrupted(Exception):
    """A wait for frames was stopped by `Session.interrupt`."""


@dataclass(slots=True, eq=False)
class Lane:
    """One run of a session. `fork` is the first frame that is not its parent's, `change` what was changed there."""

    number: int
    kind: Kind
    title: str
    program: Program
    timeline: Timeline
    parent: int | None = None
    fork: int = 0
    change: str = ""
    probability: float | None = None


class Session:
    """A program being debugged.

    `path` is its file, if it has one, `call` the entry call that was asked for. `given` is a run to walk instead of
    making one; `mode` then says whether it is real or predicted. Raises WorldError, RecordError and SessionError.
    """

    def __init__(
        self,
        program: Program,
        sources: Sources,
        mode: Mode,
        *,
        path: Path | None = None,
        call: str | None = None,
        given: Run | None = None,
    ) -> None:
        self.program, self.sources, self.mode = program, sources, mode
        self.path, self.call = path, call
        self.breakpoints = Breakpoints()
        self.lanes: list[Lane] = []
        self.current = 0
        self.reality: Reality | None = None
        self.on_growth: Callable[[int], None] | None = None
        self._interrupt = threading.Event()
        self._comparers: dict[tuple[int, int], Comparer] = {}
        self._text = _read(path)
        self._given = given
        self._open()

    def _open(self) -> None:
        if self._given is not None:
            self.add("real" if self.mode == "real" else "predicted", self.program, self._given)
        elif self.mode == "real":
            self.add("real", self.program, RecordedRun(self.record(self.program)))
        elif self.mode == "hybrid":
            from opencwm.debug.hybrid import HybridWorld

            self.add("hybrid", self.program, HybridWorld(self.sources.world).run(self.program))
        else:
            self.add("predicted", self.program, self.sources.world.run(self.program))
            if self.mode == "both":
                if self.sources.record is None:
                    raise SessionError("this session cannot run programs")
                self.reality = Reality(self.sources.record, self.program)

    def add(self, kind: Kind, program: Program, run: Run, **fields: object) -> Lane:
        """Another lane; a recorded or drawn run is known whole at once."""
        timeline = Timeline(run, self.breakpoints)
        timeline.before_growing = self._before_growing
        lane = Lane(len(self.lanes), kind, str(fields.pop("title", kind)), program, timeline, **fields)  # type: ignore[arg-type]
        self.lanes.append(lane)
        if kind in ("real", "sampled"):
            timeline.to_end()
            timeline.position, timeline.reason = 0, "entry"
        return lane

    # What there is

    @property
    def lane(self) -> Lane:
        """The lane being walked."""
        return self.lanes[self.current]

    @property
    def timeline(self) -> Timeline:
        """The timeline being walked."""
        return self.lane.timeline

    def names(self, index: int | None = None) -> dict[str, str]:
        """What expressions see at a frame of the lane being walked."""
        return names_at(self.timeline, self.timeline.position if index is None else index)

    def lane_of(self, kind: Kind) -> Lane | None:
        """The first lane of a kind, if there is one."""
        return next((lane for lane in self.lanes if lane.kind == kind), None)

    def poll(self) -> bool:
        """Whether the real run has arrived just now; it is then a lane."""
        if self.reality is None or self.reality.trace is None or self.lane_of("real") is not None:
            return False
        self.add("real", self.program, RecordedRun(self.reality.trace))
        return True

    def parting(self, lane: Lane | None = None) -> Parting | None:
        """Where a lane (the one being walked) and the real run part, as far as is known; None without a real run."""
        self.poll()
        lane, real = lane or self.lane, self.lane_of("real")
        if real is None or lane is real or lane.program != real.program or lane.kind in ("changed", "edited"):
            return None
        return self.compare(lane, real)

    def compare(self, lane: Lane, other: Lane) -> Parting | None:
        """Where two lanes part, the second counting as the real one."""
        comparer = self._comparers.setdefault((lane.number, other.number), Comparer(lane.timeline, other.timeline))
        return comparer.parting()

    def source_line(self, line: int) -> str:
        """The text of a line of the current lane's context; empty beyond the end."""
        lines = self.lane.program.context.split("\n")
        return lines[line - 1] if 0 < line <= len(lines) else ""

    def edited(self) -> bool:
        """Whether the program's file is no longer what was opened."""
        return self.path is not None and _read(self.path) != self._text

    def breakable(self) -> set[int]:
        """Lines at which control can be; all lines of code that does not compile."""
        flow = self._flow()
        if flow is None:
            return set(range(1, self.lane.program.context.count("\n") + 2))
        return {line for scope in flow.scopes for line in (scope.line, *scope.lines)}

    def functions(self) -> list[str]:
        """Qualified names of the functions of the source."""
        flow = self._flow()
        return [scope.name for scope in flow.scopes] if flow else []

    def _flow(self) -> ControlFlow | None:
        try:
            return ControlFlow(self.lane.program.context)
        except SyntaxError:
            return None

    # What can be done

    def record(self, program: Program) -> Trace:
        """Run a program for real. Raises RecordError, and SessionError if this session may not."""
        if self.sources.record is None:
            raise SessionError("this session cannot run programs")
        return self.sources.record(program)

    def walk(self, number: int) -> Lane:
        """Go on in another lane. Raises SessionError if there is none of that number."""
        self.poll()
        if not 0 <= number < len(self.lanes):
            raise SessionError(f"there is no lane {number}: there are 0 to {len(self.lanes) - 1}")
        self.current = number
        return self.lane

    def restart(self) -> None:
        """Begin anew, with the file as it now is; breakpoints stay. Raises ProgramError and stays if it is unusable."""
        if self._given is not None:
            raise SessionError("this run was given as it is: it cannot be made anew")
        program = Program.read(str(self.path), self.call) if self.path is not None else self.program
        before = self.program, self.lanes, self.current, self._comparers, self.reality
        self.program, self.lanes, self.current, self._comparers, self.reality = program, [], 0, {}, None
        try:
            self._open()
        except BaseException:
            self.program, self.lanes, self.current, self._comparers, self.reality = before
            raise
        self._text = _read(self.path)

    def change(self, target: str, expression: str, *, index: int | None = None) -> Lane:
        """The future in which a name has another value at a frame (the current one): a new lane, which is then walked.

        `target` is a name or an item of one (`rows[0]`); `expression` may use the frame's names. Raises SessionError
        and WorldError; nothing is changed then.
        """
        timeline = self.timeline
        at = timeline.position if index is None else index
        frame = timeline.prediction_at(at).frame
        try:
            name, text = changed(target, expression, names_at(timeline, at))
        except LookupFailed as error:
            raise SessionError(f"cannot change {target} to {expression!r}: {error}") from None
        if frame.value is not None:
            if name not in ("__return__", "__exception__"):
                raise SessionError(f"here {frame.function} is left: change __return__, or go back to a line")
            new = replace(frame, value=text)
        elif name not in frame.locals:
            raise SessionError(f"no name {name!r} here; there are: {', '.join(frame.locals) or 'none'}")
        else:
            new = replace(frame, locals={**frame.locals, name: text})
        frames = [prediction.frame for prediction in timeline.predictions[:at]] + [new]
        return self.branch("changed", self.lane.program, frames, f"{name} = {text}")

    def edit(self, line: int, text: str) -> Lane:
        """The future in which a line of the source reads otherwise, from the current frame on. Raises SessionError."""
        program = self.lane.program
        lines = program.source.split("\n")
        if not 0 < line <= len(lines):
            raise SessionError(f"line {line} is not in the source, which has {len(lines)} lines")
        old = lines[line - 1]
        if text[:1] not in (" ", "\t"):
            text = old[: len(old) - len(old.lstrip())] + text
        lines[line - 1] = text
        edited = replace(program, source="\n".join(lines))
        try:
            compile(edited.context, "<context>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise SessionError(f"the line cannot read {text.strip()!r}: {error}") from None
        if edited.context.count("\n") != program.context.count("\n"):
            raise SessionError("one line can be replaced by one line only")
        frames = [prediction.frame for prediction in self.timeline.predictions[: self.timeline.position + 1]]
        return self.branch("edited", edited, frames, f"line {line}: {text.strip()}")

    def branch(self, kind: Kind, program: Program, frames: list[Frame], change: str) -> Lane:
        """A lane that has `frames` behind it and predicts what follows; it is then walked. Raises WorldError."""
        parent = self.lane
        rest = self.sources.world.run(program, prefix=frames)
        given = [*parent.timeline.predictions[: len(frames) - 1], Prediction(frames[-1])]
        if kind != "changed":
            given[-1] = parent.timeline.predictions[len(frames) - 1]
        fork = len(frames) - (kind == "changed")
        lane = self.add(
            kind, program, Continued(given, rest), title=change, parent=parent.number, fork=fork, change=change
        )
        lane.timeline.go_to(len(frames) - 1)
        self.current = lane.number
        return lane

    # From other threads

    def interrupt(self) -> None:
        """Stop a movement that waits for frames: it raises Interrupted in its own thread, and its lane stays put."""
        self._interrupt.set()

    def calm(self) -> None:
        """Forget an interrupt that came when nothing was waiting any more."""
        self._interrupt.clear()

    def check_interrupt(self) -> None:
        """Raise Interrupted if another thread has asked for that."""
        if self._interrupt.is_set():
            self._interrupt.clear()
            raise Interrupted("stopped while waiting for frames")

    def _before_growing(self) -> None:
        self.check_interrupt()
        if self.on_growth is not None:
            self.on_growth(self.timeline.known)


def _read(path: Path | None) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig") if path is not None else None
    except (OSError, UnicodeDecodeError):
        return None
