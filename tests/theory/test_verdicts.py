"""Verdicts: right estimators are not rejected, wrong ones do not pass."""

import numpy as np
import pytest

import theory
from benchmarks import theory_verdicts
from tests.theory.common import SIZES, noisy, recorded
from theory import problems

PASSES = ("consistent", "faster than the bound")


def verdicts(draw, replications, **options):
    return [
        theory.fit_rate(draw(seed), n_bootstrap=100, **options).verdict
        for seed in range(replications)
    ]


# -- verdicts --------------------------------------------------------------------------------------


def draws(mean, exponent=-0.5, repeats=50, size=1.0, sizes=SIZES):
    return lambda seed: recorded(
        noisy(mean, repeats, sizes, seed, exponent=exponent), size=size
    )


@pytest.mark.parametrize(("mean", "exponent", "passes"), [
    (lambda n: 0.0, -0.5, True), (lambda n: 20 / n, -0.5, True),
    (lambda n: 30 / (n + 60), -0.5, True), (lambda n: 0.0, -0.8, True),
    (lambda n: 0.05, -0.5, False), (lambda n: 0.05 + 20 / n, -0.5, False),
    (lambda n: 0.05 - 20 / n, -0.5, False), (lambda n: 0.25 * n**-0.3, -0.5, False),
    (lambda n: 0.3 * n**-0.25, -1.0, False), (lambda n: 0.0, -0.3, False),
    (lambda n: 0.0, 0.0, False),
])
def test_verdicts_on_made_up_errors(mean, exponent, passes):
    # Three equal entries: a mean of 0.05 each is 5 % of a truth of size √3.
    found = verdicts(draws(mean, exponent, size=np.sqrt(3)), 12)
    if passes:
        assert found.count("inconsistent") <= 1 and sum(v in PASSES for v in found) >= 8, found
    else:
        assert not any(v in PASSES for v in found), found


def test_verdict_and_p_value_come_from_one_test():
    for seed in range(20):
        rows = noisy(lambda n: 0.02 + 5 / n, repeats=30, seed=seed)
        fit = theory.fit_rate(recorded(rows), n_bootstrap=100)
        assert (fit.p_value < 0.025) == (fit.verdict == "inconsistent")
        assert fit.p_value <= min(1.0, 2 * fit.limit.p_value)
        wide = theory.fit_rate(recorded(rows), n_bootstrap=100, confidence=0.5)
        assert (wide.p_value < 0.25) == (wide.verdict == "inconsistent")


def test_what_a_pass_needs():
    """The truth's size, and repeats enough to see ``tolerance`` of it."""
    rows = noisy(lambda n: 0.0, repeats=50)
    assert theory.fit_rate(recorded(rows)).verdict == "consistent"
    unknown = theory.fit_rate(recorded(rows, size=None))
    assert unknown.verdict == "inconclusive" and "truth_size" in unknown.reason
    assert theory.fit_rate(recorded(rows, size=None), truth_size=1.0).verdict == "consistent"
    strict = theory.fit_rate(recorded(rows), tolerance=0.01)
    assert strict.verdict == "inconclusive" and "tolerance: 1 %" in strict.reason
    few = theory.fit_rate(recorded(noisy(lambda n: 0.0, repeats=5)))
    assert few.verdict == "inconclusive" and "repeats" in few.reason


@pytest.mark.parametrize("floor", [0.03, 0.05])
def test_faster_than_the_bound_needs_the_larger_half(floor):
    """Steep at small sizes, flat at large ones: the steep total is no proof."""
    rng = np.random.default_rng(0)
    rows = {(n, n): max(60 * n**-1.2, floor) * rng.normal(size=(400, 3)) for n in SIZES}
    fit = theory.fit_rate(recorded(rows, size=10.0))
    assert fit.total.interval[1] < -0.5 and fit.verdict == "inconclusive", fit
    assert "larger half" in fit.reason
    slow = {(n, n): n**-0.3 * rng.normal(size=(400, 3)) for n in SIZES}
    assert theory.fit_rate(recorded(slow, size=10.0)).verdict == "inconsistent"


def test_norms_are_judged_by_their_mean_squares():
    def norms(end):
        rng = np.random.default_rng(3)
        return {
            (n, n): np.linalg.norm(end + rng.normal(size=(200, 4)) * n**-0.5, axis=1)[:, None]
            for n in SIZES
        }

    right = theory.fit_rate(recorded(norms(0.0), "h_l2", 1.0), "h_l2")
    assert right.verdict in (*PASSES, "inconclusive") and right.limit.p_value > 0.1
    wrong = theory.fit_rate(recorded(norms(0.05), "h_l2", 1.0), "h_l2")
    assert wrong.verdict == "inconsistent" and wrong.bias is None
    assert wrong.limit.size == pytest.approx(0.1, abs=0.02)


# -- on the problem of the paper -------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """Verdicts of all estimators on 50 repeats of both problems, to n = 400."""
    found = {}
    for name, truth, ends, pool in theory_verdicts.cases(50, sizes=(100, 200, 400)):
        away = np.linalg.norm(ends - truth, axis=1) / np.linalg.norm(truth)
        for k, estimator in enumerate(theory_verdicts.NAMES):
            fit = theory_verdicts.judge(pool, truth, k, lambda size: slice(size))
            found[name, estimator] = away[k], np.linalg.norm(truth), fit
    return found


def test_wrong_estimators_do_not_pass_on_the_papers_problem_nor_on_the_torus(judged):
    wrong = {key: fit for key, (away, _, fit) in judged.items() if away > 0.0499}
    for name in ("kbo_paper_iv", "torus, s = 1"):
        own = [fit for (problem, _), fit in wrong.items() if problem == name]
        assert len(own) >= 12
        assert not [fit for fit in own if fit.verdict in PASSES]
        assert sum(fit.verdict == "inconsistent" for fit in own) >= 8
        assert judged[name, "right"][2].verdict != "inconsistent"


def test_limits_are_measured_as_they_are_in_closed_form(judged):
    for (name, estimator), (away, size, fit) in judged.items():
        assert abs(fit.limit.size / size - away) < 0.08, (name, estimator)
        assert fit.limit.largest > 0.95 * away * size


def test_the_estimates_are_those_of_the_toolkit():
    """The benchmark's NumPy against kbo's own hypergradient on the same sample."""
    for case in (theory_verdicts.Paper(), theory_verdicts.Torus()):
        omega = theory_verdicts.at(case)
        found = theory_verdicts.drawn(case, omega, 60, 3)[0]
        sample = case.problem.sample(60, 60, np.random.default_rng([60, 3]))
        own = theory.estimators.Plain()(sample, True).value_and_grad(omega)[1]
        np.testing.assert_allclose(found, own, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_none_of_seventeen_wrong_estimators_passes_in_four_replications():
    for name, truth, ends, pool in theory_verdicts.cases(200):
        away = np.linalg.norm(ends - truth, axis=1) / np.linalg.norm(truth)
        for k, estimator in enumerate(theory_verdicts.NAMES):
            found = [
                theory_verdicts.judge(
                    pool, truth, k, lambda size, at=at: slice(at, at + 50)
                ).verdict for at in range(0, 200, 50)
            ]
            if away[k] > 0.0499:
                assert not any(v in PASSES for v in found), (name, estimator, found)
        random = np.random.default_rng(0)
        right = [
            theory_verdicts.judge(
                pool, truth, 0, lambda size: random.choice(size, 50, replace=False)
            ).verdict for _ in range(100)
        ]
        assert right.count("inconsistent") <= 3, name


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [
    theory.estimators.ScaledAdjoint(0.95), theory.estimators.OtherRidge(lambda n: 1.1),
    theory.estimators.Dependent(),
])
def test_the_toolkits_wrong_estimators_on_the_papers_problem(estimator):
    problem = problems.kbo_paper_iv()
    records = theory.run_rate_experiment(
        problem, SIZES[:4], 50, ["grad"], omega=problem.start(1), estimator=estimator
    )
    assert theory.fit_rate(records).verdict not in PASSES


# -- intervals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [4, 6, 10, 50])
def test_intervals_of_slopes_cover_however_few_the_repeats(repeats):
    total = fluctuation = 0
    for seed in range(120):
        rows = noisy(lambda n: 0.0, repeats, SIZES[::2], seed=1000 * repeats + seed)
        fit = theory.fit_rate(recorded(rows), n_bootstrap=100)
        total += fit.total.contains(-0.5)
        fluctuation += fit.fluctuation.contains(-0.5)
    # Of 120, 95 %: 108 or more with probability .99.
    assert total >= 108 and fluctuation >= 108


def test_options_out_of_range_are_refused():
    rows = recorded(noisy(lambda n: 0.0))
    for options in (
        {"confidence": 95}, {"confidence": 0}, {"confidence": 1.0}, {"n_bootstrap": 1},
        {"predicted": 0.5}, {"predicted": 0.0}, {"predicted": np.nan}, {"tolerance": 0.0},
        {"tolerance": 5}, {"truth_size": 0.0}, {"truth_size": np.inf}, {"slowest": -1.0},
    ):
        (name, value), = options.items()
        with pytest.raises(ValueError, match=f"{name}={value!r}"):
            theory.fit_rate(rows, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_errors_that_are_not_finite_are_refused_where_they_are_read(value):
    rows = noisy(lambda n: 0.0)
    rows[400, 400][7, 1] = value
    for read in (theory.fit_rate, theory.plot_rates):
        with pytest.raises(ValueError, match="grad at n=400, m=400 is not finite in repeat 7"):
            read(recorded(rows))


def test_one_repeat_is_refused():
    rows = noisy(lambda n: 0.0, repeats=1)
    with pytest.raises(ValueError, match="two repeats at least"):
        theory.fit_rate(recorded(rows))
    with pytest.raises(ValueError, match="two repeats at least"):
        theory.plot_rates(recorded(rows))
    with pytest.raises(ValueError, match="3 repeats"):
        theory.fit_rate(recorded(noisy(lambda n: 0.0, repeats=3)))
