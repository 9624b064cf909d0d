"""The parts of an error in n, in m and along a descent."""

import numpy as np
import pytest

import theory
from tests.theory.common import SIZES, apart, recorded
from theory import problems
from theory.quantities import QUANTITIES
from theory.terms import fit_time

# -- n and m apart ---------------------------------------------------------------------------------

GRID = [(n, m) for n in SIZES[:4] for m in SIZES[:4]]


@pytest.mark.parametrize(("C1", "C2"), [(1.0, 3.0), (2.0, 2.0), (0.0, 1.0), (3.0, 0.2)])
def test_the_parts_in_n_and_m_are_told_apart(C1, C2):
    inside = 0
    for seed in range(20):
        fit = theory.fit_rate(apart(GRID, C1, C2, seed=seed))
        assert fit.slope is None and fit.verdict != "inconsistent", fit
        inside += sum(
            term.interval[0] - 1e-9 <= C <= term.interval[1]
            for term, C in ((fit.terms["m"], C1), (fit.terms["n"], C2))
        )
    assert inside >= 34  # of 40, 95 %
    wrong = theory.fit_rate(apart(GRID, C1, C2, end=0.1))
    assert wrong.verdict == "inconsistent" and "as n and m grow" in wrong.reason + str(wrong)
    assert wrong.terms["floor"].constant == pytest.approx(0.1 * np.sqrt(3), rel=0.2)


def test_a_grid_can_pass():
    fit = theory.fit_rate(apart(GRID, 0.2, 0.2, repeats=100))
    assert fit.verdict == "consistent" and fit.total is None, fit


def test_a_floor_is_what_the_bound_allows_where_one_size_is_held():
    fit = theory.fit_rate(apart([(100, m) for m in (50, 200, 800, 3200)], 1.0, 2.0))
    assert fit.verdict == "inconclusive" and "n was held" in fit.reason and fit.p_value is None
    assert fit.terms["n"].constant == pytest.approx(2.0, rel=0.15)
    assert fit.terms["m"].constant == pytest.approx(1.0, rel=0.5)
    fit = theory.fit_rate(apart([(n, 100) for n in (50, 200, 800, 3200)], 2.0, 1.0))
    assert fit.verdict == "inconclusive" and "m was held" in fit.reason
    assert fit.terms["m"].constant == pytest.approx(2.0, rel=0.15)
    # A bias does not come from m: it is found out with m held.
    fit = theory.fit_rate(apart([(n, 100) for n in (50, 200, 800, 3200)], 2.0, 1.0, end=0.2))
    assert fit.verdict == "inconsistent"


def test_the_right_estimator_with_n_held_is_not_inconsistent():
    problem = problems.torus_regression(terms=10)
    records = theory.run_rate_experiment(problem, [(60, m) for m in (30, 120, 480)], 20, ["grad"])
    fit = theory.fit_rate(records)
    assert fit.verdict == "inconclusive" and set(fit.terms) == {"m", "n"}
    assert "C/√m" in str(fit) and "C/√n" in str(fit)


# -- along a descent -------------------------------------------------------------------------------


def curves(fall, repeats=30, end=0.5, seed=0):
    times = np.array(QUANTITIES["descent_curve"].times)
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.8, 1.2, size=(repeats, 1))
    return {
        (n, n): size * fall(times + 1.0) + end * n**-0.5 * (1 + 0.1 * rng.normal(size=(repeats, 1)))
        for n in SIZES[:4]
    }


@pytest.mark.parametrize(("exponent", "bad"), [(-0.5, False), (-1.0, False), (-0.2, True)])
def test_the_part_in_t_is_fitted(exponent, bad):
    records = recorded(curves(lambda x: x**exponent - x[-1] ** exponent), "descent_curve")
    fit = theory.fit_rate(records, "descent_curve")
    assert fit.slope is None and set(fit.terms) == {"t", "n"}
    assert (fit.verdict == "inconsistent") == bad and "C/√(t+1)" in str(fit)
    assert ("still falling" in fit.reason) == (exponent == -0.5)
    at, x = fit.terms["t"], np.array(QUANTITIES["descent_curve"].times) + 1.0
    expected = (np.sqrt(x) * (x**exponent - x[-1] ** exponent)).max()
    assert at.constant == pytest.approx(expected, rel=0.1)
    assert at.interval[0] < expected < at.interval[1]
    # That of d(t) − d(T) is steeper than the power itself, never flatter.
    assert at.slope.slope < exponent + 0.03


def test_a_descent_that_ends_at_once_has_a_constant_only():
    rows = curves(lambda x: (x < 2).astype(float))
    found = fit_time(QUANTITIES["descent_curve"].times, list(rows.values()), 0.025)
    assert found.finished and found.term.slope is None
    assert found.term.constant == pytest.approx(1.0, rel=0.1)


def test_a_descent_of_the_toolkit_falls_in_t_and_in_n():
    problem = problems.torus_regression(terms=10)
    records = theory.run_rate_experiment(
        problem, [40, 80, 160], 12, ["descent_curve", "descent_min"],
        omega=np.array([0.9, -0.9, 0.9]),
    )
    fit, end = (theory.fit_rate(records, name) for name in ("descent_curve", "descent_min"))
    assert fit.slope is None and end.slope == fit.terms["n"].slope.slope
    assert fit.terms["t"].slope.slope < -0.5
    worst = max(
        (np.sqrt(n) * rows[:, -1].mean() for (n, _), rows in records.cells("descent_curve").items())
    )
    assert fit.terms["n"].constant == pytest.approx(worst)
    start = np.linalg.norm(problem.value_and_grad(np.array([0.9, -0.9, 0.9]))[1])
    assert records.truth_size("descent_min") == pytest.approx(start)
