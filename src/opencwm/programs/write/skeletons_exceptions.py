"""Skeletons of exceptions: raising, catching, re-raising, chaining, `else` and `finally`, groups."""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "exceptions",
    """
def $f($n, $xs):
    $out = []
    try:
        $out.append(⟦<<int>> // $n|$xs[$n]|int(<<str:$n:int>>)|$xs.index($n)|<<cell:$n:int>> % $n⟧)
    except ⟦(ZeroDivisionError, IndexError)|ZeroDivisionError|IndexError|ValueError|Exception|LookupError⟧⟦ as e|⟧:
        $out.append(⟦-1|'error'|None|<<cell:$n:int>>⟧)
    ⟦else:
        $out.append(<<cell:$n:int>>)|~⟧
    ⟦finally:
        $out.append(⟦'done'|$n|len($xs)⟧)|~⟧
    return $out
>>> $f(<<int>>, <<ints>>)
---
def $g($x):
    ⟦if <<bool:$x:int>>:
        |assert <<bool:$x:int>>, <<literalstr>>
    if $x > <<small>>:
        ⟧raise <<error>>(⟦<<literalstr>>|$x|f"bad {$x}"|⟧)
    return <<cell:$x:int>>

def $f($xs):
    $acc = 0
    for $x2 in $xs:
        try:
            $acc += $g($x2)
        except ⟦<<error>>|Exception|(<<error>>, AssertionError)|(ValueError, KeyError, TypeError)⟧⟦ as e|⟧:
            ⟦$acc -= 1|continue|break|$acc = 0|return $acc|raise⟧
    ⟦else:
        $acc += 100|~⟧
    return $acc
>>> $f(<<ints>>)
---
def $f($s, $n):
    try:
        try:
            ⟦$v = <<str>>[$n]|$v = int($s)|$v = $s[$n]|$v = {<<key>>: <<int>>}[$s]⟧
        except ⟦IndexError|ValueError|KeyError⟧ as e:
            raise <<error>>(⟦str(e)|<<literalstr>>|⟧) ⟦from e|from None|⟧
        finally:
            $n += <<small>>
    except ⟦<<error>>|Exception⟧ as e:
        return ⟦type(e).__name__|repr(e)|str(e)⟧, $n⟦|, type(e.__cause__).__name__|, e.args⟧
    return $v, $n
>>> $f(<<str>>, <<int>>)
---
def $f($n):
    try:
        if <<bool:$n:int>>:
            return <<cell:$n:int>>
        ⟦raise <<error>>(<<literalstr>>)|$n = $n // 0|$n += 1⟧
    except ⟦ArithmeticError|<<error>>⟧:
        $n = <<small>>
    finally:
        ⟦return $n|$n += 1|print($n)⟧
    return $n
>>> $f(<<int>>)
---
def $f($xs):
    for $x in $xs:
        try:
            if <<bool:$x:int>>:
                ⟦continue|break⟧
            $x2 = <<int>> // $x
        except ZeroDivisionError:
            ⟦break|continue|return 'zero'⟧
        finally:
            $x2 = <<cell:$x:int>>
    else:
        return ⟦'none'|-1⟧
    return $x2
>>> $f(<<ints>>)
---
def $f($s):
    $d = {}
    for $i, $w in enumerate($s.split(⟦','|' '|⟧)):
        try:
            $d[$i] = ⟦int($w)|float($w)|$w[<<small>>]|<<str:$w:word>>⟧
        except ⟦ValueError|IndexError|(ValueError, IndexError)⟧:
            $d[$i] = ⟦None|$w|0|len($w)⟧
    return $d
>>> $f(⟦'1,x,3'|'4 five 6'|<<str>>|'a, b,2.5'|''⟧)
---
def $f($n):
    raise <<error>>(⟦<<literalstr>>|$n|<<literalstr>>, $n|⟧)
>>> $f(<<int>>)
---
def $f($n):
    try:
        raise <<error>>(⟦<<literalstr>>|$n|f"at {$n}"|⟧)
    except <<error>> as e:
        $b = 'first ' + type(e).__name__
    except ⟦Exception|(OSError, RuntimeError)|LookupError|ArithmeticError⟧ as e:
        $b = ⟦str(e)|'second'|repr(e)⟧
    return $b
>>> $f(<<int>>)
---
def $f($n):
    $out = []
    try:
        raise ExceptionGroup(<<literalstr>>, [<<error>>(<<small>>), ⟦<<error>>($n)|KeyError(<<key>>)⟧])
    except* <<error>> as group:
        $out.append(len(group.exceptions))
    except* ⟦Exception|LookupError⟧ as group:
        $out.append(⟦str(group.exceptions[0])|'rest'⟧)
    return $out
>>> $f(<<int>>)
""",
)
