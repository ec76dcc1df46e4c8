"""OpenCWM: record what Python programs do, train a model to predict it, debug code that has not run.

The public names below load on first use, so that `import opencwm` costs neither time nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencwm.programs.program import Program as Program
    from opencwm.programs.program import ProgramError as ProgramError
    from opencwm.trace.frames import Frame as Frame
    from opencwm.trace.frames import Outcome as Outcome
    from opencwm.trace.frames import Step as Step
    from opencwm.trace.frames import Trace as Trace
    from opencwm.trace.frames import read_jsonl as read_jsonl
    from opencwm.trace.isolate import record_isolated as record_isolated
    from opencwm.trace.limits import Limits as Limits
    from opencwm.trace.live import Recording as Recording
    from opencwm.trace.recorder import record as record
    from opencwm.world.compare import Comparison as Comparison
    from opencwm.world.compare import compare as compare
    from opencwm.world.interpreter import InterpreterWorld as InterpreterWorld
    from opencwm.world.local import LocalWorld as LocalWorld
    from opencwm.world.protocol import Prediction as Prediction
    from opencwm.world.protocol import World as World
    from opencwm.world.protocol import WorldError as WorldError
    from opencwm.world.protocol import collect as collect

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "world.compare",
    "Frame": "trace.frames",
    "InterpreterWorld": "world.interpreter",
    "Limits": "trace.limits",
    "LocalWorld": "world.local",
    "Outcome": "trace.frames",
    "Prediction": "world.protocol",
    "Program": "programs.program",
    "ProgramError": "programs.program",
    "Recording": "trace.live",
    "Step": "trace.frames",
    "Trace": "trace.frames",
    "World": "world.protocol",
    "WorldError": "world.protocol",
    "collect": "world.protocol",
    "compare": "world.compare",
    "read_jsonl": "trace.frames",
    "record": "trace.recorder",
    "record_isolated": "trace.isolate",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'opencwm' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"opencwm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
