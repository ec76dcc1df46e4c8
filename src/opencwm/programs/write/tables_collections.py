"""Rules for lists, tuples, dicts and sets, and for what a loop makes of one item (`cell`, `kept`)."""

_ANY_LIST = """
    6 {T!}[{slice}]
    3 {T!}[::-1]
    5 sorted({T!})
    2 sorted({T!}, reverse=True)
    2 sorted({T!}, key={key_T})
    3 {T!} + {T}
    1 {T!} * {zero}
    5 {T!}.copy()
    2 list({T!})
    1.5 list(reversed({T!}))
    2 sorted(set({T!}))
    2 list(dict.fromkeys({T!}))
    1.5 {T$}[{cut}:] + {=0}[:{cut}]
    5 @comprehension
    0.5 {T!} if {bool!} else {T}
    1 [*{T!}, {E}]
    1 [{E}, *{T!}]
    1.5 list(filter({predicate_T}, {T!}))
    """


def _of(table: str, type_: str, element: str) -> str:
    return table.replace("{T", "{" + type_).replace("_T}", "_" + type_ + "}").replace("{E}", "{" + element + "}")


COLLECTIONS: dict[str, str] = {
    "ints": _of(_ANY_LIST, "ints", "int").strip()
    + """
        1.5 list(range({bounded}))
        1 list(range({zero}, {bounded}, {step}))
        1.5 list(map(len, {strs!}))
        1 list(map(lambda x: x {arith} {small}, {ints!}))
        1 list(map(abs, {ints!}))
        2 list({counts!}.values())
        1 sorted({counts!}.values())
        1.5 list({table!}.values())
        1 list({names!}.keys())
        1 sorted({names!})
        1 list({names!})
        1 sorted({intset!})
        2 sorted({intset!} | {intset})
        2 sorted({intset!} & {intset})
        0.7 sorted({intset!} - {intset})
        1.5 sorted({intset!}.union({ints}))
        1.5 sorted({intset!}.symmetric_difference({intset}))
        0.4 sorted({intset!} ^ {intset})
        1.5 list({tints!})
        1 sorted({tints!})
        1 list(map(int, {digits!}))
        1 list(map(ord, {str!}))
        1 {groups!}.get({key}, [])
        0.7 sum({rows!}, [])
        0.7 [{int!}, {int}]
        0.7 [{int!}] * {zero}
        0.4 list(divmod({int!}, {modulus}))
        0.4 list({str!}.encode())
        """,
    "strs": _of(_ANY_LIST, "strs", "str").strip()
    + """
        10 {str!}.split()
        8 {str!}.split({sepn})
        1.5 {str!}.split({sepn}, {zero})
        1.5 {str!}.rsplit({sepn}, {zero})
        2 {str!}.splitlines()
        0.4 {str!}.splitlines(True)
        6 list({str!})
        4 sorted({str!})
        1.5 list(reversed({str!}))
        2 sorted(set({str!}))
        1 list(map(str, {ints!}))
        1 list(map(str.upper, {strs!}))
        1 list(map(str.strip, {strs!}))
        1 list(map(lambda s: s[::-1], {strs!}))
        2 list({counts!}.keys())
        2 list({counts!})
        1.5 sorted({counts!})
        1 sorted({counts$}, key=lambda k: {=0}[k])
        1 list({words!}.values())
        1 sorted({words!})
        1 list({names!}.values())
        1 sorted({strset!})
        1.5 sorted({strset!}.intersection({str}))
        1.5 sorted({strset!}.difference({str}))
        0.7 sorted({strset!}.union({str}))
        1 list({tstrs!})
        0.7 list({str!}.partition({sepn}))
        0.7 list({str!}.rpartition({sepn}))
        0.7 [{str!}, {str}]
        0.7 [{str!}] * {zero}
        """,
    "pairs": """
        3 list({counts!}.items())
        3 sorted({counts!}.items())
        2 sorted({counts!}.items(), key=lambda x: x[1])
        2 sorted({counts!}.items(), key=lambda x: (-x[1], x[0]))
        3 list(zip({strs!}, {ints!}))
        2 list(zip({str!}, {ints!}))
        1 list(zip({str!}, range({small})))
        2 sorted({pairs!}, key=lambda p: p[1], reverse=True)
        1 {pairs!}[::-1]
        """,
    "rows": """
        2 {rows!}[::-1]
        2 [row[::-1] for row in {rows!}]
        2 [sorted(row) for row in {rows!}]
        2 [list(row) for row in zip(*{rows!})]
        2 [{ints$}[i:i + {two}] for i in range(0, len({=0}), {two})]
        1 [[x, x {arith} {small}] for x in {ints!}]
        """,
    "tints": """
        4 tuple({ints!})
        2 tuple(sorted({ints!}))
        2 ({int!}, {int})
        2 {tints!} + ({int},)
        2 {tints!}[{slice}]
        1 divmod({int!}, {modulus})
        2 tuple(x {arith} {small} for x in {tints!})
        1 (len({sized!}), {int})
        """,
    "tstrs": """
        3 tuple({strs!})
        2 {str!}.partition({sepn})
        2 {str!}.rpartition({sepn})
        2 ({str!}, {str})
        2 {tstrs!}[{slice}]
        1 tuple({str!})
        1 {tstrs!} + ({str},)
        """,
    "counts": """
        5 {counts!}.copy()
        2 dict({counts!})
        3 {{{key}: {int!}}}
        2 {{**{counts!}, {key}: {int}}}
        3 @dict
        1 dict.fromkeys({str!}, {zero})
        1.5 dict.fromkeys({strs!}, {zero})
        2 dict(zip({strs!}, {ints!}))
        1 dict(zip({str!}, range({width})))
        1 dict({pairs!})
        1 dict(sorted({counts!}.items()))
        1 dict(sorted({counts!}.items(), key=lambda x: x[1]))
        1 dict(reversed({counts!}.items()))
        1 {counts!} | {counts}
        """,
    "names": """
        3 dict(enumerate({strs!}))
        3 dict(enumerate({str!}))
        2 {{v: k for k, v in {counts!}.items()}}
        2 {{len(w): w for w in {strs!}}}
        2 {names!}.copy()
        1 {{i: {str!} for i in range({zero})}}
        """,
    "words": """
        5 {words!}.copy()
        2 {{v: k for k, v in {words!}.items()}}
        2 dict(zip({str!}, {str}))
        2 dict(zip({strs!}, {strs}))
        2 {{**{words!}, {key}: {str}}}
        2 {{w: w[::-1] for w in {strs!}}}
        """,
    "table": """
        3 {{x: x {arith} {small} for x in {ints!}}}
        3 {{x: {ints$}.count(x) for x in {=0}}}
        2 dict(enumerate({ints!}))
        2 {{i: i ** 2 for i in range({bounded})}}
        2 {table!}.copy()
        """,
    "groups": """
        2 {groups!}.copy()
        2 {{k: [] for k in {strs!}}}
        2 {{k: [v] for k, v in {counts!}.items()}}
        """,
    "strset": """
        3 set({str!})
        3 set({strs!})
        1 {{c.lower() for c in {str!}}}
        1 {strset!} | set({str})
        1 {strset!} - {strset}
        """,
    "intset": """
        3 set({ints!})
        1 {{x % {modulus} for x in {ints!}}}
        1 {intset!} & set({ints})
        1 {intset!} | {intset}
        """,
    "cell": """
        6 {int!}
        3 {int!} * {factor}
        3 {int!} + {small}
        2 {int!} - {small}
        2 {int!} ** 2
        2 {int!} % {modulus}
        2 {int!} // {modulus}
        1 abs({int!})
        1 -{int!}
        1 max({int!}, {small})
        3 len({word!})
        2 {word!}.count({sub})
        2 {word!}.find({sub})
        2 ord({char!})
        2 ord({char!}) - 97
        2 len({row!})
        3 sum({row!})
        1 max({row!}, default=0)
        2 int({float!})
        2 round({float!} * {factor})
        1 int({float!} // 1)
        """,
}
