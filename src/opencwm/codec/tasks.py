"""Questions about a run other than its next frame, in `compact` tokens: jumps, endings, and the way back.

A window is a program, perhaps the state that a run is in, a question, and its answer::

    <begin> <python V> SOURCE <trace> <L entry> [SNAPSHOT] QUESTION ANSWER <end>

    <step over>             FRAME          the next frame that is no deeper, as in `compact.py`
    <step out>              LEAVING        how the innermost activation is left
    <run to> <L n>          SNAPSHOT       the call stack, with all locals, when line n is about to run
                            <never> EXIT   or how the run ends without getting there
    <continue>, <output>    EXIT           how the run ends: from a snapshot, from the start
    <count>                 ENDING NUMBER  how it ends, and after how many more frames
    <before>                (NAME VALUE | <delete> NAME)* <L n>   the activation one frame earlier
    <change> NAME VALUE     FRAME*         a local variable is given another value: the run from there on
    <arguments> <return> VALUE             <call> (NAME VALUE)*   arguments with which the function at the entry's line
                                           returns the value (SOURCE ends before any call of it)
    LEAVING                 (<return> | <raise>) [<L n>] VALUE    with the line where it is another one
    EXIT                    (<return> | <raise>) VALUE, or <never> where the run has no end
    ENDING                  <return> | <raise>, or <never> without a number

Notable choices: an answer is written as frames are, so that one reader serves both; a state that a jump leads to is a
snapshot, from which every other question can be asked. Only what a recorded run shows is asked: a run that a limit cut
off has no answer for what lies beyond, unless it is provably without end (`endless`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from opencwm.codec.compact import Activation, Encoder, Window, leaves
from opencwm.codec.compact_reader import Reader
from opencwm.codec.errors import CodecError
from opencwm.codec.tokenizer import (
    PYTHONS,
    SIZE,
    VALUE_TOKENS,
    VOCABULARY,
    decode_value,
    encode_source,
    encode_value,
    line_tokens,
)
from opencwm.trace.frames import Frame, Outcome, Trace

_IDS = VOCABULARY.ids
_END, _NEVER, _RETURN, _RAISE = _IDS["<end>"], _IDS["<never>"], _IDS["<return>"], _IDS["<raise>"]


class Unanswerable(ValueError):
    """The recorded run does not hold the answer."""


def step_over(encoder: Encoder, at: int) -> Window:
    """The next frame that is no deeper than the state after `at` frames. Raises Unanswerable."""
    frames, depth = encoder.trace.frames, _depth(encoder, at)
    index = next((i for i in range(at, len(frames)) if frames[i].depth <= depth), None)
    if index is None or frames[index].event == "call":  # a generator left and re-entered is no step
        raise Unanswerable("the run is cut off before that")
    return _window(encoder, at, ["<step over>"], _frame(encoder, at, index))


def step_out(encoder: Encoder, at: int) -> Window:
    """How the innermost activation is left. Raises Unanswerable."""
    index = _left(encoder, at)
    return _window(encoder, at, ["<step out>"], _frame(encoder, at, index))


def run_to(encoder: Encoder, at: int, line: int) -> Window:
    """The state when `line` is about to run for the first time after `at` frames, or how the run ends without it."""
    frames = encoder.trace.frames
    for index in range(at, len(frames)):
        if frames[index].event == "line" and frames[index].line == line:
            return _window(encoder, at, ["<run to>", *line_tokens(line)], encoder.snapshot(index + 1))
    if _never_ends(encoder.trace):
        if any(frame.line == line for frame in frames):
            raise Unanswerable("the line may be one of those that repeat")
        return _window(encoder, at, ["<run to>", *line_tokens(line)], [_NEVER, _NEVER])
    return _window(encoder, at, ["<run to>", *line_tokens(line)], [_NEVER, *_exit(encoder.trace)])


def finish(encoder: Encoder, at: int) -> Window:
    """How the run ends: `<output>` from the start (`at` is 0), `<continue>` from a state. Raises Unanswerable."""
    answer = [_NEVER] if _never_ends(encoder.trace) else _exit(encoder.trace)
    return _window(encoder, at, ["<continue>" if at else "<output>"], answer)


def count(encoder: Encoder, at: int) -> Window:
    """How the run ends and in how many frames. Raises Unanswerable."""
    trace = encoder.trace
    if _never_ends(trace):
        return _window(encoder, at, ["<count>"], [_NEVER])
    ending = _exit(trace)[0]
    return _window(encoder, at, ["<count>"], [ending, *encode_value(str(len(trace.frames) - at))])


def before(encoder: Encoder, at: int) -> Window:
    """The innermost activation one frame before the state after `at` frames. Raises Unanswerable."""
    frames = encoder.trace.frames
    if at < 2 or frames[at - 1].event != "line" or frames[at - 2].event not in ("call", "line"):
        raise Unanswerable("the frame before is of another activation")
    now, then = encoder.stacks[at - 1][-1], frames[at - 2]
    if then.depth != frames[at - 1].depth:
        raise Unanswerable("the frame before is of another activation")
    answer = [*encoder.changes(now.locals, then.locals), *line_tokens(then.line)]
    return _window(encoder, at, ["<before>"], answer)


def change(before: Encoder, after: Encoder, at: int, name: str, value: str, max_tokens: int) -> Window:
    """The run when `name` is given `value` after `at` frames: `after` encodes what happened then. As much as fits.

    Frame `at - 1` of `after` must hold the new value, so that its frames are changes from there on.
    """
    if before.trace.frames[: at - 1] != after.trace.frames[: at - 1]:
        raise Unanswerable("the run was another one before the change")
    question: list[int | str] = ["<change>", *before.name_tokens(name), *encode_value(value)]
    prompt = _prompt(before, at, question)
    answer: list[int] = []
    stop = at
    for stop in range(at, len(after.chunks)):
        chunk = after.chunks[stop]
        if not answer and after.is_change(chunk[0]):
            chunk = [_IDS["<go>"], *chunk]
        if len(prompt) + len(answer) + len(chunk) + 1 > max_tokens:
            break
        answer += chunk
    else:
        stop = len(after.chunks)
    if not answer:
        raise Unanswerable("not one frame fits")
    if stop == len(after.chunks) and after.trace.outcome.kind != "truncated":
        answer.append(_END)
    return Window(prompt + answer, [0.0] * len(prompt) + [1.0] * len(answer), at, stop)


def arguments(trace: Trace, call: int, source: str, size: int = SIZE) -> Window:
    """Arguments of the function called by frame `call`, from what it returned. `source` holds no such call.

    Raises Unanswerable for a call that raised, and for a function that is not at the top level.
    """
    frame = trace.frames[call]
    later = trace.frames[call + 1 :]
    end = next((f for f in later if f.depth < frame.depth or (f.depth == frame.depth and f.event != "line")), None)
    top_level = "." not in frame.function
    if frame.event != "call" or not frame.locals or not top_level or end is None or end.event != "return":
        raise Unanswerable("that call did not return")
    tokens, names = encode_source(source, size)
    prompt = [_IDS["<begin>"], VOCABULARY.python_start + PYTHONS.index(trace.python), *tokens, _IDS["<trace>"]]
    prompt += [*line_tokens(frame.line), _IDS["<arguments>"], _RETURN, *encode_value(end.value or "")]
    answer = [_IDS["<call>"]]
    for name, value in frame.locals.items():
        if name not in names:
            raise Unanswerable(f"{name} is no name of the source")
        answer += [names[name], *encode_value(value)]
    answer.append(_END)
    return Window(prompt + answer, [0.0] * len(prompt) + [1.0] * len(answer), call, call + 1)


def endless(trace: Trace) -> bool:
    """Whether a run that was cut off for its number of frames can be seen to repeat itself for ever.

    True where a state of the whole call stack comes back with no call, return or exception in between: the locals are
    then all that the run depends on, if no loop has an iterator (the text of the context has no `for`).
    """
    if trace.outcome.reason != "frames" or "for " in trace.context or "yield" in trace.context:
        return False
    seen: set[tuple[int, tuple[tuple[str, str], ...]]] = set()
    for frame in reversed(trace.frames):
        if frame.event != "line":
            return False
        state = frame.line, tuple(frame.locals.items())
        if any("..." in value or "<" in value for value in frame.locals.values()):
            return False  # an elided value, or an object of which the text does not tell all
        if state in seen:
            return True
        seen.add(state)
    return False


def _never_ends(trace: Trace) -> bool:
    return trace.outcome.kind == "truncated" and endless(trace)


def _exit(trace: Trace) -> list[int]:
    if trace.outcome.kind == "truncated":
        raise Unanswerable("the run is cut off")
    return [_RETURN if trace.outcome.kind == "return" else _RAISE, *encode_value(trace.result or "")]


def _depth(encoder: Encoder, at: int) -> int:
    if not at:
        raise Unanswerable("nothing runs yet")
    return len(encoder.stacks[at - 1]) - 1


def _left(encoder: Encoder, at: int) -> int:
    """Index of the frame with which the innermost activation is left."""
    frames, depth = encoder.trace.frames, _depth(encoder, at)
    for index in range(at, len(frames)):
        if frames[index].depth == depth and (
            frames[index].event == "return"
            or (frames[index].event == "exception" and leaves(frames, index, encoder.trace.outcome.kind))
        ):
            return index
    raise Unanswerable("the run is cut off before that")


def _frame(encoder: Encoder, at: int, index: int) -> list[int]:
    """Tokens of a later frame of the innermost activation, as it would be if it came next. Its steps are left out."""
    frame, top = encoder.trace.frames[index], encoder.stacks[at - 1][-1]
    if frame.event == "line":
        return [*encoder.changes(top.locals, frame.locals), *line_tokens(frame.line)]
    left = frame.event == "return" or leaves(encoder.trace.frames, index, encoder.trace.outcome.kind)
    mark = "<return>" if frame.event == "return" else "<raise>" if left else "<exception>"
    line = line_tokens(frame.line) if frame.line != top.line else []
    return [_IDS[mark], *line, *encode_value(frame.value or "")]


def _prompt(encoder: Encoder, at: int, question: Sequence[int | str]) -> list[int]:
    ids = [*encoder.prefix, *(encoder.snapshot(at) if at else [])]
    return ids + [_IDS[token] if isinstance(token, str) else token for token in question]


def _window(encoder: Encoder, at: int, question: Sequence[int | str], answer: Sequence[int]) -> Window:
    prompt = _prompt(encoder, at, question)
    return Window([*prompt, *answer, _END], [0.0] * len(prompt) + [1.0] * (len(answer) + 1), at, at + 1)


@dataclass(slots=True)
class Answer:
    """A window, read: the question and what answers it.

    `kind` is the question's token without brackets, `stack` the call stack that it is asked in, `line` and `changed`
    what it is asked with. Of the answer: `frames` (step over, step out, change), `reached` (the call stack that a run
    gets to), `locals` (arguments, or all of the activation before) with `earlier_line`, `outcome` and `value` (how the
    run ends; None where it never does), `count`.
    """

    kind: str
    trace: Trace
    stack: list[Activation]
    line: int | None = None
    changed: tuple[str, str] | None = None
    returned: str | None = None
    frames: list[Frame] = field(default_factory=list)
    reached: list[Activation] = field(default_factory=list)
    locals: dict[str, str] = field(default_factory=dict)
    earlier_line: int | None = None
    outcome: Outcome | None = None
    value: str | None = None
    count: int | None = None


def read(ids: Sequence[int], size: int = SIZE) -> Answer:
    """The question and the answer of a window. Raises CodecError for tokens that are neither."""
    reader = Reader.from_prompt(ids, size)
    if reader.offset >= len(ids) or not VOCABULARY.is_task(ids[reader.offset]):
        raise CodecError("expected a question", reader.offset)
    kind = VOCABULARY.names[ids[reader.offset]].strip("<>")
    trace = Trace(reader.context, reader.entry_line, (), Outcome("truncated", "window"), reader.python)
    answer = Answer(kind, trace, [_copy(a) for a in reader.stack])
    reader.offset += 1
    _ANSWERS[kind](answer, reader, _Tokens(ids, reader.offset))
    return answer


def _copy(activation: Activation) -> Activation:
    return Activation(activation.function, activation.function_line, activation.line, dict(activation.locals))


class _Tokens:
    """A cursor over tokens, for the parts that are no frames."""

    def __init__(self, ids: Sequence[int], offset: int) -> None:
        self.ids, self.offset = ids, offset

    def peek(self) -> int:
        return self.ids[self.offset] if self.offset < len(self.ids) else -1

    def take(self, *wanted: int) -> int:
        token = self.peek()
        if token not in wanted:
            raise CodecError(f"expected {' or '.join(VOCABULARY.names[t] for t in wanted)}", self.offset)
        self.offset += 1
        return token

    def line(self) -> int:
        page = 0
        if VOCABULARY.is_page(self.peek()):
            page = self.peek() - VOCABULARY.page_start
            self.offset += 1
        if not VOCABULARY.is_line(self.peek()):
            raise CodecError("expected a line", self.offset)
        self.offset += 1
        return page * 128 + self.ids[self.offset - 1] - VOCABULARY.line_start

    def value(self) -> str:
        start = self.offset
        while self.peek() in VALUE_TOKENS:
            self.offset += 1
        if self.offset == start:
            raise CodecError("expected a value", start)
        return decode_value(self.ids[start : self.offset])

    def end(self) -> None:
        self.take(_END)
        if self.offset != len(self.ids):
            raise CodecError("expected nothing after the end", self.offset)


def _push(reader: Reader, tokens: _Tokens) -> list[Frame]:
    """Frames out of the tokens up to the end mark, which stays."""
    reader.offset = reader.first = tokens.offset
    frames: list[Frame] = []
    while tokens.peek() not in (_END, -1):
        frames += reader.push(tokens.peek())
        tokens.offset += 1
    return frames + reader.finish()


def _read_frame(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    answer.frames = _push(reader, tokens)
    if len(answer.frames) != 1:
        raise CodecError(f"expected one frame, found {len(answer.frames)}", tokens.offset)
    tokens.end()


def _read_run(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    answer.line = tokens.line()
    if tokens.peek() == _NEVER:
        tokens.offset += 1
        _read_exit(answer, reader, tokens)
        return
    other = Reader(reader.context, reader.entry_line, reader.python, reader.names)
    other.offset = tokens.offset
    tokens.take(_IDS["<snapshot>"])
    other.read_snapshot(tokens.ids)
    answer.reached, tokens.offset = other.stack, other.offset
    tokens.end()


def _read_exit(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    mark = tokens.take(_RETURN, _RAISE, _NEVER)
    if mark != _NEVER:
        answer.outcome = Outcome("return" if mark == _RETURN else "exception")
        answer.value = tokens.value()
    tokens.end()


def _read_count(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    _read_exit(answer, reader, tokens)
    if answer.value is not None:
        if not answer.value.isdecimal():
            raise CodecError("expected a number of frames", tokens.offset)
        answer.count, answer.value = int(answer.value), None


def _read_before(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    _read_frame(answer, reader, tokens)
    answer.locals, answer.earlier_line = answer.frames[0].locals, answer.frames[0].line


def _read_change(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    token = tokens.peek()
    name = reader.spelled.get(token)
    tokens.offset += 1
    if token == _IDS["<name>"]:
        start = tokens.offset
        while tokens.peek() not in (_IDS["<name>"], -1):
            tokens.offset += 1
        name = bytes(tokens.ids[start : tokens.offset]).decode()
        tokens.take(_IDS["<name>"])
    if name is None or not reader.stack:
        raise CodecError("expected the name of a variable", tokens.offset - 1)
    answer.changed = name, tokens.value()
    reader.stack[-1].locals[name] = answer.changed[1]
    answer.frames = _push(reader, tokens)
    if tokens.peek() == _END:
        last = answer.frames[-1].event if answer.frames else ""
        answer.outcome = Outcome("return" if last == "return" else "exception")
        tokens.end()


def _read_arguments(answer: Answer, reader: Reader, tokens: _Tokens) -> None:
    tokens.take(_RETURN)
    answer.returned = tokens.value()
    tokens.take(_IDS["<call>"])
    while tokens.peek() in reader.spelled:
        name = reader.spelled[tokens.peek()]
        tokens.offset += 1
        answer.locals[name] = tokens.value()
    tokens.end()


_ANSWERS = {
    "step over": _read_frame, "step out": _read_frame, "run to": _read_run, "continue": _read_exit,
    "output": _read_exit, "count": _read_count, "before": _read_before, "change": _read_change,
    "arguments": _read_arguments,
}  # fmt: skip
