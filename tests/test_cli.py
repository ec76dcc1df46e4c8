"""The `cwm` command: its frozen surface, what it prints, its exit codes, and bad input told in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import opencwm
from opencwm import Outcome, Prediction, Program, WorldError, read_jsonl, record_isolated
from opencwm.cli.app import app
from opencwm.sandbox import InfraError, open_sandbox

ROOT = Path(__file__).parents[1]
SURFACE = {
    "": ["--help", "--version"],
    "trace": [
        *["--call", "--core", "--diff", "--format", "--git", "--help", "--identity", "--json", "--limit-frames"],
        *["--output", "--sandbox", "--seconds", "--select", "--steps", "FILE"],
    ],
    "predict": [
        *["--call", "--check", "--help", "--json", "--limit-frames", "--llama3", "--model", "--seconds"],
        *["--vote", "--weights", "--world", "FILE"],
    ],
    "debug": [
        *["--both", "--call", "--dap", "--export", "--help", "--hybrid", "--limit-frames", "--llama3"],
        *["--mcp", "--model", "--port", "--real", "--samples", "--screen", "--seconds", "--stop-below"],
        *["--trace", "--web", "--weights", "--world", "FILE"],
    ],
    "why": ["--git", "--help", "--json", "--llama3", "--model", "--weights", "--world", "TEST"],
    "serve": [
        *["--api-key", "--batch", "--body-limit", "--compile", "--context", "--device", "--grace", "--help", "--host"],
        *["--name", "--port", "--precision", "--queue", "--threads", "MODEL"],
    ],
    "ladder": ["--fit", "--forecast", "--help", "--json", "--only", "--set", "CONFIG"],
    "ablate": ["--help", "--json", "--set", "CONFIG"],
    "train": ["--help"],
    "train run": ["--dry-run", "--from", "--help", "--json", "--plan", "--processes", "--set", "CONFIG"],
    "train average": ["--help", "--output", "RUN..."],
    "train policy": ["--dry-run", "--from", "--help", "--set", "CONFIG"],
    "train plot": ["--help", "--key", "--output", "--over", "RUN..."],
    "eval": ["--help"],
    "eval frames": ["--alone", "--data", "--help", "--json", "--limit", "--renamed", "--weights"],
    "eval crux": ["--alone", "--data", "--help", "--input", "--json", "--limit", "--vote", "--weights"],
    "eval calibration": [
        *["--data", "--fit", "--fit-programs", "--help", "--json", "--limit", "--plot", "--weights"],
    ],
    "eval semantics": ["--config", "--data", "--help", "--json", "--limit", "--set", "--weights"],
    "eval long": ["--frames", "--help", "--json", "--weights"],
    "eval writing": ["--help", "--json", "--limit", "--weights"],
    "eval language": ["--bfloat16", "--crux", "--help", "--humaneval", "--json", "--limit", "--tokenizer", "--weights"],
    "data": ["--help"],
    "data traces": [
        *["--contests", "--functions", "--help", "--inputs", "--json", "--keep", "--library", "--modules"],
        *["--problems", "--ray", "--seed", "--step-in", "--suite", "--workers", "FOLDER"],
    ],
    "data verify": ["--help", "--json", "FOLDER"],
    "data report": ["--help", "--json", "--llama3", "FOLDER"],
    "data narrate": ["--help", "--limit", "--llm", "--model", "FOLDER"],
    "data plugin": ["--help"],
    "data sizes": ["--data", "--help", "--json", "--limit", "--llama3"],
    "data mix": ["--config", "--help", "--json", "--programs", "--set", "--show", "--start"],
    "data audit": ["--config", "--data", "--examples", "--help", "--json", "--programs", "--set", "--start"],
    "data corrections": ["--config", "--help", "--programs", "--set", "--start", "--weights", "OUTPUT"],
    "data coverage": [
        *["--all", "--config", "--data", "--help", "--json", "--least", "--plot", "--programs", "--set"],
        *["--start"],
    ],
    "data code": ["--folder", "--help", "--json", "--licence", "--package", "--similar", "OUTPUT"],
    "data chats": ["--count", "--help", "--length", "--reasoning", "--seed", "OUTPUT"],
    "data stats": ["--help", "--items", "--json", "--set", "CONFIG"],
    "data peek": ["--count", "--help", "--index", "--set", "--source", "CONFIG"],
    "model": ["--help"],
    "model inspect": ["--help", "--json", "FOLDER"],
    "model convert": ["--dtype", "--help", "--layout", "SOURCE", "TARGET"],
    "model fetch": ["--again", "--help", "FOLDER", "NAME"],
    "sandbox": ["--help"],
    "sandbox doctor": ["--help", "--json"],
    "sandbox run": ["--help", "--memory", "--mount", "--network", "--seconds", "COMMAND..."],
}
SOURCE = "def f(s):\n    t = s + s\n    return t\n"


def run(*arguments, stdin=None):
    # A fixed width: what is tested must not depend on the terminal that the tests run in.
    runner = CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"})
    result = runner.invoke(app, list(map(str, arguments)), input=stdin, prog_name="cwm")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refused(result, code):
    """The one line on standard error of a refusal."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("cwm: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "double.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def guess(monkeypatch):
    """Lets a test say what the model predicts: a change of the real trace."""

    class Run:
        def __init__(self, trace):
            self.context, self.entry_line, self.python, self.outcome = trace.context, trace.entry_line, "3.11", None
            self._frames, self._trace = iter(trace.frames), trace

        def __iter__(self):
            return self

        def __next__(self):
            frame = next(self._frames, None)
            if frame is None:
                raise StopIteration
            if frame is self._trace.frames[-1]:
                self.outcome = self._trace.outcome
            return Prediction(frame, 0.456, 0.9, {"t": 0.5}, "model")

    class Guess:
        name = "guess"
        change = staticmethod(lambda trace: trace)

        def run(self, program, *, prefix=()):
            return Run(self.change(record_isolated(program)))

    world = Guess()
    monkeypatch.setattr("opencwm.cli.runs._world", lambda *options: world)
    monkeypatch.setattr("opencwm.cli.debugging._world", lambda *options: world)
    return world


def wrong(index, **fields):
    def change(trace):
        frames = list(trace.frames)
        frames[index] = replace(frames[index], **fields)
        return replace(trace, frames=tuple(frames))

    return change


# The surface


def walk(command, path=""):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{path} {name}".strip())


COMMANDS = dict(walk(typer.main.get_command(app)))


def test_the_surface_is_frozen():
    surface = {}
    for path, command in COMMANDS.items():
        names = [option for p in command.params for option in (p.opts if p.opts[0].startswith("--") else [p.metavar])]
        surface[path] = sorted(
            {name for name in names if not name.startswith("-") or name.startswith("--")} | {"--help"}
        )
    assert surface == SURFACE


@pytest.mark.parametrize("path", SURFACE)
def test_help_has_an_example_for_each_command(path):
    result = run(*path.split(), "--help")
    assert result.exit_code == 0
    example = f"Example: cwm {path}" if path.startswith("sandbox") else f"Example: cwm {path.removesuffix(' run')}"
    assert example.strip() in result.stdout or path in ("eval", "data", "model", "sandbox")


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not hasattr(command, "commands")])
def test_the_examples_name_files_that_exist(path):
    for word in COMMANDS[path].epilog.split():
        assert "/" not in word or (ROOT / word).exists()


def test_exit_codes_are_documented():
    text = run("--help").stdout
    assert all(f" {code} " in text for code in (0, 1, 2, 3, 4, 130))


def test_version():
    assert run("--version").stdout.startswith(f"opencwm {opencwm.__version__} (Python 3.")


@pytest.mark.parametrize("arguments", [["nonsense"], ["trace", "x.py", "--limit-frames", "0"]])
def test_a_wrong_command_line_exits_with_2(arguments):
    assert run(*arguments).exit_code == 2


# trace


def test_trace_shows_frames_changes_and_the_result(file):
    lines = run("trace", file, "--call", "f('ab')").stdout.splitlines()
    assert lines[0].split() == ["#", "event", "line", "source", "state"]
    assert len(lines) == 1 + 7 + 1
    assert "t='abab'" in lines[5] and "s=" not in lines[5]
    assert "-> 'abab'" in lines[6]
    assert lines[-1] == "7 frames; returned 'abab'"


def test_trace_json_reads_back(file):
    result = run("trace", file, "--call", "f('ab')", "--json")
    (trace,) = read_jsonl(result.stdout.splitlines())
    assert trace == record_isolated(Program.parse(SOURCE, "f('ab')"))


def test_trace_in_both_formats(file):
    from opencwm.codec import cwm

    trace = record_isolated(Program.parse(SOURCE, "f('ab')"))
    assert run("trace", file, "--call", "f('ab')", "--format", "cwm").stdout.rstrip("\n") == cwm.to_text(trace)
    assert "<return>" in run("trace", file, "--call", "f('ab')", "--format", "compact").stdout


def test_trace_reads_standard_input_and_finds_the_mark():
    result = run("trace", "-", stdin="def g():  # << START_OF_TRACE\n    return 3\n")
    assert result.stdout.splitlines()[-1] == "3 frames; returned 3"


def test_trace_writes_a_file(file, tmp_path):
    target = tmp_path / "run.jsonl"
    result = run("trace", file, "--call", "f('ab')", "--json", "--output", target)
    assert result.stdout == "" and "7 frames; returned 'abab'" in result.stderr
    (trace,) = read_jsonl(target)
    assert trace.result == "'abab'"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("run")] == ["run.jsonl"]


@pytest.mark.parametrize("where", [[], ["--sandbox"]])
def test_trace_says_which_names_share_an_object(tmp_path, where):
    if where:
        try:
            open_sandbox().close()
        except InfraError as error:
            pytest.skip(f"no sandbox: {error}")
    path = tmp_path / "f.py"
    path.write_text("def f(xs):\n    a = xs\n    b = list(a)\n    a.append(1)\n    return b\n")
    shown = run("trace", path, "--call", "f([])", "--identity", *where).stdout
    assert shown.count("xs is a") == 1 and "a is b" not in shown
    assert "xs is a" not in run("trace", path, "--call", "f([])", *where).stdout
    (trace,) = read_jsonl(run("trace", path, "--call", "f([])", "--identity", "--json", *where).stdout.splitlines())
    assert [frame.identity for frame in trace.frames if frame.line == 4] == [(("xs", "a"),)]
    assert "--identity" in refused(run("trace", path, "--call", "f([])", "--identity", "--format", "cwm"), 2)


@pytest.mark.parametrize("command", ["debug", "trace", "predict"])
def test_a_syntax_error_shows_its_line_and_place(tmp_path, command):
    path = tmp_path / "bad.py"
    path.write_text("def f(x):\n\treturn (x +* 1)\n")
    result = run(command, path, "--call", "f(1)")
    assert result.exit_code == 2 and result.stdout == ""
    first, source, caret = result.stderr.splitlines()
    assert first.endswith("line 2: invalid syntax; fix the syntax first")
    assert source == "    \treturn (x +* 1)" and caret == "    \t           ^"


def test_trace_steps_and_limits(file):
    assert '"steps"' in run("trace", file, "--call", "f('a' + 'b')", "--json", "--steps").stdout
    assert '"steps"' not in run("trace", file, "--call", "f('a' + 'b')", "--json").stdout
    assert (
        run("trace", file, "--call", "f('ab')", "--limit-frames", 3).stdout.splitlines()[-1]
        == "3 frames; cut off: limit on frames (--limit-frames)"
    )


def test_the_core_is_chosen_and_told(file):
    told = run("trace", "--core", "python")
    assert told.exit_code == 0 and told.stderr == ""
    assert told.stdout == "recording with the Python core: it was asked for\n"
    assert run("trace", "--core", "auto").stdout.startswith("recording with the ")
    result = run("trace", file, "--call", "f('ab')", "--json", "--core", "python")
    assert "the Python core" in result.stderr
    assert result.stdout == run("trace", file, "--call", "f('ab')", "--json").stdout
    assert "name a Python file" in refused(run("trace"), 2)


def test_calls_can_be_stepped_over(file):
    result = run("trace", file, "--call", "f('ab')", "--json", "--select", "depth < 1")
    assert [json.loads(line).get("event") for line in result.stdout.splitlines()[1:-1]] == ["call", "line", "return"]
    assert "cannot read 'depth'" in refused(run("trace", file, "--call", "f('a')", "--select", "depth"), 2)
    assert "leaves no frame" in refused(run("trace", file, "--call", "f('a')", "--select", "function == 'g'"), 2)


def test_an_exception_is_shown_and_is_no_failure(file):
    result = run("trace", file, "--call", "f(None)")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith(
        "frames; raised TypeError(\"unsupported operand type(s) for +: 'NoneType' and 'NoneType'\")"
    )


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_each_example_is_a_program(example):
    text = (ROOT / "examples" / example).read_text()
    assert "START_OF_TRACE" not in text or "returned" in run("trace", ROOT / "examples" / example).stdout


def test_what_a_program_prints_goes_to_standard_error():
    result = run("trace", "-", "--call", "f()", "--json", "--no-sandbox", stdin="def f():\n    print('hello')\n")
    assert result.stderr == "hello\n" and "hello" not in result.stdout.replace("print('hello')", "")


def test_long_and_odd_values_stay_on_the_page(tmp_path):
    path = tmp_path / "odd.py"
    path.write_text("def f(n):\n    x = 'a' * n  # \x1b[31m\n    return x\n")
    text = run("trace", path, "--call", "f(500)").stdout
    assert "\x1b" not in text and "...+" in text


def test_a_comparison_of_two_versions(tmp_path, file):
    new = tmp_path / "new.py"
    new.write_text(SOURCE.replace("s + s", "s + 'x'"))
    result = run("trace", "--diff", file, new, "--call", "f('ab')")
    assert result.exit_code == 0 and "<--" in result.stdout
    assert "frame 3, line 2: t = s + 'x'  (edited)" in result.stdout
    assert "the runs part at frame 4: t: was 'abab', now 'abx'" in result.stdout
    answer = json.loads(run("trace", "--diff", file, new, "--call", "f('ab')", "--json").stdout)
    assert answer["parting"]["kind"] == "state" and answer["chain"][0]["edited"]
    assert "do not part" in run("trace", "--diff", file, file, "--call", "f('ab')").stdout
    assert "a comparison takes --diff or --git, and none of" in refused(
        run("trace", "--diff", file, new, "--call", "f('ab')", "--steps"), 2
    )


def test_a_comparison_with_a_git_revision(tmp_path, file):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    if subprocess.run([*git, "init", "-q"], capture_output=True).returncode:
        pytest.skip("git is not installed")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    file.write_text(SOURCE.replace("return t", "return t[1:]"))
    result = run("trace", "--git", "HEAD", file, "--call", "f('ab')")
    assert "value: was 'abab', now 'bab'" in result.stdout
    assert "no double.py at revision NOPE" in refused(run("trace", "--git", "NOPE", file, "--call", "f('ab')"), 2)


# data


def test_a_corpus_from_the_command_line(tmp_path):
    (tmp_path / "code.py").write_text("def double(n: int):\n    m = n * 2\n    return m\n")
    made = run("data", "traces", tmp_path / "corpus", "--functions", tmp_path / "code.py", "--inputs", "4")
    if made.exit_code == 3 and "bwrap" in made.stderr:
        pytest.skip(made.stderr)
    assert "functions traced" in made.stdout
    assert "| functions | code |" in run("data", "report", tmp_path / "corpus").stdout
    assert "0 differ" in run("data", "verify", tmp_path / "corpus").stdout
    told = [json.loads(line) for line in run("data", "narrate", tmp_path / "corpus").stdout.splitlines()]
    assert told and all(line["text"].splitlines()[-1].startswith("The run returns") for line in told)
    assert "other options" in refused(
        run("data", "traces", tmp_path / "corpus", "--functions", tmp_path / "code.py"), 2
    )


def test_corpora_that_cannot_be_used(tmp_path):
    assert "nothing to record" in refused(run("data", "traces", tmp_path / "c"), 2)
    assert "no Python package" in refused(
        run("data", "traces", tmp_path / "c", "--functions", "no_such_package_at_all"), 2
    )
    for command in ("verify", "report", "narrate"):
        assert "holds no corpus" in refused(run("data", command, tmp_path / "c"), 2)


def test_the_plugin_is_one_file_of_python():
    compile(run("data", "plugin").stdout, "cwm_traces.py", "exec")


def test_trace_in_a_sandbox(tmp_path):
    """What comes from standard input runs in one by default, a file on request; both see nothing of this machine."""
    try:
        open_sandbox().close()
    except InfraError as error:
        pytest.skip(str(error))
    (tmp_path / "secret").write_text("TOP")
    source = f"def f():\n    return open({str(tmp_path / 'secret')!r}).read()\n"
    path = tmp_path / "f.py"
    path.write_text(source)
    read, refused_ = "returned 'TOP'", "raised FileNotFoundError"
    assert read in run("trace", path, "--call", "f()").stdout
    assert refused_ in run("trace", path, "--call", "f()", "--sandbox").stdout
    assert refused_ in run("trace", "-", "--call", "f()", stdin=source).stdout
    assert read in run("trace", "-", "--call", "f()", "--no-sandbox", stdin=source).stdout


def test_trace_without_a_sandbox(monkeypatch, tmp_path, file):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent")
    result = run("trace", "-", "--call", "f('ab')", stdin=SOURCE)
    assert result.stdout.splitlines()[-1] == "7 frames; returned 'abab'"
    assert result.stderr.startswith("cwm: running without a sandbox: bwrap is not there: install")
    assert "install bubblewrap" in refused(run("trace", file, "--call", "f('ab')", "--sandbox"), 3)


# predict


def test_predict_shows_confidence(file, guess):
    lines = run("predict", file, "--call", "f('ab')").stdout.splitlines()
    assert lines[0].split()[-1] == "sure" and lines[1].split()[-1] == "45%"
    assert lines[-1] == "predicted: 7 frames; returned 'abab'"


def test_check_of_a_right_prediction(file, guess):
    text = run("predict", file, "--call", "f('ab')", "--check").stdout
    assert "<--" not in text
    assert text.splitlines()[-1] == "all 7 frames right; output right: returned 'abab'"


def test_check_marks_the_first_divergence(file, guess):
    guess.change = wrong(4, locals={"s": "'ab'", "t": "'ab'"})
    result = run("predict", file, "--call", "f('ab')", "--check")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line for line in lines if "<--" in line] == [lines[5]]
    assert lines[-2] == "first error, frame 4: t: predicted 'ab', really 'abab'"
    assert lines[-1] == "4 of 7 frames right before the first error; output right: returned 'abab'"


def test_check_of_a_wrong_turn_and_a_wrong_output(file, guess):
    guess.change = wrong(6, event="exception", value="ValueError('no')")
    text = run("predict", file, "--call", "f('ab')", "--check").stdout
    assert "first error, frame 6: predicted exception at line 6, really return at line 6" in text
    guess.change = lambda trace: replace(wrong(6, value="'ba'")(trace), outcome=Outcome("return"))
    last = run("predict", file, "--call", "f('ab')", "--check").stdout.splitlines()[-1]
    assert last == (
        "6 of 7 frames right before the first error; output wrong: predicted returned 'ba', really returned 'abab'"
    )


def test_check_of_a_prediction_that_stops(file, guess):
    last = run("predict", file, "--call", "f('ab')", "--check", "--limit-frames", 7).stdout.splitlines()[-1]
    assert last == "all 7 frames right; output right: returned 'abab'"
    guess.change = lambda trace: replace(trace, frames=trace.frames[:5], outcome=Outcome("truncated", "context full"))
    last = run("predict", file, "--call", "f('ab')", "--check").stdout.splitlines()[-1]
    assert (
        last
        == "all 5 predicted frames right, of 7; no output predicted (cut off: context full), really returned 'abab'"
    )


def test_predict_json(file, guess):
    guess.change = wrong(4, locals={"s": "'ab'", "t": "'ab'"})
    answer = json.loads(run("predict", file, "--call", "f('ab')", "--check", "--json").stdout)
    assert answer["predicted"]["frames"][4]["probability"] == 0.456
    assert answer["real"]["outcome"] == "return" and len(answer["real"]["frames"]) == 7
    assert answer["check"] == {
        "frames_right": 4,
        "frames_real": 7,
        "output_right": True,
        "divergence": {
            "frame": 4,
            "differences": [{"kind": "local", "name": "t", "real": "'abab'", "predicted": "'ab'"}],
        },
    }
    alone = json.loads(run("predict", file, "--call", "f('ab')", "--json").stdout)
    assert set(alone) == {"predicted"}


def test_predict_alone_never_runs_the_program(tmp_path, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("the program was run")

    class Silent:
        name = "silent"

        def run(self, program, *, prefix=()):
            raise WorldError("context too long: shorten the program")

    monkeypatch.setattr("opencwm.trace.isolate.record_isolated", never)
    monkeypatch.setattr("opencwm.cli.runs._world", lambda *options: Silent())
    path = tmp_path / "f.py"
    path.write_text(SOURCE)
    assert "context too long" in refused(run("predict", path, "--call", "f('a')"), 3)


# debug


def test_debug_walks_a_predicted_and_a_real_run(file, guess):
    for arguments in (["debug", file, "--call", "f('ab')"], ["debug", file, "--call", "f('ab')", "--real"]):
        result = run(*arguments, stdin="step\nnext\nquit\n")
        assert result.exit_code == 0 and "return f('ab')" in result.stdout


# Bad input


@pytest.mark.parametrize(
    ("text", "call", "says"),
    [
        (SOURCE, "f()", "lacks s"),
        (SOURCE, "f(1, 2)", "gives 2 positional arguments"),
        (SOURCE, "g(1)", "no function g; it has: f"),
        (SOURCE, "f(", "is not a Python expression"),
        (SOURCE, None, "--call"),
        ("def f(a):  # << START_OF_TRACE\n    return a\n", None, "f needs a"),
    ],
)
@pytest.mark.parametrize("command", ["trace", "predict", "debug"])
def test_a_program_that_cannot_be_used_is_one_line(tmp_path, command, text, call, says):
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert says in refused(run(command, path, *(["--call", call] if call else [])), 2)


@pytest.mark.parametrize("command", ["trace", "predict", "debug"])
def test_a_syntax_error_is_shown_where_it_is(tmp_path, command):
    (tmp_path / "bad.py").write_text("def f(:\n")
    result = run(command, tmp_path / "bad.py", "--call", "f(1)")
    first, line, caret = result.stderr.splitlines()
    assert result.exit_code == 2 and first.startswith("cwm: ") and "bad.py, line 1: invalid syntax" in first
    assert (line.strip(), caret.strip()) == ("def f(:", "^") and line.index(":") == caret.index("^")


def test_a_module_that_fails_before_the_entry_is_one_line():
    source = "import nothing_of_that_name\n" + SOURCE
    assert "nothing_of_that_name" in refused(run("trace", "-", "--call", "f(1)", "--no-sandbox", stdin=source), 2)


def test_files_that_cannot_be_read_or_written(tmp_path, file):
    assert "No such file" in refused(run("trace", tmp_path / "absent.py"), 2)
    target = tmp_path / "absent" / "x"
    assert "cannot write" in refused(run("trace", file, "--call", "f('a')", "--output", target), 2)
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused(run("trace", tmp_path / "binary.py"), 2)


def test_json_and_another_format_exclude_each_other(file):
    assert "choose one" in refused(run("trace", file, "--call", "f('a')", "--json", "--format", "cwm"), 2)


def test_weights_that_are_not_there(file, tmp_path):
    assert "absent" in refused(run("predict", file, "--call", "f('a')", "--weights", tmp_path / "absent"), 3)


def test_a_configuration_that_cannot_be_used(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[run]\nstep = 3\n")
    assert "unknown key run.step; did you mean run.steps" in refused(run("train", config, "--dry-run"), 3)
    assert "cannot read" in refused(run("train", tmp_path / "absent.toml"), 3)


def test_train_dry_run_prints_the_whole_configuration():
    text = run("train", ROOT / "configs/tiny.toml", "--set", "run.steps=7", "--dry-run").stdout
    assert "steps = 7" in text and "[model]" in text


@pytest.mark.parametrize("command", [["eval", "crux"], ["eval", "frames"], ["data", "sizes"]])
def test_data_files_that_cannot_be_used(tmp_path, command):
    path = tmp_path / "d.jsonl"
    path.write_text('{"code": "def f(x):\\n    return x", "input": "1"}\n')
    assert "'output'" in refused(run(*command, "--data", path), 2)
    assert "cannot read" in refused(run(*command, "--data", tmp_path / "absent"), 2)


def test_a_tokenizer_that_cannot_be_used(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"code": "def f(x):\\n    return x", "input": "1", "output": "1"}\n')
    assert "cannot read" in refused(run("data", "sizes", "--data", path, "--llama3", tmp_path / "absent"), 2)
    refused(run("data", "sizes", "--data", path, "--llama3", path), 2)


def test_data_sizes(tmp_path):
    path = tmp_path / "d.jsonl"
    rows = [{"code": f"def f(x):\n    return x + {n}", "input": "1", "output": str(n + 1)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = json.loads(run("data", "sizes", "--data", path, "--limit", 2, "--json").stdout)
    assert sizes["programs"] == 2
    assert {row["name"]: row["p50"] for row in sizes["rows"]}["frames"] == 6
    assert "compact, tokens" in run("data", "sizes", "--data", path).stdout


# As a process


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "opencwm.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_a_pipe_gets_plain_text_and_may_close_early():
    done = process("trace", "examples/count_letters.py", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stdout.isascii() and "\x1b" not in done.stdout
    shell = f"{sys.executable} -m opencwm.cli trace examples/count_letters.py --json | head -n 1"
    closed = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert closed.stderr == "" and closed.stdout.startswith("{")


def test_an_interrupt_is_one_line_and_130(tmp_path):
    path, started = tmp_path / "forever.py", tmp_path / "started"
    path.write_text(
        f"def f():  # << START_OF_TRACE\n    open({str(started)!r}, 'w').close()\n    while True:\n        pass\n"
    )
    command = [
        sys.executable,
        "-m",
        "opencwm.cli",
        "trace",
        str(path),
        "--seconds",
        "60",
        "--limit-frames",
        "1000000000",
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout, stderr) == (130, "", "cwm: interrupted\n")


def test_data_mix_and_coverage_look_at_the_stream(tmp_path):
    made = json.loads(run("data", "mix", "--programs", 40, "--json").stdout)
    assert made["programs"] == 40 and made["tokens"] > 4000 and made["audit"] is False
    shown = run("data", "mix", "--programs", 3, "--show", 1, "--set", "shares.drills=0").stdout
    assert "--- written/" in shown and "<begin><python" in shown and "tokens/s on one core" in shown
    path = tmp_path / "mix.toml"
    path.write_text('[data]\nseed = 3\n[data.sources.one]\nkind = "mix"\n[data.sources.one.mix]\nramp = 0\n')
    held = json.loads(run("data", "coverage", "--config", path, "--programs", 60, "--json").stdout)
    assert held["programs"] >= 55 and held["features"]["statement Return"] >= 55
    assert "method str.join" in run("data", "coverage", "--programs", 20, "--all").stdout
    assert "give --data FILE" in refused(run("data", "coverage", "--plot", tmp_path / "x.png"), 2)
    path.write_text('[data.sources.one]\nkind = "write"\n')
    assert 'a source of kind "mix"' in refused(run("data", "mix", "--config", path), 3)


def test_data_audit_compares_the_stream_with_a_folder(tmp_path):
    assert "no evaluation set" in refused(run("data", "audit", "--data", tmp_path), 2)
    (tmp_path / "cruxeval").mkdir()
    row = {"code": "def f(text):\n    return len(text)\n", "input": "'a'", "output": "1", "id": "0"}
    (tmp_path / "cruxeval" / "one.jsonl").write_text(json.dumps(row) + "\n")
    report = json.loads(run("data", "audit", "--data", tmp_path, "--programs", 100, "--json").stdout)
    assert report["programs"] == 100 and report["sets"]["CRUXEval"]["items"] == 1
    assert "| CRUXEval | 1 |" in run("data", "audit", "--data", tmp_path, "--programs", 5).stdout
