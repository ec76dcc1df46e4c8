"""Rules that complete the types of single values: floats, text, and the methods of numbers that code seldom uses.

Weights are small beside those of `tables_text.py` and the others: a program uses them now and then, a drill evenly.
"""

from __future__ import annotations

MORE: dict[str, str] = {
    "float": """
        3 {float!} * {float}
        3 {float!} + {float}
        2 {float!} - {float}
        2 {float!} / {half}
        2 {float!} * {factor}
        2 {float!} - {int}
        2 {float!} ** 2
        1 {float!} // {half}
        1 {float!} % {half}
        1.5 -{float!}
        1 +{float!}
        2 abs({float!})
        2 round({float!}, {zero})
        2 round({float!} / {modulus}, 2)
        2 max({float!}, {float})
        2 min({float!}, {float})
        2 sum({floats!})
        2 sum({floats!}) / len({floats})
        2 max({floats!}, default=0.0)
        1 min({floats!}, default=0.0)
        1.5 {floats!}[{part}]
        1.5 float({int!})
        1.2 float({digits!})
        0.5 float({str!})
        1 float({digits!} + '.5')
        0.8 {float!} if {bool!} else {float}
        0.5 float.fromhex({float!}.hex())
        0.4 {float!}.real
        0.3 {float!}.imag
        0.4 {float!}.conjugate()
        1 math.sqrt({bounded})
        0.7 math.sqrt({bounded} ** 2)
        0.6 math.fabs({float!})
        0.5 math.pow({bounded}, 2)
        0.4 math.hypot(3, {bounded})
        0.4 math.fsum({floats!})
        0.4 math.copysign({float!}, {int})
        0.3 math.fmod({float!}, {half})
        0.3 statistics.mean({floats!})
        0.3 statistics.median({floats!})
        0.3 abs(complex({int!}, {int}))
        0.3 complex({int!}, {int}).real
        0.2 complex({int!}, {int}).imag
        0.2 complex({int!}, {int}).conjugate().imag
        """,
    "floats": """
        3 [x * {half} for x in {floats!}]
        3 [x / {half} for x in {ints!}]
        2 sorted({floats!})
        2 {floats!}[{slice}]
        2 [round(x, 1) for x in {floats!}]
        1 list(map(float, {ints!}))
        1 {floats!} + [{float}]
        1 list(map(abs, {floats!}))
        1 [x for x in {floats!} if x > {zero}]
        """,
    "int": """
        0.6 int({float!})
        0.6 round({float!})
        0.5 len({floats!})
        0.5 math.floor({float!})
        0.5 math.ceil({float!})
        0.3 math.trunc({float!})
        0.6 math.gcd({int!}, {int})
        0.3 math.lcm({small}, {int!})
        0.4 math.isqrt(abs({int!}))
        0.4 math.factorial({bounded} % 7)
        0.3 math.comb({bounded}, {zero})
        0.2 math.perm({bounded}, {zero})
        0.4 math.prod({ints!})
        0.2 statistics.mode({ints$} or [0])
        0.5 {int!}.bit_count()
        0.2 {int!}.conjugate()
        0.2 {int!}.real
        0.2 {int!}.imag
        0.2 {int!}.numerator
        0.2 {int!}.denominator
        0.3 int.from_bytes({bytes!}[:2], 'big')
        0.2 int.from_bytes({bytes!}[:2], 'little')
        0.4 int({digits!}, {base})
        0.3 int('0b101', 2) + {int!}
        0.3 {bytes!}.count({bsub})
        0.3 {bytes!}.find({bsub})
        0.2 {bytes!}.rfind({bsub})
        0.2 {bytes!}.index({bsub})
        0.2 {bytes!}.rindex({bsub})
        0.3 {bytes!}[{zero}]
        0.4 len({bytes!})
        0.15 bytearray({bytes!}).count({bsub})
        0.15 bytearray({bytes!}).find({bsub})
        0.1 bytearray({bytes!}).rfind({bsub})
        0.1 bytearray({bytes!}).index({bsub})
        0.1 bytearray({bytes!}).rindex({bsub})
        0.2 range({bounded}).index({zero})
        0.2 range({bounded}).count({zero})
        0.15 range({zero}, {int!}, {two}).start
        0.15 range({zero}, {int!}, {two}).stop
        0.15 range({zero}, {int!}, {two}).step
        0.3 len(range({zero}, {int!}, {two}))
        0.6 next(iter({ints!}), {small})
        0.4 {ints!}[slice({zero}, None)][0]
        0.4 operator.add({int!}, {int})
        0.2 operator.mul({int!}, {small})
        0.6 functools.reduce(lambda a, b: a + b, {ints!}, {zero})
        0.4 functools.reduce(lambda a, b: a * {small} + b, {ints!}, 0)
        0.3 functools.reduce(operator.add, {ints!}, {zero})
        0.6 collections.Counter({str!})[{one}]
        0.6 collections.Counter({ints!})[{int}]
        0.4 collections.Counter({str!}).total()
        0.4 bisect.bisect_left(sorted({ints!}), {int})
        0.3 bisect.bisect_right(sorted({ints!}), {int})
        0.3 heapq.nsmallest(1, {ints!})[0]
        0.3 sum(itertools.accumulate({ints!}))
        0.3 len(re.findall({regex}, {str!}))
        0.4 max({counts!}.items(), key=lambda kv: kv[1])[1]
        0.3 sum(a * b for a, b in zip({ints!}, {ints}))
        0.3 getattr({str!}, 'count')({sub})
        0.5 len({intset!})
        0.4 sum({intset!})
        0.4 max({intset!})
        0.3 {tints!}.index({itself})
        0.3 True + {int!}
        0.4 {plainstr!}.find({sub}, {zero}, {width})
        0.4 {plainstr!}.count({sub}, {zero}, {width})
        0.3 {plainstr!}.rfind({sub}, {zero}, {width})
        0.3 {plainstr!}.index({sub}, {zero}, {width})
        0.3 {ints!}.index({int}, {zero})
        """,
    "bool": """
        0.8 {float!} > {int}
        0.6 {float!} <= {float}
        0.4 {float!} == {int}
        0.4 {float!}.is_integer()
        0.3 math.isclose({float!}, {float})
        0.2 math.isnan({float!})
        0.2 math.isfinite({float!})
        0.2 math.isinf({float!})
        0.3 {bytes!}.startswith({bsub})
        0.3 {bytes!}.endswith({bsub})
        0.2 {bytes!}.isalpha()
        0.2 {bytes!}.isdigit()
        0.2 {bytes!}.isalnum()
        0.2 {bytes!}.isupper()
        0.2 {bytes!}.islower()
        0.2 {bytes!}.isspace()
        0.2 {bytes!}.istitle()
        0.2 {bytes!}.isascii()
        0.3 {bsub} in {bytes!}
        0.08 bytearray({bytes!}).startswith({bsub})
        0.08 bytearray({bytes!}).endswith({bsub})
        0.08 bytearray({bytes!}).isalpha()
        0.08 bytearray({bytes!}).isdigit()
        0.08 bytearray({bytes!}).isalnum()
        0.08 bytearray({bytes!}).isupper()
        0.08 bytearray({bytes!}).islower()
        0.08 bytearray({bytes!}).isspace()
        0.08 bytearray({bytes!}).istitle()
        0.08 bytearray({bytes!}).isascii()
        0.6 {intset!}.issuperset({intset})
        0.5 {strset!}.isdisjoint({strset})
        0.5 {strset!}.issubset({strset})
        0.5 {intset!} < {intset}
        0.4 {intset!} >= {intset}
        0.5 {intset!} == set({ints})
        0.15 frozenset({intset!}).issubset({intset})
        0.15 frozenset({intset!}).issuperset({intset})
        0.15 frozenset({intset!}).isdisjoint({intset})
        0.4 callable({any!})
        0.4 hasattr({any!}, {attribute})
        0.3 issubclass(type({any!}), {class})
        0.5 isinstance({any!}, {class})
        0.5 type({any!}) is {oneclass}
        0.5 type({any!}) == {oneclass}
        0.6 {words!}.get({key}) is None
        0.6 {counts!}.get({key}) is not None
        0.4 {small} <= {int!} <= {large}
        0.4 {int!} < {int} < {large}
        0.5 {bool!} and ({bool} or {bool!})
        0.5 {bool!} or ({bool} and {bool!})
        0.4 not ({bool!} and {bool})
        0.4 ({bool!}) == ({bool})
        0.4 {tints!} < {tints}
        0.4 {ints!} < {ints}
        0.4 {ints!} == {ints}
        0.3 {tstrs!} == {tstrs}
        0.3 {counts!} == {counts}
        0.4 {str!} in ({str}, {str})
        0.4 {str!} in [{str}, {str}]
        0.4 {key} in {counts!}.keys()
        0.4 {int} in {counts!}.values()
        0.4 bool(re.match({regex}, {str!}))
        0.3 bool(re.fullmatch({regex}, {str!}))
        0.4 re.search({regex}, {str!}) is not None
        0.3 all(x > {zero} for x in {floats!})
        0.3 any(map(str.isdigit, {plainstr!}))
        0.3 all(map(str.isalpha, {strs!}))
        0.2 ... is Ellipsis
        0.2 NotImplemented is not None
        """,
    "str": """
        0.5 str({float!})
        0.6 '%.2f' % {float!}
        0.4 '%5.1f' % {float!}
        0.3 '%e' % {float!}
        0.7 format({float!}, '.2f')
        0.5 format({int!}, {intspec})
        0.4 format({plainstr!}, {strspec})
        0.3 f'{{{float$}:.1f}}'
        0.3 f'{{{float$}:8.2f}}|'
        0.3 {float!}.hex()
        0.4 str({intset!})
        0.4 str({bytes!})
        0.4 {bytes!}.hex()
        0.3 {bytes!}.hex('-')
        0.1 bytearray({bytes!}).hex()
        0.1 bytearray({bytes!}).decode()
        0.3 {bytes!}.decode('ascii')
        0.4 '{{}}-{{}}'.format(*{tstrs!})
        0.4 '{{0}}{{0}}'.format({str!})
        0.5 '{{x}}:{{y}}'.format(x={any!}, y={any})
        0.4 '{{a}}/{{b}}'.format(**{{'a': {str!}, 'b': {int}}})
        0.4 '{{:>6}}|{{:<4}}'.format({plainstr!}, {int})
        0.3 '{{:05d}}'.format({int!})
        0.3 '{{!r}}'.format({plainstr!})
        0.3 '{{0[0]}}'.format({strs!})
        0.4 '{{k}}'.format_map({{'k': {str!}}})
        0.4 '%(k)s' % {{'k': {str!}}}
        0.3 '%s=%r' % ({str!}, {str})
        0.3 '%-6s|' % {plainstr!}
        0.3 '%05d' % {int!}
        0.4 {str!}.translate({{ord({one}): {sub}}})
        0.3 {str!}.translate({{ord({one}): None}})
        0.4 getattr({str!}, {textmethod})()
        0.5 str.upper({str!})
        0.4 str.replace({str!}, {sub}, {to})
        0.4 next(iter({plainstr!}), {literalstr})
        0.4 next((c for c in {plainstr!} if c.isdigit()), {literalstr})
        0.6 re.sub({regex}, {sub}, {str!})
        0.3 re.sub({regex}, lambda m: m.group().upper(), {str!})
        0.4 string.ascii_lowercase[{bounded}]
        0.3 string.digits + {str!}
        0.3 ''.join(c for c in {plainstr!} if c in string.ascii_letters)
        0.3 ''.join(c for c in {plainstr!} if c not in string.punctuation)
        0.3 string.capwords({str!})
        0.4 collections.Counter({plainstr!}).most_common(1)[0][0]
        0.3 ''.join(itertools.chain({str!}, {str}))
        0.3 ''.join(k for k, g in itertools.groupby({plainstr!}))
        0.3 ''.join(k + str(len(list(g))) for k, g in itertools.groupby({plainstr!}))
        0.3 ''.join(itertools.takewhile({predicate}, {plainstr!}))
        0.3 ''.join(itertools.dropwhile({predicate}, {plainstr!}))
        0.3 functools.reduce(lambda a, b: b + a, {plainstr!}, '')
        0.3 json.dumps({counts!})
        0.3 json.dumps({ints!})
        0.4 max({counts!}, key={counts$}.get, default={literalstr})
        0.4 max({strs!}, key=lambda w: (len(w), w), default={literalstr})
        0.4 repr({strs!})
        0.4 repr({tints!})
        0.3 type({float!}).__name__
        0.5 {plainstr!}[slice({zero}, {width})]
        0.5 {plainstr!}[slice(None, None, -1)]
        0.5 {str!} + str({int!})
        0.4 {sub} * {small} + {str!}
        0.3 {str!}.ljust({width}, {fill}) + '|'
        0.3 {str!}.splitlines()[{zero}]
        0.3 {str!}.encode('ascii', 'replace').decode()
        0.3 {str!}.encode('latin-1', 'ignore').decode('latin-1')
        0.2 {str!}.encode('ascii').decode()
        0.3 chr(max(map(ord, {str!}), default=65))
        """,
}
