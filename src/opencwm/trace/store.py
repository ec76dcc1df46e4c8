"""A trace as compact bytes, for storing millions: `pack` and `unpack`, exact in both directions.

Notable choices:
- JSON, so that anything can read it: `{"format", "context", "entry_line", "python", "outcome", "texts", "frames"}`.
  Every name and value is a number into `texts`; a frame holds only what changed since the one before of the same
  activation.
- A frame is `[event, line, function, depth, value, locals, steps, identity]`, shortened by its empty tail. `locals` is
  0 for unchanged, a flat list `[name, value, ...]` of changes whose result keeps the order of names, or `[-1, name,
  value, ...]` for all of them.
- No compression here: whoever stores many (Parquet, zstd) compresses them together, several times better than one by
  one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opencwm.trace.frames import EVENTS, Frame, Outcome, Step, Trace

PACKED = "opencwm.packed/1"
_EVENT_NUMBERS = {event: number for number, event in enumerate(EVENTS)}
_ALL = -1


def pack(trace: Trace) -> bytes:
    """The trace as bytes, all text in UTF-8 (lone surrogates escaped)."""
    texts: dict[str, int] = {}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    frames = []
    states: list[dict[str, str]] = []  # of the open activations
    for frame in trace.frames:
        value = -1 if frame.value is None else number(frame.value)
        record: list[Any] = [_EVENT_NUMBERS[frame.event], frame.line, number(frame.function), frame.depth, value]
        record.append(_changes(frame, states, number))
        record.append([part for step in frame.steps for part in (step.node, number(step.value))])
        record.append([list(map(number, group)) for group in frame.identity])
        while record and not record[-1] and len(record) > 5:
            record.pop()
        frames.append(record)
    whole = {
        "format": PACKED,
        "context": trace.context,
        "entry_line": trace.entry_line,
        "python": trace.python,
        "outcome": [trace.outcome.kind, trace.outcome.reason],
        "texts": list(texts),
        "frames": frames,
    }
    try:
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # lone surrogates have no UTF-8
        return json.dumps(whole, separators=(",", ":")).encode()


def _changes(frame: Frame, states: list[dict[str, str]], number: Any) -> list[int] | int:
    del states[frame.depth + 1 :]
    if frame.event not in ("call", "line"):
        return 0
    before = states[frame.depth] if frame.event == "line" and len(states) > frame.depth else None
    while len(states) <= frame.depth:
        states.append({})
    states[frame.depth] = frame.locals
    if before is not None:
        if before == frame.locals and list(before) == list(frame.locals):
            return 0
        if list(before | frame.locals) == list(frame.locals):
            changed = [(name, text) for name, text in frame.locals.items() if before.get(name) != text]
            return [number(part) for pair in changed for part in pair]
    return [_ALL, *(number(part) for pair in frame.locals.items() for part in pair)] if frame.locals else [_ALL]


def unpack(data: bytes) -> Trace:
    """The trace of `pack`'s bytes. Raises ValueError, saying what is wrong, for anything else."""
    try:
        whole = json.loads(data)
        if whole["format"] != PACKED:
            raise ValueError(f"format {whole['format']!r}, this version reads {PACKED!r}")
        texts: list[str] = whole["texts"]
        states: list[dict[str, str]] = []
        frames = tuple(_frame(record, texts, states) for record in whole["frames"])
        kind, reason = whole["outcome"]
        return Trace(whole["context"], whole["entry_line"], frames, Outcome(kind, reason), whole["python"])
    except (KeyError, TypeError, IndexError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a packed trace ({error!r}): the data is damaged or of another kind") from error


def _frame(record: Sequence[Any], texts: list[str], states: list[dict[str, str]]) -> Frame:
    event, line, function, depth, value = record[:5]
    changes: Any = record[5] if len(record) > 5 else 0
    steps: Any = record[6] if len(record) > 6 else ()
    identity: Any = record[7] if len(record) > 7 else ()
    del states[depth + 1 :]
    found: dict[str, str] = {}
    if event < 2:
        while len(states) <= depth:
            states.append({})
        if changes == 0:
            found = states[depth]
        elif changes[:1] == [_ALL]:
            found = {texts[changes[at]]: texts[changes[at + 1]] for at in range(1, len(changes), 2)}
        else:
            found = dict(states[depth])
            for at in range(0, len(changes), 2):
                found[texts[changes[at]]] = texts[changes[at + 1]]
        states[depth] = found
    return Frame(
        EVENTS[event],
        line,
        texts[function],
        depth,
        found,
        None if value < 0 else texts[value],
        tuple(Step(steps[at], texts[steps[at + 1]]) for at in range(0, len(steps), 2)),
        tuple(tuple(texts[name] for name in group) for group in identity),
    )
