"""Rules that complete the types: floats, bytes, sets, ranges, and the methods of numbers that code seldom uses.

Weights are small beside those of `tables_text.py` and the others: a program uses them now and then, a drill evenly.
"""

from __future__ import annotations

_SET = """
    1.5 {T!}.union({T})
    1.5 {T!}.intersection({T})
    1.5 {T!}.difference({T})
    1 {T!}.symmetric_difference({T})
    1 {T!} ^ {T}
    1.2 {T!} & {T}
    1.2 {T!} | {T}
    1.2 {T!} - {T}
    1.5 {T!}.copy()
    0.5 set(frozenset({T!}))
    0.4 set(frozenset({T!}).union({T}))
    0.4 set(frozenset({T!}).intersection({T}))
    0.4 set(frozenset({T!}).difference({T}))
    0.3 set(frozenset({T!}).symmetric_difference({T}))
    0.3 set(frozenset({T!}).copy())
    0.7 {T!} | {{{E}}}
    0.7 {T!} - {{{E}}}
    1 @setcomp
    """


def _set(type_: str, element: str) -> str:
    return _SET.replace("{T", "{" + type_).replace("{E}", "{" + element + "}")


_BYTES = """
    2 {bytes!}.upper()
    2 {bytes!}.lower()
    1.5 {bytes!}.title()
    1.5 {bytes!}.capitalize()
    1.5 {bytes!}.swapcase()
    2 {bytes!}.strip()
    1.5 {bytes!}.strip({bsub})
    1 {bytes!}.lstrip({bsub})
    1 {bytes!}.rstrip({bsub})
    1 {bytes!}.lstrip()
    1 {bytes!}.rstrip()
    3 {bytes!}.replace({bsub}, {bsub})
    1 {bytes!}.replace({bsub}, {bsub}, {small})
    1 {bytes!}.center({width}, {bfill})
    1 {bytes!}.ljust({width}, {bfill})
    1 {bytes!}.rjust({width}, {bfill})
    1 {bytes!}.zfill({width})
    1 {bytes!}.removeprefix({bsub})
    1 {bytes!}.removesuffix({bsub})
    1 {bytes!}.expandtabs({small})
    1 {bytes!}.partition({bsub})[{part}]
    1 {bytes!}.rpartition({bsub})[{part}]
    1 {bytes!}.translate(None, {bsub})
    1 {bytes!}.translate(bytes.maketrans(b'abc', b'xyz'))
    2 {bytes!} + {bsub}
    1 {bytes!} * {times}
    2 {bytes!}[{slice}]
    1 {bytes!}[::-1]
    2 b', '.join({bytes!}.split({bsub}))
    1 bytes({bytes!}.split()[0])
    1 bytes(reversed({bytes!}))
    1 bytes(sorted({bytes!}))
    1 bytes([x % 256 for x in {bytes!}])
    1 bytes.fromhex({bytes!}.hex())
    0.7 bytes(bytearray({bytes!}))
    0.5 b'%s-%d' % ({bytes!}, {int})
    0.7 (abs({int!}) % 999).to_bytes(2, 'big')
    0.5 (abs({int!}) % 999).to_bytes(2, 'little')
    """

_BYTEARRAY = "\n".join(
    f"    0.12 bytes(bytearray({{bytes!}}).{call})"
    for call in (
        "upper()", "lower()", "title()", "capitalize()", "swapcase()", "strip()", "lstrip()", "rstrip()",
        "strip({bsub})", "replace({bsub}, {bsub})", "center({width}, {bfill})", "ljust({width}, {bfill})",
        "rjust({width}, {bfill})", "zfill({width})", "removeprefix({bsub})", "removesuffix({bsub})", "expandtabs()",
        "translate(None, {bsub})", "copy()", "partition({bsub})[0]", "rpartition({bsub})[-1]",
    )
)  # fmt: skip

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
    "ints": """
        0.6 list({bytes!})
        0.4 [ord(c) - 97 for c in {plainstr!}]
        0.6 list(itertools.accumulate({ints!}))
        0.3 list(itertools.accumulate({ints!}, max))
        0.3 list(itertools.accumulate({ints!}, operator.mul))
        0.4 list(itertools.chain({ints!}, {ints}))
        0.4 list(itertools.chain.from_iterable({rows!}))
        0.3 list(itertools.islice({ints!}, {zero}, {width}, 2))
        0.3 list(itertools.islice(itertools.count({zero}, {two}), {small}))
        0.3 list(itertools.islice(itertools.cycle({ints!}), {width}))
        0.3 list(itertools.repeat({int!}, {small}))
        0.3 list(itertools.compress({ints!}, [1, 0, 1, 0, 1]))
        0.3 list(itertools.filterfalse({predicate_ints}, {ints!}))
        0.3 [len(list(g)) for _, g in itertools.groupby({ints!})]
        0.3 [k for k, _ in itertools.groupby({ints!})]
        0.3 list(itertools.starmap(pow, [({small}, 2), ({int!}, 1)]))
        0.4 heapq.nlargest({small}, {ints!})
        0.4 heapq.nsmallest({small}, {ints!})
        0.4 list(collections.deque({ints!}, maxlen={small}))
        0.3 list(collections.Counter({ints!}))
        0.3 list(collections.Counter({str!}).values())
        0.4 list(map(operator.neg, {ints!}))
        0.3 list(map(pow, {ints!}, [2, 2, 2]))
        0.4 list(map(lambda a, b: a + b, {ints!}, {ints}))
        0.4 [a + b for a, b in itertools.pairwise({ints!})]
        0.4 [int(x) for x in {str!} if x.isdigit()]
        0.4 [x for row in {rows!} for x in row]
        0.3 [x for row in {rows!} for x in row if x % 2]
        0.4 [x if x > {small} else {int} for x in {ints!}]
        0.4 [{int} for _ in {ints!}]
        0.4 [*{ints!}, *{ints}]
        0.4 [*range({bounded})]
        0.4 {ints!}[slice(1, None, 2)]
        0.4 {ints!} * 2
        0.3 list(reversed(range({bounded})))
        0.3 sorted({ints!}, key=lambda x: (x % {modulus}, x))
        0.3 sorted({ints!}, key=functools.cmp_to_key(lambda a, b: b - a))
        0.3 sorted({ints!}, key=str)
        0.3 copy.copy({ints!})
        0.3 copy.deepcopy({ints!})
        0.3 json.loads(json.dumps({ints!}))
        0.3 [n for n in range(2, {bounded}) if all(n % d for d in range(2, n))]
        0.3 [(y := x * 2) + y for x in {ints!}]
        0.3 list(zip(*{rows!}))[0:1] and {rows$}[0]
        0.3 [m.start() for m in re.finditer({regex}, {str!})]
        0.3 list({int!}.to_bytes(3, 'big', signed=True))
        0.3 list(bytearray({bytes!}))
        0.2 list(memoryview({bytes!}))
        """,
    "strs": """
        0.5 re.split({regex}, {str!})
        0.6 re.findall({regex}, {str!})
        0.4 [a + b for a, b in zip({strs!}, {strs})]
        0.4 [a + b for a in {plainstr!} for b in {sub}]
        0.4 [''.join(p) for p in itertools.permutations({plainstr!}[:3])]
        0.3 [''.join(p) for p in itertools.combinations({plainstr!}[:4], 2)]
        0.3 [''.join(p) for p in itertools.product({plainstr!}[:2], {plainstr}[:2])]
        0.3 [a + b for a, b in itertools.pairwise({plainstr!})]
        0.3 list(map(''.join, zip({plainstr!}, {plainstr})))
        0.3 [a or b for a, b in itertools.zip_longest({strs!}, {strs}, fillvalue='')]
        0.3 sorted({strs!}, key=str.lower)
        0.3 sorted({strs!}, key=lambda w: (len(w), w))
        0.3 sorted({strs!}, key=lambda w: w[::-1], reverse=True)
        0.4 sorted({counts!}, key={counts$}.get)
        0.4 sorted({words!}.items())[0:1] and list({words$})
        0.4 [k for k, v in {counts!}.items() if v > {small}]
        0.4 [f'{{k}}={{v}}' for k, v in {counts!}.items()]
        0.3 [w for w in {strs!} if w not in ({str}, {sub})]
        0.4 [w.upper() if len(w) > {small} else w for w in {strs!}]
        0.4 [w for w in {strs!} if (n := len(w)) > {zero} and n % 2]
        0.3 [c for w in {strs!} for c in w]
        0.4 list(map(str.lower, {strs!}))
        0.3 list(map(lambda p: p[0] * p[1], zip({plainstr!}, {ints})))
        0.3 [*{plainstr!}]
        0.3 [*{strs!}, *{strs}]
        0.3 list(collections.Counter({plainstr!}).elements())
        0.3 [k for k, _ in collections.Counter({plainstr!}).most_common({small})]
        0.3 list(collections.deque({strs!}, maxlen={small}))
        0.3 list(collections.OrderedDict.fromkeys({plainstr!}))
        0.3 list(filter(None, {str!}.split({sepn})))
        0.3 list(itertools.chain.from_iterable({strs!}))
        0.3 {str!}.split(maxsplit={zero})
        0.3 {str!}.rsplit(maxsplit={zero})
        0.3 {str!}.split({sepn}, maxsplit={zero})
        0.3 [s.strip() for s in {str!}.split({sepn})]
        0.2 [str(b) for b in {bytes!}.split({bsub})]
        0.2 [str(b) for b in {bytes!}.rsplit({bsub}, 1)]
        0.2 [b.decode() for b in {bytes!}.splitlines()]
        0.1 [b.decode() for b in bytearray({bytes!}).split({bsub})]
        0.1 [b.decode() for b in bytearray({bytes!}).rsplit()]
        0.1 [b.decode() for b in bytearray({bytes!}).splitlines()]
        0.3 string.ascii_uppercase[:{bounded}] and list(string.ascii_uppercase[:{small}])
        """,
    "bytes": _BYTES + _BYTEARRAY,
    "intset": _set("intset", "int").strip()
    + """
        0.6 set(range({bounded}))
        0.5 {intset!}.union({ints}, {intset})
        0.5 set(map(abs, {ints!}))
        0.5 set({table!}.keys())
        0.4 set({table!})
        0.4 {{*{ints!}}}
        """,
    "strset": _set("strset", "sub").strip()
    + """
        0.5 set(map(str.upper, {strset!}))
        0.5 set({counts!}.keys())
        0.4 set({counts!}) & set({words})
        0.4 {{*{strs!}}}
        0.4 set({str!}.split())
        """,
    "tints": """
        0.3 {float!}.as_integer_ratio()
        0.2 {int!}.as_integer_ratio()
        0.4 (*{ints!}, {int})
        0.4 tuple(x for x in {ints!} if x > {zero})
        0.4 {tints!} * 2
        0.4 tuple(reversed({tints!}))
        0.4 tuple(map(abs, {tints!}))
        0.3 {tints!} + {tints}
        0.3 slice({zero}, {small}, {two}).indices(len({sized!}))
        0.3 max(zip({ints!}, {ints}), default=(0, 0))
        0.3 divmod({int!}, {int})
        """,
    "tstrs": """
        0.3 {tstrs!} * 2
        0.3 tuple(sorted({tstrs!}))
        0.3 tuple(w.upper() for w in {tstrs!})
        0.3 tuple(reversed({strs!}))
        0.3 (*{strs!}, {str})
        0.2 tuple(b.decode() for b in {bytes!}.partition({bsub}))
        0.3 min(zip({plainstr!}, {plainstr}), default=('', ''))
        """,
    "pairs": """
        1 list({counts!}.items())[::-1]
        0.6 [(k, v) for k, v in {counts!}.items()]
        0.6 [(w, len(w)) for w in {strs!}]
        0.5 [(c, i) for i, c in enumerate({plainstr!})]
        0.4 collections.Counter({plainstr!}).most_common({small})
        0.4 sorted(collections.Counter({plainstr!}).items())
        0.4 sorted({pairs!}, key=operator.itemgetter(1))
        0.4 [p for p in {pairs!} if p[1] > {zero}]
        0.4 list(zip({plainstr!}, itertools.count({zero})))
        0.3 sorted({counts!}.items(), key=lambda kv: kv[1], reverse=True)[:{small}]
        """,
    "rows": """
        0.4 [list(g) for _, g in itertools.groupby({ints!})]
        0.4 [[0] * {small} for _ in range({two})]
        0.4 [row[:] for row in {rows!}]
        0.4 [row for row in {rows!} if sum(row) > {small}]
        0.4 sorted({rows!}, key=sum)
        0.4 sorted({rows!}, key=len, reverse=True)
        0.3 [list(p) for p in itertools.combinations({ints!}[:4], 2)]
        0.3 [list(p) for p in itertools.permutations({ints!}[:3])]
        0.3 [list(p) for p in itertools.product({ints!}[:2], repeat=2)]
        0.3 [[x * y for x in {ints!}[:3]] for y in range({two})]
        0.3 copy.deepcopy({rows!})
        0.3 [list(t) for t in zip({ints!}, {ints})]
        0.3 [{ints!}, {ints}]
        0.3 {rows!} + [{ints}]
        """,
    "counts": """
        0.6 dict(collections.Counter({plainstr!}))
        0.4 dict(collections.Counter({plainstr!}) + collections.Counter({plainstr}))
        0.4 dict(collections.Counter({plainstr!}) - collections.Counter({plainstr}))
        0.3 dict(collections.Counter({strs!}).most_common({small}))
        0.4 {{k: v for k, v in {counts!}.items() if v > {zero}}}
        0.4 {{k: {counts$}[k] for k in sorted({=0})}}
        0.4 {{k: i for i, k in enumerate({strs!})}}
        0.4 {{c: {plainstr$}.count(c) for c in {=0}}}
        0.4 {{w: len(w) for w in {strs!}}}
        0.3 dict({counts!}, x={int})
        0.3 {{**{counts!}, **{counts}}}
        0.3 dict([({str!}, {int})])
        0.3 dict(collections.ChainMap({counts!}, {counts}))
        0.3 {{k.upper(): v * {factor} for k, v in {counts!}.items()}}
        0.3 dict(list({counts!}.items())[::-1])
        0.3 {{k: max(v, default=0) for k, v in {groups!}.items()}}
        0.3 {{k: len(v) for k, v in {groups!}.items()}}
        0.2 copy.copy({counts!})
        """,
    "groups": """
        0.5 {{k: sorted(v) for k, v in {groups!}.items()}}
        0.4 {{k: v[::-1] for k, v in {groups!}.items() if v}}
        0.4 {{c: [i for i, x in enumerate({plainstr$}) if x == c] for c in {=0}}}
        0.4 {{k: [v, v + {small}] for k, v in {counts!}.items()}}
        """,
    "words": """
        0.4 {{k: v.upper() for k, v in {words!}.items()}}
        0.4 {{k: v for k, v in {words!}.items() if v}}
        0.3 {words!} | {words}
        0.3 {{c: c.upper() for c in {plainstr!}}}
        0.3 dict(zip({strs!}, map(str, {ints})))
        0.3 dict(p.split('=', 1) for p in ['a=1', {str!} + '=' + {str}])
        """,
    "table": """
        0.4 {{v: k for k, v in enumerate({ints!})}}
        0.4 dict(zip({ints!}, {ints}))
        0.4 dict(collections.Counter({ints!}))
        0.4 {{k: v for k, v in {table!}.items() if k % 2 == {bit}}}
        0.3 {table!} | {{{small}: {int}}}
        """,
    "names": """
        0.4 {{i: c for i, c in enumerate({plainstr!}, {zero})}}
        0.4 {{n: str(n) for n in {ints!}}}
        0.3 {{len(w): w for w in sorted({strs!})}}
        0.3 {names!} | {{{small}: {str}}}
        """,
}
