"""The prompt of `cwm debug`: pdb's commands over a `Timeline`, forwards and backwards.

Notable choices: as in pdb, a command is a method `do_x` and its docstring is its help. Nothing of the program runs at
the prompt: `print` reads the frame's repr texts. Piped, it reads one command per line and prints only answers. What
comes from a program or a model is stripped of control characters before it reaches the terminal.
"""

from __future__ import annotations

import cmd
import math
import sys
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from opencwm.debug.lookup import LookupFailed, look_up
from opencwm.debug.timeline import Timeline, TimelineError
from opencwm.world.protocol import Prediction, Run, Runnable, WorldError

AROUND = 2
LONGEST = 200
SURE, UNSURE = 0.95, 0.8

SHORT = {
    "step": "s",
    "next": "n",
    "return": "r",
    "out": "o",
    "back": "ba",
    "backover": "bo",
    "continue": "c cont",
    "until": "unt",
    "goto": "g",
    "print": "p pp",
    "locals": "a args",
    "where": "w bt",
    "list": "l",
    "quit": "q exit EOF",
    "help": "h",
}
ABBREVIATIONS = {short: command for command, shorts in SHORT.items() for short in shorts.split()}


def run(run: Run, program: Runnable, *, title: str, input: TextIO | None = None, output: TextIO | None = None) -> int:
    """Let a person (or a pipe) walk the run; returns the exit code.

    `title` says what is being walked ("predicted by tiny", "what really happened"). 0 after `quit` or the end of the
    input, 1 if the run gave no frame at all.
    """
    return Prompt(Timeline(run), program, title=title, input=input, output=output).serve()


class Prompt(cmd.Cmd):
    """A prompt over one timeline."""

    doc_header = "Commands (help COMMAND explains one; Enter repeats the last):"

    def __init__(
        self, timeline: Timeline, program: Runnable, *, title: str, input: TextIO | None, output: TextIO | None
    ) -> None:
        super().__init__(stdin=input or sys.stdin, stdout=output or sys.stdout)
        self.timeline = timeline
        self.lines = program.context.rstrip("\n").split("\n")
        self.title = title
        self.console = Console(file=output or sys.stdout, highlight=False, markup=False, soft_wrap=True)
        interactive = input is None and sys.stdin.isatty()
        self.use_rawinput = interactive
        self.prompt = "(cwm) " if interactive else ""

    def serve(self) -> int:
        """Greet, show the first frame, and obey until `quit` or the end of the input."""
        self.say(self.title)
        if not self.attempt(self.show):
            return 1
        while True:
            try:
                self.cmdloop()
                return 0
            except KeyboardInterrupt:
                self.say("\ninterrupted; quit leaves")

    # Moving

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

    def do_back(self, argument: str) -> None:
        """ba(ck) [COUNT]: to the previous frame, into calls too."""
        self.move(self.timeline.back, argument)

    def do_backover(self, argument: str) -> None:
        """bo, backover [COUNT]: to the previous frame of this function or its caller; calls are stepped over."""
        self.move(self.timeline.back_over, argument)

    def do_backout(self, argument: str) -> None:
        """backout [COUNT]: back to where this function was called from."""
        self.move(self.timeline.back_out, argument)

    def do_continue(self, argument: str) -> None:
        """c(ontinue): to the last frame of the run."""
        self.move(self.timeline.to_end, argument)

    def do_until(self, argument: str) -> None:
        """unt(il) LINE: on to the next time that control is at this line."""
        line = self.number(argument, "until LINE")
        if line is None:
            return
        if not self.timeline.run_to_line(line):
            self.say(f"line {line} is not reached any more")
        self.show()

    def do_goto(self, argument: str) -> None:
        """g(oto) FRAME: to the frame with this number."""
        index = self.number(argument, "goto FRAME")
        if index is not None:
            self.timeline.go_to(index)
            self.show()

    def do_reset(self, argument: str) -> None:
        """reset: back to frame 0; what has been predicted is kept."""
        self.timeline.go_to(0)
        self.show()

    # Looking

    def do_print(self, argument: str) -> None:
        """p(rint) EXPRESSION: a name, or items and attributes of it: p x, p rows[i][-1], p point.x. Nothing is run."""
        if not argument:
            self.say("print what? p NAME, p NAME[0], p NAME.attribute; locals shows all names")
            return
        self.say(look_up(argument, self.names_here()))

    def do_locals(self, argument: str) -> None:
        """a, args, locals: all names of this function and their values; the changed ones are marked with *."""
        names = self.names_here()
        changed = self.timeline.changed_at()
        width = max(map(len, names), default=0)
        for name, text in names.items():
            self.say(f"{'*' if name in changed else ' '} {name:{width}} = {shorten(text)}")
        if not names:
            self.say("no names yet")

    def do_history(self, argument: str) -> None:
        """history NAME: the values that a name has in this call of the function, as far as the run is known."""
        found = self.timeline.history(argument)
        for index, text in found:
            mark = ">" if index == self.timeline.position else " "
            self.say(f"{mark} frame {index}: {'deleted' if text is None else shorten(text)}")
        if not found:
            self.say(f"{argument or 'history NAME'}: no such name in this function so far")

    def do_where(self, argument: str) -> None:
        """w(here): the call stack, innermost last."""
        stack = self.timeline.stack()
        for entry in stack:
            mark = ">" if entry is stack[-1] else " "
            self.say(f"{mark} {entry.function}, line {entry.line}: {self.source(entry.line).strip()}")

    def do_list(self, argument: str) -> None:
        """l(ist) [FIRST[, LAST]]: the source around the current line, or these lines; `list all` for the whole."""
        here = self.timeline.frame.line
        first, last = here - 5, here + 5
        if argument == "all":
            first, last = 1, len(self.lines)
        elif argument:
            try:
                first, *rest = (int(part) for part in argument.replace(",", " ").split())
            except ValueError:
                self.say("list FIRST, LAST takes two line numbers")
                return
            last = rest[0] if rest else first + 10
        self.window(first, last)

    def do_quit(self, argument: str) -> bool:
        """q(uit), exit: leave."""
        return True

    # Plumbing

    def parseline(self, line: str) -> tuple[str | None, str | None, str]:
        """Split a line into command and argument, with abbreviations spelled out."""
        command, argument, line = super().parseline(line)
        return ABBREVIATIONS.get(command, command) if command else command, argument, line

    def do_help(self, arg: str) -> None:
        """h(elp) [COMMAND]: all commands, or what one does."""
        super().do_help(ABBREVIATIONS.get(arg, arg))

    def onecmd(self, line: str) -> bool:
        """Obey one line; what goes wrong in it is said and leaves the session intact."""
        stop = False

        def obey() -> None:
            nonlocal stop
            stop = bool(super(Prompt, self).onecmd(line))

        self.attempt(obey)
        return stop

    def default(self, line: str) -> None:
        """Answer to a word that is no command."""
        self.say(f"no command {line.split()[0]!r}; help lists them")

    def completedefault(self, text: str, line: str, begidx: int, endidx: int) -> list[str]:
        """Names of the current frame that begin with `text`."""
        return [name for name in self.timeline.locals_at() if name.startswith(text)]

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do it; False, with a message, if that failed."""
        try:
            action()
        except (LookupFailed, TimelineError, WorldError) as error:
            self.say(str(error), "red")
        except KeyboardInterrupt:
            self.say(f"interrupted; still at frame {self.timeline.position}")
        else:
            return True
        return False

    def move(self, movement: Callable[[], bool], argument: str) -> None:
        """Make a movement `argument` times, then show where that led."""
        count = self.number(argument, "a count") if argument else 1
        before = self.timeline.position
        for _ in range(count or 0):
            if not movement():
                break
        if count and self.timeline.position == before:
            self.say(self.edge())
        elif count:
            self.show()

    def number(self, argument: str, usage: str) -> int | None:
        """The argument as a number, or None after saying what is expected."""
        if argument.isdecimal():
            return int(argument)
        self.say(f"{usage}: a number is expected, not {argument!r}" if argument else f"{usage}: which?")
        return None

    def edge(self) -> str:
        """Why a movement led nowhere."""
        timeline = self.timeline
        if timeline.position == timeline.known - 1 and timeline.outcome is not None:
            return f"the run ends here: {timeline.outcome}"
        return "the run starts here"

    def names_here(self) -> dict[str, str]:
        """The names that `print` knows: the locals, and what is being returned or raised."""
        frame = self.timeline.frame
        names = dict(self.timeline.locals_at())
        if frame.value is not None:
            names["__exception__" if frame.event == "exception" else "__return__"] = frame.value
        return names

    def show(self) -> None:
        """Where the walk stands: position, source window, what changed."""
        timeline = self.timeline
        prediction = timeline.prediction
        frame = prediction.frame
        head = Text(f"frame {timeline.position}", "bold")
        head.append(f"  {frame.event} {frame.function}, line {frame.line}", "not bold")
        if prediction.source == "model" and not math.isnan(prediction.probability):
            head.append(f"  p={prediction.probability:.2f}", confidence_style(prediction.probability))
        self.say(head)
        self.window(frame.line - AROUND, frame.line + AROUND)
        for name, text in timeline.changed_at().items():
            self.say(self.change(prediction, name, "deleted" if text is None else shorten(text)))
        if frame.value is not None:
            verb = {"return": "returns", "exception": "raises"}[frame.event]
            self.say(self.change(prediction, "", shorten(frame.value), f"  {verb} "))
        if timeline.position == timeline.known - 1 and timeline.outcome is not None:
            self.say(f"the run ends here: {timeline.outcome}")

    def window(self, first: int, last: int) -> None:
        """Source lines `first` to `last`, an arrow at the current one."""
        here = self.timeline.frame.line
        for number in range(max(1, first), min(last, len(self.lines)) + 1):
            mark, style = ("->", "bold") if number == here else ("  ", "dim")
            self.say(f"{mark} {number:4}  {self.source(number)}".rstrip(), style)

    def source(self, line: int) -> str:
        """The text of a source line; empty beyond the end."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""

    def change(self, prediction: Prediction, name: str, text: str, lead: str = "") -> Text:
        """A line that shows a new value, with its probability if a model gave it."""
        shown = Text(printable(lead or f"  {name} = "))
        shown.append(printable(text), "cyan")
        probability = prediction.values.get(name)
        if prediction.source == "model" and probability is not None and not math.isnan(probability):
            shown.append(f"  p={probability:.2f}", confidence_style(probability))
        return shown

    def say(self, message: str | Text, style: str = "") -> None:
        """Print a line."""
        self.console.print(message if isinstance(message, Text) else Text(printable(message)), style=style)


def printable(text: str) -> str:
    """The text with control characters shown as escapes, so that no program or model can steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, cut in the middle where it is long; `print` shows it whole."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} ...+{len(text) - 2 * half}... {text[-half:]}"


def confidence_style(probability: float) -> str:
    """Green where a model is sure, yellow where less so, red where it is not."""
    return "green" if probability >= SURE else "yellow" if probability >= UNSURE else "red"
