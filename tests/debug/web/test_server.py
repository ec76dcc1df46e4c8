"""The page's server: who may ask, what it answers, and that hostile values stay text."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

starlette = pytest.importorskip("starlette", reason="pip install 'opencwm[web]'")
from starlette.testclient import TestClient  # noqa: E402

from opencwm.debug.session import Session  # noqa: E402
from opencwm.debug.sources import Sources  # noqa: E402
from opencwm.debug.web.page import Page, embed  # noqa: E402
from opencwm.debug.web.rows import WHOLE, Rows  # noqa: E402
from opencwm.debug.web.server import Application  # noqa: E402
from opencwm.programs.program import Program  # noqa: E402
from opencwm.trace.frames import Frame, Outcome, Trace  # noqa: E402
from opencwm.trace.recorder import record  # noqa: E402
from opencwm.world.interpreter import RecordedRun  # noqa: E402
from opencwm.world.protocol import Prediction, Run, Runnable, WorldError  # noqa: E402

TOKEN, PORT = "secret", 8123
SOURCE = "def f(n):\n    total = 0\n    for i in range(n):\n        total += i\n    return total\n"


class Guess:
    """Predicts what happens; continues any prefix; gives up at a frame."""

    name = "guess"

    def __init__(self, give_up_at: int = -1) -> None:
        self.give_up_at = give_up_at

    def run(self, program: Runnable, *, prefix: Sequence[Frame] = ()) -> Run:
        world = self

        class Guessed(RecordedRun):
            count = len(prefix)

            def __next__(self) -> Prediction:
                if self.count == world.give_up_at:
                    raise WorldError("the model has timed out")
                self.count += 1
                return replace(super().__next__(), probability=0.5, values={"total": 0.25}, source="model")

        return Guessed(record(program), len(prefix))


def session(mode: Any = "predicted", world: Guess | None = None) -> Session:
    made = Session(Program.parse(SOURCE, "f(50)"), Sources(lambda: world or Guess(), record), mode)
    if made.reality is not None:
        made.reality.wait()
    return made


@pytest.fixture
def client() -> TestClient:
    return asking(session())


def asking(walked: Session) -> TestClient:
    app = Application(walked, "a run", TOKEN, PORT).app
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"x-cwm-token": TOKEN})


def test_the_page_has_its_data_and_allows_nothing_else(client: TestClient) -> None:
    page = client.get(f"/?token={TOKEN}").text
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    policy = re.search('content="(default-src[^"]*)"', page)
    assert (
        policy and "default-src 'none'" in policy[1] and "unsafe" not in policy[1] and "connect-src 'self'" in policy[1]
    )
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["token"] == TOKEN and data["lanes"][0]["source"][0] == "def f(n):"
    assert len(data["rows"]["0"]) == 1  # a predicted run starts with one frame, the rest comes as it is asked for


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("/", {}, "token"),
        ("/?token=wrong", {}, "token"),
        ("/api/session", {"x-cwm-token": "wrong"}, "token"),
        (f"/api/session?token={TOKEN}", {"x-cwm-token": ""}, "token"),
        ("/api/session", {"host": "evil.example"}, "host name"),
        ("/api/session", {"host": "127.0.0.1:1"}, "host name"),
        ("/api/session", {"origin": "http://evil.example"}, "origin"),
        ("/api/session", {"origin": "null"}, "origin"),
        (f"/?token={TOKEN}", {"sec-fetch-site": "cross-site"}, "another site"),
    ],
)
def test_others_are_refused(client: TestClient, path: str, headers: dict[str, str], reason: str) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 403 and reason in answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_itself_may_ask(client: TestClient) -> None:
    headers = {"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}
    assert client.get("/api/session", headers=headers).status_code == 200
    assert client.get("/api/session", headers={"host": f"localhost:{PORT}"}).status_code == 200


def test_rows_grow_the_run_as_far_as_is_asked(client: TestClient) -> None:
    answer = client.get("/api/rows?lane=0&from=1&to=8").json()
    assert len(answer["rows"]) == 7 and answer["lane"]["known"] == 8 and answer["lane"]["outcome"] is None
    answer = client.get("/api/rows?lane=0&from=8&to=99999").json()
    assert answer["lane"]["outcome"] == "return" and answer["problem"] is None


def test_a_world_that_gives_up_is_told_and_can_go_on() -> None:
    world = Guess(give_up_at=5)
    client = asking(session(world=world))
    answer = client.get("/api/rows?lane=0&from=0&to=20").json()
    assert len(answer["rows"]) == 5 and "timed out" in answer["problem"]
    world.give_up_at = -1
    assert len(client.get("/api/rows?lane=0&from=5&to=20").json()["rows"]) == 15


def test_a_change_is_a_lane_of_its_own(client: TestClient) -> None:
    client.get("/api/rows?lane=0&from=0&to=20")
    answer = client.post("/api/change", json={"lane": 0, "frame": 6, "name": "total", "value": "total + 5"}).json()
    assert answer["lane"]["parent"] == 0 and answer["lane"]["fork"] == 6 and answer["lane"]["title"] == "total = 5"
    rows = client.get("/api/rows?lane=1&from=0&to=9").json()["rows"]
    assert rows[6][7] == {"i": "0", "total": "5"} or rows[6][7]["total"] == "5"
    edited = client.post("/api/edit", json={"lane": 0, "frame": 2, "line": 4, "text": "total += 2"}).json()
    assert edited["lane"]["source"][3] == "        total += 2"


@pytest.mark.parametrize(
    "body",
    [
        b"no json", b"[]", b"{}", b'{"lane":0,"frame":99999,"name":"n","value":"1"}', b'{"lane":9,"frame":0,"name":"n","value":"1"}',
        b'{"lane":0,"frame":4,"name":"zz","value":"1"}', b'{"lane":0,"frame":4,"name":"n","value":"f("}', b'{"lane":{},"frame":-1}',
    ],
)  # fmt: skip
def test_changes_that_cannot_be(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/change", content=body)
    assert answer.status_code in (200, 400) and answer.json()["error"]
    assert client.get("/api/session").json()["lanes"][0]["number"] == 0


@pytest.mark.parametrize("query", ["lane=0", "lane=x&from=0&to=1", "lane=3&from=0&to=1", "lane=0&from=-1&to=1"])
def test_rows_that_cannot_be(client: TestClient, query: str) -> None:
    assert client.get(f"/api/rows?{query}").status_code == 400


def test_values_whole_and_expressions(client: TestClient) -> None:
    client.get("/api/rows?lane=0&from=0&to=20")
    assert client.get("/api/value?lane=0&frame=6&expression=total").json() == {"text": "0"}
    assert client.get("/api/value?lane=0&frame=6&expression=n%2B1").json() == {"text": "51"}
    assert "error" in client.get("/api/value?lane=0&frame=6&expression=open('x')").json()


def test_both_lanes_and_where_they_part() -> None:
    walked = session("both")
    assert [lane["kind"] for lane in asking(walked).get("/api/session").json()["lanes"]] == ["predicted", "real"]


def test_rows_tell_the_whole_state() -> None:
    """What the page makes of the rows is what the timeline knows, at every frame."""
    walked = session("real")
    lane = walked.lane
    rows = Rows(lane).upto(0, lane.timeline.known)
    assert any(row[13] for row in rows) and lane.timeline.known > WHOLE + 20
    for number in range(lane.timeline.known):
        changes, at = [], number
        while at >= 0 and not rows[at][13]:
            changes.append(rows[at][7])
            at = rows[at][5]
        state = dict(rows[at][13]) if at >= 0 else {}
        for change in reversed(changes):
            state = {name: text for name, text in (state | change).items() if text is not None}
        assert state == lane.timeline.locals_at(number)


def test_hostile_values_stay_text() -> None:
    hostile = "'</script><script>alert(1)</script><!-- \u2028 \ud800'"
    frames = (
        Frame("call", 1, "<b>f</b>", 0, {"<img src=x onerror=alert(1)>": hostile}),
        Frame("return", 1, "f", 0, {}, hostile * 10_000),
    )
    run = RecordedRun(
        Trace("def f(): pass  # </script><script>alert(2)</script>\n", 1, frames, Outcome("return"), "3.11")
    )
    walked = Session(Program("def f(): pass\n", function="f"), Sources(), "real", given=run)
    page = Page(walked, "</title><script>alert(3)</script>").html(token=None, rows=None)
    assert page.count("<script") == 2 and page.count("</script>") == 2 and "alert(1)</script>" not in page
    assert len(page) < 200_000
    assert "'none'" in page.split("connect-src ")[1][:8]
    page.encode()


def test_embedded_data_reads_back() -> None:
    data = {"a": "</script>\u2028 é", "b": [1, None]}
    assert json.loads(embed(data)) == data


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(SOURCE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "opencwm.cli",
            "debug",
            str(file),
            "--call",
            "f(3)",
            "--real",
            "--web",
            "--port",
            port,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and f"cannot listen on port {port}" in done.stderr
