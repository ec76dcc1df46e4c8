"""The curve through the arms: it finds a known law again, says how far off it is, and refuses too few arms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opencwm.cli.app import app
from opencwm.evals import scaling
from opencwm.evals.ladder import Measured

LAW = scaling.Curve(floor=0.5, size=40.0, size_exponent=0.25, data=900.0, data_exponent=0.4)


def arm(parameters: int, tokens: int, factor: float = 1.0) -> Measured:
    nats = LAW(parameters, tokens) * factor
    return Measured(
        f"{parameters}-{tokens}", 0, parameters, tokens, 1.0, [(nats * 10, 10, 20), (nats * 30, 30, 60)], []
    )


ARMS = [arm(n, d) for n in (100_000, 300_000, 900_000, 2_500_000) for d in (250_000, 500_000, 1_000_000, 2_000_000)]


def test_a_known_law_is_found_again() -> None:
    found = scaling.fit(ARMS)
    assert found.size_exponent == pytest.approx(LAW.size_exponent)
    assert found.data_exponent == pytest.approx(LAW.data_exponent)
    assert found.floor == pytest.approx(LAW.floor, rel=1e-3)
    assert found(60e6, 3e9) == pytest.approx(LAW(60e6, 3e9), rel=1e-3)


def test_noise_widens_the_forecast() -> None:
    noisy = [arm(one.parameters, one.tokens, 1.03 if n % 2 else 0.97) for n, one in enumerate(ARMS)]
    told = scaling.scaling(noisy, [(60e6, 3e9)])
    (forecast,) = told.forecasts
    assert forecast.low < forecast.high and told.worst >= told.error > 0
    assert told.table().strip().split("\n")[-1].startswith("| 60M | 3B |")
    exact = scaling.scaling(ARMS, [])
    assert "0.0% off on average" in exact.table() and exact.to_json()["forecasts"] == ()


def test_nothing_in_the_curve_is_negative() -> None:
    flat = [arm(one.parameters, 10**6) for one in ARMS]  # tokens do not differ
    found = scaling.fit(flat)
    assert min(found.floor, found.size, found.data) >= 0


def test_too_few_arms_are_refused() -> None:
    for few in (ARMS[:5], ARMS[:6]):
        with pytest.raises(ValueError, match="at least 7"):
            scaling.scaling(few, [])


def test_a_drawing_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scaling.draw(ARMS, scaling.fit(ARMS), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_tells_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    config = tmp_path / "arms.toml"
    config.write_text(
        f'folder = "{tmp_path}"\n' + "".join(f"[arms.{one.arm}]\nagainst = '{one.arm}'\n" for one in ARMS)
    )
    for one in ARMS:
        (tmp_path / f"{one.arm}-0").mkdir()
        (tmp_path / f"{one.arm}-0/figures.json").write_text(json.dumps(one.to_json()))
    command = ["ladder", str(config), "--fit", str(tmp_path / "curve.png"), "--forecast", "60e6,3e9"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "| 60M | 3B |" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert len(told["arms"]) == len(ARMS)
    assert told["scaling"]["forecasts"][0]["nats"] == pytest.approx(LAW(60e6, 3e9), rel=1e-3)
    for wrong, why in (("60e6", "as in 60e6,3e9"), ("0,1", "above 0")):
        refused = CliRunner().invoke(app, [*command[:-1], wrong])
        assert refused.exit_code == 2 and why in refused.output
    assert CliRunner().invoke(app, ["ladder", str(config), "--forecast", "1,1"]).exit_code == 2
