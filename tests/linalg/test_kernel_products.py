"""Blocked products with kernel matrices against dense ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbo import kernels, linalg


@settings(max_examples=8, deadline=None)
@given(n=st.sampled_from([1, 7, 384, 385, 800]), q=st.sampled_from([1, 12]), seed=st.integers(0, 99))
@pytest.mark.slow
def test_blocked_products_equal_dense_ones(n, q, seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, c = jnp.asarray(rng.normal(size=(n, 2))), jnp.asarray(rng.normal(size=(n, q)))
        kernel = kernels.Gaussian(0.7)
        dense = np.asarray(kernel.matrix(x, x))
        side = linalg.tiled_size(n)
        lower = np.asarray(linalg.gram(kernel, x, jnp.full((side, side), 7.0)))
        np.testing.assert_allclose(np.tril(lower[:n, :n]), np.tril(dense), rtol=1e-13, atol=1e-13)
        for product in (
            linalg.symmetric_matmul(kernel, x, c), linalg.matmul(kernel, x, x, c),
            linalg.cross_gram(kernel, x, x) @ c, linalg.symmetric_product(lower, np.asarray(c)),
            linalg.product(dense, np.asarray(c)), linalg.product(dense.T, np.asarray(c)),
        ):
            np.testing.assert_allclose(product, dense @ np.asarray(c), rtol=1e-10, atol=1e-10)
