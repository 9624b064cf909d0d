"""The equations of finite features, and of the span of centres."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .equations import Equations
from .factors import Triangle, cholesky


class FeatureFactor(NamedTuple):
    """The factor of αI + R⁻¹BᵀCBR⁻ᵀ for each replicate, and that of G = R Rᵀ."""

    triangle: Triangle
    metric: Triangle | None

    @property
    def jitter(self):
        """The jitters (F,) of the factors."""
        return self.triangle.jitter


class FeatureEquations(Equations):
    """The normal equations of features, or of the span of centres.

    Attributes
    ----------
    rows : array (n, N)
        Φ, or k(x, z) of the centres z.
    metric : array (N, N) or None
        K_MM + δI; None for the identity.
    """

    rows: jax.Array
    metric: jax.Array | None = None

    @property
    def size(self):
        """N."""
        return self.rows.shape[1]

    def values(self, theta):
        return jnp.einsum("iq,fqp->fip", self.rows, theta)

    def pull(self, slopes):
        return jnp.einsum("iq,fip->fqp", self.rows, slopes)

    def penalised(self, theta):
        return theta if self.metric is None else jnp.einsum("qr,frp->fqp", self.metric, theta)

    def pairing(self, residual, theta, values):
        return jnp.sum(residual * theta, (1, 2))

    def norm_bound(self, residual):
        if self.metric is not None:
            residual = jax.vmap(cholesky(self.metric).forward)(residual)
        return jnp.linalg.norm(residual, axis=(1, 2))

    def factorise(self, curvatures):
        metric = None if self.metric is None else cholesky(self.metric)
        rows = self.rows if metric is None else metric.forward(self.rows.T).T

        def one(curvatures, alpha):
            if self.coupled:
                matrix = jnp.einsum("iq,iab,ir->qarb", rows, curvatures, rows, optimize=True)
                matrix = matrix.reshape(2 * (self.size * self.n_outputs,))
            else:
                matrix = rows.T @ (curvatures[:, None] * rows)
            return cholesky(matrix, alpha)

        return FeatureFactor(jax.vmap(one)(curvatures, self.alpha), metric)

    def solve(self, factor, rhs):
        def one(triangle, rhs, total):
            rhs = total * rhs
            if factor.metric is None:
                return triangle.solve_outputs(rhs)
            return factor.metric.back(triangle.solve_outputs(factor.metric.forward(rhs)))

        return jax.vmap(one)(factor.triangle, rhs, self.total)

    def solve_transposed(self, factor, rhs):
        return self.solve(factor, rhs)  # the matrix is symmetric
