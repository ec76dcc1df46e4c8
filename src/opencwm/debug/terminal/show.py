"""What the prompt shows: where the walk stands, the source around it, what changed and how sure that is.

Notable choices: what comes from a program or a model is stripped of control characters before it reaches the terminal;
a value that is long is cut, `print` shows it whole. Nothing depends on colour alone.
"""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.text import Text

from opencwm.debug.confidence import colour
from opencwm.debug.parting import Parting
from opencwm.debug.session import Session
from opencwm.world.protocol import Prediction

AROUND = 2
LONGEST = 200
PRINTED = 100_000


class Screen:
    """Writes a session's state to a terminal, a pipe or a file."""

    def __init__(self, session: Session, output: TextIO) -> None:
        self.session = session
        self.console = Console(file=output, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, message: str | Text, style: str = "") -> None:
        """Print a line."""
        self.console.print(message if isinstance(message, Text) else Text(printable(message)), style=style)

    def position(self) -> None:
        """Where the walk stands: the frame, the source around it, what changed, and whether the run parts or ends."""
        session = self.session
        timeline = session.timeline
        prediction = timeline.prediction
        frame = prediction.frame
        head = Text(f"frame {timeline.position}", "bold")
        head.append(f"  {frame.event} {printable(frame.function)}, line {frame.line}", "not bold")
        rank, count = timeline.occurrence()
        if count > 1 and frame.event in ("call", "line"):
            head.append(f" (time {rank} of {count}{'' if timeline.outcome else ' so far'})", "not bold dim")
        self._how(head, prediction)
        self.say(head)
        self.window(frame.line - AROUND, frame.line + AROUND, frame.line)
        for name, text in timeline.changed_at().items():
            self.say(self.change(prediction, name, "deleted" if text is None else shorten(text)))
        if frame.value is not None:
            verb = {"return": "returns", "exception": "raises"}[frame.event]
            self.say(self.change(prediction, "", shorten(frame.value), f"  {verb} "))
        parting = session.parting()
        if parting is not None and timeline.position >= parting.index:
            if timeline.position == parting.index:
                self.parting(parting)
            else:
                self.say(f"  after the first difference, frame {parting.index}", "dim")
        if timeline.position == timeline.known - 1 and timeline.outcome is not None:
            self.say(f"the run ends here: {timeline.outcome}")

    def parting(self, parting: Parting) -> None:
        """What differs at the first difference, and the line that led to it."""
        self.say(f"<-- the runs part at frame {parting.index}", "bold red")
        for item in parting.differences:
            self.say(f"    {shorten(str(item), 2 * LONGEST)}", "red")
        self.say(f"    after line {parting.line}: {self.session.source_line(parting.line).strip()}")

    def window(self, first: int, last: int, here: int) -> None:
        """Source lines `first` to `last`, an arrow at line `here`, a B where a breakpoint is."""
        points = {point.line for point in self.session.breakpoints if point.kind == "line" and point.enabled}
        count = self.session.lane.program.context.rstrip("\n").count("\n") + 1
        for number in range(max(1, first), min(last, count) + 1):
            arrow = "->" if number == here else "  "
            point = "B" if number in points else " "
            text = f"{arrow}{point}{number:4}  {self.session.source_line(number)}".rstrip()
            self.say(text, "bold" if number == here else "dim")

    def change(self, prediction: Prediction, name: str, text: str, lead: str = "") -> Text:
        """A line that shows a new value, with its probability if a model gave it."""
        shown = Text(printable(lead or f"  {name} = "))
        shown.append(printable(text), "cyan")
        probability = prediction.values.get(name)
        if prediction.source == "model" and probability is not None:
            shown.append(f"  p={probability:.2f}", colour(probability))
        return shown

    def _how(self, head: Text, prediction: Prediction) -> None:
        if prediction.source == "model":
            head.append(f"  p={prediction.probability:.2f}", colour(prediction.probability))
            if prediction.branch < 0.995:
                head.append(f"  way p={prediction.branch:.2f}", colour(prediction.branch))
        elif self.session.lane.kind == "hybrid":
            head.append("  computed", "dim")
        elif self.session.lane.kind != "real":
            head.append("  given", "dim")


def printable(text: str) -> str:
    """The text with control characters shown as escapes, so that no program or model can steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, cut in the middle where it is long; `print` shows it whole."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} ...+{len(text) - 2 * half}... {text[-half:]}"
