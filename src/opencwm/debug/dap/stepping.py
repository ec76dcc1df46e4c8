"""Requests that move, each of them backwards too. A movement runs in a thread of its own, so that it can be stopped.

Notable choice: where a run ends the walk stops at its last frame, so that one can go back from there; the next movement
forwards ends the session. `"stopAtEnd": false` ends it at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from opencwm.debug.dap.base import REAL, WALKED, Arguments, Body, RequestError, Requests
from opencwm.debug.session import Interrupted, SessionError
from opencwm.debug.timeline import Timeline, TimelineError
from opencwm.trace.recorder import RecordError
from opencwm.world.protocol import WorldError

PROGRESS_AFTER, PROGRESS_EVERY = 0.5, 0.25
REASONS = {"line": "breakpoint", "function": "function breakpoint", "data": "data breakpoint", "exception": "exception"}


class Stepping(Requests):
    """Movements over the lane of a thread."""

    launched: Arguments
    answered: threading.Event
    """Set when the response to the latest request has been sent: events about it come after it."""

    def __init__(self) -> None:
        super().__init__()
        self.mover: threading.Thread | None = None
        self.launched = {}
        self.terminated = False
        self._pausing = False
        self._progress: str | None = None
        self._progresses = 0
        self._started = self._told = 0.0
        self._told_edited = False

    @property
    def moving(self) -> bool:
        """Whether a movement is under way."""
        return self.mover is not None and self.mover.is_alive()

    def on_next(self, arguments: Arguments) -> Body:
        """Step over."""
        return self._move(arguments, Timeline.next)

    def on_stepIn(self, arguments: Arguments) -> Body:
        """Step to the next frame, into calls too."""
        return self._move(arguments, Timeline.step)

    def on_stepOut(self, arguments: Arguments) -> Body:
        """Step out of the function."""
        return self._move(arguments, Timeline.out)

    def on_continue(self, arguments: Arguments) -> Body:
        """On to a breakpoint or the end."""
        self._move(arguments, Timeline.proceed)
        return {"allThreadsContinued": True}

    def on_stepBack(self, arguments: Arguments) -> Body:
        """Step over, backwards."""
        return self._move(arguments, Timeline.back_over, backwards=True)

    def on_reverseContinue(self, arguments: Arguments) -> Body:
        """Back to a breakpoint or the start."""
        return self._move(arguments, Timeline.reverse, backwards=True)

    def on_gotoTargets(self, arguments: Arguments) -> Body:
        """The times at which control is at a line, as far as the run is known."""
        if not self.is_ours(arguments.get("source")):
            return {"targets": []}
        line = self.line_in(arguments.get("line"))
        numbers = self.session.timeline.index.at_line.get(line, [])
        return {
            "targets": [
                {"id": number, "label": f"line {line}, time {rank} (frame {number})", "line": self.line_out(line)}
                for rank, number in enumerate(numbers, 1)
            ]
        }

    def on_goto(self, arguments: Arguments) -> Body:
        """To a frame that gotoTargets has named."""
        target = arguments.get("targetId")
        if not isinstance(target, int):
            raise RequestError(f"no target {target!r}")

        def go(timeline: Timeline) -> bool:
            timeline.go_to(target)
            return True

        return self._move(arguments, go, backwards=True)

    def on_pause(self, arguments: Arguments) -> Body:
        """Stop a movement that waits for frames."""
        if self.moving:
            self._pausing = True
            self.session.interrupt()
        return None

    def on_cancel(self, arguments: Arguments) -> Body:
        """Give up a movement; the walk stays where it was."""
        if self.moving and (arguments.get("progressId") in (None, self._progress)):
            self.session.interrupt()
        return None

    def on_restart(self, arguments: Arguments) -> Body:
        """Read the file again and begin anew."""
        self._not_moving()
        self.session.restart()
        self.terminated = False
        self._told_edited = False
        self.forget()
        self.begin()
        return None

    def begin(self) -> None:
        """The first movement of a session, or none."""
        if self.launched.get("noDebug"):
            self.launched["stopAtEnd"] = False
            self.session.breakpoints.all.clear()
            self.start_moving(WALKED, Timeline.proceed)
        elif self.launched.get("stopOnEntry", True):
            self.start_moving(WALKED, lambda timeline: timeline.prediction is not None)
        else:
            self.start_moving(WALKED, self._from_entry)

    def _from_entry(self, timeline: Timeline) -> bool:
        points = self.session.breakpoints
        timeline.grow(0)
        if any(0 in numbers[:1] for numbers in points.lists(timeline)) and points.stops(timeline, 0):
            timeline.reason = "interrupt"
            return True
        return timeline.proceed()

    def _move(self, arguments: Arguments, movement: Callable[[Timeline], bool], *, backwards: bool = False) -> Body:
        self._not_moving()
        if self.terminated:
            raise RequestError("the session has ended: restart it")
        thread = arguments.get("threadId", WALKED)
        lane = self.lane(thread)
        if not backwards and lane.timeline.at_end and lane.timeline.position > 0:
            self.end()
            return None
        self.start_moving(thread, movement)
        return None

    def _not_moving(self) -> None:
        if self.moving:
            raise RequestError("the run is moving: pause it first")

    def start_moving(self, thread: int, movement: Callable[[Timeline], bool]) -> None:
        """Move in the background; a `stopped` event tells where that led."""
        self.forget()
        self.session.calm()
        self._pausing = False
        self.mover = threading.Thread(target=self._run, args=(thread, movement), daemon=True)
        self.mover.start()

    def _run(self, thread: int, movement: Callable[[Timeline], bool]) -> None:
        self.answered.wait(5)
        session = self.session
        timeline = self.lane(thread).timeline
        self._started = self._told = time.monotonic()
        session.on_growth = self._tell_progress
        problem = ""
        try:
            movement(timeline)
        except Interrupted:
            if self._pausing:
                timeline.position = max(0, timeline.known - 1)
            problem = "paused" if self._pausing else "cancelled"
        except (WorldError, TimelineError, SessionError, RecordError) as error:
            problem = str(error)
            self.tell(problem, "stderr")
        finally:
            session.on_growth = None
            self._end_progress()
        for text in session.breakpoints.logged:
            self.tell(text)
        session.breakpoints.logged.clear()
        self.mover = None
        if not timeline.predictions:
            self.tell("the run has no frames", "stderr")
            self.end()
        elif not problem and timeline.reason == "end" and not self.launched.get("stopAtEnd", True):
            self.end()
        else:
            self._stopped(thread, timeline, problem)

    def _stopped(self, thread: int, timeline: Timeline, problem: str) -> None:
        body: dict[str, object] = {"threadId": thread, "allThreadsStopped": True, "reason": "step"}
        hit = self.session.breakpoints.hit
        if problem:
            body |= {"reason": "pause", "description": problem, "text": problem}
        elif timeline.reason == "interrupt" and hit:
            body["reason"] = REASONS.get(hit[0].kind, "breakpoint")
            body["hitBreakpointIds"] = [point.number for point in hit]
            body["description"] = "; ".join(f"{point}{': ' if point.message else ''}{point.message}" for point in hit)
            if hit[0].kind == "exception":
                body["text"] = (timeline.frame.value or "")[:1000]
        elif timeline.reason in ("entry", "goto"):
            body["reason"] = timeline.reason
        elif timeline.reason in ("end", "start"):
            end = f"the run ends here: {timeline.outcome}" if timeline.reason == "end" else "the run starts here"
            body |= {"reason": "pause", "description": end, "text": end}
        self._side_by_side(thread, timeline)
        self.event("stopped", **body)

    def _side_by_side(self, thread: int, timeline: Timeline) -> None:
        """Let the real run stand at the same frame, and tell once where the two part."""
        session = self.session
        if session.poll() and REAL in self.threads():
            self.event("thread", reason="started", threadId=REAL)
        if thread == WALKED and REAL in self.threads():
            real = self.lane(REAL).timeline
            real.position = min(timeline.position, max(0, real.known - 1))
            parting = session.parting()
            if parting is not None and parting.index == timeline.position:
                line = session.source_line(parting.line).strip()
                self.tell(f"here the runs part: {parting}; after line {parting.line}: {line}", "important")
        if not self._told_edited and session.edited():
            self._told_edited = True
            self.tell("the file has been edited since it was read: restart takes it as it now is", "important")

    def end(self) -> None:
        """Tell the client that the run is over."""
        if not self.terminated:
            self.terminated = True
            self.event("exited", exitCode=0)
            self.event("terminated")

    def _tell_progress(self, known: int) -> None:
        now = time.monotonic()
        if not self.client.get("supportsProgressReporting") or now - self._started < PROGRESS_AFTER:
            return
        if self._progress is None:
            self._progresses += 1
            self._progress = f"growing-{self._progresses}"
            self.event("progressStart", progressId=self._progress, title="Predicting", cancellable=True)
        elif now - self._told >= PROGRESS_EVERY:
            self._told = now
            self.event("progressUpdate", progressId=self._progress, message=f"frame {known}")

    def _end_progress(self) -> None:
        if self._progress is not None:
            self.event("progressEnd", progressId=self._progress)
            self._progress = None
