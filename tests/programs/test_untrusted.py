"""Recording in a sandbox gives the traces of recording in a process, and holds what means harm."""

import io
import logging
import os
from pathlib import Path

import pytest

from opencwm.programs import untrusted
from opencwm.programs.program import Program
from opencwm.programs.untrusted import record_sandboxed, record_untrusted
from opencwm.sandbox import InfraError, open_sandbox
from opencwm.trace.isolate import record_isolated
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = Limits(seconds=0.5)


@pytest.fixture(scope="module", autouse=True)
def _sandbox():
    try:
        open_sandbox().close()
    except InfraError as error:
        pytest.skip(str(error))


def program(source):
    return Program(source, function="main")


@pytest.mark.parametrize("example", ["count_letters", "collatz", "running_total"])
def test_equal_to_recording_in_a_process(example):
    source = (EXAMPLES / f"{example}.py").read_text()
    call = (
        None
        if "START_OF_TRACE" in source
        else {"collatz": "collatz(6)", "running_total": "running_total([1, 2], 2)"}[example]
    )
    parsed = Program.parse(source, call)
    for steps in (False, True):
        assert record_sandboxed(parsed, steps=steps) == record_isolated(parsed, steps=steps)


@pytest.mark.parametrize(
    ("source", "reasons"),
    [
        ("def main():\n    while True:\n        pass", {"frames"}),
        ("def main():\n    sum(range(10**12))", {"seconds"}),
        ("while True: pass\ndef main(): pass", {"seconds"}),
        ("import os\ndef main():\n    while True: os.fork()", {"processes"}),
        ("def main():\n    x = 'x' * (1 << 40)", {"memory"}),
        ("import os\ndef main():\n    os._exit(3)", {"exit"}),
        ("import os\ndef main():\n    os.kill(os.getpid(), 9)", {"killed by signal 9"}),
        ("import os\ndef main():\n    os.kill(os.getppid(), 9)\n    while True: pass", {"killed by signal 9"}),
    ],
)
def test_runs_that_end_badly(source, reasons):
    trace = record_sandboxed(program(source), limits=SHORT)
    assert trace.outcome.kind == "truncated" and trace.outcome.reason in reasons


def test_a_stranger_sees_nothing_and_changes_nothing(tmp_path):
    (tmp_path / "secret").write_text("TOP")
    source = (
        "import os, socket\n"
        "def main():\n"
        "    found = []\n"
        f"    for action in (lambda: open({str(tmp_path / 'secret')!r}).read(), lambda: open({str(tmp_path / 'new')!r}, 'w'),\n"
        "                   lambda: socket.create_connection(('1.1.1.1', 53), 2), lambda: os.environ['SECRET']):\n"
        "        try: found.append(action())\n"
        "        except (OSError, KeyError): pass\n"
        "    return found\n"
    )
    os.environ["SECRET"] = "TOP"
    try:
        assert record_sandboxed(program(source)).result == "[]"
    finally:
        del os.environ["SECRET"]
    assert os.listdir(tmp_path) == ["secret"]


def test_output_and_errors():
    printed = io.StringIO()
    source = "import subprocess, sys\ndef main():\n    print('ä'); print('e', file=sys.stderr); subprocess.run(['echo', 'child']); input()"
    assert record_sandboxed(program(source), output=printed).outcome.kind == "exception"
    assert sorted(printed.getvalue().split()) == ["child", "e", "ä"]
    flood = io.StringIO()
    assert (
        record_sandboxed(
            program("def main():\n    for _ in range(2000): print('x' * 10000)"), output=flood
        ).outcome.kind
        == "return"
    )
    assert len(flood.getvalue()) == 1_000_000
    with pytest.raises(RecordError, match="the module failed before the entry: ZeroDivisionError"):
        record_sandboxed(program("1/0\ndef main(): pass"))


def test_without_a_sandbox_it_is_said_once(monkeypatch, caplog):
    def no_sandbox(**options):
        raise InfraError("bwrap is not there: install it")

    monkeypatch.setattr(untrusted, "open_sandbox", no_sandbox)
    monkeypatch.setattr(untrusted, "_said", set())
    with pytest.raises(InfraError):
        record_sandboxed(program("def main(): return 1"))
    with caplog.at_level(logging.WARNING):
        assert [record_untrusted(program("def main(): return 1")).result for _ in range(2)] == ["1", "1"]
    assert [record.getMessage() for record in caplog.records] == [
        "programs run without a sandbox, as this user: bwrap is not there: install it"
    ]
