"""Curvature-weighted ridge systems whose outputs are coupled, and the choice of a factor."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...linalg import Cholesky, SingularSystem, outer_product
from .weighted_ridge import Decoupled, SubGram, Symmetric, WeightedRidge, decouple

COUPLED_DENSE_LIMIT = 1500  # unknowns up to which a coupled system is factorised as a whole
CG_TOLERANCE = 1e-14
SMALLEST_PROBABILITY = 1e-30


def weighted_ridge(kernel: SubGram, curvatures, alpha) -> WeightedRidge:
    """(αI + CK)⁻¹ for curvatures (n, p, p), by the cheapest factor that fits their structure."""
    curvatures = decouple(curvatures)
    if curvatures.ndim < 3:
        return Decoupled(kernel, curvatures, alpha)
    if curvatures.shape[0] * curvatures.shape[1] <= COUPLED_DENSE_LIMIT:
        return Dense(kernel, curvatures, alpha)
    return Iterative(kernel, curvatures, alpha)


class Dense(Symmetric):
    """A Cholesky factor of the whole np × np matrix αI + S(K⊗I)S."""

    def __init__(self, kernel, curvatures, alpha):
        super().__init__(kernel, curvatures, alpha)
        p = curvatures.shape[-1]
        self._factor = Cholesky(partial(self._matrix, self._buffer(p), self._buffer()))
        self.jitter = self._factor.jitter

    def _matrix(self, out, K):
        n, p, _ = self._root.root.shape
        self.kernel.copy_to(K)
        S = self._root.root.reshape(n * p, p)
        outer_product(S, out)  # its (i, j) block is S_i S_j
        blocks = out.reshape(n, p, n, p)
        with np.errstate(all="ignore"):  # the upper triangles hold whatever was there
            blocks *= K[:, None, :, None]
        out.flat[:: n * p + 1] += self._alpha
        return out

    def _solve_symmetric(self, rhs):
        return self._factor.solve(rhs.ravel()).reshape(rhs.shape)


class Simplex(WeightedRidge):
    """(αI + CK)⁻¹ for C_i = w_i(diag π_i − π_iπ_iᵀ): one factor for each class, and one to couple.

    With A_a = αI + wπ_a K and s = Σ_a √w π_a (Kβ)_a, a vector over points,

        β_a = A_a⁻¹(r_a + √w π_a s),      T s = Σ_a √w π_a (K A_a⁻¹ r_a),
        T = α Σ_a π_a^½ (αI + S_aKS_a)⁻¹ π_a^½,    S_a² = wπ_a    (because Σ_a π_a = 1).

    Parameters
    ----------
    weights, probabilities : ndarray (n,), (n, p)
        w > 0 and π.

    References
    ----------
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, Algorithm 3.3.
    """

    def __init__(self, kernel, weights, probabilities, alpha):
        super().__init__(kernel)
        probabilities = np.maximum(probabilities, SMALLEST_PROBABILITY)
        # Right-hand sides are small where the curvature is small, so that dividing by it is safe.
        self._classes = Decoupled(kernel, weights[:, None] * probabilities, alpha, small=0.0)
        self._mixing = np.sqrt(weights)[:, None] * probabilities
        roots = np.sqrt(alpha * probabilities)
        self._coupling = Cholesky(
            partial(self._coupling_matrix, roots, self._buffer(), self._buffer())
        )
        self.jitter = max(self._classes.jitter, self._coupling.jitter)

    def _coupling_matrix(self, roots, total, inverse):
        total[:] = 0
        with np.errstate(all="ignore"):  # the upper triangles hold whatever was there
            for factor, root in zip(self._classes.factors, roots.T, strict=True):
                factor.inverse(inverse)
                inverse *= root[:, None]
                inverse *= root
                total += inverse
        return total

    def release(self):
        self._classes.release()
        super().release()

    def on_support(self, rhs):
        beta = self._classes.on_support(rhs)
        pull = np.sum(self._mixing * self.kernel.times(beta), 1)
        shared = self._coupling.solve(pull)
        return beta + self._classes.on_support(self._mixing * shared[:, None])


class Iterative(WeightedRidge):
    """(αI + CK)⁻¹ by conjugate gradients in the K inner product, where αI + CK is self-adjoint.

    The preconditioner is the same matrix with the diagonal part of C.
    """

    def __init__(self, kernel, curvatures, alpha):
        super().__init__(kernel)
        self._curvatures = curvatures
        self._alpha = alpha
        diagonal = np.diagonal(curvatures, axis1=1, axis2=2).copy()
        self._preconditioner = Decoupled(kernel, diagonal, alpha)
        self.jitter = self._preconditioner.jitter

    def release(self):
        self._preconditioner.release()

    def on_support(self, rhs):
        beta, residual = np.zeros_like(rhs), rhs.copy()
        z = self._preconditioner.on_support(residual)
        direction, Kz = z, self.kernel.times(z)
        K_direction = Kz
        rho = np.sum(residual * Kz)
        target = CG_TOLERANCE * np.linalg.norm(rhs)
        best = np.inf
        for _ in range(10 * rhs.shape[1] + 200):
            norm = np.linalg.norm(residual)
            if norm <= target:
                return beta
            if rho <= 0:
                break
            best = min(best, norm)
            if norm > 1e3 * best:
                break
            image = self._alpha * direction + np.einsum(
                "iab,ib->ia", self._curvatures, K_direction
            )
            step = rho / np.sum(image * K_direction)
            beta = beta + step * direction
            residual = residual - step * image
            z = self._preconditioner.on_support(residual)
            Kz = self.kernel.times(z)
            rho, previous = np.sum(residual * Kz), rho
            direction = z + (rho / previous) * direction
            K_direction = Kz + (rho / previous) * K_direction
        if np.linalg.norm(residual) <= 1e6 * target:
            return beta
        raise SingularSystem("conjugate gradients stalled on the coupled system")
