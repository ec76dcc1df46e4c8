"""`HybridWorld`: what can be computed is computed, the rest is predicted; each frame's `source` says which it was.

Notable choices:
- A frame is computed only when it is certain: the statement is an operation on builtin values that are all known
  (`pure.py`), and the line after it is the only one that can follow, or the one that a known test chooses.
- Repr texts do not tell which names share one object. So a statement that changes an object is computed only if no
  other name of the frame shows that object's text, and a call is computed only with arguments that cannot change.
- Where a call returns a known value, the caller's line goes on with it in the call's place.
- Everything else (imports that are missing, the network, unfinished code, unknown input) is the model's to predict,
  which is given all frames so far.
"""

from __future__ import annotations

import ast
import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opencwm.codec.flow import ControlFlow, Scope
from opencwm.debug.index import Index
from opencwm.debug.pure import Evaluator, Raises, Unknown, value_of
from opencwm.debug.statements import Statements, body_line, run_simple
from opencwm.trace.frames import Frame, Outcome
from opencwm.trace.values import render
from opencwm.world.protocol import Prediction, Run, Runnable, World

VALUE_BYTES = 2000
UNCHANGING = (int, float, complex, str, bytes, bool, type(None), range)
OWN_FRAMES = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda
END = Outcome("return")


class HybridWorld:
    """A world that computes what it can and asks `world` for the rest."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = f"{world.name} and computing"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> HybridRun:
        """Start a run, or continue one after `prefix`. Raises WorldError."""
        return HybridRun(self.world, program, prefix)


class HybridRun:
    """Frames computed or predicted, one at a time. `computed` and `predicted` count them."""

    def __init__(self, world: World, program: Runnable, prefix: Sequence[Frame]) -> None:
        self.world, self.program = world, program
        self._model: Run = world.run(program, prefix=prefix)
        self.context, self.entry_line, self.python = program.context, program.entry_line, self._model.python
        self.outcome: Outcome | None = None
        self.computed = self.predicted = 0
        self._frames: list[Frame] = []
        self._computer = Computer(program.context)
        self._asked = len(prefix)  # how many of the frames the model's run has behind it
        for frame in prefix:
            self._note(frame)

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self.outcome is not None:
            raise StopIteration
        frame = self._computer.next_frame()
        if frame is not None:
            self.computed += 1
            prediction = Prediction(frame)
        else:
            if self._asked != len(self._frames):
                self._model = self._go_on()
            prediction = next(self._model)
            self.predicted += 1
            self._asked = len(self._frames) + 1
            self.outcome = self._model.outcome
        self._note(prediction.frame)
        if frame is not None and frame.event == "return" and frame.depth == 0:
            self.outcome = END
        return prediction

    def _go_on(self) -> Run:
        """The model's run after all frames so far; a model in this process reads only what is new."""
        if "reuse" in inspect.signature(self.world.run).parameters:
            return self.world.run(self.program, prefix=self._frames, reuse=self._model)  # type: ignore[call-arg]
        return self.world.run(self.program, prefix=self._frames)

    def _note(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._computer.add(frame)


@dataclass(frozen=True, slots=True)
class _Here:
    """Where the run stands: a `line` frame, its number, its scope and its activation's number of that frame."""

    frame: Frame
    number: int
    scope: Scope


class Computer:
    """Says what follows the frames so far, where that is certain."""

    def __init__(self, context: str) -> None:
        self._frames: list[Frame] = []
        self._index = Index(context)
        self._flow: ControlFlow | None = None
        try:
            self._flow = ControlFlow(context)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._statements = Statements(ast.parse(context))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self._flow = None

    def add(self, frame: Frame) -> None:
        """Note the next frame of the run."""
        self._frames.append(frame)
        self._index.add(frame)

    def next_frame(self) -> Frame | None:
        """The frame that must come next, or None if that cannot be computed."""
        if self._flow is None or not self._frames:
            return None
        number, last = len(self._frames) - 1, self._frames[-1]
        try:
            if last.event == "call":
                return self._enter(last)
            if last.event == "line":
                return self._after(number, {})
            if last.event == "return" and last.depth > 0:
                return self._returned(number)
        except Unknown:
            return None
        return None

    def _scope(self, frame: Frame) -> Scope:
        scope = self._flow.scope(frame.function, frame.line) if self._flow else None
        if scope is None or scope.is_generator or scope.is_class:
            raise Unknown("no plain function")
        return scope

    def _enter(self, call: Frame) -> Frame:
        scope = self._scope(call)
        entries = scope.entries()
        if len(entries) != 1 or scope.line != call.line:
            raise Unknown("several first lines")
        return Frame("line", next(iter(entries)), call.function, call.depth, dict(call.locals))

    def _returned(self, number: int) -> Frame:
        """After a call that returned a value: the caller's line goes on with the value in the call's place."""
        place = self._index.places[number]
        first = place.activation.frames[0]
        opening, caller = self._frames[first], place.caller
        if caller < 0 or self._frames[caller].event != "line" or self._scope(opening).free:
            raise Unknown("no caller's line")
        if not all(isinstance(value_of(text), UNCHANGING) for text in opening.locals.values()):
            raise Unknown("the call may have changed its arguments")
        node = self._only_call(self._frames[caller])
        return self._after(caller, {node: value_of(self._frames[number].value or "")})

    def _only_call(self, frame: Frame) -> ast.Call:
        """The one call of a function of the source in a frame's statement."""
        statement = self._statements.at(frame.line)
        ours = self._statements.program_calls(statement)
        if len(ours) != 1 or isinstance(statement, ast.For) or self._statements.conditional(statement, ours[0]):
            raise Unknown("not one call")
        return ours[0]

    def _after(self, number: int, results: dict[ast.Call, object]) -> Frame:
        """What follows a `line` frame; `results` has the values of calls that were made meanwhile."""
        frame = self._frames[number]
        here = _Here(frame, number, self._scope(frame))
        statement = self._statements.at(frame.line)
        if any(isinstance(node, OWN_FRAMES) for node in self._statements.own(statement)):
            raise Unknown("a comprehension has frames of its own")
        evaluator = Evaluator(frame.locals, changing=True, results=results, certain=True)
        if not results:
            for call in self._statements.program_calls(statement):
                return self._call(here, call)
        try:
            return self._execute(here, statement, evaluator)
        except Raises as error:
            text = render(error.error, VALUE_BYTES)
            return Frame("exception", frame.line, frame.function, frame.depth, value=text)

    def _call(self, here: _Here, call: ast.Call) -> Frame:
        """The `call` frame of a plain function with arguments that cannot change."""
        assert isinstance(call.func, ast.Name)
        function = self._statements.functions[call.func.id]
        names = self._statements.parameters(function)
        if len(call.args) != len(names) or call.keywords or self._only_call(here.frame) is not call:
            raise Unknown("arguments of another kind")
        evaluator = Evaluator(here.frame.locals, certain=True)
        values = [evaluator.value(argument) for argument in call.args]
        if not all(isinstance(value, UNCHANGING) for value in values):
            raise Unknown("an argument that can change")
        texts = {name: _text(value) for name, value in zip(names, values, strict=True)}
        return Frame("call", function.lineno, function.name, here.frame.depth + 1, texts)

    def _execute(self, here: _Here, statement: ast.stmt, evaluator: Evaluator) -> Frame:
        before = {name: copy.deepcopy(value_of(text)) for name, text in self._changeable(here, statement)}
        match statement:
            case ast.Return(value=value):
                result = evaluator.value(value) if value is not None else None
                return self._left(here, _text(result))
            case ast.If(test=test, body=body, orelse=orelse) | ast.While(test=test, body=body, orelse=orelse):
                first = body_line(body)
                holds = evaluator.value(test)  # which may change something: `while xs.pop()`
                self._check_sharing(here, before, evaluator)
                if holds:
                    return self._at(here, first, self._locals(here, evaluator))
                return self._beyond(here, {first}, orelse, self._locals(here, evaluator))
            case ast.For(target=target, body=body, orelse=orelse):
                first = body_line(body)
                items = self._items(here, statement)
                if not items:
                    return self._beyond(here, {first}, orelse, here.frame.locals)
                evaluator.bind(target, items[0])
                return self._at(here, first, self._locals(here, evaluator))
        run_simple(statement, evaluator)
        self._check_sharing(here, before, evaluator)
        return self._beyond(here, set(), [], self._locals(here, evaluator))

    def _items(self, here: _Here, loop: ast.For) -> list[object]:
        """The next item of a `for` loop, in a list; empty where the loop ends. Raises Unknown and Raises."""
        last = loop.body[-1].end_lineno or loop.lineno
        count, number = 0, here.number
        while True:
            before = self._index.places[number].previous
            if before < 0:
                break
            frame = self._frames[before]
            number = before
            if frame.event == "line" and not loop.lineno <= frame.line <= last:
                break
            if frame.event == "line" and frame.line == loop.lineno:
                count += 1
                entry = before
        at_entry = self._frames[entry if count else here.number].locals
        value = Evaluator(at_entry, certain=True).value(loop.iter)
        for node in ast.walk(loop.iter):
            if isinstance(node, ast.Name) and at_entry.get(node.id) != here.frame.locals.get(node.id):
                if not isinstance(value, str | tuple | range):
                    raise Unknown("what is iterated over may have changed")
        if isinstance(value, set | frozenset) and len(value) > 1:
            raise Unknown("the order of a set is not known from its text")
        if not isinstance(value, range) and not hasattr(value, "__len__"):
            raise Raises(TypeError(f"'{type(value).__name__}' object is not iterable"))
        return list(value)[count : count + 1] if not isinstance(value, range) else list(value[count : count + 1])

    def _changeable(self, here: _Here, statement: ast.stmt) -> Iterator[tuple[str, str]]:
        """Names in a statement whose values can change in place."""
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        for name in names & here.frame.locals.keys():
            text = here.frame.locals[name]
            if text[:1] in "[{sf":
                try:
                    value_of(text)
                except Unknown:
                    continue
                yield name, text

    def _check_sharing(self, here: _Here, before: dict[str, object], evaluator: Evaluator) -> None:
        """Raise Unknown if an object was changed in place that other names may show too."""
        for name, old in before.items():
            if name not in evaluator.values or evaluator.values[name] == old or name in evaluator.bound:
                continue
            text = here.frame.locals[name]
            if name in here.scope.arguments or name in here.scope.free:
                raise Unknown("an argument's object may be known elsewhere")
            for other, shown in here.frame.locals.items():
                if other != name and (text in shown or (shown in text and shown[:1] in "[{")):
                    raise Unknown("the object may have another name")

    def _locals(self, here: _Here, evaluator: Evaluator) -> dict[str, str]:
        texts = dict(here.frame.locals)
        for name, value in evaluator.values.items():
            if name in evaluator.bound and name not in here.scope.names:
                raise Unknown(f"{name} is not a local name")
            if name not in here.scope.names or (name not in evaluator.bound and name not in texts):
                continue
            if name not in evaluator.bound and _alike(value_of(texts[name]), value):
                continue  # it was only read
            texts[name] = _text(value)
        for name in evaluator.deleted:
            texts.pop(name, None)
        order = {name: number for number, name in enumerate(here.scope.names)}
        return dict(sorted(texts.items(), key=lambda item: order.get(item[0], len(order))))

    def _beyond(self, here: _Here, excluded: set[int], orelse: list[ast.stmt], names: dict[str, str]) -> Frame:
        """The frame after a statement that goes on where only one line can follow, or that ends the function."""
        line = here.frame.line
        if orelse:
            return self._at(here, body_line(orelse), names)
        following = here.scope.successors(line) - excluded - (here.scope.raised(line).lines - {line})
        if here.scope.may_return(line):
            if following:
                raise Unknown("it may return or go on")
            return self._left(here, "None")
        if len(following) != 1:
            raise Unknown("several lines may follow")
        return self._at(here, next(iter(following)), names)

    def _at(self, here: _Here, line: int, names: dict[str, str]) -> Frame:
        if line not in here.scope.successors(here.frame.line):
            raise Unknown("not a line that follows")
        return Frame("line", line, here.frame.function, here.frame.depth, dict(names))

    def _left(self, here: _Here, value: str) -> Frame:
        frame = here.frame
        if any(line != frame.line for line in here.scope.successors(frame.line) - here.scope.raised(frame.line).lines):
            raise Unknown("a finally or with goes on")
        return Frame("return", frame.line, frame.function, frame.depth, value=value)


def _text(value: object) -> str:
    """The repr text of a value. Raises Unknown where it shows the order of a set, which depends on how it was made."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, set | frozenset) and len(part) > 1:
            raise Unknown("the order of a set is not known from its text")
        if isinstance(part, dict):
            parts += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            parts += part
    return render(value, VALUE_BYTES)


def _alike(one: object, other: object) -> bool:
    """Whether two values would show the same text, the order of sets aside."""
    return one == other if isinstance(one, set | frozenset) else repr(one) == repr(other)
