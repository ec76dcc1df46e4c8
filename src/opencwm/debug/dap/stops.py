"""Requests that set breakpoints: lines, functions, data, exceptions."""

from __future__ import annotations

from typing import Any

from opencwm.debug.breakpoints import Breakpoint, BreakpointError, Kind
from opencwm.debug.dap.base import Arguments, Body, RequestError, Requests

UNSURE_BELOW = 0.8


class Stops(Requests):
    """Each request replaces the breakpoints of its kind, as the protocol has it."""

    def on_setBreakpoints(self, arguments: Arguments) -> Body:
        """Breakpoints on lines of one source."""
        ours = self.is_ours(arguments.get("source"))
        if ours:
            self._clear("line")
        wanted = arguments.get("breakpoints")
        if wanted is None:
            wanted = [{"line": line} for line in arguments.get("lines", [])]
        lines = self.session.breakable() if ours else set()
        return {"breakpoints": [self._on_line(item, lines, ours) for item in _items(wanted)]}

    def on_setFunctionBreakpoints(self, arguments: Arguments) -> Body:
        """Breakpoints on functions by name."""
        self._clear("function")
        known = self.session.functions()
        found = []
        for item in _items(arguments.get("breakpoints")):
            name = str(item.get("name", ""))
            answer = self._add("function", item, function=name)
            if answer["verified"] and not any(full == name or full.endswith("." + name) for full in known):
                answer |= {"verified": False, "message": f"the source has no function {name}"}
            found.append(answer)
        return {"breakpoints": found}

    def on_dataBreakpointInfo(self, arguments: Arguments) -> Body:
        """Whether a variable can be watched."""
        name = arguments.get("name")
        reference = arguments.get("variablesReference")
        if reference:
            handle = self.handle_of(reference)
            if handle.kind != "locals":
                return {"dataId": None, "description": "only whole variables can be watched"}
            thread, index = handle.thread, handle.index
        elif arguments.get("frameId"):
            thread, index = self.place_of(arguments["frameId"])
        else:
            thread, index = 1, self.session.timeline.position
        timeline = self.lane(thread).timeline
        if name not in timeline.locals_at(index):
            return {"dataId": None, "description": f"no variable {name} here"}
        function = timeline.prediction_at(index).frame.function
        return {
            "dataId": f"{function}:{name}",
            "description": f"{name} in {function}",
            "accessTypes": ["write"],
            "canPersist": True,
        }

    def on_setDataBreakpoints(self, arguments: Arguments) -> Body:
        """Breakpoints on changes of variables."""
        self._clear("data")
        found = []
        for item in _items(arguments.get("breakpoints")):
            function, colon, name = str(item.get("dataId", "")).rpartition(":")
            if not colon or not name.isidentifier():
                found.append({"verified": False, "message": f"no data {item.get('dataId')!r}"})
            elif item.get("accessType", "write") != "write":
                found.append({"verified": False, "message": "only changes can be watched"})
            else:
                found.append(self._add("data", item, function=function, name=name))
        return {"breakpoints": found}

    def on_setExceptionBreakpoints(self, arguments: Arguments) -> Body:
        """Exceptions, and frames of which the model is unsure."""
        self._clear("exception")
        self._clear("unsure")
        wanted = [(str(name), None) for name in _names(arguments.get("filters"))]
        for item in _items(arguments.get("filterOptions")):
            wanted.append((str(item.get("filterId")), item.get("condition")))
        found = []
        for name, condition in wanted:
            if name == "raised":
                found.append(self._add("exception", {"condition": condition}))
            elif name == "uncaught":
                found.append(self._add("exception", {}, only="uncaught"))
            elif name == "unsure":
                found.append(self._unsure(condition))
            else:
                found.append({"verified": False, "message": f"no exception filter {name!r}"})
        return {"breakpoints": found}

    def on_breakpointLocations(self, arguments: Arguments) -> Body:
        """Lines of a range at which control can be."""
        if not self.is_ours(arguments.get("source")):
            return {"breakpoints": []}
        first = self.line_in(arguments.get("line"))
        last = self.line_in(arguments["endLine"]) if "endLine" in arguments else first
        lines = sorted(line for line in self.session.breakable() if first <= line <= last)
        return {"breakpoints": [{"line": self.line_out(line)} for line in lines]}

    def _on_line(self, item: Arguments, lines: set[int], ours: bool) -> dict[str, Any]:
        line = self.line_in(item.get("line"))
        if not ours:
            return {"verified": False, "line": item["line"], "message": "not the program's file"}
        nearest = min((other for other in lines if other >= line), default=None)
        if nearest is None:
            return {"verified": False, "line": item["line"], "message": f"line {line} never runs, nor one below it"}
        answer = self._add("line", item, line=nearest)
        answer |= {"line": self.line_out(nearest), "source": self.source(nearest, self.session.lane)}
        if nearest != line:
            answer["message"] = f"line {line} never runs; the next that does is {nearest}"
        return answer

    def _unsure(self, condition: object) -> dict[str, Any]:
        try:
            below = float(str(condition)) if condition else UNSURE_BELOW
        except ValueError:
            below = 0.0
        if not 0 < below <= 1:
            return {"verified": False, "message": f"a number above 0, up to 1, is expected, not {condition!r}"}
        return self._add("unsure", {}, below=below)

    def _add(self, kind: Kind, item: Arguments, **fields: object) -> dict[str, Any]:
        given = {"condition": "condition", "hits": "hitCondition", "log": "logMessage"}
        for ours, theirs in given.items():
            if item.get(theirs):
                fields[ours] = str(item[theirs])
        try:
            point: Breakpoint = self.session.breakpoints.add(kind, **fields)
        except BreakpointError as error:
            return {"verified": False, "message": str(error)}
        return {"id": point.number, "verified": True}

    def _clear(self, kind: Kind) -> None:
        for point in self.session.breakpoints:
            if point.kind == kind:
                self.session.breakpoints.remove(point.number)


def _items(given: object) -> list[Arguments]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise RequestError("breakpoints is a list of objects")
    return given


def _names(given: object) -> list[object]:
    return given if isinstance(given, list) else []
