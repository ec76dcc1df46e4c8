"""Micro-programs: what a method does inside, written out as a loop over characters or items.

Each is a drill for a method that small models find hard (find, split, replace, strip, count, slices): its steps are in
the trace, so a model can learn the method as a procedure, and the method itself stands beside it now and then.
"""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "micro",
    """
def $f($s, $w):
    for $i in range(len($s) - len($w) + 1):
        if $s[$i:$i + len($w)] == $w:
            return ⟦$i|$i, $s.find($w)⟧
    return -1
>>> $f(<<str>>, <<sub>>)
---
def $f($s, $w):
    $i = ⟦len($s) - len($w)|len($s)⟧
    while $i >= 0:
        if $s[$i:]⟦.startswith($w)|[:len($w)] == $w⟧:
            return ⟦$i|$i == $s.rfind($w)⟧
        $i -= 1
    return -1
>>> $f(<<str>>, <<sub>>)
---
def $f($s, $c):
    $out, $b = [], ''
    for $x in $s:
        if $x == $c:
            $out.append($b)
            $b = ''
        else:
            $b += $x
    ⟦$out.append($b)
    |if $b:
        $out.append($b)
    ⟧return ⟦$out|$out, $out == $s.split($c)|$out[::-1]|len($out)⟧
>>> $f(<<str>>, ⟦' '|','|'-'|<<one>>⟧)
---
def $f($s):
    $out, $b = [], ''
    for $c in $s⟦| + ' '⟧:
        if $c.isspace():
            if $b:
                $out.append($b)
            $b = ''
        else:
            $b += $c
    return $out⟦ + [$b] if $b else $out|⟧
>>> $f(⟦<<str>>|'  a b  '|'one two three'|' x'⟧)
---
def $f($s, $c, $w):
    $b, $i = '', 0
    while $i < len($s):
        if $s[$i:$i + len($c)] == $c:
            $b += $w
            $i += ⟦len($c)|max(len($c), 1)⟧
        else:
            $b += $s[$i]
            $i += 1
    return ⟦$b|$b, $s.replace($c, $w)|$b == $s.replace($c, $w)⟧
>>> $f(<<str>>, <<one>>, <<to>>)
---
def $f($s, $c, $w, $n):
    $b = ''
    for $x in $s:
        if $x == $c and $n > 0:
            $b += $w
            $n -= 1
        else:
            $b += $x
    return $b⟦|, $s.replace($c, $w, <<small>>)⟧
>>> $f(<<str>>, <<one>>, <<to>>, <<small>>)
---
def $f($s, $w):
    $i, $i2 = 0, len($s)
    while $i < $i2 and $s[$i] in $w:
        $i += 1
    while $i2 > $i and $s[$i2 - 1] in $w:
        $i2 -= 1
    return ⟦$s[$i:$i2]|$i, $i2, $s[$i:$i2]|$s[$i:$i2], $s.strip($w)⟧
>>> $f(⟦'  ab '|'--x-y-'|<<str>>|'xxaxx'|'000120'⟧, ⟦' '|'-x'|<<chars>>|'0'⟧)
---
def $f($s, $w):
    while $s and $s⟦[0]|[-1]⟧ in $w:
        $s = $s⟦[1:]|[:-1]⟧
    return $s
>>> $f(⟦'..a.'|'aab'|<<str>>|'  x'⟧, ⟦'.'|' '|'ab'|<<chars>>⟧)
---
def $f($s, $w):
    $acc, $i = 0, 0
    while $i <= len($s) - len($w):
        if $s[$i:$i + len($w)] == $w:
            $acc += 1
            $i += ⟦len($w)|1⟧
        else:
            $i += 1
    return ⟦$acc|$acc, $s.count($w)⟧
>>> $f(⟦<<str>>|'aaaa'|'ababab'|'banana'⟧, ⟦'a'|'aa'|'ab'|'an'|<<one>>⟧)
---
def $f($s, $n, $n2, $t):
    $b = ⟦''|[]⟧
    for $i in range($n, $n2, $t):
        ⟦if -len($s) <= $i < len($s):
            |⟧$b += ⟦$s[$i]|$s[$i % (len($s) or 1)]⟧
    return $b, $s[$n:$n2:$t]
>>> $f(<<str>>, <<zero>>, <<small>>, <<step>>)
---
def $f($s, $n, $n2):
    return $s[$n:$n2], $s[:$n], $s[$n2:], $s[-$n:], $s[:-$n2], ⟦$s[::$n or 1]|$s[$n::-1]|$s[$n2:$n:-1]|$s[::-1][$n:]⟧
>>> $f(<<str>>, ⟦1|2|0|3|-1⟧, ⟦4|3|5|-1|-2⟧)
---
def $f($xs, $n, $n2):
    ⟦$xs[$n:$n2] = [0]|del $xs[$n:$n2]|$xs[::2] = $xs[::2][::-1]|$xs[$n:$n] = <<ints>>|$xs[-$n:] = []⟧
    return $xs⟦|, $xs[$n:$n2]⟧
>>> $f(<<ints>>, ⟦1|2|0|-1⟧, ⟦3|4|-1|2⟧)
---
def $f($xs):
    $x = $xs[0]
    for $x2 in $xs[1:]:
        if $x2 ⟦<|>|<=⟧ $x:
            $x = $x2
    return ⟦$x|$x, min($xs), max($xs)|$xs.index($x)⟧
>>> $f(<<ints>>)
---
def $f($s):
    $b = ''
    for $c in $s:
        $b = ⟦$c + $b|$b + ($c.upper() if $c.islower() else $c.lower())|$b + $c.lower()|$b + ($c if $c.isalnum() else '_')⟧
    return ⟦$b|$b == $s[::-1]|$b, $s.swapcase()⟧
>>> $f(<<str>>)
---
def $f($s):
    $b = ''
    for $i, $c in enumerate($s):
        if $i == 0 or ⟦$s[$i - 1] == ' '|not $s[$i - 1].isalpha()⟧:
            $b += $c.upper()
        else:
            $b += $c.lower()
    return ⟦$b|$b, $s.title()|$b == $s.title()|$b, $s.capitalize()⟧
>>> $f(<<str>>)
---
def $f($s, $n, $c):
    $b = $s
    while len($b) < $n:
        $b = ⟦$c + $b|$b + $c|$c + $b + $c⟧
    return ⟦$b|$b, $s.rjust($n, $c)|$b, $s.ljust($n, $c)|$b, $s.center($n, $c)|$b, $s.zfill($n)⟧
>>> $f(<<word>>, <<width>>, <<fill>>)
---
def $f($ws, $s):
    $b = ''
    for $i, $w in enumerate($ws):
        if $i ⟦> 0|!= 0⟧:
            $b += $s
        $b += $w
    return ⟦$b|$b, $s.join($ws)|len($b)⟧
>>> $f(<<strs>>, <<sep>>)
---
def $f($s, $c):
    for $i in ⟦range(len($s))|range(len($s) - 1, -1, -1)⟧:
        if $s[$i] == $c:
            return $s[:$i], $c, $s[$i + 1:]
    return ⟦$s, '', ''|'', '', $s⟧
>>> $f(<<str>>, <<one>>)
---
def $f($xs):
    $out = []
    for $x in $xs:
        $i = 0
        while $i < len($out) and $out[$i] ⟦<|<=|>⟧ $x:
            $i += 1
        $out.insert($i, $x)
    return ⟦$out|$out, sorted($xs)|$out == sorted($xs)⟧
>>> $f(<<ints>>)
---
def $f($xs):
    $out = []
    for $x in $xs:
        if $x not in $out:
            $out.append($x)
    return ⟦$out|$out, list(dict.fromkeys($xs))|len($xs) - len($out)⟧
>>> $f(⟦<<ints>>|[1, 2, 1, 3, 2]|[0, 0]⟧)
---
def $f($n, $n2):
    $out = []
    while $n > 0:
        $out.insert(0, ⟦$n % $n2|str($n % $n2)⟧)
        $n //= $n2
    return ⟦$out or [0]|$out, len($out)|$out[::-1]⟧
>>> $f(⟦10|37|255|<<int>>|6⟧, ⟦2|2|10|3|16⟧)
---
def $f($s):
    $acc = 0
    for $c in $s:
        $acc = $acc * ⟦10|2⟧ + ⟦int($c)|(ord($c) - ord('0'))⟧
    return ⟦$acc|$acc, int($s)|$acc % 10⟧
>>> $f(⟦<<digits>>|'101'|'0042'⟧)
---
def $f($n, $n2):
    while $n2:
        $n, $n2 = $n2, $n % $n2
    return ⟦$n|abs($n)⟧
>>> $f(⟦12|45|7|100|<<int>>⟧, ⟦18|10|0|35|<<int>>⟧)
---
def $f($n, $n2):
    return $n // $n2, $n % $n2, divmod($n, $n2), ⟦-$n // $n2|-$n % $n2|$n // -$n2|int($n / $n2)⟧
>>> $f(<<int>>, <<modulus>>)
---
def $f($n, $n2):
    return $n & $n2, $n | $n2, $n ^ $n2, ⟦~$n|$n << 2|$n >> 1|+$n⟧, ⟦$n == $n2|$n is None|not $n|bin($n)⟧
>>> $f(<<int>>, <<mask>>)
""",
)

add(
    "endless",
    """
def $f($n):
    $i = ⟦1|<<small>>⟧
    while $i != ⟦0|$n + $i + 1|-1⟧:
        ⟦$i += 1 if $i < $n else 0|$i = ($i + 1) % 3 + 1|$i = -$i|pass⟧
    return $i
>>> $f(<<small>>)
---
def $f($n, $s):
    $b = ⟦''|$s⟧
    while ⟦True|$n|len($b) < 100⟧:
        ⟦$b = $s[:2]|$b = <<word:$s:word>>|if <<bool:$n:int>>:
            $n = $n⟧
        ⟦pass|$n = ⟦$n|abs($n)|max($n, 1)⟧⟧
    return $b
>>> $f(⟦<<small>>|7|12⟧, <<word>>)
---
def $f($n):
    $xs = [$n]
    while $xs:
        $x = $xs.pop()
        ⟦$xs.append($x)|$xs.insert(0, -$x)|$xs = [$x % <<modulus>>]⟧
    return $xs
>>> $f(<<int>>)
""",
)
