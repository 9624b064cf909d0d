"""The representer theorem: h = Σ_i θ_i k(x_i, ·) on the inner points."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import linalg
from ..spaces.base import replicates_first, replicates_last
from .base import AdjointSolution
from .coupled import Simplex, weighted_ridge
from .systems import Factor, System, corrected, host
from .weighted_ridge import SMALL_CURVATURE, SubGram


@eqx.filter_jit(donate="all-except-first")
def _gram(problem_and_omega, out):
    problem, omega = problem_and_omega
    instance = problem.at(omega)
    return linalg.gram(instance.space.kernel, instance.inner.x, out)


@eqx.filter_jit
def _cross_gram(problem, omega):
    instance = problem.at(omega)
    return linalg.cross_gram(instance.space.kernel, instance.outer.x, instance.inner.x)


class Workspace:
    """Memory and warm start carried from one solve to the next.

    Attributes
    ----------
    arena : kbo.linalg.Arena
        For the factors.
    gram : jax.Array or None
        The last Gram matrix; its buffer is donated to the next one.
    values : ndarray or None
        Those of the last inner solution at the inner points, (F, n, p).
    """

    def __init__(self):
        self.arena, self.gram, self.values = linalg.Arena(), None, None


class KernelSystem(System):
    """h = Σ_i θ_i k(x_i, ·): exact by the representer theorem."""

    def __init__(self, problem, omega, shared, workspace):
        super().__init__(problem, omega)
        self._shared, self._arena = shared, workspace.arena
        self._arena.reset()
        x = problem.at(omega).inner.x if callable(problem.inner_data) else problem.inner_data.x
        self.size, side = x.shape[0], linalg.tiled_size(x.shape[0])
        out, workspace.gram = workspace.gram, None
        if out is None or out.shape != (side, side) or out.dtype != x.dtype:
            out = jnp.zeros((side, side), x.dtype)
        self.gram = workspace.gram = _gram((problem, omega), out)
        self._lower = host(self.gram)
        self._cross = None if shared else host(_cross_gram(problem, omega))
        self._diagonal = self._lower.diagonal()[: self.size]

    def values(self, coefficients):
        flat = replicates_last(coefficients)
        return replicates_first(linalg.symmetric_product(self._lower, flat), len(self.alpha))

    def outer_values(self, coefficients, inner_values):
        if self._shared:
            return inner_values
        return replicates_first(
            linalg.product(self._cross, replicates_last(coefficients)), len(self.alpha)
        )

    def pairing(self, left, right, right_values):
        return np.sum(left * right_values, (1, 2))

    def norm_bound(self, coefficients):
        # ρᵀKρ ≤ trace(K on ρ's support)·‖ρ‖².
        used = (coefficients != 0).any(2)
        trace = np.sum(np.where(used, np.abs(self._diagonal), 0.0), 1)
        return np.sqrt(trace) * np.linalg.norm(coefficients, axis=(1, 2))

    def gradient(self, slopes, coefficients):
        weighted = self.weights[:, :, None] * slopes
        return weighted / self.total[:, None, None] + self.ridge[:, None, None] * coefficients

    def factorise(self, fold, curvatures, simplex=None):
        weights, alpha = self.weights[fold], self.alpha[fold]
        support = np.flatnonzero(weights > 0)
        kernel = SubGram(self._lower, support, self._arena)
        if simplex is None:
            return _KernelFactor(weighted_ridge(kernel, curvatures[support], alpha))
        return _KernelFactor(Simplex(kernel, weights[support], simplex[support], alpha))

    def _embed(self, slopes):
        """Σ_j slopes_j k(x'_j, ·) at the inner points, (F, n, p)."""
        if self._shared:
            return self.values(slopes)
        return replicates_first(
            linalg.product(self._cross.T, replicates_last(slopes)), len(self.alpha)
        )

    def adjoint(self, factors, slopes, curvatures):
        # a = Σ β_i k(x_i, ·) − Σ_j (slopes_j/ridge) k(x'_j, ·) with (αI + CK)β = C embedding.
        alpha = self.alpha[:, None, None]
        riesz = -slopes / self.ridge[:, None, None]
        embedding = self._embed(riesz)
        curve = lambda values: np.einsum("fiab,fib->fia", curvatures, values)  # noqa: E731

        def apply(beta):
            values = self.values(beta)
            return alpha * beta + curve(values), values

        beta, values, rest = corrected(factors, apply, curve(-embedding))
        values = values + embedding
        # −αβ = C a is the better route to a where C is invertible: no cancellation for small α.
        inverse = _pseudo_inverse(curvatures)
        values -= np.einsum("fiab,fib->fia", inverse, curve(values) + alpha * beta)
        residual = float((self.norm_bound(rest) / self.total).max())
        if self._shared:
            return AdjointSolution(values, beta + riesz, False, residual)
        return AdjointSolution(values, np.concatenate([beta, riesz], axis=1), True, residual)


class _KernelFactor(Factor):
    """Coefficients vanish off the replicate's support."""

    def __init__(self, ridge):
        self._support, self._ridge = ridge.kernel.support, ridge
        self.jitter = self._ridge.jitter

    def solve(self, rhs):
        out = np.zeros_like(rhs)
        out[self._support] = self._ridge.solve(rhs[self._support])
        return out

    def minimise(self, functional):
        return self.solve(-functional)

    def release(self):
        self._ridge.release()


def _pseudo_inverse(curvatures):
    """C⁺ on the part of each block that is well determined."""
    scale = np.abs(curvatures).max(initial=0.0)
    if curvatures.shape[-1] == 1:
        kept = curvatures > SMALL_CURVATURE * scale
        return np.divide(1.0, curvatures, out=np.zeros_like(curvatures), where=kept)
    values, vectors = np.linalg.eigh(curvatures)
    kept = values > SMALL_CURVATURE * scale
    inverses = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return np.einsum("fiac,fic,fibc->fiab", vectors, inverses, vectors)
