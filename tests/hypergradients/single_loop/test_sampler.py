"""What single-loop methods draw is unbiased."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo.hypergradients.single_loop.neumann import OneTerm, Series
from kbo.hypergradients.single_loop.sampler import Batches, hypergradient, slopes
from kbo.solvers.coefficients import rows, start
from tests.neural import iv_like

pytestmark = pytest.mark.usefixtures("x64")
FEATURES = kbo.FeatureSpace(jnp.tanh)


def batches(problem, key=0, sizes=(7, 5)):
    sample = problem.inner_data.size, problem.outer_data.size
    unravel = lambda flat: {"a": flat[0], "log_ridge": flat[1]}
    undo = lambda theta: theta.reshape(1, -1, 1)
    return Batches(problem, unravel, undo, sizes, sample, jax.random.key(key))


def test_batches_are_unbiased_and_repeatable():
    problem = iv_like(FEATURES)
    weights = np.random.default_rng(0).uniform(0.1, 3, size=(2, 60))
    problem = problem.replace(
        inner_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, weights[0]),
        outer_data=kbo.Sample(problem.outer_data.x, problem.outer_data.target, weights[1][:40]),
    )
    omega, theta = jnp.array([0.7, -2.0]), jnp.array([[0.3, -0.5, 1.2]])
    drawn, whole = batches(problem), batches(problem).whole()
    for part in ("inner", "outer"):
        of = lambda b, tag, part=part: getattr(b, part)(tag)(omega, theta)
        values = jax.jit(jax.vmap(lambda tag: of(drawn, tag)))(jnp.arange(4000))
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - of(whole, 0)) < 4 * error and values.std() > 0.01
        assert of(drawn, 3) == of(drawn, 3) != of(drawn, 4)
        assert of(drawn.fold(1), 3) != of(drawn, 3)
    exact = kbo.value_and_hypergradient(problem, {"a": 0.7, "log_ridge": -2.0})
    at = np.asarray(exact.inner.coefficients).reshape(1, -1)
    assert np.abs(jax.grad(whole.inner(0), 1)(omega, at)).max() < 1e-8
    assert whole.outer(0)(omega, at) == pytest.approx(exact.value, rel=1e-10)


def test_batches_of_networks_and_of_zero_weights_are_unbiased():
    space = kbo.NeuralSpace(kbo.networks.MLP((4,)))
    problem = iv_like(space)
    keep = lambda n: np.repeat([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]], n // 3 + 1, axis=1)[:, :n]
    problem = problem.replace(
        inner_data=kbo.Sample(problem.inner_data.x, problem.inner_data.target, keep(60)),
        outer_data=kbo.Sample(problem.outer_data.x, problem.outer_data.target, keep(40)),
    )
    at = problem.at({"a": 0.7, "log_ridge": 1.0})
    theta, undo = rows(start(at, jax.random.key(0)))
    drawn = eqx.tree_at(lambda b: b.undo, batches(problem, sizes=(2, 2)), undo)
    omega, whole = jnp.array([0.7, 1.0]), drawn.whole()
    for part in ("inner", "outer"):
        of = lambda b, tag, part=part: getattr(b, part)(tag)(omega, theta)
        values = jax.jit(jax.vmap(lambda tag: of(drawn, tag)))(jnp.arange(4000))
        assert np.isfinite(values).all()
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - of(whole, 0)) < 4 * error


def test_one_random_term_is_the_series_on_average():
    drawn = batches(iv_like(FEATURES), sizes=(None, None))
    omega, theta = jnp.array([0.7, -2.0]), jnp.array([[0.3, -0.5, 1.2]])
    b = jnp.array([[1.0, -0.4, 0.2]])
    series = Series(0.5, 6)(drawn, omega, theta, b)
    random = jax.vmap(lambda k: OneTerm(0.5, 6)(drawn.fold(k), omega, theta, b))(jnp.arange(2000))
    error = random.std(0) / np.sqrt(len(random))
    assert (np.abs(random.mean(0) - series) < 4 * error + 1e-12).all()
    found = hypergradient(drawn, omega, theta, Series(0.5, 400))
    H = jax.hessian(lambda t: drawn.inner(0)(omega, t[None]))(theta[0])
    direct, slope = jax.grad(drawn.outer(0), (0, 1))(omega, theta)
    cross = slopes(drawn.inner(0), omega, theta, jnp.linalg.solve(H, slope[0])[None]).cross
    np.testing.assert_allclose(found, direct - cross, rtol=1e-6)
