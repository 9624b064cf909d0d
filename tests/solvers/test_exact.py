"""The exact solver: right from any start, honest about jitter, errors and convexity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import kbo
from kbo import linalg
from kbo.hypergradients import fused
from kbo.search.session import canonical
from kbo.solvers._newton import coupled
from tests import helpers


def solve(problem, omega, state=None, **options):
    problem, omega = canonical(problem, omega)
    return kbo.solvers.Exact(**options).solve(problem.at(omega), state)


@pytest.mark.parametrize("loss", helpers.LOSSES)
@pytest.mark.parametrize("space", ["gaussian", "features"])
def test_inner_solution_is_stationary(space, loss, x64):
    """∇J = 0, checked with the loss's own derivatives and no solver code."""
    problem, omega = helpers.everything_problem(space, loss)
    p, w = canonical(problem, omega)
    solution = solve(problem, omega)
    instance = p.at(w)
    slopes = np.asarray(instance.inner_slopes(jnp.asarray(solution.h_inner)))[0]
    weights = np.asarray(instance.inner.weights)
    pull = weights[:, None] * slopes / weights.sum()
    theta, ridge = solution.coefficients[0], float(instance.ridge[0])
    if space == "gaussian":
        residual = pull + ridge * theta
    else:
        phi = np.asarray(jax.vmap(instance.space.feature_map)(instance.inner.x))
        residual = phi.T @ pull + ridge * theta
    assert np.abs(residual).max() <= 1e-9 * ridge * np.abs(theta).max()
    assert solution.status is kbo.Status.CONVERGED
    assert solution.jitter == 0


@pytest.mark.parametrize("loss", ["logistic", "poisson", "huber", "multinomial", "quantile"])
def test_newton_converges_from_any_start_to_the_same_answer(loss, x64):
    problem, omega = helpers.everything_problem("gaussian", loss)
    cold = solve(problem, omega)
    for seed, size in enumerate([0.01, 1.0, 30.0, 1e4, 1e8]):  # at the last, exp(v) overflows
        rng = np.random.default_rng(seed)
        start = size * rng.normal(size=cold.coefficients.shape)
        warm = solve(problem, omega, [start])
        assert warm.status is kbo.Status.CONVERGED
        np.testing.assert_allclose(
            warm.h_inner, cold.h_inner, atol=1e-8 * np.abs(cold.h_inner).max()
        )


def test_logistic_solution_against_scipy(x64):
    x, t, x_out, _ = helpers.data(25)
    t = np.sign(t)
    K = np.asarray(kbo.kernels.Gaussian(1.0).matrix(jnp.asarray(x), jnp.asarray(x)))
    root = np.linalg.cholesky(K + 1e-13 * np.eye(25))
    objective = lambda u: np.mean(np.logaddexp(0, -t * (root @ u))) + 0.05 * u @ u
    reference = root @ scipy.optimize.minimize(objective, np.zeros(25), tol=1e-14).x
    problem = kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out[:3], t[:3]),
        kbo.RKHS(kbo.kernels.Gaussian(1.0)), 0.1,
    )
    np.testing.assert_allclose(solve(problem, 0.0).h_inner[0, :, 0], reference, atol=1e-5)


@pytest.mark.parametrize("limit", [0, 10**6])
def test_coupled_curvatures_dense_and_iterative(limit, x64, monkeypatch):
    monkeypatch.setattr(coupled, "COUPLED_DENSE_LIMIT", limit)
    special, omega = helpers.folds_problem("multinomial")
    # The same loss as a callable: nothing is known of its curvature.
    loss = lambda w, v, t: jax.nn.logsumexp(v) - v[t]
    problem = special.replace(inner_loss=loss)
    hg = kbo.value_and_hypergradient(problem, omega)
    assert kbo.check_hypergradient(problem, omega).relative_error < 1e-7
    other = kbo.value_and_hypergradient(special, omega)
    np.testing.assert_allclose(hg.value, other.value, rtol=1e-10)
    np.testing.assert_allclose(helpers.flat(hg.grad), helpers.flat(other.grad), rtol=1e-8)


def test_zero_weight_is_absence(x64):
    x, t, x_out, y = helpers.data(30)
    weights = np.ones(30)
    weights[[3, 10, 29]] = 0
    kept = weights > 0

    def gradient(sample):
        problem = kbo.BilevelProblem(
            kbo.losses.Logistic(), kbo.losses.Squared(), sample, kbo.Sample(x_out, y),
            lambda w: kbo.RKHS(kbo.kernels.Matern32(w["l"])), lambda w: jnp.exp(w["r"]),
        )
        return helpers.flat(kbo.value_and_hypergradient(problem, {"l": 1.2, "r": -4.0}).grad)

    labels = np.sign(t)
    np.testing.assert_allclose(
        gradient(kbo.Sample(x, labels, weights)), gradient(kbo.Sample(x[kept], labels[kept])),
        rtol=1e-10,
    )


def test_scattered_folds_equal_contiguous_ones(x64):
    """More than 32 runs of indices take the gathering path."""
    x, t, _, _ = helpers.data(200, 1)
    train = np.ones((2, 200))
    train[0, ::2] = 0
    train[1, 1::2] = 0
    order = np.argsort(np.arange(200) % 2, kind="stable")

    def value(rows):
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x[rows], t[rows], train[:, rows]),
            kbo.Sample(x[rows], t[rows], 1 - train[:, rows]), kbo.RKHS(kbo.kernels.Gaussian()),
            lambda w: jnp.exp(w),
        )
        return kbo.value_and_hypergradient(problem, -3.0)

    a, b = value(np.arange(200)), value(order)
    np.testing.assert_allclose(a.value, b.value, rtol=1e-11)
    np.testing.assert_allclose(a.grad, b.grad, rtol=1e-9)


def test_one_factorisation_serves_inner_adjoint_and_outputs(x64, monkeypatch):
    made = []
    monkeypatch.setattr(fused, "LARGEST", 0)  # the program of few points does not ask LAPACK
    init = linalg.Cholesky.__init__
    monkeypatch.setattr(
        linalg.Cholesky, "__init__", lambda self, build: (made.append(1), init(self, build))[1]
    )
    kbo.value_and_hypergradient(*helpers.folds_problem("squared_vector"))
    assert len(made) == 3  # one per fold


def test_memory_and_warm_start_never_change_the_answer(x64):
    for loss in ("squared", "logistic"):
        problem, omega = helpers.folds_problem(loss)
        moved = {**omega, "log_ridge": -2.0}
        cold = kbo.value_and_hypergradient(problem, moved)
        state = kbo.value_and_hypergradient(problem, omega).state
        warm = kbo.value_and_hypergradient(problem, moved, state=state)
        tolerance = 0 if loss == "squared" else 1e-9
        np.testing.assert_allclose(warm.value, cold.value, rtol=tolerance)
        np.testing.assert_allclose(
            helpers.flat(warm.grad), helpers.flat(cold.grad), rtol=tolerance, atol=tolerance
        )


def indefinite(ridge):
    x, t, x_out, y = helpers.data()
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        kbo.RKHS(lambda a, b: -jnp.exp(-jnp.sum((a - b) ** 2))), ridge, penalty=jnp.sum,
    )


def test_indefinite_kernel_is_an_error_or_a_status(x64):
    with pytest.raises(kbo.BilevelError, match="positive semi-definite"):
        kbo.value_and_hypergradient(indefinite(1e-3), 0.0)
    hg = kbo.value_and_hypergradient(indefinite(1e-3), 0.0, throw=False)
    assert hg.status is kbo.Status.SINGULAR
    assert hg.value == np.inf


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(
    "solver", [None, kbo.solvers.Nystrom(20), kbo.solvers.Falkon(20), kbo.solvers.FullCG()]
)
def test_non_convex_inner_loss_is_reported(solver, coupled, x64):
    x, t, x_out, y = helpers.data()
    if coupled:
        t, y = np.stack([t, t**2], 1), np.stack([y, y**2], 1)
    problem = kbo.BilevelProblem(
        lambda w, v, t: -jnp.exp(-jnp.sum((v - 3 * t) ** 2)), kbo.losses.Squared(),
        kbo.Sample(x, t), kbo.Sample(x_out, y), kbo.RKHS(kbo.kernels.Gaussian()), 1e-2,
        penalty=jnp.sum, n_outputs=2 if coupled else None,
    )
    hg = kbo.value_and_hypergradient(problem, 0.0, solver=solver, throw=False)
    assert hg.status is kbo.Status.NOT_CONVEX


def test_too_few_newton_steps_is_a_status(x64):
    problem, omega = helpers.everything_problem("gaussian", "poisson")
    solver = kbo.solvers.Exact(max_newton=1)
    hg = kbo.value_and_hypergradient(problem, omega, solver=solver, throw=False)
    assert hg.status is kbo.Status.INNER_NOT_CONVERGED
    loose = kbo.solvers.Exact(tol=1e-2)
    problem, at = canonical(problem, omega)
    assert solve(problem, omega).residual < 1e-2 * loose.solve(problem.at(at)).residual


@pytest.mark.parametrize("solver", [kbo.solvers.Exact(), kbo.solvers.Nystrom(12)])
def test_an_h_of_the_size_of_rounding_is_solved(solver, x64):
    # Rates of almost exactly one: h = 1e-16, and its slopes exp(h) − t are rounding errors.
    x, t, x_out, y = helpers.data()
    problem = kbo.BilevelProblem(
        lambda w, v, t: jnp.exp(v) - jnp.exp(w * t) * v, kbo.losses.Squared(), kbo.Sample(x, t),
        kbo.Sample(x_out, y), kbo.RKHS(kbo.kernels.Gaussian()), 1e-1,
    )
    for omega in (0.0, 1e-17, 1e-16, 3e-16, -1e-15):
        assert kbo.value_and_hypergradient(problem, omega, solver=solver, throw=False).status.ok


def test_the_value_of_an_unsolved_problem_is_that_of_its_function(x64):
    """Far beyond rounding Λ may be anything; the value reported stays that of the h returned."""
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(300, 2)), rng.normal(size=(300, 4))
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x[:250], targets[:250]),
        kbo.Sample(x[250:], targets[250:]), kbo.RKHS(kbo.kernels.Gaussian(1e4)),
        lambda w: jnp.exp(w), n_outputs=4,
    )
    hg = kbo.value_and_hypergradient(problem, np.log(1e-20), throw=False)
    assert not hg.status.ok
    predicted = np.asarray(hg.inner(x[250:]))
    value = np.mean(np.sum((predicted - targets[250:]) ** 2, 1)) / 2
    assert hg.value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-16, 1e-9, 1.0])
def test_small_targets_are_solved_to_the_same_relative_accuracy(size, x64):
    """√(1 + u²) − 1 is 0 for small u, in floating point: its slope is not."""
    x, t, x_out, y = helpers.data()
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: jnp.sqrt(1 + (v - w * t) ** 2) - 1,
        outer_loss=kbo.losses.Squared(), inner_data=kbo.Sample(x, t),
        outer_data=kbo.Sample(x_out, 0 * y), space=kbo.RKHS(kbo.kernels.Gaussian(1.0)), ridge=0.1,
    )
    found = kbo.value_and_hypergradient(problem, size)  # raises where it is not solved
    if size and size < 1e-3:  # the loss is ½u² there
        squared = problem.replace(inner_loss=lambda w, v, t: 0.5 * (v - w * t) ** 2)
        expected = kbo.value_and_hypergradient(squared, size)
        np.testing.assert_allclose(found.inner(x), expected.inner(x), rtol=1e-9)
        np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-8)


def test_what_rounding_leaves_of_a_direct_solve_is_refined(x64):
    """At the edge of double precision one solve is rarely enough; corrections mostly make it so."""
    n, alpha, solved = 400, 1e-7, 0
    kernel, squared = kbo.kernels.Matern52(100.0), kbo.losses.Squared()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 5))
        y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)
        y -= y.mean()
        sample = kbo.Sample(X, y)
        problem = kbo.BilevelProblem(
            squared, squared, sample, sample, kbo.RKHS(kernel), alpha / n
        )
        found = kbo.value_and_hypergradient(problem, {"unused": 0.0}, throw=False)
        values, vectors = np.linalg.eigh(kernel.matrix(jnp.asarray(X), jnp.asarray(X)))
        shares = np.maximum(values, 0) / (np.maximum(values, 0) + alpha)
        fitted = vectors @ (shares * (vectors.T @ y))
        if found.status.ok:
            np.testing.assert_allclose(found.inner(X), fitted, atol=0.01 * y.std())
        solved += found.status.ok
    assert solved >= 4  # one of six without corrections
