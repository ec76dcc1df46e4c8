"""Skeletons of everyday code: counting, grouping, scanning, parsing, sorting by hand, tables, searches."""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "everyday",
    """
def $f($d, $n):
    $out = {}
    for $k, $v in ⟦$d.items()|sorted($d.items(), key=lambda kv: (-kv[1], kv[0]))|list($d.items())[::-1]⟧:
        if ⟦<<bool:$v:int>>|<<bool:$k:word>>|$v > $n⟧:
            $out⟦[$k]|[<<shown:$k:word>>]⟧ = ⟦$v|<<cell:$v:int>>|$v - $n⟧
        ⟦elif $k in $out:
            del $out[$k]|else:
            $out.setdefault($k, []).append($v)|~⟧
    return $out
>>> $f(<<counts>>, <<int>>)
---
def $f($ws):
    $d = {}
    for $w in $ws:
        $k = ⟦len($w)|$w[:1]|$w.lower()|''.join(sorted($w))|<<bool:$w:word>>⟧
        ⟦if $k not in $d:
            $d[$k] = []
        $d[$k].append($w)|$d.setdefault($k, []).append($w)|$d[$k] = $d.get($k, 0) + 1|$d[$k] = $w⟧
    return ⟦$d|list($d.values())|max($d, key=lambda k: len(str($d[k])), default=None)|{$k2: $d[$k2] for $k2 in sorted($d, key=str)}⟧
>>> $f(<<strs>>)
---
def $f($rows, $n):
    $out = []
    for $row in $rows:
        ⟦$out.append(sum($row))|$out.append(max($row) - min($row))|$out.append([$x * $n for $x in $row])|$out.append([$x if <<bool:$x:int>> else 0 for $x in $row])|$out.extend($row[::-1])⟧
    ⟦$out.reverse()|$out.sort(key=str)|~⟧
    return $out⟦|, len($rows), [len($row2) for $row2 in $rows]⟧
>>> $f(<<rows>>, <<int>>)
---
def $f($rows):
    if not $rows or not $rows[0]:
        return []
    return ⟦[[$row[$i] for $row in $rows] for $i in range(min(len($row2) for $row2 in $rows))]|[list($row) for $row in
        zip(*$rows[::-1])]|[[$x + $i for $i, $x in enumerate($row)] for $row in $rows]|[sum($x for $x in $row
        if <<bool:$x:int>>) for $row in $rows]⟧
>>> $f(<<rows>>)
---
def $f($s, $n):
    $out, $b = [], ''
    for $i, $c in enumerate($s):
        if ⟦<<bool:$c:char>>|$i % ($n or 1) == 0|$c == <<one>>⟧:
            ⟦if $b:
                $out.append($b)
            $b = ''|$b += $c|$b = $c + $b⟧
        else:
            ⟦$b += $c|$b = <<shown:$c:char>> + $b|$out.append($c)⟧
    if $b:
        $out.append($b)
    return ⟦$out|'¦'.join($out)|$out[-1] if $out else $s|len($out), $b⟧
>>> $f(<<str>>, ⟦2|3|<<int>>⟧)
---
def $f($s):
    $xs = []
    $d = {')': '(', ']': '[', '}': '{'}
    for $i, $c in enumerate($s):
        if $c in ⟦$d.values()|'([{'⟧:
            $xs.append($c)
        elif $c in $d:
            if not $xs or $xs.pop() != $d[$c]:
                return ⟦$i|False|$s[:$i]⟧
        ⟦elif <<bool:$c:char>>:
            return -1|~⟧
    return ⟦not $xs|len($xs)|$xs == []⟧
>>> $f(⟦'(a[0])'|'([)]'|'()[]{}'|'(('|<<str>>|'{x}'⟧)
---
def $f($s):
    $xs = []
    for $w in $s.split():
        if $w in ⟦'+-*'|('+', '-')⟧:
            $x2, $x = $xs.pop(), $xs.pop()
            $xs.append(⟦$x + $x2 if $w == '+' else $x - $x2|{'+': $x + $x2, '-': $x - $x2, '*': $x * $x2}[$w]⟧)
        else:
            $xs.append(int($w))
    return $xs⟦[0]|[-1]|⟧
>>> $f(⟦'3 4 + 2 -'|'5 1 2 + -'|'7'|'2 +'|'<<small>> <<small>> + <<small>> -'⟧)
---
def $f($n):
    $out = []
    $i = 2
    while $i * $i <= $n:
        while $n % $i == 0:
            $out.append($i)
            $n //= $i
        $i += ⟦1|1 if $i == 2 else 2⟧
    if $n > 1:
        $out.append($n)
    return ⟦$out|set($out) == {2}|{$x: $out.count($x) for $x in $out}|[$x for $x in $out if <<bool:$x:int>>]⟧
>>> $f(⟦12|30|17|64|45|<<int>>|97|100⟧)
---
def $f($xs, $n):
    $i, $i2 = 0, len($xs) - 1
    while $i ⟦<=|<⟧ $i2:
        $i3 = ($i + $i2) // 2
        if $xs[$i3] == $n:
            return ⟦$i3|$i3, $xs[$i3]⟧
        if $xs[$i3] < $n:
            $i = $i3 + 1
        else:
            $i2 = $i3 - 1
    return ⟦-1|$i|-$i - 1|<<cell:$n:int>>⟧
>>> $f(⟦[1, 3, 5, 7, 9]|[2, 4, 4, 8]|[]|[<<small>>]|[-5, 0, 2, 11]⟧, <<int>>)
---
def $f($xs⟦|, $n=<<small>>⟧):
    for $i in range(len($xs)):
        ⟦for $i2 in range(len($xs) - 1 - $i):
            if $xs[$i2] > $xs[$i2 + 1]:
                $xs[$i2], $xs[$i2 + 1] = $xs[$i2 + 1], $xs[$i2]|$i2 = $i
        while $i2 > 0 and ⟦$xs[$i2 - 1] > $xs[$i2]|<<cell:$xs[$i2 - 1]:int>> > $xs[$i2]⟧:
            $xs[$i2], $xs[$i2 - 1] = $xs[$i2 - 1], $xs[$i2]
            $i2 -= 1|$i3 = min(range($i, len($xs)), key=lambda k: $xs[k])
        $xs[$i], $xs[$i3] = $xs[$i3], $xs[$i]⟧
    return $xs
>>> $f(⟦<<ints>>|[3, 1, 2]|[5, -1, 4]⟧)
---
def $f($s, $w):
    $rows = [[0] * (len($w) + 1) for _ in range(len($s) + 1)]
    for $i in range(⟦1, |⟧len($s)⟦ + 1|⟧):
        for $i2 in range(len($w)):
            if $s[$i - 1] == $w[$i2 - 1]:
                $rows[$i][$i2] = $rows[$i - 1][$i2 - 1] + ⟦1|<<small>>⟧
            else:
                $rows[$i][$i2] = max($rows[$i - 1][$i2], $rows[$i][$i2 - 1])
    return ⟦$rows[-1]|max(map(max, $rows))|$rows[-1][-1]⟧
>>> $f(⟦'abc'|'aab'|<<char>>|'xy'⟧, ⟦'ab'|'ba'|'c'|<<sub>>⟧)
---
def $f($fl, $n):
    $acc = ⟦0.0|$fl|1.5⟧
    for $i in range($n % ⟦4|5|3⟧):
        $acc ⟦+= $fl / 2|*= 1.5|-= $i * 0.5|= round($acc + $fl, 2)⟧
        if $acc > ⟦100|10.5|<<large>>⟧:
            break
    return ⟦round($acc, 2)|$acc|f'{$acc:.2f}'|int($acc)|'%.1f' % $acc|$acc, $acc.is_integer()⟧
>>> $f(<<float>>, <<int>>)
---
def $f($xs):
    $acc = sum($xs) / len($xs)⟦ if $xs else 0.0|⟧
    $out = ⟦[$x - $acc for $x in $xs]|[round($x / 2, 1) for $x in $xs if <<bool:$x:float>>]|sorted($xs, reverse=True)⟧
    return ⟦$out|max($out, default=0)|round(sum($out), 3)|$acc, [$x2 for $x2 in $out if $x2 > 0]⟧
>>> $f(<<floats>>)
---
def $f($s):
    $d = {'I': 1, 'V': 5, 'X': 10, ⟦'L'|'C'⟧: 50}
    $acc = 0
    for $c, $c2 in zip($s, $s[1:] + ⟦' '|'I'|$s[-1:]⟧):
        $acc += -$d.get($c, 0) if $d.get($c, 0) < $d.get($c2, 0) else $d.get($c, 0)
    return $acc
>>> $f(⟦'XIV'|'IX'|'XX'|'VI'|'LIX'|<<word>>⟧)
---
def $f($s, $n):
    $b = ''
    for $c in $s:
        if $c.⟦isalpha|islower|isupper⟧():
            $i = ord('⟦a|A⟧') if $c.islower() else ord('A')
            $b += chr((ord($c) - $i + $n) % 26 + $i)
        else:
            $b += ⟦$c|''|'*'|<<shown:$c:char>>⟧
    return $b
>>> $f(<<str>>, <<int>>)
---
def $f($s):
    $b, $acc = '', ⟦1|0⟧
    for $i in range(1, len($s) + 1):
        if $i < len($s) and $s[$i] == $s[$i - 1]:
            $acc += 1
        else:
            $b += ⟦$s[$i - 1] + str($acc)|$s[$i - 1] * $acc + '-'|f'{$acc}{$s[$i - 1]}'|($s[$i - 1] if $acc == 1 else $s[$i - 1] + str($acc))⟧
            $acc = ⟦1|0⟧
    return $b⟦| or None⟧
>>> $f(⟦<<str>>|'aaabbc'|'xxyz'|''⟧)
---
def $f($n):
    $d = {0: ⟦1|0⟧, 1: 1}
    for $i in range(2, $n⟦ + 1|⟧):
        $d[$i] = $d[$i - 1] ⟦+|-|*⟧ $d[$i - 2]⟦| + $i|% <<modulus>>⟧
    return $d.get($n, ⟦-1|None|$d⟧)
>>> $f(⟦5|7|0|3|8|6|-1⟧)
---
def $f($rows, $n):
    $st = set()
    $xs = [$n]
    $out = []
    while $xs:
        $x = $xs.pop(⟦0||-1⟧)
        if $x in $st or $x not in $rows:
            continue
        $st.add($x)
        $out.append(⟦$x|<<cell:$x:int>>⟧)
        $xs ⟦+= $rows[$x]|= $rows[$x] + $xs|.extend(sorted($rows[$x]))⟧
    return $out
>>> $f(⟦{1: [2, 3], 2: [4], 3: [], 4: [1]}|{0: [1], 1: [0, 2], 2: []}|{1: []}|{3: [1, 2], 1: [2]}⟧, ⟦1|0|3|2⟧)
""",
)
