"""The curve through the arms: it finds a known law again, says how far off it is, and refuses too few arms."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    told = scaling.report(noisy, [(60e6, 3e9)])
    row = told.strip().split("\n")[-1]
    assert row.startswith("| 60M | 3B |")
    low, high = (float(text) for text in row.split("|")[4].split(" to "))
    assert low < high
    exact = scaling.report(ARMS, [(60e6, 3e9)])
    assert "0.0% off on average" in exact


def test_nothing_in_the_curve_is_negative() -> None:
    flat = [arm(one.parameters, 10**6) for one in ARMS]  # tokens do not differ
    found = scaling.fit(flat)
    assert min(found.floor, found.size, found.data) >= 0


def test_too_few_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        scaling.fit(ARMS[:5])


def test_a_drawing_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scaling.draw(ARMS, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
