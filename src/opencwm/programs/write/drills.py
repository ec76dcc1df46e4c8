"""Drills: one method, operator or builtin alone, or two side by side, over the full range of its arguments.

Notable choice: a drill takes the grammar's rules evenly, not by how common they are, because a small model learns a
method only by seeing it; the operands become arguments of the call as needed.
"""

from __future__ import annotations

import random

from opencwm.programs.write.rules import GRAMMAR
from opencwm.programs.write.writer import Writer

_HELD_BACK = ("cell", "shown", "word", "steady", "number")
_RULES = [rule for rule in GRAMMAR.rules if rule.result not in _HELD_BACK]
_RETURNED = ("str", "int", "bool", "strs", "ints")


def drill(rng: random.Random, difficulty: float) -> tuple[str, str]:
    """Source and call of a function around one rule of the grammar."""
    writer = Writer(rng, depth=1, room=4)
    writer.on_demand = True
    rule = rng.choice(_RULES)
    if rule.form is not None:
        writer.argument(rng.choice(("str", "ints", "strs", "counts")))
    text = writer.expand(rule, int(rng.random() < 0.35 + 0.3 * difficulty))[0]
    writer.on_demand = False
    writer.recent.clear()
    if rule.result in ("strset", "intset"):
        text = f"sorted({text})"
    choice = rng.random()
    if choice < 0.2:
        text = _side_by_side(writer, text)
    elif choice < 0.42 + 0.4 * difficulty:
        variable = writer.define(rule.result if rule.result not in ("strset", "intset") else "ints")
        writer.emit(f"{variable.name} = {text}")
        text = variable.name if rng.random() < 0.3 else writer.about(variable, rng.choice(_RETURNED), 1)
    writer.emit(f"return {text}")
    return writer.signature()


def _side_by_side(writer: Writer, text: str) -> str:
    """The drilled expression beside another one about the same arguments, as a tuple or a list."""
    texts = [text]
    for _ in range(1 if writer.chance(0.7) or not writer.scope else 2):
        variable = writer.rng.choice(writer.scope) if writer.scope else None
        texts.append(writer.about(variable, writer.choose(*_RETURNED), 0) if variable else text)
    joined = ", ".join(texts)
    return joined if writer.chance(0.6) else f"[{joined}]"
