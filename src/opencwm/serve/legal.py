"""`LegalFrames`: constraints to legal frames of the `cwm` format, one per reply, over the server's one vocabulary.

The vocabulary's tables take a second to make and are made with the first such request.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opencwm.codec.text import Llama3Text
from opencwm.model.cwm_constraint import CwmConstraint, CwmVocabulary


class LegalFrames:
    """Call it with a prompt, from any thread. `count` is the number of ids of the model."""

    def __init__(self, codec: Llama3Text, count: int) -> None:
        self._codec, self._count = codec, count
        self._vocabulary: CwmVocabulary | None = None
        self._lock = threading.Lock()

    def __call__(self, prompt: Sequence[int]) -> CwmConstraint:
        """Raises CodecError for a prompt that is no beginning of a run."""
        with self._lock:
            if self._vocabulary is None:
                self._vocabulary = CwmVocabulary(self._codec.piece, self._codec.encode, self._count)
        return CwmConstraint(self._vocabulary, self._codec.tokenizer.decode, prompt)
