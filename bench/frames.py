"""Frames per second that the shipped model predicts among legal tokens, and forward passes per frame of both codecs.

    python bench/frames.py [--quick] [--json] [--threads N] [--cpu-time] [--llama3 FILE]

Each with forced tokens appended without a pass of their own (jump-forward), and beside it without. The programs are
written ones. `--cpu-time` counts processor time of this process (give `--threads 1` with it).

--llama3  Llama 3's tokenizer.model, what `cwm model fetch llama3-tokenizer` prints: real runs of 30 programs (6 with
          --quick) in the `cwm` codec, over its vocabulary
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from support.measure import Clock, arguments, clock_of, read_rate, show, timing
from torch import nn

from opencwm.codec import cwm, llama3
from opencwm.codec.compact import Encoder
from opencwm.codec.compact_reader import Reader
from opencwm.codec.tokenizer import VOCABULARY
from opencwm.model.compact_constraint import Constraint
from opencwm.model.config import preset
from opencwm.model.cwm_constraint import CwmConstraint, CwmVocabulary
from opencwm.model.engine import Engine
from opencwm.model.matrices import WeightKind
from opencwm.model.runner import Runner
from opencwm.model.sampling import Sampling, draw
from opencwm.model.session import Session
from opencwm.model.transformer import Transformer
from opencwm.model.weights import load_weights
from opencwm.programs.write import write
from opencwm.trace.frames import Outcome, Trace
from opencwm.trace.recorder import record
from opencwm.world.local import SHIPPED


def runs(count: int) -> list[Trace]:
    """Recorded runs of written programs."""
    found: list[Trace] = []
    seed = 0
    while len(found) < count:
        seed += 1
        trace = record(write(random.Random(10_000 + seed)))
        if trace.outcome.kind != "truncated" and len(trace.frames) <= 60:
            found.append(trace)
    return found


def frames(options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """Predicted frames per second of the shipped model, with and without jumping over forced tokens.

    The share of the limit counts the weights alone, once per pass.
    """
    start = clock()
    model, info = load_weights(SHIPPED)
    loading = clock() - start
    room = int(info.get("context_tokens", 1024))
    traces = runs(8 if options.quick else 32)
    weights_read = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    limit_bytes = read_rate(clock, 5)
    results = []
    cases: list[tuple[int, WeightKind, bool]] = [(1, "float32", False), (1, "float32", True), (1, "int8", True)]
    for batch, kind, jump in [*cases, *((16, kind, jump) for _, kind, jump in cases)]:
        start = clock()
        engine = Engine(model, max_tokens=room, max_batch=batch, weights=kind)
        ready = loading + clock() - start
        states, generations = [], []
        start = clock()
        for trace in traces:
            given = Trace(trace.context, trace.entry_line, (), Outcome("truncated", "unfinished"), trace.python)
            ids = Encoder(given, model.config.vocab_size).window(0, 0, ending=False).ids
            state = _Counted(Constraint(Reader.from_prompt(ids, model.config.vocab_size)), jump)
            wanted = Sampling(
                max_tokens=min(400, room - len(ids)),
                temperature=0,
                constraint=state,
                stop_ids=frozenset({VOCABULARY.ids["<end>"]}),
            )
            states.append(state)
            generations.append(engine.submit(ids, wanted))
        while any(generation.finish_reason is None for generation in generations):
            engine.step()
        taken = clock() - start
        written = sum(state.frames for state in states)
        size = {"float32": 4, "bfloat16": 2, "int8": 1}[kind]
        results.append(
            {
                "codec": "compact",
                "batch": batch,
                "weights": kind,
                "jump_forward": jump,
                "load_s": ready,
                "frames_per_s": written / taken,
                "tokens_per_s": engine.generated_tokens / taken,
                "tokens_per_frame": engine.generated_tokens / written,
                "passes_per_frame": sum(state.drawn for state in states) / written,
                "share_of_limit": engine.forward_passes * weights_read * size / taken / limit_bytes,
            }
        )
    return results


class _Counted:
    """A constraint that counts frames and draws, and can be told not to jump."""

    def __init__(self, inner: Constraint, jump: bool) -> None:
        self.inner, self.jump, self.frames, self.drawn = inner, jump, 0, 0

    def allowed(self) -> Any:
        self.drawn += 1
        return self.inner.allowed()

    def push(self, token: int) -> None:
        self.frames += len(self.inner.push(token))

    def forced(self) -> list[int]:
        return self.inner.forced() if self.jump else []


def jumping(path: Path, options: argparse.Namespace, clock: Clock) -> list[dict[str, Any]]:
    """Real runs in the `cwm` codec over Llama 3's vocabulary, token after token as a model would write them.

    Every token that is not forced costs a pass of a small model, a mask of legal tokens and a draw; what is drawn does
    not matter, the run goes on as it really did.
    """
    tokenizer = llama3.load(path)
    vocabulary = CwmVocabulary(tokenizer.piece, tokenizer.encode, llama3.REGULAR + llama3.RESERVED)
    config = preset("tiny", vocab_size=llama3.REGULAR + llama3.RESERVED, max_positions=8192)
    runner = Runner(Transformer(config, seed=0))
    traces = runs(6 if options.quick else 30)
    greedy = Sampling(1, temperature=0)
    rows: list[dict[str, Any]] = []
    for jump in (False, True):
        tokens = passes = count = 0
        taken = constraining = 0.0
        for trace in traces:
            ids = cwm.encode(trace, tokenizer)
            at = ids.index(cwm.FRAME_SEP) + 1
            state = CwmConstraint(vocabulary, tokenizer.decode, ids[:at])
            session = Session(runner, max_tokens=len(ids))
            session.feed(ids[: at - 1])
            tokens += len(ids) - at
            count += len(trace.frames)
            start = clock()
            while at < len(ids):
                asked = clock()
                coming = list(state.forced()) if jump else []
                constraining += clock() - asked
                if not coming:
                    logits_V = session.feed(ids[session.length : at])
                    asked = clock()
                    allowed = state.allowed()
                    constraining += clock() - asked
                    draw(logits_V.unsqueeze(0), [greedy], [greedy.generator()], [allowed])
                    passes += 1
                    coming = ids[at : at + 1]
                for token in coming:
                    assert token == ids[at], "a forced token that did not happen"
                    state.push(token)
                    at += 1
            taken += clock() - start
        rows.append(
            {
                "codec": "cwm",
                "jump_forward": jump,
                "frames": count,
                "tokens_per_frame": tokens / count,
                "passes_per_frame": passes / count,
                "tokens_per_s": tokens / taken,
                "constraint_share": constraining / taken,
            }
        )
    passes_ratio = rows[0]["passes_per_frame"] / rows[1]["passes_per_frame"]
    speed_ratio = rows[1]["tokens_per_s"] / rows[0]["tokens_per_s"]
    return [
        rows[0] | {"times_fewer": 1.0, "times_faster": 1.0},
        rows[1] | {"times_fewer": passes_ratio, "times_faster": speed_ratio},
    ]


def main() -> None:
    parser = arguments(__doc__)
    timing(parser)
    parser.add_argument("--llama3", type=Path, metavar="FILE")
    options = parser.parse_args()
    clock = clock_of(options)
    if options.llama3 is not None:
        show("real runs again, cwm codec, Llama 3's vocabulary", jumping(options.llama3, options, clock), options)
    show("frames of the shipped model", frames(options, clock), options)


if __name__ == "__main__":
    main()
