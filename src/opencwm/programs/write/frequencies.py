"""Method frequencies from a corpus: how often its code calls each method and builtin, and a grammar that follows it.

    grammar = following("functions.jsonl")
    program = write(rng, grammar=grammar)

Notable choices: rules are weighted by how much more or less the corpus uses their methods than the grammar's own
weights do, within a factor of `MOST`; what the corpus never uses keeps a share, since a model must know it all the
same. Idioms and skeletons stay as they are, so the frequencies are approached, not met.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from opencwm.programs.write.grammar import Grammar, Rule
from opencwm.programs.write.rules import GRAMMAR

MOST = 20.0
UNSEEN = 0.2
_CALLED = re.compile(r"\.(\w+)\(|(?<![\w.])([a-z]\w*)\(")


def count(source: str) -> Counter[str]:
    """Calls of methods and functions by name; none of a source that does not parse."""
    found: Counter[str] = Counter()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                found[node.func.attr] += 1
            elif isinstance(node.func, ast.Name):
                found[node.func.id] += 1
    return found


def corpus(path: Path) -> Counter[str]:
    """Calls by name in a corpus: a Python file, a folder of them, JSON lines with "code", or a JSON object of counts.

    Raises ValueError if there is nothing of the kind.
    """
    total: Counter[str] = Counter()
    try:
        for text in _texts(path):
            if isinstance(text, dict):
                total.update({str(name): int(number) for name, number in text.items()})
            else:
                total.update(count(text))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"cannot read method frequencies from {path}: {error}") from None
    if not total:
        raise ValueError(f"{path} holds no calls: give Python files, JSON lines with code, or a JSON object of counts")
    return total


def _texts(path: Path) -> Iterator[str | dict[str, int]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.py")):
            yield file.read_text(encoding="utf-8", errors="replace")
    elif path.suffix == ".py":
        yield path.read_text(encoding="utf-8")
    else:
        text = path.read_text(encoding="utf-8")
        rows = (
            [json.loads(text)] if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
        )
        for row in rows:
            yield str(row["code"]) if "code" in row else row


@cache
def following(path: str) -> Grammar:
    """The grammar with weights that follow a corpus, made once per process. Raises ValueError as `corpus` does."""
    return follow(GRAMMAR, corpus(Path(path)))


def follow(grammar: Grammar, wanted: Mapping[str, int]) -> Grammar:
    """A grammar of the same rules, weighted by what is wanted."""
    own: Counter[str] = Counter()
    for rule in grammar.rules:
        for name in _names(rule):
            own[name] += rule.weight  # type: ignore[assignment]
    known = {name: number for name, number in wanted.items() if name in own and number > 0}
    total, scale = sum(known.values()), sum(own[name] for name in known)
    if not total:
        return grammar

    def factor(name: str) -> float:
        if name not in known:
            return UNSEEN
        return min(MOST, max(1 / MOST, known[name] / total * scale / own[name]))

    def weight(rule: Rule) -> float:
        factors = [factor(name) for name in _names(rule)]
        return rule.weight * math.exp(sum(map(math.log, factors)) / len(factors)) if factors else rule.weight

    return grammar.reweighted(weight)


def _names(rule: Rule) -> list[str]:
    return [method or function for method, function in _CALLED.findall(rule.template)]
