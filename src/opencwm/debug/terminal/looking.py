"""Commands that look: values, their history, the source, the call stack."""

from __future__ import annotations

from opencwm.debug.breakpoints import names_at
from opencwm.debug.confidence import colour
from opencwm.debug.lookup import LookupFailed, look_up
from opencwm.debug.terminal.base import Commands
from opencwm.debug.terminal.show import PRINTED, Screen, shorten
from opencwm.debug.values import children, kind_of


class Looking(Commands):
    """Looks at what is known at a frame; nothing of the program runs."""

    displays: list[str]

    def do_print(self, argument: str) -> None:
        """p(rint) EXPRESSION: names, items, attributes, operations on builtin values: p rows[i][-1], p len(x) > 2."""
        if not argument:
            self.say("print what? p NAME, p NAME[0], p NAME.attribute; locals shows all names")
            return
        self.say(shorten(look_up(argument, self.names_here()), PRINTED))

    def do_pp(self, argument: str) -> None:
        """pp EXPRESSION: as print, one item per line."""
        text = look_up(argument, self.names_here())
        found = children(text, limit=1000)
        for label, item in found:
            self.say(f"  {label}: {shorten(item)}")
        if not found:
            self.say(shorten(text, PRINTED))

    def do_whatis(self, argument: str) -> None:
        """whatis EXPRESSION: the type of a value, as far as its text tells."""
        self.say(kind_of(look_up(argument, self.names_here())))

    def do_locals(self, argument: str) -> None:
        """locals: all names of this function and their values; the changed ones are marked with *."""
        index = self.looked_at.index
        names = self.names_here()
        changed = self.timeline.changed_at(index)
        width = max(map(len, names), default=0)
        for name, text in names.items():
            self.say(f"{'*' if name in changed else ' '} {name:{width}} = {shorten(text)}")
        if not names:
            self.say("no names yet")

    def do_args(self, argument: str) -> None:
        """a(rgs): the names of this function and their values, its arguments among them."""
        self.do_locals(argument)

    def do_retval(self, argument: str) -> None:
        """retval, rv: what this function returns or raises, if this frame is where it is left."""
        value = self.timeline.frame.value
        self.say("nothing is returned here; return goes there" if value is None else shorten(value, PRINTED))

    def do_history(self, argument: str) -> None:
        """history NAME: the values that a name has in this call of the function, as far as the run is known."""
        found = self.timeline.history(argument, self.looked_at.index)
        here = max((index for index, _ in found if index <= self.timeline.position), default=-1)
        for index, text in found:
            mark = ">" if index == here else " "
            self.say(f"{mark} frame {index}: {'deleted' if text is None else shorten(text)}")
        if not found:
            self.say(f"{argument or 'history NAME'}: no such name in this function so far")

    def do_where(self, argument: str) -> None:
        """w(here), bt: the call stack, innermost last; > marks the entry that up and down have selected."""
        selected = self.looked_at
        for entry in self.timeline.stack():
            mark = ">" if entry.index == selected.index else " "
            self.say(f"{mark} {entry.function}, line {entry.line}: {self.session.source_line(entry.line).strip()}")

    def do_up(self, argument: str) -> None:
        """u(p) [COUNT]: look at the caller; print, locals and list then tell of it."""
        count = self.number(argument, "up COUNT") if argument else 1
        if count is not None:
            self.lowered = min(self.lowered + count, len(self.timeline.stack()) - 1)
            self._selected()

    def do_down(self, argument: str) -> None:
        """d(own) [COUNT]: back from up."""
        count = self.number(argument, "down COUNT") if argument else 1
        if count is not None:
            self.lowered = max(0, self.lowered - count)
            self._selected()

    def do_list(self, argument: str) -> None:
        """l(ist) [FIRST[, LAST]]: the source around the current line, or these lines; `list all` for the whole."""
        here = self.looked_at.line
        first, last = here - 5, here + 5
        if argument == "all":
            first, last = 1, len(self.session.lane.program.context.split("\n"))
        elif argument and argument != ".":
            try:
                first, *rest = (int(part) for part in argument.replace(",", " ").split())
            except ValueError:
                self.say("list FIRST, LAST takes two line numbers")
                return
            last = rest[0] if rest else first + 10
        self.screen.window(first, last, here)

    def do_longlist(self, argument: str) -> None:
        """ll, longlist: the whole source."""
        self.do_list("all")

    def do_display(self, argument: str) -> None:
        """display [EXPRESSION]: show this after every movement; without it, show all of them now."""
        if argument and argument not in self.displays:
            self.displays.append(argument)
        self.displayed()

    def do_undisplay(self, argument: str) -> None:
        """undisplay [EXPRESSION]: no longer show this, or any."""
        self.displays[:] = [text for text in self.displays if argument and text != argument]

    def do_confidence(self, argument: str) -> None:
        """conf(idence): how sure the model was of this frame, of where control goes, and of each value."""
        prediction = self.timeline.prediction
        if prediction.source != "model":
            self.say("this frame is no guess: it was " + ("computed" if self.session.mode == "hybrid" else "given"))
            return
        parts = {"frame": prediction.probability, "way": prediction.branch}
        parts |= {name or "value": probability for name, probability in prediction.values.items()}
        width = max(map(len, parts))
        for name, probability in parts.items():
            bar = "#" * round(20 * probability)
            self.screen.say(f"  {name:{width}}  {probability:.3f}  {bar}", colour(probability))

    def displayed(self) -> None:
        """Show the expressions that `display` keeps."""
        for expression in self.displays:
            try:
                text = shorten(look_up(expression, self.names_here()))
            except LookupFailed as error:
                text = f"({error})"
            self.say(f"  {expression}: {text}")

    def names_here(self) -> dict[str, str]:
        """The names that `print` knows: the locals of the selected entry, and what is being returned or raised."""
        return names_at(self.timeline, self.looked_at.index)

    def _selected(self) -> None:
        entry = self.looked_at
        self.say(f"> {entry.function}, line {entry.line}")
        screen: Screen = self.screen
        screen.window(entry.line - 2, entry.line + 2, entry.line)
