"""`cwm eval crux --input`: arguments with which a function returns a given value; CRUXEval's input task.

Notable choices:
- The model answers the codec's question `arguments` greedily: the parameters in their order, and after each any
  value. Names are given, values are free, so an answer can be malformed in its values alone.
- An answer is right if running `f` with it, in a sandbox, gives the wanted output: CRUXEval's own rule, under which
  other arguments than those of the file count too. Only literals are run; whatever else is wrong.
"""

from __future__ import annotations

import ast
from pathlib import Path

import torch

from opencwm.codec.tokenizer import (
    PYTHONS,
    VALUE_TOKENS,
    VOCABULARY,
    decode_value,
    encode_source,
    encode_value,
    line_tokens,
)
from opencwm.evals.crux import CruxItem, load, same_value
from opencwm.evals.report import Progress, Report, describe
from opencwm.model.session import ContextFull, Session
from opencwm.programs.program import Program, ProgramError
from opencwm.programs.untrusted import record_untrusted
from opencwm.trace.limits import Limits
from opencwm.trace.recorder import RecordError
from opencwm.world.literals import literal
from opencwm.world.local import LocalWorld
from opencwm.world.protocol import WorldError

LONGEST = 160
"""Tokens of the longest argument that is waited for."""
LIMITS = Limits(frames=10_000, seconds=5)


def evaluate(
    path: str | Path,
    *,
    weights: str | Path | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Ask for the arguments of every program of the file. Raises ValueError for a malformed file, WorldError."""
    items = load(path, limit=limit)
    world = LocalWorld.load(Path(weights) if weights is not None else None)
    if world.size <= VOCABULARY.ids["<arguments>"]:
        raise WorldError(f"{world.name} was trained before there were questions about runs: train it again")
    right = malformed = 0
    for done, item in enumerate(items, 1):
        call = answer(world, item)
        malformed += call is None
        right += call is not None and returns(item, call)
        if progress:
            progress(done, len(items))
    report = Report("crux input", describe(world, weights, data=Path(path).name, limit=limit))
    report.share("right by running", right, len(items))
    report.share("malformed", malformed, len(items))
    return report


@torch.no_grad()
def answer(world: LocalWorld, item: CruxItem) -> str | None:
    """The call that the model proposes, `f(...)`; None for a function it cannot be asked about, or no literal."""
    question = prompt(item, world.python, world.size)
    if question is None:
        return None
    ids, parameters = question
    session = Session(world.runner, max_tokens=world.max_tokens)
    end = VOCABULARY.ids["<end>"]
    values: list[str] = []
    try:
        for number, (_, name) in enumerate(parameters):
            logits_V = session.feed([*ids, name])
            stop = parameters[number + 1][1] if number + 1 < len(parameters) else end
            legal = torch.tensor([token for token in (*sorted(VALUE_TOKENS), stop) if token < len(logits_V)])
            ids = []
            written: list[int] = []
            while len(written) < LONGEST and (token := int(legal[logits_V[legal].argmax()])) != stop:
                written.append(token)
                logits_V = session.feed([token])
            values.append(decode_value(written))
            literal(values[-1])
    except (ContextFull, ValueError, RecursionError):  # CodecError, of bytes that are no text, is a ValueError
        return None
    given = [key + value for (key, _), value in zip(parameters, values, strict=True)]
    return f"f({', '.join(given)})"


Parameters = list[tuple[str, int]]
"""`NAME=` for one that is given by keyword only, else nothing; and the name's token."""


def prompt(item: CruxItem, python: str, size: int) -> tuple[list[int], Parameters] | None:
    """The question as tokens, up to `<call>`, and the parameters of `f`; None where it cannot be asked."""
    source = item.code.rstrip() + "\n"
    found = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "f"]
    if not found or found[-1].args.vararg or found[-1].args.kwarg:
        return None
    arguments = found[-1].args
    tokens, names = encode_source(source, size)
    wanted = [("", a.arg) for a in (*arguments.posonlyargs, *arguments.args)]
    wanted += [(f"{a.arg}=", a.arg) for a in arguments.kwonlyargs]
    if not wanted or any(name not in names for _, name in wanted):
        return None
    ids = VOCABULARY.ids
    question = [ids["<begin>"], VOCABULARY.python_start + PYTHONS.index(python), *tokens, ids["<trace>"]]
    question += [*line_tokens(found[-1].lineno), ids["<arguments>"], ids["<return>"], *encode_value(item.output)]
    return [*question, ids["<call>"]], [(key, names[name]) for key, name in wanted]


def returns(item: CruxItem, call: str) -> bool:
    """Whether the call, run in a sandbox, returns the item's output."""
    try:
        trace = record_untrusted(Program.parse(item.code, call), limits=LIMITS)
    except (ProgramError, RecordError):
        return False
    return trace.outcome.kind == "return" and same_value(item.output, trace.result or "")
