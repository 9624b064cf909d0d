"""Low-rank factors by random pivots."""

import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo import linalg
from kbo.linalg import rp_cholesky


def test_a_low_rank_factor_stops_where_rounding_begins(x64):
    """Where pivots are few, the last block is rounding, and may be indefinite (8 of these seeds)."""
    for seed in (*range(20), 53, 129, 178, 196, 218, 283, 337, 519):
        rng = np.random.default_rng(seed)
        x, length = rng.uniform(-1, 1, (400, 1)), rng.uniform(0.25, 0.9)
        kernel = kbo.kernels.Gaussian(length) + 0.25 * kbo.kernels.Linear()
        pivots, F = rp_cholesky(kernel, x, 200, rng)
        K = np.exp(-((x - x.T) ** 2) / (2 * length**2)) + 0.25 * x * x.T
        assert np.abs(K - F @ F.T).max() < 1e-10
        assert F.shape == (400, len(pivots)) and len(pivots) < 50


class Broken(kbo.kernels.Kernel):
    """NaN between different points."""

    def evaluate(self, x, z):
        """See Kernel."""
        return jnp.where((x == z).all(), 1.0, jnp.nan)


def test_a_low_rank_factor_refuses_what_is_not_finite(x64):
    rng = np.random.default_rng(0)
    with pytest.raises(linalg.SingularSystem, match="finite"):
        rp_cholesky(Broken(), rng.normal(size=(80, 1)), 20, rng)
