"""Factors of symmetric systems in XLA: a Cholesky with a jitter ladder, roots of curvatures."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._newton.weighted_ridge import SMALL_CURVATURE

LADDER = (0.0, 5.0, 5e2, 5e4, 5e6)  # jitters, in units of the rounding of the mean diagonal


class Triangle(NamedTuple):
    """L with L Lᵀ = A + jitter·I; of NaN where the largest jitter was not enough."""

    lower: jax.Array
    jitter: jax.Array

    def solve(self, rhs):
        """(A + jitter·I)⁻¹ rhs, for rhs (N, q)."""
        return self.back(self.forward(rhs))

    def forward(self, rhs):
        """L⁻¹ rhs."""
        return lax.linalg.triangular_solve(self.lower, rhs, left_side=True, lower=True)

    def back(self, rhs):
        """L⁻ᵀ rhs."""
        return lax.linalg.triangular_solve(
            self.lower, rhs, left_side=True, lower=True, transpose_a=True
        )


def cholesky(matrix) -> Triangle:
    """The factor of a symmetric (N, N) matrix, with the first jitter that makes it succeed."""
    diagonal = jnp.diagonal(matrix)
    jitters = jnp.asarray(LADDER, matrix.dtype) * jnp.finfo(matrix.dtype).eps * jnp.mean(diagonal)

    def attempt(level):
        moved = matrix + jitters[level] * jnp.eye(len(matrix), dtype=matrix.dtype)
        return lax.linalg.cholesky(moved, symmetrize_input=False)

    def failed(state):
        level, lower = state
        return (level < len(LADDER) - 1) & ~jnp.isfinite(lower[-1, -1])

    first = lax.linalg.cholesky(matrix, symmetrize_input=False)
    level, lower = lax.while_loop(
        failed, lambda state: (state[0] + 1, attempt(state[0] + 1)), (0, first)
    )
    return Triangle(lower, jitters[level])


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
