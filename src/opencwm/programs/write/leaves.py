"""Leaves of the grammar: small operands chosen by the part they play (a separator, a modulus, a slice, a sort key).

Notable choice: operands come out of the program's own values about half of the time (the pool, the keys of the dict
being looked up), so that searches, splits and lookups hit and miss about equally often. When a writer makes arguments
on demand (drills), a leaf may become an argument of the call.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING

from opencwm.programs.write import values
from opencwm.programs.write.grammar import POSTFIX
from opencwm.programs.write.rules import LEAVES

if TYPE_CHECKING:
    from opencwm.programs.write.writer import Writer

Leaf = Callable[["Writer"], str]


def _register(name: str, leaf: Leaf, type_: str | None = None, role: str | None = None) -> None:
    """Add a leaf; with a type it may be made an argument, and reads a variable of that type now and then."""

    def write(writer: Writer) -> tuple[str, int]:
        if type_ == "sub" and not writer.on_demand and writer.chance(0.5):
            variable = writer.find("sub")
            if variable is not None and variable not in writer.recent:
                return writer.read(variable), POSTFIX
        text = leaf(writer)
        if type_ is not None and writer.on_demand and writer.chance(0.4):
            return writer.read(writer.argument(type_, role, ast.literal_eval(text))), POSTFIX
        return text, 11 if text.startswith("-") else POSTFIX

    LEAVES[name] = write


def _number(*options: int) -> Leaf:
    return lambda writer: str(options[int(writer.rng.random() * len(options))])


def _text(*options: str) -> Leaf:
    return lambda writer: repr(options[int(writer.rng.random() * len(options))])


def _code(*options: str) -> Leaf:
    return lambda writer: options[int(writer.rng.random() * len(options))]


def _sub(writer: Writer) -> str:
    return repr(values.short(writer.rng, writer.pool, empty=True))


def _one(writer: Writer) -> str:
    return repr(values.short(writer.rng, writer.pool)[:1])


def _sepn(writer: Writer) -> str:
    rng = writer.rng
    if writer.pool and rng.random() < 0.6:
        marks = [c for c in dict.fromkeys(rng.choice(writer.pool)) if not c.isalnum()]
        if marks:
            return repr(rng.choice(marks))
    return _one(writer) if rng.random() < 0.35 else repr(values.separator(rng, empty=False))


def _end(last: bool) -> Leaf:
    def write(writer: Writer) -> str:
        rng = writer.rng
        if writer.pool and rng.random() < 0.65:
            source, size = rng.choice(writer.pool), rng.choice((1, 1, 1, 2, 2, 3))
            return repr(source[-size:] if last else source[:size])
        return _sub(writer)

    return write


def _chars(writer: Writer) -> str:
    rng = writer.rng
    if writer.pool and rng.random() < 0.6:
        source = rng.choice(writer.pool)
        return repr(source[0] + rng.choice((source[-1], "", rng.choice(source))))
    return repr(rng.choice((" ", ".", "-", "0", "_", ",", "!?", "abc", "xyz", "aeiou", " \n", "*", "#")))


def _cluster(writer: Writer) -> str:
    rng = writer.rng
    if rng.random() < 0.45:
        return rng.choice(("'aeiou'", "'aeiouAEIOU'", "'0123456789'", "' ,.'", "'abc'", "'xyz'", "'.,!?'", "'()[]'"))
    letters = dict.fromkeys(rng.choices(values.LOWER, k=rng.randint(1, 3)))
    if writer.pool:
        letters |= dict.fromkeys(rng.choices(rng.choice(writer.pool), k=rng.randint(1, 3)))
    return repr("".join(letters)) if rng.random() < 0.8 else repr(list(letters))


def _slice(writer: Writer) -> str:
    rng = writer.rng
    choice = rng.random()
    if choice < 0.8:
        return rng.choice(
            (
                "1:",
                ":-1",
                "1:-1",
                "::2",
                "1::2",
                ":2",
                ":3",
                "2:",
                "-1:",
                "-2:",
                "-3:",
                ":-2",
                "::-2",
                "::3",
                "2:5",
                "1:4",
            )
        )
    start = rng.choice(("", str(rng.randint(-6, 6))))
    stop = rng.choice(("", str(rng.randint(-6, 9))))
    return f"{start}:{stop}" + (f":{rng.choice((1, 2, 3, -1, -2))}" if choice > 0.92 else "")


def _known(writer: Writer) -> object:
    """Value of the variable that the expression read last, if it is an argument."""
    return writer.recent[-1].value if writer.recent else None


def _itself(writer: Writer) -> str:
    value = _known(writer)
    if isinstance(value, str | list | tuple) and value:
        return repr(writer.rng.choice(value))
    return _one(writer) if writer.recent and writer.recent[-1].type in ("str", "word", "digits") else "0"


def _key(writer: Writer) -> str:
    rng = writer.rng
    if not writer.on_demand and rng.random() < 0.3:
        variable = writer.find(rng.choice(("sub", "word")))
        if variable is not None and variable not in writer.recent:
            return writer.read(variable)
    value = _known(writer)
    if isinstance(value, dict) and rng.random() < 0.65:
        keys = [key for key in value if isinstance(key, str)]
        if keys:
            return repr(rng.choice(keys))
    return repr(values.key(rng, writer.pool))


def _bounded(writer: Writer) -> str:
    bounded = [v for v in writer.scope if v.type == "int" and v.bound is not None and v.bound <= 8]
    if bounded and writer.chance(0.7):
        return writer.read(writer.rng.choice(bounded))
    sized = writer.find("sized") if writer.chance(0.4) else None
    if sized is not None:
        return f"len({writer.read(sized)})"
    return str(writer.rng.randint(1, 6))


def _cut(writer: Writer) -> str:
    bounded = [v for v in writer.scope if v.type == "int"]
    if bounded and writer.chance(0.6):
        return writer.read(writer.rng.choice(bounded))
    return str(writer.rng.choice((1, 1, 2, 2, 3, -1, -2)))


def _maketrans(writer: Writer) -> str:
    rng = writer.rng
    source = "".join(dict.fromkeys(values.short(rng, writer.pool) + rng.choice(values.LOWER)))
    target = "".join(rng.choices(values.LOWER + values.LOWER.upper() + "*_-01", k=len(source)))
    choice = rng.random()
    if choice < 0.5:
        return f"str.maketrans({source!r}, {target!r})"
    if choice < 0.7:
        return f"str.maketrans('', '', {source!r})"
    if choice < 0.85:
        return f"str.maketrans({dict(zip(source, target, strict=True))!r})"
    return f"{{ord({source[0]!r}): {rng.choice((repr(target[0]), 'None'))}}}"


def _predicate(writer: Writer) -> str:
    rng = writer.rng
    choice = rng.random()
    if choice < 0.4:
        return rng.choice(("str.isalpha", "str.isdigit", "str.isupper", "str.islower", "str.isalnum"))
    name = rng.choice("cxsk")
    if choice < 0.6:
        return f"lambda {name}: {name} {rng.choice(('!=', '==', '>', '<'))} {_one(writer)}"
    if choice < 0.85:
        return f"lambda {name}: {name} {rng.choice(('in', 'not in'))} {_cluster(writer)}"
    return (
        f"lambda {name}: {rng.choice(('not ', ''))}{name}.{rng.choice(('isspace', 'isalpha', 'isdigit', 'islower'))}()"
    )


def _number_test(writer: Writer) -> str:
    rng = writer.rng
    name = rng.choice("xnvik")
    test = rng.choice(("{} > {}", "{} < {}", "{} % 2 == {}", "{} != {}", "{} >= {}", "{} % 3 == {}"))
    return f"lambda {name}: " + test.format(name, rng.randint(0, 1) if "%" in test else rng.randint(-1, 9))


def _string_test(writer: Writer) -> str:
    rng = writer.rng
    name = rng.choice("swxkp")
    choice = rng.random()
    if choice < 0.35:
        return f"lambda {name}: len({name}) {rng.choice(('>', '<', '==', '>=', '!='))} {rng.randint(1, 5)}"
    if choice < 0.6:
        return f"lambda {name}: {_sub(writer)} {rng.choice(('in', 'not in'))} {name}"
    if choice < 0.8:
        return f"lambda {name}: {name}.{rng.choice(('startswith', 'endswith'))}({_one(writer)})"
    return rng.choice(("str.isalpha", "str.isupper", "str.islower", "None", f"lambda {name}: {name} != {_sub(writer)}"))


def _number_key(writer: Writer) -> str:
    rng = writer.rng
    name = rng.choice("xnvt")
    body = rng.choice(("-{}", "{} % 3", "abs({})", "({} % 2, {})", "str({})", "-{} % 5", "{} ** 2", "abs({} - 5)"))
    return f"lambda {name}: {body.replace('{}', name)}"


def _string_key(writer: Writer) -> str:
    rng = writer.rng
    name = rng.choice("swxk")
    body = rng.choice(
        ("len", "len", "str.lower", "lambda {}: -len({})", "lambda {}: {}[::-1]", "lambda {}: (len({}), {})",
         "lambda {}: {}[-1:]", "lambda {}: {}.lower()", "lambda {}: {}.count('a')")
    )  # fmt: skip
    return body.replace("{}", name)


_PATTERNS = (
    r"r'\d+'", r"r'[aeiou]'", r"r'\w+'", r"r'\s+'", r"r'[a-c]'", r"r'[^a-z]'", r"r'(.)\1'", r"r'\d'", r"r'[A-Z]'",
    r"r'\W'", r"'a+'", r"'[,;]'", r"r'\b\w'", r"r'^\w'", r"r'.$'", r"r'[a-z]{2}'", r"r'(\w)(\d)'", r"'x|y'",
)  # fmt: skip

_ERRORS = (
    "ValueError", "ValueError", "ValueError", "KeyError", "KeyError", "IndexError", "TypeError", "TypeError",
    "RuntimeError", "RuntimeError", "ZeroDivisionError", "AttributeError", "NotImplementedError", "ArithmeticError",
    "OverflowError", "LookupError", "AssertionError", "StopIteration", "StopAsyncIteration", "NameError",
    "UnboundLocalError", "ImportError", "ModuleNotFoundError", "OSError", "FileNotFoundError", "FileExistsError",
    "PermissionError", "TimeoutError", "ConnectionError", "EOFError", "MemoryError", "RecursionError", "BufferError",
    "FloatingPointError", "ReferenceError", "SystemError", "SyntaxError", "IndentationError", "UnicodeError", "Warning",
    "UserWarning", "DeprecationWarning", "RuntimeWarning", "InterruptedError", "IsADirectoryError", "Exception",
    "NotADirectoryError", "BrokenPipeError", "ProcessLookupError", "ChildProcessError", "BlockingIOError", "TabError",
    "FutureWarning", "ImportWarning", "UnicodeWarning", "BytesWarning", "ResourceWarning", "SyntaxWarning",
    "PendingDeprecationWarning", "EncodingWarning", "ConnectionResetError", "ConnectionRefusedError",
    "ConnectionAbortedError", "BaseException", "EnvironmentError", "IOError",
    "GeneratorExit", "UnicodeError", "UnicodeError",
)  # fmt: skip

_register("sub", _sub, "sub")
_register("sep", lambda writer: repr(values.separator(writer.rng)), "sub")
_register("sepn", _sepn, "sub")
_register("to", lambda w: repr("" if w.chance(0.3) else values.short(w.rng, w.pool, empty=True)), "sub")
_register("upto1", lambda w: repr("" if w.chance(0.4) else values.short(w.rng, w.pool)[:1]))
_register("one", _one, "char")
_register("fill", _text("*", "-", "0", "#", "_", " ", ".", "x", "=", "+"), "char")
_register("chars", _chars, "sub")
_register("prefix", _end(False), "sub")
_register("suffix", _end(True), "sub")
_register("cluster", _cluster)
_register("literalstr", _text("none", "x", "-", "empty", "", "no", "0", "?"))
_register("key", _key, "sub", "key")
_register("itself", _itself)
_register("small", _number(1, 2, 3, 4, 5, 2, 3, 1), "int")
_register("zero", _number(0, 0, 1, 1, 2))
_register("bit", _number(0, 1))
_register("half", _number(2, 4, 5, 8, 10))
_register("two", _number(2, 2, 3))
_register("step", _number(1, 2, 2, 3))
_register("part", _number(0, 1, 2, -1))
_register("times", _number(2, 2, 3, 4), "int")
_register("factor", _number(2, 2, 3, 3, 10, -1, 4, 5), "int")
_register("modulus", _number(2, 2, 3, 3, 4, 5, 7, 10, 10, -2, -3), "int")
_register("mask", _number(1, 3, 5, 6, 7, 12, 15), "int")
_register("large", _number(5, 8, 10, 12, 15, 20, 50, 100))
_register("width", _number(3, 4, 5, 6, 8, 10, 12), "int")
_register("arith", _code("+", "-", "*", "+", "*", "%", "//"))
_register("class", _code("int", "str", "list", "(int, str)", "dict", "bool"))
_register("slice", _slice)
_register("error", _code(*_ERRORS))
_register("oneclass", _code("int", "str", "list", "dict", "tuple", "float", "set", "bool", "bytes"))
_register("attribute", _text("upper", "append", "items", "keys", "add", "join", "real", "size", "decode", "sort"))
_register("textmethod", _text("upper", "lower", "title", "strip", "swapcase", "capitalize"))
_register("intspec", _text("d", "04d", ">6", "<5", "^7", "x", "b", "o", "+d", ",", "_", "#x", "08b", "e"))
_register("strspec", _text(">8", "<8", "^8", "*^9", ".3", "-<6", "10", "_>5"))
_register("base", _number(8, 10, 16, 36, 12))
_register("regex", _code(*_PATTERNS))
_register("bsub", lambda writer: repr(values.short(writer.rng, writer.pool).encode("ascii", "ignore") or b"a"))
_register("bfill", lambda writer: repr(writer.choose("*", "-", "0", "#", "_", " ").encode()))
_register("bounded", _bounded)
_register("cut", _cut)
_register("maketrans", _maketrans)
_register("predicate", _predicate)
_register("predicate_ints", _number_test)
_register("predicate_strs", _string_test)
_register("key_ints", _number_key)
_register("key_strs", _string_key)
