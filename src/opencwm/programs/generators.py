"""Arguments from a generator that comes with a function: strangers' code, so this runs where the function itself runs.

Standard library only: the recording process in the sandbox imports it.
"""

from __future__ import annotations

import random
from typing import Any


def keywords(generator: str, seed: str) -> str | None:
    """Keyword arguments as text (`n=3, items=[1]`) from the last `generate...` function of a source; None if it fails.

    It is given a `random.Random` with that seed.
    """
    scope: dict[str, Any] = {"Random": random.Random}
    try:
        exec(compile(generator, "<generator>", "exec", dont_inherit=True), scope)
        makers = [value for key, value in scope.items() if callable(value) and key.startswith("generate")]
        given = makers[-1](random.Random(seed)) if makers else None
    except Exception:
        return None
    if not isinstance(given, dict) or not all(isinstance(key, str) and key.isidentifier() for key in given):
        return None
    return ", ".join(f"{key}={_short(value)!r}" for key, value in given.items())


def _short(value: Any) -> Any:
    """Floats to four places: nobody types more, and a model learns nothing from them."""
    if type(value) is float:
        return round(value, 4)
    if isinstance(value, list | tuple):
        return type(value)(_short(item) for item in value)
    return {key: _short(item) for key, item in value.items()} if type(value) is dict else value
