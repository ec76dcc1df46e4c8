"""The grammar as it is used: all rule tables, the leaves and the forms (functions that write an expression)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opencwm.programs.write.grammar import Grammar
from opencwm.programs.write.tables_collections import COLLECTIONS
from opencwm.programs.write.tables_more import MORE
from opencwm.programs.write.tables_more_collections import MORE_COLLECTIONS
from opencwm.programs.write.tables_text import TEXT
from opencwm.programs.write.tables_truth import NUMBERS, TRUTH

if TYPE_CHECKING:
    from opencwm.programs.write.writer import Writer

GRAMMAR = Grammar((TEXT, NUMBERS, TRUTH, COLLECTIONS, MORE, MORE_COLLECTIONS))
_active: list[Grammar] = [GRAMMAR]
LEAVES: dict[str, Callable[[Writer], tuple[str, int]]] = {}
FORMS: dict[str, Callable[[Writer, str, int], tuple[str, int]]] = {}


def active() -> Grammar:
    """The grammar that programs are being written by."""
    return _active[-1]


@contextmanager
def using(grammar: Grammar) -> Iterator[None]:
    """Write by another grammar for a while."""
    _active.append(grammar)
    try:
        yield
    finally:
        _active.pop()
