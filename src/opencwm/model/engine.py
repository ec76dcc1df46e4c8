"""`Engine`: continuations of many prompts at once, from one model and one cache.

    engine = Engine(model, max_tokens=4096, max_batch=16)
    generation = engine.submit(prompt_ids, Sampling(max_tokens=200, temperature=0.6, seed=1))
    threading.Thread(target=engine.run, args=(stop_event,)).start()
    for token in generation: ...

Notable choices:
- Continuous batching: every `step` is one forward pass over what is due, one token of each running sequence and, up to
  `chunk` tokens in all, pieces of prompts. A sequence joins when a slot is free and leaves when it is done.
- Prefix reuse: a new prompt starts from the longest beginning that any slot holds, running or finished. A debugger that
  steps on goes on in its own slot; n samples are n submits, of which the first computes the prompt and the others wait
  for it and copy. Finished slots are given away least recently used first.
- Log-probabilities are those that the training pass gives (in float32 to 1e-4, by test), so a learner on the same
  weights needs no correction.
- `submit` and `cancel` are safe from any thread; `step` and `run` belong to one.
"""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opencwm.model.cache import Segment
from opencwm.model.generation import FinishReason, Generation, GenerationError
from opencwm.model.matrices import WeightKind
from opencwm.model.runner import Runner
from opencwm.model.sampling import Sampling, Token, draw
from opencwm.model.slots import Slots, common
from opencwm.model.transformer import Transformer

__all__ = ["Engine", "Generation", "GenerationError"]


@dataclass(slots=True, eq=False)
class _Sequence:
    """A request: its tokens so far, of which the cache holds the first few."""

    tokens: list[int]
    sampling: Sampling
    generation: Generation
    generator: random.Random
    slot: int = -1
    written: int = 0  # tokens of the continuation


class Engine:
    """Runs at most `max_batch` sequences at a time, each of at most `max_tokens` tokens, prompt and continuation.

    `chunk` is the most tokens that one step computes. `weights` says how the matrices are held: "float32", "bfloat16"
    or "int8" (bfloat16 activations, one scale per row); by default in the model's own precision. `kept` more slots
    hold finished sequences, for prompts that begin like them. Memory: `cache_bytes`, on a CPU only what is written.
    `compile` has PyTorch compile steps of few tokens, on a GPU into CUDA graphs, which takes a minute now; CompileError
    if it cannot.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        max_tokens: int,
        max_batch: int,
        chunk: int = 512,
        weights: WeightKind | None = None,
        kept: int = 4,
        device: torch.device | str | None = None,
        compile: bool = False,
    ) -> None:
        limit = model.config.max_positions
        if not 0 < max_tokens <= limit:
            raise ValueError(f"max_tokens is {max_tokens}: give 1 to {limit}, the model's max_positions")
        for name, value in (("max_batch", max_batch), ("chunk", chunk)):
            if value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if kept < 0:
            raise ValueError(f"kept is {kept}: give 0 or more slots")
        if device is not None:
            model = model.to(device)
        if weights is None:
            weights = "bfloat16" if model.embedding.weight.dtype == torch.bfloat16 else "float32"
        self.max_tokens, self.max_batch = max_tokens, max_batch
        self.chunk = chunk
        self.runner = Runner(model, weights, compile=compile)
        self._cache = self.runner.new_cache(max_batch + kept, max_tokens, chunk=min(chunk, max_tokens))
        self.runner.warm_up(self._cache)
        self._slots = Slots(self._cache)
        self._running: list[_Sequence] = []
        self._waiting: deque[_Sequence] = deque()
        self._arrived: queue.SimpleQueue[_Sequence] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._ended = False  # `run` has returned
        self.forward_passes = 0
        self.generated_tokens = 0
        self.prompt_tokens = 0
        self.reused_tokens = 0

    @property
    def vocabulary(self) -> int:
        return self.runner.config.vocab_size

    @property
    def cache_bytes(self) -> int:
        return self._cache.bytes

    @property
    def running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that wait for one."""
        return len(self._waiting) + self._arrived.qsize()

    def submit(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        listener: Callable[[Token | None], None] | None = None,
    ) -> Generation:
        """Queue a prompt; returns at once. Raises ValueError for one that cannot run.

        `listener` is called from the engine's thread with every token, and with None at the end; it must be quick.
        """
        if not prompt:
            raise ValueError("the prompt is empty: give at least one token")
        if min(prompt) < 0 or max(prompt) >= self.vocabulary:
            wrong = next(token for token in prompt if not 0 <= token < self.vocabulary)
            raise ValueError(
                f"token {wrong} is outside the vocabulary of {self.vocabulary}: encode with this model's own tokenizer"
            )
        room = self.max_tokens - len(prompt)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, the context {self.max_tokens}: shorten the prompt to at most "
                f"{self.max_tokens - 1} tokens"
            )
        if sampling.max_tokens > room:
            raise ValueError(
                f"{len(prompt)} tokens of prompt and {sampling.max_tokens} more exceed the context of "
                f"{self.max_tokens}: ask for at most {room} tokens"
            )
        generation = Generation(len(prompt), listener)
        self._arrived.put(_Sequence(list(prompt), sampling, generation, sampling.generator()))
        self._wake.set()
        if self._ended:
            self._refuse_arrivals()
        return generation

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set; sequences that are then unfinished, and later ones, end as cancelled."""
        self._ended = False
        while not stop.is_set():
            self._wake.clear()
            try:
                busy = self.step()
            except Exception as error:  # a fault of ours: who waits for a token must not wait for ever
                self._give_up(f"the engine failed: {error}")
                busy = True
            if not busy:
                self._wake.wait(0.05)
        self._ended = True
        self._give_up(None)
        self._refuse_arrivals()

    def _give_up(self, error: str | None) -> None:
        """End all sequences: cancelled, or with an error."""
        reason: FinishReason = "cancelled" if error is None else "error"
        for sequence in list(self._running):
            self._finish(sequence, reason, error)
        while self._waiting:
            self._end(self._waiting.popleft(), reason, error)

    def _refuse_arrivals(self) -> None:
        """End what was submitted and never taken: by whichever thread comes first."""
        with suppress(queue.Empty):
            while True:
                self._end(self._arrived.get_nowait(), "cancelled")

    def replace_weights(self, model: Transformer) -> None:
        """Use another model of the same shape from the next step on; all that is cached is forgotten.

        Running sequences go on, their tokens computed anew. Call it from the thread that steps.
        """
        if model.config != self.runner.config:
            raise ValueError("the new model has another shape: start a new engine for it")
        self.runner = Runner(model, self.runner.weights, compile=self.runner.static is not None)
        for slot in range(self._cache.slots):
            self._cache.clear(slot)

    def step(self) -> bool:
        """One forward pass over what is due; False, without one, when there is nothing to do."""
        self._take_arrivals()
        self._drop_cancelled()
        self._admit()
        segments, sequences = self._due()
        if not segments:
            return bool(self._waiting)
        try:
            hidden_NC = self.runner.hidden(self._cache, segments)
            self.forward_passes += 1
            self._slots.note(segments)
            ends = np.cumsum([len(segment.ids) for segment in segments]) - 1
            ready = [
                (sequence, int(end))
                for sequence, end in zip(sequences, ends, strict=True)
                if self._cache.lengths[sequence.slot] == len(sequence.tokens)
            ]
            if ready:
                rows = [end for _, end in ready]
                whole = len(rows) == hidden_NC.shape[0]
                self._extend([sequence for sequence, _ in ready], hidden_NC if whole else hidden_NC[rows])
        except Exception as error:  # a fault of the device or of ours: these sequences are lost, the engine is not
            for sequence in sequences:
                if sequence.generation.finish_reason is None:
                    self._finish(sequence, "error", f"the engine failed: {error}")
                    self._cache.clear(sequence.slot)
        return True

    def _take_arrivals(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._waiting.append(self._arrived.get_nowait())

    def _drop_cancelled(self) -> None:
        for sequence in [s for s in self._running if s.generation.cancelled]:
            self._finish(sequence, "cancelled")
        if any(sequence.generation.cancelled for sequence in self._waiting):
            kept = deque[_Sequence]()
            for sequence in self._waiting:
                if sequence.generation.cancelled:
                    self._end(sequence, "cancelled")
                else:
                    kept.append(sequence)
            self._waiting = kept

    def _admit(self) -> None:
        """Give slots to waiting sequences, in order, but for those whose prompt another one is computing."""
        held_back: list[_Sequence] = []
        while self._waiting and len(self._running) < self.max_batch:
            sequence = self._waiting.popleft()
            source, length = self._slots.longest_prefix(sequence.tokens)
            if self._in_computation(sequence.tokens) > length:
                held_back.append(sequence)
                continue
            self._place(sequence, source, length)
        self._waiting.extendleft(reversed(held_back))

    def _in_computation(self, tokens: list[int]) -> int:
        """Tokens of a beginning of `tokens` that running sequences hold or are still computing."""
        found = 0
        for other in self._running:
            due = len(other.tokens) - self._cache.lengths[other.slot]
            if due > 1 and min(len(other.tokens), len(tokens) - 1) > found:
                found = max(found, common(tokens[:-1], other.tokens))
        return found

    def _place(self, sequence: _Sequence, source: int, length: int) -> None:
        busy = {other.slot for other in self._running}
        sequence.slot = self._slots.place(sequence.tokens, source, length, busy)
        sequence.generation.reused_tokens = length
        self.reused_tokens += length
        self.prompt_tokens += sequence.generation.prompt_tokens
        self._running.append(sequence)
        if sequence.sampling.constraint is not None:
            self._jump(sequence)

    def _due(self) -> tuple[list[Segment], list[_Sequence]]:
        """What the next pass computes: short remainders of running sequences first, then prompts in order."""
        lengths = self._cache.lengths
        budget = max(self.chunk, len(self._running))
        segments: list[Segment] = []
        sequences: list[_Sequence] = []
        for sequence in sorted(self._running, key=lambda s: s.written == 0):
            start = lengths[sequence.slot]
            count = min(len(sequence.tokens) - start, budget, self.chunk)
            if count > 0:
                segments.append(Segment(sequence.slot, sequence.tokens[start : start + count]))
                sequences.append(sequence)
                budget -= count
        return segments, sequences

    def _extend(self, sequences: Sequence[_Sequence], hidden_NC: Tensor) -> None:
        """Draw the next token of each sequence."""
        going: list[_Sequence] = []
        rows: list[int] = []
        allowed: list[object] = []
        for row, sequence in enumerate(sequences):
            legal: object = None
            if sequence.sampling.constraint is not None:
                try:
                    legal = sequence.sampling.constraint.allowed()
                    if legal is not None and not _any(legal):
                        self._finish(sequence, "stop")
                        continue
                except Exception as error:
                    self._finish(sequence, "error", f"the constraint failed: {error}")
                    continue
            going.append(sequence)
            rows.append(row)
            allowed.append(legal)
        if not going:
            return
        logits_NV = self.runner.logits(hidden_NC if len(rows) == hidden_NC.shape[0] else hidden_NC[rows])
        with torch.inference_mode():
            drawn = draw(logits_NV, [s.sampling for s in going], [s.generator for s in going], allowed)
        for sequence, token in zip(going, drawn, strict=True):
            self._append(sequence, token)
            if sequence.sampling.constraint is not None and sequence.generation.finish_reason is None:
                self._jump(sequence)

    def _jump(self, sequence: _Sequence) -> None:
        """Append what the constraint leaves no choice about."""
        assert sequence.sampling.constraint is not None
        while sequence in self._running:
            try:
                forced = sequence.sampling.constraint.forced()
            except Exception as error:
                self._finish(sequence, "error", f"the constraint failed: {error}")
                return
            if not forced:
                return
            for token in forced:
                if sequence in self._running:
                    self._append(sequence, Token(token, 0.0))

    def _append(self, sequence: _Sequence, token: Token) -> None:
        sampling = sequence.sampling
        if sampling.constraint is not None:
            try:
                sampling.constraint.push(token.id)
            except Exception as error:
                self._finish(sequence, "error", f"the constraint failed: {error}")
                return
        sequence.tokens.append(token.id)
        sequence.written += 1
        self.generated_tokens += 1
        sequence.generation.give(token)
        if token.id in sampling.stop_ids:
            self._finish(sequence, "stop")
        elif sequence.written >= sampling.max_tokens:
            self._finish(sequence, "length")

    def _finish(self, sequence: _Sequence, reason: FinishReason, error: str | None = None) -> None:
        """Take a running sequence out; its slot keeps what it holds, for prompts that begin alike."""
        self._running.remove(sequence)
        self._end(sequence, reason, error)

    def _end(self, sequence: _Sequence, reason: FinishReason, error: str | None = None) -> None:
        sequence.generation.error = error
        sequence.generation.finish_reason = reason
        sequence.generation.give(None)


def _any(legal: object) -> bool:
    return bool(legal.any()) if isinstance(legal, Tensor) and legal.dtype == torch.bool else len(legal) > 0  # type: ignore[arg-type]
