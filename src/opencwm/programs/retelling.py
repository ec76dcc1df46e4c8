"""A narration rewritten by a language model, kept only if it still ends as the run did (CWM §3.3).

Any endpoint that speaks OpenAI's chat completions will do. What the model says last must be `Output: VALUE`; a text
whose value is not the trace's is dropped, whatever else is right in it.
"""

from __future__ import annotations

import ast
import time
from collections import Counter

import httpx

from opencwm.trace.frames import Trace

INSTRUCTIONS = """\
Below are a Python program and an exact account of one run of it. Retell the run as a careful engineer would who reasons
\\ it through step by step: what runs, what changes and why, loops summed up where nothing new happens. State only what
the \\ account says. End with one line that holds nothing but `Output: ` and the repr of what the run returns, or \
`Output: raises ` and the repr of the exception."""
TRIES = 3
SECONDS = 120.0
_MARK = "Output: "


class RetellingError(Exception):
    """The endpoint does not answer; the message is one line and says what to do."""


class Retelling:
    """A model that retells, and how many of its texts were dropped, by reason."""

    def __init__(self, url: str, model: str, *, key: str | None = None) -> None:
        self.model = model
        self.dropped: Counter[str] = Counter()
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._client = httpx.Client(timeout=SECONDS, headers={"Authorization": f"Bearer {key}"} if key else {})

    def retell(self, trace: Trace, narration: str) -> str | None:
        """The model's text of a narration, without its last line; None if its outcome is not the trace's.

        Raises RetellingError.
        """
        if trace.outcome.kind == "truncated":
            self.dropped["the run was cut off"] += 1
            return None
        text = self._ask(f"```python\n{trace.context}```\n\n{narration}").rstrip()
        body, _, last = text.rpartition("\n")
        if not last.startswith(_MARK):
            self.dropped["no output stated"] += 1
            return None
        said = last.removeprefix(_MARK).strip().strip("`")
        raised = said.startswith("raises ")
        if raised != (trace.outcome.kind == "exception") or not _equal(
            said.removeprefix("raises "), trace.result or ""
        ):
            self.dropped["another output"] += 1
            return None
        if not body.strip():
            self.dropped["nothing but the output"] += 1
            return None
        return body.rstrip()

    def _ask(self, prompt: str) -> str:
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": prompt}]
        for attempt in range(TRIES):
            try:
                answer = self._client.post(self._url, json={"model": self.model, "messages": messages})
            except httpx.HTTPError as error:
                problem = f"no answer from {self._url} ({type(error).__name__}): check the URL and that the server runs"
            else:
                if answer.status_code == 200:
                    try:
                        return str(answer.json()["choices"][0]["message"]["content"])
                    except (ValueError, KeyError, IndexError, TypeError):
                        raise RetellingError(
                            f"{self._url} does not answer as a chat endpoint: give its /v1 URL"
                        ) from None
                problem = f"{self._url} answers {answer.status_code}: {answer.text[:100]!r}; check model and key"
                if answer.status_code < 500 and answer.status_code != 429:
                    break
            time.sleep(0.5 * 2**attempt if attempt + 1 < TRIES else 0)
        raise RetellingError(problem)


def _equal(said: str, real: str) -> bool:
    """Whether two texts are the same value: the same text, or literals that are equal and of one type."""
    if said.strip() == real.strip():
        return True
    try:
        one, other = ast.literal_eval(said), ast.literal_eval(real)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return type(one) is type(other) and bool(one == other)
