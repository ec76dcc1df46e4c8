"""The small tokenizer of the `compact` codec: bytes for values and literals, whole tokens for what Python itself names.

Notable choices (reference: a survey of small execution models found subwords across values to be their main failure):
- A literal has the same tokens in the source and in a state: bytes, but for `, `, `: `, True, False and None.
- Every source line starts with its number (`<L7>`), which is also how a frame points at the line that runs next.
- An identifier is spelled once, where it first occurs, and bound to an alias (`<bind> c o u n t e r <V3>`); from there
  on it is that one token, in the source and in the states. Keywords, builtins and common methods are tokens anyway.
- Reading back is concatenation: any text at all survives the round trip, Python or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from opencwm.codec.errors import CodecError

LINES_PER_PAGE = 128
PAGES = 16
ALIASES = 64
STEPS = 32
INDENTS = 8

STRUCTURE = (
    "<pad>", "<begin>", "<end>", "<trace>", "<snapshot>", "<frame>", "<go>", "<call>", "<return>", "<exception>",
    "<raise>", "<delete>", "<name>", "<bind>", "<truncated>",
)  # fmt: skip
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15")

# Text that is one token in source code, outside strings and comments. In these lists "_" stands for a space.
SYMBOLS = tuple(
    symbol.replace("_", " ")
    for symbol in """
    _=_ _==_ _!=_ _<_ _>_ _<=_ _>=_ _+_ _-_ _*_ _/_ _//_ _%_ _**_ _+=_ _-=_ _*=_ _//=_ _|_ _&_ _^_ _:=_ _->_
    _and_ _or_ _in_ _not_in_ _is_ _is_not_ _if_ _else_ _for_ _as_ _import_ _from_
    return_ if_ elif_ while_ for_ def_ class_ not_ lambda_ lambda:_ else: try: except_ except: finally: del_ raise_
    yield_ assert_ import_ from_ with_ global_ nonlocal_ async_ await_ match_ case_
    ,_ :_ ): ()
    """.split()  # noqa: SIM905
)
WORDS = tuple(
    """
    True False None and as assert async await break class continue def del elif else except finally for from global if
    import in is lambda nonlocal not or pass raise return try while with yield
    main self
    abs all any ascii bin bool bytearray bytes callable chr complex dict dir divmod enumerate filter float format
    frozenset getattr hasattr hash hex id input int isinstance issubclass iter len list map max min next object oct ord
    pow print property range repr reversed round set setattr slice sorted staticmethod str sum super tuple type vars zip
    add append capitalize casefold center clear copy count decode difference discard encode endswith expandtabs extend
    find format_map fromkeys get index insert intersection isalnum isalpha isascii isdecimal isdigit isdisjoint
    isidentifier islower isnumeric isprintable isspace issubset issuperset istitle isupper items join key keys ljust
    lower lstrip maketrans partition pop popitem remove removeprefix removesuffix replace reverse rfind rindex rjust
    rpartition rsplit rstrip setdefault sort split splitlines startswith strip swapcase symmetric_difference title
    translate union update upper values zfill
    ArithmeticError AssertionError AttributeError Exception GeneratorExit ImportError IndexError KeyError LookupError
    NameError NotImplementedError OverflowError RecursionError RuntimeError StopIteration SyntaxError TypeError
    UnboundLocalError UnicodeError ValueError ZeroDivisionError
    __init__ __name__ collections Counter defaultdict deque math functools itertools
    """.split()  # noqa: SIM905
)
# The vocabulary of 0.1 ends here. What is below was appended, so that its models go on working: they are given a
# `size`, and whatever has no token for them is spelled.
TASKS = (
    "<step over>", "<step out>", "<run to>", "<continue>", "<output>", "<count>", "<before>", "<arguments>", "<change>",
    "<never>",
)  # fmt: skip
MORE_WORDS = tuple(
    """
    BaseException EOFError ExceptionGroup FileNotFoundError FloatingPointError IndentationError KeyboardInterrupt
    MemoryError OSError StopAsyncIteration UnicodeDecodeError UnicodeEncodeError
    Ellipsis NotImplemented classmethod delattr eval exec globals locals memoryview open
    __add__ __bool__ __call__ __contains__ __dict__ __enter__ __eq__ __exit__ __getitem__ __hash__ __iter__ __len__
    __lt__ __mul__ __next__ __post_init__ __repr__ __setitem__ __str__ __sub__ __class__
    as_integer_ratio bit_count bit_length conjugate difference_update from_bytes fromhex imag intersection_update
    is_integer real symmetric_difference_update to_bytes close send throw args add_note group groups
    ChainMap OrderedDict appendleft elements extendleft maxlen most_common move_to_end namedtuple popleft rotate
    subtract total
    accumulate batched cache chain combinations compress cycle dropwhile filterfalse groupby islice lru_cache pairwise
    partial permutations product reduce repeat starmap takewhile tee zip_longest cmp_to_key total_ordering wraps
    bisect bisect_left bisect_right heapify heapq heappop heappush heapreplace insort itemgetter attrgetter nlargest
    nsmallest operator mul
    ceil comb cos dist exp fabs factorial floor fmod fsum gcd hypot inf isclose isfinite isinf isnan isqrt lcm log
    log10 log2 nan perm pi prod radians sin sqrt tan tau trunc degrees
    ascii_letters ascii_lowercase ascii_uppercase capwords digits hexdigits punctuation string
    compile findall finditer fullmatch re search span subn
    Any Callable Dict Iterable Iterator List NamedTuple Optional Sequence Set Tuple Union typing
    ABC Enum abc abstractmethod auto contextmanager dataclass dataclasses deepcopy enum field fields astuple asdict
    dumps json loads statistics mean median mode textwrap wrap Decimal Fraction decimal fractions
    cls kwargs wrapper
    """.split()  # noqa: SIM905
)
MORE_TASKS = ("<write>",)
FIRST_SIZE = 792
"""Tokens of the first vocabulary, the smallest that a model may have."""
SIZE = 1056
"""Tokens in all; those without a name are spare."""

VALUE_SYMBOLS = (", ", ": ")
VALUE_WORDS = ("True", "False", "None")


class Vocabulary:
    """Token ids: bytes, structure, versions, lines, pages, aliases, steps, indents, symbols, words, tasks, words."""

    def __init__(self) -> None:
        self.names: list[str] = [f"<0x{byte:02x}>" for byte in range(256)]
        self.texts: list[bytes | None] = [bytes([byte]) for byte in range(256)]
        self.ids: dict[str, int] = {}
        for name in STRUCTURE:
            self._add(name)
        self.python_start = self._add_all(f"<python {version}>" for version in PYTHONS)
        self.line_start = self._add_all(f"<L{number}>" for number in range(LINES_PER_PAGE))
        self.page_start = self._add_all(f"<page {number}>" for number in range(PAGES))
        self.alias_start = self._add_all(f"<V{number}>" for number in range(ALIASES))
        self.step_start = self._add_all(f"<E{number}>" for number in range(STEPS))
        self.indent_start = len(self.names)
        for depth in range(1, INDENTS + 1):
            self._add(f"<indent {depth}>", b"    " * depth)
        self.symbols = {text: self._add(text, text.encode()) for text in SYMBOLS}
        self.word_start = len(self.names)
        self.words = {text: self._add(text, text.encode()) for text in WORDS}
        assert len(self.names) == FIRST_SIZE
        self.task_start = self._add_all(TASKS)
        self.more_start = len(self.names)
        self.words |= {text: self._add(text, text.encode()) for text in MORE_WORDS}
        self.more_stop = len(self.names)
        self._add_all(MORE_TASKS)
        self._add_all(f"<spare {number}>" for number in range(SIZE - len(self.names)))
        self.size = len(self.names)

    def _add(self, name: str, text: bytes | None = None) -> int:
        self.ids[name] = len(self.names)
        self.names.append(name)
        self.texts.append(text)
        return self.ids[name]

    def _add_all(self, names: Iterable[str]) -> int:
        start = len(self.names)
        for name in names:
            self._add(name)
        return start

    def is_line(self, token: int) -> bool:
        return self.line_start <= token < self.line_start + LINES_PER_PAGE

    def is_page(self, token: int) -> bool:
        return self.page_start <= token < self.page_start + PAGES

    def is_alias(self, token: int) -> bool:
        return self.alias_start <= token < self.alias_start + ALIASES

    def is_step(self, token: int) -> bool:
        return self.step_start <= token < self.step_start + STEPS

    def is_word(self, token: int) -> bool:
        return self.word_start <= token < FIRST_SIZE or self.more_start <= token < self.more_stop

    def is_task(self, token: int) -> bool:
        return self.task_start <= token < self.more_start

    def show(self, tokens: Sequence[int]) -> str:
        """Tokens as readable text, for people: printable bytes as they are, everything else by name."""
        return "".join(chr(t) if 32 <= t < 127 else self.names[t] for t in tokens)


VOCABULARY = Vocabulary()
VALUE_TOKENS = frozenset(range(256)) | {VOCABULARY.symbols[s] for s in VALUE_SYMBOLS} | {
    VOCABULARY.words[w] for w in VALUE_WORDS
}  # fmt: skip
NAME_WORDS = {text: token for text, token in VOCABULARY.words.items() if text not in VALUE_WORDS}


@cache
def name_words(size: int) -> dict[str, int]:
    """The words that can be names, and their tokens, in the first `size` tokens."""
    return {text: token for text, token in NAME_WORDS.items() if token < size}


@cache
def _source_words(size: int) -> dict[str, int]:
    return {text: token for text, token in VOCABULARY.words.items() if token < size}


_STRING = (
    r"""(?<!\w)[rRbBfFuU]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""""
    r"""|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
)
_SYMBOL = "|".join(
    re.escape(s) if not s[0].isalpha() else rf"\b{re.escape(s)}" for s in sorted(SYMBOLS, key=len, reverse=True)
)
_SOURCE = re.compile(
    rf"(?P<string>{_STRING})|(?P<comment>\#[^\n]*)|(?P<newline>\n(?:\ \ \ \ )*)|(?P<symbol>{_SYMBOL})"
    r"|(?P<number>\d\w*)|(?P<word>[^\W\d]\w*)|(?P<other>.)",
    re.DOTALL,
)
_VALUE = re.compile(rf"(?P<string>{_STRING})|(?P<symbol>,\ |:\ )|(?P<word>[^\W\d]\w*)|(?P<other>.)", re.DOTALL)


def line_tokens(line: int) -> list[int]:
    """One token for lines below 128, a page token before it above. Raises CodecError past the last page."""
    page, number = divmod(line, LINES_PER_PAGE)
    if page >= PAGES:
        raise CodecError(f"line {line}: the compact codec holds {PAGES * LINES_PER_PAGE - 1} lines; cut the context")
    if page:
        return [VOCABULARY.page_start + page, VOCABULARY.line_start + number]
    return [VOCABULARY.line_start + number]


def encode_value(text: str) -> list[int]:
    """repr text as value tokens."""
    tokens: list[int] = []
    for match in _VALUE.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "symbol":
            tokens.append(VOCABULARY.symbols[piece])
        elif kind == "word" and piece in VALUE_WORDS:
            tokens.append(VOCABULARY.words[piece])
        else:
            tokens.extend(_bytes(piece))
    return tokens


def decode_value(tokens: Sequence[int]) -> str:
    """The repr text of value tokens. Raises CodecError for other tokens or broken UTF-8."""
    return _decode_bytes(b"".join(_text(token) for token in tokens))


def encode_code(text: str, size: int = SIZE) -> list[int]:
    """Part of a source line in the first `size` tokens: symbols and words, all else as bytes; no line numbers."""
    tokens, words = [], _source_words(size)
    for match in _SOURCE.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "symbol":
            tokens.append(VOCABULARY.symbols[piece])
        elif kind == "word" and piece in words:
            tokens.append(words[piece])
        else:
            tokens += _bytes(piece)
    return tokens


def encode_source(text: str, size: int = SIZE) -> tuple[list[int], dict[str, int]]:
    """Source in the first `size` tokens, and the token of every name that has one (aliases bound on the way)."""
    tokens, words = line_tokens(1), _source_words(size)
    line = 1
    aliases: dict[str, int] = {}
    for match in _SOURCE.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "newline":
            line += 1
            tokens += line_tokens(line)
            depth = (len(piece) - 1) // 4
            while depth > 0:
                tokens.append(VOCABULARY.indent_start + min(depth, INDENTS) - 1)
                depth -= INDENTS
        elif kind == "symbol":
            tokens.append(VOCABULARY.symbols[piece])
        elif kind == "word":
            if piece in words:
                tokens.append(words[piece])
            elif piece in aliases:
                tokens.append(aliases[piece])
            elif len(aliases) < ALIASES:
                aliases[piece] = VOCABULARY.alias_start + len(aliases)
                tokens += [VOCABULARY.ids["<bind>"], *_bytes(piece), aliases[piece]]
            else:
                tokens += _bytes(piece)
        elif kind == "other" or "\n" not in piece:
            tokens += _bytes(piece)
        else:  # a string over several lines
            for number, part in enumerate(piece.split("\n")):
                if number:
                    line += 1
                    tokens += line_tokens(line)
                tokens += _bytes(part)
    return tokens, {**name_words(size), **aliases}


def decode_source(tokens: Sequence[int], size: int = SIZE) -> tuple[str, dict[str, int]]:
    """Inverse of `encode_source`. Raises CodecError with the offset of the first token that does not belong."""
    pieces: list[bytes] = []
    aliases: dict[str, int] = {}
    spelled: dict[int, bytes] = {}
    spelling: list[bytes] | None = None
    line, page = 0, 0
    for offset, token in enumerate(tokens):
        if VOCABULARY.is_page(token):
            page = token - VOCABULARY.page_start
        elif VOCABULARY.is_line(token):
            line += 1
            if page * LINES_PER_PAGE + token - VOCABULARY.line_start != line:
                raise CodecError(f"expected the number of line {line}", offset)
            page = 0
            if line > 1:
                pieces.append(b"\n")
        elif token == VOCABULARY.ids["<bind>"]:
            spelling = []
        elif VOCABULARY.is_alias(token):
            if spelling is not None:
                if token in spelled or token - VOCABULARY.alias_start != len(spelled):
                    raise CodecError(f"expected the binding of <V{len(spelled)}>", offset)
                spelled[token] = b"".join(spelling)
                aliases[_decode_bytes(spelled[token])] = token
                spelling = None
            if token not in spelled:
                raise CodecError(f"{VOCABULARY.names[token]} is used before it is bound", offset)
            pieces.append(spelled[token])
        else:
            text = VOCABULARY.texts[token] if 0 <= token < VOCABULARY.size else None
            if text is None:
                name = VOCABULARY.names[token] if 0 <= token < VOCABULARY.size else str(token)
                raise CodecError(f"expected source text, found {name}", offset)
            (pieces if spelling is None else spelling).append(text)
    if spelling is not None:
        raise CodecError("expected an alias to close the spelling", len(tokens))
    return _decode_bytes(b"".join(pieces)), {**name_words(size), **aliases}


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CodecError(f"text with a lone surrogate cannot be encoded: {error.reason}") from None


def _text(token: int) -> bytes:
    text = VOCABULARY.texts[token] if token in VALUE_TOKENS else None
    if text is None:
        raise CodecError(f"token {token} cannot stand in a value")
    return text


def _decode_bytes(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CodecError(f"not UTF-8 at byte {error.start} of a text") from None
