"""Centres: how they are chosen, learned and refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.solvers import Exact, Falkon, Nystrom, centers
from tests import helpers
from tests.solvers.common import assert_same, evaluate, slow_but

STRATEGIES = {
    "uniform": centers.Uniform, "kmeans": centers.KMeansPlusPlus, "leverage": centers.Leverage,
    "rpcholesky": centers.RPCholesky,
}


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Nystrom, Falkon])
@pytest.mark.parametrize("loss", slow_but("logistic"))
def test_centres_can_be_learned(solver, loss, x64):
    problem, omega = helpers.everything_problem("gaussian", loss)
    omega["z"] = np.random.default_rng(0).normal(size=(5, helpers.D))
    report = kbo.check_hypergradient(problem, omega, solver=solver(lambda w: w["z"], tol=1e-10))
    assert report.relative_error < 1e-6
    hg = evaluate(problem, omega, solver(lambda w: w["z"]))
    assert np.abs(hg.grad["z"]).max() > 1e-4
    better = kbo.minimize(problem, omega, solver=solver(lambda w: w["z"]),
                          optimizer=kbo.optimizers.LBFGS(max_steps=5))
    assert better.value < hg.value


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_centres_are_distinct_seeded_and_better_than_chance_where_they_claim_to_be(strategy, x64):
    rng = np.random.default_rng(0)
    # A dense clump and a few outliers, which uniform draws miss.
    x = np.concatenate([0.05 * rng.normal(size=(380, 2)), 3 * rng.normal(size=(20, 2))])
    kernel = kbo.kernels.Gaussian(0.5)
    choose = lambda seed, name=strategy: STRATEGIES[name](25, seed=seed).select(
        kernel, jnp.asarray(x), 1e-4
    )
    chosen = choose(0)
    assert len(set(chosen)) == 25
    np.testing.assert_array_equal(chosen, choose(0))
    assert set(chosen) != set(choose(1))

    def left(chosen):
        K = np.asarray(kernel.matrix(jnp.asarray(x), jnp.asarray(x)))
        C = K[:, chosen]
        return np.trace(K - C @ np.linalg.solve(K[np.ix_(chosen, chosen)] + 1e-10 * np.eye(25), C.T))

    mean = lambda name: np.mean([left(choose(seed, name)) for seed in range(5)])
    if strategy != "uniform":
        assert mean(strategy) < 0.5 * mean("uniform")


def test_centres_come_from_inner_and_outer_points(x64):
    x = np.arange(10.0)[:, None]
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        kbo.Sample(x, x[:, 0], np.r_[np.ones(5), np.zeros(5)]), kbo.Sample(x + 100, x[:, 0]),
        kbo.RKHS(kbo.kernels.Gaussian()), lambda w: jnp.exp(w),
    )
    fixed = Nystrom(15).fixed(problem.at(0.0))
    np.testing.assert_array_equal(
        np.sort(fixed.centers[:, 0]), np.r_[np.arange(5.0), np.arange(100.0, 110)]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"centers": 1000}, "fewer"), ({"centers": 0}, "n_centers"), ({}, "centers"),
        ({"centers": np.ones((2, 7))}, "centers"), ({"centers": np.full((2, 3), np.nan)}, "NaN"),
        ({"centers": np.ones((0, 3))}, "centers"),
    ],
)
@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_bad_centres_name_the_argument(solver, arguments, message, x64):
    problem, omega = helpers.folds_problem()
    with pytest.raises(ValueError, match=message):
        evaluate(problem, omega, solver(**arguments))
    features, omega = helpers.everything_problem("features", "squared")
    with pytest.raises(ValueError, match="FeatureSpace"):
        evaluate(features, omega, solver(3))


@pytest.mark.parametrize("solver", [Nystrom, Falkon])
def test_degenerate_centres_are_solved(solver, x64):
    """One centre, duplicates, a rank-deficient K_MM: right; the reference leaves duplicates out."""
    problem, omega = helpers.folds_problem()
    z = np.asarray(problem.inner_data.x[:4])
    one = evaluate(problem, omega, solver(z[:1]))
    assert np.isfinite(one.value)
    distinct = evaluate(problem, omega, solver(z))
    repeated = evaluate(problem, omega, solver(np.concatenate([z, z, z])))
    assert_same(repeated, distinct, 1e-6)
    linear = problem.replace(space=kbo.RKHS(kbo.kernels.Linear()))
    deficient = evaluate(linear, omega, solver(np.asarray(problem.inner_data.x)))
    np.testing.assert_allclose(deficient.value, evaluate(linear, omega, Exact()).value, rtol=1e-6)
