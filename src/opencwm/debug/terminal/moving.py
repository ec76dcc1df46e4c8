"""Commands that move: pdb's, each of them backwards too, and jumps."""

from __future__ import annotations

from opencwm.debug.terminal.base import Commands


class Moving(Commands):
    """Steps, runs and jumps."""

    def do_step(self, argument: str) -> None:
        """s(tep) [COUNT]: to the next frame, into calls too."""
        self.move(self.timeline.step, argument)

    def do_next(self, argument: str) -> None:
        """n(ext) [COUNT]: to the next frame of this function or its caller; calls are stepped over."""
        self.move(self.timeline.next, argument)

    def do_return(self, argument: str) -> None:
        """r(eturn): to where this function returns or is left by an exception."""
        self.move(self.timeline.to_return, argument)

    def do_out(self, argument: str) -> None:
        """o(ut) [COUNT]: out of this function, to what its caller does next."""
        self.move(self.timeline.out, argument)

    def do_continue(self, argument: str) -> None:
        """c(ontinue): on to a breakpoint, or to the last frame of the run."""
        self.move(self.timeline.proceed, argument)

    def do_until(self, argument: str) -> None:
        """unt(il) [LINE]: on to the next time that control is at this line; without it, to a line further down."""
        if not argument:
            self.move(self._further_down, "")
            return
        line = self.number(argument, "until LINE")
        if line is None:
            return
        if not self.timeline.run_to_line(line):
            self.say(f"line {line} is not reached any more")
        self.moved()

    def do_skip(self, argument: str) -> None:
        """skip: on to the first line after the innermost loop around this line; if it never ends, to the last frame."""
        from opencwm.debug.loops import loop_around

        frame = self.timeline.frame
        loop = loop_around(self.session.lane.program.context, frame.line)
        if loop is None:
            self.say("this line is in no loop")
            return
        while self.timeline.next() and self.timeline.reason != "interrupt":
            now = self.timeline.frame
            if now.depth < frame.depth or not loop.first <= now.line <= loop.last or now.event == "return":
                break
        self.moved()

    def do_back(self, argument: str) -> None:
        """ba(ck) [COUNT]: to the previous frame, into calls too."""
        self.move(self.timeline.back, argument)

    def do_backover(self, argument: str) -> None:
        """bo, backover [COUNT]: to the previous frame of this function or its caller; calls are stepped over."""
        self.move(self.timeline.back_over, argument)

    def do_backout(self, argument: str) -> None:
        """backout [COUNT]: back to where this function was called from."""
        self.move(self.timeline.back_out, argument)

    def do_entry(self, argument: str) -> None:
        """entry: back to where this function was entered or resumed: return, backwards."""
        self.move(self.timeline.back_to_call, argument)

    def do_rcontinue(self, argument: str) -> None:
        """rc(ontinue): back to a breakpoint, or to the first frame of the run."""
        self.move(self.timeline.reverse, argument)

    def do_before(self, argument: str) -> None:
        """before LINE: back to the previous time that control was at this line."""
        line = self.number(argument, "before LINE")
        if line is None:
            return
        if not self.timeline.back_to_line(line):
            self.say(f"line {line} was not reached before")
        self.moved()

    def do_goto(self, argument: str) -> None:
        """g(oto) FRAME, or goto LINE:COUNT: to the frame with this number, or to the COUNT-th time at a line."""
        line, colon, count = argument.partition(":")
        index = self.number(line.strip(), "goto FRAME")
        if index is None:
            return
        if colon:
            times = self.number(count.strip(), "goto LINE:COUNT")
            if times is None:
                return
            self.timeline.go_to_occurrence(index, times)
        else:
            self.timeline.go_to(index)
        self.moved()

    def do_jump(self, argument: str) -> None:
        """j(ump) FRAME: the same as goto. Moves in the run and changes nothing (see change and edit for that)."""
        self.do_goto(argument)

    def do_reset(self, argument: str) -> None:
        """reset: back to frame 0; what has been predicted is kept."""
        self.timeline.go_to(0)
        self.moved()

    def do_restart(self, argument: str) -> None:
        """run, restart: read the file again and begin anew; breakpoints stay."""
        self.session.restart()
        self.moved()

    def _further_down(self) -> bool:
        frame = self.timeline.frame
        while self.timeline.next():
            now = self.timeline.frame
            if self.timeline.reason == "interrupt" or now.depth < frame.depth or now.line > frame.line:
                return True
        return False
