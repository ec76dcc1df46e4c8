"""The register of idioms: small familiar algorithms with random holes, and what they share.

An idiom takes a writer and a variable of the type it needs, and leaves its result pending. Its holes are filled by the
same grammar as everything else, so that two uses of one idiom rarely have the same syntax tree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opencwm.programs.write.writer import Variable, Writer

Body = Callable[[Writer, Variable], None]


@dataclass(frozen=True, slots=True)
class Idiom:
    """`needs` are the types of which one variable must be there (unfrozen), `lines` the room that it takes."""

    weight: float
    needs: tuple[str, ...]
    lines: int
    body: Body


IDIOMS: list[Idiom] = []


def register(weight: float, needs: str, lines: int) -> Callable[[Body], Body]:
    """Decorator: add an idiom over a variable of one of the types in `needs` (separated by spaces)."""

    def add(body: Body) -> Body:
        IDIOMS.append(Idiom(weight, tuple(needs.split()), lines, body))
        return body

    return add


def idiom(writer: Writer) -> bool:
    """Write a random idiom that fits the scope and the room; False if none does."""
    types = {v.type for v in writer.scope if not v.frozen}
    fitting = [i for i in IDIOMS if i.lines <= writer.room and not types.isdisjoint(i.needs)]
    if not fitting:
        return False
    chosen = writer.rng.choices(fitting, [i.weight for i in fitting])[0]
    options = [v for v in writer.scope if v.type in chosen.needs and not v.frozen]
    over = writer.rng.choices(options, [4.0 if v.pending else 1.0 for v in options])[0]
    writer.recent.clear()
    writer.read(over)
    chosen.body(writer, over)
    return True


def start(writer: Writer, type_: str, role: str, text: str) -> Variable:
    """`NAME = TEXT` for a new variable."""
    variable = writer.define(type_, role)
    writer.emit(f"{variable.name} = {text}")
    variable.reads += 1
    return variable


def local(writer: Writer, type_: str, role: str) -> Variable:
    """A variable of the idiom's own, never picked by other statements."""
    variable = writer.define(type_, role)
    writer.scope.remove(variable)
    return variable


def changed(*variables: Variable) -> None:
    """Mark variables as written: pending again, nothing known of their values."""
    for variable in variables:
        variable.pending, variable.low, variable.bound, variable.value = True, 0, None, None


def item(name: str, over: Variable) -> Variable:
    """A stand-in for one item of a variable, for expressions about it (`s[i]`)."""
    kinds = {"str": "char", "word": "char", "strs": "word", "tstrs": "word", "rows": "row"}
    return Variable(name, kinds.get(over.type, "int"))


def bounded(writer: Writer, largest: int = 8) -> str:
    """A small number, or the name of an int argument that is known to be small."""
    options = [
        v for v in writer.scope if v.type == "int" and v.bound is not None and 0 < v.bound <= largest and not v.fixed
    ]
    if options and writer.chance(0.7):
        return writer.read(writer.rng.choice(options))
    return str(writer.rng.randint(1, min(largest, 5)))


def letter(writer: Writer) -> str:
    """Source of a string of one character that the program's values may well have."""
    return writer.expression("one", 0)[0]
