"""Searches in a simplex, a ball, or whatever a user can project onto."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

import kbo
from kbo.kernels import Gaussian, OnFeatures
from kbo.optimizers import LBFGS, ProjectedGradient
from kbo.regularizers import L1, Ball, Box, GroupLasso, Simplex
from tests import helpers

pytestmark = pytest.mark.usefixtures("x64")
D = 4
rng = np.random.default_rng(0)
X = rng.normal(size=(60, D))
Y = np.sin(2 * X[:, 0]) + 0.7 * X[:, 1] ** 2 + 0.1 * rng.normal(size=60)
START = np.full(D, 1 / D)


def weighted(w):
    total = w[0] * OnFeatures(Gaussian(1.0), (0,))
    for k in range(1, D):
        total = total + w[k] * OnFeatures(Gaussian(1.0), (k,))
    return kbo.RKHS(total)


def problem_of(space=weighted, ridge=1e-2, penalty=None):
    return kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X[:40], Y[:40]),
        kbo.Sample(X[40:], Y[40:]), space, ridge, penalty,
    )


def value(w):
    found = kbo.value_and_hypergradient(problem_of(), jnp.asarray(w))
    return found.value, np.array(found.grad, float)


def test_weights_of_kernels_on_a_simplex_are_scipys():
    found = kbo.minimize(problem_of(), START, optimizer=ProjectedGradient(Simplex()))
    expected = scipy_minimize(
        value, START, jac=True, method="SLSQP", bounds=[(0, 1)] * D,
        constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
        options={"ftol": 1e-14, "maxiter": 300},
    )
    assert found.status is kbo.Status.CONVERGED
    np.testing.assert_allclose(found.omega, expected.x, atol=1e-4)
    assert found.value <= expected.fun * (1 + 1e-8)
    assert float(jnp.sum(found.omega)) == pytest.approx(1) and found.omega.min() >= 0
    # The gradient itself is not small there: what is left of it within the simplex is.
    grad = value(found.omega)[1]
    rest = found.omega - Simplex().prox(jnp.asarray(found.omega - grad), 1.0)
    assert np.linalg.norm(rest) == pytest.approx(found.grad_norm, abs=1e-9)
    assert found.grad_norm <= 1e-6
    assert np.linalg.norm(grad) > 1e-2


@pytest.mark.parametrize("memory", [1, 10])
def test_in_a_box_it_ends_where_lbfgs_does(memory):
    optimizer = ProjectedGradient(Box(0.01, 0.5), memory=memory)
    found = kbo.minimize(problem_of(), START, optimizer=optimizer)
    known = kbo.minimize(problem_of(), START, optimizer=LBFGS(), bounds=(0.01, 0.5))
    np.testing.assert_allclose(found.omega, known.omega, atol=1e-5)
    assert found.value == pytest.approx(known.value, rel=1e-9)
    if memory == 1:
        values = [record.value for record in found.history]
        assert values == sorted(values, reverse=True)


def test_a_projection_of_ones_own_sees_the_users_structure():
    """Weights on a simplex, beside a ridge that is only bounded below."""
    problem = problem_of(lambda w: weighted(w["weights"]), lambda w: jnp.exp(w["log_ridge"]))
    project = lambda w: {
        "weights": Simplex().prox(w["weights"]), "log_ridge": jnp.maximum(w["log_ridge"], -6.0)
    }
    start = {"weights": START, "log_ridge": -3.0}
    found = kbo.minimize(problem, start, optimizer=ProjectedGradient(project, max_steps=500))
    assert found.status is kbo.Status.CONVERGED
    assert float(found.omega["weights"].sum()) == pytest.approx(1)
    for _ in range(20):
        other = project({
            "weights": found.omega["weights"] + 0.02 * rng.normal(size=D),
            "log_ridge": found.omega["log_ridge"] + 0.05 * rng.normal(),
        })
        assert kbo.value_and_hypergradient(problem, other).value >= found.value - 1e-9


def test_inside_the_set_it_is_a_gradient_method():
    problem, _ = helpers.logistic_regression()
    found = kbo.minimize(problem, 0.0, optimizer=ProjectedGradient(Ball(100.0), tol=1e-7))
    known = kbo.minimize(problem, 0.0)
    assert float(found.omega) == pytest.approx(float(known.omega), abs=1e-3)
    on_sphere = kbo.minimize(problem, 0.0, optimizer=ProjectedGradient(Ball(0.1)))
    assert abs(float(on_sphere.omega)) == pytest.approx(0.1)
    assert on_sphere.status is kbo.Status.CONVERGED


def test_a_loose_solver_is_tightened():
    problem, _ = helpers.logistic_regression()
    found = kbo.minimize(
        problem, 3.0, solver=kbo.solvers.QuasiNewton(loose=0.3),
        method=kbo.hypergradients.Parametric(kbo.hypergradients.CG(200)),
        optimizer=ProjectedGradient(Box(-8.0, 4.0)),
    )
    exact = kbo.value_and_hypergradient(problem, found.omega)
    assert found.status is kbo.Status.CONVERGED and abs(float(exact.grad)) < 2e-6
    assert found.value == pytest.approx(exact.value, rel=1e-9)


@pytest.mark.parametrize(
    "optimizer", [LBFGS(), ProjectedGradient(Box(-4.0, 3.0)), kbo.optimizers.GradientDescent()],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_however_a_loose_search_ends_its_value_is_one_to_the_solvers_own_tolerance(optimizer):
    labels = np.sign(Y - 0.5)
    problem = problem_of(kbo.RKHS(Gaussian(2.0)), lambda w: jnp.exp(w)).replace(
        inner_loss=kbo.losses.Logistic(), outer_loss=kbo.losses.Logistic(),
        inner_data=kbo.Sample(X[:40], labels[:40]), outer_data=kbo.Sample(X[40:], labels[40:]),
    )
    bounds = None if isinstance(optimizer, ProjectedGradient) else (-4.0, 3.0)
    found = kbo.minimize(
        problem, 2.0, solver=kbo.solvers.QuasiNewton(loose=0.3), optimizer=optimizer,
        method=kbo.hypergradients.Parametric(), bounds=bounds, throw=False,
    )
    exact = kbo.value_and_hypergradient(problem, found.omega)
    assert found.value == pytest.approx(exact.value, rel=1e-6)


def test_points_without_a_value_shorten_the_step():
    cliff = lambda w: jnp.where(w > 0.5, jnp.nan, (w - 1.0) ** 2)
    problem = problem_of(kbo.RKHS(Gaussian(1.0)), penalty=lambda w: 100 * cliff(w))
    found = kbo.minimize(problem, 0.0, optimizer=ProjectedGradient(Box(-1.0, 2.0)), throw=False)
    assert float(found.omega) == pytest.approx(0.5, abs=0.1) and not found.status.ok


def test_steps_run_out_and_a_start_without_a_value_is_said():
    short = kbo.minimize(problem_of(), START, optimizer=ProjectedGradient(Simplex(), max_steps=1))
    assert short.status is kbo.Status.STEPS_EXHAUSTED
    with pytest.raises(kbo.BilevelError, match="NON_FINITE"):
        kbo.minimize(
            problem_of(penalty=lambda w: jnp.sum(w) * jnp.nan), START,
            optimizer=ProjectedGradient(Simplex()),
        )


@pytest.mark.parametrize("penalty", [L1(0.1), GroupLasso(0.1, range(D)), 3, Simplex])
def test_what_is_no_set_is_refused(penalty):
    with pytest.raises(ValueError, match="set="):
        ProjectedGradient(penalty)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="memory=0"):
        ProjectedGradient(Simplex(), memory=0)
    with pytest.raises(ValueError, match="takes no bounds"):
        kbo.minimize(problem_of(), START, optimizer=ProjectedGradient(Simplex()), bounds=(0.0, 1.0))
    with pytest.raises(ValueError, match="omega0 is not in the set"):
        kbo.minimize(problem_of(), 2 * START, optimizer=ProjectedGradient(Simplex()))
