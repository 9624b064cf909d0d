"""Population truths against independent oracles, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import kbo
import theory
from theory import estimators, problems
from theory.population import (
    GaussianHermite,
    LargeSamplePopulation,
    LinearPopulation,
    ProductWaves,
    QuadraturePopulation,
)
from theory.population.quadrature import gauss_legendre

W4 = np.array([0.3, 0.7, 0.2, 0.9])


# -- streams of random numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_one_seed_draws_omega_star_start_points_and_samples_apart(seed):
    problem = problems.kbo_paper_iv(random_state=seed)
    first = np.random.default_rng(0)  # y is affine in ω* given x and η, so ω* can be read off
    _, features, y = problem.draw(first, 200)
    second = np.random.default_rng(0)
    second.standard_normal((200, 3))
    eta = second.normal(scale=np.sqrt(0.1), size=200)
    star = np.linalg.lstsq(features, y - 0.5 * eta, rcond=None)[0]
    # The four features span two functions: what they make of a point is compared.
    start = problem.start(seed)
    assert np.abs(features @ (start - star)).max() > 1e-3
    np.testing.assert_array_equal(start, problem.start(seed))
    assert (start != problem.start(seed + 1)).all()
    sample = problem.sample(5, 5, seed)
    assert not np.isclose(sample.inner_data.x, problem.points(5, seed)).any()
    assert not np.isclose(np.asarray(sample.inner_data.x).ravel()[:4], start).any()


# -- what makes no sense ---------------------------------------------------------------------------

NONSENSE = [
    (lambda: problems.kbo_paper_iv("3"), "inputs='3'"),
    (lambda: problems.kbo_paper_iv("Gaussian"), "inputs='Gaussian'"),
    (lambda: problems.kbo_paper_iv(np.nan), "inputs=nan"),
    (lambda: problems.kbo_paper_iv(np.inf), "inputs=inf"),
    (lambda: problems.kbo_paper_iv(2), "inputs=2"),
    (lambda: problems.kbo_paper_iv(ridge=0.0), "ridge=0"),
    (lambda: problems.kbo_paper_iv(ridge=-1e-2), "ridge=-0.01"),
    (lambda: problems.kbo_paper_iv(ridge=np.nan), "ridge=nan"),
    (lambda: problems.kbo_paper_iv(ridge="0.1"), "ridge='0.1'"),
    (lambda: problems.kbo_paper_iv(omega_star=W3), "omega_star has shape"),
    (lambda: problems.kbo_paper_iv(omega_star=[0, 1, np.nan, 1]), "omega_star is"),
    (lambda: problems.kbo_paper_iv().value_and_grad(W3), "omega has shape"),
    (lambda: problems.kbo_paper_iv().inner(W3, np.zeros((2, 3))), "omega has shape"),
    (lambda: problems.torus_regression(terms=5).value_and_grad(W3 * np.nan), "omega is"),
    (lambda: problems.torus_regression(0.0), "smoothness=0.0"),
    (lambda: problems.torus_regression(0.5), "smoothness=0.5"),
    (lambda: problems.torus_regression(-1.0), "smoothness=-1.0"),
    (lambda: problems.torus_regression(1.0, 0.0), "ridge=0.0"),
    (lambda: problems.torus_regression(1.0, -1e-3), "ridge=-0.001"),
    (lambda: problems.torus_regression(terms=2), "terms=2 leaves out the wave"),
    (lambda: problems.torus_regression(terms=4.5), "terms=4.5"),
    (lambda: problems.torus_regression(noise=0.0), "noise=0.0"),
    (lambda: problems.torus_networks(ridge=0.0), "ridge=0.0"),
    (lambda: problems.logistic_weights(ridge=0.0), "ridge=0.0"),
    (lambda: problems.huber_targets(ridge=np.inf), "ridge=inf"),
    (lambda: problems.poisson_rates(ridge=-0.1), "ridge=-0.1"),
    (lambda: GaussianHermite(0.0), "lengthscale=0.0"),
    (lambda: GaussianHermite(0.5, 0), "size=0"),
    (lambda: LargeSamplePopulation(problems.torus_regression(), 20, 1), "repeats=1"),
    (lambda: LargeSamplePopulation(problems.torus_regression(), 1, 4), "size=1"),
    (lambda: LinearPopulation("x", ProductWaves(np.ones((2, 1)), [[2.0]], [GaussianHermite(1.0)]),
                              1.0, None, 0.1, None, (np.ones(1), np.zeros(1))), "box="),
    (lambda: LinearPopulation("x", ProductWaves(np.ones((3, 1)), [[2.0]], [GaussianHermite(1.0)]),
                              1.0, None, 0.1, None, (np.zeros(1), np.ones(1))), "waves has 3"),
    (lambda: estimators.Forgets("ridge")(problems.torus_regression().sample(5, 5, 0), True),
     "part='ridge'"),
]


@pytest.mark.parametrize(("call", "message"), NONSENSE, ids=[message for _, message in NONSENSE])
def test_nonsense_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        call()


# -- ω in every part -------------------------------------------------------------------------------


def central(function, omega, step=1e-5):
    return np.array([(function(omega + step * e) - function(omega - step * e)) / (2 * step)
                     for e in np.eye(len(omega))])


def likelihood_in_numpy(omega):
    """Value of predictive_likelihood by 200 nodes: kernel ridge on the noiseless signal."""
    x, w = np.polynomial.legendre.leggauss(200)
    w, f = w / 2, np.sin(3 * x) + 0.5 * np.cos(2 * x)
    K = np.exp(-0.5 * (x[:, None] - x) ** 2 / np.exp(2 * omega[0]))
    h = K @ np.linalg.solve(w[:, None] * K + np.exp(omega[1]) * np.eye(200), w * f)
    return w @ (0.5 * ((h - f) ** 2 + 0.25)) * np.exp(-omega[2]) + 0.5 * omega[2]


def logistic_in_numpy(omega):
    """Value of calibrated_logistic by 120 nodes: Newton's method for Σ over labels and groups."""
    x, w = np.polynomial.legendre.leggauss(120)
    w, sigmoid = w / 2, special.expit
    clean = sigmoid(3 * np.sin(3 * x))
    K = np.exp(-0.5 * (x[:, None] - x) ** 2 / np.exp(2 * omega[0])) + 0.25 * np.outer(x, x)
    ridge, theta = np.exp(omega[1]), np.zeros(120)
    good, bad = sigmoid(omega[3]), sigmoid(-omega[3])
    positive = 0.5 * (good * clean + bad * (0.5 * clean + 0.25))  # of label 1, weighted
    total = 0.5 * (good + bad)
    for _ in range(30):
        h = K @ theta
        slope = w * (total * sigmoid(h) - positive)
        curvature = w * total * sigmoid(h) * sigmoid(-h)
        residual = slope + ridge * theta
        theta = theta - np.linalg.solve(curvature[:, None] * K + ridge * np.eye(120), residual)
    assert np.abs(residual).max() < 1e-12
    h = K @ theta * np.exp(omega[2])
    return w @ (clean * np.logaddexp(0, -h) + (1 - clean) * np.logaddexp(0, h))


TUNED = {"predictive_likelihood": likelihood_in_numpy, "calibrated_logistic": logistic_in_numpy}


@pytest.fixture(scope="module", params=TUNED)
def tuned(request):
    return problems.PROBLEMS[request.param](), TUNED[request.param]


def test_tuned_problems_against_numpy(tuned):
    problem, own = tuned
    for omega in (problem.start(1), problem.box[0], problem.box[1]):
        value, grad = problem.value_and_grad(omega)
        assert value == pytest.approx(own(omega), abs=1e-7)
        np.testing.assert_allclose(grad, central(own, omega), atol=1e-6)
    assert problem.error_bound < 1e-6 and not problem.quadratic


def test_tuned_problems_have_omega_in_every_part(tuned):
    """Without any one of its terms the gradient is another."""
    problem, _ = tuned
    sample, omega = problem.sample(40, 40, 0), problem.start(2)
    right = estimators.Plain()(sample, False).value_and_grad(omega)
    for part in ("outer_loss", "space", "ridge"):
        value, grad = estimators.Forgets(part)(sample, False).value_and_grad(omega)
        assert value == pytest.approx(right[0], rel=1e-9)
        changed = np.abs(grad - right[1]) > 1e-4
        expected = {"outer_loss": 2, "space": 0, "ridge": 1}[part]
        np.testing.assert_array_equal(np.flatnonzero(changed), [expected])


def test_samples_of_tuned_problems_are_of_their_population(tuned):
    problem, _ = tuned
    omega = problem.start(3)
    exact = np.append(*problem.value_and_grad(omega))
    found = theory.hypergradient_interval(problem.sample(300, 300, 1), omega, splits=0)
    error = np.append(found.value, found.grad) - exact
    assert (np.abs(error) < 5 * np.append(found.value_error, found.grad_error)).all()


# -- a user's own problem --------------------------------------------------------------------------


def features(x):
    return np.stack([np.sin(3 * x), np.cos(2 * x)], 1)


def rule(level):
    x, p = gauss_legendre(level)
    return (x[:, None], features(x), p), (x[:, None], np.sin(2 * x), p)


def draw(random, n):
    x = random.uniform(-1, 1, (n, 1))
    return (x, features(x[:, 0])), (x, np.sin(2 * x[:, 0]))


@pytest.fixture(scope="module")
def own_problem():
    return QuadraturePopulation(
        "mine",
        (lambda w, h, t: 0.5 * (h - t @ w[:2]) ** 2,
         lambda w, h, y: 0.5 * (h - y) ** 2 * jnp.exp(0.5 * w[2]) + 0.3 * w[1] * h),
        kbo.kernels.Gaussian(0.4), 0.02, rule, draw, (-np.ones(3), np.ones(3)),
    )


def test_a_users_problem_against_numpy(own_problem):
    x, w = np.polynomial.legendre.leggauss(200)
    w, y = w / 2, np.sin(2 * x)
    K = np.exp(-0.5 * ((x[:, None] - x) / 0.4) ** 2)
    H = K @ np.linalg.solve(w[:, None] * K + 0.02 * np.eye(200), w[:, None] * features(x))

    def own(omega):
        h = H @ omega[:2]
        return w @ (0.5 * (h - y) ** 2 * np.exp(0.5 * omega[2]) + 0.3 * omega[1] * h)

    value, grad = own_problem.value_and_grad(W3)
    assert value == pytest.approx(own(W3), abs=1e-9)
    np.testing.assert_allclose(grad, central(own, W3), atol=1e-8)


def test_an_estimator_that_forgets_the_outer_losss_own_derivative_is_found_out(own_problem):
    sizes = [(25, 50), (50, 100), (100, 200)]
    wrong = theory.fit_rate(theory.run_rate_experiment(
        own_problem, sizes, 20, ["grad"], omega=W3, estimator=estimators.Forgets("outer_loss")
    ))
    assert wrong.verdict == "inconsistent", wrong


W3 = np.array([0.3, -0.5, 0.8])


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


@pytest.mark.parametrize("name", sorted(problems.PROBLEMS))
def test_every_problem_keeps_the_promises_of_a_population(name):
    problem = problems.PROBLEMS[name]()
    start = problem.start(0)
    assert start.shape == (problem.size,)
    assert (start >= problem.box[0]).all() and (start <= problem.box[1]).all()
    value, grad = problem.value_and_grad(start)
    assert np.isfinite(value) and grad.shape == start.shape and np.isfinite(grad).all()
    direction = np.random.default_rng(0).normal(size=problem.size)
    direction /= np.linalg.norm(direction)
    ends = [problem.value_and_grad(start + step * direction)[0] for step in (1e-4, -1e-4)]
    slope = (ends[0] - ends[1]) / 2e-4
    assert abs(slope - grad @ direction) < 1e-5 * max(1.0, np.linalg.norm(grad))
    sample = problem.sample(7, 5, 0)
    assert (sample.inner_data.size, sample.outer_data.size) == (7, 5)
    assert len(problem.points(3, 0)) == 3
