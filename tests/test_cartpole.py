"""Model-based reinforcement learning: its adjoint in closed form, and runs that resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo

pytest.importorskip("gymnasium", reason="needs gymnasium: pip install 'kbo[rl]'")

from benchmarks import cartpole


def transitions(random, n):
    states = random.normal(size=(n, cartpole.STATE))
    return {
        "state": states, "action": random.integers(2, size=n), "reward": np.ones(n),
        "next": random.normal(size=(n, cartpole.STATE)), "over": (random.random(n) < 0.3) * 1.0,
    }


def omega_of(hidden, key=0):
    network, _, _ = cartpole.losses(hidden)
    model, target = jax.random.split(jax.random.key(key))
    return {
        "model": network.init(model, jnp.zeros(cartpole.STATE + cartpole.ACTIONS), 5),
        "target": cartpole.CRITIC.init(target, jnp.zeros(cartpole.STATE), 4),
    }


@pytest.fixture
def tabular(x64):
    """Every state with a parameter of its own for each action and each critic: h is free."""
    t = transitions(np.random.default_rng(0), 30)
    sample = kbo.Sample(np.arange(30.0)[:, None], t)
    _, inner, ways = cartpole.losses(8)
    return kbo.BilevelProblem(
        inner, ways["FuncID"][0], sample, sample,
        kbo.FeatureSpace(lambda x: jax.nn.one_hot(x[0].astype(int), 30)), ridge=1e-9,
        n_outputs=4,
    ), omega_of(8), t


def test_the_adjoint_is_minus_the_temporal_difference(tabular):
    """On the same transitions, a(s)_a = −g(s)_a (Petrulionyte et al. 2024, for CartPole)."""
    problem, omega, t = tabular
    found = kbo.value_and_hypergradient(problem, omega)
    points = np.arange(30.0)[:, None]
    q, a = (np.asarray(f(points)).reshape(30, 2, 2) for f in (found.inner, found.adjoint))
    value = jax.vmap(lambda s: cartpole.soft_value(omega["target"], s))(t["next"])
    goal = t["reward"] + cartpole.GAMMA * (1 - t["over"]) * np.asarray(value)
    rows = np.arange(30)
    difference = q[rows, :, t["action"]] - goal[:, None]
    np.testing.assert_allclose(a[rows, :, t["action"]], -difference, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(a[rows, :, 1 - t["action"]], 0, atol=1e-12)


def test_the_gradient_in_the_model_is_right(tabular):
    problem, omega, _ = tabular
    found = kbo.value_and_hypergradient(problem, omega)
    flat, unravel = jax.flatten_util.ravel_pytree(omega["model"])
    direction = np.random.default_rng(1).normal(size=flat.size)
    direction /= np.linalg.norm(direction)
    at = lambda h: kbo.value_and_hypergradient(
        problem, {**omega, "model": unravel(flat + h * direction)}).value
    difference = (at(1e-5) - at(-1e-5)) / 2e-5
    slope = jax.flatten_util.ravel_pytree(found.grad["model"])[0] @ direction
    assert abs(slope - difference) < 1e-6 * max(1, abs(difference))


def test_targets_do_not_move_with_the_model(tabular):
    """The lagged critic is data: a gradient in it would be another method's."""
    problem, omega, _ = tabular
    grad = kbo.value_and_hypergradient(problem, omega).grad["target"]
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grad))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["FuncID", "OMD", "MLE", "VEP"])
def test_a_run_that_crashed_goes_on_to_the_same_end(method, tmp_path, monkeypatch):
    monkeypatch.setattr(cartpole, "BLOCK", 150)
    monkeypatch.setattr(cartpole, "RANDOM_STEPS", 150)
    settings = (method, 3, 0, 450, 10)
    whole = cartpole.run(*settings)[:, 0]
    block = cartpole.Agent.block

    def crashes(agent, number):
        if number == 2:
            raise RuntimeError("the environment has crashed")
        block(agent, number)

    with monkeypatch.context() as patch:
        patch.setattr(cartpole.Agent, "block", crashes)
        with pytest.raises(RuntimeError, match="crashed"):
            cartpole.run(*settings, store=tmp_path)
    np.testing.assert_array_equal(cartpole.run(*settings, store=tmp_path)[:, 0], whole)


@pytest.mark.slow
def test_a_model_of_maximal_likelihood_learns_to_balance():
    rewards = cartpole.run("MLE", 32, 0, 6000, 5)[:, 0]
    assert rewards[3:].mean() > 100  # random actions end an episode after 20 steps
