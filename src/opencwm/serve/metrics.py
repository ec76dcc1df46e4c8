"""What a server counts, in Prometheus' text format.

Notable choice: `prometheus_client` writes it (its reference library: pure Python, no dependencies of its own), in a
registry per server, so that two servers in one process do not mix.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one server. `running` and `waiting` are asked for when the page is read."""

    def __init__(self, *, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter("cwm_requests", "Answered requests.", ["path", "status"], registry=self.registry)
        self.prompt_tokens = Counter("cwm_prompt_tokens", "Tokens of prompts.", registry=self.registry)
        self.tokens = Counter("cwm_generated_tokens", "Tokens generated.", registry=self.registry)
        self.cancelled = Counter(
            "cwm_cancelled_replies", "Replies whose client went away before their end.", registry=self.registry
        )
        self.seconds = Histogram(
            "cwm_request_seconds", "From request to the end of its answer.", registry=self.registry, buckets=_SECONDS
        )
        self.first = Histogram(
            "cwm_first_token_seconds", "From request to its first token.", registry=self.registry, buckets=_SECONDS
        )
        for name, what, count in (
            ("cwm_running_replies", "Replies being generated.", running),
            ("cwm_waiting_replies", "Replies that wait for their turn.", waiting),
        ):
            Gauge(name, what, registry=self.registry).set_function(count)

    def page(self) -> bytes:
        """All figures as text."""
        return generate_latest(self.registry)
