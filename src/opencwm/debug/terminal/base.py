"""What every group of commands has: the session, the screen, and how arguments are read."""

from __future__ import annotations

import cmd
from collections.abc import Callable

from opencwm.debug.session import Session
from opencwm.debug.terminal.show import Screen
from opencwm.debug.timeline import Activation, Timeline


class Commands(cmd.Cmd):
    """A group of commands over a session. As in pdb, a command is a method `do_x` and its docstring is its help."""

    session: Session
    screen: Screen
    lowered: int
    """How many entries of the call stack are between the one looked at and the innermost."""

    @property
    def timeline(self) -> Timeline:
        """The timeline being walked."""
        return self.session.timeline

    @property
    def looked_at(self) -> Activation:
        """The entry of the call stack that `up` and `down` have selected."""
        stack = self.timeline.stack()
        self.lowered = min(self.lowered, len(stack) - 1)
        return stack[-1 - self.lowered]

    def say(self, message: str) -> None:
        """Print a line."""
        self.screen.say(message)

    def show(self) -> None:
        """Show where the walk stands."""
        self.screen.position()

    def number(self, argument: str, usage: str) -> int | None:
        """The argument as a number, or None after saying what is expected."""
        if argument.isdecimal() and len(argument) < 10:
            return int(argument)
        self.say(f"{usage}: a number is expected, not {argument!r}" if argument else f"{usage}: which?")
        return None

    def moved(self) -> None:
        """Show where a movement has led, and why it stopped there."""
        self.lowered = 0
        points = self.session.breakpoints
        for text in points.logged:
            self.say(f"log: {text}")
        points.logged.clear()
        if self.timeline.reason == "interrupt":
            for point in points.hit:
                self.say(f"stopped by {point.number}: {point}" + (f": {point.message}" if point.message else ""))
        self.show()
        self.displayed()

    def displayed(self) -> None:
        """Show the expressions that `display` keeps; the prompt overrides it."""

    def move(self, movement: Callable[[], bool], argument: str) -> None:
        """Make a movement `argument` times, then show where that led; breakpoints and the run's ends stop it early."""
        count = self.number(argument, "a count") if argument else 1
        before = self.timeline.position
        for _ in range(count or 0):
            if not movement() or self.timeline.reason == "interrupt":
                break
        if count and self.timeline.position == before:
            self.say(self.edge())
        elif count:
            self.moved()

    def edge(self) -> str:
        """Why a movement led nowhere."""
        if self.timeline.at_end and self.timeline.reason != "start":
            return f"the run ends here: {self.timeline.outcome}"
        return "the run starts here"
