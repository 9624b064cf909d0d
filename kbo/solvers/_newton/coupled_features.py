"""Feature ridge systems whose outputs are coupled, as by softmax, without a qp × qp matrix."""

from __future__ import annotations

import numpy as np

from ... import linalg
from ...linalg import Cholesky
from .systems import Factor

TOLERANCE = 1e-13
MAX_PRODUCTS = 300
SLOW = 30  # number of products above which the next curvatures get a new preconditioner
LOST = 1e-9  # relative residual above which the whole matrix is factorised instead
EPS = np.finfo(float).eps


class CoupledFeatures(Factor):
    """(αI + ΦᵀCΦ)⁻¹ by conjugate gradients, C of shape (n, p, p).

    The preconditioner solves for each output a alone with αI + ΦᵀC_aaΦ, and keeps the curvatures of
    an ``earlier`` system while they serve. Along output directions u with C_i u = 0 for all i
    (softmax: u = 1) the solution is rhs·u/α. These directions are left out of the iteration, which
    they would slow down most.

    Parameters
    ----------
    features : ndarray (n, q)
    curvatures : ndarray (n, p, p)
    alpha : float
    earlier : CoupledFeatures or None
        The last system with the same features and α.
    dense : callable
        () ↦ the Factor that takes over if the iteration does not converge.
    """

    jitter = 0.0

    def __init__(self, features, curvatures, alpha, earlier, dense):
        self._features, self._curvatures, self._alpha = features, curvatures, alpha
        self._make_dense, self._dense = dense, None
        # As C_i ⪰ 0, the null space of their mean is common to all. The cut is at rounding level.
        values, vectors = np.linalg.eigh(curvatures.mean(0))
        self._null = vectors[:, values <= len(values) * EPS * values[-1]]
        self._products = 0
        reuse = earlier is not None and earlier.quick
        self._inverses = earlier._inverses if reuse else self._blocks()

    @property
    def quick(self):
        """Whether the last solve was fast enough to keep the preconditioner."""
        return self._products <= SLOW

    def _blocks(self):
        """The inverses (αI + ΦᵀC_aaΦ)⁻¹ of all outputs, (p, q, q)."""
        phi, eye = self._features, np.eye(self._features.shape[1])
        inverses = []
        for c in np.diagonal(self._curvatures, axis1=1, axis2=2).T:
            block = linalg.product(phi.T, c[:, None] * phi)
            inverses.append(Cholesky(lambda block=block: block + self._alpha * eye).solve(eye))
        return np.stack(inverses)

    def _apply(self, theta):
        values = linalg.product(self._features, theta)
        curved = np.matmul(self._curvatures, values[:, :, None])[:, :, 0]
        return self._alpha * theta + linalg.product(self._features.T, curved)

    def _precondition(self, residual):
        z = np.matmul(self._inverses, residual.T[:, :, None])[:, :, 0].T
        return z - self._known(z)

    def _known(self, theta):
        """The part of ``theta`` along the null directions of C."""
        return (theta @ self._null) @ self._null.T

    def solve(self, rhs, enough=0.0):
        """θ (q, p), to a residual of norm ``enough`` or as accurately as rounding allows."""
        if self._dense is not None:
            return self._dense.solve(rhs)
        known, size = self._known(rhs), np.linalg.norm(rhs)
        theta = self._iterate(rhs - known, max(enough, TOLERANCE * size))
        missed = np.linalg.norm(rhs - known - self._apply(theta))
        if missed <= max(2 * enough, LOST * size):
            return theta + known / self._alpha
        self._dense = self._make_dense()
        self.jitter = self._dense.jitter
        return self._dense.solve(rhs)

    def _iterate(self, rhs, enough):
        """The iterate of conjugate gradients with the smallest residual, by which Newton stops.

        (linalg.conjugate_gradients stops by the error in the energy norm instead.)
        """
        theta, residual = np.zeros_like(rhs), rhs
        best, least = theta, np.linalg.norm(rhs)
        z = direction = self._precondition(residual)
        rho, self._products = np.sum(residual * z), 0
        while least > enough and rho > 0 and self._products < MAX_PRODUCTS:
            image = self._apply(direction)
            self._products += 1
            curvature = np.sum(direction * image)
            if not curvature > 0:
                break
            step = rho / curvature
            theta, residual = theta + step * direction, residual - step * image
            norm = np.linalg.norm(residual)
            if norm < least:
                best, least = theta, norm
            z = self._precondition(residual)
            rho, previous = np.sum(residual * z), rho
            direction = z + (rho / previous) * direction
        return best
