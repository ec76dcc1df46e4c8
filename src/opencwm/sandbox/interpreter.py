"""Which folders a Python interpreter needs to run: what a sandbox must show, read-only, wherever they lie."""

from __future__ import annotations

import os
import sys


def executable() -> str:
    """The interpreter that runs us, by the name that finds its packages."""
    return os.path.abspath(sys.executable)


def folders() -> list[str]:
    """Folders outside of the system's own, each below no other: the environment's, the installation's."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    places |= {os.path.realpath(place) for place in places}
    real = os.path.realpath(sys.executable)
    if not any(_below(real, place) for place in places):
        places.add(os.path.dirname(real))
    places = {os.path.abspath(place) for place in places}
    outer = [place for place in places if place != "/" and not _below(place, "/usr")]
    return sorted(place for place in outer if not any(place != other and _below(place, other) for other in outer))


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
