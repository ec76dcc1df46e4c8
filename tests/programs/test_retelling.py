"""Narrations retold by a model, over real HTTP: kept only if the outcome is the trace's."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.programs.episodes import About, row
from opencwm.programs.program import Program
from opencwm.programs.retelling import Retelling, RetellingError
from opencwm.programs.store import Part, Store
from opencwm.trace.limits import Limits
from opencwm.trace.narrate import narrate
from opencwm.trace.recorder import record
from opencwm.trace.store import pack

TRACE = record(Program("def f(xs):\n    return sorted(xs)\n", "f([2, 1])"))
RAISES = record(Program("def f(d):\n    return d['x']\n", "f({})"))


@pytest.fixture
def server():
    """An endpoint that answers what `answers` holds, in order: texts, or (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            status, body = (
                answer if isinstance(answer, tuple) else (200, {"choices": [{"message": {"content": answer}}]})
            )
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    asked, answers = [], []
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1", answers, asked
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize(
    ("trace", "answer", "kept", "reason"),
    [
        (TRACE, "It sorts.\nOutput: [1, 2]", "It sorts.", None),
        (TRACE, "It sorts.\n\nOutput: `[1,2]`\n", "It sorts.", None),
        (TRACE, "It sorts.\nOutput: [2, 1]", None, "another output"),
        (TRACE, "It sorts.\nOutput: (1, 2)", None, "another output"),
        (TRACE, "It sorts.\nOutput: raises [1, 2]", None, "another output"),
        (TRACE, "It sorts to [1, 2].", None, "no output stated"),
        (TRACE, "Output: [1, 2]", None, "nothing but the output"),
        (RAISES, "No key.\nOutput: raises KeyError('x')", "No key.", None),
        (RAISES, "No key.\nOutput: KeyError('x')", None, "another output"),
    ],
)
def test_kept_only_if_the_outcome_agrees(server, trace, answer, kept, reason):
    url, answers, asked = server
    answers.append(answer)
    retelling = Retelling(url, "m")
    assert retelling.retell(trace, narrate(trace)) == kept
    assert dict(retelling.dropped) == ({reason: 1} if reason else {})
    path, body = asked[0]
    assert path == "/v1/chat/completions" and body["model"] == "m"
    assert narrate(trace) in body["messages"][1]["content"] and trace.context in body["messages"][1]["content"]


def test_a_run_without_an_outcome_is_not_asked_about(server):
    url, _, asked = server
    cut = record(Program("def f():\n    while True: pass\n", "f()"), limits=Limits(frames=5, seconds=0.2))
    assert Retelling(url, "m").retell(cut, narrate(cut)) is None and asked == []


def test_a_busy_server_is_asked_again(server):
    url, answers, asked = server
    answers.extend([(503, b"busy"), (429, b"slow"), "It sorts.\nOutput: [1, 2]"])
    assert Retelling(url, "m").retell(TRACE, narrate(TRACE)) == "It sorts."
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [((404, b"no such model"), "404"), ((200, b"<html>"), "chat endpoint"), ((200, {"choices": []}), "chat endpoint")],
)
def test_an_endpoint_that_is_none_is_told(server, answer, says):
    url, answers, _ = server
    answers.append(answer)
    with pytest.raises(RetellingError, match=says):
        Retelling(url, "m").retell(TRACE, narrate(TRACE))


def test_nobody_there():
    with pytest.raises(RetellingError, match="check the URL"):
        Retelling("http://127.0.0.1:9/v1", "m").retell(TRACE, narrate(TRACE))


def test_a_corpus_retold_from_the_command_line(server, tmp_path):
    url, answers, asked = server
    answers.extend(["It sorts.\nOutput: [1, 2]", "It sorts.\nOutput: nonsense"])
    store = Store(tmp_path / "corpus", recipe={})
    rows = []
    for call in ("f([2, 1])", "f([9, 8, 7])"):
        trace = record(Program("def f(xs):\n    ys = sorted(xs)\n    return ys\n", call))
        made = row(trace, pack(trace), About("functions", "p", "o", "f", call, entry="main"))
        assert isinstance(made, dict)
        rows.append(made)
    store.add(Part(0, rows))
    store.merge(total=1)
    result = CliRunner().invoke(app, ["data", "narrate", str(tmp_path / "corpus"), "--llm", url, "--model", "m"])
    assert result.exit_code == 0, result.output
    (line,) = map(json.loads, result.stdout.splitlines())
    assert line["text"] == "It sorts." and line["by"] == "m" and line["outcome"] == "return"
    assert "1 retellings kept; left out: {'another output': 1}" in result.stderr
    assert len(asked) == 2
