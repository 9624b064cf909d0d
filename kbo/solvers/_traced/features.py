"""The equations of finite features, and of the span of centres."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .equations import Equations
from .factors import Triangle, cholesky


class FeatureEquations(Equations):
    """The normal equations of features, or of the span of centres.

    Attributes
    ----------
    rows : array (n, N)
        Φ, or k(x, z) of the centres z.
    metric : array (N, N) or None
        G = K_MM + δI; None for the identity.
    root : Triangle or None
        The factor R of G = R Rᵀ, a constant for derivatives: it serves solves and norms alone.
    """

    rows: jax.Array
    metric: jax.Array | None = None
    root: Triangle | None = None

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

    def norm(self, residual):
        if self.root is not None:
            residual = jax.vmap(self.root.forward)(residual)
        return jnp.linalg.norm(residual, axis=(1, 2))

    def factorise(self, curvatures):
        # αI + R⁻¹BᵀCBR⁻ᵀ, in the coordinates Rᵀθ: it is as well conditioned as the problem.
        rows = self.rows if self.root is None else self.root.forward(self.rows.T).T

        def one(curvatures, alpha):
            if self.coupled:
                matrix = jnp.einsum("iq,iab,ir->qarb", rows, curvatures, rows, optimize=True)
                matrix = matrix.reshape(2 * (self.size * self.n_outputs,))
            else:
                matrix = rows.T @ (curvatures[:, None] * rows)
            return cholesky(matrix, alpha)

        return jax.vmap(one)(curvatures, self.alpha)

    def solve(self, factor, rhs):
        def one(triangle, rhs, total):
            rhs = total * rhs
            if self.root is None:
                return triangle.solve_outputs(rhs)
            return self.root.back(triangle.solve_outputs(self.root.forward(rhs)))

        return jax.vmap(one)(factor, rhs, self.total)

    def solve_transposed(self, factor, rhs):
        return self.solve(factor, rhs)  # the matrix is symmetric
