"""How a written program looks, which changes nothing that it does: quotes, imports, comments, one-line branches.

Templates name modules as `module_math.sqrt(x)`, as no variable is called; `dress` turns that into one of the ways in
which people import. Notable choice: style is drawn once per program, as a person keeps to one, but for a small share.
"""

from __future__ import annotations

import keyword
import random
import re

from opencwm.programs.write.names import WORDS

_MODULES = (
    "math", "collections", "itertools", "functools", "string", "re", "heapq", "bisect", "operator", "json", "copy",
    "statistics", "typing", "dataclasses", "enum", "contextlib", "abc", "fractions", "decimal",
)  # fmt: skip
_IN_TEMPLATE = re.compile(rf"(?<![\w.'])({'|'.join(_MODULES)})(?=\.\w)")
_MARKED = re.compile(r"\bmodule_([a-z]+)\.(\w+)")
_STRING = re.compile(r"""(?<!\w)([rbfRBF]{0,2})'((?:\\.|[^'\\\n])*)'|"(?:\\.|[^"\\\n])*\"""")
_NUMBER_ATTRIBUTE = re.compile(r"(?<![\w.])(\d+)(?=\.[a-z_])")
_SHORT_NAMES = {"itertools": "it", "functools": "ft", "collections": "cl", "operator": "op", "statistics": "st"}
_COMMENTS = ("update", "check", "start here", "the rest", "keep it", "count them", "skip", "done", "edge case", "TODO")
_VERBS = ("Return", "Compute", "Build", "Count", "Find", "Make", "Check", "Get", "Apply", "Collect")


def mark_modules(template: str) -> str:
    """A template with its modules marked."""
    return _IN_TEMPLATE.sub(r"module_\1", template)


def dress(rng: random.Random, source: str, call: str) -> tuple[str, str]:
    """Source and call in a style, with the imports that they need."""
    if "module_" in source:
        source = _import(rng, source)
    source = _NUMBER_ATTRIBUTE.sub(r"(\1)", source)
    choice = rng.random()
    if choice < 0.05:
        source = _one_line(source)
    elif choice < 0.1:
        source = _explained(rng, source)
    elif choice < 0.13:
        source = _indented(source, rng.choice(("  ", "  ", "\t")))
    quotes = rng.random()
    if quotes < 0.42:
        source, call = _double(source), _double(call)
    elif quotes < 0.47:
        source = _double(source, rng)
    return source, call


def _double(text: str, rng: random.Random | None = None) -> str:
    """Strings in double quotes where that needs no escape; with `rng` only some of them."""
    if "'" not in text:
        return text

    def change(match: re.Match[str]) -> str:
        body = match.group(2)
        if body is None or '"' in body or "\\'" in body or ("{" in body and "f" in match.group(1).lower()):
            return match.group()
        if rng is not None and rng.random() < 0.5:
            return match.group()
        return f'{match.group(1)}"{body}"'

    return _STRING.sub(change, text)


def _import(rng: random.Random, source: str) -> str:
    """The marked modules imported, each in some way that collides with no name of the program."""
    used: dict[str, list[str]] = {}
    for match in _MARKED.finditer(source):
        names = used.setdefault(match.group(1), [])
        if match.group(2) not in names:
            names.append(match.group(2))
    others = set(re.findall(r"(?<!\.)\b[^\W\d]\w*", _MARKED.sub("", source)))
    lines: list[str] = []
    for module, names in used.items():
        choice = rng.random()
        if choice < 0.5 and not others & set(names) and not any(keyword.iskeyword(n) for n in names):
            lines.append(f"from {module} import {', '.join(sorted(names) if rng.random() < 0.5 else names)}")
            source = re.sub(rf"\bmodule_{module}\.", "", source)
            others |= set(names)
            continue
        alias = module
        if module in others or choice > 0.97:
            alias = _SHORT_NAMES.get(module, module[0])
            while alias in others:
                alias += "_"
        others.add(alias)
        lines.append(f"import {module}" if alias == module else f"import {module} as {alias}")
        source = re.sub(rf"\bmodule_{module}\.", f"{alias}.", source)
    if rng.random() < 0.5:
        lines.reverse()
    return "\n".join(lines) + rng.choice(("\n\n", "\n\n\n", "\n")) + source


def _one_line(source: str) -> str:
    """Blocks of one simple statement after an `if` or `for` on the line of its header."""
    lines = source.split("\n")
    result: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        head = line.lstrip()
        depth = len(line) - len(head)
        body = lines[index + 1] if index + 1 < len(lines) else ""
        inside = len(body) - len(body.lstrip())
        after = lines[index + 2] if index + 2 < len(lines) else ""
        alone = not after.strip() or len(after) - len(after.lstrip()) < inside
        simple = not body.rstrip().endswith(":") and body.lstrip().split(" ")[0] not in _COMPOUND
        if head.startswith(("if ", "elif ", "else:")) and line.endswith(":") and inside > depth and alone and simple:
            result.append(f"{line} {body.lstrip()}")
            index += 2
        else:
            result.append(line)
            index += 1
    return "\n".join(result)


_COMPOUND = frozenset(("if", "for", "while", "try:", "with", "def", "class", "match", "@", "else:", "elif"))


def _explained(rng: random.Random, source: str) -> str:
    """With a docstring or a comment or two."""
    lines = source.split("\n")
    heads = [i for i, line in enumerate(lines) if line.lstrip().startswith("def ") and line.endswith(":")]
    if heads and rng.random() < 0.5:
        at = rng.choice(heads)
        indent = " " * (len(lines[at]) - len(lines[at].lstrip()) + 4)
        text = f"{rng.choice(_VERBS)} the {rng.choice(WORDS).lower()} of the {rng.choice(WORDS).lower()}."
        lines.insert(at + 1, f'{indent}"""{text}"""')
        return "\n".join(lines)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        if lines[at].strip() and "#" not in lines[at] and '"""' not in lines[at]:
            comment = rng.choice(_COMMENTS) if rng.random() < 0.5 else f"{rng.choice(WORDS)} {rng.choice(WORDS)}"
            if rng.random() < 0.6:
                lines[at] += f"  # {comment}"
            else:
                indent = " " * (len(lines[at]) - len(lines[at].lstrip()))
                lines.insert(at, f"{indent}# {comment}")
    return "\n".join(lines)


def _indented(source: str, unit: str) -> str:
    """Another indentation than four spaces."""

    def change(match: re.Match[str]) -> str:
        return unit * (len(match.group()) // 4)

    return re.sub(r"^(?:    )+", change, source, flags=re.MULTILINE)
