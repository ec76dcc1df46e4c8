"""What a recording shows, construct by construct. The line numbers are those of the quoted source, from 1."""

import sys
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.usefixtures("core")

Outline = Callable[..., list[str]]

before_inlining = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from Python 3.12 on, comprehensions run inside the function (PEP 709)"
)


def test_calls_lines_and_returns(outline: Outline) -> None:
    assert outline("""
        def add(a, b=2):
            total = a + b
            return total
        def main():
            x = add(1)
            return x, add(b=3, a=x)
    """) == [
        "call 4 main",
        "line 5 main",
        ". call 1 add a=1, b=2",
        ". line 2 add a=1, b=2",
        ". line 3 add a=1, b=2, total=3",
        ". return 3 add 3",
        "line 6 main x=3",
        ". call 1 add a=3, b=3",
        ". line 2 add a=3, b=3",
        ". line 3 add a=3, b=3, total=6",
        ". return 3 add 6",
        "return 6 main (3, 6)",
        "return",
    ]


def test_an_uncaught_exception_leaves_every_function(outline: Outline) -> None:
    assert outline("""
        def fail(n):
            raise ValueError(n)
        def main():
            fail(1)
    """) == [
        "call 3 main",
        "line 4 main",
        ". call 1 fail n=1",
        ". line 2 fail n=1",
        ". exception 2 fail ValueError(1)",
        "exception 4 main ValueError(1)",
        "exception",
    ]


def test_an_exception_raised_caught_and_raised_again(outline: Outline) -> None:
    assert outline("""
        def inner():
            try:
                return {}['k']
            except KeyError as error:
                note = 1
                raise
        def main():
            try:
                inner()
            except KeyError:
                return 'caught'
    """) == [
        "call 7 main",
        "line 8 main",
        "line 9 main",
        ". call 1 inner",
        ". line 2 inner",
        ". line 3 inner",
        ". exception 3 inner KeyError('k')",
        ". line 4 inner",
        ". line 5 inner error=KeyError('k')",
        ". line 6 inner error=KeyError('k'), note=1",
        ". exception 6 inner KeyError('k')",
        "exception 9 main KeyError('k')",
        "line 10 main",
        "line 11 main",
        "return 11 main 'caught'",
        "return",
    ]


def test_finally_and_the_right_exception_behind_it(outline: Outline) -> None:
    assert outline("""
        def inner():
            try:
                raise KeyError('first')
            finally:
                try:
                    int('x')
                except ValueError:
                    done = True
        def main():
            try:
                inner()
            except KeyError:
                pass
    """) == [
        "call 9 main",
        "line 10 main",
        "line 11 main",
        ". call 1 inner",
        ". line 2 inner",
        ". line 3 inner",
        ". exception 3 inner KeyError('first')",
        ". line 5 inner",
        ". line 6 inner",
        """. exception 6 inner ValueError("invalid literal for int() with base 10: 'x'")""",
        ". line 7 inner",
        ". line 8 inner",
        ". exception 8 inner KeyError('first')",
        "exception 11 main KeyError('first')",
        "line 12 main",
        "line 13 main",
        "return 13 main None",
        "return",
    ]


def test_a_bare_raise_of_the_callers_exception(outline: Outline) -> None:
    assert outline("""
        def again():
            raise
        def main():
            try:
                1 / 0
            except ZeroDivisionError:
                again()
    """)[-5:] == [
        ". call 1 again",
        ". line 2 again",
        ". exception 2 again ZeroDivisionError('division by zero')",
        "exception 7 main ZeroDivisionError('division by zero')",
        "exception",
    ]


def test_an_exception_in_place_of_another(outline: Outline) -> None:
    assert outline("""
        def main():
            try:
                try:
                    raise KeyError(1)
                except KeyError as error:
                    raise ValueError(2) from error
            except TypeError:
                pass
    """)[4:] == [
        "exception 4 main KeyError(1)",
        "line 5 main",
        "line 6 main error=KeyError(1)",
        "exception 6 main ValueError(2)",
        "line 7 main",
        "exception 7 main ValueError(2)",
        "exception",
    ]


def test_a_library_that_swallows_the_exception(outline: Outline) -> None:
    assert outline("""
        class Box:
            @property
            def value(self):
                try:
                    raise AttributeError('no')
                finally:
                    x = 1
        def main():
            return hasattr(Box(), 'value')
    """)[2:] == [
        ". call 3 Box.value self=Box()",
        ". line 4 Box.value self=Box()",
        ". line 5 Box.value self=Box()",
        ". exception 5 Box.value AttributeError('no')",
        ". line 7 Box.value self=Box()",
        ". exception 7 Box.value AttributeError('no')",
        "return 9 main False",
        "return",
    ]


def test_exception_groups(outline: Outline) -> None:
    lines = outline("""
        def main():
            try:
                raise ExceptionGroup('g', [ValueError(1), KeyError(2)])
            except* ValueError as group:
                found = 1
    """)
    assert "line 5 main group=ExceptionGroup('g', [ValueError(1)])" in lines
    assert lines[-2:] == ["exception 5 main ExceptionGroup('g', [KeyError(2)])", "exception"]


def test_recursion(outline: Outline) -> None:
    assert outline("""
        def fact(n):
            return 1 if n < 2 else n * fact(n - 1)
        def main():
            return fact(3)
    """)[2:] == [
        ". call 1 fact n=3",
        ". line 2 fact n=3",
        ". . call 1 fact n=2",
        ". . line 2 fact n=2",
        ". . . call 1 fact n=1",
        ". . . line 2 fact n=1",
        ". . . return 2 fact 1",
        ". . return 2 fact 2",
        ". return 2 fact 6",
        "return 4 main 6",
        "return",
    ]


def test_a_generator_is_suspended_and_resumed(outline: Outline) -> None:
    assert outline("""
        def count(n):
            for i in range(n):
                got = yield i
            return 'end'
        def main():
            it = count(1)
            a = next(it)
            try:
                it.send('sent')
            except StopIteration as stop:
                return stop.value
    """)[2:] == [
        "line 7 main it=<generator count>",
        ". call 1 count n=1",
        ". line 2 count n=1",
        ". line 3 count n=1, i=0",
        ". return 3 count 0",
        "line 8 main it=<generator count>, a=0",
        "line 9 main it=<generator count>, a=0",
        ". call 3 count n=1, i=0",
        ". line 2 count n=1, i=0, got='sent'",
        ". line 4 count n=1, i=0, got='sent'",
        ". return 4 count 'end'",
        "exception 9 main StopIteration('end')",
        "line 10 main it=<generator count>, a=0",
        "line 11 main it=<generator count>, a=0, stop=StopIteration('end')",
        "return 11 main 'end'",
        "return",
    ]


def test_closing_a_generator_shows_only_if_it_does_something(outline: Outline) -> None:
    assert outline("""
        def quiet():
            yield 1
        def loud():
            try:
                yield 1
            finally:
                x = 1
        def main():
            for kind in quiet, loud:
                it = kind()
                next(it)
                it.close()
            quiet().close()
    """)[7:] == [
        "line 12 main kind=<function quiet>, it=<generator quiet>",
        "line 9 main kind=<function quiet>, it=<generator quiet>",
        "line 10 main kind=<function loud>, it=<generator quiet>",
        "line 11 main kind=<function loud>, it=<generator loud>",
        ". call 3 loud",
        ". line 4 loud",
        ". line 5 loud",
        ". return 5 loud 1",
        "line 12 main kind=<function loud>, it=<generator loud>",
        ". call 5 loud",
        ". exception 5 loud GeneratorExit()",
        ". line 7 loud",
        ". exception 7 loud GeneratorExit()",
        "line 9 main kind=<function loud>, it=<generator loud>",
        "line 13 main kind=<function loud>, it=<generator loud>",
        "return 13 main None",
        "return",
    ]


def test_throwing_into_a_generator(outline: Outline) -> None:
    lines = outline("""
        def gen():
            while True:
                try:
                    yield
                except KeyError:
                    pass
        def main():
            it = gen()
            next(it)
            it.throw(KeyError(1))
            try:
                it.throw(ValueError(2))
            except ValueError:
                return 1
    """)
    start = lines.index("line 10 main it=<generator gen>")
    assert [line for line in lines[start + 1 :] if not line.startswith(". line 2")] == [
        ". call 4 gen",
        ". exception 4 gen KeyError(1)",
        ". line 5 gen",
        ". line 6 gen",
        ". line 3 gen",
        ". line 4 gen",
        ". return 4 gen None",
        "line 11 main it=<generator gen>",
        "line 12 main it=<generator gen>",
        ". call 4 gen",
        ". exception 4 gen ValueError(2)",
        ". line 5 gen",
        ". exception 5 gen ValueError(2)",
        "exception 12 main ValueError(2)",
        "line 13 main it=<generator gen>",
        "line 14 main it=<generator gen>",
        "return 14 main 1",
        "return",
    ]


def test_delegation(outline: Outline) -> None:
    assert outline("""
        def inner():
            yield 1
            return 2
        def outer():
            got = yield from inner()
            yield got
        def main():
            return list(outer())
    """)[2:] == [
        ". call 4 outer",
        ". line 5 outer",
        ". . call 1 inner",
        ". . line 2 inner",
        ". . return 2 inner 1",
        ". return 5 outer 1",
        ". call 5 outer",
        ". . call 2 inner",
        ". . line 3 inner",
        ". . return 3 inner 2",
        ". line 6 outer got=2",
        ". return 6 outer 2",
        ". call 6 outer got=2",
        ". return 6 outer None",
        "return 8 main [1, 2]",
        "return",
    ]


def test_async_functions_generators_and_managers(outline: Outline) -> None:
    assert outline("""
        import asyncio
        class Manager:
            async def __aenter__(self):
                return 'in'
            async def __aexit__(self, *error):
                await asyncio.sleep(0)
        async def numbers():
            yield 1
        async def work():
            async with Manager() as entered:
                async for n in numbers():
                    pass
            return n
        def main():
            return asyncio.run(work())
    """)[2:] == [
        ". call 9 work",
        ". line 10 work",
        ". . call 3 Manager.__aenter__ self=Manager()",
        ". . line 4 Manager.__aenter__ self=Manager()",
        ". . return 4 Manager.__aenter__ 'in'",
        ". line 11 work entered='in'",
        ". . call 7 numbers",
        ". . line 8 numbers",
        ". . return 8 numbers 1",
        ". line 12 work entered='in', n=1",
        ". line 11 work entered='in', n=1",
        ". . call 8 numbers",
        ". . return 8 numbers None",
        ". line 10 work entered='in', n=1",
        ". . call 5 Manager.__aexit__ self=Manager(), error=(None, None, None)",
        ". . line 6 Manager.__aexit__ self=Manager(), error=(None, None, None)",
        ". . return 6 Manager.__aexit__ None",
        ". return 10 work None",
        ". call 10 work entered='in', n=1",
        ". . call 6 Manager.__aexit__ self=Manager(), error=(None, None, None)",
        ". . return 6 Manager.__aexit__ None",
        ". line 13 work entered='in', n=1",
        ". return 13 work 1",
        "return 15 main 1",
        "return",
    ]


@before_inlining
def test_comprehensions(outline: Outline) -> None:
    assert outline("""
        def main():
            k = 2
            return [x * k for x in (1, 2)], sum(x for x in [3])
    """)[2:] == [
        "line 3 main k=2",
        ". call 3 main.<locals>.<listcomp> k=2",
        ". line 3 main.<locals>.<listcomp> k=2",
        ". line 3 main.<locals>.<listcomp> x=1, k=2",
        ". line 3 main.<locals>.<listcomp> x=2, k=2",
        ". return 3 main.<locals>.<listcomp> [2, 4]",
        ". call 3 main.<locals>.<genexpr>",
        ". line 3 main.<locals>.<genexpr>",
        ". return 3 main.<locals>.<genexpr> 3",
        ". call 3 main.<locals>.<genexpr> x=3",
        ". line 3 main.<locals>.<genexpr> x=3",
        ". return 3 main.<locals>.<genexpr> None",
        "return 3 main ([2, 4], 3)",
        "return",
    ]


def test_closures_and_lambdas(outline: Outline) -> None:
    assert outline("""
        def main():
            count = 0
            def bump(by):
                nonlocal count
                count += by
            bump(2)
            return (lambda q: q + count)(1)
    """)[2:] == [
        "line 3 main count=0",
        "line 6 main bump=<function main.<locals>.bump>, count=0",
        ". call 3 main.<locals>.bump by=2, count=0",
        ". line 5 main.<locals>.bump by=2, count=0",
        ". return 5 main.<locals>.bump None",
        "line 7 main bump=<function main.<locals>.bump>, count=2",
        ". call 7 main.<locals>.<lambda> q=1, count=2",
        ". line 7 main.<locals>.<lambda> q=1, count=2",
        ". return 7 main.<locals>.<lambda> 3",
        "return 7 main 3",
        "return",
    ]


def test_classes(outline: Outline) -> None:
    assert outline("""
        def main():
            class Stack:
                size = 0
                def push(self, item):
                    self.items = [item]
            stack = Stack()
            stack.push('a')
            return stack
    """)[1:] == [
        "line 2 main",
        ". call 2 main.<locals>.Stack",
        ". line 2 main.<locals>.Stack",
        ". line 3 main.<locals>.Stack",
        ". line 4 main.<locals>.Stack size=0",
        ". return 4 main.<locals>.Stack None",
        "line 6 main Stack=<class main.<locals>.Stack>",
        "line 7 main Stack=<class main.<locals>.Stack>, stack=Stack()",
        ". call 4 main.<locals>.Stack.push self=Stack(), item='a'",
        ". line 5 main.<locals>.Stack.push self=Stack(), item='a'",
        ". return 5 main.<locals>.Stack.push None",
        "line 8 main Stack=<class main.<locals>.Stack>, stack=Stack(items=['a'])",
        "return 8 main Stack(items=['a'])",
        "return",
    ]


def test_with_statements(outline: Outline) -> None:
    assert outline("""
        class Quiet:
            def __enter__(self): return 1
            def __exit__(self, kind, error, tb): return kind is KeyError
        def main():
            with Quiet() as q:
                raise KeyError(2)
            with Quiet():
                raise ValueError(3)
    """)[1:] == [
        "line 5 main",
        ". call 2 Quiet.__enter__ self=Quiet()",
        ". line 2 Quiet.__enter__ self=Quiet()",
        ". return 2 Quiet.__enter__ 1",
        "line 6 main q=1",
        "exception 6 main KeyError(2)",
        "line 5 main q=1",
        ". call 3 Quiet.__exit__ self=Quiet(), kind=<class 'KeyError'>, error=KeyError(2), tb=<traceback object>",
        ". line 3 Quiet.__exit__ self=Quiet(), kind=<class 'KeyError'>, error=KeyError(2), tb=<traceback object>",
        ". return 3 Quiet.__exit__ True",
        "line 7 main q=1",
        ". call 2 Quiet.__enter__ self=Quiet()",
        ". line 2 Quiet.__enter__ self=Quiet()",
        ". return 2 Quiet.__enter__ 1",
        "line 8 main q=1",
        "exception 8 main ValueError(3)",
        "line 7 main q=1",
        ". call 3 Quiet.__exit__ self=Quiet(), kind=<class 'ValueError'>, error=ValueError(3), tb=<traceback object>",
        ". line 3 Quiet.__exit__ self=Quiet(), kind=<class 'ValueError'>, error=ValueError(3), tb=<traceback object>",
        ". return 3 Quiet.__exit__ False",
        "exception 7 main ValueError(3)",
        "exception",
    ]


def test_match(outline: Outline) -> None:
    assert outline("""
        def main():
            match {'op': 'add', 'args': [1, 2]}:
                case {'op': 'mul'}:
                    r = 0
                case {'op': 'add', 'args': [a, b]} if a < b:
                    r = a + b
            return r
    """)[1:] == [
        "line 2 main",
        "line 3 main",
        "line 5 main",
        "line 6 main a=1, b=2",
        "line 7 main r=3, a=1, b=2",
        "return 7 main 3",
        "return",
    ]


def test_several_files_are_one_text(outline: Outline) -> None:
    assert outline("""
        # file: shapes.py
        def area(w, h):
            return w * h
        # file: app.py
        def main():
            return area(2, 3)
    """)[1:-2] == [
        "line 6 main",
        ". call 2 area w=2, h=3",
        ". line 3 area w=2, h=3",
        ". return 3 area 6",
    ]


def test_a_statement_over_several_lines(outline: Outline) -> None:
    assert outline("""
        def main():
            x = dict(
                a=1,
                b=int('2'),
            )
            return (x['a']
                    + x['b'])
    """)[1:] == [
        "line 2 main",
        "line 3 main",
        "line 4 main",
        "line 2 main",
        "line 6 main x={'a': 1, 'b': 2}",
        "line 7 main x={'a': 1, 'b': 2}",
        "line 6 main x={'a': 1, 'b': 2}",
        "return 6 main 3",
        "return",
    ]


def test_a_decorated_function_is_called_at_its_def(outline: Outline) -> None:
    assert outline("""
        def twice(f):
            def wrapper(*args):
                return f(*args) * 2
            return wrapper
        @twice
        @twice
        def one(
            x,
        ):
            return x
        def main():
            @twice
            class Local:
                y = 1
            return one(1)
    """)[1:] == [
        "line 12 main",
        "line 13 main",
        ". call 13 main.<locals>.Local",
        ". line 13 main.<locals>.Local",
        ". line 14 main.<locals>.Local",
        ". return 14 main.<locals>.Local None",
        "line 12 main",
        ". call 1 twice f=<class main.<locals>.Local>",
        ". line 2 twice f=<class main.<locals>.Local>",
        ". line 4 twice f=<class main.<locals>.Local>, wrapper=<function twice.<locals>.wrapper>",
        ". return 4 twice <function twice.<locals>.wrapper>",
        "line 13 main",
        "line 15 main Local=<function twice.<locals>.wrapper>",
        ". call 2 twice.<locals>.wrapper args=(1,), f=<function twice.<locals>.wrapper>",
        ". line 3 twice.<locals>.wrapper args=(1,), f=<function twice.<locals>.wrapper>",
        ". . call 2 twice.<locals>.wrapper args=(1,), f=<function one>",
        ". . line 3 twice.<locals>.wrapper args=(1,), f=<function one>",
        ". . . call 7 one x=1",
        ". . . line 10 one x=1",
        ". . . return 10 one 1",
        ". . return 3 twice.<locals>.wrapper 2",
        ". return 3 twice.<locals>.wrapper 4",
        "return 15 main 4",
        "return",
    ]


def test_identical_lines_and_loops(outline: Outline) -> None:
    assert outline("""
        def main():
            x = 0
            x += 1
            x += 1
            while x < 4:
                x += 1
            else:
                x = -x
            return x
    """)[1:] == [
        "line 2 main",
        "line 3 main x=0",
        "line 4 main x=1",
        "line 5 main x=2",
        "line 6 main x=2",
        "line 5 main x=3",
        "line 6 main x=3",
        "line 5 main x=4",
        "line 8 main x=4",
        "line 9 main x=-4",
        "return 9 main -4",
        "return",
    ]


def test_deleted_names_are_gone(outline: Outline) -> None:
    assert outline("""
        def main():
            a = b = 1
            del a
            return b
    """)[2:4] == ["line 3 main a=1, b=1", "line 4 main b=1"]


def test_library_code_is_stepped_over_but_its_callbacks_are_not(outline: Outline) -> None:
    assert outline("""
        import functools
        def compare(a, b):
            return b - a
        def main():
            return sorted([1, 2], key=functools.cmp_to_key(compare)), textwrap.dedent(' a')
        import textwrap
    """)[2:] == [
        ". call 2 compare a=2, b=1",
        ". line 3 compare a=2, b=1",
        ". return 3 compare -1",
        "return 5 main ([2, 1], 'a')",
        "return",
    ]


def test_values_are_shown_as_they_were_then(outline: Outline) -> None:
    assert outline("""
        def main():
            items = []
            for i in range(2):
                items.append(i)
            return items
    """)[2:] == [
        "line 3 main items=[]",
        "line 4 main items=[], i=0",
        "line 3 main items=[0], i=0",
        "line 4 main items=[0], i=1",
        "line 3 main items=[0, 1], i=1",
        "line 5 main items=[0, 1], i=1",
        "return 5 main [0, 1]",
        "return",
    ]
