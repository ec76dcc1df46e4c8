"""The prompt over a pipe: commands, what they show, and that nothing breaks the session."""

import io
from collections.abc import Iterator
from dataclasses import replace

from opencwm.debug.session import Mode, Session
from opencwm.debug.sources import Sources
from opencwm.debug.terminal import prompt
from opencwm.programs.program import Program
from opencwm.trace.frames import Frame, Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.interpreter import RecordedRun
from opencwm.world.protocol import Prediction, Run, WorldError

SOURCE = """def g(k):
    return k * 2

def f(words):
    out = []
    for w in words:
        out.append(g(len(w)))
    return out
"""
PROGRAM = Program.parse(SOURCE, "f(['ab', 'c'])")


def walk(commands: str, run: Run | None = None, program: Program = PROGRAM) -> tuple[int, str]:
    """Exit code and output of a session over a pipe."""
    output = io.StringIO()
    mode: Mode = "predicted" if isinstance(run, Predicted) else "real"
    session = Session(program, Sources(), mode, given=run or RecordedRun(record(program)))
    code = prompt.serve(session, title="a test", input=io.StringIO(commands), output=output)
    return code, output.getvalue()


def last(commands: str) -> str:
    """What the last command prints: what the session prints more with it than without it."""
    head, _, _ = commands.rstrip("\n").rpartition("\n")
    return walk(commands)[1].removeprefix(walk(head + "\n" if head else "")[1])


class Predicted(RecordedRun):
    """A run that looks predicted, and that gives up at a frame."""

    def __init__(self, trace: Trace, give_up_at: int = 10_000) -> None:
        super().__init__(trace)
        self.count, self.give_up_at = 0, give_up_at

    def __iter__(self) -> Iterator[Prediction]:
        return self

    def __next__(self) -> Prediction:
        if self.count >= self.give_up_at:
            raise WorldError("the context is full: shorten the program")
        self.count += 1
        found = super().__next__()
        values = {name: 0.5 for name in found.frame.locals} | ({"": 0.9} if found.frame.value else {})
        return replace(found, probability=0.98, values=values, source="model")


def test_a_session_shows_position_source_and_changes() -> None:
    code, text = walk("s\ns\ns\ns\nq\n")
    assert code == 0
    assert text.startswith("a test\nframe 0  call main, line 10\n      8      return out\n")
    assert "(cwm)" not in text
    assert "frame 4  line f, line 6 (time 1 of 3)\n" in text
    assert "->    6      for w in words:\n" in text
    assert "  out = []\n" in text


def test_the_end_of_the_input_is_the_end_of_the_session() -> None:
    assert walk("")[0] == 0
    assert walk("s\n")[0] == 0


def test_enter_repeats_and_counts_repeat() -> None:
    assert walk("s\n\n\n")[1] == walk("s\ns\ns\n")[1]
    assert "frame 5 " in last("s 5\n")


def test_movements() -> None:
    assert "line f, line 7" in last("until 7\n")
    assert "call g, line 1" in last("until 7\ns\n")
    assert "line f, line 6" in last("until 7\nn\n")
    assert "return g, line 2" in last("until 2\nr\n")
    assert "returns 4" in last("until 2\nreturn\n")
    assert "line f, line 6" in last("until 2\no\n")
    assert "line f, line 7" in last("until 2\nbackout\n")
    assert "frame 0 " in last("s\nba\n")
    assert "line f, line 7" in last("until 7\nn\nbo\n")
    assert "the run ends here: return" in last("c\n")
    assert "returns [4, 2]" in last("c\n")
    assert "frame 3 " in last("g 3\n")
    assert "frame 0 " in last("c\nreset\n")
    assert last("c\ns\n") == "the run ends here: return\n"
    assert last("back\n") == "the run starts here\n"
    assert "line 99 is not reached any more" in last("until 99\n")


def test_looking() -> None:
    assert last("until 8\np out\n") == "[4, 2]\n"
    assert last("until 8\np out[-1]\n") == "2\n"
    assert last("c\np __return__\n") == "[4, 2]\n"
    assert last("until 7\na\n").splitlines() == ["  words = ['ab', 'c']", "  out   = []", "* w     = 'ab'"]
    assert last("locals\n") == "no names yet\n"
    where = last("until 2\nw\n").splitlines()
    assert [line.split(",")[0] for line in where] == ["  main", "  f", "> g"]
    assert where[1] == "  f, line 7: out.append(g(len(w)))"
    assert last("l 4, 5\n") == "      4  def f(words):\n      5      out = []\n"
    assert last("list all\n").count("\n") >= 11
    assert last("until 8\nhistory w\n").splitlines() == ["  frame 5: 'ab'", "> frame 10: 'c'"]


def test_help_is_the_docstring_and_lists_whole_words() -> None:
    assert "to the next frame, into calls too" in last("help s\n")
    assert last("h step\n") == last("help s\n")
    listed = last("help\n").split(":", 1)[1].split()
    assert {"step", "next", "out", "back", "print", "where", "list", "reset", "quit"} <= set(listed)
    assert "s" not in listed and "EOF" not in listed


def test_mistakes_are_answered_and_leave_the_session_intact() -> None:
    commands = "frobnicate\np\np nothing\np g(out)\ngoto 999\ngoto x\nuntil\ns x\nl a b\nhistory\nhelp zz\ns\n"
    code, text = walk(commands)
    assert code == 0
    assert "no command 'frobnicate'" in text
    assert "no name 'nothing' here" in text
    assert "nothing of the program is run here" in text
    assert "there is no frame 999: the run has frames 0 to" in text
    assert "a number is expected, not 'x'" in text
    assert text.rstrip().endswith("return f(['ab', 'c'])") or "frame 1 " in text


def test_predicted_frames_show_confidence() -> None:
    _, text = walk("until 6\nc\n", Predicted(record(PROGRAM)))
    assert "frame 0  call main, line 10  p=0.98\n" in text
    assert "  out = []  p=0.50\n" in text
    assert "  returns [4, 2]  p=0.90\n" in text
    assert "p=" not in walk("until 6\nc\n")[1]


def test_a_world_that_gives_up_leaves_the_session() -> None:
    code, text = walk("s\nc\nw\nba\nq\n", Predicted(record(PROGRAM), give_up_at=3))
    assert code == 0
    assert "the context is full: shorten the program" in text
    assert "> main, line 11" in text
    assert "frame 0 " in text


def test_a_world_that_cannot_begin_is_an_error() -> None:
    code, text = walk("s\n", Predicted(record(PROGRAM), give_up_at=0))
    assert code == 1 and "the context is full" in text


def test_hostile_values_cannot_steer_the_terminal() -> None:
    hostile = "\x1b[2J\x9b1m[bold]\x07"
    source = f"def f():\n    x = 1  # {hostile}\n    return x\n"
    frames = (
        Frame("call", 1, "f", 0),
        Frame("line", 2, "f", 0, {"x": hostile}),
        Frame("return", 3, "f", 0, {}, "y" * 9999),
    )
    program = Program(source, function="f")
    trace = Trace(source, 1, frames, Outcome("return"), "3.11")
    _, text = walk("s\np x\na\nc\n", RecordedRun(trace), program)
    assert not set(text) & set("\x1b\x9b\x07")
    assert "\\x1b[2J" in text and "[bold]" in text
    assert max(map(len, text.splitlines())) < 400


def test_breakpoints_like_pdbs() -> None:
    assert last("b 7\n") == "breakpoint 1: line 7\n"
    assert last("b 6\nb\n") == "1: line 6\n"
    assert "breakpoint 1: line 5 (once)" in last("tbreak 5\n")
    assert "the next one that does is 4" in last("b 3\n")
    assert "the source has no function zz" in last("b zz\n")
    assert "stopped by 1: line 7 if w == 'c'" in last("b 7, w == 'c'\nc\n")
    assert "w = 'c'" in last("b 7, w == 'c'\nc\n")
    assert "stopped by 1: function g" in last("b g\nc\n")
    assert "stopped by 1: changes of out" in last("watch out\nc\n")
    assert "frame 0 " in last("b 7\nc\ncl\nrc\n")
    assert last("b 7\nb 8\ncl 1\n") == "removed breakpoint 1: line 7\n"
    assert "the run ends here" in last("b 7\ndisable 1\nc\n")
    assert "line f, line 7" in last("b 7\ndisable 1\nenable 1\nc\n")
    assert "w = 'c'" in last("b 7\ncondition 1 w != 'ab'\nc\n")
    assert "w = 'c'" in last("b 7\nignore 1 1\nc\n")
    assert "no breakpoint 9; there are: none" in last("cl 9\n")
    assert "is not an expression" in last("b 7, w ==\n")
    assert "takes a number above 0" in last("unsure x\n")
    assert "stopped by 1: any exception" not in last("catch\nc\n")


def test_the_stack_can_be_climbed() -> None:
    head = "until 2\n"
    assert last(head + "u\n").startswith("> f, line 7\n")
    assert last(head + "u\np w\n") == "'ab'\n"
    assert last(head + "u\nd\np k\n") == "2\n"
    assert last(head + "u 9\nw\n").splitlines()[0].startswith("> main")
    assert last(head + "u\nhistory w\n") == "> frame 5: 'ab'\n  frame 10: 'c'\n"


def test_backwards_and_by_occurrence() -> None:
    assert "call g, line 1" in last("until 2\nentry\n")
    assert "w = 'ab'" in last("until 8\nbefore 7\nbefore 7\n")
    assert "line 7 was not reached before" in last("before 7\n")
    assert "frame 10 " in last("g 7:2\n")
    assert "there is no occurrence 3" in last("g 7:3\n")
    assert "line f, line 8" in last("until 7\nskip\n")
    assert last("until 5\nskip\n") == "this line is in no loop\n"
    assert "line f, line 7" in last("until 6\nunt\n")


def test_looking_closer() -> None:
    assert last("until 8\npp out\n") == "  [0]: 4\n  [1]: 2\n"
    assert last("until 8\nwhatis out\n") == "list of 2\n"
    assert last("until 2\nr\nrv\n") == "4\n"
    assert "nothing is returned here" in last("rv\n")
    assert "  len(out): 1\n" in last("until 7\ndisplay len(out)\nuntil 7\n")
    assert "len(out)" not in last("until 7\ndisplay len(out)\nundisplay\nuntil 7\n")
    assert last("ll\n").count("\n") >= 11
    assert "B   7" in last("b 7\nll\n")
    assert "this frame is no guess" in last("conf\n")


def test_unsure_frames_stop() -> None:
    _, text = walk("unsure 0.99\nc\nconf\n", Predicted(record(PROGRAM)))
    assert "stopped by 1: frames less sure than 0.99" in text
    assert "  frame  0.980  ####################\n" in text


def test_lanes_without_others() -> None:
    assert last("lanes\n") == "> 0: real: 15 frames, return [4, 2]\n" or last("lanes\n").startswith("> 0: real: ")
    assert "there is no lane 5" in last("lane 5\n")
    assert "there is no real run here" in walk("diff\n", Predicted(record(PROGRAM)))[1]
    assert "no model" in last("until 7\nchange w 'xyz'\n")
    assert "which name, to what" in last("change w\n")
    assert "cannot be made anew" in last("restart\n")


def test_completion_offers_commands_and_names() -> None:
    session = Session(PROGRAM, Sources(), "real", given=RecordedRun(record(PROGRAM)))
    session.timeline.run_to_line(7)
    typed = prompt.Prompt(session, title="", input=io.StringIO(), output=io.StringIO())
    assert "step" in typed.completenames("st") and "EOF" not in typed.completenames("")
    assert typed.completedefault("w", "p w", 2, 3) == ["words", "w"]
    assert typed.completedefault("g", "b g", 2, 3) == ["g"]


def test_a_value_of_ten_megabytes_is_cut() -> None:
    source = "def f():\n    x = 1\n    return x\n"
    huge = "'" + "y" * 10_000_000 + "'"
    frames = (Frame("call", 1, "f", 0), Frame("line", 3, "f", 0, {"x": huge}), Frame("return", 3, "f", 0, {}, huge))
    run = RecordedRun(Trace(source, 1, frames, Outcome("return"), "3.11"))
    code, text = walk("s\nlocals\np x\npp x\nwhatis x\nhistory x\nc\nlanes\n", run, Program(source, function="f"))
    assert code == 0 and len(text) < 250_000 and "...+" in text
