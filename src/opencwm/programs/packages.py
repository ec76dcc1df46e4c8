"""Where Python code is: the modules of a package, a checkout, a file or the standard library, as syntax trees.

Nothing is imported and nothing runs: packages are found by name on the import path and read as text.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

STDLIB = "stdlib:"
_NOT_CODE = frozenset(("test", "tests", "testing", "docs", "doc", "examples", "benchmarks", "build", "dist", "site"))
_NOT_MODULES = frozenset(
    ("setup.py", "conftest.py", "noxfile.py", "tasks.py", "__main__.py", "_version.py", "versioneer.py")
)


class HarvestError(ValueError):
    """A package or a path from which nothing can be harvested; the message is one line and says what to do."""


@dataclass
class Module:
    """One module: its dotted name, file, text and tree; `package` is the top-level package it belongs to."""

    name: str
    path: Path
    package: str
    source: str
    tree: ast.Module
    is_package: bool

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, without newlines."""
        return self.source.split("\n")

    @cached_property
    def bindings(self) -> dict[str, list[ast.stmt]]:
        """Top-level statements by the names that they bind."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for name in dict.fromkeys(_bound(statement)):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def stars(self) -> list[ast.ImportFrom]:
        """Top-level `from x import *` statements."""
        return [
            node
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
        ]

    @property
    def postponed(self) -> bool:
        """Whether annotations are not evaluated (`from __future__ import annotations`)."""
        return any(
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and any(alias.name == "annotations" for alias in node.names)
            for node in self.tree.body
        )

    def absolute(self, node: ast.ImportFrom) -> str:
        """The absolute module name of a `from` import."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parts, *([node.module] if node.module else [])])


@dataclass
class Package:
    """The modules of one package (or of one file, or of a checkout's packages), read when they are asked for.

    `paths` maps module names to files, `search` are the folders to put on the import path so that they can be imported.
    `standard`: this is the standard library of the interpreter that runs us.
    """

    name: str
    version: str
    paths: dict[str, Path]
    search: tuple[str, ...]
    tests: tuple[Path, ...] = ()
    _modules: dict[str, Module | None] = field(default_factory=dict)
    standard: bool = False

    @property
    def label(self) -> str:
        """Name and version, `toolz 1.1.0`."""
        return f"{self.name} {self.version}".strip()

    def module(self, name: str) -> Module | None:
        """A module by its dotted name; None if there is none, or if it cannot be read or parsed."""
        if name not in self._modules:
            path = self.paths.get(name)
            self._modules[name] = _read(name, path) if path else None
        return self._modules[name]

    def modules(self) -> Iterator[Module]:
        """All modules that can be read, sorted by name."""
        for name in sorted(self.paths):
            module = self.module(name)
            if module is not None:
                yield module


def find(where: str) -> Package:
    """The package that `where` names: a path, `stdlib:NAME`, a standard-library module, or an installed package.

    Raises HarvestError.
    """
    if where.startswith(STDLIB):
        return _standard(where.removeprefix(STDLIB))
    path = Path(where)
    if path.exists() and (path.is_dir() or path.suffix == ".py"):
        return _at(path.resolve())
    if where.partition(".")[0] in sys.stdlib_module_names:
        return _standard(where)
    return _installed(where)


def parse(source: str, name: str) -> ast.Module | None:
    """The tree of a source text, or None if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _read(name: str, path: Path) -> Module | None:
    try:
        source = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    tree = parse(source, str(path)) if "\f" not in source else None
    if tree is None:
        return None
    return Module(name, path, name.partition(".")[0], source, tree, path.name == "__init__.py")


def _standard(name: str) -> Package:
    root = Path(sysconfig.get_path("stdlib"))
    relative = name.replace(".", "/")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (root / f"{relative}.py", root / relative / "__init__.py"):
        if path.is_file():
            paths = {name: path} if path.name != "__init__.py" else _walk(path.parent, name)
            tests = root / "test" / f"test_{name}.py"
            return Package(f"{STDLIB}{name}", version, paths, (), (tests,) if tests.is_file() else (), standard=True)
    raise HarvestError(f"the standard library has no Python source for {name}: name a module that is written in Python")


def _installed(where: str) -> Package:
    name = where.replace("-", "_")
    version = ""
    try:
        found = importlib.metadata.distribution(where)
        version = found.version
        tops = {file.parts[0].removesuffix(".py") for file in found.files or () if file.suffix == ".py"}
        tops = {top for top in tops if top.isidentifier() and not top.startswith("_") and top not in _NOT_CODE}
        if name not in tops and tops:
            name = sorted(tops)[0]
    except importlib.metadata.PackageNotFoundError:
        pass
    spec = importlib.machinery.PathFinder.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise HarvestError(
            f"no Python package {where} is installed: pip install {where}, or give the path of a checkout"
        )
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return Package(where, version, {name: origin}, (str(origin.parent),))
    tests = tuple(folder for folder in (origin.parent / "tests", origin.parent / "test") if folder.is_dir())
    return Package(where, version, _walk(origin.parent, name), (str(origin.parent.parent),), tests)


def _at(path: Path) -> Package:
    if path.is_file():
        return Package(path.stem, "", {path.stem: path}, (str(path.parent),))
    if (path / "__init__.py").is_file():
        return Package(path.name, "", _walk(path, path.name), (str(path.parent),), _tests(path))
    root = path / "src" if (path / "src").is_dir() else path
    paths: dict[str, Path] = {}
    for child in sorted(root.iterdir()):
        if child.is_dir() and (child / "__init__.py").is_file() and child.name not in _NOT_CODE:
            paths |= _walk(child, child.name)
        elif child.suffix == ".py" and child.name not in _NOT_MODULES and child.stem.isidentifier():
            if not child.stem.startswith("test_"):
                paths[child.stem] = child
    if not paths:
        raise HarvestError(f"{path} holds no Python package: give the folder above the package, or a .py file")
    name, version = _name_and_version(path)
    return Package(name, version, paths, (str(root),), _tests(path))


def _name_and_version(path: Path) -> tuple[str, str]:
    """Of a checkout: as its sdist says, else as its folder says (`toolz-1.1.0`)."""
    info = path / "PKG-INFO"
    if info.is_file():
        text = info.read_text(encoding="utf-8", errors="replace")
        names = [re.search(rf"^{key}: *(\S+)", text, re.MULTILINE) for key in ("Name", "Version")]
        if names[0] and names[1]:
            return names[0][1], names[1][1]
    name, _, version = path.name.rpartition("-")
    return (name, version) if name and version[:1].isdigit() else (path.name, "")


def _tests(path: Path) -> tuple[Path, ...]:
    named = [path / "tests", path / "test", *(child / "tests" for child in sorted(path.iterdir()) if child.is_dir())]
    return tuple(folder for folder in named if folder.is_dir())


def _walk(folder: Path, name: str) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part in _NOT_CODE or not part.isidentifier() for part in parts) or path.name in _NOT_MODULES:
            continue
        if parts[-1].startswith("test_"):
            continue
        if parts[-1] == "__init__":
            parts = parts[:-1]
        paths[".".join((name, *parts))] = path
    return paths


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in its own scope, inner scopes left out."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
            return
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name.partition(".")[0]
            return
        case ast.Name() if isinstance(node.ctx, ast.Store):
            yield node.id
        case ast.ExceptHandler() if node.name:
            yield node.name
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)
