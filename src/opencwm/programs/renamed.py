"""The same program with other names: whether a model reads a program, or knows its words, shows when they change.

Notable choices: parameters and local variables are renamed, each to random letters of no meaning, wherever the name
stands for a variable; the function that is called keeps its name, as do attributes. A name stays where renaming could
change what runs: it is also used as a keyword of a call, within an f-string or any other text, or it is global.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import random
import string
import tokenize

from opencwm.programs.program import Program

_TAKEN = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins))


def renamed(program: Program, seed: int = 0) -> Program:
    """The program with random names, the same ones for the same seed; itself where its source cannot be read."""
    try:
        tree, call = ast.parse(program.source), ast.parse(program.call or "")
        tokens = list(tokenize.generate_tokens(io.StringIO(program.source).readline))
    except (SyntaxError, tokenize.TokenError):
        return program
    keywords = {node.arg for node in ast.walk(call) if isinstance(node, ast.keyword)}
    wanted = _variables(tree) - _kept(tree, tokens) - keywords
    rng = random.Random(f"renamed:{seed}:{program.source}")
    others = {token.string for token in tokens if token.type == tokenize.NAME} | _TAKEN
    names: dict[str, str] = {}
    for name in sorted(wanted):
        while (new := "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 6)))) in others:
            pass
        names[name] = new
        others.add(new)
    return Program(
        _replaced(program.source, tokens, names), program.call, program.function, program.tests, program.origin
    )


def _variables(tree: ast.Module) -> set[str]:
    """Parameters and variables that functions of the tree assign."""
    found: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            found |= {argument.arg for argument in every if argument is not None}
            found |= {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _kept(tree: ast.Module, tokens: list[tokenize.TokenInfo]) -> set[str]:
    """Names that must stay as they are."""
    kept = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    for node in ast.walk(tree):
        if isinstance(node, ast.Global | ast.Nonlocal):
            kept |= set(node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            kept.add(node.name)
        elif isinstance(node, ast.alias):
            kept.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            kept.add(node.name)
        elif isinstance(node, ast.JoinedStr):
            kept |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    for statement in tree.body:  # of the module itself
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            kept |= {name.id for name in ast.walk(statement) if isinstance(name, ast.Name)}
    for node in ast.walk(tree):  # a class's own names are attributes
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                    kept |= {name.id for name in ast.walk(statement) if isinstance(name, ast.Name)}
    calls = {"locals", "vars", "globals", "eval", "exec"} & {t.string for t in tokens if t.type == tokenize.NAME}
    return kept | _variables(tree) if calls else kept


def _replaced(source: str, tokens: list[tokenize.TokenInfo], names: dict[str, str]) -> str:
    lines = source.split("\n")
    before = ""
    places: list[tuple[int, int, str]] = []
    for token in tokens:
        if token.type == tokenize.NAME and token.string in names and before != ".":
            places.append((token.start[0] - 1, token.start[1], token.string))
        if token.string.strip():
            before = token.string
    for line, column, name in reversed(places):
        lines[line] = lines[line][:column] + names[name] + lines[line][column + len(name) :]
    return "\n".join(lines)
