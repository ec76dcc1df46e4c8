"""`CwmConstraint`: which tokens of a byte-level vocabulary may come next in a trace of the `cwm` codec.

    constraint = CwmConstraint(pieces, tokenizer.encode, prompt_ids)
    engine.submit(prompt_ids, Sampling(max_tokens=2000, constraint=constraint, stop_ids=frozenset({END})))

Notable choices:
- Between special tokens the text is a chain of nodes: `_Choice`, one of a few fixed texts (names in scope, source lines
  that control flow allows), and `_Value`, free text by a grammar, of which the vocabulary's mask is cached per state.
  A token may cross from one node into the next.
- What is forced is tokenised as the whole text would be. Where free text may still follow, the last token of it is
  left to the model, which might merge it with what comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from opencwm.codec import cwm
from opencwm.codec.errors import CodecError
from opencwm.codec.following import Following, Option
from opencwm.codec.llama3 import NAMES
from opencwm.codec.tracking import Sighting, Tracker
from opencwm.model import json_values
from opencwm.model.compact_constraint import Facts
from opencwm.model.pieces import Automaton, Pieces, common_beginning
from opencwm.trace.frames import Event

_EVENT_OF: dict[int, Event] = {token: event for event, token in cwm.EVENT_IDS.items()}


class CwmVocabulary:
    """A vocabulary's pieces and the masks of its values, shared by all constraints."""

    def __init__(self, piece: Callable[[int], bytes | None], encode: Callable[[str], list[int]], count: int) -> None:
        self.pieces = Pieces(piece, count)
        self.encode = encode
        self.values = Automaton(self.pieces, _step, json_values.ENDED)


def _step(state: object, byte: int) -> json_values.Text | json_values.Ended | None:
    return json_values.step(state, byte)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several texts, none of which begins another, of which `typed` bytes are there."""

    texts: tuple[tuple[bytes, str | None], ...]
    """Each with the name whose value follows; "" for an unnamed value, None where the segment ends."""
    typed: int = 0


@dataclass(frozen=True, slots=True)
class _Value:
    """The value of a name, "" for what is returned or raised."""

    name: str
    text: json_values.Text


@dataclass(frozen=True, slots=True)
class _End:
    """The segment's text is complete: a special token is due."""


_Node = _Choice | _Value | _End


class CwmConstraint:
    """A `TokenConstraint` for one continuation of `prompt`: begin, context, and frames, perhaps an unfinished one.

    `count` is the number of ids of the model. Raises CodecError for a prompt that is no beginning of a trace.
    """

    def __init__(
        self, vocabulary: CwmVocabulary, decode: Callable[[Sequence[int]], str], prompt: Sequence[int]
    ) -> None:
        self._vocabulary = vocabulary
        if list(prompt[:2]) != [cwm.BEGIN, cwm.CONTEXT_START] or cwm.FRAME_SEP not in prompt:
            raise CodecError("expected a prompt that begins a trace: begin of text, trace context, source, frame", 0)
        border = list(prompt).index(cwm.FRAME_SEP)
        self.context, self.entry_line = cwm.unmark(decode(prompt[2:border]), 2)
        tracker = Tracker(self.context, self.entry_line)
        self._texts = {line: text for text, lines in tracker.lines_of.items() for line in lines}
        facts = Facts(self.context, tracker.flow)
        self._following = Following(tracker, self.entry_line, facts.callees)
        self.frames = 0
        self.ended = False
        self._begin_frame()
        for offset, token in enumerate(prompt[border + 1 :]):
            try:
                self.push(token)
            except CodecError as error:
                raise CodecError(str(error), border + 1 + offset) from None

    def _begin_frame(self) -> None:
        self._event: Event | None = None
        self._shown: dict[str, str] = {}  # names of this frame and their JSON
        self._line: str | None = None
        self._result: str | None = None
        self._repeated = False
        self._node: _Node = _End()
        self._segment: list[int] = []
        self._text = b""
        self._options: list[Option] = []

    # --- what may come next

    def allowed(self) -> Tensor | list[int]:
        """Legal tokens: a mask within a value, else their ids; none when the trace has ended."""
        node = self._node
        if isinstance(node, _End):
            return self._special()
        if isinstance(node, _Value):
            legal = self._vocabulary.values.legal(json_values.shown(node.text))
            mask_V = legal.mask_V.copy()
            for text, tokens in legal.beyond.items():
                if self._accepts(self._after_value(node), text):
                    mask_V[tokens] = True
            return torch.from_numpy(mask_V)
        found: list[int] = []
        pieces = self._vocabulary.pieces
        for text, name in node.texts:
            rest = text[node.typed :]
            found += pieces.beginning(rest)
            if name is not None:
                following = self._value(name)
                found += [token for token, over in pieces.beyond(rest) if self._accepts(following, over)]
        return sorted(set(found))

    def forced(self) -> list[int]:
        """Tokens that no choice is left about; ask again when they are pushed."""
        node = self._node
        if isinstance(node, _End):
            special = self._special()
            return special if len(special) == 1 else []
        if isinstance(node, _Value):
            return []
        rests = [(text[node.typed :], following is None) for text, following in node.texts]
        if not common_beginning([rest for rest, _ in rests]):
            return []
        # Of every text its own tokens: those of what they have in common may end elsewhere ("in" of "index").
        tokens: list[int] | None = None
        for rest, ends in rests:
            own = self._tokens(rest, ends=ends)
            tokens = own if tokens is None else _common(tokens, own)
            if not tokens:
                return []
        return tokens or []

    def _tokens(self, rest: bytes, *, ends: bool) -> list[int]:
        """The tokens of what is still to be written, but for the last where other text may join it."""
        try:
            before, whole = self._text.decode(), (self._text + rest).decode()
        except UnicodeDecodeError:
            return []
        tokens = self._vocabulary.encode(whole)
        if tokens[: len(self._segment)] == self._segment:
            left = tokens[len(self._segment) :]
        else:
            left = self._vocabulary.encode(whole[len(before) :])
        return left if ends else left[:-1]

    def _special(self) -> list[int]:
        if self.ended:
            return []
        if self._event is None:
            following = self._following
            found = [token for token, event in _EVENT_OF.items() if following.options(event)]
            return [*found, cwm.END] if following.may_end else found
        if self._line is None:
            return [cwm.ACTION_SEP]
        if self._event in ("return", "exception") and self._result is None:
            return [cwm.ARG_SEP]
        return [cwm.FRAME_SEP]

    def _value(self, name: str) -> _Value:
        return _Value(name, json_values.Text(repeats=name in self._following.known and self._event == "line"))

    def _after_value(self, node: _Value) -> _Node:
        if not node.name:
            return _End()
        return self._names([*self._shown, node.name], started=True)

    def _names(self, shown: list[str], *, started: bool) -> _Choice:
        """The next name of a frame's locals, or their end."""
        names: set[str] = set()
        closing = False
        for option in self._options:
            following = option.next_names(shown)
            if following is not None:
                names |= following[0]
                closing = closing or following[1]
        lead = ", " if started else "{"
        texts: list[tuple[bytes, str | None]] = [
            (f'{lead}{json.dumps(name)}: "'.encode(), name) for name in sorted(names)
        ]
        if closing:
            texts.append((b"}" if started else b"{}", None))
        return _Choice(tuple(texts))

    def _lines(self) -> _Choice:
        """The source lines that the frame may be at."""
        lines: set[int] = set()
        for option in self._options:
            following = option.next_names(list(self._shown)) if self._event in ("call", "line") else (frozenset(), True)
            if following is not None and following[1]:
                lines |= option.lines
        texts = sorted({self._texts[line] for line in lines})
        return _Choice(tuple((f"{text}\n".encode(), None) for text in texts))

    # --- taking tokens

    def push(self, token: int) -> None:
        """Take a token. Raises CodecError for one that is not legal here."""
        if token in NAMES:
            if not isinstance(self._node, _End) or token not in self._special():
                raise CodecError(f"{NAMES[token]} cannot stand here")
            self._push_special(token)
            return
        pieces = self._vocabulary.pieces
        text = pieces.of[token] if 0 <= token < pieces.count else None
        node = None if text is None else self._advanced(self._node, text, commit=True)
        if node is None:
            raise CodecError(f"token {token} ({text!r}) cannot stand here")
        assert text is not None
        self._node = node
        self._segment.append(token)
        self._text += text
        if isinstance(node, _End):
            self._close_segment()

    def _push_special(self, token: int) -> None:
        self._segment, self._text = [], b""
        if token == cwm.END:
            self.ended = True
        elif token == cwm.FRAME_SEP:
            assert self._event is not None and self._line is not None
            self._following.push(Sighting(self._event, self._line, self._shown, self._result, 0), self._repeated)
            self.frames += 1
            self._begin_frame()
        elif token in _EVENT_OF:
            self._event = _EVENT_OF[token]
            self._options = self._following.options(self._event)
            if self._event in ("call", "line"):
                self._node = self._names([], started=False)
        elif token == cwm.ACTION_SEP:
            self._node = self._lines()
        else:
            self._node = _Choice(((b'"', ""),))

    def _close_segment(self) -> None:
        text = self._text.decode()
        if self._event in ("call", "line") and self._line is None and text.startswith("{"):
            values = cast(dict[str, str], json.loads(text))
            self._repeated = cwm.UNCHANGED in values.values()
            self._shown = values
        elif self._line is None:
            self._line = text.removesuffix("\n")
        else:
            self._result = json.loads(text)

    def _accepts(self, node: _Node, text: bytes) -> bool:
        return self._advanced(node, text, commit=False) is not None

    def _advanced(self, node: _Node, text: bytes, *, commit: bool) -> _Node | None:
        """The node after some bytes; None where they are not legal."""
        at: _Node | None = node
        shown = dict(self._shown)
        for byte in text:
            if isinstance(at, _Choice):
                at = self._chosen(at, byte)
            elif isinstance(at, _Value):
                following = json_values.step(at.text, byte)
                if following is None:
                    at = None
                elif isinstance(following, json_values.Text):
                    at = _Value(at.name, following)
                else:
                    name = at.name
                    at = _End()
                    if name:
                        shown[name] = ""
                        at = self._names(list(shown), started=True)
            else:
                at = None
            if at is None:
                return None
        if commit:
            self._shown = shown
        return at

    def _chosen(self, node: _Choice, byte: int) -> _Node | None:
        typed = node.typed
        texts = tuple((text, name) for text, name in node.texts if text[typed] == byte)
        if not texts:
            return None
        if len(texts) == 1 and len(texts[0][0]) == typed + 1:
            name = texts[0][1]
            return _End() if name is None else self._value(name)
        return _Choice(texts, typed + 1)


def _common(one: list[int], other: list[int]) -> list[int]:
    """The tokens that both begin with."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]
