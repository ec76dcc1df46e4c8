"""What a person sees of runs: tables of frames, two runs side by side, and the line that sums them up.

Notable choices:
- A row shows what changed, not the whole state; `--json` has it all. Long values are cut, around the place where they
  differ if two are compared.
- Nothing depends on colour: what it says is said by a word or a number too.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from opencwm.debug.confidence import colour, percent
from opencwm.debug.timeline import Timeline
from opencwm.trace.frames import Frame, Trace
from opencwm.world.compare import Comparison, Difference
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction

PIPE_WIDTH = 120
VALUE_WIDTH = 120
DEEPEST_INDENT = 8
ROWS_AFTER_DIVERGENCE = 4
LIMITS = {
    "frames": "limit on frames (--limit-frames)",
    "seconds": "limit on time (--seconds)",
    "bytes": "limit on the size of all values",
    "depth": "limit on the depth of calls",
    "memory": "limit on memory",
    "processes": "limit on processes",
}


def console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console for standard output, standard error or a file: colours only on a terminal that wants them."""
    stream = file or (sys.stderr if stderr else sys.stdout)
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def trace_table(trace: Trace, *, width: int) -> Table:
    """A recorded run: one row per frame, with what changed before it, names that have come to share an object too."""
    table = columns("#", "event", "line", "source", "state", source_width=width // 2)
    changes = changes_of(trace)
    shared: list[tuple[tuple[str, ...], ...]] = []  # of the open activations
    for index, frame in enumerate(trace.frames):
        del shared[frame.depth + (frame.event != "call") :]
        shared += [()] * (frame.depth + 1 - len(shared))
        text = state(frame, changes[index])
        for group in frame.identity:
            if group not in shared[frame.depth]:
                text.append("  " if text else "").append(" is ".join(group), style="italic")
        if frame.event in ("call", "line"):
            shared[frame.depth] = frame.identity
        table.add_row(*_place(index, frame, trace), text)
    return table


def prediction_table(trace: Trace, predictions: Sequence[Prediction], *, width: int) -> Table:
    """A predicted run, each value and each frame with the colour, each frame with the number of its confidence."""
    table = columns("#", "event", "line", "source", "predicted", "sure", source_width=width // 2)
    changes = changes_of(trace)
    for index, prediction in enumerate(predictions):
        frame = prediction.frame
        shown = state(frame, changes[index], prediction.values)
        table.add_row(*_place(index, frame, trace), shown, _sure(prediction.probability))
    return table


def check_table(
    real: Trace, predicted: Trace, predictions: Sequence[Prediction], comparison: Comparison, *, width: int
) -> Table:
    """The real run and the predicted one side by side; the first divergence is marked, little is shown after it."""
    table = columns("#", "line", "source", "really", "predicted", "sure", "", source_width=width // 3)
    real_changes, predicted_changes = changes_of(real), changes_of(predicted)
    total = max(len(real.frames), len(predicted.frames))
    first = comparison.divergence.index if comparison.divergence else total
    shown = min(total, first + 1 + ROWS_AFTER_DIVERGENCE)
    for index in range(shown):
        ours = real.frames[index] if index < len(real.frames) else None
        theirs = predicted.frames[index] if index < len(predicted.frames) else None
        frame = ours or theirs
        assert frame is not None
        really = state(ours, real_changes[index]) if ours else Text("-")
        guess, sure = Text("-"), Text("")
        if theirs:
            guess = state(theirs, predicted_changes[index], predictions[index].values)
            sure = _sure(predictions[index].probability)
            if ours and (ours.line, ours.event) != (theirs.line, theirs.event):
                guess = Text(f"{_where(theirs)}  ") + guess
        mark = Text("ok", style="green") if ours and theirs and index < first else Text("")
        if index == first:
            mark = Text("<--", style="bold red")
            guess.stylize("bold red")
        number, _, line, source = _place(index, frame, real)
        source = Text(_indent(frame)) + source
        table.add_row(number, line, source, really, guess, sure, mark, style="dim" if index > first else "")
    if shown < total:
        left = [f"{max(0, len(trace.frames) - shown)} more" for trace in (real, predicted)]
        table.add_row("", "", "frames not shown", *left, "", "", style="dim")
    return table


def verdict(comparison: Comparison, real: Trace, predicted: Trace) -> str:
    """One line: how far the prediction is right, and whether its output is."""
    right, total = comparison.frames_right, comparison.frames_real
    if comparison.divergence:
        frames = f"{right} of {total} frames right before the first error"
    elif comparison.complete:
        frames = f"all {total} frames right"
    else:
        frames = f"all {right} predicted frames right, of {total}"
    return f"{frames}; {_output(comparison, real, predicted)}"


def first_error(comparison: Comparison) -> str | None:
    """One line: what differs at the first divergence; None if there is none."""
    parting = comparison.divergence
    if parting is None:
        return None
    differing = {item.kind for item in parting.differences}
    if parting.real and parting.predicted and differing.isdisjoint(("local", "value")):
        theirs, ours = (_where(frame, differing) for frame in (parting.predicted, parting.real))
        text = f"predicted {theirs}, really {ours}"
    else:
        text = "; ".join(map(_difference, parting.differences))
    return f"first error, frame {parting.index}: {text}"


def ending(trace: Trace) -> str:
    """One line: how a run ended."""
    counted = f"{len(trace.frames)} frame{'' if len(trace.frames) == 1 else 's'}"
    if trace.outcome.kind == "truncated":
        return f"{counted}; cut off: {_reason(trace)}"
    return f"{counted}; {_result(trace)}"


def _output(comparison: Comparison, real: Trace, predicted: Trace) -> str:
    if comparison.output_right is None:
        return f"the real run was cut off ({_reason(real)}): no output to compare"
    if comparison.output_right:
        return f"output right: {_result(real)}"
    if predicted.outcome.kind == "truncated":
        return f"no output predicted (cut off: {_reason(predicted)}), really {_result(real)}"
    ours, theirs = _cut_pair(real.result or "", predicted.result or "")
    return f"output wrong: predicted {_ended(predicted, theirs)}, really {_ended(real, ours)}"


def _reason(trace: Trace) -> str:
    reason = trace.outcome.reason or "for no known reason"
    return LIMITS.get(reason, reason)


def _result(trace: Trace) -> str:
    return _ended(trace, cut(trace.result or ""))


def _ended(trace: Trace, value: str) -> str:
    return f"{'raised' if trace.outcome.kind == 'exception' else 'returned'} {value}"


def _where(frame: Frame, differing: Collection[str] = ()) -> str:
    """Where control is, in words, with function and depth if they are among what differs."""
    text = f"line {frame.line}" if frame.event == "line" else f"{frame.event} at line {frame.line}"
    text += f" in {frame.function}" if "function" in differing else ""
    return text + (f" at depth {frame.depth}" if set(differing) == {"depth"} else "")


def _difference(item: Difference) -> str:
    if item.real is None or item.predicted is None:
        return str(item)
    real, predicted = _cut_pair(item.real, item.predicted)
    return str(Difference(item.kind, item.name, real, predicted))


def columns(*names: str, source_width: int) -> Table:
    """An empty table of frames with the given columns; `source` gets at most `source_width` characters."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in names:
        numeric = name in ("#", "line", "sure", "old", "new")
        table.add_column(
            name,
            justify="right" if numeric else "left",
            no_wrap=numeric or name in ("event", "source", ""),
            overflow="ellipsis" if name == "source" else "fold",
            max_width=source_width if name == "source" else None,
        )
    return table


def _place(index: int, frame: Frame, trace: Trace) -> tuple[Text, Text, Text, Text]:
    """Number, event (indented by depth), line number and source line of a frame."""
    style = {"call": "cyan", "return": "green", "exception": "red"}.get(frame.event, "")
    source = printable(trace.source_line(frame.line))
    return (
        Text(str(index), style="dim"),
        Text(_indent(frame) + frame.event, style=style),
        Text(str(frame.line)),
        Text(source),
    )


def _indent(frame: Frame) -> str:
    return "  " * min(frame.depth, DEEPEST_INDENT) + (f"({frame.depth}) " if frame.depth > DEEPEST_INDENT else "")


def state(frame: Frame, changes: dict[str, str | None], sure: dict[str, float] | None = None) -> Text:
    """What changed, or the value of a return or an exception; coloured by probability where `sure` has one."""
    text = Text()
    if frame.value is not None:
        style = _colour((sure or {}).get("")) or ("red" if frame.event == "exception" else "green")
        return text.append("! " if frame.event == "exception" else "-> ").append(cut(frame.value), style=style)
    for name, value in changes.items():
        if text:
            text.append("  ")
        if value is None:
            text.append(f"del {name}")
        else:
            text.append(f"{name}=", style="bold").append(cut(value), style=_colour((sure or {}).get(name)) or "bold")
    return text


def changes_of(trace: Trace) -> list[dict[str, str | None]]:
    """What had changed at each frame since the one before of its function; None for a name that is gone."""
    timeline = Timeline(RecordedRun(trace))
    timeline.to_end()
    return [timeline.changed_at(index) for index in range(len(trace.frames))]


def _sure(probability: float) -> Text:
    return Text("?" if math.isnan(probability) else percent(probability), style=_colour(probability))


def _colour(probability: float | None) -> str:
    return "" if probability is None or math.isnan(probability) else colour(probability)


def cut(text: str, start: int = 0) -> str:
    """At most VALUE_WIDTH characters of a value from `start`, with the number of those left out."""
    text = printable(text)
    if len(text) <= VALUE_WIDTH:
        return text
    left = len(text) - start - VALUE_WIDTH
    return ("..." if start else "") + text[start : start + VALUE_WIDTH] + (f"...+{left}" if left > 0 else "")


def _cut_pair(one: str, other: str) -> tuple[str, str]:
    """Both values cut around the first place where they differ."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((index for index, (ours, theirs) in pairs if ours != theirs), min(len(one), len(other)))
    start = 0 if same < VALUE_WIDTH // 2 else same - VALUE_WIDTH // 4
    return cut(one, start), cut(other, start)


def printable(text: str) -> str:
    """Text that cannot move a terminal's cursor."""
    return "".join(c if c.isprintable() else "    " if c == "\t" else repr(c)[1:-1] for c in text)
