"""An editor's conversation: from initialize to disconnect, every message checked against the protocol's schema."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opencwm.debug.session import Session
from opencwm.debug.sources import Sources
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction, Run, Runnable, WorldError

Connect = Callable[..., Any]
Client = Any


class Guessing:
    """A world that predicts what happens, but for the frames that `wrong` changes; it can continue any prefix."""

    name = "guessing"

    def __init__(self, wrong: dict[int, dict[str, str]] | None = None, give_up_at: int = -1) -> None:
        self.wrong, self.give_up_at = wrong or {}, give_up_at

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        return _Guess(record(program), len(prefix), self)


class _Guess(RecordedRun):
    def __init__(self, trace: Trace, start: int, world: Guessing) -> None:
        super().__init__(trace, start)
        self.count, self.world = start, world

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self.count == self.world.give_up_at:
            raise WorldError("the model has timed out: try again")
        found = super().__next__()
        changes = self.world.wrong.get(self.count, {})
        self.count += 1
        frame = replace(found.frame, locals={**found.frame.locals, **changes}) if changes else found.frame
        return Prediction(frame, 0.7, 0.9, dict.fromkeys(frame.locals, 0.8), "model")


def guessing(connect: Connect, world: Guessing) -> Client:
    def opener(arguments: dict[str, Any]) -> Session:
        program = Program.read(arguments["program"], "f(4)")
        return Session(
            program,
            Sources(lambda: world, record),
            arguments.get("mode", "both"),
            path=Path(arguments["program"]),
            call="f(4)",
        )

    return connect(opener)


def test_from_initialize_to_disconnect(client: Client, file: Path) -> None:
    stopped = client.launch(program=str(file))
    assert stopped["reason"] == "entry" and stopped["threadId"] == 1
    assert [thread["name"] for thread in client.ask("threads")["threads"]] == ["real run"]
    # The entry has no line in the file: its source is fetched by reference.
    top = client.top()
    assert (top["name"], top["line"], top["source"]["sourceReference"]) == ("main", 12, 1)
    assert "return f(4)" in client.ask("source", sourceReference=1)["content"]
    client.move("stepIn")
    client.move("stepIn")
    top = client.top()
    assert (top["name"], top["line"], top["source"]["path"]) == ("f", 5, str(file))
    assert {source["name"] for source in client.ask("loadedSources")["sources"]} >= {"squares.py"}
    client.ask("disconnect")
    assert client.read() is None


def test_capabilities_are_truthful(client: Client, file: Path) -> None:
    """For each request that a capability promises there is a handler."""
    promised = client.ask("initialize", adapterID="x")
    requests = {
        "supportsConfigurationDoneRequest": "configurationDone", "supportsFunctionBreakpoints": "setFunctionBreakpoints",
        "supportsDataBreakpoints": "setDataBreakpoints", "supportsBreakpointLocationsRequest": "breakpointLocations",
        "supportsExceptionInfoRequest": "exceptionInfo", "supportsCompletionsRequest": "completions",
        "supportsSetVariable": "setVariable", "supportsSetExpression": "setExpression", "supportsStepBack": "stepBack",
        "supportsGotoTargetsRequest": "gotoTargets", "supportsRestartRequest": "restart",
        "supportsTerminateRequest": "terminate", "supportsLoadedSourcesRequest": "loadedSources",
        "supportsCancelRequest": "cancel",
    }  # fmt: skip
    for capability, request in requests.items():
        assert promised[capability] is True and hasattr(client.adapter, f"on_{request}")
    for absent in (
        "supportsDisassembleRequest",
        "supportsRestartFrame",
        "supportsReadMemoryRequest",
        "supportsModulesRequest",
    ):
        assert not promised.get(absent)


def test_breakpoints_of_all_kinds(client: Client, file: Path) -> None:
    source = {"path": str(file)}
    client.launch(program=str(file))
    answer = client.ask(
        "setBreakpoints",
        source=source,
        breakpoints=[{"line": 8, "condition": "i >= 2"}, {"line": 4}, {"line": 99}, {"line": 3, "condition": "x ="}],
    )["breakpoints"]
    assert [item["verified"] for item in answer] == [True, True, False, False]
    assert answer[1]["line"] == 5 and "line 4 never runs" in answer[1]["message"]
    assert "is not an expression" in answer[3]["message"]
    assert client.move("continue")["hitBreakpointIds"] == [answer[1]["id"]]
    assert client.move("continue")["reason"] == "breakpoint"
    assert client.variables()["i"]["value"] == "2"
    client.ask("setBreakpoints", source=source, breakpoints=[])
    verified = client.ask("setFunctionBreakpoints", breakpoints=[{"name": "square"}, {"name": "cube"}])["breakpoints"]
    assert [item["verified"] for item in verified] == [True, False]
    assert client.move("continue")["reason"] == "function breakpoint"
    assert client.move("reverseContinue")["reason"] == "function breakpoint"
    client.ask("setFunctionBreakpoints", breakpoints=[])
    client.move("stepOut")
    scopes = client.ask("scopes", frameId=client.top()["id"])["scopes"]
    info = client.ask("dataBreakpointInfo", name="total", variablesReference=scopes[0]["variablesReference"])
    assert info["dataId"] == "f:total" and info["accessTypes"] == ["write"]
    client.ask("setDataBreakpoints", breakpoints=[{"dataId": "f:total"}])
    assert client.move("continue")["reason"] == "data breakpoint"
    assert client.ask("breakpointLocations", source=source, line=1, endLine=5)["breakpoints"] == [
        {"line": n} for n in (1, 2, 3, 5)
    ]


def test_logpoints_and_hit_counts(client: Client, file: Path) -> None:
    points = {
        "source": {"path": str(file)},
        "breakpoints": [{"line": 8, "logMessage": "i={i}"}, {"line": 2, "hitCondition": "3"}],
    }
    client.launch(points, program=str(file))
    client.move("continue")
    assert client.variables()["x"]["value"] == "2"
    outputs = [event["body"]["output"] for event in client.events if event["event"] == "output"]
    assert outputs == ["i=0\n", "i=1\n", "i=2\n"]


def test_exceptions(client: Client, file: Path) -> None:
    file.write_text("def f(n):\n    try:\n        int('x')\n    except ValueError:\n        n = 2\n    return n / 0\n")
    client.launch(program=str(file))
    client.ask("setExceptionBreakpoints", filters=["raised"])
    stopped = client.move("continue")
    assert stopped["reason"] == "exception" and "invalid literal" in stopped["text"]
    assert client.ask("exceptionInfo", threadId=1)["exceptionId"] == "ValueError"
    client.ask("setExceptionBreakpoints", filters=[], filterOptions=[{"filterId": "uncaught"}])
    client.move("continue")
    info = client.ask("exceptionInfo", threadId=1)
    assert info["exceptionId"] == "ZeroDivisionError" and info["breakMode"] == "unhandled"
    assert client.variables("Exception")["__exception__"]["value"].startswith("ZeroDivisionError")


def test_variables_have_children(client: Client, file: Path) -> None:
    client.launch({"source": {"path": str(file)}, "breakpoints": [{"line": 10}]}, program=str(file))
    client.move("continue")
    rows = client.variables()["rows"]
    assert rows["type"] == "list of 2" and rows["indexedVariables"] == 2
    children = client.ask("variables", variablesReference=rows["variablesReference"])["variables"]
    assert [(item["name"], item["value"]) for item in children] == [("[0]", "[1, 2]"), ("[1]", "{'a': (3,)}")]
    assert children[1]["evaluateName"] == "rows[1]"
    deeper = client.ask("variables", variablesReference=children[1]["variablesReference"])["variables"][0]
    assert (deeper["name"], deeper["value"], deeper["evaluateName"]) == ("['a']", "(3,)", "rows[1]['a']")
    some = client.ask("variables", variablesReference=rows["variablesReference"], start=1, count=1)["variables"]
    assert [item["name"] for item in some] == ["[1]"]
    assert (
        client.ask("evaluate", expression="len(rows) + total", frameId=client.top()["id"], context="watch")["result"]
        == "16"
    )
    assert "nothing of the program is run" in client.refused("evaluate", expression="square(2)")
    assert [t["label"] for t in client.ask("completions", text="ro", column=3)["targets"]] == ["rows"]


def test_backwards_and_jumps(client: Client, file: Path) -> None:
    client.launch(program=str(file))
    targets = client.ask("gotoTargets", source={"path": str(file)}, line=8)["targets"]
    assert [item["label"].partition(" (")[0] for item in targets] == [f"line 8, time {n}" for n in (1, 2, 3, 4)]
    assert client.move("goto", targetId=targets[2]["id"])["reason"] == "goto"
    assert client.variables()["i"]["value"] == "2"
    client.move("stepBack")
    assert client.top()["line"] == 7
    client.move("next")
    client.move("next")
    assert client.top()["line"] == 7
    assert client.move("reverseContinue")["description"] == "the run starts here"


def test_the_end_of_the_run_can_be_left_backwards(client: Client, file: Path) -> None:
    client.launch(program=str(file))
    assert client.move("continue")["description"] == "the run ends here: return"
    client.move("stepBack")
    client.move("continue")
    client.ask("continue", threadId=1)
    client.event("terminated")
    assert "restart it" in client.refused("next", threadId=1)
    client.ask("restart")
    assert client.event("stopped")["reason"] == "entry"


def test_without_stop_at_the_end_or_at_all(client: Client, file: Path) -> None:
    client.ask("initialize", adapterID="x")
    client.ask("launch", program=str(file), noDebug=True)
    client.ask("configurationDone")
    client.event("terminated")


def test_setting_a_variable_opens_the_future_in_which_it_has_that_value(connect: Connect, file: Path) -> None:
    client = guessing(connect, Guessing())
    client.launch(
        {"source": {"path": str(file)}, "breakpoints": [{"line": 9}]},
        program=str(file),
        client={"supportsInvalidatedEvent": True},
    )
    client.move("continue")
    client.move("next")
    reference = client.ask("scopes", frameId=client.top()["id"])["scopes"][0]["variablesReference"]
    assert client.ask("setVariable", variablesReference=reference, name="total", value="total * 10")["value"] == "140"
    client.event("invalidated")
    assert client.variables()["total"]["value"] == "140"
    assert client.ask("setExpression", expression="rows[1]['a']", value="7")["value"] == "7"
    assert client.variables()["rows"]["value"] == "[[1, 2], {'a': 7}]"
    assert "no name" in client.refused("setExpression", expression="zz", value="7")
    client.move("stepBack")


def test_predicted_beside_real_and_where_they_part(connect: Connect, file: Path) -> None:
    real = record(Program.parse(file.read_text(), "f(4)"))
    wrong = next(n for n, frame in enumerate(real.frames) if frame.locals.get("total") == "5")
    client = guessing(connect, Guessing({wrong: {"total": "6"}}))
    client.launch(program=str(file))
    assert client.adapter.session.reality is not None
    client.adapter.session.reality.wait()
    client.move("stepIn")
    assert client.event("thread")["threadId"] == 2
    assert [t["name"] for t in client.ask("threads")["threads"]] == ["predicted run", "real run"]
    client.ask("setDataBreakpoints", breakpoints=[{"dataId": "f:total", "condition": "total == 6"}])
    client.move("continue")
    told = client.event("output")["output"]
    assert told.startswith("here the runs part: total: predicted 6, really 5; after line 8: total += square(i)")
    assert client.variables("Really")["total"]["value"] == "5" and client.variables()["total"]["value"] == "6"
    assert client.variables("Confidence")["frame"]["value"] == "70% (0.700)"
    assert client.top(2)["line"] == client.top(1)["line"]
    assert "cannot be changed" in client.refused(
        "setVariable",
        variablesReference=client.ask("scopes", frameId=client.top(2)["id"])["scopes"][0]["variablesReference"],
        name="total",
        value="1",
    )


def test_unsure_frames_stop_as_an_exception_filter(connect: Connect, file: Path) -> None:
    client = guessing(connect, Guessing())
    client.launch(program=str(file))
    client.ask("setExceptionBreakpoints", filters=[], filterOptions=[{"filterId": "unsure", "condition": "0.75"}])
    assert "less sure than 0.75" in client.move("continue")["description"]
    bad = client.ask("setExceptionBreakpoints", filters=[], filterOptions=[{"filterId": "unsure", "condition": "much"}])
    assert not bad["breakpoints"][0]["verified"]


def test_a_world_that_times_out_leaves_the_session_where_it_was(connect: Connect, file: Path) -> None:
    world = Guessing(give_up_at=6)
    client = guessing(connect, world)
    client.launch(program=str(file), mode="predicted")
    assert "timed out" in client.move("continue")["text"]
    assert client.top()["name"] == "main"
    world.give_up_at = -1
    assert client.move("continue")["description"] == "the run ends here: return"


class Endless:
    """A world whose run never ends, slowly."""

    name = "endless"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        class Forever(RecordedRun):
            def __next__(self) -> Prediction:
                gate.wait(0.02)
                return Prediction(Frame("line", 2, "main", 0, {"x": "1"}), source="model")

        gate = __import__("threading").Event()
        return Forever(Trace(program.context, 1, (), Outcome("return"), "3.11"))


def endless(connect: Connect, file: Path) -> Client:
    def opener(arguments: dict[str, Any]) -> Session:
        return Session(Program.read(str(file), "f(4)"), Sources(Endless), "predicted", path=file, call="f(4)")

    client = connect(opener)
    client.launch(program=str(file), client={"supportsProgressReporting": True})
    client.ask("continue", threadId=1)
    return client


def test_a_slow_prediction_reports_progress_and_can_be_cancelled(connect: Connect, file: Path) -> None:
    client = endless(connect, file)
    started = client.event("progressStart")
    assert started["cancellable"] is True
    client.event("progressUpdate")
    assert "pause it first" in client.refused("stackTrace", threadId=1)
    assert client.ask("threads")["threads"]
    client.ask("cancel", progressId=started["progressId"])
    client.event("progressEnd")
    assert client.event("stopped")["description"] == "cancelled"
    assert client.adapter.session.timeline.position == 0


def test_a_slow_prediction_can_be_paused_where_it_is(connect: Connect, file: Path) -> None:
    client = endless(connect, file)
    client.event("progressUpdate")
    client.ask("pause", threadId=1)
    assert client.event("stopped")["description"] == "paused"
    assert client.adapter.session.timeline.position > 3
    client.ask("disconnect")


# What clients should not do


def test_requests_out_of_order_are_refused_and_change_nothing(client: Client, file: Path) -> None:
    assert "initialize first" in client.refused("launch", program=str(file))
    client.ask("initialize", adapterID="x")
    assert "already" in client.refused("initialize", adapterID="x")
    for command in ("next", "stackTrace", "setBreakpoints", "configurationDone", "evaluate"):
        assert "launch first" in client.refused(command)
    assert "cannot read" in client.refused("launch", program=str(file) + "x")
    client.ask("launch", program=str(file))
    assert "already" in client.refused("launch", program=str(file))
    client.ask("configurationDone")
    client.event("stopped")
    assert "already" in client.refused("configurationDone")
    assert "not supported" in client.refused("disassemble")
    assert "not supported" in client.refused("__init__")
    for command, arguments in [
        ("scopes", {"frameId": 99}), ("variables", {"variablesReference": 99}), ("next", {"threadId": 7}),
        ("goto", {"targetId": "x"}), ("setBreakpoints", {"source": {"path": str(file)}, "breakpoints": [3]}),
        ("setBreakpoints", {"source": {"path": str(file)}, "breakpoints": [{"line": "x"}]}), ("evaluate", {}),
        ("stackTrace", {"threadId": 1, "startFrame": [1]}), ("variables", {"variablesReference": None}),
    ]:  # fmt: skip
        assert client.refused(command, **arguments)
    assert client.top()["name"] == "main"


def test_garbage_is_ignored_or_ends_the_connection(client: Client) -> None:
    client.raw(b"Content-Length: 5\r\n\r\nhello")
    assert "not JSON" in client.event("output")["output"]
    client.raw(b"Content-Length: 2\r\n\r\n[]")
    assert "not a JSON object" in client.event("output")["output"]
    client.raw(b'Content-Length: 16\r\n\r\n{"type":"event"}')
    assert "no request" in client.event("output")["output"]
    client.ask("initialize", adapterID="x")
    client.raw(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert "not a header" in client.event("output")["output"]
    assert client.read() is None


@pytest.mark.parametrize(
    "data", [b"Content-Length: x\r\n\r\n", b"Content-Length: 99999999999\r\n\r\n", b"A: b\r\n\r\n", b"x" * 9999]
)
def test_headers_that_are_none(client: Client, data: bytes) -> None:
    client.raw(data)
    client.event("output")
    assert client.read() is None


def test_a_file_edited_while_stepping(client: Client, file: Path) -> None:
    client.launch(program=str(file))
    file.write_text(file.read_text().replace("x * x", "x * x * x"))
    client.move("stepIn")
    assert "has been edited" in client.event("output")["output"]
    client.ask("restart")
    client.event("stopped")
    client.ask("setBreakpoints", source={"path": str(file)}, breakpoints=[{"line": 10}])
    client.move("continue")
    assert client.variables()["total"]["value"] == "36"
    file.write_text("def f(:\n")
    assert "fix the syntax" in client.refused("restart")
    assert client.variables()["total"]["value"] == "36"


def test_zero_based_lines_and_uris(client: Client, file: Path) -> None:
    client.ask("initialize", adapterID="x", linesStartAt1=False, columnsStartAt1=False, pathFormat="uri")
    client.ask("launch", program=str(file), stopOnEntry=False)
    client.event("initialized")
    answer = client.ask("setBreakpoints", source={"path": file.as_uri()}, breakpoints=[{"line": 7}])["breakpoints"][0]
    assert answer["line"] == 7 and answer["source"]["path"] == file.as_uri()
    client.ask("configurationDone")
    assert client.event("stopped")["reason"] == "breakpoint"
    assert client.top()["line"] == 7


def test_huge_and_hostile_values(connect: Connect, file: Path) -> None:
    source = "def f():\n    x = 1\n    return x\n"
    huge = "[" + "'\\x1b[2J</script>', " * 500_000 + "]"
    frames = (
        Frame("call", 1, "f", 0),
        Frame("line", 3, "f", 0, {"x": huge, "<b>": "'\ud800'"}),
        Frame("return", 3, "f", 0, {}, "1"),
    )
    run = RecordedRun(Trace(source, 1, frames, Outcome("return"), "3.11"))
    client = connect(lambda arguments: Session(Program(source, function="f"), Sources(), "real", given=run))
    client.launch(program="x")
    client.move("next")
    value = client.variables()["x"]
    assert len(value["value"]) < 11_000 and value["value"].endswith(f"...+{len(huge) - 10_000}")
    assert len(client.ask("evaluate", expression="x", context="clipboard")["result"]) == len(huge)
    assert "cannot be made anew" in client.refused("restart")


def test_the_token_is_needed(connect: Connect, file: Path) -> None:
    client = connect(token="right")
    client.ask("initialize", adapterID="x")
    assert "token" in client.refused("launch", program=str(file))
    assert "token" in client.refused("attach", program=str(file), token="wrong")
    client.ask("launch", program=str(file), token="right")


def test_the_extension_offers_what_launch_reads() -> None:
    import json
    import shutil
    import subprocess

    folder = Path(__file__).parents[3] / "editors" / "vscode"
    package = json.loads((folder / "package.json").read_text())
    [debugger] = package["contributes"]["debuggers"]
    offered = set(debugger["configurationAttributes"]["launch"]["properties"])
    assert offered == {"program", "call", "mode", "stopOnEntry", "stopAtEnd", "stopBelow", "trace", "port", "token"}
    for configuration in json.loads((folder / "launch.json").read_text())["configurations"]:
        assert configuration["type"] == debugger["type"] and set(configuration) <= offered | {"type", "request", "name"}
    if shutil.which("node"):
        subprocess.run(["node", "--check", str(folder / package["main"])], check=True)
