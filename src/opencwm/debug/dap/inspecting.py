"""Requests that look: threads, the stack, variables and their children, expressions, sources."""

from __future__ import annotations

from typing import Any

from opencwm.debug.breakpoints import names_at
from opencwm.debug.confidence import percent
from opencwm.debug.dap.base import CONTEXT, REAL, WALKED, Arguments, Body, Handle, RequestError, Requests
from opencwm.debug.lookup import LookupFailed, look_up
from opencwm.debug.session import Lane
from opencwm.debug.values import children, count, kind_of

SHOWN = 10_000
"""Characters of a value that are sent; evaluating it for the clipboard sends it whole."""

PAGE = 1000
"""Children that are sent at once if the client does not ask for a range."""


class Inspecting(Requests):
    """Nothing of the program runs: expressions are answered from the frame's values."""

    def on_threads(self, arguments: Arguments) -> Body:
        """The run being walked, and the real run beside it."""
        names = {number: self.lane(number).title for number in self.threads()}
        return {"threads": [{"id": number, "name": f"{names[number]} run"} for number in names]}

    def on_stackTrace(self, arguments: Arguments) -> Body:
        """The call stack, innermost first."""
        thread = arguments.get("threadId")
        lane = self.lane(thread)
        stack = lane.timeline.stack()[::-1]
        start = int(arguments.get("startFrame") or 0)
        levels = int(arguments.get("levels") or 0) or len(stack)
        found = []
        for entry in stack[start : start + levels]:
            self.frames.append((thread if thread == REAL else WALKED, entry.index))
            frame = {
                "id": len(self.frames),
                "name": entry.function,
                "line": self.line_out(entry.line),
                "column": 1 if self.client.get("columnsStartAt1", True) else 0,
                "source": self.source(entry.line, lane),
            }
            found.append(frame)
        return {"stackFrames": found, "totalFrames": len(stack)}

    def on_scopes(self, arguments: Arguments) -> Body:
        """Locals; what is returned or raised; the real run's locals; how sure the model was."""
        thread, index = self.place_of(arguments.get("frameId"))
        timeline = self.lane(thread).timeline
        prediction = timeline.prediction_at(index)
        scopes = [self._scope("Locals", "locals", thread, index, len(timeline.locals_at(index)))]
        scopes[0]["presentationHint"] = "locals"
        if prediction.frame.value is not None:
            name = "Exception" if prediction.frame.event == "exception" else "Return value"
            scopes.append(self._scope(name, "value", thread, index, 1))
        if thread == WALKED and REAL in self.threads() and index < self.lane(REAL).timeline.known:
            real = self.lane(REAL).timeline
            scopes.append(self._scope("Really", "locals", REAL, index, len(real.locals_at(index))))
        if prediction.source == "model":
            scopes.append(self._scope("Confidence", "confidence", thread, index, 2 + len(prediction.values)))
        return {"scopes": scopes}

    def on_variables(self, arguments: Arguments) -> Body:
        """The names of a scope, or the children of a value."""
        handle = self.handle_of(arguments.get("variablesReference"))
        start, many = int(arguments.get("start") or 0), int(arguments.get("count") or 0) or PAGE
        timeline = self.lane(handle.thread).timeline
        if handle.kind == "confidence":
            return {"variables": self._confidence(handle)[start : start + many]}
        if handle.kind == "locals":
            pairs = list(timeline.locals_at(handle.index).items())[start : start + many]
            found = [(name, text, name) for name, text in pairs]
        elif handle.kind == "value":
            frame = timeline.prediction_at(handle.index).frame
            name = "__exception__" if frame.event == "exception" else "__return__"
            found = [(name, frame.value or "", name)]
        else:
            parts = children(handle.text, start=start, limit=many)
            found = [(label, text, _below(handle.path, label)) for label, text in parts]
        return {"variables": [self._variable(handle, *item) for item in found]}

    def on_evaluate(self, arguments: Arguments) -> Body:
        """An expression on a frame's values."""
        thread, index = WALKED, self.session.timeline.position
        if arguments.get("frameId"):
            thread, index = self.place_of(arguments["frameId"])
        expression = arguments.get("expression")
        if not isinstance(expression, str) or not expression.strip():
            raise RequestError("evaluate which expression?")
        try:
            text = look_up(expression, names_at(self.lane(thread).timeline, index))
        except LookupFailed as error:
            raise RequestError(str(error)) from None
        answer = self._value(text, Handle("parts", thread, index, text, expression))
        if arguments.get("context") == "clipboard":
            answer["value"] = text
        return {"result": answer.pop("value"), **answer}

    def on_completions(self, arguments: Arguments) -> Body:
        """Names that begin with what was typed."""
        column = int(arguments.get("column") or 1) - int(self.client.get("columnsStartAt1", True))
        typed = str(arguments.get("text", ""))[:column]
        word = typed[len(typed.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")) :]
        thread, index = WALKED, self.session.timeline.position
        if arguments.get("frameId"):
            thread, index = self.place_of(arguments["frameId"])
        names = [name for name in names_at(self.lane(thread).timeline, index) if name.startswith(word)]
        return {"targets": [{"label": name, "type": "variable", "length": len(word)} for name in names]}

    def on_setVariable(self, arguments: Arguments) -> Body:
        """Give a variable another value: the walk goes on in the future in which it has that."""
        handle = self.handle_of(arguments.get("variablesReference"))
        name = str(arguments.get("name", ""))
        if handle.kind not in ("locals", "value", "parts") or handle.thread == REAL:
            raise RequestError("this cannot be changed: it is what really happened, or the model's own confidence")
        target = _below(handle.path, name) if handle.kind == "parts" else name
        return self._change(target, str(arguments.get("value", "")), handle.index)

    def on_setExpression(self, arguments: Arguments) -> Body:
        """As setVariable, by expression."""
        index = self.session.timeline.position
        if arguments.get("frameId"):
            thread, index = self.place_of(arguments["frameId"])
            if thread == REAL:
                raise RequestError("what really happened cannot be changed")
        return self._change(str(arguments.get("expression", "")), str(arguments.get("value", "")), index)

    def on_exceptionInfo(self, arguments: Arguments) -> Body:
        """What is being raised at the current frame."""
        frame = self.lane(arguments.get("threadId")).timeline.frame
        if frame.event != "exception":
            raise RequestError("no exception is raised here")
        text = frame.value or ""
        return {
            "exceptionId": text.partition("(")[0],
            "description": text[:SHOWN],
            "breakMode": "unhandled" if frame.depth == 0 else "always",
        }

    def on_source(self, arguments: Arguments) -> Body:
        """The text of the context."""
        given = arguments.get("source") or {}
        if CONTEXT not in (arguments.get("sourceReference"), given.get("sourceReference")):
            raise RequestError("no such source")
        return {"content": self.session.lane.program.context, "mimeType": "text/x-python"}

    def on_loadedSources(self, arguments: Arguments) -> Body:
        """The program's file, and the context with its entry."""
        lane = self.session.lane
        last = lane.program.context.count("\n") + 1
        found = {str(source): source for source in (self.source(1, lane), self.source(last, lane))}
        return {"sources": list(found.values())}

    def _change(self, target: str, expression: str, index: int) -> Body:
        session = self.session
        if index != session.timeline.position:
            raise RequestError("only the innermost function's values can be changed: go to that frame first")
        parent = session.lane
        lane = session.change(target, expression, index=index)
        self.forget()
        self.announce(lane, parent)
        text = look_up(target, names_at(lane.timeline, index))
        return self._value(text, Handle("parts", WALKED, index, text, target))

    def announce(self, lane: Lane, parent: Lane) -> None:
        """Tell that the walk goes on in another future."""
        self.tell(f"lane {lane.number}: the future with {lane.title}, from frame {lane.fork} of lane {parent.number}")
        if self.client.get("supportsInvalidatedEvent"):
            self.event("invalidated", areas=["all"])

    def _scope(self, name: str, kind: str, thread: int, index: int, size: int) -> dict[str, Any]:
        reference = self.handle(Handle(kind, thread, index))
        return {"name": name, "variablesReference": reference, "namedVariables": size, "expensive": False}

    def _variable(self, handle: Handle, name: str, text: str, path: str) -> dict[str, Any]:
        return {
            "name": name,
            "evaluateName": path,
            **self._value(text, Handle("parts", handle.thread, handle.index, text, path)),
        }

    def _value(self, text: str, handle: Handle) -> dict[str, Any]:
        cut = text if len(text) <= SHOWN else f"{text[:SHOWN]} ...+{len(text) - SHOWN}"
        parts = count(text)
        answer: dict[str, Any] = {"value": cut, "type": kind_of(text), "variablesReference": 0}
        if parts:
            indexed = text[:1] in "[({" and children(text, limit=1)[:1] and children(text, limit=1)[0][0] == "[0]"
            answer["variablesReference"] = self.handle(handle)
            answer["indexedVariables" if indexed else "namedVariables"] = parts
        return answer

    def _confidence(self, handle: Handle) -> list[dict[str, Any]]:
        prediction = self.lane(handle.thread).timeline.prediction_at(handle.index)
        parts = {"frame": prediction.probability, "where control goes": prediction.branch}
        parts |= {name or "value": chance for name, chance in prediction.values.items()}
        hint = {"attributes": ["readOnly"]}
        return [
            {
                "name": name,
                "value": f"{percent(chance)} ({chance:.3f})",
                "variablesReference": 0,
                "presentationHint": hint,
            }
            for name, chance in parts.items()
        ]


def _below(path: str, label: str) -> str:
    """The expression of a child."""
    return path + label if label[:1] == "[" else f"{path}.{label}"
