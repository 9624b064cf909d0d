"""Parametric hypergradients (AID) against Implicit and their own theory."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo.datasets import make_mehra_hamm
from kbo.hypergradients import (
    CG,
    Direct,
    Identity,
    Implicit,
    Neumann,
    Parametric,
    Stochastic,
    Unrolled,
)
from kbo.optimizers import LBFGS, Optax
from kbo.search.session import prepare
from kbo.solvers import Gradient, Nystrom
from tests import helpers
from tests.hypergradients.common import (
    ADAM,
    FEATURES,
    NETWORK,
    check_resumes,
    gradient,
    hessian,
    one_target,
    relative,
    slope,
)
from tests.neural import AFFINE, CONVERGED, OMEGA, iv_like, quick

pytestmark = pytest.mark.usefixtures("x64")
SLOW = pytest.mark.slow


# Parametric: agreement


@pytest.mark.parametrize(
    ("space", "loss", "linear_solver"),
    [
        ("gaussian", "logistic", CG(500)),
        ("features", "squared", Direct()),
        pytest.param("features", "logistic", Direct(), marks=SLOW),
        pytest.param("gaussian", "squared", CG(500), marks=SLOW),
        pytest.param("gaussian", "logistic", Direct(), marks=SLOW),
        pytest.param("features", "squared", CG(500), marks=SLOW),
        pytest.param("gaussian", "squared", Direct(), marks=SLOW),
        pytest.param("features", "logistic", CG(500), marks=SLOW),
        pytest.param("matern52", "huber", CG(500), marks=SLOW),
        pytest.param("gaussian", "multinomial", CG(500), marks=SLOW),
    ],
)
def test_exact_linear_solves_give_the_implicit_gradient(space, loss, linear_solver):
    problem, omega = helpers.everything_problem(space, loss)
    exact = kbo.value_and_hypergradient(problem, omega)
    found = kbo.value_and_hypergradient(problem, omega, method=Parametric(linear_solver))
    assert relative(found.grad, exact.grad) <= 1e-8
    assert found.value == pytest.approx(exact.value, rel=1e-12)
    assert found.residuals.adjoint <= 1e-8
    assert found.adjoint is None
    assert found.error_bound == np.inf


def test_an_independent_library_differentiates_its_minimiser_to_the_same_gradient():
    """Optimistix: Newton's method on ∂_θJ = 0, differentiated by the implicit function theorem."""
    optimistix = pytest.importorskip("optimistix", reason="optimistix is not installed")
    x, x_out, noise, noise_out = np.random.default_rng(0).normal(size=(4, 60, 5))
    t, t_out = np.sign(x[:, 0] + noise[:, 0]), np.sign(x_out[:, 0] + noise_out[:, 0])
    loss = lambda v, t: jnp.mean(jnp.logaddexp(0.0, -t * v))

    def theirs(omega):
        scaled = lambda x: x * jnp.exp(omega["scale"])
        slope = jax.grad(
            lambda theta: loss(scaled(x) @ theta, t) + 0.5 * jnp.exp(omega["ridge"]) * theta @ theta
        )
        newton = optimistix.Newton(rtol=1e-12, atol=1e-12)
        found = optimistix.root_find(lambda theta, _: slope(theta), newton, jnp.zeros(5))
        return loss(scaled(x_out) @ found.value, t_out)

    omega = {"scale": np.linspace(-0.5, 0.5, 5), "ridge": np.array(-3.0)}
    value, grad = jax.value_and_grad(theirs)(jax.tree.map(jnp.asarray, omega))
    problem = kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Logistic(), kbo.Sample(x, t), kbo.Sample(x_out, t_out),
        space=lambda w: kbo.FeatureSpace(lambda x: x * jnp.exp(w["scale"])),
        ridge=lambda w: jnp.exp(w["ridge"]),
    )
    for method in (None, Parametric(Direct()), Parametric(CG(50))):
        ours = kbo.value_and_hypergradient(problem, omega, method=method)
        assert ours.value == pytest.approx(float(value), rel=1e-10)
        assert relative(ours.grad, grad) <= 1e-8
    steps = Unrolled(2000, optax.sgd(1.0))
    assert relative(gradient(problem, omega, steps), grad) <= 1e-6


def test_an_estimate_of_the_inverse_preconditions_cg():
    """Its κ is that of inverse·H, here 1.5: (√1.5 − 1)/(√1.5 + 1) = 0.1 a step."""
    H = np.geomspace(1, 1e6, 40)[None]
    rng = np.random.default_rng(0)
    inverse, b = rng.uniform(1, 1.5, H.shape) / H, rng.normal(size=H.shape)
    error = lambda v: np.sqrt(np.sum(H * (v - b / H) ** 2) / np.sum(b**2 / H))
    for steps in (2, 4, 6):
        found = CG(steps).preconditioned(lambda v: H * v, b, None, lambda r: inverse * r)
        assert error(found.v) <= 2 * 0.102**steps
        assert error(CG(steps).solve(lambda v: H * v, b, None).v) > 0.3


def test_the_span_of_centres():
    problem, omega = helpers.folds_problem()
    found, exact = (
        gradient(problem, omega, method, solver=Nystrom(12)) for method in (Parametric(CG(200)), None)
    )
    assert relative(found, exact) <= 1e-8


@pytest.mark.parametrize("method", [Parametric(CG(50)), Unrolled(200, optax.sgd(0.5))])
def test_an_affine_network_agrees_with_functional_differentiation(method):
    problem = iv_like(kbo.NeuralSpace(AFFINE))
    found, exact = (gradient(problem, OMEGA, m, solver=CONVERGED) for m in (method, None))
    assert relative(found, exact) <= 1e-5


@SLOW
@pytest.mark.parametrize("linear_solver", [Direct(), Identity(0.3)])
def test_a_network_against_the_formula_with_dense_matrices(linear_solver):
    """Whatever θ: ∂_ωL − ∂²_ωθJ·v, v = H⁺∂_θL or a multiple of ∂_θL."""
    solver = Gradient(steps=20, optimizer=optax.adam(1e-2), seed=4)
    problem = iv_like(NETWORK, inner_loss=lambda w, v, t: jnp.log1p(jnp.exp(-w["a"] * t * v)))
    hg = kbo.value_and_hypergradient(problem, OMEGA, solver=solver, method=Parametric(linear_solver))
    theta, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(jnp.asarray, hg.inner.coefficients))
    x, t = problem.inner_data.x, problem.inner_data.target
    predict = lambda theta, x: NETWORK.evaluate(None, x, unravel(theta))[0, :, 0]

    def objective(omega, theta):
        h = predict(theta, x)
        norm = jnp.exp(omega[1]) * jnp.mean(h**2) / 2
        return jnp.mean(jnp.log1p(jnp.exp(-omega[0] * t * h))) + norm

    outer = problem.outer_data

    @jax.jit
    def matrices(omega, theta):
        L = lambda v: 0.5 * jnp.mean((predict(v, outer.x) - outer.target) ** 2)
        of_slopes = jax.jacfwd(jax.grad(objective, 1), (0, 1))(omega, theta)
        return jax.grad(L)(theta), *of_slopes

    b, cross, H = matrices(jnp.array([OMEGA["a"], OMEGA["log_ridge"]]), theta)
    v = 0.3 * b
    if isinstance(linear_solver, Direct):
        v = np.linalg.pinv(H, rcond=len(b) * np.finfo(float).eps, hermitian=True) @ b
    np.testing.assert_allclose(helpers.flat(hg.grad), -cross.T @ v, rtol=1e-6)


def test_small_outer_losses_lose_nothing_in_single_precision():
    """Their squares are below what float32 holds: the right-hand side is normalised."""
    x, t, x_out, y = helpers.data(60, 40)

    def found(dtype):
        problem = kbo.BilevelProblem(
            kbo.losses.Squared(), lambda w, v, y: 1e-24 * 0.5 * (v - y) ** 2,
            kbo.Sample(x.astype(dtype), t.astype(dtype)),
            kbo.Sample(x_out.astype(dtype), y.astype(dtype)), FEATURES, jnp.exp,
        )
        return gradient(problem, np.asarray(-2.0, dtype), Parametric(CG(20)))

    double = found(np.float64)
    with jax.enable_x64(False):
        single = found(np.float32)
    assert single.dtype == np.float32
    assert single == pytest.approx(double, rel=1e-4)


# Linear solvers: rates


def test_conjugate_gradients_converge_at_the_rate_of_their_bound():
    """Eigenvalues as dense as Chebyshev's nodes leave nothing to superlinear convergence."""
    smallest, largest, N = 0.01, 1.0, 500
    nodes = np.cos(np.pi * (np.arange(N) + 0.5) / N)
    eigenvalues = jnp.asarray(0.5 * (largest + smallest) + 0.5 * (largest - smallest) * nodes)
    b = jnp.ones((1, N))
    counts, errors = np.arange(10, 61, 10), []
    for steps in counts:
        v, residual, *_ = CG(int(steps)).solve(lambda v: eigenvalues * v, b, None)
        np.testing.assert_allclose(residual, b - eigenvalues * v, atol=1e-12)
        errors.append(np.sqrt(np.sum(eigenvalues * (v - b / eigenvalues) ** 2)))
    root = np.sqrt(largest / smallest)
    expected = np.log((root - 1) / (root + 1))
    assert slope(counts, errors) == pytest.approx(expected, rel=0.1)
    start = np.sqrt(np.sum(b**2 / eigenvalues))
    assert (errors <= 2 * np.exp(expected * counts) * start).all()


def test_neumann_hypergradients_converge_at_the_rate_of_the_smallest_eigenvalue():
    eigenvalues = np.linalg.eigvalsh(hessian())
    step = 1 / eigenvalues[-1]
    problem = iv_like(FEATURES)
    exact = gradient(problem, OMEGA)
    counts = np.arange(20, 90, 10)
    errors = [
        relative(gradient(problem, OMEGA, Parametric(Neumann(int(k), step))), exact) for k in counts
    ]
    assert slope(counts, errors) == pytest.approx(np.log(1 - step * eigenvalues[0]), rel=0.1)


def test_systems_end_each_by_itself():
    H = jnp.asarray([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, -2.0, 3.0]])
    b = jnp.asarray([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    v = CG(50).solve(lambda v: H * v, b, None).v
    np.testing.assert_allclose(v[:2], b[:2] / H[:2], atol=1e-14)
    np.testing.assert_array_equal(v[2], 0)  # negative curvature along its first direction
    loose, residual, *_ = CG(50, tol=0.5).solve(lambda v: H * v, b, None)
    sizes = np.linalg.norm(residual, axis=1)
    assert sizes[0] <= 0.5 * np.sqrt(3)
    assert sizes[0] > 1e-3
    again = CG(50).solve(lambda v: H * v, b, loose).v
    np.testing.assert_allclose(again[:2], v[:2], atol=1e-13)
    for solver in (Direct(), Neumann(400, 0.3), Identity(2.0)):
        found, residual, *_ = solver.solve(lambda v: H[:2] * v, b[:2], None)
        if isinstance(solver, Identity):
            np.testing.assert_array_equal(found, 2 * b[:2])
            assert np.isinf(residual).all()
        else:
            np.testing.assert_allclose(found, v[:2], atol=1e-12)
            np.testing.assert_allclose(residual, 0, atol=1e-12)
    singular = Direct().solve(lambda v: jnp.asarray([1.0, 0.0]) * v, jnp.ones((1, 2)), None).v
    np.testing.assert_allclose(singular, [[1.0, 0.0]], atol=1e-14)


def test_kernel_coefficients_have_the_condition_number_of_the_square():
    """The adjoint's values to six digits: 17 CG steps on K/n + r, 1140 on K(K/n + r)."""
    x, _, x_out, y = helpers.data(100, 60)
    kernel = kbo.kernels.Gaussian(1.0)
    K, across = kernel.matrix(x, x), kernel.matrix(x, x_out)
    system = K / 100 + 1e-2 * np.eye(100)
    b = across @ y / 60
    exact = np.linalg.solve(system, b)

    @jax.jit
    def solved(matrix, right, steps):
        cg = eqx.tree_at(lambda solver: solver.steps, CG(), steps)
        return cg.solve(lambda v: v @ matrix, right[None], None)[0][0]

    functions = lambda steps: relative(solved(system, b, steps), exact)
    coefficients = lambda steps: relative(K @ solved(K @ system, b, steps), exact)
    assert np.linalg.cond(K @ system) > 1e5 * np.linalg.cond(system)
    assert functions(20) <= 1e-6
    assert coefficients(200) > 1e-6
    assert coefficients(3000) <= 1e-6


def test_a_warm_start_improves_few_steps():
    problem = iv_like(FEATURES)
    exact = gradient(problem, OMEGA)
    state, errors = None, []
    for _ in range(6):
        hg = kbo.value_and_hypergradient(
            problem, OMEGA, method=Parametric(CG(2), warm=True), state=state
        )
        state = hg.state
        errors.append(relative(hg.grad, exact))
    assert errors[0] == pytest.approx(relative(gradient(problem, OMEGA, Parametric(CG(2))), exact))
    assert errors[-1] < 0.1 * errors[0]


# Searches

SEARCHES = {
    "aid": (FEATURES, Parametric(CG(3)), LBFGS(max_steps=5)),
    "warm_aid": (FEATURES, Parametric(CG(2), warm=True), Optax(ADAM, max_steps=5)),
    "aid_of_networks": (NETWORK, Parametric(CG(2), warm=True), Optax(ADAM, max_steps=5)),
    "itd": (FEATURES, Unrolled(5, optax.sgd(0.1, momentum=0.5)), Optax(ADAM, max_steps=5)),
    "cold_itd": (FEATURES, Unrolled(5, optax.sgd(0.1), warm=False), LBFGS(max_steps=5)),
    "itd_of_networks": (NETWORK, Unrolled(3, optax.sgd(0.1)), Optax(ADAM, max_steps=5)),
    "stochastic": (
        FEATURES, Stochastic(30, 20, Unrolled(3, optax.sgd(0.1))), Optax(ADAM, max_steps=5)
    ),
    "stochastic_networks": (
        NETWORK, Stochastic(30, 20, Unrolled(3, optax.sgd(0.1))), Optax(ADAM, max_steps=5)
    ),
}


@pytest.mark.parametrize(
    "name", quick(SEARCHES, ("warm_aid", "itd", "stochastic", "itd_of_networks"))
)
def test_a_resumed_search_is_the_uninterrupted_one(name, tmp_path):
    space, method, optimizer = SEARCHES[name]
    check_resumes(iv_like(space), method, optimizer, tmp_path)


def test_a_search_with_either_method_ends_where_implicit_does():
    problem, omega = one_target(FEATURES)
    reference = kbo.minimize(problem, omega)
    warm = Optax(optax.sgd(1.0), max_steps=40)
    for method, optimizer in ((Parametric(CG(20)), None), (Unrolled(100, optax.sgd(0.2)), warm)):
        found = kbo.minimize(problem, omega, method=method, optimizer=optimizer)
        assert found.omega["a"] == pytest.approx(reference.omega["a"], rel=1e-4)


def test_the_value_of_parametric_needs_no_adjoint():
    problem, omega = one_target(FEATURES)
    exact = kbo.solvers.Exact()
    with prepare(problem, omega, exact, Parametric()) as session:
        functional = Implicit().value(session.first, session.solver)
        assert session.value() == pytest.approx(functional, rel=1e-12)


# Errors


def test_a_series_that_diverges_says_so():
    hg = kbo.value_and_hypergradient(
        iv_like(FEATURES), OMEGA, method=Parametric(Neumann(2000, 50.0), warm=True), throw=False
    )
    assert hg.status is kbo.Status.DIVERGED
    assert hg.state.v is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unrolled(0), "steps"),
        (lambda: Unrolled(warm_steps=-1), "warm_steps"),
        (lambda: Unrolled(mode="backward"), "mode"),
        (lambda: Unrolled(mode="forward", checkpoint=True), "checkpoint"),
        (lambda: Parametric("cg"), "linear_solver"),
        (lambda: CG(0), "steps"),
        (lambda: CG(tol=-1.0), "tol"),
        (lambda: Neumann(step_size=0.0), "step_size"),
        (lambda: Identity(-1.0), "scale"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("method", [Parametric(), Unrolled()])
def test_spaces_and_points_without_coefficients_are_refused(method, tmp_path):
    with pytest.raises(ValueError, match="NeuralFeatures"):
        kbo.value_and_hypergradient(iv_like(kbo.NeuralFeatures()), OMEGA, method=method)
    x, t, _, _ = helpers.data()
    np.save(tmp_path / "x.npy", x)
    stream = kbo.Stream(np.load(tmp_path / "x.npy", mmap_mode="r"))
    problem = iv_like(kbo.RKHS(kbo.kernels.Gaussian())).replace(inner_data=kbo.Sample(stream, t))
    with pytest.raises(ValueError, match="Stream"):
        kbo.value_and_hypergradient(problem, OMEGA, method=method, solver=Nystrom(5))


def feature_problem():
    """In θ of six features; ω = the map's scale, log ridge and the loss's scale."""
    x, t, x_out, y = helpers.data()
    problem = kbo.BilevelProblem(
        inner_loss=helpers.LOSSES["callable"][0], outer_loss=kbo.losses.Squared(),
        inner_data=kbo.Sample(x, t), outer_data=kbo.Sample(x_out, y),
        space=lambda w: kbo.FeatureSpace(lambda x: jnp.concatenate([jnp.tanh(x / w["l"]), x])),
        ridge=lambda w: jnp.exp(w["log_ridge"]),
    )
    return problem, {"l": 1.5, "log_ridge": -2.0, "loss": 0.6}


@pytest.mark.parametrize("name", helpers.PARAMETRIC)
def test_methods_in_coefficients_give_the_slope_of_their_value(name, x64):
    problem, omega = feature_problem()
    method, accuracy, solver = helpers.PARAMETRIC[name]
    of = lambda w: kbo.value_and_hypergradient(
        problem, w, method=method, solver=solver, throw=False
    )
    found = of(omega)
    slopes = []
    for key, number in omega.items():
        ends = [of({**omega, key: number + step}).value for step in (1e-4, -1e-4)]
        slopes.append((ends[0] - ends[1]) / 2e-4)
    error = np.linalg.norm([found.grad[key] for key in omega] - np.array(slopes))
    assert np.isfinite(error)
    assert error <= max(accuracy, 1e-7) * np.linalg.norm(slopes)


def test_singular_systems_are_reported():
    made = make_mehra_hamm(3, random_state=0)
    evaluate = lambda linear, omega=made.omega0: kbo.value_and_hypergradient(
        made.problem, omega, method=Parametric(linear), solver=kbo.solvers.QuasiNewton(), throw=False
    )
    for linear in (Direct(), CG(50)):
        with pytest.warns(UserWarning, match="which minimiser was found"):
            evaluate(linear)
    x = np.random.default_rng(0).normal(size=(60, 2))
    sample = kbo.Sample(np.asarray(x, np.float32), np.asarray(x[:, 0], np.float32))
    kernel = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), sample, sample,
        kbo.RKHS(kbo.kernels.Gaussian()), ridge=lambda w: jnp.exp(w),
    )
    regular = made.problem.replace(ridge=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for linear in (Direct(), CG(50)):
            kbo.value_and_hypergradient(
                regular, made.omega0, method=Parametric(linear), solver=kbo.solvers.QuasiNewton()
            )
            # Badly conditioned, in float32: convex all the same, if not solved.
            found = kbo.value_and_hypergradient(
                kernel, np.log(1e-3), method=Parametric(linear), throw=False
            )
            assert found.status.usable


def test_inner_problems_that_are_not_convex_are_reported():
    """At the saddle of a double well, and not in its wells."""
    sample = kbo.Sample(np.zeros((1, 1)), np.zeros(1))
    problem = kbo.BilevelProblem(
        lambda w, v, t: (v**2 - 1) ** 2 + w * v, lambda w, v, t: 0.5 * (v - 2) ** 2, sample, sample,
        kbo.FeatureSpace(lambda x: jnp.ones(1)), ridge=1e-3,
    )
    solver = kbo.solvers.QuasiNewton()
    evaluate = lambda w: kbo.value_and_hypergradient(
        problem, w, method=Parametric(Direct()), solver=solver, throw=False
    )
    with pytest.warns(UserWarning, match="not convex"):
        evaluate(0.0)  # the descent starts, and stays, at v = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(0.1)
    assert found.inner(np.zeros((1, 1)))[0] == pytest.approx(-1.0, abs=0.05)


def test_what_the_refusal_of_a_ridge_of_zero_advises_solves_the_problem(x64):
    made = kbo.datasets.make_bilevel_quadratics(64, 10, 3, random_state=0)
    with pytest.raises(kbo.status.InvalidPoint, match=r"QuasiNewton\(\), method=Parametric\(\)"):
        kbo.minimize(made.problem, made.omega0)
    found = kbo.minimize(
        made.problem, made.omega0, solver=kbo.solvers.QuasiNewton(),
        method=kbo.hypergradients.Parametric(), bounds=(-50.0, 50.0), throw=False,
    )
    gap = lambda omega: made.value(np.asarray(omega)) - made.lowest
    assert gap(found.omega) < 1e-3 * gap(made.omega0)
