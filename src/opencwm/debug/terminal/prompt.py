"""The prompt of `cwm debug`: pdb's commands over a session, forwards and backwards.

Notable choices: as in pdb, a command is a method `do_x` and its docstring is its help. Nothing of the program runs at
the prompt. Piped, it reads one command per line and prints only answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from opencwm.debug.breakpoints import BreakpointError
from opencwm.debug.lookup import LookupFailed
from opencwm.debug.session import Interrupted, Session, SessionError
from opencwm.debug.terminal.lanes import Lanes
from opencwm.debug.terminal.looking import Looking
from opencwm.debug.terminal.moving import Moving
from opencwm.debug.terminal.show import Screen
from opencwm.debug.terminal.stopping import Stopping
from opencwm.debug.timeline import TimelineError
from opencwm.programs.program import ProgramError
from opencwm.trace.recorder import RecordError
from opencwm.world.protocol import WorldError

SHORT = {
    "step": "s",
    "next": "n",
    "return": "r",
    "out": "o",
    "back": "ba",
    "backover": "bo",
    "continue": "c cont",
    "rcontinue": "rc",
    "until": "unt",
    "goto": "g",
    "jump": "j",
    "print": "p",
    "args": "a",
    "where": "w bt",
    "up": "u",
    "down": "d",
    "list": "l",
    "longlist": "ll",
    "break": "b",
    "clear": "cl",
    "retval": "rv",
    "restart": "run",
    "confidence": "conf",
    "quit": "q exit EOF",
    "help": "h",
}
ABBREVIATIONS = {short: command for command, shorts in SHORT.items() for short in shorts.split()}
TAKE_NAMES = ("print", "pp", "whatis", "history", "watch", "display", "change")
ERRORS = (
    LookupFailed,
    TimelineError,
    WorldError,
    SessionError,
    BreakpointError,
    ProgramError,
    RecordError,
    Interrupted,
)


def serve(session: Session, *, title: str, input: TextIO | None = None, output: TextIO | None = None) -> int:
    """Let a person (or a pipe) walk the session's runs; returns the exit code.

    `title` says what is being walked. 0 after `quit` or the end of the input, 1 if the run gave no frame at all.
    """
    return Prompt(session, title=title, input=input, output=output).serve()


class Prompt(Moving, Looking, Stopping, Lanes):
    """A prompt over one session."""

    doc_header = "Commands (help COMMAND explains one; Enter repeats the last):"

    def __init__(self, session: Session, *, title: str, input: TextIO | None, output: TextIO | None) -> None:
        super().__init__(stdin=input or sys.stdin, stdout=output or sys.stdout)
        self.session = session
        self.screen = Screen(session, output or sys.stdout)
        self.title = title
        self.lowered = 0
        self.displays: list[str] = []
        self._told_edited = False
        interactive = input is None and sys.stdin.isatty()
        self.use_rawinput = interactive
        self.prompt = "(cwm) " if interactive else ""

    def serve(self) -> int:
        """Greet, show the first frame, and obey until `quit` or the end of the input."""
        self.say(self.title)
        if not self.attempt(self.show):
            return 1
        with _History(self.use_rawinput):
            while True:
                try:
                    self.cmdloop()
                    return 0
                except KeyboardInterrupt:
                    self.say("\ninterrupted; quit leaves")

    def do_quit(self, argument: str) -> bool:
        """q(uit), exit: leave."""
        return True

    def do_help(self, arg: str) -> None:
        """h(elp) [COMMAND]: all commands, or what one does."""
        super().do_help(ABBREVIATIONS.get(arg, arg))

    def parseline(self, line: str) -> tuple[str | None, str | None, str]:
        """Split a line into command and argument, with abbreviations spelled out."""
        command, argument, line = super().parseline(line)
        return ABBREVIATIONS.get(command, command) if command else command, argument, line

    def onecmd(self, line: str) -> bool:
        """Obey one line; what goes wrong in it is said and leaves the session intact."""
        stop = False

        def obey() -> None:
            nonlocal stop
            stop = bool(super(Prompt, self).onecmd(line))

        self.attempt(obey)
        return stop

    def postcmd(self, stop: bool, line: str) -> bool:
        """Say once that the file has been edited, and when the real run has arrived."""
        if not self._told_edited and self.session.edited():
            self._told_edited = True
            self.say("the file has been edited since it was read: restart takes it as it now is")
        if self.session.poll():
            self.say("the real run has arrived: diff shows where it parts from this one")
        return stop

    def default(self, line: str) -> None:
        """Answer to a word that is no command."""
        self.say(f"no command {line.split()[0]!r}; help lists them")

    def completenames(self, text: str, *ignored: object) -> list[str]:
        """Commands that begin with `text`, and the names of the frame after a `p` and its like."""
        return [name for name in super().completenames(text, *ignored) if name != "EOF"]

    def completedefault(self, text: str, line: str, begidx: int, endidx: int) -> list[str]:
        """Names of the current frame that begin with `text`, and functions for `break`."""
        command = ABBREVIATIONS.get(line.split()[0], line.split()[0])
        names = self.names_here() if command in TAKE_NAMES else self.session.functions()
        return [name for name in names if name.startswith(text)]

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do it; False, with a message, if that failed."""
        try:
            action()
        except ERRORS as error:
            self.screen.say(str(error), "red")
        except KeyboardInterrupt:
            self.say(f"interrupted; still at frame {self.timeline.position}")
        else:
            return True
        return False


class _History:
    """Keeps the lines that a person types, from session to session."""

    def __init__(self, interactive: bool) -> None:
        self.path = Path.home() / ".cwm_history" if interactive else None

    def __enter__(self) -> None:
        if self.path is not None:
            with suppress(ImportError, OSError):
                import readline

                readline.read_history_file(self.path)

    def __exit__(self, *error: object) -> None:
        if self.path is not None:
            with suppress(ImportError, OSError):
                import readline

                readline.set_history_length(1000)
                readline.write_history_file(self.path)
