"""Population oracles against each other: spectra, sums, samples."""

import time
import tracemalloc

import jax
import numpy as np
import pytest
from scipy import special, stats

import kbo
from theory import problems
from theory.population import (
    Discretised,
    GaussianHermite,
    LargeSamplePopulation,
    ProductWaves,
    RandomFeaturePopulation,
    random_features,
)
from theory.population.linear import inner_loss, outer_loss
from theory.problems import instrumental

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


def test_bounds_from_two_repeats_hold():
    problem, inside = problems.torus_regression(terms=10), 0
    truth = np.append(*problem.value_and_grad(W3))
    for seed in range(40):
        surrogate = LargeSamplePopulation(problem, 16, 2, seed)
        error = np.abs(np.append(*surrogate.value_and_grad(W3)) - truth).max()
        inside += error <= surrogate.error_bound
    assert inside == 40  # three standard errors of two repeats held 39 of 40 times at best


# -- spectra and sums ------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [2.1, 30, 300, 343, 360, 1e4, 1e8])
def test_students_characteristic_function_at_any_degrees_of_freedom(df):
    found = np.array([instrumental.student_characteristic(c, df) for c in (0.5, 2.0, 4.0)])
    kappa = np.array([0.5, 2.0, 4.0])
    if df <= 300:  # beyond, Bessel's function overflows
        z = np.sqrt(df) * kappa
        exact = special.kv(df / 2, z) * z ** (df / 2) / special.gamma(df / 2) / 2 ** (df / 2 - 1)
        np.testing.assert_allclose(found, exact, rtol=1e-12)
    normal = np.exp(-(kappa**2) / 2)
    # The first term of the expansion in 1/ν.
    np.testing.assert_allclose(found, normal * (1 + kappa**2 * (kappa**2 - 4) / (4 * df)),
                               atol=20 / df**2 if df >= 30 else 1)
    x = np.array([0.0, 1.3, 9.0])
    np.testing.assert_allclose(
        instrumental.student_density(x, df), stats.t.pdf(x, df), rtol=1e-7
    )


@pytest.mark.parametrize(("terms", "smoothness", "ridge"), [
    (40, 0.75, 1e-6), (2000, 0.75, 1e-6), (3, 2.0, 1e-2), (500, 1.0, 1e-4),
])
def test_the_effective_dimension_has_all_terms(terms, smoothness, ridge):
    problem = problems.torus_regression(smoothness, ridge, terms=terms)
    mu = (1 + (2 * np.pi * np.arange(1, terms + 1)) ** 2) ** -smoothness
    exact = 1 / (1 + ridge) + 2 * (mu / (mu + ridge)).sum()
    np.testing.assert_allclose(problem.effective_dimension(), exact, rtol=1e-12)


def waves(p, size, lengthscale=0.4):
    amplitude = np.array([[1.0, 0.3j], [0.5j, -0.2], [0.1, 1.0]])
    frequencies = np.array([[2.0] * p, [0.7, *[-1.3] * (p - 1)]])
    return ProductWaves(amplitude, frequencies, [GaussianHermite(lengthscale, size)] * p)


@pytest.mark.parametrize(("p", "size"), [(1, 30), (2, 20), (3, 12), (5, 5)])
def test_sums_over_degrees_are_those_over_all_indices(p, size):
    made, spectrum = waves(p, size), GaussianHermite(0.4, size)
    mu, at = np.ones(1), np.ones((2, 1))
    for d in range(p):
        column = np.array([spectrum.fourier(kappa) for kappa in made.frequencies[:, d]])
        mu = np.outer(mu, spectrum.eigenvalues).ravel()
        at = (at[:, :, None] * column[:, None, :]).reshape(2, -1)
    f = np.imag(made.amplitudes @ at)
    weights = [lambda m: m / (m + 1e-3), lambda m: (m / (m + 1e-3)) ** 2]
    exact = [(f * weight(mu)) @ f.T for weight in weights]
    np.testing.assert_allclose(made.moments(*weights), exact, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(made.trace(weights[0]), weights[0](mu).sum(), rtol=1e-11)
    made.spectra = [_Plain(size) for _ in range(p)]
    np.testing.assert_allclose(made.moments(*weights), exact, rtol=1e-9, atol=1e-12)


class _Plain(GaussianHermite):
    """The same spectrum, not said to be geometric."""

    def __init__(self, size):
        super().__init__(0.4, size)
        self.ratio = None


def test_five_coordinates_take_no_memory_and_what_would_is_refused():
    made = waves(5, None, 0.2)
    assert len(made.spectra[0].eigenvalues) > 100  # 10¹⁰ products of five
    tracemalloc.start()
    found = made.moments(lambda m: m / (m + 1e-2))
    peak = tracemalloc.get_traced_memory()[1]
    assert np.isfinite(found).all() and np.isfinite(made.trace(lambda m: m / (m + 1e-2)))
    assert peak < 50e6
    made.spectra = [_Plain(140)] * 5
    for call in (lambda: made.moments(np.ones_like), lambda: made.trace(np.ones_like),
                 lambda: made.filtered(np.zeros((2, 5)), np.ones_like)):
        with pytest.raises(ValueError, match="products of eigenvalues, too many"):
            call()
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
