"""The limit of the mean error."""

import numpy as np
import pytest

import theory
from tests.theory.common import SIZES, noisy, recorded
from theory.limits import find_limit

DIRECTION = np.array([0.6, 0.0, 0.8])
TRANSIENTS = {
    "none": lambda n: 0.0, "1/n": lambda n: 20 / n, "1/(n + 80)": lambda n: 40 / (n + 80),
    "1/n + 1/n²": lambda n: 10 / n + 1000 / n**2, "n^-3/2": lambda n: 200 * n**-1.5,
}


@pytest.mark.parametrize("name", TRANSIENTS)
def test_the_limit_is_found_through_any_transient_of_order_one_over_n(name):
    for end in (0.0, 0.1):
        inside, rejected = 0, 0
        for seed in range(40):
            rows = noisy(lambda n: (end + TRANSIENTS[name](n)) * DIRECTION, seed=seed)
            found = find_limit(SIZES, list(rows.values()))
            inside += found.largest >= end
            rejected += found.p_value < 0.025
            assert abs(found.size - end) < 0.06, (seed, found)
            assert found.fit > 1e-4
        assert inside >= 38  # 97.5 % or more is meant
        assert rejected >= 36 if end else rejected <= 2


def test_the_limit_of_one_number_is_the_textbook_regression():
    """k = 1, one shape: the intercept of weighted least squares, by hand."""
    rng = np.random.default_rng(0)
    rows = [0.2 + 3 / n + rng.normal(size=(4000, 1)) * n**-0.5 for n in SIZES]
    found = find_limit(SIZES, rows)
    x = 1 / (np.array(SIZES) + found.shift) ** found.exponent
    mean, weight = np.array([r.mean() for r in rows]), np.array([1 / r.std() for r in rows])
    intercept = np.polyfit(x, mean, 1, w=weight)[1]
    assert found.size == pytest.approx(abs(intercept), rel=1e-3)


def test_a_curve_of_another_shape_is_seen():
    rows = noisy(lambda n: np.sin(n), repeats=200)
    assert find_limit(SIZES, list(rows.values())).fit < 1e-6


def test_slower_transients_may_be_allowed():
    rows = noisy(lambda n: 2 * n**-0.5, repeats=400)
    strict = theory.fit_rate(recorded(rows))
    assert strict.verdict == "inconsistent" and strict.limit.p_value < 0.002
    allowed = theory.fit_rate(recorded(rows), slowest=0.5)
    assert allowed.verdict != "inconsistent" and allowed.limit.p_value > 0.1


def test_blocks_are_judged_one_by_one_and_an_estimator_without_noise_is_judged_too():
    rng = np.random.default_rng(0)
    rows = [n**-0.5 * rng.normal(size=(50, 8)) for n in SIZES]
    for r in rows:
        r[:, 6:] += 0.2
    whole, apart = find_limit(SIZES, rows), find_limit(SIZES, rows, block=2)
    assert apart.p_value < 0.002 and whole.p_value < 0.002
    assert apart.size == pytest.approx(0.2 * np.sqrt(2), abs=0.03)
    constant = {(n, n): np.tile([0.3, 0.1], (9, 1)) for n in SIZES}
    fit = theory.fit_rate(recorded(constant))
    assert fit.verdict == "inconsistent" and fit.limit.size == pytest.approx(np.hypot(0.3, 0.1))
