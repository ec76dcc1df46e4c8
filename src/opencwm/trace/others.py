"""Who else traces this thread: other users of `sys.settrace`, by name, and what to do about each.

A thread has one trace function. Two recorders cannot share it, so one that is installed already is left intact, and the
error says whose it is.
"""

from __future__ import annotations

import sys
from typing import Any

_KNOWN = {
    "coverage": (
        "coverage.py",
        "measure coverage in another run (pytest: --no-cov), or from Python 3.12 on set COVERAGE_CORE=sysmon",
    ),
    "pydevd": ("the debugger pydevd", "run without the debugger"),
    "_pydevd_bundle": ("the debugger pydevd", "run without the debugger"),
    "debugpy": ("the debugger debugpy", "run without the debugger"),
    "bdb": ("the debugger pdb", "leave the debugger first"),
    "pdb": ("the debugger pdb", "leave the debugger first"),
    "hunter": ("hunter", "stop it first (hunter.stop())"),
    "pysnooper": ("PySnooper", "take its decorator away"),
    "snoop": ("snoop", "take its decorator away"),
    "trace": ("the standard library's trace module", "run without it"),
    "opencwm": ("another recording", "stop it first"),
}


def describe(function: Any) -> tuple[str, str]:
    """Whose trace function this is, and what to do about it."""
    owner = getattr(function, "__self__", None)
    kind = type(owner) if owner is not None and not isinstance(owner, type(sys)) else type(function)
    named = getattr(function, "__qualname__", None)
    for module in (getattr(function, "__module__", None), getattr(kind, "__module__", None)):
        found = _KNOWN.get(str(module).partition(".")[0])
        if found is not None:
            return found
    name = named if isinstance(named, str) else kind.__qualname__
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{name}", "take that trace function away first (sys.settrace(None))"
