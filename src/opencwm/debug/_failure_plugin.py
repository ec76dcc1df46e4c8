"""A pytest plugin that notes where a test failed: the line in the test's own file, and the names that were bound there.

Written as JSON to the file that the environment names. For `cwm why`, which adds it to the test's own pytest.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from opencwm.trace.values import render

VARIABLE = "CWM_FAILURE"
_VALUE_BYTES = 2000


def pytest_exception_interact(node: Any, call: Any, report: Any) -> None:
    """Note the failure of a test, seen from the test's own file."""
    target = os.environ.get(VARIABLE)
    path = str(getattr(node, "path", ""))
    trace = call.excinfo.tb if call.excinfo is not None else None
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            found = trace
        trace = trace.tb_next
    if target is None or found is None:
        return
    names = {name: render(value, _VALUE_BYTES) for name, value in found.tb_frame.f_locals.items() if name[:1] != "@"}
    record = {"file": path, "line": found.tb_lineno, "locals": names, "error": render(call.excinfo.value, _VALUE_BYTES)}
    Path(target).write_text(json.dumps(record), encoding="utf-8")
