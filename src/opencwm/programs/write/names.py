"""Identifiers and plain words for written programs.

Notable choice: names follow types, as a person's do (`text`, `nums`, `i`, `ch`), with a share of arbitrary ones, so
that a model must read a value off the state and cannot guess it from the name.
"""

from __future__ import annotations

import keyword
import random
from collections.abc import Container

_PLAIN = """
    apple river stone cloud table green silver window garden music paper yellow train bridge coffee winter
    summer night morning forest ocean planet rocket tiger zebra monkey rabbit eagle shark horse orange lemon
    cherry banana grape melon bread butter sugar salt pepper water fire wind earth light dark north south east
    west hello world code data file line list item key value name user admin guest test demo alpha beta gamma
    delta omega red blue black white pink small large tall short fast slow open close start stop left right
    first last next best good bad new old hot cold yes no on off up down in out cat dog bird fish cow pig ant
    bee owl fox bear wolf deer duck goat frog crab sun moon star sky sea lake hill tree leaf root rose lily book
    page word note song film game play run walk jump read write draw sing king queen knight castle tower sword
    shield gold coin ring map road street city town house door room wall roof lamp desk chair plate spoon knife
    bowl cup glass shirt shoe hat coat sock glove Anna Bob Carol David Emma Frank Grace Henry Paris London Tokyo
    Oslo Cairo Lima Rome total count price score level rank team group order index error warning debug hash node
    edge graph path stack queue heap array string number letter digit symbol python java rust ruby perl swift
"""
WORDS = tuple(_PLAIN.split())

BY_TYPE: dict[str, tuple[str, ...]] = {
    "int": (
        "n",
        "num",
        "k",
        "x",
        "value",
        "a",
        "b",
        "m",
        "size",
        "limit",
        "start",
        "step",
        "y",
        "total",
        "pos",
        "number",
    ),
    "index": ("i", "j", "k", "idx", "index", "pos", "p"),
    "count": ("count", "total", "result", "cnt", "score", "c", "acc", "ans", "num", "res", "counter"),
    "float": ("rate", "ratio", "price", "x", "avg", "value"),
    "floats": ("values", "prices", "rates", "data", "weights", "samples"),
    "bool": ("flag", "found", "ok", "valid", "is_valid", "done", "seen_any", "reverse", "strict"),
    "str": (
        "text",
        "s",
        "string",
        "txt",
        "line",
        "word",
        "message",
        "sentence",
        "data",
        "content",
        "value",
        "code",
        "a",
    ),
    "digits": ("digits", "number", "num", "code", "s", "text"),
    "sub": ("char", "sep", "sub", "c", "prefix", "suffix", "delimiter", "letter", "target", "old", "mark", "x", "ch"),
    "char": ("c", "ch", "char", "letter", "x", "s", "symbol"),
    "word": ("word", "w", "s", "part", "item", "token", "name", "x"),
    "built": ("result", "res", "new_text", "output", "out", "ans", "new", "s", "acc", "ret", "built", "final"),
    "ints": ("nums", "numbers", "lst", "array", "arr", "values", "a", "xs", "data", "items", "list1", "vals", "scores"),
    "strs": ("words", "names", "items", "parts", "strings", "lst", "tokens", "lines", "li", "values", "array", "elems"),
    "list": ("result", "res", "out", "output", "new_list", "new", "ans", "ls", "lst", "acc", "kept", "collected"),
    "rows": ("matrix", "grid", "rows", "table", "lists", "m", "nested"),
    "pairs": ("pairs", "items", "entries", "records", "data", "tuples"),
    "tints": ("tup", "t", "point", "nums", "values", "coords"),
    "tstrs": ("tup", "names", "words", "fields", "t", "parts"),
    "counts": (
        "d",
        "counts",
        "dic",
        "freq",
        "stock",
        "prices",
        "dct",
        "scores",
        "ages",
        "dictionary",
        "bag",
        "mapping",
    ),
    "names": ("names", "d", "dic", "labels", "table", "lookup", "mapping", "ids"),
    "words": ("d", "mapping", "dic", "aliases", "config", "dictionary", "table", "pairs", "env"),
    "table": ("d", "memo", "table", "mapping", "cache", "dic", "index"),
    "groups": ("groups", "d", "buckets", "graph", "by_key", "index", "dic"),
    "dict": ("result", "d", "counts", "res", "out", "new_dict", "freq", "new", "ans", "table", "mapping", "seen"),
    "strset": ("seen", "unique", "chars", "letters", "vowels", "allowed", "s", "stop"),
    "intset": ("seen", "unique", "used", "visited", "allowed", "s"),
    "bytes": ("data", "raw", "b", "encoded", "payload"),
    "any": ("value", "x", "item", "obj", "v", "default"),
    "key": ("k", "key", "name", "x", "ky"),
    "val": ("v", "value", "val", "amount", "n"),
    "item": ("x", "n", "num", "item", "i", "v", "number", "e", "el", "val"),
    "row": ("row", "r", "line", "sub", "group"),
}

_FUNCTIONS = (
    "solve", "process", "transform", "convert", "check", "count_items", "find", "clean", "merge", "compute", "build",
    "parse", "update", "encode", "collect", "g", "func", "run", "filter_items", "shift", "select", "reduce_items", "f1",
)  # fmt: skip
_HELPERS = (
    "helper",
    "g",
    "h",
    "clean",
    "check",
    "step",
    "is_ok",
    "score",
    "convert",
    "combine",
    "inner",
    "shift",
    "key",
)
_CLASSES = (
    "Counter",
    "Stack",
    "Box",
    "Account",
    "Tracker",
    "Point",
    "Queue",
    "Buffer",
    "Node",
    "Meter",
    "Bag",
    "Cursor",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_BUILTINS = """
    len range str int list dict set tuple sum min max any all sorted reversed enumerate zip map filter abs ord
    chr bool bin hex oct repr divmod round isinstance type main print bytes float frozenset next iter hash id
    pow slice self format input vars open eval exec dir match case
"""
_TAKEN = frozenset(keyword.kwlist) | frozenset(_BUILTINS.split())


def identifier(rng: random.Random, role: str, used: Container[str]) -> str:
    """A name for a variable of a type or role, not in `used` and no builtin."""
    options = BY_TYPE[role]
    for _ in range(4):
        if rng.random() < 0.85:
            name = options[int(rng.random() ** 1.4 * len(options))]
        else:
            name = arbitrary(rng)
        if name not in used and name not in _TAKEN:
            return name
    while True:
        name = arbitrary(rng) if rng.random() < 0.5 else f"{rng.choice(options)}{rng.randint(1, 9)}"
        if name not in used and name not in _TAKEN:
            return name


def arbitrary(rng: random.Random) -> str:
    """A name that says nothing: a letter, random letters, or an unrelated word."""
    choice = rng.random()
    if choice < 0.35:
        return rng.choice(_LETTERS)
    if choice < 0.75:
        return "".join(rng.choices(_LETTERS, k=rng.randint(2, 6)))
    word = rng.choice(WORDS).lower()
    return word if choice < 0.9 else f"{word}_{rng.choice(WORDS).lower()}"


def function_name(rng: random.Random, used: Container[str] = ()) -> str:
    """A name for the function that is called, not in `used`: `f` mostly."""
    name = "f" if rng.random() < 0.88 else rng.choice(_FUNCTIONS)
    while name in used:
        name = rng.choice(_FUNCTIONS)
    return name


def helper_name(rng: random.Random, used: Container[str]) -> str:
    """A name for a helper function, not in `used`."""
    name = rng.choice(_HELPERS)
    while name in used:
        name = f"{rng.choice(_HELPERS)}_{rng.choice(_LETTERS)}"
    return name


def class_name(rng: random.Random) -> str:
    """A name for a small class."""
    return rng.choice(_CLASSES)
