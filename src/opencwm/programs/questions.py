"""Questions about runs, as chats: what a call returns, answered at once or after telling the run step by step.

Notable choice: question `i` of a namespace depends on the seed and `i` alone, and each answer comes from running the
program.
"""

from __future__ import annotations

import random
from typing import Literal

from opencwm.programs import write
from opencwm.programs.program import Program
from opencwm.trace.limits import Limits
from opencwm.trace.narrate import NarrationError, narrate
from opencwm.trace.recorder import RecordError, record

Chat = dict[str, list[dict[str, str]]]
_ASKING = (
    "What does `{call}` return?",
    "Predict the result of `{call}`.",
    "I call `{call}`. What do I get?",
)


def question(
    index: int,
    *,
    seed: int = 0,
    namespace: Literal["train", "held-out"] = "train",
    reasoning: float = 0.5,
    frames: int = 64,
) -> Chat | None:
    """A chat about the index-th written program; None where its run is longer than `frames` or cannot be told.

    `reasoning`: share of the answers that tell the run first.
    """
    _, program = next(write.stream(seed, namespace=namespace, start=index))
    rng = random.Random(f"question:{namespace}:{seed}:{index}")
    try:
        trace = record(program, limits=Limits(frames=frames))
        told = narrate(trace) if rng.random() < reasoning else ""
    except (RecordError, NarrationError):
        return None
    if trace.outcome.kind == "truncated" or trace.result is None:
        return None
    answer = f"`{trace.result}`" if trace.outcome.kind == "return" else f"It raises `{trace.result}`."
    reply = {"role": "assistant", "content": answer} | ({"reasoning": told} if told else {})
    return {"messages": [{"role": "user", "content": _asked(program, rng)}, reply]}


def _asked(program: Program, rng: random.Random) -> str:
    asking = rng.choice(_ASKING).format(call=program.call)
    return f"```python\n{program.source.rstrip()}\n```\n{asking}"
