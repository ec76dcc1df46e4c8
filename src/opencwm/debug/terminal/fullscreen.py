"""The full-screen view of `cwm debug --screen`: source, locals, call stack, lanes and the timeline, at a glance.

Notable choices: the keys are the page's. A movement that has to wait for a prediction runs in a thread, so Escape stops
it. What comes from programs and models is shown as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Footer, Input, Static

from opencwm.debug.confidence import colour, percent
from opencwm.debug.session import Session
from opencwm.debug.terminal.lanes import describe
from opencwm.debug.terminal.prompt import ERRORS
from opencwm.debug.terminal.show import printable, shorten
from opencwm.debug.timeline import Timeline

BLOCKS = " ▁▂▃▄▅▆▇█"
MOVES: dict[str, Callable[[Timeline], object]] = {
    "step": Timeline.step,
    "over": Timeline.next,
    "out": Timeline.out,
    "return": Timeline.to_return,
    "continue": Timeline.proceed,
    "back": Timeline.back,
    "back_over": Timeline.back_over,
    "back_out": Timeline.back_out,
    "reverse": Timeline.reverse,
    "first": lambda timeline: timeline.go_to(0),
    "last": lambda timeline: timeline.go_to(max(0, timeline.known - 1)),
}


def show(session: Session, title: str) -> None:
    """Show a session until the user leaves."""
    FullScreen(session, title).run()


class FullScreen(App[None]):
    """A session on the whole terminal."""

    CSS = """
    #left { width: 3fr; } #right { width: 2fr; }
    .panel { border: round $primary; padding: 0 1; }
    #source-panel { height: 1fr; } #locals-panel { height: 2fr; } #stack-panel, #lanes-panel { height: 1fr; }
    #timeline { height: 5; } #status { height: 1; padding: 0 1; } #change { display: none; height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "move('step')", "step"),
        Binding("n", "move('over')", "over"),
        Binding("o", "move('out')", "out"),
        Binding("r", "move('return')", "return", show=False),
        Binding("c", "move('continue')", "continue"),
        Binding("S", "move('back')", "back"),
        Binding("N", "move('back_over')", "back over", show=False),
        Binding("O", "move('back_out')", "back out", show=False),
        Binding("C", "move('reverse')", "reverse"),
        Binding("home", "move('first')", "first", show=False),
        Binding("end", "move('last')", "last", show=False),
        Binding("b", "point", "breakpoint"),
        Binding("d", "difference", "difference"),
        Binding("l", "lane", "next run"),
        Binding("e", "change", "change"),
        Binding("escape", "stop", "stop", show=False),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, session: Session, title: str) -> None:
        super().__init__()
        self.session = session
        self.title = title
        self.moving = False
        self._sums: WeakKeyDictionary[Timeline, tuple[dict[int, tuple[float, int]], int]] = WeakKeyDictionary()
        self._shown: dict[str, Text] = {}
        self._drawn: WeakKeyDictionary[Timeline, tuple[int, int, Text]] = WeakKeyDictionary()

    def compose(self) -> ComposeResult:
        """The panels."""
        with Horizontal():
            with Vertical(id="left"), VerticalScroll(id="source-panel", classes="panel"):
                yield Static(id="source")
            with Vertical(id="right"):
                for name in ("locals", "stack", "lanes"):
                    with VerticalScroll(id=f"{name}-panel", classes="panel"):
                        yield Static(id=name)
        yield Static(id="timeline", classes="panel")
        yield Input(id="change", placeholder="NAME = EXPRESSION: the future in which this name has that value")
        yield Static(id="status")
        yield Footer()

    def on_mount(self) -> None:
        """Name the panels and show the first frame."""
        for name in ("source", "locals", "stack"):
            self.query_one(f"#{name}-panel").border_title = name
        self.query_one("#lanes-panel").border_title = "runs and futures"
        self.query_one("#timeline").border_title = printable(self.title)
        self.set_focus(None)
        self.action_move("first")

    # What the keys do

    def action_move(self, name: str) -> None:
        """Move, in a thread."""
        if self.moving:
            return
        self.moving = True
        self.session.calm()
        self.say("...")
        self.run_worker(lambda: self._go(lambda: MOVES[name](self.session.timeline)), thread=True)

    def action_stop(self) -> None:
        """Stop waiting for a prediction, or leave the field."""
        field = self.query_one("#change", Input)
        if field.display:
            field.display = False
            self.set_focus(None)
        elif self.moving:
            self.session.interrupt()

    def action_point(self) -> None:
        """Set or remove a breakpoint on the current line."""
        points = self.session.breakpoints
        line = self.session.timeline.frame.line
        found = [point.number for point in points if point.kind == "line" and point.line == line]
        for number in found:
            points.remove(number)
        if not found:
            points.add("line", line=line)
        self.draw()

    def action_difference(self) -> None:
        """To the first difference from the real run."""
        parting = self.session.parting()
        if parting is None:
            self.say("no difference is known")
        else:
            self.session.timeline.go_to(parting.index)
            self.draw()

    def action_lane(self) -> None:
        """To the next run or future, at the same frame if it has it."""
        session = self.session
        at = session.timeline.position
        lane = session.walk((session.current + 1) % len(session.lanes))
        if lane.timeline.known:
            lane.timeline.go_to(min(at, lane.timeline.known - 1))
        self.draw()

    def action_change(self) -> None:
        """Ask for a change."""
        field = self.query_one("#change", Input)
        field.display = True
        field.value = ""
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the future that was asked for, in a thread."""
        name, _, expression = event.value.partition("=")
        event.input.display = False
        self.set_focus(None)
        if not self.moving and expression.strip():
            self.moving = True
            self.run_worker(
                lambda: self._go(lambda: self.session.change(name.strip(), expression.strip())), thread=True
            )

    def _go(self, action: Callable[[], object]) -> None:
        problem = ""
        try:
            action()
        except ERRORS as error:
            problem = str(error)
        self.call_from_thread(self._arrived, problem)

    def _arrived(self, problem: str) -> None:
        self.moving = False
        self.draw()
        if problem:
            self.say(problem)

    # What is shown

    def say(self, text: str) -> None:
        """A line at the bottom."""
        self._put("status", Text(printable(text)))

    def draw(self) -> None:
        """Everything anew."""
        session = self.session
        session.poll()
        if not session.timeline.known:
            self.say(f"the run has no frames: {session.timeline.outcome}")
            return
        self._put("source", self._source())
        self._put("locals", self._locals())
        self._put("stack", self._stack())
        lines = [("> " if lane is session.lane else "  ") + describe(lane) for lane in session.lanes]
        self._put("lanes", Text(printable("\n".join(lines))))
        self._put("timeline", self._bars())
        panel = self.query_one("#source-panel", VerticalScroll)
        panel.scroll_to(y=max(0, session.timeline.frame.line - panel.size.height // 2), animate=False)
        self.say(self._sentence())

    def _put(self, name: str, text: Text) -> None:
        """Show a text, if it is not there already; the screen is laid out anew only if it takes other lines."""
        before = self._shown.get(name)
        if before is None or text != before or text.spans != before.spans:
            self._shown[name] = text
            same = before is not None and list(map(len, before.split())) == list(map(len, text.split()))
            self.query_one(f"#{name}", Static).update(text, layout=not same)

    def _source(self) -> Text:
        session = self.session
        timeline = session.timeline
        points = {point.line for point in session.breakpoints if point.kind == "line"}
        parting = session.parting()
        heat = self._heat()
        text = Text()
        for number, line in enumerate(session.lane.program.context.rstrip("\n").split("\n"), 1):
            here = number == timeline.frame.line
            sure = heat.get(number)
            text.append("▶" if here else " ")
            text.append("●" if number in points else " ", "red")
            text.append("▌" if sure is not None else " ", colour(sure) if sure is not None else "")
            style = "reverse" if here else "underline red" if parting and parting.line == number else ""
            text.append(f"{number:4} ", "dim").append(printable(line), style).append("\n")
        return text

    def _heat(self) -> dict[int, float]:
        """How sure the model was at each line, on average; no frame is looked at twice."""
        timeline = self.session.timeline
        sums, seen = self._sums.get(timeline, ({}, 0))
        for prediction in timeline.predictions[seen:]:
            if prediction.source == "model":
                total, count = sums.get(prediction.frame.line, (0.0, 0))
                sums[prediction.frame.line] = total + prediction.probability, count + 1
        self._sums[timeline] = sums, timeline.known
        return {line: total / count for line, (total, count) in sums.items()}

    def _locals(self) -> Text:
        timeline = self.session.timeline
        prediction, changed = timeline.prediction, timeline.changed_at()
        found = timeline.locals_at()
        width = max(map(len, found), default=0)
        text = Text()
        for name, value in found.items():
            chance = prediction.values.get(name) if prediction.source == "model" else None
            style = "bold cyan" if name in changed else ""
            text.append(f"{printable(name):<{width}}  {printable(shorten(value))}", style)
            text.append(f" {percent(chance)}\n" if chance is not None else "\n", colour(chance) if chance else "")
        if prediction.frame.value is not None:
            verb = "returns" if prediction.frame.event == "return" else "raises"
            text.append(verb, "bold").append(f" {printable(shorten(prediction.frame.value))}")
        return text

    def _stack(self) -> Text:
        stack = self.session.timeline.stack()
        return Text("\n".join(printable(f"{entry.function}, line {entry.line}") for entry in reversed(stack)))

    def _bars(self) -> Text:
        """The lane in one row: as high as the deepest call, coloured by the least sure frame; the cursor below."""
        timeline = self.session.timeline
        width = min(max(10, self.query_one("#timeline").size.width - 4), timeline.known)
        drawn = self._drawn.get(timeline)
        if drawn is None or drawn[:2] != (timeline.known, width):
            drawn = self._drawn[timeline] = timeline.known, width, _row(timeline, width)
        cursor = [" "] * width
        parting = self.session.parting()
        if parting is not None and parting.index < timeline.known:
            cursor[parting.index * width // timeline.known] = "✗"
        cursor[timeline.position * width // timeline.known] = "▲"
        return drawn[2].copy().append("\n" + "".join(cursor))

    def _sentence(self) -> str:
        session = self.session
        timeline = session.timeline
        frame = timeline.frame
        so_far = "" if timeline.outcome else " so far"
        text = f"frame {timeline.position} of {timeline.known - 1}{so_far}: {frame.event} in {frame.function}"
        text += f", line {frame.line}"
        prediction = timeline.prediction
        if prediction.source == "model":
            text += f", {percent(prediction.probability)} sure"
        parting = session.parting()
        if parting is not None and timeline.position >= parting.index:
            same = timeline.position == parting.index
            text += (
                f"; here the runs part: {parting}" if same else f"; after the first difference (frame {parting.index})"
            )
        if timeline.at_end:
            text += f"; the run ends here: {timeline.outcome}"
        return text


def _row(timeline: Timeline, width: int) -> Text:
    bars = Text()
    deepest = max(timeline.index.at_depth, default=0) + 1
    for column in range(width):
        group = timeline.predictions[column * timeline.known // width : (column + 1) * timeline.known // width]
        depth = max(prediction.frame.depth for prediction in group) + 1
        sure = min(prediction.probability for prediction in group)
        guessed = any(prediction.source == "model" for prediction in group)
        bars.append(BLOCKS[max(1, min(8, depth * 8 // deepest))], colour(sure) if guessed else "blue")
    return bars
