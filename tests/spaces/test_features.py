"""Spaces of features."""

import jax
import jax.numpy as jnp

from kbo import kernels
from tests import helpers


def test_random_fourier_features_approximate_the_gaussian_kernel(x64):
    from kbo import RandomFourierFeatures

    x = jnp.asarray(helpers.data(30)[0])
    phi = jax.vmap(RandomFourierFeatures(20000, helpers.D, seed=1).with_lengthscale(1.4))(x)
    error = phi @ phi.T - kernels.Gaussian(1.4).matrix(x, x)
    assert float(jnp.abs(error).max()) < 0.05
