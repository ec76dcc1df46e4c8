"""Harvest: functions of packages as self-contained programs, and made-up calls of them."""

import ast
import re

import pytest

from opencwm.programs import inputs
from opencwm.programs.harvest import functions
from opencwm.programs.packages import HarvestError, find
from opencwm.programs.shapes import annotated, named, used
from opencwm.trace.isolate import record_isolated
from opencwm.trace.recorder import record

SHOP = {
    "shop/__init__": "from .cart import total\n",
    "shop/rates": "import math\nRATE = 0.2\nUNUSED = 3\n\ndef tax(net):\n    '''Tax.\n\n    >>> tax(10)\n    2\n    '''\n    return math.floor(net * RATE)\n",
    "shop/cart": (
        "from .rates import tax as tax_of\nfrom . import rates\n\nLIMIT = 3\n\n"
        "def helper(x):\n    return x + LIMIT\n\n"
        "def total(prices):\n    net = sum(map(helper, prices))\n    return net + tax_of(net)\n\n"
        "def through_module(net):\n    return rates.tax(net)\n\n"
        "class Cart:\n    LIMIT = LIMIT\n\n    def __init__(self, prices: list[int]):\n        self.prices = prices\n\n"
        "    def add(self, price: int):\n        self.prices.append(price)\n        return self._size()\n\n"
        "    def _size(self):\n        return len(self.prices)\n\n    def far(self):\n        return 'never called'\n\n"
        "    @property\n    def first(self):\n        return self.prices[0]\n\n    @classmethod\n    def empty(cls):\n        return cls([])\n\n"
        "def each(n: int):\n    while n:\n        yield n\n        n -= 1\n\n"
        "async def later(x: int):\n    return x\n\n"
        "def needs_numpy(x):\n    import numpy\n    return numpy.zeros(x)\n"
    ),
    "tests/test_cart": "from shop import total\n\ndef test():\n    assert total([1, 2]) == 10\n    assert total(prices=[5]) == 9\n",
}


@pytest.fixture
def shop(tmp_path):
    for name, text in SHOP.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


@pytest.fixture
def harvested(shop):
    return {function.name: function for function in functions(shop)}


def test_a_function_brings_just_what_it_needs(harvested):
    source = harvested["total"].source
    assert [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)] == [
        "tax",
        "helper",
        "total",
    ]
    assert "import math" in source and "LIMIT = 3" in source and "tax_of = tax" in source
    assert "UNUSED" not in source and "class Cart" not in source and ">>>" not in source
    assert record(harvested["total"].program("total([1, 2])")).result == "10"


def test_a_method_brings_the_methods_that_its_code_names(harvested):
    source = harvested["Cart.add"].source
    assert "_size" in source and "__init__" in source
    assert "far" not in source and "first" not in source and "empty" not in source
    assert record(harvested["Cart.add"].program("Cart([1]).add(2)")).result == "2"


def test_a_module_used_as_an_object_needs_its_package(shop, harvested):
    assert harvested["through_module"].problem == "imports other packages"
    assert harvested["through_module"].needs == ("shop",)
    (with_library,) = (f for f in functions(shop, library=True) if f.name == "through_module")
    assert with_library.problem is None and with_library.search == (shop,)
    assert "from shop import rates" in with_library.source


def test_what_cannot_be_used_says_why(harvested):
    assert harvested["Cart.__init__"].problem == "special method"
    assert {function.problem for function in harvested.values()} == {None, "special method", "imports other packages"}


def test_known_calls_come_from_tests_and_doctests(harvested):
    assert {str(arguments) for arguments in harvested["total"].known.calls} >= {"[1, 2]", "prices=[5]"}
    assert "10" in {str(arguments) for arguments in harvested["tax"].known.calls}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("total", r"total\(.*\)"),
        ("Cart.add", r"Cart\(.*\)\.add\(.+\)"),
        ("Cart.first", r"Cart\(.*\)\.first"),
        ("Cart.empty", r"Cart\.empty\(\)"),
        ("each", r"\[item for _, item in zip\(range\(20\), each\(.+\)\)\]"),
        ("later", r"__import__\('asyncio'\)\.run\(later\(.+\)\)"),
    ],
)
def test_calls_by_kind(harvested, name, form):
    made = inputs.calls(harvested[name], seed=0, count=6)
    assert made and all(re.fullmatch(form, call) for call in made)
    assert len(set(made)) == len(made)
    assert record_isolated(harvested[name].program(made[0])).frames


def test_calls_depend_on_seed_and_function_alone(shop, harvested):
    again = {function.name: function for function in functions(shop)}
    for name, function in harvested.items():
        if function.problem is None:
            assert inputs.calls(function, seed=1, count=5) == inputs.calls(again[name], seed=1, count=5)
    assert inputs.calls(harvested["total"], seed=1, count=5) != inputs.calls(harvested["total"], seed=2, count=5)


def test_annotations_direct_the_arguments():
    source = (
        "from typing import Literal, Callable\n\nclass Point:\n    def __init__(self, x: int):\n        self.x = x\n\n"
        "def f(a: int, b: dict[str, list[int]], c: 'str | None', d: Literal['u', 'v'], e: Callable[[int], int], g: Point, *, h: bool):\n    pass\n"
    )
    for call in inputs.for_source(source, "f", seed=3, count=20):
        arguments = ast.parse(call, mode="eval").body
        a, b, c, d, e, g = arguments.args
        assert type(ast.literal_eval(a)) is int
        assert all(type(k) is str and type(v) is list for k, v in ast.literal_eval(b).items())
        assert type(ast.literal_eval(c)) in (str, type(None))
        assert ast.literal_eval(d) in ("u", "v")
        assert isinstance(e, ast.Lambda | ast.Name)
        assert ast.unparse(g).startswith("Point(")
        assert type(ast.literal_eval(arguments.keywords[0].value)) is bool


def test_names_and_use_direct_the_arguments():
    assert named("prefix").kind == "str" and named("max_size").kind == "int" and named("is_open").kind == "bool"
    assert named("zzz") is None
    body = ast.parse("def f(x, y, z):\n    x.split(',')\n    for a, b in y: pass\n    return z(1, 2)\n").body[0]
    assert {shape.kind for shape in used(body, "x")} == {"str"}
    assert {shape.kind for shape in used(body, "y")} == {"pairs"}
    assert next((shape.kind, shape.size) for shape in used(body, "z")) == ("callable", 2)
    assert annotated(ast.parse("int | None", mode="eval").body).kind == "union"


def test_calls_seen_in_a_run_are_known_calls(harvested):
    seen = inputs.observed([record(harvested["total"].program("total([7, 8])"))])
    assert str(seen["total"][0]) == "prices=[7, 8]"
    assert "total(prices=[7, 8])" in inputs.calls(harvested["total"], seed=0, count=4, observed=seen["total"])


def test_arguments_are_read_from_text():
    assert str(inputs.parse_arguments("1, x=[2]")) == "1, x=[2]"
    assert inputs.parse_arguments("name") is None and inputs.parse_arguments("1, (") is None


@pytest.mark.parametrize("name", ["textwrap", "heapq", "bisect", "string"])
def test_the_standard_library_is_harvested_and_runs(name):
    found = list(functions(f"stdlib:{name}"))
    usable = [function for function in found if function.problem is None]
    assert len(usable) > len(found) / 2
    runs = 0
    for function in usable[::9]:
        for call in inputs.calls(function, seed=0, count=1):
            runs += bool(record_isolated(function.program(call)).frames)
    assert runs


@pytest.mark.parametrize("where", ["no_such_package_anywhere", "stdlib:_socket", "/no/such/folder"])
def test_what_is_not_there(where):
    with pytest.raises(HarvestError):
        find(where)


def test_files_that_are_no_python_are_passed_over(tmp_path):
    (tmp_path / "good.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    assert [function.name for function in functions(str(tmp_path))] == ["f"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarvestError, match="no Python package"):
        find(str(tmp_path / "empty"))
