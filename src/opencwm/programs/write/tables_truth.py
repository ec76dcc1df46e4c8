"""Rules for numbers (`int`, `number`, `float`) and truth (`bool`, and `charbool` over one character)."""

NUMBERS: dict[str, str] = {
    "int": """
        12 len({sized!})
        4 {int!} + {int}
        3 {int!} - {int}
        2 {small} - {int!}
        5 {int!} * {factor}
        4 {int!} + {small}
        3 {int!} - {small}
        4 {int!} % {modulus}
        4 {int!} // {modulus}
        1.2 {int!} % {int}
        1.2 {int!} // {int}
        1 -{int!}
        2 abs({int!})
        1 abs({int!} - {int})
        2 max({int!}, {int})
        2 min({int!}, {int})
        1 max({int!}, {int}, {small})
        1 divmod({int!}, {modulus})[{bit}]
        0.5 pow({bounded}, 2)
        0.5 {bounded} ** 2
        0.5 pow({int!}, {small}, {modulus})
        0.7 {int!} & {mask}
        0.5 {int!} | {mask}
        0.5 {int!} ^ {mask}
        0.4 {bounded} << {zero}
        0.4 {int!} >> 1
        0.3 ~{int!}
        0.4 {int!}.bit_length()
        6 {str!}.count({sub})
        1 {str!}.count({sub}, {small})
        5 {str!}.find({sub})
        1.5 {str!}.find({sub}, {small})
        3 {str!}.rfind({sub})
        1.5 {str!}.index({sub})
        1.2 {str!}.rindex({sub})
        2.5 {plainstr$}.index({itself})
        1 {plainstr$}.rindex({itself})
        1.5 ord({char!})
        0.6 ord({char!}) - 97
        4 sum({ints!})
        2 @sum
        2 max({ints!}, default={small})
        2 min({ints!}, default={small})
        0.8 max({ints!})
        0.8 min({ints!})
        4 {ints!}.count({int})
        2.5 {strs!}.count({sub})
        1 {tints!}.count({int})
        0.7 {tints!}.index({int})
        1.2 {ints!}.index({int})
        2 {ints$}.index({itself})
        3 @item
        2 {counts!}.get({key}, {small})
        3 {counts!}[{key}]
        1.5 {table!}[{int}]
        1.5 {small} // {int!}
        0.6 {ints!}[{large}]
        3 {ints!}[{small}]
        1 {tints!}[{small}]
        1 {table!}.get({int}, {small})
        1 sum({counts!}.values())
        1 sum({table!}.values())
        1 max({counts!}.values(), default=0)
        1 len(set({plainstr!}))
        1 len(set({ints!}))
        1 len({str!}.split())
        1.5 len({str!}.split({sepn}))
        1 len({groups!}.get({key}, []))
        1 int({digits!})
        0.5 int({digits!}[{slice}] or 0)
        0.4 int({digits!}, 16)
        1.6 int({str!})
        1 int({bool})
        1 {int!} if {bool!} else {int}
        0.4 round({int!} / {modulus})
        0.3 len(range({int!}))
        0.3 len(bin({int!})) - 2
        0.4 sum({row!})
        0.3 sum({bytes!})
        """,
    "number": """
        4 len({sized!}) // 2
        3 {small}
        2 len({sized!}) - {small}
        2 {str!}.find({sub})
        2 {str!}.count({sub})
        3 {int!} % {modulus}
        2 {int$}
        1 min({int!}, {small})
        """,
    "float": """
        2 {int!} / {half}
        1 round({int!} / {modulus}, {zero})
        2 {float!} * {factor}
        2 {float!} + {int}
        1 float({int!})
        1 sum({ints!}) / 2
        """,
}

TRUTH: dict[str, str] = {
    "bool": """
        6 {int!} > {int}
        4 {int!} < {int}
        2 {int!} >= {int}
        2 {int!} <= {int}
        4 {int!} == {int}
        2 {int!} != {int}
        6 {int!} % {modulus} == {zero}
        3 {int!} % 2 == 0
        2 {int!} % 2
        1 {int!} & 1
        2 {small} < {int!} < {large}
        1 {int!} in ({int}, {int}, {int})
        1 {int!}
        6 {char!} in {cluster}
        3 {char!} not in {cluster}
        6 {char!} == {one}
        4 {char!} != {one}
        3 {char!}.isalpha()
        3 {char!}.isdigit()
        3 {char!}.isupper()
        3 {char!}.islower()
        2 {char!}.isalnum()
        2 {char!}.isspace()
        2 {char!} < {one}
        1 ord({char!}) % 2 == {zero}
        1 {char!} in {plainstr!}
        3 {plainstr!} == {str}
        2 {plainstr!} != {str}
        3 {plainstr!}.startswith({prefix})
        3 {plainstr!}.endswith({suffix})
        0.7 {plainstr!}.startswith(({sub}, {sub}))
        0.5 {plainstr!}.endswith(({sub}, {sub}))
        0.5 {plainstr!}.startswith({sub}, {small})
        2 {plainstr!}.isalpha()
        3 {plainstr!}.isdigit()
        1.5 {plainstr!}.isalnum()
        2 {plainstr!}.isupper()
        2 {plainstr!}.islower()
        1 {plainstr!}.isspace()
        1.5 {plainstr!}.isnumeric()
        1 {plainstr!}.isdecimal()
        1.5 {plainstr!}.istitle()
        1 {plainstr!}.isidentifier()
        1 {plainstr!}.isascii()
        0.4 {plainstr!}.isprintable()
        4 {sub} in {plainstr!}
        2 {sub} not in {plainstr!}
        3 len({plainstr!}) > {small}
        2 len({plainstr!}) % 2 == {zero}
        1.5 len({plainstr!}) == {small}
        2 {plainstr$} == {=0}[::-1]
        1 {plainstr$} == {=0}.lower()
        1 {plainstr$} == {=0}.upper()
        1 {plainstr!} < {plainstr}
        1 {plainstr!}[:1] == {one}
        1 {plainstr!}[-1:] == {one}
        1 {plainstr!}.lower() in {strs}
        1 {plainstr!}.find({sub}) > {zero}
        2 {plainstr!}.count({sub}) > {zero}
        1.5 not {plainstr!}
        3 {int} in {ints!}
        2 {int} not in {ints!}
        3 len({ints!}) > {small}
        1.5 len({ints!}) % 2 == {zero}
        1.5 not {ints!}
        1.5 {ints$} == sorted({=0})
        1 {ints$} == {=0}[::-1]
        1 {ints!} and {=0}[0] > {small}
        1 sum({ints!}) > {large}
        1 sum({ints!}) % 2 == {zero}
        1 len(set({ints$})) == len({=0})
        1.5 @quantifier
        3 {sub} in {strs!}
        1.5 {key} not in {strs!}
        2 len({strs!}) > {small}
        1 not {strs!}
        1 all({strs!})
        0.7 any({ints!})
        3 {key} in {counts!}
        1.5 {key} not in {counts!}
        2 {counts!}.get({key}, 0) > {small}
        1 len({counts!}) > {small}
        1 not {counts!}
        1.5 {key} in {words!}
        1.5 {small} in {names!}
        1.5 {int} in {table!}
        1.5 {key} in {groups!}
        2 {key} in {strset!}
        2 {int} in {intset!}
        1.5 {intset!}.issubset({intset})
        1.2 {intset!}.isdisjoint({intset})
        1.2 {strset!}.issuperset({strset})
        0.6 set({plainstr!}) <= set({plainstr})
        2 {int} in {tints!}
        1 {key} in {tstrs!}
        1.5 len({row!}) > {zero}
        1.5 {int} in {row!}
        1.5 sum({row!}) > {small}
        2 {bool!}
        2 not {bool!}
        2.5 {bool!} and {bool}
        2 {bool!} or {bool}
        0.15 isinstance({any!}, {class})
        0.5 bool({int!})
        0.5 {int!} is not None
        0.4 {int!} > {str}
        """,
}
