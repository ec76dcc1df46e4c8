"""Skeletons with classes: state, inheritance, properties, operators, protocols, errors of one's own, data classes."""

from __future__ import annotations

from opencwm.programs.write.skeletons import add

add(
    "classes",
    """
class $C:
    def __init__(self, $at):
        self.$at = $at
⟦        self.$at2 = <<small>>|        self.$at2 = []|~⟧

    def $m(self, $n):
        ⟦if <<bool:$n:int>>:
            |⟧⟦self.$at += <<cell:$n:int>>|self.$at = <<cell:self.$at:int>>|self.$at -= $n⟧
        return ⟦self|self.$at|<<cell:self.$at:int>>⟧

def $f($n2):
    $x = $C(<<int>>)
    $x.$m($n2)
    ⟦$x.$m(<<small>>)|for $i in range(<<small>>):
        $x.$m($i)|~⟧
    return ⟦$x.$at|$x.$at, <<str:$n2:int>>|<<bool:$x.$at:int>>, $x.$at⟧
>>> $f(<<int>>)
---
class $C:
    def __init__(self, $w, $n=<<small>>):
        self.$at = $w
        self.$at2 = $n

    def $m(self):
        return <<str:self.$at:word:1>>

class $C2($C):
    def __init__(self, $w, $n):
        super().__init__($w, ⟦$n|<<cell:$n:int>>|$n + 1⟧)
        self.$at3 = <<bool:$n:int>>

    def $m(self):
        $b = super().$m()
        ⟦if self.$at3:
            return $b + <<sub>>
        return $b|return $b + str(self.$at2)|return <<str:$b:word>>⟧

def $f($s, $n2):
    $x = ⟦$C2($s, $n2)|$C($s) if <<bool:$n2:int>> else $C2($s, $n2)⟧
    return $x.$m()⟦|, $x.$at2|, isinstance($x, $C), isinstance($x, $C2)|, type($x).__name__⟧
>>> $f(<<str>>, <<int>>)
---
class $C:
    def __init__(self):
        self._$at = <<small>>

    @property
    def $at(self):
        return ⟦self._$at|<<cell:self._$at:int>>⟧

    @$at.setter
    def $at(self, $n):
        if <<bool:$n:int>>:
            ⟦raise ValueError(<<literalstr>>)|$n = <<cell:$n:int>>|return⟧
        self._$at = $n

def $f($xs):
    $x = $C()
    for $n2 in $xs:
        ⟦try:
            $x.$at = $n2
        except ValueError:
            $x.$at = 0|$x.$at = $n2|$x.$at += $n2⟧
    return $x.$at
>>> $f(<<ints>>)
---
class $C:
    $at = ⟦<<small>>|0|<<int>>⟧

    @staticmethod
    def $m($n):
        return <<cell:$n:int:1>>

    @classmethod
    def $m2(cls, $n2):
        cls.$at += ⟦1|$n2|cls.$m($n2)⟧
        return cls.$at

def $f($xs):
    $out = [$C.$m2($x) for $x in $xs⟦| if <<bool:$x:int>>⟧]
    return $out⟦, $C.$at|, $C.$m(<<int>>)|⟧
>>> $f(<<ints>>)
---
class $C:
    def __init__(self, $at, $at2):
        self.$at = $at
        self.$at2 = $at2

    def __add__(self, other):
        return $C(self.$at + other.$at, ⟦self.$at2 + other.$at2|max(self.$at2, other.$at2)|self.$at2 - other.$at2⟧)

    ⟦def __eq__(self, other):
        return self.$at == other.$at|def __lt__(self, other):
        return <<cell:self.$at:int>> < <<cell:other.$at:int>>|def __sub__(self, other):
        return $C(self.$at - other.$at, self.$at2)⟧

    def __repr__(self):
        return f"$C({self.$at}, {self.$at2})"

def $f($n, $n2):
    $x, $x2 = $C($n, <<small>>), $C(<<cell:$n2:int>>, $n2)
    return ⟦str($x + $x2)|repr($x + $x2 + $x)|str($x + $x2), $x == $x2|f"{$x} {$x2}"⟧
>>> $f(<<int>>, <<int>>)
---
class $C:
    def __init__(self, $xs):
        self.$at = ⟦$xs|list($xs)|<<ints:$xs:ints>>⟧

    def __len__(self):
        return len(self.$at)

    def __getitem__(self, $i):
        return ⟦self.$at[$i]|self.$at[$i % len(self.$at)]|<<cell:self.$at[$i]:int>>⟧

    def __contains__(self, $n):
        return ⟦$n in self.$at|<<bool:$n:int>>|any($x == $n for $x in self.$at)⟧

def $f($xs2, $n2):
    $out = $C($xs2)
    if $n2 in $out:
        return ⟦$out[0]|len($out), $out[-1]|$out[$n2]⟧
    return ⟦len($out)|-1|[$out[$i2] for $i2 in range(len($out))]|<<str:$n2:int>>⟧
>>> $f(<<ints>>, <<int>>)
---
class $C:
    def __init__(self, $n):
        self.$at = $n

    def __iter__(self):
        return self

    def __next__(self):
        if ⟦self.$at <= 0|self.$at < <<small>>|not self.$at > 0⟧:
            raise StopIteration
        self.$at -= ⟦1|2|<<small>>⟧
        return <<cell:self.$at:int:1>>

def $f($n2):
    return ⟦list($C($n2))|sum($C($n2))|[$x for $x in $C($n2) if <<bool:$x:int>>]|max($C($n2), default=None)⟧
>>> $f(⟦<<small>>|7|5|9|4⟧)
---
class $C:
    def __init__(self, $n):
        self.$at = $n

    def __call__(self, $x):
        ⟦self.$at += 1
        |⟧return <<cell:$x:int>> ⟦+|-|*⟧ self.$at

def $f($xs):
    $g = $C(<<int>>)
    return ⟦list(map($g, $xs))|[$g($x2) for $x2 in $xs]|sum($g($x2) for $x2 in $xs), $g.$at⟧
>>> $f(<<ints>>)
---
class $C:
    def __init__(self, $w):
        self.$at = $w

    def __enter__(self):
        self.$at.append(⟦'in'|'open'|<<small>>⟧)
        return ⟦self|self.$at⟧

    def __exit__(self, kind, error, trace):
        self.$at.append(⟦'out'|str(error)|kind is None⟧)
        return ⟦True|False|kind is ValueError⟧

def $f($n):
    $out = []
    with $C($out):
        $out.append(<<cell:$n:int:1>>)
        ⟦if <<bool:$n:int>>:
            raise ValueError(<<literalstr>>)|~⟧
    return $out
>>> $f(<<int>>)
---
class $E(⟦Exception|ValueError|RuntimeError⟧):
    ⟦pass|def __init__(self, $n):
        super().__init__(f"bad {$n}")
        self.$at = $n⟧

def $g($x):
    if <<bool:$x:int>>:
        raise $E($x)
    return <<cell:$x:int>>

def $f($xs):
    $out = []
    for $x2 in $xs:
        try:
            $out.append($g($x2))
        except $E as e:
            $out.append(⟦str(e)|-1|e.args[0]|repr(e)⟧)
        ⟦finally:
            $out.append(0)|~⟧
    return $out
>>> $f(<<ints>>)
---
@dataclasses.dataclass
class $C:
    $at: int
    $at2: str = <<literalstr>>
    ⟦$at3: list = dataclasses.field(default_factory=list)|~⟧

    def $m(self):
        return <<⟦cell|str⟧:self.$at:int:1>>

def $f($n, $s):
    $x = $C($n⟦|, $s|, $at2=$s⟧)
    return ⟦$x.$m()|$x.$m(), $x == $C($n)|str($x)|$x.$at2 + str($x.$m())|dataclasses.asdict($x)⟧
>>> $f(<<int>>, <<str>>)
---
class $C(enum.Enum):
    RED = <<small>>
    GREEN = ⟦10|'go'|<<large>>⟧
    BLUE = ⟦-1|'b'|0⟧

def $f($n):
    $x = $C.RED if <<bool:$n:int>> else $C.⟦BLUE|GREEN⟧
    return ⟦$x.name, $x.value|$x.name.lower()|$x is $C.RED|[$k.name for $k in $C if $k is not $x]⟧
>>> $f(<<int>>)
---
$C = collections.namedtuple('$C', ⟦'$at $at2'|['$at', '$at2']⟧)

def $f($xs):
    $out = [$C($i, <<cell:$x:int>>) for $i, $x in enumerate($xs)]
    ⟦$out.sort(key=lambda $k: $k.$at2)|$out = $out[::-1]|~⟧
    return ⟦[$k2.$at2 for $k2 in $out]|$out[0] if $out else None|sum($k2.$at * $k2.$at2 for $k2 in $out)|[str($k2) for $k2 in $out[:2]]⟧
>>> $f(<<ints>>)
---
class $C:
    def __init__(self, $v, left=None, right=None):
        self.$at = $v
        self.left = left
        self.right = right

def $g($t, $n):
    if $t is None:
        return $C($n)
    if ⟦$n < $t.$at|$n <= $t.$at|<<cell:$n:int>> < $t.$at⟧:
        $t.left = $g($t.left, $n)
    else:
        $t.right = $g($t.right, $n)
    return $t

def $g2($t):
    if not $t:
        return ⟦[]|0⟧
    ⟦return $g2($t.left) + [$t.$at] + $g2($t.right)|return [$t.$at] + $g2($t.left) + $g2($t.right)⟧

def $f($xs):
    $t2 = None
    for $x in $xs:
        $t2 = $g($t2, $x)
    return $g2($t2)
>>> $f(⟦[3, 1, 2]|[5, 2, 8]|[4, 6]|[]⟧)
---
class $C:
    def __init__(self, $v, next=None):
        self.$at = $v
        self.next = next

def $f($xs):
    $t = None
    for $x in ⟦$xs|reversed($xs)|$xs[:<<small>>]⟧:
        $t = $C(<<cell:$x:int>>, $t)
    $out = []
    while ⟦$t|$t is not None⟧:
        ⟦$out.append($t.$at)|if <<bool:$t.$at:int>>:
            $out.append($t.$at)⟧
        $t = $t.next
    return $out
>>> $f(<<ints>>)
""",
)
