"""Ridge systems of finite features, h = φ(·)ᵀθ, by the normal equations."""

from __future__ import annotations

from functools import partial

import numpy as np

from ... import linalg
from ...instance import of_instance
from ...linalg import Cholesky, SingularSystem
from ...spaces.base import replicates_first, replicates_last
from ..base import AdjointSolution
from .coupled_features import CoupledFeatures
from .systems import Factor, FactoredSystem, host
from .weighted_ridge import decouple, solve_columns

# Unknowns up to which a coupled system is factorised as a whole: at once, or as a last resort.
COUPLED_DENSE_LIMIT, COUPLED_DENSE_LARGEST = 100, 8000


@of_instance
def _feature_matrices(instance, shared):
    inner = instance.space.features(instance.inner.x)
    return inner, inner if shared else instance.space.features(instance.outer.x)


class FeatureSystem(FactoredSystem):
    """The normal equations (αI + ΦᵀCΦ)θ = rhs of h = φ(·)ᵀθ for a finite feature map φ."""

    def __init__(self, instance):
        super().__init__(instance)
        inner, outer = _feature_matrices(instance, instance.shared)
        self.features, self.outer_features = host(inner), host(outer)
        self.size = self.features.shape[1]
        self._coupled = {}  # each replicate's last factor, whose preconditioner may serve the next

    def _times(self, matrix, coefficients):
        """``matrix`` times the coefficients of each replicate, (F, rows, p)."""
        product = linalg.product(matrix, replicates_last(coefficients))
        return replicates_first(product, len(self.alpha))

    def values(self, coefficients):
        return self._times(self.features, coefficients)

    def outer_values(self, coefficients, inner_values):
        return self._times(self.outer_features, coefficients)

    def embed(self, slopes):
        return self._times(self.features.T, slopes)

    def _factor(self, replicate, curvatures, probabilities):
        alpha, decoupled = self.alpha[replicate], decouple(curvatures)
        if decoupled.ndim < 3:
            return _Decoupled(self.features, decoupled, alpha)
        if self.size * decoupled.shape[1] <= COUPLED_DENSE_LIMIT:
            return _Dense(self.features, decoupled, alpha)
        dense = partial(_Dense, self.features, decoupled, alpha)
        earlier = self._coupled.get(replicate)
        self._coupled[replicate] = CoupledFeatures(self.features, decoupled, alpha, earlier, dense)
        return self._coupled[replicate]

    def adjoint(self, slopes, curvatures, tol):
        scaled = slopes * self.total[:, None, None]
        rhs = -self._times(self.outer_features.T, scaled)

        def apply(theta):
            curved = np.einsum("fiab,fib->fia", curvatures, self.values(theta))
            return self.embed(curved) + self.alpha[:, None, None] * theta, None

        theta, _, rest = self._refined(apply, rhs, curvatures)
        residual = float((self.norm_bound(rest) / self.total).max())
        return AdjointSolution(
            theta, theta, False, residual, self.adjoint_status(rest, rhs, tol)
        )


class _Decoupled(Factor):
    """(αI + ΦᵀCΦ)⁻¹ for C of shape (n,) or (n, p): one factor for all outputs, or one for each."""

    def __init__(self, features, C, alpha):
        self._factors = []
        for column in np.atleast_2d(C.T):
            matrix = linalg.product(features.T, column[:, None] * features)
            build = lambda matrix=matrix: matrix + alpha * np.eye(len(matrix))  # noqa: E731
            self._factors.append(Cholesky(build))
        self.jitter = max(factor.jitter for factor in self._factors)

    def solve(self, rhs, enough=0.0):
        return solve_columns(self._factors, rhs)


class _Dense(Factor):
    """(αI + ΦᵀCΦ)⁻¹ for C of shape (n, p, p), by a factor of the whole qp × qp matrix."""

    def __init__(self, features, C, alpha):
        q, p = features.shape[1], C.shape[1]
        if q * p > COUPLED_DENSE_LARGEST:
            raise SingularSystem("conjugate gradients stalled on the coupled system")
        matrix = np.empty((q, p, q, p))
        for a, b in zip(*np.tril_indices(p), strict=True):  # one matrix product per block
            block = linalg.product(features.T, C[:, a, b, None] * features)
            matrix[:, a, :, b] = matrix[:, b, :, a] = block
        matrix = matrix.reshape(q * p, q * p)
        self._factor = Cholesky(lambda: matrix + alpha * np.eye(len(matrix)))
        self.jitter = self._factor.jitter

    def solve(self, rhs, enough=0.0):
        return self._factor.solve(rhs.ravel()).reshape(rhs.shape)
