"""Kernels of features that are transformed, each by a curve with one number."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .base import Kernel, each_once

STEEP = 3.0  # log of the slope, relative to the centre's, from which a curve goes on as its tangent


class Warped(Kernel):
    """k(x, z) = k₀(φ(x), φ(z)), φ_j(x) = m_j + 2s_j (b_jᵘ − 1)/log b_j, u = (x_j − m_j)/(2s_j).

    This is Manly's exponential transformation of each feature around its centre m with spread s:
    for b = 1 the feature itself, for b < 1 a concave curve as of a logarithm, for b > 1 a convex
    one. The slope at m is 1, so that lengthscales keep their units, and beyond the slope e³ the
    curve goes on as its tangent.

    Parameters
    ----------
    kernel : Kernel
        k₀.
    center, spread : array (d,)
        m and s, in the units of x. A feature of spread 0 is left as it is.
    skew : array (d,)
        b, greater than 0.

    References
    ----------
    Manly (1976), Exponential Data Transformations, The Statistician 25. Snoek, Swersky, Zemel,
    Adams (2014), Input Warping for Bayesian Optimization of Non-Stationary Functions (curves of
    another family, tuned by the marginal likelihood too).
    """

    fixed = ("center", "spread")

    kernel: Kernel
    center: jax.Array | float
    spread: jax.Array | float
    skew: jax.Array | float

    def transform(self, x):
        """φ(x), for points (…, d)."""
        width = 2 * jnp.asarray(self.spread, x.dtype)
        bent = width > 0
        offset = jnp.where(bent, x - self.center, 0.0)
        t = jnp.log(jnp.asarray(self.skew, x.dtype)) * offset / jnp.where(bent, width, 1.0)
        return x + offset * (_relative(t) - 1)

    def evaluate(self, x, z):
        return self.kernel.evaluate(self.transform(x), self.transform(z))

    def matrix(self, x, z):
        return self.kernel.matrix(*each_once(self.transform, x, z))

    def matrix_from(self, values, x, z):
        return self.kernel.matrix_from(values, *each_once(self.transform, x, z))


def _relative(t):
    """(eᵗ − 1)/t, by its series near 0, and with the tangent of eᵗ beyond STEEP."""
    small = jnp.abs(t) < 1e-4
    inside = jnp.clip(jnp.where(small, 1.0, t), -jnp.inf, STEEP)
    risen = jnp.expm1(inside) + jnp.exp(STEEP) * jnp.maximum(t - STEEP, 0.0)
    return jnp.where(small, 1 + t / 2 + t**2 / 6, risen / jnp.where(small, 1.0, t))
