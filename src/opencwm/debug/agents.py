"""An MCP server for coding agents: predict a run, step through it, see where it parts from what really happens.

Notable choices:
- An agent pays by the token: frames are told as what changed, long values are cut, and every tool bounds how much it
  says. What to do next is part of each answer.
- Sessions live between calls, under a number; the oldest of more than `SESSIONS` is forgotten.
- Mistakes are tool errors with the remedy in one line; the server goes on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import opencwm
from opencwm.debug.breakpoints import BreakpointError
from opencwm.debug.inverse import inputs_reaching
from opencwm.debug.lookup import LookupFailed
from opencwm.debug.session import Lane, Session, SessionError
from opencwm.debug.sources import Sources
from opencwm.debug.timeline import Timeline, TimelineError
from opencwm.programs.program import Program, ProgramError
from opencwm.trace.recorder import RecordError
from opencwm.world.compare import compare
from opencwm.world.protocol import WorldError

SESSIONS = 16
LONGEST = 300
MOST_FRAMES = 200
WAIT_SECONDS = 60.0
ABOUT = """Step through Python code without running it (a model predicts each frame) or with running it (recorded), both
forwards and backwards. predict_run opens a session and gives its first frames; step walks it; why_diverged says where
and why a prediction parts from the real run; inputs_reaching finds arguments that reach a line or give a value, each
verified by running; compare_runs finds the first state in which two runs differ."""
Mode = Literal["predicted", "real", "both", "hybrid"]
Movement = Literal[
    "step", "next", "return", "out", "continue", "back", "back_over", "back_out", "reverse", "goto", "until", "before"
]
Answer = dict[str, Any]
T = TypeVar("T")
ERRORS = (
    SessionError,
    TimelineError,
    LookupFailed,
    BreakpointError,
    ProgramError,
    RecordError,
    WorldError,
)


class Agents:
    """The tools, over sessions whose runs come from `sources`."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._sessions: OrderedDict[int, Session] = OrderedDict()
        self._next = 1
        self._lock = threading.Lock()

    def server(self) -> MCPServer:
        """The server with its tools."""
        server = MCPServer("cwm", instructions=ABOUT, version=opencwm.__version__, log_level="ERROR")
        for tool in (self.predict_run, self.step, self.why_diverged, self.inputs_reaching, self.compare_runs):
            server.add_tool(tool)
        return server

    def predict_run(self, source: str, call: str, mode: Mode = "predicted", max_frames: int = 40) -> Answer:
        """Open a session over `call` (such as "f([3, 1], 2)") of the Python text `source` and tell its first frames.

        mode: "predicted" runs nothing; "real" runs it; "both" predicts with the real run beside it; "hybrid" computes
        what is certain and predicts the rest (the most reliable without running). Each frame tells event, line, code,
        what changed, and how sure the model is (0 to 1). The state in a frame is before its line runs.
        """
        with self._lock:
            session = self._said(lambda: Session(Program.parse(source, call), self.sources, mode))
            number, self._next = self._next, self._next + 1
            self._sessions[number] = session
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
            return {"session": number} | self._said(lambda: self._run(session, max_frames))

    def step(
        self,
        session: int,
        movement: Movement = "step",
        count: int = 1,
        line: int | None = None,
        frame: int | None = None,
        condition: str | None = None,
        change: dict[str, str] | None = None,
    ) -> Answer:
        """Walk a session and tell the frame it arrives at: its source line, call stack and all locals.

        "step" goes into calls, "next" over them, "out" and "return" to the caller or the return; "back", "back_over",
        "back_out" are the same backwards. "continue" and "reverse" go on to `line` (if `condition`, such as
        "len(xs) > 3", holds there) or the end. "until" and "before" go to the next and the previous time at `line`,
        "goto" to `frame`. `change` gives names other values here first, as {"x": "[1, 2]"}: the walk goes on in that
        future.
        """
        with self._lock:
            walked = self._session(session)
            return self._said(lambda: self._step(walked, movement, count, line, frame, condition, change or {}))

    def why_diverged(self, source: str, call: str) -> Answer:
        """Predict a run and run it: the first frame where they differ, the values, the line to blame, the way there.

        Where they differ the code does something else than it seems to at first reading, or the model is weak there:
        its confidence tells which.
        """
        with self._lock:
            return self._said(lambda: self._why(source, call))

    def inputs_reaching(
        self, source: str, function: str, line: int | None = None, value: str | None = None, tries: int = 200
    ) -> Answer:
        """Arguments with which `function` of `source` reaches `line`, or returns `value` (or raises it).

        Candidates are made up from types, literals and uses, and drawn from the model; each is verified by running it
        in a sandbox, and only verified ones are told. None found does not prove that there are none.
        """
        with self._lock:
            most = max(1, min(tries, 1000))
            found = self._said(
                lambda: inputs_reaching(source, function, line=line, value=value, tries=most, sources=self.sources)
            )
            told = [{"call": one.call, "gives": cut(one.value), "at_frame": one.frame} for one in found.verified]
            return {"verified": told, "tried": found.tried, "note": found.note}

    def compare_runs(
        self, source: str, call: str, other_source: str | None = None, other_call: str | None = None
    ) -> Answer:
        """Run two versions of a program, or one with two calls, and tell the first state in which they differ."""
        with self._lock:
            return self._said(lambda: self._compare(source, call, other_source or source, other_call or call))

    # How

    def _session(self, number: int) -> Session:
        if number not in self._sessions:
            have = ", ".join(map(str, self._sessions)) or "none"
            raise ToolError(f"no session {number}; open are: {have}. predict_run opens one")
        self._sessions.move_to_end(number)
        return self._sessions[number]

    def _said(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except ERRORS as error:
            raise ToolError(str(error)) from None

    def _run(self, session: Session, max_frames: int) -> Answer:
        timeline = session.timeline
        most = max(1, min(max_frames, MOST_FRAMES))
        timeline.grow(most - 1)
        shown = min(most, timeline.known)
        answer: Answer = {"frames": [frame_row(session.lane, number) for number in range(shown)]}
        if timeline.outcome is not None and timeline.known == shown:
            answer["outcome"] = str(timeline.outcome)
            answer["result"] = cut(timeline.predictions[-1].frame.value) if timeline.predictions else None
        else:
            answer["more"] = "the run goes on: walk it with step, or ask for more frames"
        if session.reality is not None:
            session.reality.wait(WAIT_SECONDS)
            answer["real"] = self._real(session)
        return answer

    def _real(self, session: Session) -> Answer:
        session.poll()
        lane = session.lane_of("real")
        if lane is None:
            return {"problem": session.reality.error if session.reality and session.reality.error else "not there yet"}
        frames = lane.timeline.predictions
        return {
            "outcome": str(lane.timeline.outcome),
            "result": cut(frames[-1].frame.value),
            "parting": parting(session),
        }

    def _step(
        self,
        session: Session,
        movement: str,
        count: int,
        line: int | None,
        frame: int | None,
        condition: str | None,
        change: dict[str, str],
    ) -> Answer:
        for name, expression in change.items():
            session.change(name, expression)
        timeline = session.timeline
        session.breakpoints.all.clear()
        if movement in ("until", "before") and line is None:
            raise SessionError(f"{movement} needs a line")
        if movement == "goto":
            if frame is None:
                raise SessionError("goto needs a frame")
            timeline.go_to(frame)
        else:
            if movement in ("continue", "reverse") and line is not None:
                session.breakpoints.add("line", line=line, condition=condition)
            moves = MOVES[movement]
            for _ in range(max(1, min(count, 1000))):
                if not moves(timeline, line or 0):
                    break
        session.breakpoints.all.clear()
        return frame_view(session)

    def _why(self, source: str, call: str) -> Answer:
        session = Session(Program.parse(source, call), self.sources, "both")
        assert session.reality is not None
        trace = session.reality.wait(WAIT_SECONDS)
        if trace is None:
            return {"problem": session.reality.error or "the real run did not end in time"}
        session.poll()
        found = session.parting()
        while found is None and session.timeline.grow(session.timeline.known):
            found = session.parting()
        found = found or session.parting()
        if found is None:
            return {"parting": None, "note": f"all {session.timeline.known} predicted frames are what really happens"}
        real = session.lanes[1]
        last = range(max(0, found.index - 5), min(found.index + 1, session.timeline.known))
        return {
            "parting": parting(session),
            "predicted": [frame_row(session.lane, number) for number in last],
            "real": [frame_row(real, number) for number in last if number < real.timeline.known],
        }

    def _compare(self, source: str, call: str, other_source: str, other_call: str) -> Answer:
        programs = [Program.parse(source, call), Program.parse(other_source, other_call)]
        session = Session(programs[0], self.sources, "real")
        other = Session(programs[1], self.sources, "real")
        traces = [session.record(program) for program in programs]
        found = compare(traces[1], traces[0]).divergence
        results = {"first": ended(session.timeline), "second": ended(other.timeline)}
        if found is None:
            return results | {"difference": None, "note": "no frame differs"}
        rows = [
            frame_row(walked.lane, found.index) if found.index < walked.timeline.known else None
            for walked in (session, other)
        ]
        texts = [cut(str(item).replace("predicted", "first").replace("really", "second")) for item in found.differences]
        return results | {"difference": texts, "frame": found.index, "first_frame": rows[0], "second_frame": rows[1]}


MOVES: dict[str, Callable[[Timeline, int], bool]] = {
    "step": lambda timeline, line: timeline.step(),
    "next": lambda timeline, line: timeline.next(),
    "return": lambda timeline, line: timeline.to_return(),
    "out": lambda timeline, line: timeline.out(),
    "continue": lambda timeline, line: timeline.proceed(),
    "back": lambda timeline, line: timeline.back(),
    "back_over": lambda timeline, line: timeline.back_over(),
    "back_out": lambda timeline, line: timeline.back_out(),
    "reverse": lambda timeline, line: timeline.reverse(),
    "until": lambda timeline, line: timeline.run_to_line(line),
    "before": lambda timeline, line: timeline.back_to_line(line),
}


def frame_row(lane: Lane, number: int) -> Answer:
    """A frame in few words: what changed, not the whole state."""
    timeline = lane.timeline
    prediction = timeline.prediction_at(number)
    frame = prediction.frame
    lines = lane.program.context.split("\n")
    code = lines[frame.line - 1].strip() if 0 < frame.line <= len(lines) else ""
    row: Answer = {"frame": number, "event": frame.event, "line": frame.line, "code": cut(code)}
    changed = {name: cut(text) for name, text in timeline.changed_at(number).items()}
    if changed:
        row["changed"] = changed
    if frame.value is not None:
        row["returns" if frame.event == "return" else "raises"] = cut(frame.value)
    if prediction.source == "model":
        row["sure"] = round(prediction.probability, 3)
    elif lane.kind == "hybrid":
        row["computed"] = True
    return row


def frame_view(session: Session) -> Answer:
    """Where a session stands: the frame, the whole state, the call stack, and why it stopped."""
    timeline = session.timeline
    number = timeline.position
    view = frame_row(session.lane, number) | {"locals": {n: cut(t) for n, t in timeline.locals_at().items()}}
    view["stack"] = [f"{entry.function}, line {entry.line}" for entry in timeline.stack()]
    view["stopped"] = timeline.reason
    if session.lane.parent is not None:
        view["future"] = session.lane.title
    if timeline.at_end:
        view["outcome"] = str(timeline.outcome)
    found = parting(session)
    if found is not None:
        view["parting"] = found
    return view


def parting(session: Session) -> Answer | None:
    """Where the predicted and the real run part, as far as is known."""
    found = session.parting()
    if found is None:
        return None
    return {
        "frame": found.index,
        "differences": [cut(str(item)) for item in found.differences],
        "after_line": found.line,
        "code": cut(session.source_line(found.line).strip()),
    }


def cut(text: str | None) -> str | None:
    """A text of at most `LONGEST` characters, the middle left out, that UTF-8 can hold."""
    if text is None:
        return None
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} ...+{len(text) - 2 * half}... {text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def ended(timeline: Timeline) -> Answer:
    """How a run that is known whole ended."""
    result = timeline.predictions[-1].frame.value if timeline.predictions else None
    return {"outcome": str(timeline.outcome), "result": cut(result), "frames": timeline.known}
