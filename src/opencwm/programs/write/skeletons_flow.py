"""Skeletons of control flow: loops with `else`, nests, `match`, generators, globals, deletions and unpacking."""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "flow",
    """
def $f($xs, $n):
    for $i, $x in enumerate($xs):
        if ⟦<<bool:$x:int>>|$x == $n|$x ⟦<|>|==⟧ <<cell:$n:int>>⟧:
            ⟦break|return $i|continue⟧
        ⟦$n += 1|$n -= $x|$n = <<cell:$x:int>>|pass⟧
    else:
        return ⟦-1|None|'no'|<<cell:$n:int>>⟧
    return ⟦$i|$x|$i, $x|$xs[$i:]⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($n):
    $i = 0
    while ⟦True|1⟧:
        ⟦if <<bool:$i:int>>:
            $n += $i
        |⟧$i += ⟦1|2⟧
        if $i > ⟦<<small>>|7|5⟧:
            break
        ⟦$n -= 1|~⟧
    return $n⟦|, $i⟧
>>> $f(<<int>>)
---
def $f($n):
    $i = <<small>>
    while $i < ⟦10|$n % 9|<<large>>⟧:
        $i ⟦+= 3|*= 2|+= 2|+= $i or 1⟧
        if ⟦$i == $n|<<bool:$i:int>>⟧:
            break
    else:
        $i = ⟦-1|<<cell:$n:int>>⟧
    return $i
>>> $f(<<int>>)
---
def $f($n):
    match $n:
        case <<int>>⟦| ¦ <<int>>⟧:
            return <<literalstr>>
        case ⟦int(x) if x > <<small>>|x if <<bool:x:int>>⟧:
            return <<cell:$n:int>>
        case ⟦None|True|str()|-1⟧:
            return <<small>>
        case _:
            return ⟦$n|<<str:$n:int>>|'other'⟧
>>> $f(⟦<<int>>|<<int>>|None|True|'x'|2.5⟧)
---
def $f($x):
    match $x:
        case ⟦[]|''⟧:
            return 'empty'
        case [first]:
            return ⟦first|'one'⟧
        case [first, *rest]⟦| if len(rest) > <<small>>⟧:
            return ⟦first, rest|rest[::-1]|len(rest)⟧
        case ⟦{'kind': kind}|{'name': str(kind), **others}|{<<key>>: kind}⟧:
            return kind
        case ⟦(a, b) ¦ [a, b, _]|str() ¦ bytes()|int() ¦ float()⟧:
            return ⟦type($x).__name__|<<small>>⟧
    return None
>>> $f(⟦<<ints>>|<<counts>>|{'kind': <<str>>}|{'name': <<str>>, 'n': <<int>>}|<<str>>|<<tints>>|<<int>>⟧)
---
class $C:
    __match_args__ = ('$at', '$at2')

    def __init__(self, $at, $at2):
        self.$at = $at
        self.$at2 = $at2

def $f($n, $n2):
    match $C($n, $n2):
        case $C(⟦0, y|y, 0|$at=0, $at2=y⟧):
            return y
        case $C(x, y) if ⟦x == y|x > y|<<bool:x:int>>⟧:
            return ⟦x + y|<<cell:x:int>>⟧
        case $C():
            return ⟦'any'|$n - $n2⟧
>>> $f(<<int>>, ⟦<<int>>|0⟧)
---
def $f($s):
    match $s.split():
        case ⟦['go', direction]|['go', ('north' ¦ 'south') as direction]⟧:
            return ⟦direction.upper()|f'going {direction}'⟧
        case ['take', *things]:
            return ⟦things|len(things)|', '.join(things)⟧
        case ⟦[]|[single]⟧:
            return ⟦'nothing'|$s⟧
        case _:
            return <<str:$s:str>>
>>> $f(⟦'go north'|'take lamp key'|''|'look'|'go home'|<<str>>⟧)
---
def $g($n):
    ⟦while $n > 0:
        $n -= ⟦1|2⟧
        yield <<cell:$n:int>>|for $i in range($n):
        yield $i
        if <<bool:$i:int>>:
            yield <<cell:$i:int>>⟧
    ⟦return <<literalstr>>|~⟧

def $g2($n2):
    ⟦yield <<small>>
    |⟧$v = yield from $g($n2)
    ⟦yield $v|yield from <<ints>>|yield <<cell:$n2:int>>⟧

def $f($n3):
    return ⟦list($g2($n3))|[$x for $x in $g2($n3) if $x]|len(list($g2($n3)))⟧
>>> $f(⟦<<small>>|3|4|5|0⟧)
---
def $g():
    $acc = ⟦0|<<int>>⟧
    while True:
        $x = yield $acc
        if $x is None:
            ⟦break|return⟧
        $acc ⟦+= $x|= <<cell:$x:int>>|-= $x⟧

def $f($xs):
    $t = $g()
    $out = [next($t)]
    for $x2 in $xs:
        $out.append($t.send($x2))
    ⟦$t.close()
    |⟧return $out
>>> $f(<<ints>>)
---
def $g($xs):
    try:
        for $x in $xs:
            yield <<cell:$x:int>>
    ⟦finally:
        $xs.clear()|except ValueError:
        yield -1|finally:
        $xs.append(0)⟧

def $f($xs2):
    $t = $g($xs2)
    $out = [next($t, None)]
    ⟦$t.close()|$out.extend($t)|if $out[0]:
        $out.append($t.throw(ValueError))⟧
    return $out, $xs2
>>> $f(<<ints>>)
---
$acc = ⟦0|<<int>>|[]⟧

def $g($x):
    global $acc
    $acc = ⟦$acc + $x|<<cell:$x:int>>|$x⟧
    ⟦return $acc|~⟧

def $f($xs):
    for $x2 in $xs:
        $g($x2)
    return $acc
>>> $f(<<ints>>)
---
LIMIT = <<large>>
TABLE = ⟦{<<key>>: <<int>>, <<key>>: <<int>>}|<<counts>>|{'a': 1, 'e': 2}⟧

def $f($s):
    $acc = 0
    for $c in $s:
        $acc += TABLE.get($c, ⟦0|1|len($s)⟧)
        if $acc > LIMIT:
            ⟦return $c|break|$acc = LIMIT⟧
    return $acc
>>> $f(<<str>>)
---
def $f($ws):
    for $c in ⟦'abc'|'aeiou'|<<str>>⟧:
        for $w in ⟦$ws|[$w2 for $w2 in $ws if $w2]|sorted($ws)⟧:
            if $c in $w⟦ and <<bool:$w:word>>|⟧:
                return ⟦$w|$c + $w|$ws.index($w)⟧
    return ⟦''|None|len($ws)⟧
>>> $f(<<strs>>)
---
def $f($xs):
    while $xs and (($x := $xs.pop(⟦|0⟧)) ⟦>|<|!=⟧ <<small>>⟦ or <<bool:$x:int>>|⟧):
        if <<bool:$x:int>>:
            while $x > <<small>>:
                $x -= <<small>>
    return $xs⟦|, len($xs)⟧
>>> $f(<<ints>>)
---
def $f($n, $n2):
    $out = []
    for $i in range($n % ⟦4|5|3⟧):
        for $i2 in range(⟦$i|<<small>>|$n2 % 4⟧):
            ⟦if <<bool:$i2:int>>:
                continue
            |⟧$out.append(⟦($i, $i2)|$i * $i2|$i + <<cell:$i2:int>>|f'{$i}{$i2}'⟧)
    return $out
>>> $f(<<int>>, <<int>>)
---
def $f($rows):
    $acc = ⟦0|<<int>>⟧
    for $i, $row in enumerate($rows):
        for $i2, $x in enumerate($row):
            if ⟦$i == $i2|<<bool:$x:int>>|$i ⟦<|>⟧ $i2|($i + $i2) % 2⟧:
                ⟦$acc += $x|$acc -= <<cell:$x:int>>|$rows[$i][$i2] = <<cell:$x:int>>⟧
    return $acc⟦, $rows|⟧
>>> $f(<<rows>>)
---
def $f($n):
    if ⟦$n is None|$n is not None and <<bool:$n:int>>|not isinstance($n, int)⟧:
        return ⟦0|'none'⟧
    elif <<bool:$n:int>>:
        $b = <<literalstr>>
    elif ⟦$n in (1, 2, 3)|$n > <<large>>|<<small>> <= $n < <<large>>⟧:
        $b = <<str:$n:int>>
    else:
        ⟦pass
        |⟧$b = ⟦None|'else'|<<str:$n:int>>⟧
    return $b
>>> $f(⟦<<int>>|<<int>>|None⟧)
---
def $f($s, $n):
    $xs: list = []
    $acc: int = <<small>>
    for $c in $s:
        if $c.isdigit():
            $acc = $acc * 10 + int($c)
        elif $c in ⟦'+-'|'([{'|<<sub>>⟧:
            $xs.append(⟦$acc|<<cell:$acc:int>>⟧)
            $acc = ⟦0|$n⟧
        else:
            ⟦pass|continue|$acc += 1⟧
    return $xs, $acc
>>> $f(⟦'3+12-4'|'1a2b'|<<str>>|'(1[2]'|'7 + 5'⟧, <<int>>)
---
def $f($xs, $n):
    del $xs⟦[0]|[-1]|[:<<small>>]|[<<small>>:]|[::2]⟧
    $xs⟦[:1]|[1:2]|[<<small>>:]⟧ = ⟦[]|[$n, $n]|<<ints>>⟧
    $x, *$xs2 = $xs or [0, $n]
    ($i, $i2), $x2 = divmod($x or 1, <<modulus>>), <<cell:$x:int>>
    return ⟦$xs2|$i, $i2|$x2, $xs|sum($xs2) + $i⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($xs, $n):
    while ⟦not len($xs) > 3|not $xs or $xs[0] != $n|-$n < <<small>>⟧:
        $xs.append(⟦$n|<<cell:$n:int>>|-($n + 1)|~($n // 2)⟧)
        $n += 1
        for $x in ⟦$xs[:2]|[$x2 * 2 for $x2 in $xs if <<bool:$x2:int>>]|range(2)⟧:
            $n += ⟦$x > <<small>>|$x == $xs[-1]|<<bool:$x:int>>|-($x % 3)⟧
        ⟦break|if len($xs) > 6:
            break⟧
    return $xs[0 if <<bool:$n:int>> else ⟦-1|1|0⟧:]⟦|, -($n - 1)⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($xs, $n):
    $out = []
    ⟦[$out.append($x) for $x in $xs if $x ⟦>|<|!=⟧ $n]|{$out.insert(0, $x) for $x in set($xs)}|sum($x for $x in $xs)⟧
    if ($i := len($out)⟦| + $n⟧):
        $out = $out + [$x2 for $x2 in $xs⟦| if <<bool:$x2:int>>⟧] ⟦+ [[]]|+ [$i > $n, not $i]|⟧
    while $xs⟦| and <<bool:$n:int>>⟧:
        del $xs[⟦0|-1|:2⟧]
        $i = ⟦$i + 1|-($i + 1)|[0, 1, 2][$i % 3]⟧
        ⟦break|if $i > <<large>>:
            break|if not $i:
            break⟧
    return $out⟦[:$i]|[$i:]|⟧, ⟦$xs|not ($i or $n)|$i and $n > 1 or 0⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($s, $xs):
    $d = {⟦'a': {'n': <<small>>}|<<key>>: $xs[:1]|'k': $s[:1]⟧, 'x': ⟦$s[1:2]|len($s)|{}|[1, 2]⟧, **{'z': $xs[-1:]}}
    $i = ⟦len($xs)|$xs[0] if $xs else 0|<<small>>⟧
    return ⟦$s[:$xs[0] if $xs else 1]|$s[($xs or [1])[0]:]|$s[$i if $i > 0 else 0:]|(*$xs, *($s[:1], $i))|[$s, [$i]][1]⟧, $d ⟦== {}|!= {'x': 1}|⟧
>>> $f(<<str>>, <<ints>>)
---
def $f($xs, $n):
    $d = dict(zip($xs, $xs[1:]))
    $i = 0
    while -$i ⟦> -|>= -⟧$n and not ($i > <<width>>):
        $i += ⟦1|$d.get($i, 1) or 1|($i in $d) + 1⟧
        $d.update({$x: $x ⟦+|-|*⟧ $i for $x in ⟦$xs[:2]|[$i, $n]|($i, <<small>>)⟧})
    setattr(⟦$f, 'seen', $i|$f, 'n', $d⟧)
    return $d, ⟦$i|-($i + $n)|$i ** 2 if $i < 9 else -$i⟧
>>> $f(<<ints>>, <<int>>)
---
class $C:
    $at = <<small>>

    def __init__(self, $n):
        setattr(self, ⟦'$at2'|'$at'⟧, $n)

def $f($n2):
    $x = $C(⟦$n2|<<cell:$n2:int>>⟧)
    $ok = hasattr($x, '$at2')
    ⟦if $ok:
        delattr($x, '$at2')
    |if <<bool:$n2:int>>:
        $x.$at += 1
    |del $x
    $x = object()
    |⟧return $ok, getattr($x, ⟦'$at'|'$at2'⟧, ⟦None|<<small>>|NotImplemented⟧) ⟦is None|is NotImplemented|== $n2|⟧
>>> $f(<<int>>)
""",
)
