"""Rules for text: results of type `str`, `char`, `word`, `digits`, `bytes` and `steady` (a string that has not grown).

Weights follow how often CRUXEval's programs use a method (reference measurements: join, replace, split, lower, upper
lead), with a tail that covers every `str` method.
"""

TEXT: dict[str, str] = {
    "str": """
        15 {str!}.replace({sub}, {sub})
        4 {str!}.replace({sub}, {to})
        2 {str!}.replace({sub}, {to}, {small})
        26 {sep}.join({strs!})
        14 @join
        8 {sep}.join({tstrs!})
        4 {sep}.join(sorted({strs!}))
        4 {sep}.join(sorted({plainstr!}))
        3 {sep}.join(reversed({plainstr!}))
        5 {sep}.join({plainstr!})
        3 {sep}.join({counts!})
        1.5 {sep}.join({words!}.values())
        3 {sep}.join(map(str, {ints!}))
        2 {sep}.join(str(x) for x in {ints!})
        2 {sep}.join(map(str, {tints!}))
        1.5 {sep}.join(filter({predicate}, {plainstr!}))
        1 {sep}.join(list({plainstr!}))
        5 {str!}.lower()
        5 {str!}.upper()
        2 {str!}.title()
        2 {str!}.capitalize()
        3 {str!}.swapcase()
        1 {str!}.casefold()
        3 {str!}.strip()
        3 {str!}.strip({chars})
        1.5 {str!}.lstrip()
        2 {str!}.lstrip({chars})
        1.5 {str!}.rstrip()
        2 {str!}.rstrip({chars})
        2 {str!}.zfill({width})
        1.5 {str!}.center({width}, {fill})
        0.7 {str!}.center({width})
        1.5 {str!}.ljust({width}, {fill})
        0.7 {str!}.ljust({width})
        1.5 {str!}.rjust({width}, {fill})
        0.7 {str!}.rjust({width})
        2 {str!}.removeprefix({prefix})
        2 {str!}.removesuffix({suffix})
        1 {str!}.expandtabs({small})
        2 {str!}.translate({maketrans})
        5 {str!} + {str}
        3 {sub} + {str!}
        2 {str!} + {str!} + {str}
        1.5 {str!} * {times}
        1.5 {char!} * {times}
        9 {plainstr!}[{slice}]
        3 {plainstr!}[::-1]
        1.5 {plainstr!}[{number}:]
        1.5 {plainstr!}[:{number}]
        2 {plainstr$}[{cut}:] + {=0}[:{cut}]
        1 {plainstr$}[:{small}] + {sub} + {=0}[{small}:]
        4 str({int!})
        1 str(len({sized!}))
        1 str({ints!})
        0.4 str({counts!})
        0.1 repr({any!})
        0.5 repr({plainstr!})
        4 @fstring
        3 @percent
        2 @format
        1.5 {str!}.partition({sepn})[{part}]
        1.5 {str!}.rpartition({sepn})[{part}]
        1.5 {str!}.split({sepn})[0]
        1.5 {str!}.split({sepn})[-1]
        1.5 {str!}.rsplit({sepn}, 1)[0]
        1 {str!}.rsplit({sepn}, 1)[-1]
        1 {str!} if {bool!} else {str}
        0.5 {str!} or {literalstr}
        3 {words!}.get({key}, {str})
        2.5 {names!}.get({small}, {str})
        1.5 @item
        2 {plainstr!}[{small}]
        2.4 {strs!}[{small}]
        1.8 {words!}[{key}]
        2 {names!}[{small}]
        0.5 {str!} + {int}
        0.25 {ints!}.lower()
        0.15 {str!}.reverse()
        0.4 {sep}.join({ints!})
        0.5 bin({int!})
        0.4 hex({int!})
        0.3 oct({int!})
        0.4 bin({int!})[2:]
        0.15 type({any!}).__name__
        0.7 {str!}.encode().decode()
        0.5 {bytes!}.decode()
        0.4 ascii({plainstr!})
        0.6 max({strs!}, key=len, default={literalstr})
        0.6 min({strs!}, default={literalstr})
        """,
    "word": """
        4 {word!}.lower()
        4 {word!}.upper()
        3 {word!}.capitalize()
        2 {word!}.title()
        2 {word!}.swapcase()
        5 {word!}[::-1]
        5 {word!}[{slice}]
        3 {word!}.strip({chars})
        5 {word!}.replace({sub}, {to})
        3 {word!} + {sub}
        3 {sub} + {word!}
        1 {word!} * 2
        2 {word!}.zfill({width})
        2 {word!}.ljust({width}, {fill})
        1 {word!}.rjust({width}, {fill})
        1 {word!}.center({width}, {fill})
        1 {word!}.removeprefix({prefix})
        1 {word!}.removesuffix({suffix})
        2 str({int!})
        2 {char!}
        3 {char!}.upper()
        3 {char!}.lower()
        2 {char!} + {sub}
        2 {char!} * 2
        2 {char!}.swapcase()
        1 {sub} + {char!}
        """,
    "char": """
        5 {char!}.upper()
        5 {char!}.lower()
        3 {char!}.swapcase()
        3 chr(ord({char!}) + {small})
        1 {char$}.upper() if {=0} in {cluster} else {=0}
        1 {char$} if {=0}.isalpha() else {sub}
        4 @item
        """,
    "shown": """
        4 {char!}
        3 {char!}.upper()
        3 {char!}.lower()
        2 {char!}.swapcase()
        2 {char!} * 2
        2 {char!} + {sep}
        2 {sep} + {char!}
        1 chr(ord({char!}) + {small})
        1 str(ord({char!}))
        5 {word!}
        2 {word!}[:1]
        2 {word!}[-1:]
        2 {word!}[::-1]
        2 {word!} + {sep}
        2 {sep} + {word!}
        1 {word!}.upper()
        1 {word!}.capitalize()
        1 {word!}.lower()
        1 {word!}[1:]
        1 {word!}.replace({sub}, {to})
        1 {word!}.strip({chars})
        5 str({int!})
        3 str({int!}) + {sep}
        1 str({int!} % 10)
        1 str({int!})[::-1]
        2 str(abs({int!}))
        1 chr(97 + {int!} % 26)
        2 str({row!})
        2 str(sum({row!}))
        1 str(len({row!}))
        1 ','.join(map(str, {row!}))
        1 '%d,' % {int!}
        1 '%02d' % {int!}
        2 str({float!})
        2 f'{{{float$}:.1f}}'
        1 str(round({float!}, 1))
        """,
    "steady": """
        5 {plainstr$}[1:]
        4 {plainstr$}[:-1]
        3 {plainstr$}[::-1]
        4 {plainstr$}.replace({one}, {upto1})
        3 {plainstr$}.replace({one}, {upto1}, 1)
        2 {plainstr$}.lower()
        2 {plainstr$}.upper()
        2 {plainstr$}.swapcase()
        2 {plainstr$}.strip()
        2 {plainstr$}.lstrip({chars})
        2 {plainstr$}.rstrip({chars})
        2 {plainstr$}[1:] + {=0}[:1]
        2 {plainstr$}[-1:] + {=0}[:-1]
        1 {plainstr$}.title()
        1 {plainstr$}.capitalize()
        """,
    "bytes": """
        3 {str!}.encode()
        1 {str!}.encode('utf-8')
        0.5 {str!}.encode('ascii', 'ignore')
        0.5 bytes({str!}, 'utf-8')
        """,
}
