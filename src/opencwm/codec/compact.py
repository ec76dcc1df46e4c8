"""The `compact` codec: a trace as line pointers and changed values, for small models.

A window is self-contained::

    <begin> <python V> SOURCE <trace> <L entry> [SNAPSHOT] FRAME* [<end> | <truncated> REASON <end>]
    SNAPSHOT   (<snapshot> if it starts mid-run)  (<frame> FUNCTION <L current> (NAME VALUE)*)+   outermost first
    FRAME      (<E n> VALUE)*  then one of
    call       <call> FUNCTION (NAME VALUE)*          locals in full
    line       (NAME VALUE | <delete> NAME)* <L n>    changes since the activation's last frame, then the next line
    return     <return> [<L n>] VALUE
    exception  <exception> [<L n>] VALUE              handled, or not yet left the activation
               <raise> [<L n>] VALUE                  leaves the activation
    FUNCTION   [<E i>] <L n>                          i-th function that a call at line n can belong to
               <name> BYTES <name> <L n>              one that the source's control flow does not know

Notable choices:
- Values come before the line that they lead to, so a branch is decided with the values at hand.
- A frame in which nothing changed is one token. `<go>` stands only where a change directly follows a list of locals.
- A window may start after any `call` or `line` frame: the snapshot holds the call stack with all locals. So long runs
  are windows that each fit a small context.
- Sub-expression values (`<E n>`) are optional, as they are in a Trace.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from opencwm.codec.errors import CodecError
from opencwm.codec.flow import ControlFlow
from opencwm.codec.tokenizer import (
    PYTHONS,
    SIZE,
    STEPS,
    VOCABULARY,
    encode_source,
    encode_value,
    line_tokens,
)
from opencwm.trace.frames import Frame, Trace

_IDS = VOCABULARY.ids
PAD = _IDS["<pad>"]


@dataclass(slots=True)
class Activation:
    """One entry of the call stack: its function, current line, and last known locals."""

    function: str
    function_line: int
    line: int
    locals: dict[str, str]


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids and, per token, its loss weight as a target: 0 in the prompt, 1 in frames."""

    ids: list[int]
    weights: list[float]
    start: int = 0
    stop: int = 0


def encode(trace: Trace, *, start: int = 0, stop: int | None = None) -> Window:
    """The window of frames `start` to `stop` (all by default); ends with the outcome if it holds the last frame.

    `start` must be 0 or follow a `call` or `line` frame. Raises CodecError for what the format cannot hold.
    """
    encoder = Encoder(trace)
    return encoder.window(start, len(trace.frames) if stop is None else stop)


def windows(trace: Trace, *, max_tokens: int, rng: random.Random | None = None) -> list[Window]:
    """Windows of at most `max_tokens` that together hold every frame; none if the source alone does not fit.

    With `rng`, a run that fits is sometimes cut in two all the same, so that models learn to start mid-run.
    """
    count = len(trace.frames)
    cut = None
    if rng is not None and count > 6 and rng.random() < 0.15:
        cut = rng.randrange(3, count - 2)
    return windows_of(Encoder(trace), max_tokens=max_tokens, cut=cut)


def windows_of(encoder: Encoder, *, max_tokens: int, start: int = 0, cut: int | None = None) -> list[Window]:
    """As `windows`, from frame `start` on and with the first window ending at `cut` at the latest."""
    frames = encoder.trace.frames
    result: list[Window] = []
    first, count = start, len(frames)
    while start < count:
        stop = encoder.fit(start, max_tokens)
        if stop < count or cut is not None:
            if cut is not None and start == first:
                stop = min(stop, cut)
            while stop > start and frames[stop - 1].event not in ("call", "line"):
                stop -= 1
        if stop <= start:
            break
        result.append(encoder.window(start, stop))
        start = stop
    return result


class Encoder:
    """Encodes one trace: every frame once, then any number of windows over them.

    `size`: how many tokens the vocabulary has (fewer for a model of an earlier version).
    """

    def __init__(self, trace: Trace, size: int = SIZE) -> None:
        self.trace = trace
        source, self.names = encode_source(trace.context, size)
        try:
            self.flow: ControlFlow | None = ControlFlow(trace.context)
        except SyntaxError:
            self.flow = None
        if trace.python not in PYTHONS:
            raise CodecError(f"Python {trace.python}: the compact codec knows {', '.join(PYTHONS)}")
        version = VOCABULARY.python_start + PYTHONS.index(trace.python)
        entry = line_tokens(trace.entry_line)
        self.prefix = [_IDS["<begin>"], version, *source, _IDS["<trace>"], *entry]
        self.chunks: list[list[int]] = []
        self.stacks: list[tuple[Activation, ...]] = []
        stack: list[Activation] = []
        for index in range(len(trace.frames)):
            self.chunks.append(self._frame(index, stack))
            self.stacks.append(tuple(Activation(a.function, a.function_line, a.line, a.locals) for a in stack))

    def window(self, start: int, stop: int, *, ending: bool = True) -> Window:
        """Frames `start` to `stop` with the prompt before them, and the outcome if they end the run (and `ending`)."""
        ids = list(self.prefix)
        frames = [token for chunk in self.chunks[start:stop] for token in chunk]
        if start:
            ids += self.snapshot(start)
            if frames and frames[0] != _IDS["<go>"] and self.is_change(frames[0]):
                frames.insert(0, _IDS["<go>"])
        if ending and stop == len(self.chunks):
            frames += self._ending()
        return Window(ids + frames, [0.0] * len(ids) + [1.0] * len(frames), start, stop)

    def latest(self, max_tokens: int) -> int:
        """The earliest start from which all later frames fit in `max_tokens`; -1 if not even the last state does."""
        tokens = len(self.prefix) + sum(len(chunk) for chunk in self.chunks)
        for start in range(len(self.chunks) + 1):
            if start == 0 or self.trace.frames[start - 1].event in ("call", "line"):
                if tokens <= max_tokens and tokens + (len(self.snapshot(start)) + 1 if start else 0) <= max_tokens:
                    return start
            if start < len(self.chunks):
                tokens -= len(self.chunks[start])
        return -1

    def fit(self, start: int, max_tokens: int) -> int:
        """The largest `stop` whose window has at most `max_tokens`, or `start` if not even one frame fits."""
        room = max_tokens - len(self.prefix) - (len(self.snapshot(start)) + 1 if start else 0)
        stop = start
        while stop < len(self.chunks):
            ending = len(self._ending()) if stop + 1 == len(self.chunks) else 0
            if len(self.chunks[stop]) + ending > room:
                break
            room -= len(self.chunks[stop])
            stop += 1
        return stop

    def _ending(self) -> list[int]:
        outcome = self.trace.outcome
        if outcome.kind != "truncated":
            return [_IDS["<end>"]]
        return [_IDS["<truncated>"], *encode_value(outcome.reason or ""), _IDS["<end>"]]

    def _frame(self, index: int, stack: list[Activation]) -> list[int]:
        """Tokens of one frame; moves `stack` past it."""
        frame, frames = self.trace.frames[index], self.trace.frames
        tokens: list[int] = []
        for step in frame.steps:
            if not 0 <= step.node < STEPS:
                raise CodecError(f"step {step.node}: the compact codec numbers {STEPS} steps per statement")
            tokens += [VOCABULARY.step_start + step.node, *encode_value(step.value)]
        if frame.event == "call":
            tokens += [_IDS["<call>"], *self._function(frame)]
            for name, value in frame.locals.items():
                tokens += [*self.name_tokens(name), *encode_value(value)]
            if len(stack) != frame.depth:
                raise CodecError(f"frame {index}: depth {frame.depth} with {len(stack)} activations on the stack")
            stack.append(Activation(frame.function, frame.line, frame.line, frame.locals))
            return self._after_locals(index, tokens)
        if len(stack) != frame.depth + 1:
            raise CodecError(f"frame {index}: depth {frame.depth} with {len(stack)} activations on the stack")
        top = stack[-1]
        if frame.event == "line":
            tokens += [*self.changes(top.locals, frame.locals), *line_tokens(frame.line)]
            stack[-1] = Activation(top.function, top.function_line, frame.line, frame.locals)
            return self._after_locals(index, tokens)
        left = frame.event == "return" or leaves(frames, index, self.trace.outcome.kind)
        mark = "<return>" if frame.event == "return" else "<raise>" if left else "<exception>"
        tokens.append(_IDS[mark])
        if frame.line != top.line:
            tokens += line_tokens(frame.line)
        if left:
            stack.pop()
        else:
            stack[-1] = Activation(top.function, top.function_line, frame.line, top.locals)
        return self._after_locals(index, tokens + encode_value(frame.value or ""))

    def changes(self, known: dict[str, str], now: dict[str, str]) -> list[int]:
        """Names that are gone, then names with another value."""
        tokens: list[int] = []
        for name in known:
            if name not in now:
                tokens += [_IDS["<delete>"], *self.name_tokens(name)]
        for name, value in now.items():
            if known.get(name) != value:
                tokens += [*self.name_tokens(name), *encode_value(value)]
        return tokens

    def _after_locals(self, index: int, tokens: list[int]) -> list[int]:
        if index and self.trace.frames[index - 1].event == "call" and self.is_change(tokens[0]):
            return [_IDS["<go>"], *tokens]
        return tokens

    def is_change(self, token: int) -> bool:
        """Whether a frame that starts with this token starts with a change."""
        return is_name_start(token) or token == _IDS["<delete>"]

    def snapshot(self, start: int) -> list[int]:
        """The call stack after `start` frames, with all locals."""
        if self.trace.frames[start - 1].event not in ("call", "line"):
            raise CodecError(f"a window cannot start at frame {start}: the frame before is no call or line")
        tokens = [_IDS["<snapshot>"]]
        for activation in self.stacks[start - 1]:
            frame = Frame("call", activation.function_line, activation.function, 0)
            tokens += [_IDS["<frame>"], *self._function(frame), *line_tokens(activation.line)]
            for name, value in activation.locals.items():
                tokens += [*self.name_tokens(name), *encode_value(value)]
        return tokens

    def _function(self, frame: Frame) -> list[int]:
        callees = self.flow.callees(frame.line) if self.flow else ()
        for index, scope in enumerate(callees[:STEPS]):
            if scope.name == frame.function:
                return [*([VOCABULARY.step_start + index] if index else []), *line_tokens(frame.line)]
        return [_IDS["<name>"], *frame.function.encode(), _IDS["<name>"], *line_tokens(frame.line)]

    def name_tokens(self, name: str) -> list[int]:
        """The token of a variable's name, or its spelling."""
        token = self.names.get(name)
        return [token] if token is not None else [_IDS["<name>"], *name.encode(), _IDS["<name>"]]


def is_name_start(token: int) -> bool:
    """Whether a token can begin the name of a variable in a frame."""
    return VOCABULARY.is_alias(token) or token == _IDS["<name>"] or (
        VOCABULARY.is_word(token) and VOCABULARY.names[token] not in ("True", "False", "None")
    )  # fmt: skip


def leaves(frames: Sequence[Frame], index: int, outcome: str) -> bool:
    """Whether the exception frame at `index` leaves its activation."""
    depth = frames[index].depth
    if index + 1 == len(frames):
        return outcome == "exception"
    following = frames[index + 1]
    return following.depth < depth or (following.depth == depth and following.event == "call")


@dataclass(slots=True)
class Decoded:
    """What a window holds: the trace of its own frames, and the call stack that they start from."""

    trace: Trace
    stack: list[Activation] = field(default_factory=list)


def decode(ids: Sequence[int]) -> Trace:
    """The trace of a window's frames. Raises CodecError, with the offset, for anything but a window.

    A window that stops before the end of the run gives the outcome `truncated (window)`.
    """
    return decode_window(ids).trace


def decode_window(ids: Sequence[int]) -> Decoded:
    """As `decode`, with the snapshot's call stack for windows that start mid-run."""
    from opencwm.codec.compact_reader import Reader

    reader = Reader.from_prompt(ids)
    stack = [Activation(a.function, a.function_line, a.line, a.locals) for a in reader.stack]
    frames: list[Frame] = []
    for token in ids[reader.offset :]:
        frames += reader.push(token)
    frames += reader.finish()
    outcome = reader.outcome
    return Decoded(Trace(reader.context, reader.entry_line, tuple(frames), outcome, reader.python), stack)
