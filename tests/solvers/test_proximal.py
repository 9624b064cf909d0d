"""Inner problems with a regularizer: solutions of other libraries, and derivatives within manifolds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.optimize import minimize as scipy_minimize
from sklearn.linear_model import ElasticNet, LogisticRegression, MultiTaskLasso

import kbo
from kbo.hypergradients import FiniteDifference
from kbo.regularizers import L1, Ball, Box, GroupLasso, NonNegative, Part, Simplex
from kbo.solvers import Proximal
from tests import helpers

pytestmark = pytest.mark.usefixtures("x64")
N, Q = 60, 12
rng = np.random.default_rng(0)
X, X_OUT = rng.normal(size=(2, N, Q))
W = np.where(np.arange(Q) < 4, rng.normal(size=Q) * 2, 0.0)
Y, Y_OUT = (x @ W + rng.normal(size=N) for x in (X, X_OUT))
PAIR = np.stack([Y, Y[::-1]], 1)
identity = lambda x: x


def problem_of(regularizer, loss=None, ridge=0.0, targets=(Y, Y_OUT), p=None):
    loss = loss or kbo.losses.Squared()
    space = lambda w: kbo.RegularizedFeatures(identity, regularizer(w))
    if isinstance(regularizer, kbo.regularizers.Regularizer):
        space = kbo.RegularizedFeatures(identity, regularizer)
    return kbo.BilevelProblem(
        loss, loss, kbo.Sample(X, targets[0]), kbo.Sample(X_OUT, targets[1]), space, ridge,
        n_outputs=p,
    )


def coefficients(problem, omega=0.0, **options):
    found = kbo.value_and_hypergradient(problem, omega, throw=False, **options)
    assert found.status in (kbo.Status.CONVERGED, kbo.Status.HELD)
    return np.asarray(found.inner.coefficients)[0]


# -- solutions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 0.6])
@pytest.mark.parametrize("alpha", [0.03, 0.3, 2.0])
@pytest.mark.parametrize("positive", [False, True])
def test_the_elastic_net_is_scikit_learns(alpha, ratio, positive):
    class Positive(L1):
        def prox(self, x, rate):
            return jnp.maximum(super().prox(x, rate), 0)

    kind = Positive if positive else L1
    found = coefficients(problem_of(kind(alpha * ratio), ridge=alpha * (1 - ratio)))[:, 0]
    net = ElasticNet(
        alpha=alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=10**6,
        positive=positive,
    ).fit(X, Y)
    np.testing.assert_allclose(found, net.coef_, atol=1e-10)
    assert ((found != 0) == (net.coef_ != 0)).all()


def test_groups_of_outputs_are_scikit_learns_multi_task_lasso():
    problem = problem_of(GroupLasso(0.5, range(Q)), targets=(PAIR, PAIR), p=2)
    lasso = MultiTaskLasso(alpha=0.5, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(X, PAIR)
    np.testing.assert_allclose(coefficients(problem), lasso.coef_.T, atol=1e-9)


def test_sparse_logistic_regression_is_scikit_learns():
    labels = np.sign(Y)
    problem = problem_of(L1(0.05), kbo.losses.Logistic(), targets=(labels, labels))
    model = LogisticRegression(
        solver="liblinear", C=1 / (0.05 * N), fit_intercept=False, tol=1e-10, max_iter=10**5,
        l1_ratio=1.0,
    ).fit(X, labels)
    np.testing.assert_allclose(coefficients(problem)[:, 0], model.coef_[0], atol=1e-5)


@pytest.mark.parametrize("regularizer", [Box(-0.5, np.linspace(0.1, 1, Q)[:, None]), NonNegative()])
def test_boxes_are_scipys(regularizer):
    found = coefficients(problem_of(regularizer))[:, 0]
    upper = np.broadcast_to(np.ravel(regularizer.upper), Q)
    expected = lsq_linear(X, Y, (np.full(Q, regularizer.lower), upper), tol=1e-14).x
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("regularizer", "constraints"),
    [
        (Simplex(1.7), [
            {"type": "eq", "fun": lambda w: w.sum() - 1.7}, {"type": "ineq", "fun": lambda w: w},
        ]),
        (Ball(1.7), [{"type": "ineq", "fun": lambda w: 1.7**2 - w @ w}]),
        (Ball(100.0), []),
    ],
)
def test_simplex_and_ball_are_scipys(regularizer, constraints):
    found = coefficients(problem_of(regularizer))[:, 0]
    objective = lambda w: np.mean((X @ w - Y) ** 2) / 2
    expected = scipy_minimize(
        objective, np.full(Q, 0.1), jac=lambda w: X.T @ (X @ w - Y) / N, constraints=constraints,
        method="SLSQP", options={"ftol": 1e-15, "maxiter": 1000},
    ).x
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert objective(found) <= objective(expected) + 1e-12


def test_folds_are_solved_together_as_alone():
    train, test = helpers.fold_weights(N)
    of = lambda own, judged: kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X, Y, own),
        kbo.Sample(X, Y, judged), kbo.RegularizedFeatures(identity, L1(0.2)), 0.0,
    )
    together = kbo.value_and_hypergradient(of(train, test), 0.0)
    alone = [coefficients(of(own, judged)) for own, judged in zip(train, test, strict=True)]
    np.testing.assert_allclose(together.inner.coefficients, alone, atol=1e-11)
    np.testing.assert_allclose(together.inner(X)[1], X @ alone[1][:, 0], atol=1e-10)


# -- hypergradients -------------------------------------------------------------------------------

START = {"strength": -1.5, "ridge": -2.0, "loss": 0.6, "shift": 0.05, "weight": 0.1}
REGULARIZERS = {
    "l1": lambda w: L1(jnp.exp(w["strength"])),
    "adaptive l1": lambda w: L1(jnp.exp(w["strength"]) * jnp.linspace(0.5, 2, Q)[:, None]),
    "groups": lambda w: GroupLasso(jnp.exp(w["strength"]), np.arange(Q) // 3),
    "box": lambda w: Box(-jnp.exp(w["strength"]), 2 * jnp.exp(w["strength"])),
    "non-negative": lambda w: NonNegative(),
    "simplex": lambda w: Simplex(jnp.exp(w["strength"] + 2)),
    "ball": lambda w: Ball(jnp.exp(w["strength"] + 1)),
    "ball, inside": lambda w: Ball(jnp.exp(w["strength"] + 6)),
    "part": lambda w: Part(lambda theta: theta, L1(jnp.exp(w["strength"]))),
}


def everything(name, loss):
    """ω in the regularizer, the ridge, the loss, the points, the features and the weights."""
    inner_loss, make, p = helpers.LOSSES[loss]
    return kbo.BilevelProblem(
        inner_loss, inner_loss if p else kbo.losses.Squared(),
        lambda w: kbo.Sample(X + w["shift"], make(0.3 * Y), jnp.ones(N).at[0].add(w["weight"])),
        kbo.Sample(X_OUT, make(0.3 * Y_OUT)),
        lambda w: kbo.RegularizedFeatures(
            lambda x: x + 0.1 * jnp.tanh(w["shift"] * x), REGULARIZERS[name](w)
        ),
        lambda w: jnp.exp(w["ridge"]), lambda w: w["ridge"] ** 2, n_outputs=p,
    )


@pytest.mark.parametrize(
    ("name", "loss"),
    [(name, loss) for name in REGULARIZERS for loss in ("squared", "multinomial")]
    + [("l1", "logistic"), ("l1", "huber")],
)
def test_hypergradients_are_differences(name, loss):
    problem = everything(name, loss)
    found = kbo.value_and_hypergradient(problem, START)
    expected = kbo.value_and_hypergradient(
        problem, START, method=FiniteDifference(), solver=Proximal(tol=1e-13)
    )
    np.testing.assert_allclose(
        helpers.flat(found.grad), helpers.flat(expected.grad), rtol=1e-6, atol=1e-8
    )
    assert found.value == pytest.approx(expected.value, rel=1e-10)
    assert found.residuals.adjoint < 1e-9


def test_the_gradient_of_the_lasso_is_that_of_scikit_learns():
    """An independent L: coordinate descent of another library, in differences."""

    def value(log_alpha):
        net = ElasticNet(
            alpha=np.exp(log_alpha), l1_ratio=0.7, fit_intercept=False, tol=1e-15, max_iter=10**6
        ).fit(X, Y)
        return np.mean((net.predict(X_OUT) - Y_OUT) ** 2) / 2

    problem = problem_of(
        lambda w: L1(0.7 * jnp.exp(w)), ridge=lambda w: 0.3 * jnp.exp(w)
    )
    for log_alpha in (-3.0, -1.0, 0.5):
        found = kbo.value_and_hypergradient(problem, log_alpha)
        assert found.value == pytest.approx(value(log_alpha), rel=1e-9)
        slope = (value(log_alpha + 1e-4) - value(log_alpha - 1e-4)) / 2e-4
        assert found.grad == pytest.approx(slope, rel=1e-6)


class Everywhere(L1):
    """Wrong on purpose: coefficients that are zero move too."""

    def tangent(self, x, direction):
        return direction


class Flat(Ball):
    """Wrong on purpose: a sphere without its curvature."""

    def curvature_times(self, x, slope, direction):
        return 0.0 * direction


@pytest.mark.parametrize(
    "make", [lambda w: Everywhere(jnp.exp(w)), lambda w: Flat(jnp.exp(w + 1))]
)
def test_wrong_manifolds_are_seen(make):
    problem = problem_of(make, ridge=0.1)
    found = kbo.value_and_hypergradient(problem, -1.0, throw=False)
    expected = kbo.value_and_hypergradient(
        problem, -1.0, method=FiniteDifference(step=1e-5), throw=False
    )
    assert abs(float(found.grad) / float(expected.grad) - 1) > 1e-2


def test_a_search_over_the_strength_beats_a_fine_grid():
    problem = problem_of(lambda w: L1(jnp.exp(w)))
    found = kbo.minimize(problem, -1.0, bounds=(-8.0, 3.0))
    grid = [
        kbo.value_and_hypergradient(problem, w, throw=False).value for w in np.linspace(-5, 1, 61)
    ]
    assert found.status is kbo.Status.CONVERGED
    assert found.value <= min(grid) + 1e-9


# -- edges ----------------------------------------------------------------------------------------


def test_a_solution_that_cannot_move_is_said_to_be_held():
    problem = problem_of(lambda w: L1(jnp.exp(w)))
    found = kbo.value_and_hypergradient(problem, 5.0)
    assert found.status is kbo.Status.HELD and float(found.grad) == 0
    assert kbo.minimize(problem, 5.0).status is kbo.Status.HELD
    one = problem_of(lambda w: Box(jnp.exp(w), jnp.exp(w)))  # held, yet it moves with its box
    found = kbo.value_and_hypergradient(one, -1.0, throw=False)
    expected = kbo.value_and_hypergradient(one, -1.0, method=FiniteDifference(), throw=False)
    assert float(found.grad) == pytest.approx(float(expected.grad), rel=1e-8)


@pytest.mark.parametrize(
    "regularizer",
    [L1(np.full(Q, 0.1)), Box(-np.ones(Q), 1.0), L1(np.full(3, 0.1)), Box(0.0, np.ones(Q))],
)
def test_arrays_that_would_widen_the_coefficients_are_refused(regularizer):
    with pytest.raises(ValueError, match=r"coefficients of shape \(12, 1\).*such as \(12, 1\)|failed"):
        kbo.value_and_hypergradient(problem_of(regularizer), 0.0)


def test_a_strength_for_each_coefficient_is_a_weighted_lasso():
    strength = np.linspace(0.05, 1.0, Q)
    found = coefficients(problem_of(L1(strength[:, None])))[:, 0]
    net = ElasticNet(1.0, l1_ratio=1.0, fit_intercept=False, tol=1e-14, max_iter=10**6)
    np.testing.assert_allclose(found, net.fit(X / strength, Y).coef_ / strength, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (L1, "strength"), (lambda w: GroupLasso(w, np.arange(Q) // 2), "strength"),
        (lambda w: Box(0.0, w), "lower"), (Simplex, "total"), (Ball, "radius"),
    ],
)
def test_parameters_that_are_none_are_invalid_points(make, named):
    """A search steps back from them; alone they are errors that name the parameter."""
    with pytest.raises(ValueError, match=named):
        kbo.value_and_hypergradient(problem_of(make), -0.5)
    found = kbo.minimize(problem_of(make, ridge=0.3), 0.5, throw=False)
    assert float(found.omega) > 0


def test_a_negative_ridge_is_refused():
    with pytest.raises(ValueError, match="ridge="):
        kbo.value_and_hypergradient(problem_of(L1(0.1), ridge=-0.1), 0.0)


def test_features_of_any_scale_are_solved():
    scales = np.logspace(-3, 4, Q)
    plain, scaled = (
        coefficients(problem_of(L1(0.1 * s[:, None])).replace(
            space=kbo.RegularizedFeatures(lambda x, s=s: x * s, L1(0.1 * s[:, None]))
        ))[:, 0] * s for s in (np.ones(Q), scales)
    )
    np.testing.assert_allclose(scaled, plain, atol=1e-8)


def test_a_feature_that_is_zero_does_not_hold_up_the_others():
    zero = X * (np.arange(Q) != 5)
    problem = problem_of(L1(0.05), ridge=0.2).replace(inner_data=kbo.Sample(zero, Y))
    net = ElasticNet(0.25, l1_ratio=0.2, fit_intercept=False, tol=1e-14, max_iter=10**6)
    few = Proximal(max_steps=60)
    np.testing.assert_allclose(
        coefficients(problem, solver=few)[:, 0], net.fit(zero, Y).coef_, atol=1e-9
    )


def test_a_portfolio_whose_gradient_vanishes_at_zero_is_solved():
    """Least variance on the simplex: zero is a minimiser of J alone, and no member."""
    returns = 0.02 * np.random.default_rng(0).normal(size=(300, 8)) @ np.diag(np.linspace(1, 3, 8))
    problem = kbo.BilevelProblem(
        lambda w, v, t: 0.5 * v**2, lambda w, v, t: -v, kbo.Sample(returns), kbo.Sample(returns),
        kbo.RegularizedFeatures(identity, Simplex()), 0.0,
    )
    found = coefficients(problem)[:, 0]
    cov = returns.T @ returns / 300
    inverse = np.linalg.solve(cov, np.ones(8))
    np.testing.assert_allclose(found, inverse / inverse.sum(), atol=1e-8)


def test_standard_errors_know_the_solver():
    errors = kbo.standard_errors(problem_of(lambda w: L1(jnp.exp(w))), -1.5)
    assert 0 < float(errors.omega) < np.inf


def test_a_solution_that_moves_with_its_bounds_has_converged():
    t = X @ np.where(np.arange(Q) % 2, 3.0, -3.0)
    problem = problem_of(
        lambda w: Box(-jnp.exp(w), jnp.exp(w)), targets=(t, 0.1 * X_OUT @ np.ones(Q))
    )
    found = kbo.value_and_hypergradient(problem, -1.0)
    expected = kbo.value_and_hypergradient(problem, -1.0, method=FiniteDifference())
    assert found.status is kbo.Status.CONVERGED
    assert float(found.grad) == pytest.approx(float(expected.grad), rel=1e-8)


def test_a_singular_adjoint_is_a_status_and_no_number_of_rounding():
    few = problem_of(L1(0.1)).replace(
        inner_data=kbo.Sample(X[:4], Y[:4]), space=lambda w: kbo.RegularizedFeatures(
            lambda x: jnp.concatenate([x * jnp.exp(w), jnp.sin(w * x)])
        ),
    )
    with pytest.warns(UserWarning, match="ADJOINT_NOT_CONVERGED"):
        found = kbo.value_and_hypergradient(few, 0.4)
    assert abs(float(found.grad)) < 1e6


def test_too_few_steps_are_a_status():
    problem = problem_of(lambda w: L1(jnp.exp(w)))
    with pytest.raises(kbo.BilevelError, match=r"INNER_NOT_CONVERGED.*raise max_steps"):
        kbo.value_and_hypergradient(problem, -3.0, solver=Proximal(max_steps=2))
    with pytest.warns(UserWarning, match="ADJOINT_NOT_CONVERGED"):
        found = kbo.value_and_hypergradient(problem, -3.0, solver=Proximal(max_cg=2))
    assert found.residuals.adjoint > 1e-9
    loose = Proximal().within(1e-3)
    assert loose.tol == 1e-3
    assert coefficients(problem, -1.0, solver=loose) == pytest.approx(
        coefficients(problem, -1.0), abs=1e-2
    )


def test_warm_starts_change_the_cost_alone():
    problem = problem_of(lambda w: L1(jnp.exp(w)), kbo.losses.Logistic(), targets=2 * [np.sign(Y)])
    first = kbo.value_and_hypergradient(problem, -3.0)
    again = kbo.value_and_hypergradient(problem, -2.0, state=first.state)
    fresh = kbo.value_and_hypergradient(problem, -2.0)
    np.testing.assert_allclose(again.inner.coefficients, fresh.inner.coefficients, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"solver": kbo.solvers.Exact()}, "Exact"),
        ({"solver": kbo.solvers.QuasiNewton()}, "QuasiNewton"),
        ({"method": kbo.hypergradients.Parametric()}, "Parametric"),
        ({"method": kbo.hypergradients.Unrolled(10)}, "Unrolled"),
        ({"method": kbo.hypergradients.MinMin()}, "MinMin"),
    ],
)
def test_what_knows_no_regularizer_refuses_it(options, named):
    with pytest.raises(ValueError, match=rf"{named}.*RegularizedFeatures"):
        kbo.value_and_hypergradient(problem_of(lambda w: L1(jnp.exp(w))), 0.0, **options)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"regularizer=0\.1 must be"):
        kbo.RegularizedFeatures(identity, 0.1)
    with pytest.raises(ValueError, match="3 labels for 12 rows"):
        kbo.value_and_hypergradient(problem_of(lambda w: GroupLasso(w, [0, 1, 2])), 0.0)
    for name in ("max_steps", "max_cg", "tol"):
        with pytest.raises(ValueError, match=f"{name}=0 must be"):
            Proximal(**{name: 0})
    with pytest.raises(ValueError, match=r"solver=.*Proximal.*needs space=RegularizedFeatures"):
        kbo.value_and_hypergradient(
            problem_of(L1(0.1)).replace(space=kbo.FeatureSpace(identity)), 0.0, solver=Proximal()
        )
    with pytest.raises((ValueError, TypeError), match=r"Proximal|RegularizedFeatures"):
        kbo.solve(problem_of(lambda w: L1(jnp.exp(w))), 0.0)


def test_proximal_steps_are_projections_and_minima():
    x = {"a": np.array([0.3, -2.0, 0.9]), "b": np.array([1.4])}
    flat = helpers.flat(x)
    for regularizer in (L1(0.4), Box(-1.0, 0.5), NonNegative(), Simplex(1.0), Ball(0.7)):
        found = regularizer.prox(x, 0.5)
        assert float(regularizer(found)) < np.inf
        own = np.sum((helpers.flat(found) - flat) ** 2) / 2 + 0.5 * float(regularizer(found))
        draws = np.random.default_rng(0).normal(size=(200, 4)) * 0.3
        for draw in draws:
            other = regularizer.prox(jax.tree.unflatten(
                jax.tree.structure(x), [jnp.asarray((flat + draw)[:3]), jnp.asarray((flat + draw)[3:])]
            ), 0.5)
            value = np.sum((helpers.flat(other) - flat) ** 2) / 2 + 0.5 * float(regularizer(other))
            assert own <= value + 1e-12
    assert float(Simplex(1.0)(x)) == float(Ball(0.5)(x)) == float(Box(0.0)(x)) == np.inf


def test_in_single_precision_it_computes_in_double():
    with jax.enable_x64(False):
        single = lambda *arrays: [np.asarray(array, np.float32) for array in arrays]
        problem = problem_of(lambda w: L1(jnp.exp(w))).replace(
            inner_data=kbo.Sample(*single(X, Y)), outer_data=kbo.Sample(*single(X_OUT, Y_OUT))
        )
        assert problem.inner_data.x.dtype == jnp.float32
        found = kbo.value_and_hypergradient(problem, -2.0)
        same = kbo.value_and_hypergradient(problem, -2.0, solver=Proximal())
    assert found.status is kbo.Status.CONVERGED and found.residuals.adjoint < 1e-9
    assert float(found.grad) == float(same.grad)


# -- a loss that sees h at several points ---------------------------------------------------------


def test_a_loss_of_differences_is_one_of_features_that_are_differences():
    """Ranking: the sample is a pair of points, and the loss sees h at both."""
    phi = kbo.RandomFourierFeatures(15, 3, 1.5, seed=0)
    pairs = np.random.default_rng(1).normal(size=(50, 6))
    labels = np.sign(pairs[:, 0] - pairs[:, 3] + 0.1)
    both = lambda w: lambda x: jnp.stack([phi(w * x[:3]), phi(w * x[3:])], 1)
    problem = kbo.BilevelProblem(
        lambda w, v, t: jax.nn.softplus(-t * (v[0] - v[1])), lambda w, v, t: (v[0] - v[1] - t) ** 2,
        kbo.Sample(pairs[:30], labels[:30]), kbo.Sample(pairs[30:], labels[30:]),
        lambda w: kbo.RegularizedFeatures(both(w)), ridge=lambda w: 0.01 * w, n_outputs=2,
    )
    differences = kbo.BilevelProblem(
        lambda w, v, t: jax.nn.softplus(-t * v), lambda w, v, t: (v - t) ** 2,
        problem.inner_data, problem.outer_data,
        lambda w: kbo.FeatureSpace(lambda x: both(w)(x) @ jnp.array([1.0, -1.0])), problem.ridge,
    )
    found, expected = (kbo.value_and_hypergradient(each, 1.2) for each in (problem, differences))
    np.testing.assert_allclose(
        np.ravel(found.inner.coefficients), np.ravel(expected.inner.coefficients), atol=1e-9
    )
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert float(found.grad) == pytest.approx(float(expected.grad), rel=1e-8)
    assert found.inner(pairs).shape == (50, 2)


def bellman(states, following, reward, phi, ridge=0.1):
    """ω is a model's reward; Q has two actions, and its residual sees Q here and there."""
    def inner_loss(w, v, t):
        here, there = v[:2], v[2:]
        target = w[0] * t["reward"] + w[1] + 0.8 * jax.nn.logsumexp(there)
        return 0.5 * (here[t["action"]] - target) ** 2

    def features(x):
        blocks = [jnp.kron(jnp.eye(2), phi(half)[:, None]) for half in jnp.split(x, 2)]
        return jnp.concatenate(blocks, 1)

    x = np.hstack([states, following])
    t = {"reward": reward, "action": (states[:, 0] > 0).astype(int)}
    return kbo.BilevelProblem(
        inner_loss, lambda w, v, t: (v[0] - 1.0) ** 2, kbo.Sample(x, t), kbo.Sample(x, t),
        kbo.RegularizedFeatures(features), ridge, n_outputs=4,
    )


def test_a_soft_bellman_residual_is_minimised_and_differentiated():
    """Against SciPy's minimiser of the same residual, and differences of its outer value."""
    draws = np.random.default_rng(2)
    states, following, reward = draws.normal(size=(2, 40, 2)), None, draws.normal(size=40)
    states, following = states
    phi = kbo.RandomFourierFeatures(6, 2, 1.5, seed=0)
    problem = bellman(states, following, reward, phi)
    here, there = (np.asarray(jax.vmap(phi)(z)) for z in (states, following))
    action = (states[:, 0] > 0).astype(int)

    def residual(theta, w):
        q, ahead = here @ theta.reshape(2, 6).T, there @ theta.reshape(2, 6).T
        target = w[0] * reward + w[1] + 0.8 * np.log(np.exp(ahead).sum(1))
        loss = np.mean((q[np.arange(40), action] - target) ** 2) / 2
        return loss + 0.05 * theta @ theta

    def value(w):
        theta = scipy_minimize(residual, np.zeros(12), (w,), "BFGS", options={"gtol": 1e-9}).x
        return np.mean((here @ theta[:6] - 1.0) ** 2)

    omega = np.array([1.3, 0.4])
    found = kbo.value_and_hypergradient(problem, omega)
    assert found.value == pytest.approx(value(omega), rel=1e-6)
    np.testing.assert_allclose(found.grad, helpers.central(value, omega, 1e-3), rtol=1e-3)
    differences = kbo.value_and_hypergradient(
        problem, omega, method=FiniteDifference(), solver=Proximal(tol=1e-13)
    )
    np.testing.assert_allclose(found.grad, differences.grad, rtol=1e-7)


def test_features_of_another_shape_are_refused():
    problem = problem_of(L1(0.1)).replace(
        space=kbo.RegularizedFeatures(lambda x: jnp.ones((3, 2))), n_outputs=3,
        inner_loss=lambda w, v, t: jnp.sum((v - t) ** 2),
        outer_loss=lambda w, v, t: jnp.sum((v - t) ** 2),
    )
    with pytest.raises(ValueError, match=r"feature_map returned.*\(3, 2\).*\(q, 3\)"):
        kbo.value_and_hypergradient(problem, 0.0)
    with pytest.raises(ValueError, match="feature_map must be a callable"):
        kbo.RegularizedFeatures(3.0)
