"""What this adapter can do, as it tells the client: only what is implemented."""

from __future__ import annotations

from typing import Any

EXCEPTION_FILTERS = [
    {
        "filter": "raised",
        "label": "Raised exceptions",
        "description": "Stop where an exception is raised.",
        "default": False,
        "supportsCondition": True,
        "conditionDescription": "k > 3",
    },
    {
        "filter": "uncaught",
        "label": "Uncaught exceptions",
        "description": "Stop where an exception ends the run.",
        "default": True,
    },
    {
        "filter": "unsure",
        "label": "Unsure predictions",
        "description": "Stop at frames of which the model is less sure than 0.8, or than the number in the condition.",
        "default": False,
        "supportsCondition": True,
        "conditionDescription": "0.8",
    },
]

CAPABILITIES: dict[str, Any] = {
    "supportsConfigurationDoneRequest": True,
    "supportsFunctionBreakpoints": True,
    "supportsConditionalBreakpoints": True,
    "supportsHitConditionalBreakpoints": True,
    "supportsLogPoints": True,
    "supportsDataBreakpoints": True,
    "supportsBreakpointLocationsRequest": True,
    "supportsExceptionInfoRequest": True,
    "supportsExceptionFilterOptions": True,
    "exceptionBreakpointFilters": EXCEPTION_FILTERS,
    "supportsEvaluateForHovers": True,
    "supportsClipboardContext": True,
    "supportsCompletionsRequest": True,
    "supportsSetVariable": True,
    "supportsSetExpression": True,
    "supportsStepBack": True,
    "supportsGotoTargetsRequest": True,
    "supportsRestartRequest": True,
    "supportsTerminateRequest": True,
    "supportsLoadedSourcesRequest": True,
    "supportsCancelRequest": True,
    "supportsDelayedStackTraceLoading": True,
    "supportsValueFormattingOptions": False,
}
