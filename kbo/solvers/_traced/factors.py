"""Factors of symmetric systems in XLA: a Cholesky that reports its jitter, roots of curvatures."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._newton.weighted_ridge import SMALL_CURVATURE

ROUNDING = 10.0  # in units of eps·trace, the size of the rounding errors in a kernel matrix


class Triangle(NamedTuple):
    """L with L Lᵀ = A + (α + jitter) I; of NaN where A is not positive semi-definite."""

    lower: jax.Array
    jitter: jax.Array

    @property
    def size(self):
        """N."""
        return self.lower.shape[-1]

    @property
    def finite(self):
        """Whether the factorisation succeeded."""
        return jnp.isfinite(self.lower[..., -1, -1])

    def solve(self, rhs):
        """(A + (α + jitter) I)⁻¹ rhs, for rhs (N, q)."""
        return self.back(self.forward(rhs))

    def solve_outputs(self, rhs):
        """``solve`` for rhs (n, p), where the system may be of one output or of all together."""
        if self.size == rhs.shape[0]:
            return self.solve(rhs)
        return self.solve(rhs.reshape(-1, 1)).reshape(rhs.shape)

    def forward(self, rhs):
        """L⁻¹ rhs."""
        return lax.linalg.triangular_solve(self.lower, rhs, left_side=True, lower=True)

    def back(self, rhs):
        """L⁻ᵀ rhs."""
        return lax.linalg.triangular_solve(
            self.lower, rhs, left_side=True, lower=True, transpose_a=True
        )


def cholesky(matrix, alpha) -> Triangle:
    """The factor of A + αI for a symmetric (N, N) matrix A that is positive but for rounding.

    Where α is below the size δ = 10 eps tr A of the rounding errors in A, δ takes its place: the
    jitter is max(0, δ − α). A ladder of jitters, each tried where the last has failed, would be a
    loop that carries the factor, and XLA copies what a loop carries.
    """
    delta = ROUNDING * jnp.finfo(matrix.dtype).eps * jnp.sum(jnp.diagonal(matrix))
    jitter = jnp.maximum(delta - alpha, 0.0)
    moved = matrix.T + (alpha + jitter) * jnp.eye(len(matrix), dtype=matrix.dtype)
    return Triangle(lax.linalg.cholesky(moved, symmetrize_input=False), jitter)


class Root(NamedTuple):
    """S with S² = C, blocks of p×p or one number a point, and S⁺ of what is well determined."""

    root: jax.Array
    inverse: jax.Array

    def times(self, rhs):
        """S rhs, for rhs (n, p)."""
        return _blockwise(self.root, rhs)

    def divide(self, rhs):
        """S⁺ rhs."""
        return _blockwise(self.inverse, rhs)

    def rest(self, rhs):
        """(I − S⁺S) rhs."""
        return rhs - self.divide(self.times(rhs))


def _blockwise(blocks, rhs):
    if blocks.ndim == 1:
        return blocks[:, None] * rhs
    return jnp.einsum("iab,ib->ia", blocks, rhs)


def root_of(curvatures) -> Root:
    """The root of the convex part of curvatures, (n,) or (n, p, p)."""
    coupled = curvatures.ndim == 3
    values, vectors = jnp.linalg.eigh(curvatures) if coupled else (curvatures, None)
    roots = jnp.sqrt(jnp.maximum(values, 0.0))
    kept = roots > jnp.sqrt(SMALL_CURVATURE) * jnp.max(roots)
    inverses = jnp.where(kept, 1 / jnp.where(kept, roots, 1.0), 0.0)
    if not coupled:
        return Root(roots, inverses)
    rebuilt = (jnp.einsum("iac,ic,ibc->iab", vectors, d, vectors) for d in (roots, inverses))
    return Root(*rebuilt)


def convex_part(curvatures):
    """Curvatures with negative eigenvalues set to zero, so that a step is one of descent."""
    if curvatures.ndim == 1:
        return jnp.maximum(curvatures, 0.0)
    values, vectors = jnp.linalg.eigh(curvatures)
    return jnp.einsum("iac,ic,ibc->iab", vectors, jnp.maximum(values, 0.0), vectors)
