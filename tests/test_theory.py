"""Population oracles against each other, experiments, slopes and verdicts, intervals."""

import subprocess
import sys
import time

import jax
import joblib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

import kbo
import theory
from theory import estimators, problems
from theory.population import (
    Discretised,
    GaussianHermite,
    LargeSamplePopulation,
    RandomFeaturePopulation,
    random_features,
)
from theory.population.linear import inner_loss, outer_loss
from theory.problems import instrumental
from theory.quadratic import Quadratic, empirical_quadratic
from theory.quantities import QUANTITIES

W4 = np.array([0.3, 0.7, 0.2, 0.9])
W3 = np.array([0.3, -0.5, 0.8])
W2 = np.array([0.4, -0.3])


# -- spectra ---------------------------------------------------------------------------------------


def test_gaussian_spectrum_is_an_eigensystem():
    spectrum = GaussianHermite(0.5, 12)
    x, weight = np.polynomial.hermite_e.hermegauss(180)
    weight = weight / weight.sum()
    psi = spectrum.functions(x)
    np.testing.assert_allclose(psi.T * weight @ psi, np.eye(12), atol=1e-10)
    at = np.array([-1.3, 0.2, 2.1])
    K = np.exp(-((at[:, None] - x) ** 2) / 0.5)
    expected = spectrum.functions(at) * spectrum.eigenvalues
    np.testing.assert_allclose(K @ (weight[:, None] * psi), expected, atol=1e-10)
    for frequency in (0.7, 2.0):
        direct = (weight * np.exp(1j * frequency * x)) @ psi
        np.testing.assert_allclose(spectrum.fourier(frequency), direct, atol=1e-10)


def test_discretised_spectrum_is_the_closed_one():
    kernel = lambda x, z: np.exp(-0.5 * ((x - z) / 0.5) ** 2)
    numeric = Discretised(kernel, stats.norm.pdf, 9.0, 0.05, floor=1e-5)
    closed = GaussianHermite(0.5, len(numeric.eigenvalues))
    np.testing.assert_allclose(numeric.eigenvalues, closed.eigenvalues, rtol=1e-8)
    sign = np.sign(numeric.functions(np.array([0.3])) * closed.functions(np.array([0.3])))
    np.testing.assert_allclose(
        numeric.fourier(2.0) * sign[0], closed.fourier(2.0), atol=1e-8
    )
    x = np.linspace(-2, 2, 7)
    np.testing.assert_allclose(numeric.functions(x) * sign, closed.functions(x), atol=1e-7)


@pytest.mark.parametrize(
    "make", [problems.logistic_weights, pytest.param(problems.poisson_rates, marks=pytest.mark.slow)]
)
def test_the_compiled_estimate_is_the_plain_one(make):
    problem = make(ridge=0.1)
    sample = problem.sample(120, 90, 3)
    points = np.random.default_rng(0).uniform(*problem.box, (4, 2))
    centers = np.linspace(-1, 1, 80)[:, None]
    compiled = theory.compiled.Compiled(centers)(sample, False)
    plain = estimators.Plain(kbo.solvers.Nystrom(centers))(sample, False)
    values, grads = compiled.remembering().values_and_grads(points)
    expected = plain.values_and_grads(points)
    np.testing.assert_allclose(values, expected[0], atol=1e-8)
    np.testing.assert_allclose(grads, expected[1], atol=1e-8)
    value, grad = compiled.value_and_grad(points[2])
    assert value == pytest.approx(values[2], rel=1e-12)
    np.testing.assert_allclose(grad, grads[2], rtol=1e-10)
    moving = sample.replace(ridge=lambda w: w[0] ** 2)
    with pytest.raises(ValueError, match="fixed space and ridge"):
        theory.compiled.Compiled(points[:, :1])(moving, False)


# -- oracles ---------------------------------------------------------------------------------------


def test_the_papers_problem_in_closed_form_is_quick_and_exact():
    started = time.perf_counter()
    problem = problems.kbo_paper_iv()
    value, grad = problem.value_and_grad(W4)
    assert time.perf_counter() - started < 1
    assert problem.error_bound < 1e-10
    # In another way: the same integrals by quadrature in each coordinate of a coarser kernel's
    # spectrum would need the expansion again; a discretised spectrum does not.
    numeric = problems.kbo_paper_iv()
    kernel = lambda x, z: np.exp(-0.5 * ((x - z) / instrumental.LENGTHSCALE) ** 2)
    spectrum = Discretised(kernel, stats.norm.pdf, 8.5, 0.04)
    numeric.waves.spectra = [spectrum] * 3
    other, slope = numeric.value_and_grad(W4)
    np.testing.assert_allclose(value, other, rtol=1e-8)
    np.testing.assert_allclose(grad, slope, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_second_moments_by_sampling():
    for inputs in ("gaussian", 2.5):
        problem = problems.kbo_paper_iv(inputs)
        _, _, y = problem.draw(np.random.default_rng(0), 400_000)
        error = 4 * np.std(y**2) / np.sqrt(len(y))
        assert abs(np.mean(y**2) - problem.second_moment) < error
    problem = problems.torus_regression()
    x, features, y = problem.draw(np.random.default_rng(0), 400_000)
    assert abs(np.mean(y**2) - problem.second_moment) < 4 * np.std(y**2) / np.sqrt(len(y))
    expected = problem.waves(x)  # E[φ | x], E[y | x]
    residual = np.column_stack([features, y]) - expected
    assert np.abs(residual.T @ expected / len(x)).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    problems.torus_regression, problems.kbo_paper_iv, problems.logistic_weights,
    problems.huber_targets, problems.poisson_rates, problems.predictive_likelihood,
    problems.calibrated_logistic,
])
def test_oracles_agree_with_large_samples(make):
    problem = make()
    omega = problem.start(1)
    surrogate = LargeSamplePopulation(problem, 400, 8, solver=kbo.solvers.FullCG())
    value, grad = problem.value_and_grad(omega)
    other, slope = surrogate.value_and_grad(omega)
    bound = 2 * surrogate.error_bound + problem.error_bound
    assert abs(value - other) < bound and np.abs(grad - slope).max() < bound
    assert surrogate.error_bound < 0.5  # eight repeats of 400 samples, by Student's t


@pytest.mark.slow
def test_random_features_come_within_their_bound_and_closer_with_more_of_them():
    problem = problems.kbo_paper_iv()
    exact = np.append(*problem.value_and_grad(W4))
    rms, bounds = [], []
    for n_features in (64, 256):
        size = 4 * n_features
        surrogate = RandomFeaturePopulation(problem, n_features, size, repeats=16)
        error = np.append(*surrogate.value_and_grad(W4)) - exact
        assert np.abs(error).max() < surrogate.error_bound
        bounds.append(surrogate.error_bound)
        errors = [  # of few draws, that there be many to average over
            np.append(*RandomFeaturePopulation(problem, n_features, size, 2, k).value_and_grad(W4))
            - exact for k in range(1, 13)
        ]
        rms.append(np.sqrt(np.mean(np.square(errors))))
    assert rms[1] < 0.6 * rms[0] and bounds[1] < 0.6 * bounds[0]
    assert bounds[1] < 0.1 < np.abs(exact).max()


@pytest.mark.slow
def test_random_features_of_a_problem_that_is_not_quadratic():
    problem = problems.logistic_weights()
    surrogate = RandomFeaturePopulation(problem, 128, size=4096, repeats=10, random_state=1)
    for omega in (W2, -W2):
        value, grad = problem.value_and_grad(omega)
        other, slope = surrogate.value_and_grad(omega)
        bound = surrogate.error_bound + problem.error_bound
        assert abs(value - other) < bound and np.abs(grad - slope).max() < bound
    assert surrogate.error_bound < 0.03


def test_parts_of_random_features_share_the_kernel_of_the_whole():
    surrogate = RandomFeaturePopulation(problems.kbo_paper_iv(), 64, size=64, repeats=2)
    (whole,) = random_features._parts(surrogate._draws[0], 1)
    parts = list(random_features._parts(surrogate._draws[0], 4))
    x = np.random.default_rng(0).normal(size=(5, 3))
    with jax.enable_x64(True):
        grams = [p.space.features(x) @ p.space.features(x).T for p in (whole, *parts)]
    np.testing.assert_allclose(np.mean(grams[1:], 0), grams[0], atol=1e-12)
    pieces = [jax.tree.leaves((p.inner_data, p.outer_data)) for p in parts]
    for leaf, *rest in zip(jax.tree.leaves((whole.inner_data, whole.outer_data)), *pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate(rest), leaf)


def test_surrogates_are_the_same_again_and_yield_no_samples():
    problem = problems.kbo_paper_iv()
    one, again, other = (RandomFeaturePopulation(problem, 64, 64, 2, seed) for seed in (0, 0, 1))
    found = [np.append(*surrogate.value_and_grad(W4)) for surrogate in (one, again, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).all() and one.error_bound == again.error_bound > 0
    for other in (one, LargeSamplePopulation(problem, 20, 2)):
        for call in (other.points, lambda *a, other=other: other.sample(5, *a)):
            with pytest.raises(ValueError, match="the surrogate stands for"):
                call(5, 0)


def test_random_features_refuse_what_they_cannot_do():
    problem = problems.kbo_paper_iv()
    for arguments in ({"n_features": 30}, {"n_features": 60}, {"n_features": 64, "size": 4}):
        with pytest.raises(ValueError, match="multiple of 4"):
            RandomFeaturePopulation(problem, **arguments)
    with pytest.raises(ValueError, match="repeats=1"):
        RandomFeaturePopulation(problem, 64, repeats=1)
    with pytest.raises(ValueError, match="Gaussian one; use LargeSamplePopulation"):
        RandomFeaturePopulation(problems.torus_regression(terms=5), 64)


@pytest.mark.parametrize("smoothness", [1.0, 2.0])
def test_torus_in_closed_form_and_by_quadrature(smoothness):
    """On an even grid of the circle quadrature is exact for all that matters."""
    problem = problems.torus_regression(smoothness, terms=20)
    nodes = np.arange(90)[:, None] / 90
    mean = problem.waves(nodes)
    with jax.enable_x64(True):
        sample = kbo.BilevelProblem(
            inner_loss, outer_loss,
            kbo.Sample(nodes, mean[:, :-1]), kbo.Sample(nodes, mean[:, -1]),
            problem.space, problem.ridge,
        )
        found = kbo.value_and_hypergradient(sample, W3)
    value, grad = problem.value_and_grad(W3)
    # Targets are their means here: the noise's part of the value is a constant.
    noise = 0.5 * (problem.second_moment - np.mean(mean[:, -1] ** 2))
    np.testing.assert_allclose(found.value + noise, value, rtol=1e-9)
    np.testing.assert_allclose(found.grad, grad, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("make", [problems.torus_regression, problems.logistic_weights])
def test_exact_functions(make):
    """h* and a* and their norms, against a large sample's."""
    problem = make()
    omega = problem.start(0)
    sample = problem.sample(3000, 3000, 0)
    with jax.enable_x64(True):
        found = kbo.value_and_hypergradient(sample, omega)
    x = problem.points(200, 5)
    for function, exact in ((found.inner, problem.inner), (found.adjoint, problem.adjoint)):
        size = np.abs(exact(omega, x)).max()
        assert np.abs(np.asarray(function(x)) - exact(omega, x)).max() < 0.25 * size
    norms = problem.square_norms(omega)
    values = [problem.inner(omega, problem.points(20_000, 6)),
              problem.adjoint(omega, problem.points(20_000, 6))]
    np.testing.assert_allclose([norms[1], norms[3]], [np.mean(v**2) for v in values], rtol=0.05)
    assert norms[0] > norms[1] and norms[2] > 0


@pytest.mark.slow
def test_student_problem_does_not_depend_on_its_reach():
    narrow, wide = instrumental.student_spectrum(2.5, reach=40.0, step=0.08), instrumental.student_spectrum(2.5)
    found = []
    for spectrum in (narrow, wide):
        problem = problems.kbo_paper_iv(2.5)
        problem.waves.spectra = [spectrum] * 3
        found.append(np.append(*problem.value_and_grad(W4)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert problem.error_bound < 1e-5


# -- quadratics and quantities ---------------------------------------------------------------------


def test_empirical_quadratic_is_the_hypergradient():
    problem = problems.kbo_paper_iv().sample(70, 50, 0)
    with jax.enable_x64(True):
        found = kbo.value_and_hypergradient(problem, W4)
        value, grad = empirical_quadratic(problem).value_and_grad(W4)
    np.testing.assert_allclose(value, found.value, rtol=1e-10)
    np.testing.assert_allclose(grad, found.grad, rtol=1e-9, atol=1e-12)


def test_sups_of_a_quadratic_are_those_of_a_fine_grid():
    rng = np.random.default_rng(0)
    box = (np.array([-1.0, 0.0]), np.array([0.5, 2.0]))
    grid = np.stack(np.meshgrid(*[np.linspace(*side, 201) for side in zip(*box, strict=True)]), -1)
    for _ in range(20):
        A = rng.normal(size=(2, 2))
        form = Quadratic(A + A.T, rng.normal(size=2), rng.normal())
        points = grid.reshape(-1, 2)
        values = 0.5 * np.sum(points @ form.A * points, 1) - points @ form.b + form.c
        np.testing.assert_allclose(form.sup_value(box), np.abs(values).max(), rtol=1e-4)
        slopes = np.linalg.norm(points @ form.A - form.b, axis=1)
        np.testing.assert_allclose(form.sup_grad(box), slopes.max(), rtol=1e-12)


def test_sups_are_found_whether_the_outer_value_is_quadratic_or_not():
    problem = problems.torus_regression()
    sample = problem.sample(60, 60, 0)
    with jax.enable_x64(True):
        estimate = estimators.Plain()(sample, True)
        ours, exact = empirical_quadratic(sample), problem.quadratic_form
    difference = Quadratic(*(a - b for a, b in zip(ours, exact, strict=True)))
    expected = difference.sup_value(problem.box), difference.sup_grad(problem.box)
    for quadratic in (True, False):
        problem.quadratic = quadratic
        for name, sup in zip(("sup_value", "sup_grad"), expected, strict=True):
            kind = QUANTITIES[name]
            truth = kind.truth(problem, None)
            error = kind.error(estimate, problem, None, truth)
            np.testing.assert_allclose(kind.magnitude(error[None], problem), sup, rtol=2e-2
                                       if not quadratic and name == "sup_value" else 1e-8)


# -- experiments -----------------------------------------------------------------------------------

SMALL = {"n_grid": [20, 40], "n_repeats": 7, "quantities": ["value", "grad", "descent_curve"]}


def same(a, b):
    assert a.quantities == b.quantities
    for name in a.quantities:
        for key, rows in a.errors[name].items():
            np.testing.assert_array_equal(rows, b.errors[name][key])


def test_records_do_not_depend_on_workers_or_order(tmp_path):
    problem = problems.torus_regression(terms=10)
    one = theory.run_rate_experiment(problem, **SMALL, random_state=3)
    assert one.errors["grad"][20, 20].shape == (7, 3)
    assert one.errors["descent_curve"][20, 20].shape == (7, 11)
    same(one, theory.run_rate_experiment(problem, **SMALL, random_state=3, n_jobs=2))
    more = theory.run_rate_experiment(problem, **{**SMALL, "n_grid": [40, 30, 20]}, random_state=3)
    np.testing.assert_array_equal(more.errors["grad"][40, 40], one.errors["grad"][40, 40])
    other = theory.run_rate_experiment(problem, **SMALL, random_state=4)
    assert (other.errors["grad"][20, 20] != one.errors["grad"][20, 20]).all()
    one.save(tmp_path / "records.json")
    same(one, theory.Records.load(tmp_path / "records.json"))
    assert len(one.frame()) == 2 * 7 * (1 + 3 + 11)


def test_finished_cells_are_not_computed_again(tmp_path, monkeypatch):
    problem = problems.torus_regression(terms=10)
    full = theory.run_rate_experiment(problem, **SMALL, store=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files[::2]:  # as if killed half-way
        file.unlink()
    calls = []
    plain = type(problem).sample
    monkeypatch.setattr(
        type(problem), "sample", lambda self, *args: calls.append(args) or plain(self, *args)
    )
    same(full, theory.run_rate_experiment(problem, **SMALL, store=tmp_path))
    assert 0 < len(calls) < 14
    theory.run_rate_experiment(problem, **SMALL, store=tmp_path, random_state=1)
    assert len(list(tmp_path.iterdir())) == 8  # other settings, other files
    # Other kernels and other estimators of the same name are other cells too.
    other = problems.torus_regression(terms=3)
    fresh = theory.run_rate_experiment(other, **SMALL)
    same(fresh, theory.run_rate_experiment(other, **SMALL, store=tmp_path))
    for factor in (1.0, 100.0):
        wrong = estimators.OtherRidge(lambda n, factor=factor: factor)
        fresh = theory.run_rate_experiment(problem, **SMALL, estimator=wrong)
        kept = theory.run_rate_experiment(problem, **SMALL, estimator=wrong, store=tmp_path)
        same(fresh, kept)


@pytest.mark.slow
def test_a_cluster_gives_the_same():
    distributed = pytest.importorskip("distributed")
    problem = problems.torus_regression(terms=10)
    alone = theory.run_rate_experiment(problem, **SMALL)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local), joblib.parallel_config(backend="dask"),
    ):
        same(alone, theory.run_rate_experiment(problem, **SMALL))


PROGRAM = """
import sys, theory
problem = theory.problems.torus_regression(terms=10)
theory.run_rate_experiment(problem, [20, 40, 80], 60, ["value", "grad"], store=sys.argv[1])
"""


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """Killed at random moments, and resumed: the same records as in one go."""
    rng = np.random.default_rng(0)
    command = [sys.executable, "-c", PROGRAM]
    started = time.perf_counter()
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    whole = time.perf_counter() - started
    killed = 0
    for _ in range(20):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        try:
            process.wait(rng.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert killed >= 5
    settings = {"n_grid": [20, 40, 80], "n_repeats": 60, "quantities": ["value", "grad"]}
    problem = problems.torus_regression(terms=10)
    found = [
        theory.run_rate_experiment(problem, **settings, store=tmp_path / name)
        for name in ("whole", "killed")
    ]
    same(*found)
    same(found[0], theory.run_rate_experiment(problem, **settings))


@pytest.mark.slow
def test_errors_of_functions_fall():
    problem = problems.torus_regression(terms=10)
    names = ["h_rkhs", "h_l2", "a_rkhs", "a_l2"]
    records = theory.run_rate_experiment(problem, [50, 200, 800], 10, names)
    spanned = estimators.Plain(kbo.solvers.Nystrom(40))
    near = theory.run_rate_experiment(problem, [200], 10, names, estimator=spanned)
    for name in names:  # 40 centres span the 21 functions of this space
        np.testing.assert_allclose(
            near.errors[name][200, 200], records.errors[name][200, 200], rtol=1e-4
        )
    for name in names:
        fit = theory.fit_rate(records, name)
        assert -0.75 < fit.slope < -0.3, (name, fit.slope)
        assert fit.fluctuation is None


@pytest.mark.slow
def test_quantities_share_what_they_ask_for(monkeypatch):
    problem, calls = problems.logistic_weights(), []
    plain = kbo.value_and_hypergradient
    monkeypatch.setattr(kbo, "value_and_hypergradient", lambda *a, **k: calls.append(a) or plain(*a, **k))
    quantities = ["value", "grad", "sup_value", "sup_grad"]
    theory.run_rate_experiment(problem, [20], 2, quantities)
    truths = 2 + 2 * 25  # of the population
    assert len(calls) <= 1 + truths + 2 * (1 + 25)  # each sample is asked once for each point


def test_several_records_in_axes_of_ones_own():
    _, axes = plt.subplots(1, 1)
    pair = {name: made_up(slope) for name, slope in (("one", -0.5), ("other", -0.25))}
    figure = theory.plot_rates(pair, ["grad"], axes=[axes])
    assert figure is axes.figure
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any("one n^-0.5" in label for label in labels) and len(labels) == 3
    plt.close(figure)


@pytest.mark.slow
def test_sizes_apart():
    problem = problems.torus_regression(terms=10)
    records = theory.run_rate_experiment(problem, [(200, m) for m in (10, 40, 160)], 6)
    ax = theory.plot_rates(records).axes[0]
    assert ax.get_xlabel() == "m"
    np.testing.assert_array_equal(ax.containers[0].lines[0].get_xdata(), [10, 40, 160])
    records = theory.run_rate_experiment(problem, [(n, 4000) for n in (30, 60, 120, 240)], 40)
    assert theory.fit_rate(records).fluctuation.slope < -0.3


def test_bad_input(tmp_path):
    problem = problems.torus_regression(terms=10)
    for settings, message in (
        ({"quantities": ["norm"]}, "norm"), ({"n_repeats": 1}, "repeats"), ({"n_grid": []}, "sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.run_rate_experiment(problem, **{**SMALL, **settings})
    records = theory.run_rate_experiment(problem, **SMALL)
    with pytest.raises(ValueError, match="sup_value"):
        theory.fit_rate(records, "sup_value")
    with pytest.raises(ValueError, match="three"):
        theory.fit_rate(records, "value")
    few = theory.run_rate_experiment(problem, [20, 30, 40, 40], 2, ["value"])
    assert few.errors["value"][40, 40].shape == (2, 1)  # one size, however often it is named
    with pytest.raises(ValueError, match="repeats"):
        theory.fit_rate(few, "value")
    nothing = theory.Records({}, {"grad": {(n, n): np.zeros((9, 2)) for n in (10, 20, 40)}})
    with pytest.raises(ValueError, match="zero"):
        theory.fit_rate(nothing)
    apart = {(n, m): np.ones((9, 2)) for n, m in ((20, 10), (40, 10), (80, 40), (160, 40))}
    with pytest.raises(ValueError, match="apart"):
        theory.plot_rates(theory.Records({}, {"grad": apart}))
    with pytest.raises(ValueError, match="degrees"):
        problems.kbo_paper_iv(1.5)


# -- fits and verdicts -----------------------------------------------------------------------------


def made_up(exponent, bias=0.0, repeats=200, sizes=(50, 100, 200, 400, 800), seed=0, outside=()):
    """Records with known fluctuation and bias."""
    rng = np.random.default_rng(seed)
    errors = {
        (n, n): bias * 3 / n + n**exponent * rng.normal(size=(repeats, 3)) for n in sizes
    }
    about = {"outside": list(outside), "truth_sizes": {"grad": 10.0}}
    return theory.Records(about, {"grad": errors})


def test_slopes_are_found_and_intervals_cover():
    inside = 0
    for seed in range(60):
        fit = theory.fit_rate(made_up(-0.5, repeats=40, seed=seed), n_bootstrap=300)
        inside += fit.fluctuation.contains(-0.5)
    assert 50 <= inside <= 60
    fit = theory.fit_rate(made_up(-0.5, bias=5.0, repeats=2000))
    assert abs(fit.bias.slope + 1) < 0.05 and abs(fit.fluctuation.slope + 0.5) < 0.02
    assert fit.bias.contains(-1.0)
    assert theory.fit_rate(made_up(-0.5)).bias is None


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


CONTROLS = {
    "no adjoint": estimators.ScaledAdjoint(0.0), "half the adjoint": estimators.ScaledAdjoint(0.5),
    "ridge shrinking": estimators.OtherRidge(lambda n: 20 / n),
    "dependent samples": estimators.Dependent(),
    "another kernel": estimators.OtherKernel(kbo.kernels.Gaussian(0.05)),
}


@pytest.mark.parametrize("name", [
    "no adjoint", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CONTROLS)[1:-1]),
    "another kernel",
])
def test_wrong_estimators_are_found_out(name):
    problem = problems.torus_regression(terms=10)
    sizes = [100, 200, 400, 800]
    wrong = theory.run_rate_experiment(
        problem, sizes, 160 if "dependent" in name else 40, ["grad"], estimator=CONTROLS[name],
        omega=W3,
    )
    fit = theory.fit_rate(wrong)
    # Dependence slows the fluctuation alone, which four sizes show less surely than a bias.
    found_out = ("inconsistent", "inconclusive") if "dependent" in name else ("inconsistent",)
    assert fit.verdict in found_out, fit


@pytest.mark.slow
def test_the_right_estimator_is_not():
    problem = problems.torus_regression(terms=10)
    right = theory.run_rate_experiment(problem, [100, 200, 400, 800], 120, ["grad"], omega=W3)
    fit = theory.fit_rate(right)
    assert fit.verdict in ("consistent", "faster than the bound"), fit
    with_centers = theory.run_rate_experiment(
        problem, [100, 200, 400, 800], 120, ["grad"], omega=W3,
        estimator=estimators.Plain(lambda n: kbo.solvers.Nystrom(int(2 * np.sqrt(n)))),
    )
    assert theory.fit_rate(with_centers).verdict in ("consistent", "faster than the bound")


# -- intervals for one data set --------------------------------------------------------------------


@pytest.mark.slow
def test_interval_errors_are_those_of_repeated_samples():
    problem = problems.huber_targets(ridge=0.05)
    values, errors = [], []
    for seed in range(150):
        sample = problem.sample(300, 300, seed)
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(sample, W2)
        values.append(np.append(found.value, found.grad))
        if seed < 10:
            one = theory.hypergradient_interval(sample, W2)
            np.testing.assert_allclose(one.grad + one.grad_bias, found.grad, rtol=1e-8)
            errors.append(np.append(one.value_error, one.grad_error))
    ratio = np.mean(errors, 0) / np.std(values, 0, ddof=1)
    assert (ratio > 0.85).all() and (ratio < 1.18).all(), ratio


def test_interval_shapes():
    sample = problems.torus_regression(terms=10).sample(80, 60, 0)
    narrow, wide = (
        theory.hypergradient_interval(sample, W3, confidence=share, splits=0)
        for share in (0.5, 0.99)
    )
    spanned = theory.hypergradient_interval(
        sample, W3, confidence=0.5, splits=0, solver=kbo.solvers.Nystrom(60), step=1e-3
    )
    np.testing.assert_allclose(spanned.grad_interval, narrow.grad_interval, rtol=1e-4, atol=1e-6)
    assert wide.grad_interval.shape == (3, 2) and wide.covariance.shape == (3, 3)
    assert (np.diff(wide.grad_interval) > np.diff(narrow.grad_interval)).all()
    assert wide.value_interval[0] < wide.value < wide.value_interval[1]


def test_sweeps_show_what_theory_says(tmp_path, capsys):
    family = {f"{r:g}": problems.torus_regression(1.0, r, terms=10) for r in (1e-1, 1e-3)}
    table = theory.run_sweep(family, 100, 20, omega=W3)
    assert table["effective dimension"].is_monotonic_increasing
    assert table["fluctuation"].is_monotonic_increasing
    from theory.__main__ import main

    arguments = ["--sizes", "60", "--repeats", "4", "--output", str(tmp_path)]
    assert main(["reproduce", "centres", *arguments]) == 0
    text = (tmp_path / "report.md").read_text()
    assert "M = 40 " in text and "all points" in text
    assert main(["reproduce", "ridge-and-smoothness", *arguments]) == 0
    assert "s = 3, ridge 0.0001" in (tmp_path / "report.md").read_text()


# -- networks --------------------------------------------------------------------------------------


def test_the_limit_of_networks_in_l2():
    problem, ridge = problems.torus_networks(ridge=0.2), 0.2
    x = (np.arange(4000) + 0.5) / 4000
    star = np.sinc(0.25) * np.cos(2 * np.pi * x[:, None] * np.arange(1, 4))
    h, g = star @ W3 / (1 + ridge), star @ (1 / np.arange(1, 4))
    value, grad = problem.value_and_grad(W3)
    # E(h − y)² = E(h − g)² + Var(y | x), and of the last the second moment knows all but g.
    noise = problem.second_moment - np.mean(g**2)
    assert value == pytest.approx(0.5 * (np.mean((h - g) ** 2) + noise), rel=1e-12)
    np.testing.assert_allclose(grad, star.T @ (h - g) / len(x) / (1 + ridge), atol=1e-12)
    np.testing.assert_allclose(problem.inner(W3, x[:, None]), h, atol=1e-12)
    np.testing.assert_allclose(problem.adjoint(W3, x[:, None]), (g - h) / (1 + ridge), atol=1e-12)
    _, y = (problem.draw(np.random.default_rng(0), 200_000)[k] for k in (0, 2))
    assert np.mean(y**2) == pytest.approx(problem.second_moment, rel=0.01)
    assert problem.effective_dimension() == np.inf and problem.outside
    with pytest.raises(ValueError, match="no RKHS"):
        theory.run_rate_experiment(problem, [20], 4, ["h_rkhs"])


def test_trained_networks_come_near_their_limit():
    problem = problems.torus_networks(network=kbo.networks.MLP((16,)))
    estimator = estimators.Plain(kbo.solvers.Gradient(steps=1200))
    records = theory.run_rate_experiment(
        problem, [600], 2, ("value", "grad", "h_l2", "a_l2"), omega=W3, estimator=estimator
    )
    value, grad = problem.value_and_grad(W3)
    at = lambda name: np.linalg.norm(records.errors[name][600, 600], axis=1).max()
    assert at("value") < 0.1 * value and at("grad") < 0.2 * np.linalg.norm(grad)
    h, a = (np.sqrt(problem.square_norms(W3)[k]) for k in (1, 3))
    assert at("h_l2") < 0.2 * h and at("a_l2") < 0.5 * a


# -- inner accuracy --------------------------------------------------------------------------------


@pytest.mark.slow
def test_errors_fall_with_inner_steps_and_tolerances_as_predicted():
    steps = theory.accuracy.inner_steps((4, 8, 16, 32), n_samples=2)
    found = theory.accuracy.exponents(steps, "K")
    predicted = steps.groupby("method").predicted.mean()
    for name in ("ITD, gradient descent", "AID, Neumann"):
        assert found[name].slope == pytest.approx(predicted[name], rel=0.3)
    cg = steps[(steps.method == "AID, CG") & (steps.K == 8)]
    assert (cg.error <= 2 * np.exp(8 * cg.predicted)).all()
    loose = theory.accuracy.tolerances((1e-1, 1e-3, 1e-5), n_samples=2)
    assert theory.accuracy.exponents(loose)["HOAG"].slope == pytest.approx(1, abs=0.25)


@pytest.mark.slow
def test_gradients_of_a_minimum_have_the_exponents_of_ablin_peyre_and_moreau():
    table = theory.accuracy.super_efficiency((20, 30, 40, 60), n_samples=3)
    found = theory.accuracy.exponents(table)
    assert found["analytic"].slope == pytest.approx(1, abs=0.1)
    assert 1.5 < found["automatic"].slope < 2
    assert found["implicit"].slope == pytest.approx(2, abs=0.1)


# -- figures and the command -----------------------------------------------------------------------


def test_options_that_an_experiment_does_not_use_are_refused(tmp_path, capsys):
    from theory.__main__ import main

    code = main(["reproduce", "inner-accuracy", "--sizes", "20", "--output", str(tmp_path)])
    assert code == 2
    assert "does not use ['sizes']" in capsys.readouterr().err


@pytest.mark.slow
def test_reproduce_writes_a_report(tmp_path, capsys):
    from theory.__main__ import main

    assert main(["list"]) == 0
    assert "kbo-neurips2025" in capsys.readouterr().out
    assert main(["reproduce", "inner-accuracy", "--repeats", "2", "--output", str(tmp_path)]) == 0
    assert "| implicit | +2.0" in (tmp_path / "report.md").read_text()
    code = main([
        "reproduce", "kbo-neurips2025", "--sizes", "20", "40", "60", "--repeats", "6", "--inputs",
        "gaussian", "--output", str(tmp_path),
    ])
    assert code == 0
    text = (tmp_path / "report.md").read_text()
    for word in ("kbo_paper_iv, Gaussian", "sup_grad", "| grad |", "Outside the theorem"):
        assert word in text
    assert (tmp_path / "gaussian.png").read_bytes().startswith(b"\x89PNG")
    assert theory.Records.load(tmp_path / "gaussian.json").errors["value"][20, 20].shape == (6, 1)
    arguments = ["--sizes", "20", "40", "60", "--repeats", "5", "--output", str(tmp_path)]
    assert main(["reproduce", "networks", *arguments]) == 0
    assert "| a_l2 | " in (tmp_path / "report.md").read_text()
    assert theory.Records.load(tmp_path / "networks.json").errors["a_l2"][20, 20].shape == (5, 1)
