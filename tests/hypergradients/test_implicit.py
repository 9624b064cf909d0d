"""Hypergradients against oracles that know nothing of adjoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

import kbo
from tests import helpers

SQUARED = [(k, "squared") for k in helpers.SPACES]
EASY = SQUARED[::2]
EASY += [("gaussian_ard", loss) for loss in helpers.LOSSES if loss != "squared"]
ALL = SQUARED[1::2]
ALL += [(k, loss) for k in helpers.SPACES for loss in helpers.LOSSES if (k, loss) not in EASY + ALL]


def relative_errors(problem, omega, step=1e-3):
    """Per block of ω: ‖hypergradient − central differences‖ / ‖central differences‖."""
    ours = kbo.value_and_hypergradient(problem, omega)
    oracle = kbo.value_and_hypergradient(
        problem, omega, method=kbo.hypergradients.FiniteDifference(step=step)
    )
    np.testing.assert_allclose(ours.value, oracle.value, rtol=1e-12)
    return {
        name: np.linalg.norm(helpers.flat(ours.grad[name]) - helpers.flat(oracle.grad[name]))
        / max(np.linalg.norm(helpers.flat(oracle.grad[name])), 1e-3 * abs(oracle.value))
        for name in omega
    }


def assert_right(space, loss):
    step = 1e-5 if space == "laplacian" or loss == "huber" else 1e-3  # no kink within a step
    errors = relative_errors(*helpers.everything_problem(space, loss), step)
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize(("space", "loss"), EASY)
def test_every_dependence_against_central_differences(space, loss, x64):
    assert_right(space, loss)


@pytest.mark.slow
@pytest.mark.parametrize(("space", "loss"), ALL)
def test_every_kernel_with_every_loss(space, loss, x64):
    assert_right(space, loss)


@pytest.mark.parametrize("loss", ["squared", "logistic", "multinomial"])
def test_folds_against_central_differences(loss, x64):
    errors = relative_errors(*helpers.folds_problem(loss))
    assert max(errors.values()) <= 1e-6, errors


def iv_problem(n=60, m=50, seed=0):
    rng = np.random.default_rng(seed)

    def draw(k):
        x = rng.normal(size=(k, 3))
        eta = rng.normal(size=k) * np.sqrt(0.1)
        t = 2 * x.sum(1) + eta
        y = np.sin(t[:, None] + np.arange(1, 5)) @ rng.uniform(size=4) + eta / 2
        return x, t, y

    x, t, _ = draw(n)
    x_out, _, y = draw(m)
    features = lambda t: jnp.sin(t + jnp.arange(1, 5))
    problem = kbo.BilevelProblem(
        inner_loss=lambda w, v, t: 0.5 * (v - features(t) @ w) ** 2,
        outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
        space=kbo.RKHS(kbo.kernels.Gaussian(0.2)), ridge=1e-2,
    )
    Phi = np.sin(t[:, None] + np.arange(1, 5))
    k = lambda a, b: np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * 0.2**2))
    A = k(x_out, x) @ np.linalg.solve(k(x, x) + n * 1e-2 * np.eye(n), Phi)
    return problem, A, y


def test_instrumental_variables_in_closed_form(x64):
    problem, A, y = iv_problem()
    omega = np.random.default_rng(1).uniform(size=4)
    hg = kbo.value_and_hypergradient(problem, omega)
    residual = A @ omega - y
    np.testing.assert_allclose(hg.value, 0.5 * np.mean(residual**2), rtol=1e-10)
    np.testing.assert_allclose(hg.grad, A.T @ residual / len(y), rtol=1e-10)


@pytest.mark.slow
def test_differentiating_the_discretised_problem_gives_the_same(x64):
    """Proposition 3.1: automatic differentiation through a dense solve, no adjoint by hand."""
    x, t, x_out, y = helpers.data(40, 30)
    omega = {"l": np.array([0.9, 1.4, 2.0]), "r": -3.5}
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(w["l"])), lambda w: jnp.exp(w["r"]),
    )

    def discretised(w):
        s = lambda a, b: jnp.sum(((a[:, None] - b[None]) / w["l"]) ** 2, -1)
        K = jnp.exp(-0.5 * s(jnp.asarray(x), jnp.asarray(x)))
        theta = jnp.linalg.solve(K + len(x) * jnp.exp(w["r"]) * jnp.eye(len(x)), jnp.asarray(t))
        h = jnp.exp(-0.5 * s(jnp.asarray(x_out), jnp.asarray(x))) @ theta
        return 0.5 * jnp.mean((h - y) ** 2)

    hg = kbo.value_and_hypergradient(problem, omega)
    expected = jax.grad(discretised)(jax.tree.map(jnp.asarray, omega))
    for name in omega:
        np.testing.assert_allclose(hg.grad[name], expected[name], rtol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "params"),
    [
        (kbo.kernels.Gaussian(1.5), {"kernel": "rbf", "gamma": 1 / (2 * 1.5**2)}),
        (kbo.kernels.Laplacian(1.5), {"kernel": "laplacian", "gamma": 1 / 1.5}),
        (kbo.kernels.Polynomial(3, 2.0, 1.0), {"kernel": "poly", "gamma": 0.25, "coef0": 1.0}),
        (kbo.kernels.Linear(1.0), {"kernel": "linear"}),
    ],
)
def test_predictions_are_those_of_kernel_ridge(kernel, params, x64):
    x, t, x_out, y = helpers.data(50, 20)
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        kbo.RKHS(kernel), lambda w: jnp.exp(w) / 50,
    )
    hg = kbo.value_and_hypergradient(problem, np.log(0.3))
    expected = KernelRidge(alpha=0.3, **params).fit(x, t).predict(x_out)
    np.testing.assert_allclose(hg.inner(x_out), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ["squared_vector", "logistic"])
@pytest.mark.parametrize("method", helpers.HYPERGRADIENTS)
@pytest.mark.parametrize("solver", ["exact", "exact_tight"])
def test_every_method_agrees(solver, method, loss, x64):
    problem, omega = helpers.folds_problem(loss)
    reference = kbo.value_and_hypergradient(problem, omega)
    method = helpers.HYPERGRADIENTS[method]
    if isinstance(method, kbo.hypergradients.Mean):
        method = kbo.hypergradients.Mean((problem, problem))
    found = kbo.value_and_hypergradient(
        problem, omega, solver=helpers.SOLVERS[solver][0], method=method
    )
    np.testing.assert_allclose(found.value, reference.value, rtol=1e-12)
    np.testing.assert_allclose(helpers.flat(found.grad), helpers.flat(reference.grad), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", ["squared_vector", "logistic"])
@pytest.mark.parametrize("solver", helpers.SOLVERS)
def test_every_solver_agrees(solver, loss, x64):
    if solver == "falkon_library":
        pytest.importorskip("falkon", reason="the falkon library is not installed")
    problem, omega = helpers.folds_problem(loss)
    reference = kbo.value_and_hypergradient(problem, omega)
    solver, method, accuracy = helpers.SOLVERS[solver]
    found = kbo.value_and_hypergradient(problem, omega, solver=solver, method=method)
    assert found.status.ok
    expected = helpers.flat(reference.grad)
    error = np.linalg.norm(helpers.flat(found.grad) - expected)
    assert error <= accuracy * np.linalg.norm(expected)
    np.testing.assert_allclose(found.value, reference.value, rtol=accuracy)


@pytest.mark.parametrize("name", helpers.JOINTS)
def test_joint_outer_losses_against_central_differences(name, x64):
    problem, omega = helpers.everything_problem("gaussian", "squared_vector")
    t = helpers.data()[3]
    outer = kbo.Sample(problem.outer_data.x, t)
    problem = problem.replace(outer_loss=helpers.JOINTS[name], outer_data=outer)
    assert max(relative_errors(problem, omega).values()) <= 1e-6


def float32_and_float64_gradients():
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(400, 3)), rng.normal(size=(200, 3))
    label = lambda z: np.sign(np.sin(z.sum(1)) + 0.3 * rng.normal(size=len(z)))
    t, y = label(x), label(x_out)

    def gradient(dtype):
        problem = kbo.BilevelProblem(
            kbo.losses.Logistic(), kbo.losses.Logistic(),
            kbo.Sample(x.astype(dtype), t.astype(dtype)),
            kbo.Sample(x_out.astype(dtype), y.astype(dtype)),
            lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["l"]))), lambda w: jnp.exp(w["r"]),
        )
        omega = {"l": np.full(3, 0.3, dtype), "r": np.asarray(np.log(1e-4), dtype)}
        return helpers.flat(kbo.value_and_hypergradient(problem, omega).grad)

    with jax.enable_x64(True):
        reference = gradient(np.float64)
    with jax.enable_x64(False):
        single = gradient(np.float32)
    return single, reference


def test_single_precision_keeps_five_digits():
    single, reference = float32_and_float64_gradients()
    assert single.dtype == np.float32
    assert np.linalg.norm(single - reference) <= 1e-5 * np.linalg.norm(reference)


def test_single_precision_warns_where_the_ridge_is_small():
    x, t, x_out, y = (a.astype(np.float32) for a in helpers.data())
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
        kbo.RKHS(kbo.kernels.Gaussian()), lambda w: jnp.exp(w),
    )
    with jax.enable_x64(False), pytest.warns(UserWarning, match="jax_enable_x64"):
        kbo.value_and_hypergradient(problem, np.float32(-10.0), throw=False)


def test_new_numbers_mean_no_new_compilation(x64):
    traces = []
    x, t, x_out, y = helpers.data()

    def loss(w, v, t):
        traces.append(1)
        return 0.5 * (v - t) ** 2

    def run(lengthscale, ridge, omega):
        problem = kbo.BilevelProblem(
            loss, kbo.losses.Squared(), kbo.Sample(x, t), kbo.Sample(x_out, y),
            kbo.RKHS(kbo.kernels.Gaussian(lengthscale)), ridge, penalty=jnp.sum,
        )
        kbo.value_and_hypergradient(problem, omega)

    run(1.0, 0.1, np.float64(1.0))
    first = len(traces)
    for number in (float, np.float32, np.float64):
        run(number(1.2), number(0.2), number(0.5))
        run(number(1.3), number(0.3), 2.0)
    assert len(traces) == first


def test_a_left_out_point_may_overflow(x64):
    """Zero weight times an infinite slope is nothing, not NaN."""
    x = np.concatenate([np.linspace(0, 1, 20), [40.0]])[:, None]
    t = np.concatenate([np.arange(20.0) // 4, [0.0]])
    problem = kbo.BilevelProblem(
        kbo.losses.Poisson(), kbo.losses.Squared(),
        kbo.Sample(x, t, np.r_[np.ones(20), 0.0]), kbo.Sample(x[:20], t[:20]),
        lambda w: kbo.RKHS(kbo.kernels.Polynomial(3, jnp.exp(w), 1.0)), 1e-3,
    )
    hg = kbo.value_and_hypergradient(problem, -1.0)
    assert np.isfinite(hg.grad)
    assert np.isfinite(hg.error_bound)
    assert kbo.check_hypergradient(problem, -1.0).relative_error < 1e-4  # k(x, x) is up to 1e11
