"""Slopes and verdicts of made-up errors."""

import numpy as np
import pytest

import theory
from tests.theory.common import made_up


def test_slopes_are_found_and_intervals_cover():
    inside = 0
    for seed in range(60):
        fit = theory.fit_rate(made_up(-0.5, repeats=40, seed=seed), n_bootstrap=300)
        inside += fit.fluctuation.contains(-0.5)
    assert 50 <= inside <= 60
    fit = theory.fit_rate(made_up(-0.5, bias=5.0, repeats=2000))
    assert abs(fit.bias.slope + 1) < 0.05 and abs(fit.fluctuation.slope + 0.5) < 0.02
    assert fit.bias.contains(-1.0)
    unbiased = theory.fit_rate(made_up(-0.5))
    assert unbiased.bias is None and "bias         visible at fewer than three" in str(unbiased)
    assert "fewer than three" not in str(fit)


@pytest.mark.parametrize(("settings", "verdict"), [
    ({"exponent": -0.5}, "consistent"), ({"exponent": -0.5, "bias": 5.0}, "faster than the bound"),
    ({"exponent": -0.8}, "faster than the bound"), ({"exponent": -0.25}, "inconsistent"),
    ({"exponent": 0.0}, "inconsistent"),
    ({"exponent": -0.5, "repeats": 4, "sizes": (50, 60, 80)}, "inconclusive"),
])
def test_verdicts(settings, verdict):
    fit = theory.fit_rate(made_up(**settings))
    assert fit.verdict == verdict, fit
    assert fit.reason in str(fit)
    if verdict == "inconclusive":
        assert "repeats" in fit.reason


def test_what_lies_outside_is_said():
    fit = theory.fit_rate(made_up(-0.5, outside=["targets are unbounded"]))
    assert "outside the theorem: targets are unbounded" in str(fit)
    assert theory.fit_rate(made_up(-0.5)).p_value > 0.01
    assert theory.fit_rate(made_up(-0.2)).p_value < 1e-6


def test_where_the_regime_begins():
    rng = np.random.default_rng(0)
    sizes = (25, 50, 100, 200, 400, 800, 1600)
    errors = {(n, n): (n**-0.5 + 30 * n**-2.0) * rng.normal(size=(400, 3)) for n in sizes}
    fit = theory.fit_rate(theory.Records({}, {"grad": errors}))
    assert fit.asymptotic_from is not None and 100 <= fit.asymptotic_from <= 200
    assert theory.fit_rate(made_up(-0.5)).asymptotic_from == 50
    assert theory.fit_rate(made_up(0.0)).asymptotic_from is None
