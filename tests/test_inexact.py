"""Quasi-Newton inner problems, what they know of the adjoint, HOAG, and searches without gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import kbo
from kbo.hypergradients import (
    CG,
    LBFGS,
    Identity,
    Implicit,
    Mean,
    MinMin,
    NystromInverse,
    Parametric,
    Shine,
    Stochastic,
)
from kbo.linalg.lbfgs import Memory, lbfgs
from kbo.optimizers import HOAG, BayesianSearch, GradientDescent, GridSearch, RandomSearch
from kbo.solvers import Exact, QuasiNewton

from . import helpers

pytestmark = pytest.mark.usefixtures("x64")
PRECISE = QuasiNewton(tol=1e-12, memory=60, max_steps=5000)
AWARE = QuasiNewton(tol=1e-12, memory=60, max_steps=5000, prescribe=2)


def relative(found, expected):
    found, expected = helpers.flat(found.grad), helpers.flat(expected.grad)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def cosine(found, expected):
    a, b = helpers.flat(found.grad), helpers.flat(expected.grad)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def logistic_regression(noise=2.0, n=200, d=10, seed=0):
    """ω = log ridge of logistic regression; the best one lies inside [−8, 4]."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2 * n, d)), rng.normal(size=d)
    t = np.sign(x @ w / np.sqrt(d) + noise * rng.normal(size=2 * n))
    problem = kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Logistic(), kbo.Sample(x[:n], t[:n]),
        kbo.Sample(x[n:], t[n:]), kbo.FeatureSpace(lambda x: x), lambda w: jnp.exp(w),
    )
    return problem, (-8.0, 4.0)


# L-BFGS itself


def test_it_minimises_what_scipy_minimises():
    rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    start = jnp.full(8, -0.5)
    of = jax.value_and_grad(rosenbrock)
    found = jax.jit(lambda x: lbfgs(of, x, Memory.empty(10, x), 500, 1e-9))(start)
    reference = scipy.optimize.minimize(
        rosenbrock, start, jac=jax.grad(rosenbrock), method="L-BFGS-B", options={"ftol": 0.0},
    )
    assert np.linalg.norm(found.grad) <= 1e-9
    np.testing.assert_allclose(found.x, reference.x, atol=1e-4)
    assert found.evaluations <= 2 * reference.nfev


def test_the_estimate_of_the_inverse_is_scipys():
    rng = np.random.default_rng(0)
    S = rng.normal(size=(5, 7))
    root = rng.normal(size=(7, 7))
    Y = S @ (root @ root.T + np.eye(7))
    memory = Memory.empty(4, jnp.zeros(7))
    for s, y in zip(S, Y, strict=True):  # one more than there is room for
        memory = memory.push(jnp.asarray(s), jnp.asarray(y))
    vector = rng.normal(size=7)
    # SciPy starts from the identity, we from γ of the last pair: both are exact on the pairs.
    gamma = (S[-1] @ Y[-1]) / (Y[-1] @ Y[-1])
    scaled = scipy.optimize.LbfgsInvHessProduct(S[1:] / np.sqrt(gamma), Y[1:] * np.sqrt(gamma))
    np.testing.assert_allclose(
        memory.inverse_times(jnp.asarray(vector)), gamma * scaled.matvec(vector), rtol=1e-10
    )
    unchanged = memory.push(jnp.asarray(S[0]), jnp.asarray(-Y[0]))
    assert unchanged.count == memory.count


# Inner solutions and adjoints


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


def test_replicates_are_one_problem_and_adjoints_are_left_to_the_method():
    problem, omega = helpers.folds_problem()
    problem = problem.replace(
        space=lambda w: kbo.FeatureSpace(lambda x: jnp.tanh(x / jnp.exp(w["log_l"])))
    )
    exact = kbo.value_and_hypergradient(problem, omega)
    for linear_solver in (CG(100), LBFGS(300)):
        method = Parametric(linear_solver)
        found = kbo.value_and_hypergradient(problem, omega, solver=PRECISE, method=method)
        assert relative(found, exact) <= 1e-7
    with pytest.raises(ValueError, match=r"Parametric\(\)"):
        kbo.value_and_hypergradient(problem, omega, solver=PRECISE)


@pytest.mark.parametrize(
    "loss", ["logistic", pytest.param("multinomial", marks=pytest.mark.slow)]
)
def test_shine_costs_no_product_and_prescribed_pairs_make_it_exact(loss):
    problem, omega = helpers.everything_problem("features", loss)
    exact = kbo.value_and_hypergradient(problem, omega)
    evaluate = lambda solver, linear_solver: kbo.value_and_hypergradient(
        problem, omega, solver=solver, method=Parametric(linear_solver)
    )
    plain, aware, refined = evaluate(PRECISE, Shine()), evaluate(AWARE, Shine()), evaluate(
        PRECISE, Shine(refine=3))
    nothing = evaluate(PRECISE, Identity())
    assert plain.cost.products == 0 and refined.cost.products == 5
    assert relative(aware, exact) < 1e-3 < relative(plain, exact) < relative(nothing, exact)
    assert relative(refined, exact) < relative(plain, exact)
    assert cosine(plain, exact) > 0.99 > cosine(nothing, exact)
    assert plain.residuals.adjoint == np.inf and refined.residuals.adjoint < 0.1


def test_nystroms_inverse_is_exact_on_all_coordinates_and_nears_it_with_their_number():
    problem, omega = helpers.everything_problem("features", "logistic")
    exact = kbo.value_and_hypergradient(problem, omega)
    errors = [
        relative(kbo.value_and_hypergradient(
            problem, omega, method=Parametric(NystromInverse(rank, damping))), exact)
        for rank, damping in ((1, 1e-2), (3, 1e-2), (6, 1e-2), (6, 1e-6))
    ]
    assert errors[0] > errors[2] and errors[3] < 1e-2 * errors[2]
    one, other = (
        helpers.flat(kbo.value_and_hypergradient(
            problem, omega, method=Parametric(NystromInverse(3, 1e-2, seed))).grad)
        for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 1e-6


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
        (lambda: NystromInverse(damping=0.0), "damping"), (lambda: LBFGS(memory=0), "memory"),
        (lambda: HOAG("linear"), "schedule"), (lambda: HOAG(step=0.0), "step"),
        (lambda: GridSearch(1), "points"), (lambda: RandomSearch(0), "n_trials"),
        (lambda: BayesianSearch(0), "n_trials"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_shine_needs_an_inner_estimate():
    problem, omega = helpers.everything_problem("features", "logistic")
    with pytest.raises(ValueError, match="QuasiNewton"):
        kbo.value_and_hypergradient(problem, omega, method=Parametric(Shine()))


# Minima


@pytest.mark.parametrize("gradient", ["analytic", "automatic", "implicit"])
def test_gradients_of_a_minimum_are_those_of_its_central_differences(gradient):
    problem, _ = logistic_regression()
    method = MinMin(gradient, 300, optax.sgd(0.5))
    of = lambda w: kbo.value_and_hypergradient(problem, w, method=method)
    expected = (of(-2.0 + 1e-5).value - of(-2.0 - 1e-5).value) / 2e-5
    assert of(-2.0).grad == pytest.approx(expected, rel=1e-6)
    # J itself, by Newton: the outer problem plays no part.
    h = kbo.value_and_hypergradient(problem, -2.0).inner
    data, theta = problem.inner_data, np.asarray(h.coefficients)[0, :, 0]
    losses = np.logaddexp(0, -np.asarray(data.target) * np.asarray(h(data.x)))
    assert of(-2.0).value == pytest.approx(losses.mean() + 0.5 * np.exp(-2.0) * theta @ theta)
    best = kbo.minimize(problem, -2.0, method=method, bounds=(-3.0, 4.0))
    assert best.omega == pytest.approx(-3.0)  # J falls with the ridge
    # A target that ω moves: what does not depend on θ counts too.
    moving = problem.replace(inner_loss=kbo.losses.SquaredTo(lambda w, t: t * w))
    value = kbo.value_and_hypergradient(moving, 0.3, method=method).value
    other = kbo.value_and_hypergradient(moving, 0.3, method=MinMin("analytic", 301, optax.sgd(0.5)))
    assert value == pytest.approx(other.value) and value > 0


def test_bad_settings_of_minima_are_refused():
    for settings, message in (({"gradient": "numeric"}, "gradient"), ({"steps": 0}, "steps")):
        with pytest.raises(ValueError, match=message):
            MinMin(**settings)


# HOAG


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": HOAG(), "solver": QuasiNewton(), "method": Parametric(CG(500))},
        {"optimizer": HOAG("quadratic", tol=1e-4), "solver": QuasiNewton(), "method": Parametric(LBFGS(500))},
        {"optimizer": HOAG("cubic"), "solver": Exact()},
        {"optimizer": HOAG(lambda k: 0.8**k), "solver": QuasiNewton(prescribe=2),
         "method": Parametric(Shine(refine=2))},
    ],
)
def test_hoag_ends_where_lbfgs_does(settings):
    problem, bounds = logistic_regression()
    best = kbo.minimize(problem, -6.0, bounds=bounds)
    assert bounds[0] < best.omega < bounds[1]
    found = kbo.minimize(problem, -6.0, bounds=bounds, **settings)
    refined = isinstance(getattr(settings.get("method"), "linear_solver", None), Shine)
    ended = kbo.Status.ADJOINT_NOT_CONVERGED if refined else kbo.Status.CONVERGED
    assert found.status is ended  # two steps of refinement meet no tolerance
    assert found.value - best.value <= 1e-6
    values = [record.value for record in found.history]
    assert found.value == values[-1]


def test_hoag_solves_loosely_first():
    problem, bounds = logistic_regression()
    settings = {"optimizer": HOAG(max_steps=12), "method": Parametric(CG(500)), "bounds": bounds}
    loose = kbo.minimize(problem, -6.0, solver=QuasiNewton(), **settings)
    residuals = [record.residuals for record in loose.history]
    assert residuals[0].inner > 2 * residuals[-1].inner
    assert residuals[-1].adjoint <= 0.1 * 0.9**12 < residuals[0].adjoint <= 0.09
    # Where the optimiser asks for no accuracy the solver's own holds.
    strict = kbo.minimize(
        problem, -6.0, solver=QuasiNewton(), method=Parametric(CG(500)), bounds=bounds,
        optimizer=GradientDescent(max_steps=3),
    )
    assert strict.history[0].residuals.inner < 1e-4 * residuals[0].inner


def test_the_first_step_is_as_told():
    problem, bounds = logistic_regression()
    found = kbo.minimize(problem, -6.0, bounds=bounds, optimizer=HOAG(step=0.5, max_steps=1))
    grad = kbo.value_and_hypergradient(problem, -6.0, solver=Exact(tol=0.09)).grad
    assert found.history[1].omega == pytest.approx(-6.0 - 0.5 * grad, rel=1e-6)


def test_wrappers_pass_the_tolerance_on():
    linear = Parametric(CG(50))
    for wrapper in (Stochastic(inner_size=5, method=linear), Mean((), linear)):
        assert wrapper.within(0.3).method.linear_solver.tol == 0.3
    assert Stochastic(method=Parametric(Identity())).within(0.3).method == Parametric(Identity())
    assert Implicit().within(0.3) == Implicit()


def test_a_killed_search_resumes(tmp_path):
    problem, bounds = logistic_regression()
    settings = {
        "optimizer": HOAG(max_steps=15), "solver": QuasiNewton(prescribe=3),
        "method": Parametric(Shine()), "bounds": bounds,
    }
    whole = kbo.minimize(problem, -6.0, **settings)

    def kill(record):
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kbo.minimize(
            problem, -6.0, checkpoint=tmp_path / "c.npz", callback=kill, **settings,
        )
    resumed = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert resumed.value == whole.value and resumed.omega == whole.omega
    assert [r.value for r in resumed.history] == [r.value for r in whole.history]


# Without gradients


@pytest.mark.parametrize("make", [
    lambda seed: GridSearch(9), lambda seed: RandomSearch(25, seed),
    lambda seed: BayesianSearch(25, seed),
])
def test_black_boxes_find_a_good_point_of_the_box(make, tmp_path):
    if isinstance(make(0), BayesianSearch):
        pytest.importorskip("optuna", reason="optuna is not installed")
    problem, bounds = logistic_regression()
    settings = {"bounds": bounds, "optimizer": make(0)}
    best = kbo.minimize(problem, -6.0, bounds=bounds)
    found = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert 0 <= found.value - best.value < 2e-2 * best.value
    assert found.status is kbo.Status.STEPS_EXHAUSTED
    values = [record.value for record in found.history]
    assert values == sorted(values, reverse=True)
    assert np.isfinite(found.grad_norm)
    assert all(record.grad_norm == np.inf for record in found.history[:-1])
    assert found.n_evaluations == (9 if isinstance(make(0), GridSearch) else 25) + 2
    again = kbo.minimize(problem, -6.0, checkpoint=tmp_path / "c.npz", **settings)
    assert again.value == found.value and again.omega == found.omega
    other = kbo.minimize(problem, -6.0, **{**settings, "optimizer": make(1)})
    assert (other.value == found.value) == isinstance(make(0), GridSearch)


def test_a_search_needs_a_box_and_bears_failures():
    problem, bounds = logistic_regression()
    with pytest.raises(ValueError, match="finite bounds"):
        kbo.minimize(problem, -6.0, optimizer=GridSearch(3))
    broken = problem.replace(outer_loss=lambda w, v, y: jnp.where(w > 0, jnp.nan, v**2))
    for optimizer in (GridSearch(5), RandomSearch(8)):
        found = kbo.minimize(broken, -6.0, bounds=bounds, optimizer=optimizer)
        assert np.isfinite(found.value) and found.n_rejected > 0
