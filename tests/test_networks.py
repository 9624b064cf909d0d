"""Networks of our own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kbo.networks import MLP

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_layers_are_normalised():
    x = jnp.asarray(np.random.default_rng(0).normal(size=5))
    network = MLP((40, 30), jnp.tanh, layer_norm=True)
    params = network.init(jax.random.key(0), x, 2)
    values = np.asarray(x)
    for layer in params[:-1]:
        values = np.asarray(layer["weight"]) @ values
        values = np.tanh((values - values.mean()) / np.sqrt(values.var() + 1e-5))
    np.testing.assert_allclose(network.apply(params, x), params[-1]["weight"] @ values, rtol=1e-9)
    spectral = MLP((40, 30), jnp.tanh, spectral_norm=True)
    jacobian = jax.jacobian(lambda z: spectral.apply(spectral.init(jax.random.key(0), x, 2), z))(x)
    assert np.linalg.norm(jacobian, 2) < 1.01
    plain = MLP((), spectral_norm=True)
    weights = plain.init(jax.random.key(1), x, 3)
    exact = weights[0]["weight"] / np.linalg.norm(weights[0]["weight"], 2)
    np.testing.assert_allclose(plain.apply(weights, x), exact @ x, rtol=0.02)
