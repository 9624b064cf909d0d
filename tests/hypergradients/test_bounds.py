"""Error bounds hold and are finite."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from tests import helpers


@pytest.mark.parametrize("space", ["gaussian", "features"])
@pytest.mark.parametrize(("loss", "sizes"), [("squared", (1e-6, 0.1, 10.0)), ("logistic", (1e-6,))])
def test_error_bound_covers_inexact_solutions(space, loss, sizes, x64):
    """Perturb both solutions; the bound must cover the error they cause, and not absurdly.

    For squared losses it must hold however large the perturbation.
    """
    from kbo.hypergradients.bounds import error_bound
    from kbo.hypergradients.implicit import _reverse_pass, outer_and_slopes
    from kbo.search.session import canonical
    from kbo.spaces import Frozen

    problem, omega = helpers.everything_problem(space, loss)
    exact = kbo.value_and_hypergradient(problem, omega)
    p, w = canonical(problem, omega)
    instance = p.at(w)
    solution = kbo.solvers.Exact().solve(instance)
    ratios = []
    for seed, size in itertools.product(range(10), sizes):
        rng = np.random.default_rng(seed)
        _, slopes = outer_and_slopes(instance, jnp.asarray(solution.h_outer))
        adjoint = solution.adjoint(np.asarray(slopes))
        noise = lambda a: a + size * np.abs(a).max() * rng.normal(size=a.shape)
        h = noise(solution.coefficients)
        system = solution._system
        inner = system.values(h)
        frozen = Frozen(*map(jnp.asarray, (
            h, noise(adjoint.frozen), inner, system.outer_values(h, inner),
        )))
        _, grad = _reverse_pass(instance, frozen, False)
        error = np.linalg.norm(helpers.flat(grad) - helpers.flat(exact.grad))
        bound = error_bound(instance, frozen, False)
        assert error <= bound
        if size < 1e-3:
            ratios.append(bound / error)
    # ‖A⁻¹‖ ≤ 1/ridge is loose for features, whose curvature is far above it.
    assert np.median(ratios) < {"gaussian": 100, "features": 1e4}[space]


@pytest.mark.parametrize("loss", [kbo.losses.Squared(), kbo.losses.Logistic()])
@pytest.mark.parametrize("moves", ["kernel", "ridge", "weight", "target"])
def test_the_bound_covers_solutions_that_were_stopped(loss, moves, x64):
    """The adjoint belongs to the wrong h: what the outer loss's curvature makes of that counts."""
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(100, 2)), rng.normal(size=(60, 2))
    t = np.sign(np.sin(x.sum(1)) + 0.5 * rng.normal(size=100))
    first = jnp.zeros(100).at[0].set(1.0)
    target = lambda w: jnp.asarray(t) + (first * w if moves == "target" else 0)
    weights = lambda w: jnp.ones(100) + (first * (w - 1) if moves == "weight" else 0)
    problem = kbo.BilevelProblem(
        loss, kbo.losses.Squared(), lambda w: kbo.Sample(x, target(w), weights(w)),
        kbo.Sample(x_out, np.sin(x_out.sum(1))),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(1 + w if moves == "kernel" else 1.0)),
        lambda w: 1e-3 * (1 + w) if moves == "ridge" else 1e-3)
    if moves == "target" and not isinstance(loss, kbo.losses.Squared):
        pytest.skip("labels of the logistic loss are -1 and 1")
    omega = 0.0 if moves != "weight" else 1e-4  # a point that hardly counts, but whose weight moves
    exact = kbo.value_and_hypergradient(problem, omega)
    for tol in (1e-1, 1e-3):
        found = kbo.value_and_hypergradient(
            problem, omega, solver=kbo.solvers.FullCG(rank=5, tol=tol), throw=False)
        error = abs(found.grad - exact.grad)
        assert error > 1e-12
        assert error <= found.error_bound
        assert found.error_bound <= 1e4 * error


def test_a_bound_that_says_nothing_is_infinite():
    """In float32 rounding leaves nothing of a small ridge, and 0·∞ would be NaN."""
    x, t, x_out, y = (np.float32(part) for part in helpers.data())
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        lambda w: kbo.Sample(x, t, 1 / (1 + jnp.exp(-w["logit"]))), kbo.Sample(x_out, y),
        kbo.RKHS(kbo.kernels.Gaussian(3.0)), lambda w: jnp.exp(w["ridge"]),
    )
    omega = {"logit": np.zeros(len(x), np.float32), "ridge": np.float32(-12.0)}
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = kbo.value_and_hypergradient(problem, omega)
    assert found.error_bound == np.inf


@pytest.mark.parametrize("kernel", [kbo.kernels.Matern32(1.0), kbo.kernels.Matern52(1.0)])
def test_bounds_are_finite_where_points_coincide(kernel, x64):
    x, t, x_out, y = helpers.data()
    x_out[:3] = x[:3]
    problem = kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Squared(), kbo.Sample(x, np.sign(t)),
        kbo.Sample(x_out, y), lambda w: kbo.RKHS(type(kernel)(w["l"])), lambda w: jnp.exp(w["r"]),
    )
    hg = kbo.value_and_hypergradient(problem, {"l": np.ones(3), "r": -3.0})
    assert np.isfinite(hg.error_bound)
