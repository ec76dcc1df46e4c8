"""One line on the terminal while something takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(doing: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done on standard error, if that is a terminal; the value given changes what it says."""
    from opencwm.cli import render

    screen = render.console(stderr=True)
    if not screen.is_terminal:
        yield lambda text: None
        return
    with screen.status(doing) as status:
        yield status.update
