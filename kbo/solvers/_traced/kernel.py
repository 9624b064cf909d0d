"""The equations of an RKHS, by the representer theorem."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .equations import Equations
from .factors import Root, Triangle, cholesky, root_of


class KernelFactor(NamedTuple):
    """S and the factor of αI + S(K⊗I)S, for each replicate."""

    root: Root
    triangle: Triangle

    @property
    def jitter(self):
        """The jitters (F,) of the factors."""
        return self.triangle.jitter

    @property
    def finite(self):
        """Whether the factorisations succeeded, (F,)."""
        return self.triangle.finite


class KernelEquations(Equations):
    """The equations of an RKHS with the whole kernel matrix of the inner points.

    Attributes
    ----------
    gram : array (n, n)
    """

    gram: jax.Array

    @property
    def size(self):
        """n."""
        return self.gram.shape[0]

    def values(self, theta):
        return jnp.einsum("ij,fjp->fip", self.gram, theta)

    def pull(self, slopes):
        return slopes

    def penalised(self, theta):
        return theta

    def pairing(self, residual, theta, values):
        return jnp.sum(residual * values, (1, 2))

    def norm(self, residual):
        square = self.pairing(residual, residual, self.values(residual))
        return jnp.sqrt(jnp.maximum(square, 0.0))

    def factorise(self, curvatures):
        def one(curvatures, alpha):
            root = root_of(curvatures)
            S = root.root
            if self.coupled:
                matrix = jnp.einsum("iac,ij,jcb->iajb", S, self.gram, S)
                matrix = matrix.reshape(2 * (S.shape[0] * S.shape[1],))
            else:
                matrix = self.gram if self._full else S[:, None] * self.gram * S
            return KernelFactor(root, cholesky(matrix, alpha))

        return jax.vmap(one)(curvatures, self.alpha)

    @property
    def _full(self):
        """Whether S = I."""
        return self.quadratic and self.even

    def _by_replicate(self, one, factor, rhs):
        return jax.vmap(one)(factor, rhs, self.alpha, self.total)

    def solve(self, factor, rhs):
        # (αI + CK)⁻¹ = S M⁻¹S⁺ on the range of S, with M = αI + SKS; Woodbury's formula beyond.
        def one(factor, rhs, alpha, total):
            root, scaled = factor.root, total * rhs
            if self._full:
                return factor.triangle.solve(scaled)
            rest = root.rest(scaled)
            through = root.divide(scaled) - root.times(self.gram @ rest) / alpha
            return root.times(factor.triangle.solve_outputs(through)) + rest / alpha

        return self._by_replicate(one, factor, rhs)

    def solve_transposed(self, factor, rhs):
        def one(factor, rhs, alpha, total):
            root, scaled = factor.root, total * rhs
            if self._full:
                return factor.triangle.solve(scaled)
            found = factor.triangle.solve_outputs(root.times(scaled))
            beyond = root.rest(scaled - self.gram @ root.times(found))
            return root.divide(found) + beyond / alpha

        return self._by_replicate(one, factor, rhs)
