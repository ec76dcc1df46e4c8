"""Commands over several runs: predicted beside real, and futures after a change."""

from __future__ import annotations

from opencwm.debug.futures import draw_futures
from opencwm.debug.loops import will_end
from opencwm.debug.parting import Parting
from opencwm.debug.session import Lane
from opencwm.debug.terminal.base import Commands
from opencwm.debug.terminal.show import shorten


class Lanes(Commands):
    """Walks, compares and makes runs."""

    def do_lanes(self, argument: str) -> None:
        """lanes: all runs of this session, predicted, real and changed; > marks the one being walked."""
        self.session.poll()
        for lane in self.session.lanes:
            self.say(f"{'>' if lane is self.session.lane else ' '} {describe(lane)}")
        reality = self.session.reality
        if reality is not None and self.session.lane_of("real") is None:
            self.say(f"  (no real run: {reality.error})" if reality.error else "  (the real run is not there yet)")

    def do_lane(self, argument: str) -> None:
        """lane NUMBER: go on in another run; lanes lists them."""
        number = self.number(argument, "lane NUMBER")
        if number is not None:
            self.session.walk(number)
            self.moved()

    def do_diff(self, argument: str) -> None:
        """diff [LANE]: where this run parts from the real one (or another lane), what differs, and after which line."""
        session = self.session
        if argument:
            number = self.number(argument, "diff LANE")
            if number is None:
                return
            other = session.lanes[number] if number < len(session.lanes) else None
            if other is None or other is session.lane:
                self.say("diff LANE takes the number of another lane; lanes lists them")
                return
            found = session.compare(session.lane, other)
        else:
            if session.reality is not None:
                session.reality.wait(30)
            if session.lane_of("real") is None and not session.poll():
                error = session.reality.error if session.reality else None
                self.say(error or "there is no real run here: start with --both, or name a lane: diff LANE")
                return
            found = session.parting()
        self._parting(found)

    def do_change(self, argument: str) -> None:
        """change NAME EXPRESSION: the future in which this name has another value here, as a new lane."""
        name, _, expression = argument.partition(" ")
        if not expression.strip():
            self.say("change NAME EXPRESSION: which name, to what?")
            return
        self._branched(self.session.change(name, expression.strip().removeprefix("= ")))

    def do_edit(self, argument: str) -> None:
        """edit LINE TEXT: the future in which this line of the source reads otherwise, as a new lane."""
        line, _, text = argument.partition(" ")
        if not line.isdecimal() or not text.strip():
            self.say("edit LINE TEXT: which line, and how does it read?")
            return
        self._branched(self.session.edit(int(line), text))

    def do_futures(self, argument: str) -> None:
        """futures [COUNT]: draw futures from here (8 without COUNT); each different one is a lane, with its share."""
        count = self.number(argument, "futures COUNT") if argument else 8
        if not count:
            return
        for lane in draw_futures(self.session, min(count, 100)):
            self.say(f"  {describe(lane)}")

    def do_ends(self, argument: str) -> None:
        """ends [FRAMES]: does the run end? Looks ahead, up to 1000 frames in all or as many as given."""
        limit = self.number(argument, "ends FRAMES") if argument else 1000
        if limit is None:
            return
        found = will_end(self.timeline, limit=limit)
        if found.ends:
            self.say(f"yes: {self.timeline.outcome} at frame {found.frame}")
        elif found.ends is None:
            self.say(f"not within {found.frame} frames" + (f": {end}" if (end := self.timeline.outcome) else ""))
        else:
            self.say(f"no: frame {found.frame} is in the same state as frame {found.since}, as far as it is shown")

    def do_inputs(self, argument: str) -> None:
        """inputs FUNCTION LINE, or inputs FUNCTION = VALUE: which arguments reach this line, or give this value?

        Candidates are run in the sandbox; only those that really do it are shown.
        """
        function, _, target = argument.partition(" ")
        target = target.strip()
        if not target.isdecimal() and not target.startswith("="):
            self.say("inputs FUNCTION LINE, or inputs FUNCTION = VALUE")
            return
        from opencwm.debug.inverse import inputs_reaching

        source, sources = self.session.lane.program.source, self.session.sources
        if target.isdecimal():
            found = inputs_reaching(source, function, line=int(target), sources=sources)
        else:
            found = inputs_reaching(source, function, value=target[1:].strip(), sources=sources)
        for one in found.verified:
            self.say(f"  {one.call}  gives {shorten(one.value or 'nothing')}, at frame {one.frame}")
        self.say(found.note)

    def _branched(self, lane: Lane) -> None:
        self.say(f"lane {describe(lane)}; `diff {lane.parent}` compares it with where it came from")
        self.moved()

    def _parting(self, parting: Parting | None) -> None:
        if parting is None:
            self.say("nothing differs as far as both are known; continue, then look again")
            return
        self.screen.parting(parting)
        self.say(f"`goto {parting.index}` goes there, `goto {parting.blamed}` to what led to it")


def describe(lane: Lane) -> str:
    """A lane in one line: number, title, frames, how it ends."""
    timeline = lane.timeline
    text = f"{lane.number}: {shorten(lane.title)}"
    if lane.parent is not None:
        text += f", from lane {lane.parent} at frame {lane.fork}"
    if lane.probability is not None:
        text += f", probability {lane.probability:.2f}"
    end = str(timeline.outcome) if timeline.outcome else "so far"
    if timeline.outcome and timeline.outcome.kind != "truncated" and timeline.predictions:
        value = timeline.predictions[-1].frame.value
        end += f" {shorten(value)}" if value is not None else ""
    return f"{text}: {timeline.known} frames, {end}"
