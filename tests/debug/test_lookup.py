"""Expressions over repr texts: what `print` can answer, and that it never runs anything."""

import pytest

from opencwm.debug.lookup import LookupFailed, look_up

NAMES = {
    "x": "5",
    "i": "1",
    "word": "'hello'",
    "rows": "[[1, 2], [3, 4]]",
    "table": "{'a': 1, (1, 2): 'two'}",
    "point": "Point(x=1, y=Pair(left=[1, 2], right='r'))",
    "mixed": "[<function f>, Point(x=1)]",
    "points": "[Point(x=1), Point(x=2)]",
    "by_name": "{'p': Point(x=3)}",
    "long": "[1, 2, ...+998]",
}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("x", "5"),
        ("word[0]", "'h'"),
        ("word[1:3]", "'el'"),
        ("word[::-1]", "'olleh'"),
        ("rows[1][0]", "3"),
        ("rows[i][-1]", "4"),
        ("table['a']", "1"),
        ("table[1, 2]", "'two'"),
        ("point.x", "1"),
        ("point.y.left[1]", "2"),
        ("points[-1].x", "2"),
        ("by_name['p'].x", "3"),
        ("(x)", "5"),
        ("-1", "-1"),
        ("long[1]", "2"),
        ("mixed", "[<function f>, Point(x=1)]"),
        ("len(rows) + i", "3"),
        ("word.upper()[::-1]", "'OLLEH'"),
        ("x > 3 and 'e' in word", "True"),
        ("[r[0] for r in rows if r[0] > 1]", "[3]"),
        ("sorted({3, 1})", "[1, 3]"),
        ("f'{x:03}|{word!r}'", "\"005|'hello'\""),
        ("x if i is None else -x", "-5"),
        ("max(rows[0]) ** 2", "4"),
        ("point.x + 1", "2"),
    ],
)
def test_answers(expression: str, text: str) -> None:
    assert look_up(expression, NAMES) == text


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("y", "no name 'y' here; there are: x"),
        ("rows[9]", "IndexError"),
        ("table['zz']", "KeyError"),
        ("x[0]", "TypeError"),
        ("x +", "not an expression"),
        ("word.encode()", "nothing of the program is run here"),
        ("point.move(1)", "nothing of the program is run here"),
        ("__import__('os').getpid()", "nothing of the program is run here"),
        ("word.__class__.__mro__", "no attribute"),
        ("9 ** 9 ** 9", "more than 20000 bits"),
        ("[0] * 10 ** 9", "more than 100000 items"),
        ("sum(range(10 ** 9))", "more than 100000 items"),
        ("word.ljust(10 ** 9)", "more than 1000 characters"),
        ("f'{x:9999}'", "more than 1000 characters"),
        ("[a + b for a in range(999) for b in range(999)]", "more than 20000 operations"),
        ("point.z", "no attribute 'z' is shown"),
        ("word.upper", "no attribute 'upper' is shown"),
        ("mixed[0]", "cannot look into"),
        ("rows[word:]", "TypeError"),
        ("rows[point]", "cannot use Point"),
        ("points[5]", "cannot look up 5"),
        ("long[2]", "cannot look up 2"),
        ("long[-1]", "cannot look up -1"),
        ("(" * 500 + "x" + ")" * 500, "not an expression"),
    ],
)
def test_what_it_cannot_answer(expression: str, message: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        look_up(expression, NAMES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
