"""`opencwm.config`: files, overrides, and messages that name the key, its origin and the fix."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencwm.config import ConfigError, load, resolved


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    betas: tuple[float, float] = (0.9, 0.95)
    names: list[str] = field(default_factory=list)
    extra: dict[str, int | float | bool | str] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate must be 0 or more")


@dataclass(frozen=True)
class Outer:
    steps: int = 10
    on: bool = False
    title: str = ""
    inner: Inner = field(default_factory=Inner)


def write(folder: Path, text: str) -> Path:
    path = folder / "given.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_then_file_then_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, 'steps = 20\ntitle = "x"\n[inner]\nrate = 1\nbetas = [0.1, 0.2]\nextra = {layers = 3}\n')
    config = load(Outer, path, ["steps=30", "inner.kind=b", "inner.extra.rope=1e4", "inner.folder=out/here"])
    assert config == Outer(
        30, False, "x", Inner(1.0, "b", (0.1, 0.2), [], {"layers": 3, "rope": 1e4}, Path("out/here"))
    )
    assert isinstance(config.inner.rate, float)
    assert load(Outer, None) == Outer()


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("stepz = 1", [], ["given.toml", "unknown key stepz", "did you mean steps?"]),
        ("[inner]\nrat = 1", [], ["given.toml", "unknown key inner.rat", "inner.rate"]),
        ("[inner]\nzzzzzz = 1", [], ["known keys: inner.rate, inner.kind"]),
        ("steps = 1.5", [], ["given.toml", "steps must be a whole number, not 1.5"]),
        ("steps = true", [], ["steps must be a whole number, not true"]),
        ("on = 1", [], ["on must be true or false, not 1"]),
        ("title = 3", [], ["title must be text, not 3"]),
        ("inner = 3", [], ["inner must be a section, not 3"]),
        ('[inner]\nkind = "c"', [], ['inner.kind must be one of "a", "b", not "c"']),
        ("[inner]\nbetas = [1.0]", [], ["inner.betas must be a list of 2 values"]),
        ("[inner]\nnames = [1]", [], ["inner.names[0] must be text"]),
        ("[inner]\nrate = -1.0", [], ["given.toml", "inner: rate must be 0 or more"]),
        ("steps = ", [], ["given.toml is not TOML"]),
        ("", ["inner.rat=1"], ["--set inner.rat=1: unknown key inner.rat; did you mean inner.rate?"]),
        ("", ["iner.rate=1"], ["unknown key iner; did you mean inner?"]),
        ("", ["inner.rate=quick"], ['--set inner.rate=quick: inner.rate must be a number, not "quick"']),
        ("", ["inner.rate=-1.0"], ["--set inner.rate=-1.0", "rate must be 0 or more"]),
        ("", ["steps"], ["write it as section.key=value"]),
        ("", ["title=two words"], ["put text in quotes"]),
        ("steps = 1", ["steps.more=1"], ["--set steps.more=1: steps is a value, not a section"]),
    ],
)
def test_messages(tmp_path: Path, text: str, overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Outer, write(tmp_path, text), overrides)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent.toml: No such file"):
        load(Outer, tmp_path / "absent.toml")


text = st.text(st.characters(exclude_categories=["Cs"]))
inner = st.builds(
    Inner,
    rate=st.floats(min_value=0, allow_nan=False),
    kind=st.sampled_from(["a", "b"]),
    betas=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    names=st.lists(text),
    extra=st.dictionaries(text, st.integers() | st.booleans() | st.text('a"\\\n\x7f')),
    folder=st.none() | st.just(Path("a b/c")),
)


@given(st.builds(Outer, steps=st.integers(), on=st.booleans(), title=st.text("ab\"'\\\r\n\t\0é"), inner=inner))
def test_resolved_reads_back(config: Outer) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resolved.toml"
        path.write_bytes(resolved(config).encode())
        assert load(Outer, path) == config
