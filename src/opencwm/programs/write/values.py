"""Literal values by type: the arguments of calls and the constants in code.

Types are the writer's own short names: `int`, `bool`, `float`, `str`, `word`, `digits` (a string of digits), `sub` (one
or two characters), `char`, `bytes`; `ints`, `floats` and `strs` (lists), `rows` (list of lists of int), `pairs` (list
of (str, int)), `tints` and `tstrs` (tuples), `counts` (dict str to int), `names` (int to str), `words` (str to str),
`table` (int to int), `groups` (str to list of int), `strset`, `intset`.

Notable choice: a value may be drawn from a pool of what the program has already (letters of its text, keys of its
dict), so that searches hit about as often as they miss.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

from opencwm.programs.write.names import WORDS

LOWER = string.ascii_lowercase
PUNCTUATION = ",.-_:;!?/ *#@&+=()[]|'\""
UNICODE = ("é", "ß", "ñ", "Ω", "日", "ж", "ü", "²", "½", "İ", "ó", "→")
SEPARATORS = (" ", ",", "-", "_", ", ", ":", "/", ".", ";", "|", "", "+", "=", "--", "#", "*", "\n")
_SEPARATOR_WEIGHTS = (22, 14, 9, 6, 7, 5, 3, 3, 2, 2, 12, 2, 2, 1, 1, 1, 1)


def integer(rng: random.Random) -> int:
    """Mostly |x| <= 20; one in ten is larger, up to six digits."""
    choice = rng.random()
    if choice < 0.55:
        return rng.randint(0, 10)
    if choice < 0.75:
        return rng.randint(-10, 20)
    if choice < 0.9:
        return rng.randint(-20, 99)
    return rng.randint(-1000, 9999) if choice < 0.98 else rng.randint(-99999, 999999)


def word(rng: random.Random) -> str:
    """A dictionary word, sometimes with another case, or random letters."""
    choice = rng.random()
    if choice < 0.5:
        return rng.choice(WORDS)
    if choice < 0.6:
        return rng.choice(WORDS).upper() if choice < 0.54 else rng.choice(WORDS).title()
    if choice < 0.7:
        return rng.choice(WORDS)[: rng.randint(1, 3)]
    return "".join(rng.choices(LOWER, k=rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6))))


def text(rng: random.Random) -> str:
    """A string of about twelve characters: words, letters, digits, cases, repeats, punctuation, edge cases."""
    return _TEXTS[_pick(rng)](rng)


def _pick(rng: random.Random) -> int:
    return rng.choices(range(len(_TEXTS)), cum_weights=_TEXT_WEIGHTS)[0]


def _letters(rng: random.Random) -> str:
    return "".join(rng.choices(LOWER, k=rng.randint(1, 14)))


def _few_letters(rng: random.Random) -> str:
    alphabet = rng.choices(LOWER, k=rng.randint(1, 4))
    return "".join(rng.choices(alphabet, k=rng.randint(2, 14)))


def _mixed(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters, k=rng.randint(1, 14)))


def _alphanumeric(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits * 3, k=rng.randint(1, 14)))


def _punctuated(rng: random.Random) -> str:
    return "".join(rng.choices(LOWER * 2 + string.digits + PUNCTUATION * 2, k=rng.randint(2, 14)))


def _sentence(rng: random.Random) -> str:
    separator = rng.choice((" ", " ", " ", " ", ", ", ",", "-", "_", "  "))
    joined = separator.join(word(rng) for _ in range(rng.randint(2, 5)))
    choice = rng.random()
    if choice < 0.15:
        joined = joined.capitalize() + rng.choice(".!?")
    elif choice < 0.25:
        joined = joined.title()
    elif choice < 0.32:
        joined = " " * rng.randint(0, 3) + joined + " " * rng.randint(1, 3)
    return joined


def _fields(rng: random.Random) -> str:
    separator = rng.choice((",", ";", "&", " ", "|", "\n"))
    equals = rng.choice(("=", ":", "=", "->", "-"))
    return separator.join(
        f"{word(rng)}{equals}{rng.choice((word(rng), str(integer(rng))))}" for _ in range(rng.randint(1, 3))
    )


def digits(rng: random.Random) -> str:
    """A string of one to nine digits, at times with leading zeros."""
    return "".join(rng.choices(string.digits, k=rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 7, 9))))


def _numbers(rng: random.Random) -> str:
    return rng.choice((" ", ",", ", ", "-", ".", "+")).join(str(rng.randint(0, 99)) for _ in range(rng.randint(2, 6)))


def _repeated(rng: random.Random) -> str:
    return "".join(rng.choice(LOWER + "0123456789-*#") * rng.randint(1, 4) for _ in range(rng.randint(1, 5)))


def _palindrome(rng: random.Random) -> str:
    half = "".join(rng.choices(LOWER, k=rng.randint(1, 4)))
    return half + rng.choice(("", rng.choice(LOWER))) + half[::-1]


def _lines(rng: random.Random) -> str:
    separator = rng.choice(("\n", "\n", "\t", "\n\n", "\r\n", " \n"))
    return separator.join(word(rng) for _ in range(rng.randint(2, 4))) + rng.choice(("", "", "\n", "\t"))


def _brackets(rng: random.Random) -> str:
    return "".join(rng.choices(rng.choice(("()", "()[]", "([{}])", "()ab")), k=rng.randint(2, 10)))


def _unicode(rng: random.Random) -> str:
    letters = [*rng.choices(LOWER, k=rng.randint(1, 6)), rng.choice(UNICODE)]
    rng.shuffle(letters)
    return "".join(letters)


def _edge(rng: random.Random) -> str:
    return rng.choice(("", "", "", " ", "a", "  ", "0", "-", ".", "A", "aa", "None", "True", "-1", "3.14", "1e3"))


_WEIGHTED: tuple[tuple[float, Callable[[random.Random], str]], ...] = (
    (14, _letters), (12, _few_letters), (8, _mixed), (9, _alphanumeric), (10, _punctuated), (20, _sentence),
    (6, _fields), (5, digits), (3, _numbers), (5, _repeated), (3, _palindrome), (3, _lines), (1.5, _brackets),
    (1, _unicode), (4, _edge), (12, word),
)  # fmt: skip
_TEXTS = tuple(function for _, function in _WEIGHTED)
_TEXT_WEIGHTS = [sum(weight for weight, _ in _WEIGHTED[: i + 1]) for i in range(len(_WEIGHTED))]


def separator(rng: random.Random, *, empty: bool = True) -> str:
    """A separator for `join` (or, not empty, for `split`)."""
    while True:
        found = rng.choices(SEPARATORS, _SEPARATOR_WEIGHTS)[0]
        if found or empty:
            return found


def short(rng: random.Random, pool: Sequence[str], *, empty: bool = False) -> str:
    """One to three characters; half of the time out of a pool string, so that a search can hit."""
    choice = rng.random()
    if pool and choice < 0.58:
        source = rng.choice(pool)
        if source:
            start = rng.randrange(len(source))
            return source[start : start + rng.choice((1, 1, 1, 1, 2, 2, 3))]
    if choice < 0.8:
        return rng.choice(LOWER)
    if choice < 0.9:
        return rng.choice(PUNCTUATION)
    if choice < 0.95:
        return rng.choice(string.digits + string.ascii_uppercase)
    return "".join(rng.choices(LOWER, k=2)) if choice < 0.98 or not empty else ""


def key(rng: random.Random, pool: Sequence[str]) -> str:
    """A dict key: a short word or a letter, half of the time from the pool."""
    if pool and rng.random() < 0.5:
        return rng.choice(pool)
    return rng.choice(LOWER) if rng.random() < 0.4 else word(rng)


def length(rng: random.Random) -> int:
    """Length of a list argument: 0 to 7, mostly 3 to 5."""
    return rng.choices((0, 1, 2, 3, 4, 5, 6, 7), (4, 8, 13, 22, 22, 16, 9, 6))[0]


def _ints(rng: random.Random) -> list[int]:
    size, choice = length(rng), rng.random()
    if choice < 0.12:
        return [rng.randint(0, 3) for _ in range(size)]
    if choice < 0.55:
        return [rng.randint(0, 12) for _ in range(size)]
    if choice < 0.65:
        return sorted(rng.randint(-5, 30) for _ in range(size))
    return [integer(rng) for _ in range(size)]


def _strs(rng: random.Random) -> list[str]:
    if rng.random() < 0.25:
        letters = rng.choices(LOWER, k=rng.randint(2, 5))
        return [rng.choice(letters) for _ in range(length(rng))]
    if rng.random() < 0.1:
        return [text(rng) for _ in range(min(length(rng), 4))]
    return [word(rng) for _ in range(length(rng))]


def _float(rng: random.Random) -> float:
    """Mostly a few binary or decimal places; now and then a whole, tiny, large or special number."""
    choice = rng.random()
    if choice < 0.4:
        return rng.choice((0.5, 1.5, 2.0, 2.5, 0.25, 10.0, 3.75, -1.5, 1.0, 0.0, -0.5, 7.25, 12.5))
    if choice < 0.93:
        return round(rng.uniform(-20, 100), rng.choice((1, 1, 2, 2, 3)))
    return rng.choice((1e-05, 1e16, 1e22, 123456.789, 0.1, 99.99, 1e3, -0.0, float(rng.randint(-9999, 9999))))


def _few(rng: random.Random) -> int:
    return rng.choices((0, 1, 2, 3, 4, 5, 6), (2, 8, 20, 28, 22, 14, 6))[0]


def make(rng: random.Random, type_: str, pool: Sequence[str] = ()) -> object:
    """A value of one of the writer's types (see the module's docstring); `pool` as in `short`."""
    return _MAKERS[type_](rng, pool)


_MAKERS: dict[str, Callable[[random.Random, Sequence[str]], object]] = {
    "int": lambda r, p: integer(r),
    "bool": lambda r, p: r.random() < 0.5,
    "float": lambda r, p: _float(r),
    "floats": lambda r, p: [_float(r) for _ in range(length(r))],
    "str": lambda r, p: text(r),
    "word": lambda r, p: word(r),
    "digits": lambda r, p: digits(r),
    "sub": lambda r, p: short(r, p),
    "char": lambda r, p: short(r, p)[:1] or "a",
    "bytes": lambda r, p: (word(r) if r.random() < 0.6 else _punctuated(r)).encode("ascii"),
    "ints": lambda r, p: _ints(r),
    "strs": lambda r, p: _strs(r),
    "rows": lambda r, p: [[r.randint(0, 9) for _ in range(r.randint(1, 3))] for _ in range(r.randint(1, 3))],
    "pairs": lambda r, p: [(key(r, p), r.randint(-5, 20)) for _ in range(r.randint(0, 4))],
    "tints": lambda r, p: tuple(_ints(r)),
    "tstrs": lambda r, p: tuple(_strs(r)[:4]),
    "counts": lambda r, p: {key(r, p): integer(r) for _ in range(r.choice((0, 1, 2, 2, 3, 3, 4, 5)))},
    "names": lambda r, p: {r.randint(0, 9): word(r) for _ in range(r.choice((0, 1, 2, 2, 3, 3, 4)))},
    "words": lambda r, p: {key(r, p): word(r) for _ in range(r.choice((0, 1, 2, 2, 3, 3, 4)))},
    "table": lambda r, p: {r.randint(-2, 9): integer(r) for _ in range(r.choice((0, 1, 2, 3, 3, 4)))},
    "groups": lambda r, p: {
        key(r, p): [r.randint(0, 9) for _ in range(r.randint(0, 3))] for _ in range(r.randint(0, 3))
    },
    "strset": lambda r, p: {(short(r, p)[:1] or "a") if r.random() < 0.7 else word(r) for _ in range(_few(r))},
    "intset": lambda r, p: {r.randint(-3, 12) for _ in range(_few(r))},
}


def display(value: object) -> str:
    """Source text of a value: its repr, with sets in sorted order."""
    if isinstance(value, set):
        return "{" + ", ".join(map(repr, sorted(value))) + "}" if value else "set()"
    return repr(value)
