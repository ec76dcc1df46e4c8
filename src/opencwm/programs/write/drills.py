"""Drills: one method, operator or builtin alone, or a few side by side, over the full range of their arguments.

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
    """Source and call of a function around one rule of the grammar, or some beside each other."""
    writer = Writer(rng, depth=1, room=8)
    count = rng.choices((1, 2, 3, 4), (12, 34, 34, 20))[0]
    texts: list[str] = []
    for _ in range(count):
        rule = rng.choice(_RULES)
        writer.on_demand = len(writer.arguments) < 4
        writer.recent.clear()
        if rule.form is not None and not writer.scope:
            writer.argument(rng.choice(("str", "ints", "strs", "counts")))
        text = writer.expand(rule, int(rng.random() < 0.25 + 0.3 * difficulty))[0]
        if rule.result in ("strset", "intset"):
            text = f"sorted({text})"
        if rng.random() < (0.25 if count == 1 else 0.5):
            variable = writer.define(rule.result if rule.result not in ("strset", "intset") else "ints")
            writer.emit(f"{variable.name} = {text}")
            text = variable.name
        texts.append(text)
    writer.on_demand = False
    writer.recent.clear()
    if count == 1 and rng.random() < 0.3 + 0.3 * difficulty:
        variable = writer.define(rule.result if rule.result not in ("strset", "intset") else "ints")
        writer.emit(f"{variable.name} = {texts[0]}")
        texts = [writer.about(variable, rng.choice(_RETURNED), 1)]
    joined = ", ".join(texts)
    writer.emit(f"return {joined if count == 1 or writer.chance(0.7) else f'[{joined}]'}")
    return writer.signature()
