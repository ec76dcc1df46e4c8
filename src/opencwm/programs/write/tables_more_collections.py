"""Rules that complete the collections: lists, tuples, dicts, sets and bytes, by way of modules and rare methods."""

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

MORE_COLLECTIONS: dict[str, str] = {
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
