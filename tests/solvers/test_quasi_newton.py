"""Quasi-Newton inner problems."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.hypergradients import CG, LinearLBFGS, NystromInverse, Parametric, Shine
from kbo.optimizers import HOAG, LBFGS, BayesianSearch, GridSearch, RandomSearch
from kbo.solvers import QuasiNewton
from tests import helpers
from tests.helpers import logistic_regression

pytestmark = pytest.mark.usefixtures("x64")
PRECISE = QuasiNewton(tol=1e-12, memory=60, max_steps=5000)


def relative(found, expected):
    found, expected = helpers.flat(found.grad), helpers.flat(expected.grad)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("space", "loss"),
    [("features", "logistic"), ("features", "multinomial"), ("gaussian", "squared")],
)
def test_inner_solutions_and_exact_adjoints_are_those_of_newton(space, loss):
    problem, omega = helpers.everything_problem(space, loss)
    exact = kbo.value_and_hypergradient(problem, omega)
    found = kbo.value_and_hypergradient(problem, omega, solver=PRECISE, method=Parametric(CG(500)))
    # The conditioning of kernel coefficients is that of the matrix, squared.
    accuracy = 1e-7 if space == "gaussian" else 1e-8
    assert relative(found, exact) <= accuracy
    assert found.value == pytest.approx(exact.value, rel=accuracy)
    assert found.cost.gradients > 5 and found.cost.products > 2
    x = helpers.data()[2]
    np.testing.assert_allclose(found.inner(x), exact.inner(x), atol=1e-6)


def test_the_values_error_is_of_second_order_in_the_tolerance():
    """Of L − vᵀ∂_θJ, where that of L at θ itself would be of first order."""
    problem, (low, _) = logistic_regression()
    exact = kbo.value_and_hypergradient(problem, low / 2)
    left, values, grads = [], [], []
    for tol in (3e-2, 3e-3, 3e-4, 3e-5):
        found = kbo.value_and_hypergradient(
            problem, low / 2, solver=QuasiNewton(tol=tol), method=Parametric(CG(100, tol=0.0))
        )
        left.append(found.residuals.inner)
        values.append(abs(found.value - exact.value))
        grads.append(relative(found, exact))
    slope = lambda errors: np.polyfit(np.log(left), np.log(errors), 1)[0]
    assert slope(values) > 1.6
    assert 0.6 < slope(grads) < 1.4


def test_by_default_the_linear_system_is_solved_as_well_as_the_inner_problem():
    problem, (low, _) = logistic_regression()
    products, errors = {}, {}
    for tol in (None, 1e-3, 0.0):
        method = Parametric(CG(100, tol=tol))
        found = kbo.value_and_hypergradient(
            problem, low / 2, solver=QuasiNewton(tol=1e-3), method=method
        )
        products[tol], errors[tol] = found.cost.products, found.residuals.adjoint
    assert products[None] == products[1e-3] < products[0.0]
    assert errors[0.0] < 1e-10 < errors[None] == errors[1e-3] <= 1e-3


def test_a_loose_search_ends_where_a_tight_one_does_and_costs_less():
    problem, bounds = logistic_regression()
    found = [
        kbo.minimize(
            problem, 3.0, solver=QuasiNewton(loose=loose), method=Parametric(CG(100)), bounds=bounds
        )
        for loose in (0.0, 1e-3)
    ]
    tight, loose = found
    assert loose.omega == pytest.approx(tight.omega, abs=1e-3)
    assert loose.value == pytest.approx(tight.value, rel=1e-6)
    assert loose.history[-1].cost.gradients < 0.8 * tight.history[-1].cost.gradients


@pytest.mark.parametrize("loose", [1e-2, 0.1, 0.5])
@pytest.mark.parametrize("optimizer", [LBFGS(tol=1e-6), LBFGS(tol=1e-6, parts=(0.3,))], ids=str)
def test_however_loose_a_search_ends_at_a_value_of_the_solvers_own_tolerance(loose, optimizer):
    """Values of loose solutions are off by more than the steps lower them, up or down."""
    problem, bounds = logistic_regression()
    search = lambda loose, optimizer: kbo.minimize(
        problem, 3.0, solver=QuasiNewton(loose=loose), method=Parametric(CG(200)), bounds=bounds,
        optimizer=optimizer,
    )
    tight, found = search(0.0, LBFGS(tol=1e-6)), search(loose, optimizer)
    assert found.status is kbo.Status.CONVERGED
    assert found.omega == pytest.approx(tight.omega, abs=1e-3)
    exact = kbo.value_and_hypergradient(problem, found.omega)
    assert found.value == pytest.approx(exact.value, rel=1e-9)
    assert np.linalg.norm(exact.grad) < 2e-6


def test_replicates_are_one_problem_and_adjoints_are_left_to_the_method():
    problem, omega = helpers.folds_problem()
    problem = problem.replace(
        space=lambda w: kbo.FeatureSpace(lambda x: jnp.tanh(x / jnp.exp(w["log_l"])))
    )
    exact = kbo.value_and_hypergradient(problem, omega)
    for linear_solver in (CG(100), LinearLBFGS(300)):
        method = Parametric(linear_solver)
        found = kbo.value_and_hypergradient(problem, omega, solver=PRECISE, method=method)
        assert relative(found, exact) <= 1e-7
    with pytest.raises(ValueError, match=r"Parametric\(\)"):
        kbo.value_and_hypergradient(problem, omega, solver=PRECISE)


def test_it_goes_on_from_the_last_solution():
    problem, _ = logistic_regression()
    first = kbo.value_and_hypergradient(problem, -3.0, solver=PRECISE, method=Parametric())
    again = kbo.value_and_hypergradient(
        problem, -3.001, solver=PRECISE, method=Parametric(), state=first.state
    )
    assert again.cost.gradients < first.cost.gradients
    fresh = kbo.value_and_hypergradient(problem, -3.001, solver=PRECISE, method=Parametric())
    assert again.value == pytest.approx(fresh.value, rel=1e-10)


def test_too_few_steps_are_a_status_and_seeds_draw_networks():
    problem, omega = helpers.everything_problem("features", "logistic")
    few = kbo.value_and_hypergradient(
        problem, omega, solver=QuasiNewton(max_steps=3), method=Parametric(), throw=False
    )
    assert few.status is kbo.Status.INNER_NOT_CONVERGED
    network = problem.replace(space=kbo.NeuralSpace(kbo.networks.MLP((4,))))
    values = {
        kbo.value_and_hypergradient(
            network, omega, solver=QuasiNewton(200, 1e-3, seed=seed), method=Parametric(), throw=False
        ).value
        for seed in (0, 0, 1)
    }
    assert len(values) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuasiNewton(max_steps=0), "max_steps"), (lambda: QuasiNewton(memory=0), "memory"),
        (lambda: QuasiNewton(prescribe=0), "prescribe"), (lambda: QuasiNewton(tol=-1.0), "tol"),
        (lambda: QuasiNewton(loose=-1.0), "loose"),
        (lambda: Shine(refine=-1), "refine"), (lambda: NystromInverse(rank=0), "rank"),
        (lambda: NystromInverse(damping=0.0), "damping"), (lambda: LinearLBFGS(memory=0), "memory"),
        (lambda: HOAG("linear"), "schedule"), (lambda: HOAG(step=0.0), "step"),
        (lambda: GridSearch(1), "points"), (lambda: RandomSearch(0), "n_trials"),
        (lambda: BayesianSearch(0), "n_trials"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
