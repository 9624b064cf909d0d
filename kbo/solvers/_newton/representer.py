"""The representer theorem: h = Σ_i θ_i k(x_i, ·) on the inner points."""

from __future__ import annotations

import abc

import numpy as np

from ..base import AdjointSolution
from .systems import System, corrected
from .weighted_ridge import SMALL_CURVATURE


class RepresenterSystem(System):
    """Kernel ridge systems, except for how products with K are computed and systems solved.

    Attributes
    ----------
    diagonal : ndarray (n,)
        k(x_i, x_i).
    """

    diagonal: np.ndarray
    _shared: bool

    def _refined(self, apply, rhs, curvatures):
        return corrected(self.solve, apply, rhs)

    @abc.abstractmethod
    def _outer_embedding(self, slopes) -> np.ndarray:
        """The values of Σ_j slopes_j k(x'_j, ·) at the inner points, (F, n, p)."""

    def embed(self, slopes):
        return slopes

    def pairing(self, left, right, right_values):
        return np.sum(left * right_values, (1, 2))

    def norm_bound(self, coefficients):
        # ρᵀKρ ≤ trace(K on ρ's support)·‖ρ‖².
        used = (coefficients != 0).any(2)
        trace = np.sum(np.where(used, np.abs(self.diagonal), 0.0), 1)
        return np.sqrt(trace) * np.linalg.norm(coefficients, axis=(1, 2))

    def adjoint(self, slopes, curvatures, tol):
        # a = Σ β_i k(x_i, ·) + e with e = −Σ_j (slopes_j/ridge) k(x'_j, ·), (αI + CK)β = −C e(X).
        alpha = self.alpha[:, None, None]
        riesz = -slopes / self.ridge[:, None, None]
        embedding = self._outer_embedding(riesz)
        curve = lambda values: np.einsum("fiab,fib->fia", curvatures, values)  # noqa: E731

        def apply(beta):
            values = self.values(beta)
            return alpha * beta + curve(values), values

        rhs = curve(-embedding)
        beta, values, rest = self._refined(apply, rhs, curvatures)
        values = values + embedding
        # Where C is invertible, a follows from C a = −αβ without cancellation for small α.
        inverse = _pseudo_inverse(curvatures)
        values -= np.einsum("fiab,fib->fia", inverse, curve(values) + alpha * beta)
        residual = float((self.norm_bound(rest) / self.total).max())
        status, both = self.adjoint_status(rest, rhs, tol), not self._shared
        coefficients = np.concatenate([beta, riesz], axis=1) if both else beta + riesz
        return AdjointSolution(values, coefficients, both, residual, status)


def _pseudo_inverse(curvatures):
    """C⁺, (F, n, p, p), of the well-determined part of each block."""
    scale = np.abs(curvatures).max(initial=0.0)
    if curvatures.shape[-1] == 1:
        kept = curvatures > SMALL_CURVATURE * scale
        return np.divide(1.0, curvatures, out=np.zeros_like(curvatures), where=kept)
    values, vectors = np.linalg.eigh(curvatures)
    kept = values > SMALL_CURVATURE * scale
    inverses = np.divide(1.0, values, out=np.zeros_like(values), where=kept)
    return np.einsum("fiac,fic,fibc->fiab", vectors, inverses, vectors)
