"""Configuration: a tree of dataclasses, filled from a TOML file, then from `a.b=c` overrides.

Notable choices:
- The dataclasses are the schema: a key that is not a field, or a value of another type, is an error that names the key,
  where it came from, and the nearest known key. Nothing is converted silently, but for an integer given for a float.
- An override's value is TOML (`optim.betas=[0.9, 0.95]`); a bare word (`optim.kind=adamw`) stands for a string.
- A field of type `dict[str, SomeDataclass]` is a section of named sections: `[data.sources.code]`.
- `resolved` writes the whole tree as TOML that `load` reads back to an equal tree. A field that is None is left out.

Standard library only: every part of the package may use it, and a dry run needs no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_WORD = re.compile(r"[A-Za-z_./~-][\w./~-]*")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message is one line that names the key, its origin and the fix."""


def load(kind: type[T], path: str | Path | None, overrides: Iterable[str] = ()) -> T:
    """A `kind` (a dataclass) from a TOML file and overrides of the form `section.key=value`, the last one winning.

    `path` None means defaults and overrides alone. Raises ConfigError: unreadable file, bad TOML, unknown key, wrong
    type, a missing field without default, or a ValueError of a dataclass's own `__post_init__`.
    """
    origin, table = "the defaults", {}
    if path is not None:
        origin = str(path)
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"cannot read {path}: it is not UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from None
    origins: dict[str, str] = {}
    for text in overrides:
        _apply(kind, table, text, origins)
    value = _build(kind, table, "", origin, origins)
    assert isinstance(value, kind)
    return value


def resolved(config: object) -> str:
    """The whole tree, defaults included, as TOML text that `load` reads back to an equal tree."""
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    lines: list[str] = []
    _write(config, "", lines)
    return "\n".join(lines).strip("\n") + "\n"


def _apply(kind: type, table: dict[str, Any], text: str, origins: dict[str, str]) -> None:
    """Write one `a.b=c` into the table, checking its path as far as the dataclasses reach."""
    name, equals, value_text = text.partition("=")
    name, value_text, origin = name.strip(), value_text.strip(), f"--set {text}"
    if not equals or not name or not all(name.split(".")):
        raise ConfigError(f"{origin}: write it as section.key=value, for example run.steps=100")
    try:
        value = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if not _BARE_WORD.fullmatch(value_text):
            raise ConfigError(f"{origin}: {value_text!r} is not a TOML value ({error}); put text in quotes") from None
        value = value_text
    *sections, key = name.split(".")
    known: object = kind
    for depth, section in enumerate(sections):
        if (item := _section_type(known)) is not None:
            known = _field_types(item, section, ".".join(sections[:depth]), origin)[section]
        else:
            known = _item_type(known)
        below = table.setdefault(section, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{origin}: {'.'.join(sections[: depth + 1])} is a value, not a section")
        table = below
    table[key] = value
    origins[name] = origin


def _field_types(kind: object, key: str, section: str, origin: str) -> dict[str, Any]:
    """Type of each field of a dataclass; raises ConfigError if `key` is none of them."""
    assert isinstance(kind, type) and dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    known = {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    if key not in known:
        prefix = f"{section}." if section else ""
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {', '.join(prefix + k for k in known)}"
        raise ConfigError(f"{origin}: unknown key {prefix}{key}; {hint}")
    return known


def _build(kind: type, table: object, section: str, origin: str, origins: Mapping[str, str]) -> object:
    """A dataclass from a table; `origins` says which keys came from an override."""
    if not isinstance(table, dict):
        raise ConfigError(f"{origins.get(section, origin)}: {section} must be a section, not {_shown(table)}")
    values: dict[str, object] = {}
    for key, value in table.items():
        name = f"{section}.{key}" if section else key
        expected = _field_types(kind, key, section, origins.get(name, origin))[key]
        if (section_type := _section_type(expected)) is not None:
            values[key] = _build(section_type, value, name, origins.get(name, origin), origins)
        elif (item := _item_type(expected)) is not None and isinstance(value, dict):
            values[key] = {
                own: _build(item, table, f"{name}.{own}", origins.get(name, origin), origins)
                for own, table in value.items()
            }
        else:
            values[key] = _typed(expected, value, name, origins.get(name, origin))
    for field in dataclasses.fields(kind):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.init and field.name not in values:
            name = f"{section}.{field.name}" if section else field.name
            raise ConfigError(f"{origin}: {name} has no default: give it a value")
    try:
        return kind(**values)
    except ConfigError:
        raise
    except ValueError as error:
        sources = sorted({text for name, text in origins.items() if name.startswith(section)})
        raise ConfigError(f"{', '.join([origin, *sources])}: {section + ': ' if section else ''}{error}") from None


def _section_type(expected: Any) -> type | None:
    """The dataclass of a field that is one, or one or None."""
    options = typing.get_args(expected) if typing.get_origin(expected) in (Union, types.UnionType) else (expected,)
    return next((option for option in options if dataclasses.is_dataclass(option) and isinstance(option, type)), None)


def _item_type(expected: Any) -> type | None:
    """The dataclass that a `dict[str, ...]` field holds by name, if it holds any."""
    arguments = typing.get_args(expected)
    if typing.get_origin(expected) is dict and dataclasses.is_dataclass(arguments[1]):
        assert isinstance(arguments[1], type)
        return arguments[1]
    return None


def _typed(expected: Any, value: Any, name: str, origin: str) -> object:
    """`value` as `expected`; raises ConfigError naming both if it is of another type."""
    wrong = ConfigError(f"{origin}: {name} must be {_type_name(expected)}, not {_shown(value)}")
    form, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return value
    if form is Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[arguments.index(value)], bool):
            raise wrong
        return value
    if form in (Union, types.UnionType):
        for option in arguments:
            if option is not types.NoneType:
                try:
                    return _typed(option, value, name, origin)
                except ConfigError:
                    continue
        raise wrong
    if form in (list, tuple):
        if not isinstance(value, list):
            raise wrong
        if form is tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise wrong
            items = enumerate(zip(arguments, value, strict=True))
            return tuple(_typed(kind, item, f"{name}[{index}]", origin) for index, (kind, item) in items)
        return form(_typed(arguments[0], item, f"{name}[{index}]", origin) for index, item in enumerate(value))
    if form is dict:
        if not isinstance(value, dict):
            raise wrong
        return {key: _typed(arguments[1], item, f"{name}.{key}", origin) for key, item in value.items()}
    if expected is Path and isinstance(value, str):
        return Path(value)
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if expected in (bool, int, str) and type(value) is expected:
        return value
    raise wrong


def _type_name(expected: Any) -> str:
    """A type in the words of a message: `a number`, `one of "a", "b"`."""
    form, arguments = typing.get_origin(expected), typing.get_args(expected)
    if form is Literal:
        return "one of " + ", ".join(_shown(argument) for argument in arguments)
    if form in (Union, types.UnionType):
        return " or ".join(_type_name(option) for option in arguments if option is not types.NoneType)
    if form is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} values"
    if form in (list, tuple):
        return f"a list (each item {_type_name(arguments[0])})"
    if form is dict:
        return "a section"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path (text)"}
    return names.get(expected, getattr(expected, "__name__", str(expected)))


def _shown(value: object) -> str:
    try:
        return _toml(value)
    except TypeError:
        return repr(value)


def _write(config: Any, section: str, lines: list[str]) -> None:
    """The fields of one dataclass as TOML lines: plain values first, then its sections."""
    below: list[tuple[str, Any]] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{section}.{field.name}" if section else field.name
        if dataclasses.is_dataclass(value):
            below.append((name, value))
        elif isinstance(value, dict) and value and all(map(dataclasses.is_dataclass, value.values())):
            below += [
                (f"{name}.{key if _BARE_KEY.fullmatch(key) else _toml(key)}", item) for key, item in value.items()
            ]
        elif value is not None and field.init:
            lines.append(f"{field.name} = {_toml(value)}")
    for name, value in below:
        lines += ["", f"[{name}]"]
        _write(value, name, lines)


def _toml(value: object) -> str:
    """A value as TOML text. Raises TypeError for a type that TOML lacks."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else ("inf", "-inf")[value < 0])
    if isinstance(value, str | Path):
        # JSON's escapes are TOML's, once nothing but ASCII is escaped and DEL, which TOML forbids, is.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{key if _BARE_KEY.fullmatch(key) else _toml(key)} = {_toml(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    raise TypeError(f"TOML has no {type(value).__name__}")
