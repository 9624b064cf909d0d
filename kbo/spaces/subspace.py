"""The span of a few kernel functions: the Nyström subspace of an RKHS."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import linalg
from ..arithmetic import resolve
from ..kernels import Kernel, as_kernel
from ..linalg.sharding import row_matmul
from ..module import Module
from .base import Evaluations, Frozen, Space, replicates_first, replicates_last

NUGGET = 10.0  # in units of eps·trace, the size of the rounding errors in a Gram matrix


class Subspace(Space):
    """h = Σ_j θ_j k(z_j, ·), ‖h‖² = θᵀ(K_MM + δI)θ, for M centres z_j.

    δ = 10 eps tr K_MM is the size of the rounding errors in K_MM, which leave smaller eigenvalues
    undetermined. It is part of the norm, for every ω.

    Parameters
    ----------
    kernel : kbo.kernels.Kernel or callable k(x, z) of two points
    centers : array (M, d)
    mesh : jax.sharding.Mesh, optional
        Devices over which the rows of products with k(x, z) are spread.

    References
    ----------
    Rudi, Camoriano, Rosasco (2015), Less is More: Nyström Computational Regularization, eq. (5).
    """

    kernel: Kernel
    centers: jax.Array
    mesh: Any = eqx.field(static=True)

    def __init__(self, kernel, centers, mesh=None):
        self.kernel = as_kernel(kernel)
        self.centers = centers
        self.mesh = mesh

    def nugget(self) -> jax.Array:
        """δ = 10 eps tr K_MM."""
        diagonal = jax.vmap(self.kernel.evaluate)(self.centers, self.centers)
        return NUGGET * jnp.finfo(self.centers.dtype).eps * jnp.sum(diagonal)

    def gram(self) -> jax.Array:
        """K_MM + δI."""
        gram = linalg.cross_gram(self.kernel, self.centers, self.centers)
        return gram.at[jnp.diag_indices(len(gram))].add(self.nugget())

    def _times(self, x, coefficients, known=None):
        """k(x, z) @ coefficients, in blocks of rows, on every device."""
        if self.mesh is None:
            return linalg.matmul(self.kernel, x, self.centers, coefficients, known)
        return row_matmul(self.kernel, x, self.centers, coefficients, self.mesh)

    def evaluate(self, points, x, coefficients):
        values = linalg.matmul(self.kernel, x, self.centers, replicates_last(coefficients))
        return replicates_first(values, coefficients.shape[0])

    def square_norm(self, inner, coefficients, values, total=None):
        """‖h‖² = θᵀ(K_MM + δI)θ, (F,)."""
        return self.inner_product(coefficients, coefficients)

    def start(self, key, inner, p, replicates):
        """Zeros (F, M, p)."""
        return jnp.zeros((replicates, self.centers.shape[0], p), inner.x.dtype)

    def evaluations(self, inner, outer, frozen: Frozen, shared=False) -> Evaluations:
        # Galerkin form: the coefficients of both h and a are fixed; kernel and centres move.
        F = frozen.h.shape[0]
        h, a = replicates_last(frozen.h), replicates_last(frozen.a)
        both = self._times(inner.x, jnp.concatenate([h, a], 1), frozen.gram)
        h_inner, a_inner = (replicates_first(v, F) for v in jnp.split(both, 2, axis=1))
        h_inner = linalg.with_known_value(frozen.h_inner, h_inner)
        if frozen.a_inner is not None:
            a_inner = linalg.with_known_value(frozen.a_inner, a_inner)
        if shared:
            h_outer = h_inner
        else:
            values = replicates_first(self._times(outer.x, h), F)
            h_outer = linalg.with_known_value(frozen.h_outer, values)
        return Evaluations(h_inner, h_outer, a_inner, self.inner_product(frozen.h, frozen.a))

    def inner_product(self, left, right) -> jax.Array:
        """⟨h, a⟩ (F,) of two coefficient arrays (F, M, p), ``left`` and ``right``."""
        flat = replicates_last(right)
        image = linalg.symmetric_matmul(self.kernel, self.centers, flat)
        image = replicates_first(image, left.shape[0]) + self.nugget() * right
        return jnp.sum(left * image, (1, 2))


class Restriction(Module):
    """ω ↦ the Subspace of an RKHS spanned by centres; both may depend on ω.

    Parameters
    ----------
    space : RKHS or callable of ω
    centers : array (M, d) or callable of ω
    mesh : jax.sharding.Mesh, optional
    """

    space: Any
    centers: Any
    mesh: Any = eqx.field(static=True, default=None)

    def __call__(self, omega) -> Subspace:
        """The subspace at ω."""
        centers = jnp.asarray(resolve(self.centers, omega))
        return Subspace(resolve(self.space, omega).kernel, centers, self.mesh)
