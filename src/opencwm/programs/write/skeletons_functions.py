"""Skeletons of functions: closures, decorators, arguments of all kinds, recursion, memory, functions as values."""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "functions",
    """
def $g($n):
    ⟦$acc = <<int>>
    |⟧def $g2($x):
        return <<cell:$x:int>> ⟦+|-|*⟧ $n
    return $g2

def $f($n2, $xs):
    $t = $g($n2)
    return ⟦[$t($x2) for $x2 in $xs]|list(map($t, $xs))|$t($t(<<int>>))|sum(map($t, $xs))⟧
>>> $f(<<int>>, <<ints>>)
---
def $g():
    $acc = ⟦0|<<int>>⟧
    def $g2($n):
        nonlocal $acc
        $acc ⟦+= $n|-= <<cell:$n:int>>|= max($acc, $n)|= <<cell:$n:int>>⟧
        return ⟦$acc|$acc * 2⟧
    ⟦def $g3():
        return $acc
    return $g2, $g3|return $g2, lambda: $acc⟧

def $f($xs):
    $t, $t2 = $g()
    for $x in $xs:
        $t($x)
    return $t2()
>>> $f(<<ints>>)
---
def $g(func):
    def wrapper(*args⟦, **kwargs|⟧):
        $b = func(*args)
        return ⟦$b|str($b)|$b, len(args)|[$b, $b]⟧
    return wrapper

@$g
def $f($n, $n2=<<small>>):
    return <<cell:$n:int>> ⟦+|-|*⟧ $n2
>>> $f(⟦<<int>>|<<int>>, <<int>>⟧)
---
def $g($n):
    def $g2(func):
        ⟦@functools.wraps(func)
        |⟧def wrapper($x):
            return func($x) ⟦+|*|-⟧ $n
        return wrapper
    return $g2

@$g(<<small>>)
def $f($x2):
    return <<cell:$x2:int:1>>
>>> $f(<<int>>)
---
def $f(*$xs, **$d):
    $acc = ⟦len($xs)|sum($xs)|0⟧
    for $k, $v in $d.items():
        $acc += ⟦$v|<<cell:$v:int>>|len($k)⟧
    return $acc, ⟦$xs|sorted($d)|list($d.values())|$xs[::-1]⟧
>>> $f(⟦<<small>>, <<small>>, |*<<ints>>, |⟧a=<<small>>, b=<<small>>)
---
def $g($n, /, $n2, *, $n3=<<small>>):
    return ⟦<<cell:$n:int>> + $n2 - $n3|$n, $n2, $n3|$n * $n2 + $n3⟧

def $f($x, $x2):
    return ⟦$g($x, $x2)|$g($x, $n2=$x2)|$g($x, $x2, $n3=<<cell:$x:int>>)|$g($x, $n3=$x2, $n2=<<small>>)|$g(*[$x, $x2])⟧
>>> $f(<<int>>, <<int>>)
---
def $f($x, $out=[]):
    ⟦$out.append($x)|$out += [<<cell:$x:int>>]⟧
    return ⟦list($out)|$out|len($out)⟧

def $g($xs):
    return [$f($x2) for $x2 in $xs][-⟦1|2⟧:]
>>> $g(<<ints>>)
---
def $f($n, $d={}):
    if $n in $d:
        return $d[$n]
    if $n < ⟦2|3|1⟧:
        return ⟦$n|1|<<small>>⟧
    $d[$n] = $f($n - 1) ⟦+|-⟧ $f($n - ⟦2|3⟧)
    return $d[$n]
>>> $f(⟦5|6|7|4|8|3⟧)
---
@functools.⟦lru_cache(maxsize=None)|cache|lru_cache⟧
def $g($n, $n2):
    if $n <= 0 or $n2 <= 0:
        return ⟦1|0|<<small>>⟧
    return $g($n - 1, $n2) ⟦+|-⟧ $g($n, $n2 - ⟦1|2⟧)

def $f($x, $x2):
    return $g($x % ⟦4|3⟧, $x2 % 4)⟦|, <<str:$x:int>>⟧
>>> $f(<<int>>, <<int>>)
---
def $f($xs, $n):
    if ⟦not $xs|len($xs) < 2⟧:
        return ⟦0|[]|$n|$xs⟧
    $x, *$xs2 = $xs
    if <<bool:$x:int>>:
        return $f($xs2, ⟦$n + 1|$n - $x|<<cell:$n:int>>⟧)
    return $f(⟦$xs2|$xs2[::-1]|$xs[1:-1]⟧, $n)
>>> $f(<<ints>>, <<int>>)
---
def $g($n):
    return ⟦True|$n == 0⟧ if ⟦$n <= 0|$n < 1⟧ else $g2($n - ⟦1|2⟧)

def $g2($n):
    return False if ⟦$n <= 0|$n < 1⟧ else $g($n - 1)

def $f($n2):
    return $g(abs($n2) % ⟦9|7⟧), <<cell:$n2:int>>
>>> $f(<<int>>)
---
def $f($x):
    if isinstance($x, ⟦list|(list, tuple)⟧):
        $acc = 0
        for $x2 in $x:
            $acc += $f($x2)
        return $acc⟦| + 1⟧
    ⟦if isinstance($x, str):
        return len($x)
    |⟧return ⟦$x|<<cell:$x:int>>⟧
>>> $f(⟦[1, [2, 3], []]|[[<<small>>], <<small>>]|[<<int>>, [<<int>>, [<<int>>]]]|<<int>>⟧)
---
def $f($xs):
    if len($xs) <= 1:
        return $xs
    $x = $xs⟦[0]|[-1]|[len($xs) // 2]⟧
    $xs2 = [$i for $i in $xs if $i ⟦<|>⟧ $x]
    $xs3 = [$i for $i in $xs if $i ⟦== $x|== $x and <<bool:$i:int>>⟧]
    return $f($xs2) + $xs3⟦ + $f([$i for $i in $xs if $i > $x])|⟧
>>> $f(<<ints>>)
---
def $f($n, $s, $w):
    $t = {'+': lambda a, b: a + b, '-': lambda a, b: a - b, ⟦'*'|'x'⟧: lambda a, b: <<cell:a:int>> * b}
    if $s not in $t:
        return ⟦None|'?'|$w⟧
    return $t[$s]($n, ⟦len($w)|<<small>>|$w.count(<<one>>)⟧)
>>> $f(<<int>>, ⟦'+'|'-'|'*'|'/'⟧, <<word>>)
---
def $g(func, $xs):
    $out = []
    for $x in $xs:
        $out.append(func($x)⟦ if <<bool:$x:int>> else $x|⟧)
    return $out

def $f($xs2, $n):
    return $g(⟦lambda $x2: $x2 ⟦+|*|-⟧ $n|lambda $x2: <<cell:$x2:int:1>>|str|abs|lambda $x2, $n2=$n: $x2 % ($n2 or 1)⟧, $xs2)
>>> $f(<<ints>>, <<int>>)
---
def $g(*funcs):
    def $g2($x):
        for func in funcs:
            $x = func($x)
        return $x
    return $g2

def $f($s):
    return $g(⟦str.upper|str.strip|lambda s: s[::-1]⟧, ⟦lambda s: <<shown:s:word>>|str.lower|sorted|len⟧)($s)
>>> $f(<<str>>)
---
def $f($xs, $n):
    $t = functools.partial(⟦pow, <<small>>|max, $n|lambda a, b: a - b, $n⟧)
    return [$t($x) for $x in $xs if $x ⟦>= 0|< 9|!= $n⟧][:4]
>>> $f(⟦<<ints>>|[1, 2, 3]|[0, 4]⟧, <<int>>)
---
def $f($ws):
    $t = [lambda: $w for $w in $ws] if ⟦len($ws) > <<small>>|<<bool:$ws:strs>>⟧ else [lambda $w=$w: $w for $w in $ws]
    return [$g() for $g in $t]
>>> $f(<<strs>>)
---
def $g($n):
    if <<bool:$n:int>>:
        return None
    return <<cell:$n:int:1>>

def $f($xs):
    $out = []
    for $x in $xs:
        if ($v := $g($x)) is ⟦None|not None⟧:
            ⟦continue|$out.append($x)⟧
        $out.append(⟦$v|$x⟧)
    return $out
>>> $f(<<ints>>)
---
def $f($ws, $n):
    $d = collections.defaultdict(⟦list|int|set|lambda: <<small>>⟧)
    for $w in $ws:
        ⟦$d[len($w)]|$d[$w[:1]]|$d[<<cell:$w:word>>]⟧
    $d[$n]
    return len($d), ⟦sorted($d, key=str)|dict($d) == {}|$n in $d⟧
>>> $f(<<strs>>, <<int>>)
---
def $f($ws):
    $d = collections.defaultdict(list)
    for $i, $w in enumerate($ws):
        $d⟦[len($w)]|[$w[:1]]|[$w[-1:].lower()]⟧.append(⟦$w|$i|<<shown:$w:word>>⟧)
    return ⟦dict($d)|sorted($d.items())|[$v for $v in $d.values() if len($v) > 1]⟧
>>> $f(<<strs>>)
---
def $f($s):
    $d = collections.Counter($s)
    ⟦$d.update(<<word>>)|$d.subtract(<<word>>)|del $d[<<one>>]|$d[<<one>>] += <<small>>|$d += collections.Counter(<<word>>)⟧
    return ⟦$d.most_common(<<small>>)|dict($d)|sum($d.values())|sorted($d.elements())|{$k: $v for $k, $v in $d.items() if <<bool:$v:int>>}⟧
>>> $f(<<str>>)
---
def $f($xs, $n):
    $t = collections.deque($xs⟦|, maxlen=<<width>>⟧)
    ⟦$t.appendleft($n)|$t.append($n)|$t.rotate(⟦1|-1|$n % 3⟧)|$t.extendleft([$n, <<int>>])|$t.reverse()⟧
    $acc = 0
    while ⟦$t|len($t) > 1⟧:
        $x = $t.⟦popleft|pop⟧()
        if <<bool:$x:int>>:
            $acc += $x
    return $acc⟦|, list($t)⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($xs, $n):
    $t = ⟦list($xs)|<<ints:$xs:ints>>|$xs[:<<small>>]⟧
    heapq.heapify($t)
    heapq.heappush($t, ⟦$n|<<cell:$n:int>>⟧)
    $out = []
    while $t⟦ and len($out) < <<small>>|⟧:
        $out.append(heapq.heappop($t))
    return $out⟦|, $t⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($xs, $n):
    $xs = sorted($xs)
    $i = bisect.⟦bisect_left|bisect_right|bisect⟧($xs, $n)
    ⟦bisect.insort($xs, $n)|$xs.insert($i, $n)|~⟧
    return ⟦$i, $xs|$xs[:$i]|$i == len($xs)⟧
>>> $f(<<ints>>, <<int>>)
---
def $f($s):
    $d = collections.OrderedDict()
    for $c in $s:
        $d[$c] = $d.get($c, 0) + 1
        ⟦$d.move_to_end($c)|$d.move_to_end($c, last=False)|~⟧
    return ⟦list($d.items())|list($d)|$d.popitem(last=False)[0] if $d else ''⟧
>>> $f(<<str>>)
---
def $f($s):
    $t = re.match(⟦r'(\\d+)-(\\w+)'|r'([a-z]+)(\\d*)'|r'(?P<k>\\w+)=(?P<v>\\w+)'⟧, $s)
    if ⟦$t|$t is not None|not $t⟧:
        return ⟦$t.groups()|$t.group(1)|$t.span()|$t.group(0).upper()⟧ if $t else 'no'
    return <<str:$s:str>>
>>> $f(⟦'12-ab'|'key=val'|'abc12'|<<str>>|'a1'⟧)
---
def $f($st, $st2):
    $st.⟦update|intersection_update|difference_update|symmetric_difference_update⟧($st2)
    $st.⟦add(<<int>>)|discard(<<int>>)|remove(<<int>>)|add(len($st2))⟧
    ⟦$st2.clear()|$st3 = $st.copy()|$st2.pop()|$st2 = frozenset($st)|$st &= $st2|$st ^= $st2⟧
    return sorted($st), ⟦len($st2)|$st <= $st2|$st == $st2|$st.isdisjoint($st2)⟧
>>> $f(<<intset>>, <<intset>>)
---
def $f($by, $n):
    $out = bytearray($by)
    $out.⟦append($n % 256)|extend(b'xyz')|insert(0, 65)|reverse()|pop()|remove(<<large>>)|clear()⟧
    ⟦$out[0:1] = b'__'|$out += b'!'|del $out[:1]|~⟧
    return ⟦bytes($out)|$out.copy()|len($out), $out.count(b'a')|$out.hex()|list($out)⟧
>>> $f(<<bytes>>, ⟦<<int>>|65|97⟧)
""",
)

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
