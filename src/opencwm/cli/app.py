"""The command line's shape: commands, exit codes, and how an error is told.

Notable choices: what a user can mend is one line on standard error and an exit code; anything else is a fault of ours
and keeps its traceback. The list of commands and options is frozen by a test.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import opencwm
from opencwm.cli import (
    ablation,
    corpus,
    debugging,
    documents,
    explaining,
    learning,
    mix,
    model,
    runs,
    sandbox,
    serving,
    training,
)
from opencwm.cli.errors import INTERRUPTED, PROGRAM, SETUP, Unusable
from opencwm.config import ConfigError
from opencwm.programs.program import ProgramError
from opencwm.sandbox.protocol import InfraError
from opencwm.trace.recorder import RecordError
from opencwm.world.protocol import WorldError

ABOUT = """Record what a Python program does, predict it with a model, and see where the two part.

Exit codes:
  0    done, also where a prediction is wrong
  1    a fault of cwm itself: a traceback
  2    the command line, a program or a data file cannot be used
  3    the weights, a configuration or the sandbox cannot be used
  4    a training run failed; its last checkpoint is kept
  130  interrupted
"""


class Commands(TyperGroup):
    """All commands, with errors that a user can mend turned into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (WorldError, ConfigError, InfraError) as error:
            _refuse(str(error), SETUP)
        except ProgramError as error:
            _refuse("\n".join(filter(None, (str(error), error.excerpt))), PROGRAM)
        except RecordError as error:
            _refuse(str(error), PROGRAM)
        except Unusable as error:
            _refuse(str(error), error.code)
        except ValueError as error:
            from opencwm.model.weights import WeightsError  # loaded already, if the error is one

            if not isinstance(error, WeightsError):
                raise
            _refuse(str(error), SETUP)
        except BrokenPipeError:
            # The reader of a pipe has gone (`cwm trace ... | head`): nothing is left to say, nor to flush at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            _refuse("interrupted", INTERRUPTED)


def _refuse(message: str, code: int) -> None:
    typer.echo(f"cwm: {message}", err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    help=ABOUT,
    epilog="Example: cwm predict examples/count_letters.py --check",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"opencwm {opencwm.__version__} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # A terminal that cannot show a character gets an escape instead of a crash.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _example(text: str) -> str:
    return f"Example: {text}"


app.command("trace", epilog=_example("cwm trace examples/count_letters.py"))(runs.trace)
app.command("predict", epilog=_example("cwm predict examples/count_letters.py --check"))(runs.predict)
app.command("debug", epilog=_example("cwm debug examples/count_letters.py"))(debugging.debug)
app.command("why", epilog=_example("cwm why tests/test_config.py --git HEAD~1"))(explaining.why)
app.command("serve", epilog=_example("cwm serve --port 8000"))(serving.serve)

train = typer.Typer(cls=training.TrainCommands, help=training.ABOUT, no_args_is_help=True)
train.command("run", hidden=True, epilog=_example("cwm train configs/tiny.toml --dry-run"))(training.train)
train.command("average", epilog=_example("cwm train average RUN RUN --output FOLDER"))(training.average)
train.command("policy", epilog=_example("cwm train policy configs/policy.toml --dry-run"))(training.policy)
train.command("plot", epilog=_example("cwm train plot RUN --output curves.png"))(training.plot)
app.add_typer(train, name="train", epilog=_example("cwm train configs/tiny.toml --dry-run"))

app.command("ladder", epilog=_example("cwm ladder configs/ladder.toml --only base"))(ablation.ladder)
app.command("ablate", epilog=_example("cwm ablate configs/ablation/tiny.toml"))(ablation.ablate)

evaluate = typer.Typer(help="Measure a model on a file of programs.", no_args_is_help=True)
evaluate.command("frames", epilog=_example("cwm eval frames --data FILE --limit 20"))(learning.frames)
evaluate.command("crux", epilog=_example("cwm eval crux --data FILE --limit 20"))(learning.crux)
evaluate.command("calibration", epilog=_example("cwm eval calibration --limit 20"))(learning.calibration)
evaluate.command("semantics", epilog=_example("cwm eval semantics --limit 20"))(mix.semantics)
evaluate.command("long", epilog=_example("cwm eval long --frames 1000"))(learning.long)
evaluate.command("writing", epilog=_example("cwm eval writing --limit 20"))(learning.writing)
evaluate.command("language", epilog=_example("cwm eval language --weights FOLDER --tokenizer FOLDER --crux FILE"))(
    learning.language
)
app.add_typer(evaluate, name="eval")

data = typer.Typer(help="Make data, and look at it.", no_args_is_help=True)
data.command("traces", epilog=_example("cwm data traces corpus --functions stdlib:textwrap"))(corpus.traces)
data.command("verify", epilog=_example("cwm data verify corpus"))(corpus.verify)
data.command("report", epilog=_example("cwm data report corpus"))(corpus.report)
data.command("narrate", epilog=_example("cwm data narrate corpus --limit 3"))(corpus.narrate)
data.command("plugin", epilog=_example("cwm data plugin > cwm_traces.py"))(corpus.plugin)
data.command("sizes", epilog=_example("cwm data sizes --data FILE --limit 50"))(learning.sizes)
data.command("mix", epilog=_example("cwm data mix --programs 500 --show 2"))(mix.mix)
data.command("audit", epilog=_example("cwm data audit --data FOLDER --programs 2000"))(mix.audit)
data.command("corrections", epilog=_example("cwm data corrections corrections.jsonl --programs 500"))(mix.corrections)
data.command("coverage", epilog=_example("cwm data coverage --programs 1000"))(mix.coverage)
data.command("code", epilog=_example("cwm data code code.parquet --package rich"))(documents.code)
data.command("chats", epilog=_example("cwm data chats chats.jsonl --count 100"))(documents.chats)
data.command("stats", epilog=_example("cwm data stats configs/tiny.toml"))(documents.stats)
data.command("peek", epilog=_example("cwm data peek configs/tiny.toml --count 2"))(documents.peek)
app.add_typer(data, name="data")

models = typer.Typer(help="Look into weights, convert them, fetch some.", no_args_is_help=True)
models.command("inspect", epilog=_example("cwm model inspect src/opencwm/weights/tiny"))(model.inspect)
models.command("convert", epilog=_example("cwm model convert cwm-native cwm-hf --dtype bfloat16"))(model.convert)
models.command("fetch", epilog=_example("cwm model fetch smollm2-135m"))(model.fetch)
app.add_typer(models, name="model")

box = typer.Typer(help="Run what nobody has read.", no_args_is_help=True)
box.command("doctor", epilog=_example("cwm sandbox doctor"))(sandbox.doctor)
box.command("run", epilog=_example('cwm sandbox run -- python -c "print(1)"'), context_settings=sandbox.REST)(
    sandbox.run
)
app.add_typer(box, name="sandbox")
