"""Repr texts that are Python literals, read without running anything."""

from __future__ import annotations

import ast
import warnings
from typing import Any


def literal(text: str) -> Any:
    """The value of a repr text. Raises ValueError, and nothing else, if it is no literal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in a predicted string is not our warning
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"{text[:80]} is not a literal") from error
