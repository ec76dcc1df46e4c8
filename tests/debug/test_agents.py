"""The MCP server, asked by the official client in a process of its own: sessions, steps, mistakes, bounded answers."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("mcp", reason="pip install 'opencwm[mcp]'")
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server.mcpserver.exceptions import ToolError

from opencwm.debug.agents import LONGEST, SESSIONS, Agents
from opencwm.debug.sources import Sources
from opencwm.trace.frames import Frame
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction, Run, Runnable, WorldError

SOURCE = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i * 17\n    return total\n"


class Careless:
    """Predicts the real run, but believes that anything times 17 is 1; continues any prefix."""

    name = "careless"

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        class Guess(RecordedRun):
            def __next__(self) -> Prediction:
                found = super().__next__()
                names = {name: "1" if text == "17" else text for name, text in found.frame.locals.items()}
                return replace(found, frame=replace(found.frame, locals=names), probability=0.4, source="model")

        return Guess(record(program), len(prefix))


@pytest.fixture
def agents() -> Agents:
    return Agents(Sources(Careless, record))


def test_the_official_client_can_use_it() -> None:
    async def talk() -> tuple[list[str], Any, Any, Any]:
        server = StdioServerParameters(command=sys.executable, args=["-m", "opencwm.cli", "debug", "--mcp"])
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            assert all(tool.description and tool.input_schema["type"] == "object" for tool in tools)
            ran = await session.call_tool("predict_run", {"source": SOURCE, "call": "f(2)", "mode": "real"})
            stepped = await session.call_tool("step", {"session": 1, "movement": "until", "line": 5})
            missing = await session.call_tool("step", {"session": 7})
            return [tool.name for tool in tools], ran, stepped, missing

    names, ran, stepped, missing = asyncio.run(talk())
    assert {"predict_run", "step", "why_diverged", "compare_runs"} <= set(names)
    assert ran.structured_content["result"] == "17" and ran.structured_content["session"] == 1
    assert stepped.structured_content["locals"] == {"n": "2", "total": "17", "i": "1"}
    assert missing.is_error and "no session 7; open are: 1" in missing.content[0].text


def test_a_run_and_steps_through_it(agents: Agents) -> None:
    ran = agents.predict_run(SOURCE, "f(3)", "both")
    assert ran["frames"][2] == {
        "frame": 2,
        "event": "call",
        "line": 1,
        "code": "def f(n):",
        "changed": {"n": "3"},
        "sure": 0.4,
    }
    assert ran["real"]["result"] == "51" and ran["real"]["parting"]["differences"] == ["total: predicted 1, really 17"]
    assert ran["real"]["parting"]["code"] == "total += i * 17"
    view = agents.step(ran["session"], "continue", line=4, condition="i == 1")
    assert view["locals"]["i"] == "1" and view["stopped"] == "interrupt"
    assert view["stack"] == ["main, line 8", "f, line 4"]
    assert agents.step(ran["session"], "back_over")["line"] == 3
    assert agents.step(ran["session"], "goto", frame=0)["event"] == "call"
    assert agents.step(ran["session"], "step", count=3)["frame"] == 3
    changed = agents.step(ran["session"], "until", line=5, change={"n": "1"})
    assert changed["future"] == "n = 1"
    assert agents.step(ran["session"], "continue")["outcome"] == "return"


def test_what_is_long_is_cut_and_bounded(agents: Agents) -> None:
    ran = agents.predict_run(
        "def f():\n    x = 'y' * 1500\n    for i in range(500): pass\n    return x\n", "f()", "real", max_frames=100_000
    )
    assert len(ran["frames"]) == 200 and "more" in ran
    view = agents.step(ran["session"], "continue")
    assert len(view["returns"]) < LONGEST + 30


def test_why_it_diverged(agents: Agents) -> None:
    why = agents.why_diverged(SOURCE, "f(3)")
    assert why["parting"]["after_line"] == 4 and why["predicted"][-1]["frame"] == why["parting"]["frame"]
    assert why["real"][-1]["changed"] == {"total": "17"} and why["predicted"][-1]["sure"] == 0.4
    assert agents.why_diverged(SOURCE.replace("17", "2"), "f(3)")["parting"] is None


def test_two_versions_compared(agents: Agents) -> None:
    answer = agents.compare_runs(SOURCE, "f(3)", SOURCE.replace("17", "18"))
    assert answer["difference"] == ["total: first 17, second 18"]
    assert answer["first"]["result"] == "51" and answer["second_frame"]["changed"] == {"total": "18"}
    assert agents.compare_runs(SOURCE, "f(3)", other_call="f(3)")["difference"] is None


def test_mistakes_are_tool_errors_with_the_remedy(agents: Agents) -> None:
    with pytest.raises(ToolError, match="fix the syntax"):
        agents.predict_run("def f(:", "f()")
    with pytest.raises(ToolError, match="open are: none"):
        agents.step(1)
    number = agents.predict_run(SOURCE, "f(3)", "real")["session"]
    for arguments, reason in [
        ({"movement": "until"}, "needs a line"), ({"movement": "goto"}, "needs a frame"), ({"movement": "goto", "frame": 999}, "no frame 999"),
        ({"change": {"zz": "1"}}, "no name"), ({"movement": "continue", "line": 4, "condition": "i ="}, "not an expression"),
    ]:  # fmt: skip
        with pytest.raises(ToolError, match=reason):
            agents.step(number, **arguments)  # type: ignore[arg-type]
    assert agents.step(number)["frame"] == 1


def test_old_sessions_are_forgotten(agents: Agents) -> None:
    for _ in range(SESSIONS + 1):
        agents.predict_run(SOURCE, "f(1)", "real")
    with pytest.raises(ToolError, match="no session 1"):
        agents.step(1)
    assert agents.step(2)["frame"] == 1


def test_a_world_that_gives_up_is_a_tool_error() -> None:
    def load() -> Careless:
        raise WorldError("no weights: run cwm train")

    with pytest.raises(ToolError, match="no weights"):
        Agents(Sources(load, record)).predict_run(SOURCE, "f(1)")
