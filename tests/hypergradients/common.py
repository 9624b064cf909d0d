"""What the tests of several methods share."""

import jax.numpy as jnp
import numpy as np
import optax

import kbo
from kbo.networks import MLP
from kbo.solvers import Gradient
from tests import helpers
from tests.neural import OMEGA, iv_like

FEATURES = kbo.FeatureSpace(lambda x: jnp.concatenate([x, jnp.sin(2 * x), jnp.ones(1)]))
NETWORK = kbo.NeuralSpace(MLP((6,), jnp.tanh))


def relative(found, expected):
    found, expected = helpers.flat(found), helpers.flat(expected)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def gradient(problem, omega, method=None, **settings):
    return kbo.value_and_hypergradient(problem, omega, method=method, **settings).grad


def slope(steps, errors):
    """Of log error against the number of steps."""
    return np.polyfit(steps, np.log(errors), 1)[0]


def hessian():
    """∂²J/∂θ² (q, q) of iv_like(FEATURES) at OMEGA."""
    phi = np.asarray(FEATURES.features(jnp.asarray(helpers.data(60, 40)[0])))
    return phi.T @ phi / 60 + np.exp(OMEGA["log_ridge"]) * np.eye(phi.shape[1])


def one_target(space):
    """ω scales the targets alone, so that ∂²_θθJ does not depend on it."""
    return iv_like(space, ridge=np.exp(OMEGA["log_ridge"])), {"a": 0.7}


ADAM = optax.adam(0.1)


def check_resumes(problem, method, optimizer, tmp_path, omega=OMEGA):
    solver = Gradient(steps=3) if isinstance(problem.space, kbo.NeuralSpace) else None
    run = lambda **more: kbo.minimize(
        problem, omega, method=method, optimizer=optimizer, solver=solver, **more
    )
    whole = run()
    path = tmp_path / "run.npz"
    run(checkpoint=path, callback=lambda record: record.step == 2)
    x = problem.inner_data.x
    for _ in range(2):  # the second time everything comes from the log
        resumed = run(checkpoint=path)
        np.testing.assert_array_equal(helpers.flat(whole.omega), helpers.flat(resumed.omega))
        assert whole.value == resumed.value
        np.testing.assert_array_equal(whole.function(x), resumed.function(x))
        assert [r.value for r in whole.history] == [r.value for r in resumed.history]
