"""Commands for breakpoints: lines, functions, exceptions, changes of a name, unsureness; pdb's names where possible."""

from __future__ import annotations

from opencwm.debug.breakpoints import BreakpointError
from opencwm.debug.terminal.base import Commands


class Stopping(Commands):
    """Sets, lists and removes breakpoints."""

    def do_break(self, argument: str) -> None:
        """b(reak) [LINE|FUNCTION[, CONDITION]]: stop there, if the condition holds; without an argument, list all."""
        self._break(argument, temporary=False)

    def do_tbreak(self, argument: str) -> None:
        """tbreak LINE|FUNCTION[, CONDITION]: as break, for one stop only."""
        self._break(argument, temporary=True)

    def do_watch(self, argument: str) -> None:
        """watch NAME[, CONDITION]: stop when the name gets another value; watch FUNCTION:NAME in one function only."""
        what, condition = _split(argument)
        function, colon, name = what.rpartition(":")
        if not name.isidentifier():
            self.say("watch which name?")
            return
        self._added("data", name=name, function=function if colon else None, condition=condition)

    def do_catch(self, argument: str) -> None:
        """catch [uncaught]: stop where an exception is raised, or only where one ends the run."""
        if argument not in ("", "uncaught"):
            self.say("catch takes nothing, or uncaught")
            return
        self._added("exception", only=argument or None)

    def do_unsure(self, argument: str) -> None:
        """unsure P: stop at frames of which the model is less sure than P (0 to 1), as --stop-below does."""
        try:
            below = float(argument)
        except ValueError:
            below = -1.0
        if not 0 < below <= 1:
            self.say("unsure P takes a number above 0, up to 1")
            return
        self._added("unsure", below=below)

    def do_clear(self, argument: str) -> None:
        """cl(ear) [NUMBER ...]: remove these breakpoints, or all."""
        points = self.session.breakpoints
        for number in self._numbers(argument) if argument else list(points.all):
            self.say(f"removed breakpoint {number}: {points.remove(number)}")

    def do_disable(self, argument: str) -> None:
        """disable NUMBER ...: keep these breakpoints but do not stop at them."""
        for number in self._numbers(argument):
            self.session.breakpoints.get(number).enabled = False

    def do_enable(self, argument: str) -> None:
        """enable NUMBER ...: stop at these breakpoints again."""
        for number in self._numbers(argument):
            self.session.breakpoints.get(number).enabled = True

    def do_condition(self, argument: str) -> None:
        """condition NUMBER [CONDITION]: stop at this breakpoint only if the condition holds, or always."""
        number, _, condition = argument.partition(" ")
        for found in self._numbers(number):
            point = self.session.breakpoints.get(found)
            self.session.breakpoints.check(condition or None, None)
            point.condition = condition.strip() or None

    def do_ignore(self, argument: str) -> None:
        """ignore NUMBER COUNT: pass this breakpoint the first COUNT times that the run is there."""
        numbers = self._numbers(argument)
        if len(numbers) == 2:
            self.session.breakpoints.get(numbers[0]).hits = f">{numbers[1]}" if numbers[1] else None
        else:
            self.say("ignore NUMBER COUNT takes two numbers")

    def _break(self, argument: str, *, temporary: bool) -> None:
        what, condition = _split(argument)
        if not what:
            for point in self.session.breakpoints:
                self.say(f"{point.number}: {point}")
            if not self.session.breakpoints.all:
                self.say("no breakpoints; break LINE or break FUNCTION sets one")
        elif what.isdecimal():
            line = int(what)
            lines = self.session.breakable()
            self._added("line", line=line, condition=condition, temporary=temporary)
            if line not in lines:
                nearest = next((other for other in sorted(lines) if other > line), None)
                hint = f"; the next one that does is {nearest}" if nearest else ""
                self.say(f"but line {line} never runs{hint}")
        else:
            self._added("function", function=what, condition=condition, temporary=temporary)
            if what not in {name for full in self.session.functions() for name in (full, full.rpartition(".")[2])}:
                self.say(f"but the source has no function {what}")

    def _added(self, kind: str, **fields: object) -> None:
        point = self.session.breakpoints.add(kind, **fields)  # type: ignore[arg-type]
        self.say(f"breakpoint {point.number}: {point}")

    def _numbers(self, argument: str) -> list[int]:
        words = argument.replace(",", " ").split()
        if not words or not all(word.isdecimal() for word in words):
            raise BreakpointError("which breakpoint? break lists them with their numbers")
        return [int(word) for word in words]


def _split(argument: str) -> tuple[str, str | None]:
    what, comma, condition = argument.partition(",")
    return what.strip(), condition.strip() if comma and condition.strip() else None
