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
